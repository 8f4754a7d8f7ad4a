//! The memory that this process holds for requests, limited per key and in total.
//!
//! Bytes are taken from the budget before they are read, so that requests that will be refused
//! cannot fill the memory. The last quarter of the total is reserved for keys that hold little, so
//! that a few keys with large bodies do not block the others.

use baton_domain::id::KeyId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The least number of bytes by which a permit grows.
const STEP: usize = 16 * 1024;
/// How long a request waits for others to release bytes.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most requests of one key that wait at the same time.
const WAITING_PER_KEY: usize = 64;

/// The memory budget. Clones share it.
#[derive(Clone)]
pub(crate) struct MemoryBudget(Arc<BudgetInner>);

struct BudgetInner {
    most: MemoryLimits,
    state: Mutex<BudgetState>,
    given_back: Notify,
}

/// The limits of a budget, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemoryLimits {
    pub(crate) in_all: usize,
    pub(crate) per_key: usize,
    /// The least number of bytes that a request counts as.
    pub(crate) least: usize,
}

#[derive(Default)]
struct BudgetState {
    in_all: usize,
    by_key: HashMap<KeyId, KeyMemory>,
}

#[derive(Default)]
struct KeyMemory {
    bytes: usize,
    requests: usize,
    /// The metered requests, to which the key's concurrency limit applies.
    metered: u32,
    waiting: usize,
}

/// What one request takes from the budget.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemoryRequest {
    pub(crate) bytes: usize,
    pub(crate) is_metered: bool,
    /// The most metered requests that the key can have at the same time.
    pub(crate) concurrency: Option<u32>,
}

/// The limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemoryLimitReached {
    /// The limit of the key, in bytes.
    Key(usize),
    /// The limit of the process.
    Process,
    /// The most requests that the key can have at the same time.
    Concurrency(u32),
}

/// Bytes that one request holds. Dropping the permit releases them.
pub(crate) struct MemoryPermit {
    held: MemoryBudget,
    key: KeyId,
    bytes: usize,
    is_metered: bool,
}

impl MemoryBudget {
    pub(crate) fn new(most: MemoryLimits) -> Self {
        let state = Mutex::new(BudgetState::default());
        Self(Arc::new(BudgetInner { most, state, given_back: Notify::new() }))
    }

    /// Takes what a request of `key` needs, without waiting.
    ///
    /// # Errors
    /// A limit is reached.
    pub(crate) fn try_acquire_bytes(
        &self,
        key: &KeyId,
        taken: MemoryRequest,
    ) -> Result<MemoryPermit, MemoryLimitReached> {
        let MemoryRequest { is_metered, concurrency, .. } = taken;
        let bytes = taken.bytes.max(self.0.most.least);
        let mut state = self.lock_state();
        let metered = state.by_key.get(key).map_or(0, |of_key| of_key.metered);
        if let Some(most) = concurrency.filter(|most| is_metered && metered >= *most) {
            return Err(MemoryLimitReached::Concurrency(most));
        }
        state.take_bytes(self.0.most, key, (0, bytes))?;
        if let Some(of_key) = state.by_key.get_mut(key) {
            of_key.requests += 1;
            of_key.metered += u32::from(is_metered);
        }
        Ok(MemoryPermit { held: self.clone(), key: key.clone(), bytes, is_metered })
    }

    /// Takes what a request of `key` needs, and waits up to [`PATIENCE`] for others to release
    /// bytes.
    ///
    /// # Errors
    /// A limit is still reached, or too many requests of the key wait.
    pub(crate) async fn acquire_bytes(
        &self,
        key: &KeyId,
        taken: MemoryRequest,
    ) -> Result<MemoryPermit, MemoryLimitReached> {
        self.acquire_bytes_within(key, taken, PATIENCE).await
    }

    /// Takes what a request of `key` needs, and waits up to `patience` for others to release bytes.
    ///
    /// # Errors
    /// A limit is still reached, or too many requests of the key wait.
    pub(crate) async fn acquire_bytes_within(
        &self,
        key: &KeyId,
        taken: MemoryRequest,
        patience: Duration,
    ) -> Result<MemoryPermit, MemoryLimitReached> {
        let full = match self.try_acquire_bytes(key, taken) {
            Ok(allowance) => return Ok(allowance),
            Err(full @ MemoryLimitReached::Concurrency(_)) => return Err(full),
            Err(full) => full,
        };
        // A request that is larger than the limits never fits, so it does not wait.
        if taken.bytes > self.bytes_max() {
            return Err(full);
        }
        let Some(_waiting) = MemoryWaiter::try_new(self, key) else { return Err(full) };
        let until = Instant::now() + patience;
        loop {
            let given_back = self.0.given_back.notified();
            match self.try_acquire_bytes(key, taken) {
                Ok(allowance) => return Ok(allowance),
                Err(full) => {
                    if tokio::time::timeout_at(until, given_back).await.is_err() {
                        return Err(full);
                    }
                }
            }
        }
    }

    /// Returns the most bytes that one request can take.
    pub(crate) fn bytes_max(&self) -> usize {
        self.0.most.per_key.min(self.0.most.in_all)
    }

    fn lock_state(&self) -> std::sync::MutexGuard<'_, BudgetState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BudgetState {
    /// Takes `bytes` for a permit that holds `own` bytes so far. A permit that is the only one can
    /// take the last quarter too.
    fn take_bytes(
        &mut self,
        most: MemoryLimits,
        key: &KeyId,
        (own, bytes): (usize, usize),
    ) -> Result<(), MemoryLimitReached> {
        let of_key = self.by_key.get(key).map_or(0, |of_key| of_key.bytes) + bytes;
        if of_key > most.per_key {
            return Err(MemoryLimitReached::Key(most.per_key));
        }
        let in_all = self.in_all + bytes;
        let is_crowded = in_all > most.in_all / 4 * 3;
        if in_all > most.in_all || (is_crowded && of_key > most.per_key / 8 && self.in_all > own) {
            return Err(MemoryLimitReached::Process);
        }
        self.in_all = in_all;
        self.by_key.entry(key.clone()).or_default().bytes = of_key;
        Ok(())
    }

    fn remove_idle_key(&mut self, key: &KeyId) {
        if self.by_key.get(key).is_some_and(|of_key| of_key.requests == 0 && of_key.waiting == 0) {
            self.by_key.remove(key);
        }
    }
}

/// A waiting request. Dropping it ends the wait.
struct MemoryWaiter<'a>(&'a MemoryBudget, &'a KeyId);

impl<'a> MemoryWaiter<'a> {
    fn try_new(held: &'a MemoryBudget, key: &'a KeyId) -> Option<Self> {
        let mut state = held.lock_state();
        let of_key = state.by_key.entry(key.clone()).or_default();
        if of_key.waiting >= WAITING_PER_KEY {
            return None;
        }
        of_key.waiting += 1;
        Some(Self(held, key))
    }
}

impl Drop for MemoryWaiter<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock_state();
        if let Some(of_key) = state.by_key.get_mut(self.1) {
            of_key.waiting -= 1;
        }
        state.remove_idle_key(self.1);
    }
}

impl MemoryPermit {
    /// Takes more bytes for the same request, so that the permit covers `bytes` in total.
    ///
    /// # Errors
    /// A limit is reached.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), MemoryLimitReached> {
        let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) else {
            return Ok(());
        };
        // Grows in steps, so that small chunks do not take the lock each time.
        let more = more.max(STEP);
        self.held.lock_state().take_bytes(self.held.0.most, &self.key, (self.bytes, more))?;
        self.bytes += more;
        Ok(())
    }

    /// Releases the bytes beyond `bytes`, if they are at least four steps.
    fn shrink(&mut self, bytes: usize) {
        let Some(less) = self.bytes.checked_sub(bytes).filter(|less| *less >= 4 * STEP) else {
            return;
        };
        let mut state = self.held.lock_state();
        state.in_all -= less;
        if let Some(of_key) = state.by_key.get_mut(&self.key) {
            of_key.bytes -= less;
        }
        drop(state);
        self.bytes -= less;
        self.held.0.given_back.notify_waiters();
    }
}

/// The memory of one stream: the bytes that the relay holds of it and those that its client has not
/// taken yet. The first [`FREE_BYTES`] are not counted, because nearly all events are shorter.
pub(crate) struct StreamRoom {
    held: MemoryBudget,
    key: KeyId,
    allowance: Option<MemoryPermit>,
}

/// The bytes that a stream can hold without a permit.
pub(crate) const FREE_BYTES: usize = 64 * 1024;

impl StreamRoom {
    /// Creates the budget of one stream of `key`. `allowance` covers what it already holds.
    pub(crate) fn new(held: &MemoryBudget, key: &KeyId, allowance: Option<MemoryPermit>) -> Self {
        Self { held: held.clone(), key: key.clone(), allowance }
    }

    /// Sets the number of bytes that the stream holds.
    ///
    /// # Errors
    /// A limit is reached.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), MemoryLimitReached> {
        let beyond = bytes.saturating_sub(FREE_BYTES);
        if beyond == 0 {
            self.allowance = None;
            return Ok(());
        }
        if let Some(allowance) = &mut self.allowance {
            allowance.shrink(beyond);
            return allowance.grow_to(beyond);
        }
        let taken = MemoryRequest { bytes: beyond, is_metered: false, concurrency: None };
        self.allowance = Some(self.held.try_acquire_bytes(&self.key, taken)?);
        Ok(())
    }
}

impl Drop for MemoryPermit {
    fn drop(&mut self) {
        let mut state = self.held.lock_state();
        state.in_all -= self.bytes;
        if let Some(of_key) = state.by_key.get_mut(&self.key) {
            of_key.bytes -= self.bytes;
            of_key.requests -= 1;
            of_key.metered -= u32::from(self.is_metered);
        }
        state.remove_idle_key(&self.key);
        drop(state);
        self.held.0.given_back.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: usize = 1 << 20;

    fn held() -> MemoryBudget {
        MemoryBudget::new(MemoryLimits { in_all: 128 * MB, per_key: 64 * MB, least: 16 * 1024 })
    }

    fn bytes(bytes: usize) -> MemoryRequest {
        MemoryRequest { bytes, is_metered: true, concurrency: None }
    }

    fn key(number: u8) -> KeyId {
        KeyId::from_bits(number.into())
    }

    #[test]
    fn bytes_are_limited_per_key_and_in_total() {
        let (held, one, two) = (held(), key(1), key(2));
        let first: Vec<_> =
            (0..2).map(|_| held.try_acquire_bytes(&one, bytes(32 * MB)).unwrap()).collect();
        assert_eq!(
            held.try_acquire_bytes(&one, bytes(1)).err(),
            Some(MemoryLimitReached::Key(64 * MB))
        );
        let second = held.try_acquire_bytes(&two, bytes(32 * MB)).unwrap();
        assert_eq!(
            held.try_acquire_bytes(&two, bytes(32 * MB)).err(),
            Some(MemoryLimitReached::Process),
            "the last quarter"
        );
        // Keys that hold little are still served.
        let small: Vec<_> = (3..7)
            .map(|number| held.try_acquire_bytes(&key(number), bytes(8 * MB)).unwrap())
            .collect();
        assert_eq!(
            held.try_acquire_bytes(&key(8), bytes(1)).err(),
            Some(MemoryLimitReached::Process)
        );
        drop((first, second, small));
        let state = held.lock_state();
        assert_eq!((state.in_all, state.by_key.len()), (0, 0), "everything is given back");
    }

    #[test]
    fn allowance_grows_with_a_body_of_unknown_length() {
        let (held, one) = (held(), key(1));
        let mut allowance = held.try_acquire_bytes(&one, bytes(0)).unwrap();
        for bytes in (0..=60 * MB).step_by(100_000) {
            allowance.grow_to(bytes).unwrap();
        }
        assert_eq!(allowance.grow_to(70 * MB), Err(MemoryLimitReached::Key(64 * MB)));
        assert!(held.lock_state().in_all < 61 * MB);
        drop(allowance);
        assert_eq!(held.lock_state().in_all, 0);
    }

    #[test]
    fn concurrency_is_checked_before_bodies_are_read() {
        let (held, one) = (held(), key(1));
        let metered = MemoryRequest { bytes: 1, is_metered: true, concurrency: Some(1) };
        let free = MemoryRequest { is_metered: false, ..metered };
        let first = held.try_acquire_bytes(&one, metered).unwrap();
        assert_eq!(
            held.try_acquire_bytes(&one, metered).err(),
            Some(MemoryLimitReached::Concurrency(1))
        );
        assert!(held.try_acquire_bytes(&one, free).is_ok(), "free calls are not counted");
        drop(first);
        assert!(held.try_acquire_bytes(&one, metered).is_ok());
    }

    #[test]
    fn a_stream_draws_beyond_what_is_free_and_gives_back() {
        let held = MemoryBudget::new(MemoryLimits { in_all: 4 * MB, per_key: 2 * MB, least: 0 });
        let one = key(1);
        let taken = || held.lock_state().in_all;
        let mut rooms: Vec<_> = (0..3).map(|_| StreamRoom::new(&held, &one, None)).collect();
        for room in &mut rooms {
            assert_eq!(room.hold(FREE_BYTES), Ok(()));
        }
        assert_eq!(taken(), 0, "free");
        for bytes in (0..MB).step_by(10_000) {
            assert_eq!(rooms[0].hold(FREE_BYTES + bytes), Ok(()));
            assert_eq!(rooms[1].hold(FREE_BYTES + bytes), Ok(()));
        }
        assert_eq!(rooms[2].hold(FREE_BYTES + MB / 2), Err(MemoryLimitReached::Key(2 * MB)));
        assert_eq!(rooms[0].hold(FREE_BYTES + MB / 4), Ok(()));
        assert_eq!(rooms[2].hold(FREE_BYTES + MB / 2), Ok(()));
        assert_eq!(rooms[1].hold(0), Ok(()));
        assert_eq!(taken(), MB / 4 + MB / 2);
        drop(rooms);
        assert_eq!(taken(), 0);
    }

    #[test]
    fn first_body_fits_even_with_tiny_bounds() {
        let held = MemoryBudget::new(MemoryLimits { in_all: 32 * MB, per_key: 32 * MB, least: 1 });
        assert!(held.try_acquire_bytes(&key(1), bytes(32 * MB)).is_ok());
        let mut allowance = held.try_acquire_bytes(&key(1), bytes(30 * MB)).unwrap();
        assert_eq!(allowance.grow_to(32 * MB), Ok(()), "it is still the only one");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_requests_get_released_bytes_and_are_bounded() {
        let (held, one) = (held(), key(1));
        let first = held.try_acquire_bytes(&one, bytes(64 * MB)).unwrap();
        let waits = |held: MemoryBudget| async move {
            held.acquire_bytes(&key(1), bytes(MB)).await.is_ok()
        };
        let waiting: Vec<_> =
            (0..=WAITING_PER_KEY).map(|_| tokio::spawn(waits(held.clone()))).collect();
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(first);
        let mut served = 0;
        for one in waiting {
            served += usize::from(one.await.unwrap());
        }
        assert_eq!(served, WAITING_PER_KEY, "one was too many to wait");
        let _all = held.try_acquire_bytes(&one, bytes(64 * MB)).unwrap();
        assert_eq!(
            held.acquire_bytes(&one, bytes(MB)).await.err(),
            Some(MemoryLimitReached::Key(64 * MB)),
            "not for ever"
        );
    }
}
