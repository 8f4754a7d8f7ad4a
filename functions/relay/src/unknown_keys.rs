//! Limits look-ups of well-formed keys that do not exist, by the address that sends them.
//!
//! Each look-up costs a read of the store. Above a number per minute, keys of that address that are
//! not in this process's cache wait for their turn. If too many wait, they are refused and should
//! come again later. A key that was valid before never waits.

use baton_runtime::client_address::holder;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The time between two look-ups for an address that has sent too many unknown keys.
const LOOKUP_INTERVAL: Duration = Duration::from_millis(50);
/// The longest wait for a turn.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// The most addresses that are remembered. Beyond that, old ones are forgotten, or all if none is
/// old.
const ADDRESSES_MAX: usize = 16 * 1024;
const MINUTE: Duration = Duration::from_mins(1);

/// Counts the unknown keys of each address.
pub(crate) struct UnknownKeyLimiter {
    per_minute: u32,
    counts: Mutex<HashMap<IpAddr, UnknownKeyCount>>,
}

#[derive(Clone, Copy)]
struct UnknownKeyCount {
    /// Unknown keys since `since`.
    count: u32,
    since: Instant,
    next_lookup: Instant,
}

/// Too many unknown keys of one address are already waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooManyUnknownKeys;

impl UnknownKeyLimiter {
    pub(crate) fn new(per_minute: u32) -> Self {
        Self { per_minute, counts: Mutex::new(HashMap::new()) }
    }

    /// Counts a key that is not in the cache as unknown until it proves valid. Returns how long to
    /// wait before the look-up.
    ///
    /// # Errors
    /// The wait would be too long.
    pub(crate) fn count_unknown_key(
        &self,
        address: IpAddr,
    ) -> Result<Duration, TooManyUnknownKeys> {
        let now = Instant::now();
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= ADDRESSES_MAX {
            counts.retain(|_, known| now.duration_since(known.since) < MINUTE);
            if counts.len() >= ADDRESSES_MAX {
                counts.clear();
            }
        }
        let fresh = UnknownKeyCount { count: 0, since: now, next_lookup: now };
        let known = counts.entry(holder(address)).or_insert(fresh);
        if now.duration_since(known.since) >= MINUTE {
            *known = fresh;
        }
        if known.count < self.per_minute {
            known.count += 1;
            return Ok(Duration::ZERO);
        }
        let next_lookup = known.next_lookup.max(now);
        let wait = next_lookup.duration_since(now);
        if wait > WAIT_MAX {
            return Err(TooManyUnknownKeys);
        }
        known.next_lookup = next_lookup + LOOKUP_INTERVAL;
        Ok(wait)
    }

    /// Takes back the count of a key that proved valid.
    pub(crate) fn uncount_valid_key(&self, address: IpAddr) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = counts.get_mut(&holder(address)) {
            known.count = known.count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_addresses_with_many_wrong_keys_are_delayed() {
        let keys = UnknownKeyLimiter::new(3);
        let (bad, good) = ("203.0.113.1".parse().unwrap(), "203.0.113.2".parse().unwrap());
        for _ in 0..100 {
            assert_eq!(
                keys.count_unknown_key(bad),
                Ok(Duration::ZERO),
                "a right one counts for nothing"
            );
            keys.uncount_valid_key(bad);
        }
        for _ in 0..3 {
            assert_eq!(keys.count_unknown_key(bad), Ok(Duration::ZERO));
        }
        let mut turns = 0;
        while keys.count_unknown_key(bad).is_ok() {
            turns += 1;
        }
        assert_eq!(turns, 101, "as many as fit into the longest wait");
        assert_eq!(keys.count_unknown_key(good), Ok(Duration::ZERO));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(keys.count_unknown_key(bad).is_ok(), "turns come");
        tokio::time::advance(MINUTE).await;
        assert_eq!(keys.count_unknown_key(bad), Ok(Duration::ZERO), "a new minute");
    }

    #[tokio::test(start_paused = true)]
    async fn number_of_remembered_addresses_is_bounded() {
        let keys = UnknownKeyLimiter::new(1);
        for number in 0..200_000_u32 {
            keys.count_unknown_key(IpAddr::from(number.to_be_bytes())).unwrap();
        }
        assert!(keys.counts.lock().unwrap().len() <= ADDRESSES_MAX);
        for last in 1..=2 {
            keys.count_unknown_key(format!("2001:db8::{last}").parse().unwrap()).unwrap();
        }
        assert!(keys.count_unknown_key("2001:db8::3".parse().unwrap()).unwrap() > Duration::ZERO);
    }
}
