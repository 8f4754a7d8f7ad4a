//! Limits for free calls (token counts and model lists): per minute and at the same time for each
//! key, with a short queue.
//!
//! They are counted per process, so each further instance admits the same number again. Free calls
//! do not count against the key's own limits.

use crate::client_response::RelayError;
use baton_domain::id::KeyId;
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a call can wait in the queue.
const SLOT_TIMEOUT: Duration = Duration::from_secs(5);

/// The most calls of a key in the queue. Claude Code sends about 26 token counts at once.
const WAITING_MAX: usize = 64;

/// The most keys that are remembered. Beyond that, keys without a running call are forgotten.
const KEYS_MAX: usize = 10_000;

/// Limits the free calls of each key.
pub(crate) struct FreeCallLimiter {
    per_minute: u32,
    concurrent_max: usize,
    keys: Mutex<HashMap<KeyId, FreeCallCounters>>,
}

struct FreeCallCounters {
    minute: i64,
    calls: u32,
    slots: Arc<Semaphore>,
    waiting_count: Arc<AtomicUsize>,
}

/// A running free call. Dropping it frees its place.
pub(crate) struct FreeCallPermit(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

impl FreeCallLimiter {
    pub(crate) fn new(per_minute: u32, concurrent_max: u32) -> Self {
        let concurrent_max =
            usize::try_from(concurrent_max).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { per_minute, concurrent_max, keys: Mutex::default() }
    }

    /// Admits a call, if necessary after waiting in the queue.
    ///
    /// # Errors
    /// The key has made too many calls in this minute, or its queue is full.
    pub(crate) async fn admit_call(
        &self,
        key: &KeyId,
        now: Timestamp,
    ) -> Result<FreeCallPermit, RelayError> {
        let (slots, waiting_count) = self.count_call(key, now)?;
        if let Ok(waiter) = Arc::clone(&slots).try_acquire_owned() {
            return Ok(FreeCallPermit(waiter));
        }
        let queued =
            QueuePosition::new(&waiting_count).ok_or_else(|| RelayError::too_many_free_calls(1))?;
        let waiter = tokio::time::timeout(SLOT_TIMEOUT, slots.acquire_owned()).await;
        drop(queued);
        match waiter {
            Ok(Ok(waiter)) => Ok(FreeCallPermit(waiter)),
            _ => Err(RelayError::too_many_free_calls(1)),
        }
    }

    /// Counts a call against the limit per minute.
    fn count_call(
        &self,
        key: &KeyId,
        now: Timestamp,
    ) -> Result<(Arc<Semaphore>, Arc<AtomicUsize>), RelayError> {
        let minute = now.as_second().div_euclid(60);
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= KEYS_MAX && !keys.contains_key(key) {
            keys.retain(|_, counts| counts.slots.available_permits() < self.concurrent_max);
        }
        let counts = keys.entry(key.clone()).or_insert_with(|| FreeCallCounters {
            minute,
            calls: 0,
            slots: Arc::new(Semaphore::new(self.concurrent_max)),
            waiting_count: Arc::default(),
        });
        if counts.minute != minute {
            (counts.minute, counts.calls) = (minute, 0);
        }
        if counts.calls >= self.per_minute {
            let seconds_left = 60 - now.as_second().rem_euclid(60);
            return Err(RelayError::too_many_free_calls(u64::try_from(seconds_left).unwrap_or(60)));
        }
        counts.calls += 1;
        Ok((Arc::clone(&counts.slots), Arc::clone(&counts.waiting_count)))
    }
}

/// A place in the queue. Dropping it frees the place.
struct QueuePosition(Arc<AtomicUsize>);

impl QueuePosition {
    fn new(waiting_count: &Arc<AtomicUsize>) -> Option<Self> {
        let before = waiting_count.fetch_add(1, Ordering::Relaxed);
        let queued = Self(Arc::clone(waiting_count));
        (before < WAITING_MAX).then_some(queued)
    }
}

impl Drop for QueuePosition {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn calls_per_minute_are_limited() {
        let calls = FreeCallLimiter::new(3, 8);
        let (key, now) = (KeyId::from_bits(1), at("2026-11-22T21:05:30Z"));
        for _ in 0..3 {
            assert!(calls.admit_call(&key, now).await.is_ok());
        }
        let refused = calls.admit_call(&key, now).await.err().map(|refused| refused.to_string());
        assert!(refused.unwrap_or_default().contains("rate_limit_error"));
        assert!(
            calls.admit_call(&KeyId::from_bits(2), now).await.is_ok(),
            "another key has its own"
        );
        assert!(calls.admit_call(&key, at("2026-11-22T21:06:00Z")).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_calls_are_limited_and_queued() {
        let calls = Arc::new(FreeCallLimiter::new(1_000, 2));
        let (key, now) = (KeyId::from_bits(1), at("2026-11-22T21:05:30Z"));
        let first = calls.admit_call(&key, now).await.ok();
        let _second = calls.admit_call(&key, now).await.unwrap_or_else(|_| panic!("a place"));
        let waiting = tokio::spawn({
            let (calls, key) = (Arc::clone(&calls), key.clone());
            async move { calls.admit_call(&key, now).await.is_ok() }
        });
        tokio::task::yield_now().await;
        drop(first);
        assert!(waiting.await.unwrap());
        let _third = calls.admit_call(&key, now).await.unwrap_or_else(|_| panic!("a place"));
        assert!(calls.admit_call(&key, now).await.is_err(), "nobody leaves within the patience");
    }
}
