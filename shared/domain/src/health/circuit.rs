//! The circuit of an account: several failures within a short time open it, and then one request at a
//! time tests the account.

use super::{AccountAvailability, AccountHealth, HealthState};
use crate::cooldown_reason::CooldownReason;
use jiff::{SignedDuration, Timestamp};

/// This number of failures within [`FAILURE_WINDOW`] opens the circuit.
const FAILURES_MAX: usize = 3;
const FAILURE_WINDOW: SignedDuration = SignedDuration::from_secs(60);
/// How long the circuit is open at first; each failed probe doubles the time.
const OPEN_SECONDS_MIN: u32 = 30;
pub(super) const OPEN_SECONDS_MAX: u32 = 300;
/// A probe without a result after this time is abandoned, and another request can probe.
const PROBE_TIMEOUT: SignedDuration = SignedDuration::from_secs(60);

impl AccountHealth {
    /// How long the circuit was open a short time ago, if no answer has been complete since.
    fn unconfirmed_open_seconds(&self, now: Timestamp) -> Option<u32> {
        let window = SignedDuration::from_secs(OPEN_SECONDS_MAX.into());
        let was_open = self.out_until.is_some_and(|until| now.duration_since(until) < window);
        self.last_open_seconds.filter(|_| was_open)
    }
}

/// The health after a failure of the kind that opens the circuit.
pub(super) fn after_server_error(
    health: &AccountHealth,
    reason: CooldownReason,
    now: Timestamp,
) -> Option<AccountHealth> {
    match (&health.state, health.overall(now)) {
        // A failed probe, reported by the probe itself or noticed by another request.
        (HealthState::Open { until, seconds, .. }, _) if *until <= now => {
            return Some(open(health, reason, doubled(*seconds), now));
        }
        (_, AccountAvailability::Cooling { .. } | AccountAvailability::AuthFailed { .. }) => {
            return None;
        }
        _ => {}
    }
    let recent = |at: &Timestamp| now.duration_since(*at) < FAILURE_WINDOW;
    let mut recent_failures: Vec<_> =
        health.recent_failures.iter().copied().filter(recent).collect();
    recent_failures.push(now);
    if recent_failures.len() < FAILURES_MAX {
        return Some(AccountHealth { recent_failures, ..health.with(HealthState::Ready) });
    }
    let seconds = health.unconfirmed_open_seconds(now).map_or(OPEN_SECONDS_MIN, doubled);
    Some(open(health, reason, seconds, now))
}

/// The health after an answer failed behind its good start. If such a start has made the account ready
/// a short time ago, and no answer was complete since, the circuit opens again.
pub(super) fn after_broken_answer(
    health: &AccountHealth,
    reason: CooldownReason,
    now: Timestamp,
) -> Option<AccountHealth> {
    match (health.overall(now), health.unconfirmed_open_seconds(now)) {
        (AccountAvailability::Ready, Some(seconds)) => {
            Some(open(health, reason, doubled(seconds), now))
        }
        _ => after_server_error(health, reason, now),
    }
}

fn doubled(seconds: u32) -> u32 {
    seconds.saturating_mul(2).min(OPEN_SECONDS_MAX)
}

/// The health with a circuit that is open for `seconds`.
fn open(
    health: &AccountHealth,
    reason: CooldownReason,
    seconds: u32,
    now: Timestamp,
) -> AccountHealth {
    let until = now.saturating_add(SignedDuration::from_secs(seconds.into()));
    let until = until.unwrap_or(Timestamp::MAX);
    let state = HealthState::Open { until, seconds, reason, probe_until: None };
    AccountHealth {
        recent_failures: Vec::new(),
        last_open_seconds: None,
        out_until: health.out_until.max(Some(until)),
        ..health.with(state)
    }
}

/// The health after an answer that was complete. `None` if nothing counted against the account.
pub fn after_complete_answer(health: &AccountHealth) -> Option<AccountHealth> {
    let has_failures = !health.recent_failures.is_empty() || health.last_open_seconds.is_some();
    has_failures.then(|| AccountHealth {
        recent_failures: Vec::new(),
        last_open_seconds: None,
        ..health.clone()
    })
}

/// The health while one request tests an account whose circuit is half open; `None` if no test is
/// due. The first process that stores this health sends the test.
pub fn probing(health: &AccountHealth, now: Timestamp) -> Option<AccountHealth> {
    let AccountAvailability::HalfOpen = health.overall(now) else { return None };
    let mut after = health.clone();
    if let HealthState::Open { probe_until, .. } = &mut after.state {
        *probe_until = Some(now.saturating_add(PROBE_TIMEOUT).unwrap_or(Timestamp::MAX));
    }
    Some(after)
}
