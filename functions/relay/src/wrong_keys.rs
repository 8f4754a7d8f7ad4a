//! Well-formed keys that nobody has: counted by the address that they come from.
//!
//! Each costs a read of the store. Beyond a number in a minute the keys of that address that this
//! process does not know wait for their turn, and where many wait they are told to come again. A
//! key that was good before never waits.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Between two look-ups of one address that has shown too many wrong keys.
const TURN: Duration = Duration::from_millis(50);
/// The longest wait for a turn.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// So many addresses are remembered; beyond, those that were quiet longest are forgotten.
const ADDRESSES_MAX: usize = 16 * 1024;
const MINUTE: Duration = Duration::from_mins(1);

/// What each address has shown.
pub(crate) struct WrongKeys {
    per_minute: u32,
    seen: Mutex<HashMap<IpAddr, Seen>>,
}

#[derive(Clone, Copy)]
struct Seen {
    /// Wrong keys since `since`.
    wrong: u32,
    since: Instant,
    next_turn: Instant,
}

/// Too many unknown keys of one address wait already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Crowded;

impl WrongKeys {
    pub(crate) fn new(per_minute: u32) -> Self {
        Self { per_minute, seen: Mutex::new(HashMap::new()) }
    }

    /// How long a key that is not known here has to wait until it may be looked up.
    pub(crate) fn wait(&self, address: IpAddr) -> Result<Duration, Crowded> {
        let now = Instant::now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(seen) = seen.get_mut(&place(address)) else { return Ok(Duration::ZERO) };
        if now.duration_since(seen.since) >= MINUTE || seen.wrong < self.per_minute {
            return Ok(Duration::ZERO);
        }
        let turn = seen.next_turn.max(now);
        let wait = turn.duration_since(now);
        if wait > WAIT_MAX {
            return Err(Crowded);
        }
        seen.next_turn = turn + TURN;
        Ok(wait)
    }

    /// Notes that `address` has shown a key that nobody has.
    pub(crate) fn note(&self, address: IpAddr) {
        let now = Instant::now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= ADDRESSES_MAX {
            seen.retain(|_, seen| now.duration_since(seen.since) < MINUTE);
            if seen.len() >= ADDRESSES_MAX {
                seen.clear();
            }
        }
        let fresh = Seen { wrong: 0, since: now, next_turn: now };
        let seen = seen.entry(place(address)).or_insert(fresh);
        if now.duration_since(seen.since) >= MINUTE {
            *seen = fresh;
        }
        seen.wrong = seen.wrong.saturating_add(1);
    }
}

/// One network of IPv6 is one place: whoever has one address there has all of them.
fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(std::net::Ipv6Addr::from_bits(address.to_bits() >> 64 << 64))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_with_many_wrong_keys_waits_and_others_do_not() {
        let keys = WrongKeys::new(3);
        let (bad, good) = ("203.0.113.1".parse().unwrap(), "203.0.113.2".parse().unwrap());
        for _ in 0..3 {
            assert_eq!(keys.wait(bad), Ok(Duration::ZERO));
            keys.note(bad);
        }
        let mut turns = 0;
        while keys.wait(bad).is_ok() {
            turns += 1;
        }
        assert_eq!(turns, 101, "as many as fit into the longest wait");
        assert_eq!(keys.wait(good), Ok(Duration::ZERO));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(keys.wait(bad).is_ok(), "turns come");
        tokio::time::advance(MINUTE).await;
        assert_eq!(keys.wait(bad), Ok(Duration::ZERO), "a new minute");
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_are_remembered_up_to_a_number() {
        let keys = WrongKeys::new(1);
        for number in 0..200_000_u32 {
            keys.note(IpAddr::from(number.to_be_bytes()));
        }
        assert!(keys.seen.lock().unwrap().len() <= ADDRESSES_MAX);
        keys.note("2001:db8::1".parse().unwrap());
        keys.wait("2001:db8::2".parse().unwrap()).unwrap();
        assert!(keys.wait("2001:db8::3".parse().unwrap()).unwrap() > Duration::ZERO);
    }
}
