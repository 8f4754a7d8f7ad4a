//! Requests that wait for a money limit: enough of it is unspent, but other requests have reserved
//! it.
//!
//! A waiting request reads the counters from time to time, and earlier when a request of this
//! process ends. Reads are cheap, so the conditional write is tried only when there seems to be
//! room. The number of waiting requests per key is limited in this process, because each holds its
//! body.

use baton_domain::id::KeyId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The most requests of one key that wait at the same time in this process.
const WAITING_MAX: usize = 32;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The waiting requests by key.
#[derive(Clone, Default)]
pub(crate) struct LimitWaiters(Arc<Mutex<HashMap<KeyId, KeyWaiters>>>);

#[derive(Default)]
struct KeyWaiters {
    count: usize,
    request_ended: Arc<Notify>,
}

/// A place among the waiting requests of a key. Dropping it frees the place.
pub(crate) struct WaitSlot {
    waiters: LimitWaiters,
    key: KeyId,
    request_ended: Arc<Notify>,
    pause: Duration,
}

impl LimitWaiters {
    fn lock_waiters(&self) -> MutexGuard<'_, HashMap<KeyId, KeyWaiters>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place, if the key has one left.
    pub(crate) fn acquire_slot(&self, key: &KeyId) -> Option<WaitSlot> {
        let mut all = self.lock_waiters();
        let waiters = all.entry(key.clone()).or_default();
        if waiters.count >= WAITING_MAX {
            return None;
        }
        waiters.count += 1;
        let request_ended = Arc::clone(&waiters.request_ended);
        drop(all);
        let (waiters, key) = (self.clone(), key.clone());
        Some(WaitSlot { waiters, key, request_ended, pause: FIRST_PAUSE })
    }

    /// Wakes the waiting requests of a key when one of its requests has ended, because that
    /// reservation will be settled soon.
    pub(crate) fn wake_waiters(&self, key: &KeyId) {
        if let Some(waiters) = self.lock_waiters().get(key) {
            waiters.request_ended.notify_waiters();
        }
    }
}

impl Drop for WaitSlot {
    fn drop(&mut self) {
        let mut all = self.waiters.lock_waiters();
        if let Some(waiters) = all.get_mut(&self.key) {
            waiters.count -= 1;
            if waiters.count == 0 {
                all.remove(&self.key);
            }
        }
    }
}

impl WaitSlot {
    /// Waits until a request of the key ends in this process, or for a pause that grows each time.
    /// Returns whether to read the counters again: `false` after `deadline`. `random` spreads
    /// requests that arrived together.
    pub(crate) async fn wait_for_change(&mut self, deadline: Instant, random: u8) -> bool {
        let now = Instant::now();
        if now >= deadline {
            return false;
        }
        let jitter = self.pause / 2 + self.pause.mul_f64(f64::from(random) / 255.0);
        let notified = self.request_ended.notified();
        self.pause = match tokio::time::timeout_at((now + jitter).min(deadline), notified).await {
            // The counters change a moment after the request ends, so the next pause is short.
            Ok(()) => FIRST_PAUSE,
            Err(_) => (self.pause * 2).min(PAUSE_MAX),
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> KeyId {
        KeyId::from_bits(1)
    }

    #[tokio::test(start_paused = true)]
    async fn rechecks_are_few_and_end_at_the_deadline() {
        for chance in [0, 128, 255] {
            let mut place = LimitWaiters::default().acquire_slot(&key()).expect("a place");
            let start = Instant::now();
            let (deadline, mut looks) = (start + Duration::from_secs(5), Vec::new());
            while place.wait_for_change(deadline, chance).await {
                looks.push(start.elapsed());
            }
            assert_eq!(looks.last(), Some(&Duration::from_secs(5)));
            assert!((5..=15).contains(&looks.len()), "{looks:?}");
            // A change of the counters is seen within a short time.
            let longest = looks.windows(2).map(|pair| pair[1].abs_diff(pair[0])).max();
            assert!(longest <= Some(Duration::from_millis(1_500)), "{looks:?}");
            assert!(!place.wait_for_change(deadline, chance).await, "there is no time left");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn finished_request_wakes_waiting_requests_of_its_key() {
        let waiters = LimitWaiters::default();
        let mut place = waiters.acquire_slot(&key()).expect("a place");
        let start = Instant::now();
        let waking = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            waiters.wake_waiters(&key());
        };
        let deadline = start + Duration::from_secs(5);
        let (is_worth_a_look, ()) = tokio::join!(place.wait_for_change(deadline, 255), waking);
        assert!(is_worth_a_look);
        assert_eq!(start.elapsed(), Duration::from_millis(10));
    }

    #[test]
    fn waiting_places_per_key_are_bounded() {
        let waiters = LimitWaiters::default();
        let mut places: Vec<WaitSlot> =
            (0..WAITING_MAX).filter_map(|_| waiters.acquire_slot(&key())).collect();
        assert_eq!(places.len(), WAITING_MAX);
        assert!(waiters.acquire_slot(&key()).is_none());
        assert!(waiters.acquire_slot(&KeyId::from_bits(2)).is_some(), "another key has its own");
        places.pop();
        assert!(waiters.acquire_slot(&key()).is_some());
        drop(places);
        assert!(waiters.lock_waiters().is_empty());
    }
}
