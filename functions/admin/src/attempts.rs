//! How often this process has been asked with a wrong credential: so many at once, then one a
//! second. Who has shown the right one before is not counted, so an attack locks no operator out.

use jiff::Timestamp;
use std::sync::{Mutex, PoisonError};

/// Wrong credentials that may come at once.
const BURST: i64 = 60;
/// Right ones that are remembered, as hashes.
const KNOWN_MAX: usize = 100;

/// What is known of callers so far.
#[derive(Default)]
pub(crate) struct Attempts(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    failures: i64,
    /// Unix second up to which failures have been forgiven, one a second.
    forgiven: i64,
    known: Vec<Vec<u8>>,
}

impl Attempts {
    /// Whether a credential with this hash may be looked at, at `now`.
    pub(crate) fn may_try(&self, hash: &[u8], now: Timestamp) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = now.as_second().saturating_sub(seen.forgiven).max(0);
        seen.failures = seen.failures.saturating_sub(since).max(0);
        seen.forgiven = seen.forgiven.max(now.as_second());
        seen.failures < BURST || seen.known.iter().any(|known| known == hash)
    }

    /// Notes how it went.
    pub(crate) fn note(&self, hash: Vec<u8>, is_good: bool) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_good {
            seen.failures += 1;
        } else if !seen.known.contains(&hash) {
            if seen.known.len() >= KNOWN_MAX {
                seen.known.remove(0);
            }
            seen.known.push(hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_run_out_but_operators_stay() {
        let attempts = Attempts::default();
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        attempts.note(b"operator".to_vec(), true);
        for _ in 0..BURST {
            assert!(attempts.may_try(b"guess", at(0)));
            attempts.note(b"guess".to_vec(), false);
        }
        assert!(!attempts.may_try(b"guess", at(0)));
        assert!(attempts.may_try(b"operator", at(0)));
        assert!(attempts.may_try(b"guess", at(1)), "one a second");
        attempts.note(b"guess".to_vec(), false);
        assert!(!attempts.may_try(b"guess", at(1)));
        assert!(attempts.may_try(b"guess", at(3)));
    }
}
