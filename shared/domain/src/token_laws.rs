//! Properties of tokens that hold in every sequence of events.

use super::*;
use proptest::prelude::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn rotating() -> Grant {
    Grant::RefreshToken { client_id: "baton".into(), scope: None }
}

fn own() -> Grant {
    Grant::ClientCredentials { client_id: "baton".into(), scope: None }
}

fn any_standing() -> impl Strategy<Value = Standing> {
    let time = || proptest::option::of((0..10_000_i64).prop_map(at));
    (time(), time(), 0..40_u32).prop_map(|(expires_at, renew_at, failures)| Standing {
        expires_at,
        renew_at,
        failures,
        ..Standing::default()
    })
}

proptest! {
    #[test]
    fn it_is_renewed_between_70_and_75_percent_of_its_life(seconds in 60..86_400_i64, die: u8) {
        let life = SignedDuration::from_secs(seconds);
        let standing = Standing::renewed(Some(life), die, at(0));
        let wait = standing.renew_at.unwrap().as_millisecond();
        prop_assert!(wait >= seconds * 700 && wait <= seconds * 750, "{wait}");
        prop_assert!(standing.is_usable(at(seconds - 1)) && !standing.is_usable(at(seconds)));
        prop_assert!(!standing.is_due(&rotating(), Why::Time, at(0)));
    }

    #[test]
    fn what_fails_on_the_way_is_tried_again_within_the_quarter_hour(
        before in any_standing(), now in 0..10_000_i64,
    ) {
        let after = before.missed(&Miss::NotTaken, at(now));
        prop_assert_eq!(after.fault(at(now)), None);
        prop_assert_eq!(after.expires_at, before.expires_at);
        prop_assert!(!after.is_due(&rotating(), Why::Asked, at(now)), "not at once");
        prop_assert!(after.is_due(&rotating(), Why::Time, at(now + 900)));
    }

    #[test]
    fn silence_ends_nothing_and_is_not_answered_while_the_token_lives(
        before in any_standing(), now in 0..10_000_i64,
    ) {
        let after = before.missed(&Miss::Unanswered, at(now));
        prop_assert_eq!(after.fault(at(now)), None);
        let end = before.expires_at.map_or(0, Timestamp::as_second).max(now);
        prop_assert!(!after.is_due(&rotating(), Why::Asked, at(end - 1)));
        let is_usable = before.is_usable(at(now));
        prop_assert_eq!(after.is_due(&rotating(), Why::Operator, at(now)), !is_usable);
        prop_assert!(after.is_due(&rotating(), Why::Time, at(end + 900)));
    }

    #[test]
    fn a_single_use_grant_is_not_sent_while_one_is_noted(before in any_standing(), now in 0..10_000_i64) {
        let begun = before.begun(&rotating(), at(now)).unwrap();
        prop_assert_eq!(begun.begun(&rotating(), at(now + 1)), None);
        let lost = begun.lost();
        prop_assert!(!lost.is_due(&rotating(), Why::Asked, at(now + 100_000)));
        prop_assert_eq!(lost.fault(at(20_000)).is_some(), true);
        prop_assert_eq!(lost.fault(at(now)).is_some(), !before.is_usable(at(now)));
    }

    #[test]
    fn a_refusal_is_told_at_once_and_ends_it(before in any_standing(), now in 0..10_000_i64) {
        let refused = before.missed(&Miss::Refused { reason: "invalid_grant".into() }, at(now));
        prop_assert_eq!(refused.fault(at(now)), Some("invalid_grant"));
        prop_assert!(!refused.is_due(&rotating(), Why::Asked, at(now + 100_000)));
    }
}

#[test]
fn asking_brings_the_renewal_forward_but_not_an_attempt_that_just_failed() {
    let fresh = Standing::renewed(Some(SignedDuration::from_hours(1)), 0, at(0));
    assert!(
        fresh.is_due(&rotating(), Why::Asked, at(1))
            && !fresh.is_due(&rotating(), Why::Time, at(1))
    );
    assert!(!fresh.missed(&Miss::NotTaken, at(1)).is_due(&rotating(), Why::Asked, at(2)));
    assert!(Standing::default().is_due(&rotating(), Why::Time, at(0)), "a new one is due at once");
}

#[test]
fn an_operator_may_try_again_what_may_be_sent_twice() {
    let refused = Miss::Refused { reason: "invalid_client".into() };
    let ended = Standing::default().missed(&refused, at(0));
    assert!(ended.is_due(&own(), Why::Operator, at(1)));
    assert!(!ended.is_due(&own(), Why::Time, at(100_000)));
    assert!(!ended.is_due(&rotating(), Why::Operator, at(1)));
}

#[test]
fn what_may_be_sent_twice_is_not_noted() {
    assert_eq!(Standing::default().begun(&own(), at(5)).unwrap().begun_at, None);
    assert_eq!(Standing::default().begun(&rotating(), at(5)).unwrap().begun_at, Some(at(5)));
}
