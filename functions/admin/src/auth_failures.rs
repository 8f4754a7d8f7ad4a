//! Counts wrong credentials by client address and by credential. After a burst, one failure per
//! second is allowed; further ones are answered with 429.
//!
//! A credential is checked before its failure is counted, so a valid one is never refused because
//! of requests by others, not even from the same address. Guessing is hopeless without a limit (a
//! key's secret has 190 bits, the admin token at least 16 characters). The count makes programs
//! that repeat a wrong credential slow down, and keeps the log readable.

use baton_domain::relay_key::RelayKey;
use baton_runtime::client_address::holder;
use jiff::Timestamp;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Failures that are allowed at once.
const BURST: i64 = 60;
/// The maximum number of remembered addresses and credentials. Above it all are forgotten, which
/// locks nobody out.
const SUBJECTS_MAX: usize = 10_000;

/// The failures so far.
#[derive(Default)]
pub(crate) struct AuthFailureLimiter(Mutex<HashMap<FailureSubject, FailureCount>>);

/// What failures are counted by.
#[derive(PartialEq, Eq, Hash)]
enum FailureSubject {
    Address(IpAddr),
    /// The id of the claimed key, or a prefix of the hash of another credential.
    Credential(String),
}

/// Failures up to [`BURST`] at the time `at`, in seconds; one failure per second is forgiven.
struct FailureCount {
    count: i64,
    at: i64,
}

impl AuthFailureLimiter {
    /// Counts a failure of this credential, whose hash is `hash`, from this address at `now`.
    /// Returns whether there were too many before it.
    pub(crate) fn count_failure(
        &self,
        address: Option<IpAddr>,
        credential: &str,
        hash: &[u8],
        now: Timestamp,
    ) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= SUBJECTS_MAX {
            all.clear();
        }
        let now = now.as_second();
        let address = address.map(|address| FailureSubject::Address(holder(address)));
        let subjects =
            address.into_iter().chain([FailureSubject::from_credential(credential, hash)]);
        let mut are_too_many = false;
        for subject in subjects {
            let failures = all.entry(subject).or_insert(FailureCount { count: 0, at: now });
            let passed = now.saturating_sub(failures.at).max(0);
            failures.count = failures.count.saturating_sub(passed).max(0);
            failures.at = failures.at.max(now);
            are_too_many |= failures.count >= BURST;
            failures.count = (failures.count + 1).min(BURST);
        }
        are_too_many
    }
}

impl FailureSubject {
    fn from_credential(credential: &str, hash: &[u8]) -> Self {
        let id = RelayKey::parse(credential).map(|key| key.id.to_string());
        Self::Credential(id.unwrap_or_else(|_| format!("{:02x?}", hash.get(..8))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// Fails with a different credential each time. Returns how many failures were over the limit.
    fn flood(
        attempts: &AuthFailureLimiter,
        address: Option<&str>,
        times: u64,
        second: i64,
    ) -> usize {
        let address = address.map(|text| text.parse().unwrap());
        let fail = |n: &u64| {
            attempts.count_failure(address, &format!("guess-{n}"), &n.to_be_bytes(), at(second))
        };
        (0..times).filter(fail).count()
    }

    #[test]
    fn failures_of_one_address_do_not_block_others() {
        let attempts = AuthFailureLimiter::default();
        assert_eq!(flood(&attempts, Some("192.0.2.1"), 60, 0), 0);
        assert_eq!(flood(&attempts, Some("192.0.2.1"), 5000, 0), 5000);
        assert_eq!(flood(&attempts, Some("192.0.2.2"), 30, 0), 0, "another address");
        assert_eq!(flood(&attempts, Some("192.0.2.1"), 2, 1), 1, "one a second is forgiven");
        assert_eq!(flood(&attempts, Some("192.0.2.1"), 60, 70), 0, "failures are capped");
    }

    #[test]
    fn attempts_are_limited_per_credential_across_addresses() {
        let attempts = AuthFailureLimiter::default();
        let late = (0..100).filter(|n| {
            let address = Some(IpAddr::from([192, 0, 2, *n]));
            attempts.count_failure(address, "revoked", b"a hash of it", at(0))
        });
        assert_eq!(late.count(), 40);
    }

    #[test]
    fn number_of_remembered_failures_is_bounded() {
        let attempts = AuthFailureLimiter::default();
        for n in 0..3 * u32::try_from(SUBJECTS_MAX).unwrap() {
            let address = Some(IpAddr::from(n.to_be_bytes()));
            attempts.count_failure(address, "x", &n.to_be_bytes(), at(0));
        }
        assert!(attempts.0.lock().unwrap().len() <= SUBJECTS_MAX + 2);
    }
}
