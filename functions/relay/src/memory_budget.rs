//! The memory that this process holds for requests, limited per key and in total.
//!
//! Bytes are taken from the budget before they are read, so that requests that will be refused
//! cannot fill the memory. The last quarter of the total is reserved for keys that hold little, so
//! that a few keys with large bodies do not block the others.

use baton_domain::id::KeyId;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

mod stream_memory;

pub(crate) use stream_memory::{StreamMemory, retry_for_memory};

/// The least number of bytes by which a permit grows.
const STEP: usize = 16 * 1024;
/// How long a request waits for others to release bytes.
pub(crate) const MEMORY_TIMEOUT: Duration = Duration::from_secs(5);
/// The most requests of one key that wait at the same time.
const WAITING_PER_KEY: usize = 64;

/// The memory budget. Clones share it.
#[derive(Clone)]
pub(crate) struct MemoryBudget(Arc<SharedMemoryBudget>);

struct SharedMemoryBudget {
    limits: MemoryLimits,
    state: Mutex<BudgetState>,
    released: Notify,
    /// The number of streams that can reserve memory.
    streams: AtomicUsize,
}

/// The limits of a budget, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemoryLimits {
    pub(crate) total: usize,
    /// The most bytes of one request.
    pub(crate) per_request: usize,
    /// The most bytes of a key that has more than one request.
    pub(crate) per_key: usize,
}

impl MemoryLimits {
    /// Limits by which a key can have as much with one request as with several.
    pub(crate) fn new(total: usize, per_key: usize) -> Self {
        Self { total, per_request: per_key, per_key }
    }
}

#[derive(Default)]
struct BudgetState {
    total: usize,
    by_key: HashMap<KeyId, KeyMemory>,
}

#[derive(Default)]
struct KeyMemory {
    bytes: usize,
    requests: usize,
    /// The metered requests, to which the key's concurrency limit applies.
    metered: u32,
    waiter_count: usize,
}

/// What one request takes from the budget.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemoryRequest {
    pub(crate) bytes: usize,
    /// Bytes that the permit covers in addition, whatever its size becomes.
    pub(crate) fixed_bytes: usize,
    pub(crate) is_metered: bool,
    /// The most metered requests that the key can have at the same time.
    pub(crate) concurrency: Option<u32>,
}

impl MemoryRequest {
    /// Bytes that the key's concurrency limit does not concern.
    pub(crate) fn unmetered(bytes: usize) -> Self {
        Self { bytes, fixed_bytes: 0, is_metered: false, concurrency: None }
    }
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
    budget: MemoryBudget,
    key: KeyId,
    bytes: usize,
    fixed_bytes: usize,
    is_metered: bool,
}

impl MemoryPermit {
    /// Returns the bytes in a form that keeps the permit until the last part of them is dropped.
    /// The HTTP client drops a body when it is sent, which can be long after the upstream has begun
    /// to answer.
    pub(crate) fn attach(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(CountedBytes { bytes, _permit: self })
    }
}

/// Bytes with their share of the memory budget.
struct CountedBytes {
    bytes: Bytes,
    _permit: MemoryPermit,
}

impl AsRef<[u8]> for CountedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl MemoryBudget {
    pub(crate) fn new(limits: MemoryLimits) -> Self {
        let state = Mutex::new(BudgetState::default());
        let (released, streams) = (Notify::new(), AtomicUsize::new(0));
        Self(Arc::new(SharedMemoryBudget { limits, state, released, streams }))
    }

    /// Takes what a request of `key` needs, without waiting.
    ///
    /// # Errors
    /// A limit is reached.
    pub(crate) fn try_acquire_bytes(
        &self,
        key: &KeyId,
        memory_request: MemoryRequest,
    ) -> Result<MemoryPermit, MemoryLimitReached> {
        let MemoryRequest { bytes, fixed_bytes, is_metered, concurrency } = memory_request;
        // The longest body fits in any case.
        let bytes = (bytes + fixed_bytes).min(bytes.max(self.bytes_max()));
        let mut state = self.lock_state();
        let metered = state.by_key.get(key).map_or(0, |key_memory| key_memory.metered);
        if let Some(max) = concurrency.filter(|max| is_metered && metered >= *max) {
            return Err(MemoryLimitReached::Concurrency(max));
        }
        state.take_bytes(self.0.limits, key, 0, bytes)?;
        if let Some(key_memory) = state.by_key.get_mut(key) {
            key_memory.requests += 1;
            key_memory.metered += u32::from(is_metered);
        }
        Ok(MemoryPermit { budget: self.clone(), key: key.clone(), bytes, fixed_bytes, is_metered })
    }

    /// Takes what a request of `key` needs, and waits up to [`MEMORY_TIMEOUT`] for others to
    /// release bytes.
    ///
    /// # Errors
    /// A limit is still reached, or too many requests of the key wait.
    pub(crate) async fn acquire_bytes(
        &self,
        key: &KeyId,
        memory_request: MemoryRequest,
    ) -> Result<MemoryPermit, MemoryLimitReached> {
        self.acquire_bytes_within(key, memory_request, MEMORY_TIMEOUT).await
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
        let limit_reached = match self.try_acquire_bytes(key, taken) {
            Ok(permit) => return Ok(permit),
            Err(limit_reached @ MemoryLimitReached::Concurrency(_)) => return Err(limit_reached),
            Err(limit_reached) => limit_reached,
        };
        // A request that is larger than the limits never fits, so it does not wait.
        if taken.bytes > self.bytes_max() {
            return Err(limit_reached);
        }
        let Some(_guard) = MemoryWaiter::try_new(self, key) else { return Err(limit_reached) };
        let until = Instant::now() + patience;
        loop {
            let released = self.0.released.notified();
            match self.try_acquire_bytes(key, taken) {
                Ok(permit) => return Ok(permit),
                Err(limit_reached) => {
                    if tokio::time::timeout_at(until, released).await.is_err() {
                        return Err(limit_reached);
                    }
                }
            }
        }
    }

    /// Takes memory for the part of a request that is kept until its answer ends. Below [`STEP`]
    /// bytes it returns `None`, because the answer's own permit covers so little.
    ///
    /// # Errors
    /// A limit is still reached after [`MEMORY_TIMEOUT`], or too many requests of the key wait.
    pub(crate) async fn acquire_kept_bytes(
        &self,
        key: &KeyId,
        bytes: usize,
    ) -> Result<Option<MemoryPermit>, MemoryLimitReached> {
        if bytes < STEP {
            return Ok(None);
        }
        Box::pin(self.acquire_bytes(key, MemoryRequest::unmetered(bytes))).await.map(Some)
    }

    /// Returns the most bytes that one request can take.
    pub(crate) fn bytes_max(&self) -> usize {
        self.0.limits.per_request.min(self.0.limits.total)
    }

    fn lock_state(&self) -> std::sync::MutexGuard<'_, BudgetState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BudgetState {
    /// Takes `bytes` for a permit that holds `held_bytes` so far. A permit that is the only one can
    /// take the last quarter too.
    fn take_bytes(
        &mut self,
        limits: MemoryLimits,
        key: &KeyId,
        held_bytes: usize,
        bytes: usize,
    ) -> Result<(), MemoryLimitReached> {
        let held_by_key = self.by_key.get(key).map_or(0, |key_memory| key_memory.bytes);
        let key_memory = held_by_key + bytes;
        let key_max = if held_by_key > held_bytes { limits.per_key } else { limits.per_request };
        if key_memory > key_max {
            return Err(MemoryLimitReached::Key(key_max));
        }
        let total = self.total + bytes;
        let is_crowded = total > limits.total / 4 * 3;
        if total > limits.total
            || (is_crowded && key_memory > limits.per_key / 8 && self.total > held_bytes)
        {
            return Err(MemoryLimitReached::Process);
        }
        self.total = total;
        self.by_key.entry(key.clone()).or_default().bytes = key_memory;
        Ok(())
    }

    fn remove_idle_key(&mut self, key: &KeyId) {
        if self
            .by_key
            .get(key)
            .is_some_and(|key_memory| key_memory.requests == 0 && key_memory.waiter_count == 0)
        {
            self.by_key.remove(key);
        }
    }
}

/// A waiting request. Dropping it ends the wait.
struct MemoryWaiter<'a>(&'a MemoryBudget, &'a KeyId);

impl<'a> MemoryWaiter<'a> {
    fn try_new(budget: &'a MemoryBudget, key: &'a KeyId) -> Option<Self> {
        let mut state = budget.lock_state();
        let key_memory = state.by_key.entry(key.clone()).or_default();
        if key_memory.waiter_count >= WAITING_PER_KEY {
            return None;
        }
        key_memory.waiter_count += 1;
        Some(Self(budget, key))
    }
}

impl Drop for MemoryWaiter<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock_state();
        if let Some(key_memory) = state.by_key.get_mut(self.1) {
            key_memory.waiter_count -= 1;
        }
        state.remove_idle_key(self.1);
    }
}

impl MemoryPermit {
    /// Takes more bytes for the same request, so that the permit covers `bytes` and its fixed bytes.
    ///
    /// # Errors
    /// A limit is reached.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), MemoryLimitReached> {
        let bytes = bytes + self.fixed_bytes;
        let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) else {
            return Ok(());
        };
        // Grows in steps, so that small chunks do not take the lock each time.
        let rest = self.budget.bytes_max().saturating_sub(self.bytes);
        let more = more.max(STEP.min(rest));
        self.budget.lock_state().take_bytes(self.budget.0.limits, &self.key, self.bytes, more)?;
        self.bytes += more;
        Ok(())
    }

    /// As [`Self::grow_to`], but at most to [`MemoryBudget::bytes_max`], so that the largest permitted
    /// request fits when it is the key's only one.
    ///
    /// # Errors
    /// A limit is reached.
    pub(crate) fn grow_up_to(&mut self, bytes: usize) -> Result<(), MemoryLimitReached> {
        self.grow_to(bytes.min(self.budget.bytes_max().saturating_sub(self.fixed_bytes)))
    }

    /// Releases the bytes beyond `bytes` and the fixed bytes.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        // Only a larger permit can reach a limit.
        let limits = self.budget.0.limits;
        let _shrunk = self.resize((bytes + self.fixed_bytes).min(self.bytes), limits);
    }

    /// Changes the permit to `bytes` within `limits`.
    ///
    /// # Errors
    /// A limit is reached. The permit is unchanged then.
    fn resize(&mut self, bytes: usize, limits: MemoryLimits) -> Result<(), MemoryLimitReached> {
        if bytes == self.bytes {
            return Ok(());
        }
        let mut state = self.budget.lock_state();
        if let Some(more) = bytes.checked_sub(self.bytes) {
            state.take_bytes(limits, &self.key, self.bytes, more)?;
        } else {
            let less = self.bytes - bytes;
            state.total -= less;
            if let Some(key_memory) = state.by_key.get_mut(&self.key) {
                key_memory.bytes -= less;
            }
        }
        drop(state);
        if bytes < self.bytes {
            self.budget.0.released.notify_waiters();
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for MemoryPermit {
    fn drop(&mut self) {
        let mut state = self.budget.lock_state();
        state.total -= self.bytes;
        if let Some(key_memory) = state.by_key.get_mut(&self.key) {
            key_memory.bytes -= self.bytes;
            key_memory.requests -= 1;
            key_memory.metered -= u32::from(self.is_metered);
        }
        state.remove_idle_key(&self.key);
        drop(state);
        self.budget.0.released.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: usize = 1 << 20;

    fn held() -> MemoryBudget {
        MemoryBudget::new(MemoryLimits::new(128 * MB, 64 * MB))
    }

    fn bytes(bytes: usize) -> MemoryRequest {
        MemoryRequest { is_metered: true, ..MemoryRequest::unmetered(bytes) }
    }

    fn key(number: u8) -> KeyId {
        KeyId::from_bits(number.into())
    }

    #[test]
    fn attached_bytes_count_until_their_last_part_is_dropped() {
        let (budget, one) = (held(), key(1));
        let permit = budget.try_acquire_bytes(&one, bytes(MB)).unwrap();
        let body = permit.attach(Bytes::from_static(b"body"));
        let part = body.slice(1..2);
        drop(body);
        assert_eq!(budget.lock_state().total, MB);
        drop(part);
        assert_eq!(budget.lock_state().total, 0);
    }

    #[test]
    fn fixed_bytes_count_whatever_the_size_becomes() {
        let budget = held();
        let request = MemoryRequest { fixed_bytes: MB, ..bytes(2 * MB) };
        let mut permit = budget.try_acquire_bytes(&key(1), request).unwrap();
        let total = || budget.lock_state().total;
        assert_eq!(total(), 3 * MB);
        permit.grow_to(4 * MB).unwrap();
        assert_eq!(total(), 5 * MB);
        permit.shrink(MB);
        assert_eq!(total(), 2 * MB);
        assert_eq!(permit.grow_to(64 * MB), Err(MemoryLimitReached::Key(64 * MB)));
        permit.grow_up_to(64 * MB).unwrap();
        assert_eq!(total(), 64 * MB);
        drop(permit);
        let longest = MemoryRequest { bytes: 64 * MB, ..request };
        let permit = budget.try_acquire_bytes(&key(1), longest).unwrap();
        assert_eq!(total(), 64 * MB);
        drop(permit);
        assert_eq!(total(), 0);
    }

    #[test]
    fn bytes_are_limited_per_key_and_in_total() {
        let (budget, one, two) = (held(), key(1), key(2));
        let first: Vec<_> =
            (0..2).map(|_| budget.try_acquire_bytes(&one, bytes(32 * MB)).unwrap()).collect();
        assert_eq!(
            budget.try_acquire_bytes(&one, bytes(1)).err(),
            Some(MemoryLimitReached::Key(64 * MB))
        );
        let second = budget.try_acquire_bytes(&two, bytes(32 * MB)).unwrap();
        assert_eq!(
            budget.try_acquire_bytes(&two, bytes(32 * MB)).err(),
            Some(MemoryLimitReached::Process),
            "the last quarter"
        );
        // Keys that hold little are still served.
        let small: Vec<_> = (3..7)
            .map(|number| budget.try_acquire_bytes(&key(number), bytes(8 * MB)).unwrap())
            .collect();
        assert_eq!(
            budget.try_acquire_bytes(&key(8), bytes(1)).err(),
            Some(MemoryLimitReached::Process)
        );
        drop((first, second, small));
        let state = budget.lock_state();
        assert_eq!((state.total, state.by_key.len()), (0, 0), "everything is given back");
    }

    /// A key whose requests wait for a vendor that hangs does not block the long bodies of others.
    #[test]
    fn key_with_several_requests_leaves_half_to_others() {
        let limits = MemoryLimits { total: 32 * MB, per_request: 32 * MB, per_key: 16 * MB };
        let (budget, one, two) = (MemoryBudget::new(limits), key(1), key(2));
        let first = budget.try_acquire_bytes(&one, bytes(8 * MB)).unwrap();
        let second = budget.try_acquire_bytes(&one, bytes(8 * MB)).unwrap();
        let third = budget.try_acquire_bytes(&one, bytes(1));
        assert_eq!(third.err(), Some(MemoryLimitReached::Key(16 * MB)));
        let other = budget.try_acquire_bytes(&two, bytes(8 * MB)).unwrap();
        drop((first, second, other));
        let mut only = budget.try_acquire_bytes(&one, bytes(30 * MB)).unwrap();
        assert_eq!(only.grow_to(32 * MB), Ok(()), "the only request of its key");
        assert!(budget.try_acquire_bytes(&one, bytes(1)).is_err());
        drop(only);
        // Two requests that grow share the half.
        let mut first = budget.try_acquire_bytes(&one, bytes(0)).unwrap();
        let mut second = budget.try_acquire_bytes(&one, bytes(MB)).unwrap();
        assert_eq!(first.grow_to(20 * MB), Err(MemoryLimitReached::Key(16 * MB)));
        assert_eq!(first.grow_to(15 * MB), Ok(()));
        assert_eq!(second.grow_to(2 * MB), Err(MemoryLimitReached::Key(16 * MB)));
        drop(first);
        assert_eq!(second.grow_to(20 * MB), Ok(()));
    }

    #[test]
    fn allowance_grows_with_a_body_of_unknown_length() {
        let (budget, one) = (held(), key(1));
        let mut permit = budget.try_acquire_bytes(&one, bytes(0)).unwrap();
        for bytes in (0..=60 * MB).step_by(100_000) {
            permit.grow_to(bytes).unwrap();
        }
        assert_eq!(permit.grow_to(70 * MB), Err(MemoryLimitReached::Key(64 * MB)));
        assert!(budget.lock_state().total < 61 * MB);
        drop(permit);
        assert_eq!(budget.lock_state().total, 0);
    }

    #[test]
    fn concurrency_is_checked_before_bodies_are_read() {
        let (budget, one) = (held(), key(1));
        let metered = MemoryRequest { concurrency: Some(1), ..bytes(1) };
        let free = MemoryRequest { is_metered: false, ..metered };
        let first = budget.try_acquire_bytes(&one, metered).unwrap();
        assert_eq!(
            budget.try_acquire_bytes(&one, metered).err(),
            Some(MemoryLimitReached::Concurrency(1))
        );
        assert!(budget.try_acquire_bytes(&one, free).is_ok(), "free calls are not counted");
        drop(first);
        assert!(budget.try_acquire_bytes(&one, metered).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_of_requests_is_counted() {
        let budget = MemoryBudget::new(MemoryLimits::new(8 * MB, 4 * MB));
        let key = KeyId::from_bits(1);
        assert!(budget.acquire_kept_bytes(&key, STEP - 1).await.unwrap().is_none());
        let mut kept = budget.acquire_kept_bytes(&key, 3 * MB).await.unwrap().unwrap();
        let more = budget.acquire_kept_bytes(&key, 3 * MB).await;
        assert_eq!(more.err(), Some(MemoryLimitReached::Key(4 * MB)));
        kept.grow_up_to(4 * MB - 1).unwrap();
        kept.grow_up_to(9 * MB).unwrap();
        assert_eq!(kept.bytes, 4 * MB);
        drop(kept);
        assert!(budget.acquire_kept_bytes(&key, 3 * MB).await.is_ok());
    }

    #[test]
    fn first_body_fits_even_with_tiny_bounds() {
        let budget = MemoryBudget::new(MemoryLimits::new(32 * MB, 32 * MB));
        assert!(budget.try_acquire_bytes(&key(1), bytes(32 * MB)).is_ok());
        let mut allowance = budget.try_acquire_bytes(&key(1), bytes(30 * MB)).unwrap();
        assert_eq!(allowance.grow_to(32 * MB), Ok(()), "it is still the only one");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_requests_get_released_bytes_and_are_bounded() {
        let (budget, one) = (held(), key(1));
        let first = budget.try_acquire_bytes(&one, bytes(64 * MB)).unwrap();
        let waits = |budget: MemoryBudget| async move {
            budget.acquire_bytes(&key(1), bytes(MB)).await.is_ok()
        };
        let waiting: Vec<_> =
            (0..=WAITING_PER_KEY).map(|_| tokio::spawn(waits(budget.clone()))).collect();
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(first);
        let mut served = 0;
        for one in waiting {
            served += usize::from(one.await.unwrap());
        }
        assert_eq!(served, WAITING_PER_KEY, "one was too many to wait");
        let _all = budget.try_acquire_bytes(&one, bytes(64 * MB)).unwrap();
        assert_eq!(
            budget.acquire_bytes(&one, bytes(MB)).await.err(),
            Some(MemoryLimitReached::Key(64 * MB)),
            "not for ever"
        );
    }
}
