//! Tables of the transitions of an account's health.

use super::*;
use crate::request_tier::RequestTier;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + seconds).unwrap()
}

fn resting(
    scope: CooldownScope,
    seconds: i64,
    reason: CooldownReason,
    is_estimated: bool,
) -> AccountEffect {
    AccountEffect::Cooldown {
        scope,
        until: at(seconds),
        reason,
        is_estimated,
        token_version: None,
        doubles: false,
    }
}

fn cool(seconds: i64) -> AccountEffect {
    resting(CooldownScope::Account, seconds, CooldownReason::RateLimited, false)
}

fn failure() -> AccountEffect {
    AccountEffect::CountFailure { reason: CooldownReason::ServerError }
}

/// An account whose credential was refused at second 0.
fn condemned() -> AccountHealth {
    after_refusal(&AccountHealth::default(), CooldownReason::CredentialRefused, None, at(0))
        .unwrap()
}

const OPUS: &str = "claude-opus-5-5";

fn used(five_hour: u32) -> UpstreamUtilization {
    let window = |percent| Some(UtilizationWindow { percent, resets_at: None });
    UpstreamUtilization { five_hour: window(five_hour), seven_day: None }
}

/// Applies each effect at its second. An effect that changes nothing leaves the health as it is.
fn run(steps: &[(i64, AccountEffect)]) -> AccountHealth {
    steps.iter().fold(AccountHealth::default(), |health, (second, effect)| {
        after(&health, effect, at(*second)).unwrap_or(health)
    })
}

fn out_until(health: &AccountHealth, second: i64) -> Option<i64> {
    match health.overall(at(second)) {
        AccountAvailability::Cooling { until, .. } => Some(until.duration_since(at(0)).as_secs()),
        _ => None,
    }
}

#[test]
fn later_end_of_two_cooldowns_wins() {
    for (steps, second, until) in [
        (&[(0, cool(30))][..], 29, Some(30)),
        (&[(0, cool(30))], 30, None),
        (&[(0, cool(30)), (1, cool(10))], 5, Some(30)),
        (&[(0, cool(30)), (1, cool(60))], 5, Some(60)),
        (&[(0, cool(30)), (40, cool(50))], 45, Some(50)),
        (&[(0, cool(0))], 0, None),
    ] {
        assert_eq!(out_until(&run(steps), second), until, "{steps:?} at {second}");
    }
}

#[test]
fn known_failure_changes_nothing() {
    let cooling = run(&[(0, cool(30))]);
    assert_eq!(after(&cooling, &cool(30), at(1)), None);
    assert_eq!(after(&cooling, &failure(), at(1)), None, "of requests that were under way");
    assert_eq!(after(&cooling, &AccountEffect::Nothing, at(1)), None);
    assert_eq!(
        after_good_start(&cooling, OPUS, UpstreamUtilization::default(), at(1)),
        None,
        "it stays out"
    );
    assert_eq!(
        after_good_start(&AccountHealth::default(), OPUS, UpstreamUtilization::default(), at(1)),
        None
    );
    for effect in [cool(30), failure()] {
        assert_eq!(after(&condemned(), &effect, at(1)), None, "{effect:?}");
    }
    assert_eq!(after_refusal(&condemned(), CooldownReason::TokenEnded, None, at(1)), None);
    let suspect = AccountEffect::Suspect { reason: CooldownReason::CredentialRefused };
    assert_eq!(after(&AccountHealth::default(), &suspect, at(1)), None);
}

#[test]
fn three_strikes_in_a_minute_open_the_circuit() {
    let failures =
        |seconds: &[i64]| run(&seconds.iter().map(|&s| (s, failure())).collect::<Vec<_>>());
    assert_eq!(out_until(&failures(&[0, 10]), 10), None);
    assert_eq!(out_until(&failures(&[0, 10, 20]), 20), Some(50));
    assert_eq!(out_until(&failures(&[0, 10, 61]), 61), None, "the first has gone by");
    assert_eq!(out_until(&failures(&[0, 10, 61, 62]), 62), Some(92));
    assert_eq!(out_until(&failures(&[0, 10, 20, 21]), 22), Some(50), "open is open");
}

#[test]
fn success_clears_the_strikes() {
    let two = run(&[(0, failure()), (1, failure())]);
    assert_eq!(after_good_start(&two, OPUS, UpstreamUtilization::default(), at(2)), None);
    let clear = after_complete_answer(&two).unwrap();
    assert_eq!(clear, AccountHealth::default());
    assert_eq!(after_complete_answer(&clear), None);
}

#[test]
fn refused_credential_is_suspected_until_a_success() {
    let refusal = AccountEffect::CountFailure { reason: CooldownReason::CredentialRefused };
    let health = run(&[(0, refusal.clone()), (0, refusal.clone()), (0, refusal)]);
    assert_eq!(health.overall(at(31)), AccountAvailability::HalfOpen);
    assert_eq!(health.refusal_in_doubt(), Some(CooldownReason::CredentialRefused));
    let failing = run(&[(0, failure()), (0, failure()), (0, failure())]);
    assert_eq!(failing.refusal_in_doubt(), None, "its own failures say nothing of the credential");
    let good = after_good_start(&health, OPUS, UpstreamUtilization::default(), at(32)).unwrap();
    assert_eq!(good.refusal_in_doubt(), None);
}

#[test]
fn failed_probe_doubles_the_open_time() {
    let mut health = run(&[(0, failure()), (0, failure()), (0, failure())]);
    assert_eq!(probing(&health, at(29)), None);
    let mut end = 30;
    for seconds in [60, 120, 240, 300, 300] {
        assert_eq!(health.overall(at(end)), AccountAvailability::HalfOpen);
        let claimed = probing(&health, at(end)).unwrap();
        assert_eq!(probing(&claimed, at(end + 1)), None, "one at a time");
        assert_eq!(
            claimed.overall(at(end + 60)),
            AccountAvailability::HalfOpen,
            "the prober is gone"
        );
        health = after(&claimed, &failure(), at(end + 1)).unwrap();
        assert_eq!(out_until(&health, end + 1), Some(end + 1 + seconds));
        end += 1 + seconds;
    }
    let claimed = probing(&health, at(end)).unwrap();
    let begun =
        after_good_start(&claimed, OPUS, UpstreamUtilization::default(), at(end + 1)).unwrap();
    assert_eq!(begun.overall(at(end + 1)), AccountAvailability::Ready);
    let broken = after_late_failure(&begun, &failure(), at(end + 2)).unwrap();
    assert_eq!(out_until(&broken, end + 2), Some(end + 302), "one broken answer is enough");
    let later = after_late_failure(&begun, &failure(), at(end + 400)).unwrap();
    assert_eq!(out_until(&later, end + 400), None, "the outage is long over");
    let other = after(&begun, &failure(), at(end + 2)).unwrap();
    assert_eq!(out_until(&other, end + 2), None, "another request fails without a start");
    let other = after(&other, &failure(), at(end + 3)).unwrap();
    let other = after(&other, &failure(), at(end + 4)).unwrap();
    assert_eq!(out_until(&other, end + 4), Some(end + 304), "three do, for longer");
    let closed = after_complete_answer(&begun).unwrap();
    assert_eq!(closed, AccountHealth { out_until: Some(at(end)), ..AccountHealth::default() });
    let one = after(&closed, &failure(), at(end + 2)).unwrap();
    assert_eq!(out_until(&one, end + 2), None);
    let limited = after(&claimed, &cool(end + 5), at(end + 1)).unwrap();
    assert_eq!(out_until(&limited, end + 1), Some(end + 5), "the probe found something else");
}

#[test]
fn model_family_cools_alone() {
    let (until, reason) = (at(600), CooldownReason::RateLimited);
    let effect = resting(CooldownScope::Family("opus".to_owned()), 600, reason, false);
    let health = after(&AccountHealth::default(), &effect, at(0)).unwrap();
    let cooling = AccountAvailability::Cooling { until, reason, is_estimated: false };
    assert_eq!(health.availability(OPUS, false, RequestTier::Standard, at(1)), cooling);
    assert_eq!(
        health.availability("claude-haiku-5-5", false, RequestTier::Standard, at(1)),
        AccountAvailability::Ready
    );
    assert_eq!(
        health.availability(OPUS, false, RequestTier::Standard, at(600)),
        AccountAvailability::Ready
    );
    assert_eq!(health.overall(at(1)), AccountAvailability::Ready);
    assert_eq!(after(&health, &effect, at(1)), None);
}

#[test]
fn model_and_fast_mode_cool_alone() {
    let reason = CooldownReason::RateLimited;
    let model = resting(CooldownScope::Model(OPUS.to_owned()), 40, reason, false);
    let health = after(&AccountHealth::default(), &model, at(0)).unwrap();
    assert_eq!(health.overall(at(1)), AccountAvailability::Ready);
    assert_eq!(
        health.availability("claude-opus-5-5-fast", false, RequestTier::Standard, at(1)),
        AccountAvailability::Ready
    );
    assert!(matches!(
        health.availability(OPUS, false, RequestTier::Standard, at(1)),
        AccountAvailability::Cooling { .. }
    ));
    assert_eq!(
        health.availability(OPUS, false, RequestTier::Standard, at(40)),
        AccountAvailability::Ready
    );
    assert_eq!(after(&health, &model, at(1)), None, "it is known");
    let guess = resting(CooldownScope::Model(OPUS.to_owned()), 90, reason, true);
    assert_eq!(after(&health, &guess, at(1)), None, "a guess says nothing new");
    let fast = after(&health, &resting(CooldownScope::Fast, 90, reason, false), at(1)).unwrap();
    assert_eq!(
        fast.availability("claude-haiku-5-5", false, RequestTier::Standard, at(2)),
        AccountAvailability::Ready
    );
    assert!(matches!(
        fast.availability("claude-haiku-5-5", true, RequestTier::Standard, at(2)),
        AccountAvailability::Cooling { .. }
    ));
}

/// Other requests for the model succeed meanwhile.
#[test]
fn success_does_not_end_the_rest_after_a_silence() {
    let scope = CooldownScope::Model(OPUS.to_owned());
    let silence = resting(scope, 60, CooldownReason::TimedOut, true);
    let both = [failure(), silence];
    let health = after_all(&AccountHealth::default(), &both, at(0)).unwrap();
    assert_eq!(health.recent_failures, [at(0)]);
    let begun = after_good_start(&health, OPUS, UpstreamUtilization::default(), at(1));
    let begun = begun.unwrap_or(health);
    let availability = begun.availability(OPUS, false, RequestTier::Standard, at(1));
    assert!(matches!(availability, AccountAvailability::Cooling { .. }));
    assert_eq!(after_all(&begun, &both[1..], at(0)), None, "known");
}

#[test]
fn success_ends_guessed_cooldown_of_its_model() {
    let scope = || CooldownScope::Model(OPUS.to_owned());
    let guess = resting(scope(), 300, CooldownReason::ModelUnavailable, true);
    let health = after(&AccountHealth::default(), &guess, at(0)).unwrap();
    assert_eq!(health.out_until, None, "no session stays away for it");
    let after_it = after_good_start(&health, OPUS, UpstreamUtilization::default(), at(1)).unwrap();
    assert_eq!(after_it, AccountHealth::default());
    assert_eq!(
        after_good_start(&health, "claude-haiku-5-5", UpstreamUtilization::default(), at(1)),
        None
    );
}

#[test]
fn invented_model_names_do_not_displace_real_cooldowns() {
    let (limit, missing) = (CooldownReason::RateLimited, CooldownReason::ModelUnavailable);
    let mut health = run(&[(0, resting(CooldownScope::Model(OPUS.into()), 40, limit, false))]);
    for number in 0..10_000 {
        let scope = CooldownScope::Model(format!("made-up-{number}"));
        let effect = resting(scope, 300 + number, missing, true);
        health = after(&health, &effect, at(1)).unwrap_or(health);
    }
    assert!(health.models.len() <= UNAVAILABLE_MAX + 1, "{}", health.models.len());
    assert!(matches!(
        health.availability(OPUS, false, RequestTier::Standard, at(2)),
        AccountAvailability::Cooling { .. }
    ));
    let long = resting(CooldownScope::Model("x".repeat(10_000)), 300, missing, true);
    assert_eq!(after(&health, &long, at(1)), None);
}

#[test]
fn newer_token_clears_cooldowns_of_the_older_one() {
    let effect = AccountEffect::Cooldown {
        scope: CooldownScope::Account,
        until: at(60),
        reason: CooldownReason::TokenRefused,
        is_estimated: false,
        token_version: Some(3),
        doubles: false,
    };
    let health = run(&[(0, effect)]);
    assert_eq!(health.with_token(3), None);
    assert_eq!(health.with_token(4).unwrap().overall(at(1)), AccountAvailability::Ready);
    assert_eq!(run(&[(0, cool(60))]).with_token(4), None, "a limit is not the token's");
}

#[test]
fn success_ends_money_cooldown() {
    let reason = CooldownReason::CreditUsedUp;
    let health = run(&[(0, resting(CooldownScope::Account, 600, reason, false))]);
    assert_eq!(after_good_start(&health, OPUS, UpstreamUtilization::default(), at(1)), None);
    let back = after_good_start(&health, OPUS, UpstreamUtilization::default(), at(600)).unwrap();
    assert_eq!(back.state, HealthState::Ready);
}

#[test]
fn utilization_is_stored_after_a_change_of_five_points() {
    let known_health = after_good_start(&AccountHealth::default(), OPUS, used(40), at(0)).unwrap();
    assert_eq!(known_health.utilization, used(40));
    for (percent, is_significant) in [(40, false), (44, false), (45, true), (36, false), (35, true)]
    {
        assert_eq!(
            after_good_start(&known_health, OPUS, used(percent), at(1)).is_some(),
            is_significant,
            "{percent}"
        );
    }
    assert_eq!(
        after_good_start(&known_health, OPUS, UpstreamUtilization::default(), at(1)),
        None,
        "an answer without headers"
    );
}

#[test]
fn upstream_reset_time_replaces_a_guess() {
    let guess =
        |seconds| resting(CooldownScope::Account, seconds, CooldownReason::RateLimited, true);
    let is_estimated = |steps: &[(i64, AccountEffect)]| match run(steps).overall(at(5)) {
        AccountAvailability::Cooling { is_estimated, .. } => is_estimated,
        other => panic!("{other:?}"),
    };
    assert!(is_estimated(&[(0, guess(30))]));
    assert!(!is_estimated(&[(0, guess(30)), (1, cool(10))]), "sooner, but certain");
    assert!(!is_estimated(&[(0, cool(10)), (1, guess(30))]), "a request that was under way");
    assert!(is_estimated(&[(0, failure()), (0, failure()), (0, failure())]));
}

#[test]
fn last_outage_is_remembered_after_its_end() {
    let hour = SignedDuration::from_hours(1);
    let was = |steps: &[(i64, AccountEffect)], second| {
        run(steps).was_unavailable_within(hour, at(second))
    };
    assert!(!AccountHealth::default().was_unavailable_within(hour, at(0)));
    assert!(was(&[(0, cool(600))], 10));
    assert!(was(&[(0, cool(600))], 600 + 3599));
    assert!(!was(&[(0, cool(600))], 600 + 3600));
    assert!(
        !was(&[(0, failure()), (0, failure())], 1),
        "a counted failure does not take the account out"
    );
    assert!(was(&[(0, failure()), (0, failure()), (0, failure())], 30 + 3599));
    let refused = condemned();
    assert!(refused.was_unavailable_within(hour, at(99_999)), "it still is");
    let back = refused.reset(at(99_999));
    assert_eq!(back.overall(at(99_999)), AccountAvailability::Ready);
    assert!(back.was_unavailable_within(hour, at(99_999 + 3599)));
}

#[test]
fn utilization_is_that_of_the_fullest_current_window() {
    let window = |percent, reset| Some(UtilizationWindow { percent, resets_at: Some(at(reset)) });
    let used = UpstreamUtilization { five_hour: window(97, 10), seven_day: window(40, 1000) };
    assert_eq!([0, 9, 10, 999, 1000].map(|second| used.percent(at(second))), [97, 97, 40, 40, 0]);
}

#[test]
fn health_survives_a_round_trip() {
    let failures = [(0, failure()), (0, failure()), (0, failure())];
    let model = resting(CooldownScope::Model("a".into()), 30, CooldownReason::RateLimited, true);
    let fast = resting(CooldownScope::Fast, 30, CooldownReason::RateLimited, true);
    let (model, fast) = ([(0, model)], [(0, fast)]);
    let steps = [&[][..], &[(0, cool(30))], &failures, &model, &fast];
    for health in steps.map(run).into_iter().chain([condemned()]) {
        let text = serde_json::to_string(&health).unwrap();
        assert_eq!(serde_json::from_str::<AccountHealth>(&text).unwrap(), health, "{text}");
    }
}

#[test]
fn health_stored_by_0_1_0_can_be_read() {
    let check = |text: &str, availability: &AccountAvailability<'_>| {
        let health: AccountHealth = serde_json::from_str(text).unwrap();
        assert_eq!(
            health.availability(OPUS, false, RequestTier::Standard, at(0)),
            *availability,
            "{text}"
        );
    };
    let until = at(60);
    let state = |state: &str| {
        format!(
            r#"{{"state":{state},"families":{{}},"strikes":[],"utilisation":{{"five_hour":null,"seven_day":null}},"out_until":null}}"#
        )
    };
    let cooling = |reason: &str| {
        state(&format!(
            r#"{{"is":"cooling","until":"{until}","reason":"{reason}","is_guess":false}}"#
        ))
    };
    let rest = |reason| AccountAvailability::Cooling { until, reason, is_estimated: false };
    check(&cooling("rate limited (429)"), &rest(CooldownReason::RateLimited));
    check(&cooling("forbidden (403)"), &rest(CooldownReason::Forbidden));
    check(&cooling("something else"), &rest(CooldownReason::Unknown));
    let failed = |reason: &str| {
        state(&format!(r#"{{"is":"auth_failed","since":"{until}","reason":"{reason}"}}"#))
    };
    let refused = |reason| AccountAvailability::AuthFailed { reason, detail: None };
    let text = "the upstream refuses the credential (401)";
    check(&failed(text), &refused(CooldownReason::CredentialRefused));
    check(&failed("invalid_grant: revoked"), &refused(CooldownReason::Unknown));
    let open = format!(
        r#"{{"is":"open","until":"{until}","seconds":30,"reason":"server error","probe_until":null}}"#
    );
    let availability = AccountAvailability::Cooling {
        until,
        reason: CooldownReason::ServerError,
        is_estimated: true,
    };
    check(&state(&open), &availability);
    let family = format!(
        r#"{{"state":{{"is":"ready"}},"families":{{"opus":{{"until":"{until}","reason":"rate limited (429)","is_guess":false}}}}}}"#
    );
    check(&family, &rest(CooldownReason::RateLimited));
}

#[test]
fn repeated_limits_of_a_proxy_double_the_cooldown_of_the_model() {
    let limited = |now: i64, seconds: i64| AccountEffect::Cooldown {
        scope: CooldownScope::Model("m".into()),
        until: at(now + seconds),
        reason: CooldownReason::RateLimited,
        is_estimated: true,
        token_version: None,
        doubles: true,
    };
    let mut health = AccountHealth::default();
    let mut now = 0;
    for length in [60, 120, 240, 300, 300] {
        health = after(&health, &limited(now, 60), at(now)).unwrap();
        let until = health.models["m"].until;
        assert_eq!(until, at(now + length), "after {now} s");
        // A request that is sent all the same, because no other account is left, counts once.
        let again = after(&health, &limited(now + 1, 60), at(now + 1)).unwrap_or(health.clone());
        assert!(again.models["m"].until <= at(now + length.max(61)), "after {now} s");
        now += length;
    }
    // The limit of another model does not make it forgotten.
    let other = AccountEffect::Cooldown {
        scope: CooldownScope::Model("other".into()),
        until: at(now + 30),
        reason: CooldownReason::RateLimited,
        is_estimated: false,
        token_version: None,
        doubles: false,
    };
    let kept = after(&health, &other, at(now)).unwrap();
    assert_eq!(
        kept.availability("m", false, RequestTier::Standard, at(now)),
        AccountAvailability::Ready
    );
    let next = after(&kept, &limited(now, 60), at(now)).unwrap();
    assert_eq!(next.models["m"].until, at(now + 300));
    // A success, or five minutes without the limit, begins at the first length again.
    let good = after_good_start(&health, "m", UpstreamUtilization::default(), at(now)).unwrap();
    let later = [(good, now), (health, now + 301)];
    for (health, now) in later {
        let health = after(&health, &limited(now, 60), at(now)).unwrap();
        assert_eq!(health.models["m"].until, at(now + 60));
    }
}

#[test]
fn cooldown_of_a_tier_leaves_the_other_tiers() {
    let scope = CooldownScope::Model(RequestTier::Flex.model_key(OPUS).into_owned());
    let health = run(&[(0, resting(scope, 600, CooldownReason::RateLimited, false))]);
    let is_ready = |model: &str, tier| {
        health.availability(model, false, tier, at(1)) == AccountAvailability::Ready
    };
    assert!(!is_ready(OPUS, RequestTier::Flex));
    assert!(is_ready("claude-haiku-5-5", RequestTier::Flex));
    for tier in [RequestTier::Standard, RequestTier::Priority, RequestTier::Other] {
        assert!(is_ready(OPUS, tier), "{tier:?}");
    }
    let scope = CooldownScope::Model(OPUS.to_owned());
    let health = run(&[(0, resting(scope, 600, CooldownReason::RateLimited, false))]);
    for tier in [RequestTier::Standard, RequestTier::Flex, RequestTier::Other] {
        let availability = health.availability(OPUS, false, tier, at(1));
        assert!(matches!(availability, AccountAvailability::Cooling { .. }), "{tier:?}");
    }
    assert_eq!(RequestTier::from_name("flex"), RequestTier::Flex);
    assert_eq!(RequestTier::from_name("auto"), RequestTier::Standard);
    assert_eq!(RequestTier::from_name("invented"), RequestTier::Other);
}

/// Calls that began with another credential say nothing about the new one.
#[test]
fn replaced_credential_is_judged_by_its_own_calls() {
    let refused =
        after_refusal(&AccountHealth::default(), CooldownReason::CredentialRefused, None, at(0));
    let replaced = refused.unwrap().replaced(at(100));
    assert_eq!(replaced.overall(at(100)), AccountAvailability::Ready);
    for (called, expected) in [(0, false), (99, false), (114, false), (115, true), (200, true)] {
        assert_eq!(replaced.is_about(at(called)), expected, "{called}");
        assert_eq!(replaced.reset(at(300)).is_about(at(called)), expected, "{called}");
    }
    assert!(AccountHealth::default().is_about(at(0)));
}
