//! The memory of streams: what they hold, and what they reserve before they read on.
//!
//! What is reserved is an estimate, so it takes less of the budget than what is held, and a stream
//! that finds no room for it waits.

use super::{
    MEMORY_TIMEOUT, MemoryBudget, MemoryLimitReached, MemoryLimits, MemoryPermit, MemoryRequest,
};
use baton_domain::id::KeyId;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// The memory of one stream: the bytes that the relay holds of it, those that its client has not
/// taken yet, and those that the HTTP library reads ahead.
pub(crate) struct StreamMemory {
    budget: MemoryBudget,
    key: KeyId,
    permit: Option<MemoryPermit>,
    /// The bytes for what is read next.
    reserved: usize,
}

/// The memory of streams is counted in pages of this size, so that it changes less often.
const STREAM_PAGE: usize = 4 * 1024;

/// The time between two attempts to reserve memory for a stream. Streams do not wait to be woken,
/// because a key can have thousands of them.
const RESERVE_INTERVAL: Duration = Duration::from_millis(50);

/// Repeats `attempt` until it succeeds, for [`MEMORY_TIMEOUT`] at most.
///
/// # Errors
/// A limit is still reached.
pub(crate) async fn retry_for_memory<T>(
    mut attempt: impl FnMut() -> Result<T, MemoryLimitReached>,
) -> Result<T, MemoryLimitReached> {
    let until = Instant::now() + MEMORY_TIMEOUT;
    loop {
        match attempt() {
            Err(_) if Instant::now() < until => tokio::time::sleep(RESERVE_INTERVAL).await,
            result => return result,
        }
    }
}

/// What the connections of a stream take besides the counted bytes: its tasks, and the buffers of
/// the HTTP library (measured with 1,000 and 2,000 streams).
const STREAM_OVERHEAD_BYTES: usize = 48 * 1024;

impl MemoryLimits {
    /// Returns the limits for what this number of streams might read. They leave room for bytes that
    /// are held and for the overhead of the streams.
    fn for_reservations(self, streams: usize) -> Self {
        let reservable = |bytes: usize| bytes / 4 * 3;
        let overhead = streams.saturating_mul(STREAM_OVERHEAD_BYTES).min(self.total / 8 * 5);
        Self {
            total: reservable(self.total) - overhead,
            per_request: reservable(self.per_request),
            per_key: reservable(self.per_key),
        }
    }
}

impl StreamMemory {
    /// Creates the budget of one stream of `key`. `permit` covers what it already holds.
    pub(crate) fn new(budget: &MemoryBudget, key: &KeyId, permit: Option<MemoryPermit>) -> Self {
        budget.0.streams.fetch_add(1, Ordering::Relaxed);
        Self { budget: budget.clone(), key: key.clone(), permit, reserved: 0 }
    }

    /// Sets the number of bytes that the stream holds. What is reserved counts in any case.
    ///
    /// # Errors
    /// A limit is reached.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), MemoryLimitReached> {
        self.resize(bytes.max(self.reserved), self.budget.0.limits)
    }

    /// Reserves `bytes` for what is read next of a stream that holds `held_bytes`.
    ///
    /// # Errors
    /// A limit is reached. The stream keeps what it has then.
    pub(crate) fn try_reserve(
        &mut self,
        bytes: usize,
        held_bytes: usize,
    ) -> Result<(), MemoryLimitReached> {
        let limits = self.budget.0.limits;
        // An estimate that could never fit would make the stream wait forever.
        let bytes = bytes.min(limits.per_key / 4 / STREAM_PAGE * STREAM_PAGE);
        let streams = self.budget.0.streams.load(Ordering::Relaxed);
        // A page is left for each stream, so that none waits for the end of others.
        let is_estimate = bytes > held_bytes.max(STREAM_PAGE);
        let limits = if is_estimate { limits.for_reservations(streams) } else { limits };
        self.resize(bytes.max(held_bytes), limits)?;
        self.reserved = bytes;
        Ok(())
    }

    /// As [`Self::try_reserve`], and waits for others to release bytes. Meanwhile the stream counts
    /// with `held_bytes` only, so that streams cannot wait for one another.
    ///
    /// # Errors
    /// No memory for `held_bytes` was released for [`MEMORY_TIMEOUT`].
    pub(crate) async fn reserve(
        &mut self,
        bytes: usize,
        held_bytes: usize,
    ) -> Result<(), MemoryLimitReached> {
        while self.try_reserve(bytes, held_bytes).is_err() {
            self.reserved = 0;
            retry_for_memory(|| self.hold(held_bytes)).await?;
            tokio::time::sleep(RESERVE_INTERVAL).await;
        }
        Ok(())
    }

    fn resize(&mut self, bytes: usize, limits: MemoryLimits) -> Result<(), MemoryLimitReached> {
        let bytes = bytes.next_multiple_of(STREAM_PAGE);
        if bytes == 0 {
            self.permit = None;
            return Ok(());
        }
        if let Some(permit) = &mut self.permit {
            return permit.resize(bytes, limits);
        }
        let none = MemoryRequest::unmetered(0);
        let mut permit = self.budget.try_acquire_bytes(&self.key, none)?;
        permit.resize(bytes, limits)?;
        self.permit = Some(permit);
        Ok(())
    }
}

impl Drop for StreamMemory {
    fn drop(&mut self) {
        self.budget.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: usize = 1 << 20;

    fn key(number: u8) -> KeyId {
        KeyId::from_bits(number.into())
    }

    #[test]
    fn stream_takes_shared_memory_and_releases_it() {
        let budget = MemoryBudget::new(MemoryLimits::new(4 * MB, 2 * MB));
        let one = key(1);
        let taken = || budget.lock_state().total;
        let mut rooms: Vec<_> = (0..3).map(|_| StreamMemory::new(&budget, &one, None)).collect();
        assert_eq!(rooms[0].hold(1), Ok(()));
        assert_eq!(taken(), STREAM_PAGE, "the first byte counts");
        for bytes in (0..MB).step_by(10_000) {
            assert_eq!(rooms[0].hold(bytes), Ok(()));
            assert_eq!(rooms[1].hold(bytes), Ok(()));
        }
        assert_eq!(rooms[2].hold(MB / 2), Err(MemoryLimitReached::Key(2 * MB)));
        assert_eq!(rooms[0].hold(MB / 4), Ok(()));
        assert_eq!(rooms[2].hold(MB / 2), Ok(()));
        assert_eq!(rooms[1].hold(0), Ok(()));
        assert_eq!(taken(), MB / 4 + MB / 2);
        drop(rooms);
        assert_eq!(taken(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn stream_waits_for_memory_before_it_reads_on() {
        let budget = MemoryBudget::new(MemoryLimits::new(4 * MB, 2 * MB));
        let one = key(1);
        let new = || StreamMemory::new(&budget, &one, None);
        let mut stalled: Vec<_> = (0..3).map(|_| new()).collect();
        for stream in &mut stalled {
            assert_eq!(stream.try_reserve(MB, 0), Ok(()), "a quarter of the key's limit");
            assert_eq!(stream.hold(10), Ok(()));
        }
        let mut late = new();
        assert!(late.try_reserve(2 * STREAM_PAGE, 0).is_err(), "estimates leave room");
        assert_eq!(late.hold(MB / 2), Ok(()), "for bytes that are held");
        assert_eq!(late.hold(0), Ok(()));
        let started = Instant::now();
        let waiting = tokio::spawn(async move { late.reserve(MB, 10).await });
        tokio::time::sleep(20 * MEMORY_TIMEOUT).await;
        assert!(!waiting.is_finished(), "an estimate never ends a stream");
        drop(stalled.pop());
        assert_eq!(waiting.await.unwrap(), Ok(()));
        assert!(started.elapsed() >= 20 * MEMORY_TIMEOUT);
        // Held bytes that do not fit end the wait.
        let mut large = new();
        assert_eq!(large.reserve(0, MB + 1).await, Err(MemoryLimitReached::Key(2 * MB)));
    }

    /// Many streams share less, because each takes memory that is not counted. Some is left for any
    /// number of them.
    #[test]
    fn streams_reserve_less_the_more_there_are() {
        let limits = MemoryLimits::new(128 * MB, 128 * MB);
        let reserved = |streams: usize| {
            let budget = MemoryBudget::new(limits);
            let mut streams: Vec<_> =
                (0..streams).map(|_| StreamMemory::new(&budget, &key(1), None)).collect();
            for stream in &mut streams {
                let _may_fail = stream.try_reserve(128 * 1024, 0);
            }
            let reserved = budget.lock_state().total;
            drop(streams);
            assert_eq!(budget.0.streams.load(Ordering::Relaxed), 0);
            reserved
        };
        assert_eq!(reserved(100), 100 * 128 * 1024, "all fit");
        assert_eq!(reserved(1_024), 36 * MB, "one key cannot take the last quarter");
        assert_eq!(reserved(2_048), 12 * MB);
        assert_eq!(reserved(10_000), 12 * MB);
    }

    /// If waiting streams kept their share, none of them could go on.
    #[tokio::test(start_paused = true)]
    async fn streams_that_wait_for_more_do_not_block_one_another() {
        let budget = MemoryBudget::new(MemoryLimits::new(64 * MB, 32 * MB));
        let grow = |mut memory: StreamMemory| async move {
            for bytes in [100, 200, 400, 800] {
                memory.reserve(bytes * 1024, 0).await?;
                tokio::task::yield_now().await;
            }
            Ok(())
        };
        let new = || StreamMemory::new(&budget, &key(1), None);
        let streams = (0..200).map(|_| tokio::spawn(grow(new())));
        for stream in streams.collect::<Vec<_>>() {
            assert_eq!(stream.await.unwrap(), Ok::<(), MemoryLimitReached>(()));
        }
        assert_eq!(budget.lock_state().total, 0);
    }
}
