//! Properties of tokens that hold in every sequence of events.

use super::*;
use proptest::prelude::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn rotating() -> TokenGrant {
    TokenGrant::RefreshToken { client_id: "baton".into(), scope: None }
}

fn own() -> TokenGrant {
    TokenGrant::ClientCredentials { client_id: "baton".into(), scope: None }
}

fn any_standing() -> impl Strategy<Value = TokenStatus> {
    let time = || proptest::option::of((0..10_000_i64).prop_map(at));
    (time(), time(), 0..40_u32).prop_map(|(expires_at, renew_at, failures)| TokenStatus {
        expires_at,
        renew_at,
        failures,
        ..TokenStatus::default()
    })
}

proptest! {
    #[test]
    fn token_is_renewed_between_70_and_75_percent_of_its_life(seconds in 60..86_400_i64, die: u8) {
        let life = SignedDuration::from_secs(seconds);
        let standing = TokenStatus::after_success(Some(life), die, at(0));
        let wait = standing.renew_at.unwrap().as_millisecond();
        prop_assert!(wait >= seconds * 700 && wait <= seconds * 750, "{wait}");
        prop_assert!(standing.is_usable(at(seconds - 1)) && !standing.is_usable(at(seconds)));
        prop_assert!(!standing.is_due(&rotating(), RenewalTrigger::Schedule, at(0)));
    }

    #[test]
    fn transport_failures_are_retried_within_fifteen_minutes(
        before in any_standing(), now in 0..10_000_i64,
    ) {
        let after = before.after_failure(&ExchangeFailure::NotAccepted, at(now));
        prop_assert_eq!(after.failure_reason(at(now)), None);
        prop_assert_eq!(after.expires_at, before.expires_at);
        prop_assert!(!after.is_due(&rotating(), RenewalTrigger::Requested, at(now)), "not at once");
        prop_assert!(after.is_due(&rotating(), RenewalTrigger::Schedule, at(now + 900)));
    }

    #[test]
    fn unanswered_renewal_is_not_repeated_while_the_token_is_usable(
        before in any_standing(), now in 0..10_000_i64,
    ) {
        let after = before.after_failure(&ExchangeFailure::Unanswered, at(now));
        prop_assert_eq!(after.failure_reason(at(now)), None);
        let end = before.expires_at.map_or(0, Timestamp::as_second).max(now);
        prop_assert!(!after.is_due(&rotating(), RenewalTrigger::Requested, at(end - 1)));
        let is_usable = before.is_usable(at(now));
        prop_assert_eq!(after.is_due(&rotating(), RenewalTrigger::Operator, at(now)), !is_usable);
        prop_assert!(after.is_due(&rotating(), RenewalTrigger::Schedule, at(end + 900)));
    }

    #[test]
    fn single_use_grant_is_not_sent_twice(before in any_standing(), now in 0..10_000_i64) {
        let begun = before.begin_attempt(&rotating(), at(now)).unwrap();
        prop_assert_eq!(begun.begin_attempt(&rotating(), at(now + 1)), None);
        let lost = begun.with_lost_answer();
        prop_assert!(!lost.is_due(&rotating(), RenewalTrigger::Requested, at(now + 100_000)));
        prop_assert_eq!(lost.failure_reason(at(20_000)).is_some(), true);
        prop_assert_eq!(lost.failure_reason(at(now)).is_some(), !before.is_usable(at(now)));
    }

    #[test]
    fn refused_renewal_is_reported_and_ends_renewals(before in any_standing(), now in 0..10_000_i64) {
        let refused = before.after_failure(&ExchangeFailure::Refused { reason: "invalid_grant".into() }, at(now));
        prop_assert_eq!(refused.failure_reason(at(now)), Some("invalid_grant"));
        prop_assert!(!refused.is_due(&rotating(), RenewalTrigger::Requested, at(now + 100_000)));
    }
}

#[test]
fn requested_renewal_waits_after_a_failed_attempt() {
    let fresh = TokenStatus::after_success(Some(SignedDuration::from_hours(1)), 0, at(0));
    assert!(
        fresh.is_due(&rotating(), RenewalTrigger::Requested, at(1))
            && !fresh.is_due(&rotating(), RenewalTrigger::Schedule, at(1))
    );
    assert!(!fresh.after_failure(&ExchangeFailure::NotAccepted, at(1)).is_due(
        &rotating(),
        RenewalTrigger::Requested,
        at(2)
    ));
    assert!(
        TokenStatus::default().is_due(&rotating(), RenewalTrigger::Schedule, at(0)),
        "a new one is due at once"
    );
}

#[test]
fn operator_can_retry_repeatable_grants_at_once() {
    let refused = ExchangeFailure::Refused { reason: "invalid_client".into() };
    let ended = TokenStatus::default().after_failure(&refused, at(0));
    assert!(ended.is_due(&own(), RenewalTrigger::Operator, at(1)));
    assert!(!ended.is_due(&own(), RenewalTrigger::Schedule, at(100_000)));
    assert!(!ended.is_due(&rotating(), RenewalTrigger::Operator, at(1)));
}

#[test]
fn repeatable_grants_leave_no_attempt_mark() {
    assert_eq!(TokenStatus::default().begin_attempt(&own(), at(5)).unwrap().begun_at, None);
    assert_eq!(
        TokenStatus::default().begin_attempt(&rotating(), at(5)).unwrap().begun_at,
        Some(at(5))
    );
}
