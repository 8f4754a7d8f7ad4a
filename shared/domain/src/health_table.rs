//! The transitions of [`super`] as tables.

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + seconds).unwrap()
}

fn resting(scope: RestScope, seconds: i64, reason: RestReason, is_guess: bool) -> Effect {
    Effect::Rest { scope, until: at(seconds), reason, is_guess, token_issue: None }
}

fn cool(seconds: i64) -> Effect {
    resting(RestScope::Account, seconds, RestReason::RateLimited, false)
}

fn strike() -> Effect {
    Effect::Strike { reason: RestReason::ServerError }
}

/// An account whose credential was refused at second 0.
fn condemned() -> Health {
    refused(&Health::default(), RestReason::CredentialRefused, None, at(0)).unwrap()
}

const OPUS: &str = "claude-opus-5-5";

fn used(five_hour: u32) -> Utilisation {
    let window = |percent| Some(Window { percent, resets_at: None });
    Utilisation { five_hour: window(five_hour), seven_day: None }
}

/// Applies each effect at its second. An effect that changes nothing leaves the health as it is.
fn run(steps: &[(i64, Effect)]) -> Health {
    steps.iter().fold(Health::default(), |health, (second, effect)| {
        after(&health, effect, at(*second)).unwrap_or(health)
    })
}

fn out_until(health: &Health, second: i64) -> Option<i64> {
    match health.overall(at(second)) {
        Standing::Cooling { until, .. } => Some(until.duration_since(at(0)).as_secs()),
        _ => None,
    }
}

#[test]
fn cooling_lasts_until_it_is_over_and_the_later_end_counts() {
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
fn what_is_known_already_changes_nothing() {
    let cooling = run(&[(0, cool(30))]);
    assert_eq!(after(&cooling, &cool(30), at(1)), None);
    assert_eq!(after(&cooling, &strike(), at(1)), None, "of requests that were under way");
    assert_eq!(after(&cooling, &Effect::Nothing, at(1)), None);
    assert_eq!(served(&cooling, OPUS, Utilisation::default(), at(1)), None, "it stays out");
    assert_eq!(served(&Health::default(), OPUS, Utilisation::default(), at(1)), None);
    for effect in [cool(30), strike()] {
        assert_eq!(after(&condemned(), &effect, at(1)), None, "{effect:?}");
    }
    assert_eq!(refused(&condemned(), RestReason::TokenEnded, None, at(1)), None);
    let suspect = Effect::Suspect { reason: RestReason::CredentialRefused };
    assert_eq!(after(&Health::default(), &suspect, at(1)), None);
}

#[test]
fn three_strikes_in_a_minute_open_the_circuit() {
    let strikes =
        |seconds: &[i64]| run(&seconds.iter().map(|&s| (s, strike())).collect::<Vec<_>>());
    assert_eq!(out_until(&strikes(&[0, 10]), 10), None);
    assert_eq!(out_until(&strikes(&[0, 10, 20]), 20), Some(50));
    assert_eq!(out_until(&strikes(&[0, 10, 61]), 61), None, "the first has gone by");
    assert_eq!(out_until(&strikes(&[0, 10, 61, 62]), 62), Some(92));
    assert_eq!(out_until(&strikes(&[0, 10, 20, 21]), 22), Some(50), "open is open");
}

#[test]
fn a_good_answer_clears_the_strikes() {
    let two = run(&[(0, strike()), (1, strike())]);
    let clear = served(&two, OPUS, Utilisation::default(), at(2)).unwrap();
    assert_eq!(clear, Health::default());
    assert_eq!(served(&clear, OPUS, Utilisation::default(), at(3)), None);
}

#[test]
fn an_account_that_was_refused_last_is_in_doubt_until_a_request_is_served() {
    let refusal = Effect::Strike { reason: RestReason::CredentialRefused };
    let health = run(&[(0, refusal.clone()), (0, refusal.clone()), (0, refusal)]);
    assert_eq!(health.overall(at(31)), Standing::HalfOpen);
    assert_eq!(health.doubt(), Some(RestReason::CredentialRefused));
    let failing = run(&[(0, strike()), (0, strike()), (0, strike())]);
    assert_eq!(failing.doubt(), None, "its own failures say nothing of the credential");
    let good = served(&health, OPUS, Utilisation::default(), at(32)).unwrap();
    assert_eq!(good.doubt(), None);
}

#[test]
fn one_request_probes_and_a_failed_probe_doubles_the_time() {
    let mut health = run(&[(0, strike()), (0, strike()), (0, strike())]);
    assert_eq!(probing(&health, at(29)), None);
    let mut end = 30;
    for seconds in [60, 120, 240, 300, 300] {
        assert_eq!(health.overall(at(end)), Standing::HalfOpen);
        let claimed = probing(&health, at(end)).unwrap();
        assert_eq!(probing(&claimed, at(end + 1)), None, "one at a time");
        assert_eq!(claimed.overall(at(end + 60)), Standing::HalfOpen, "the prober is gone");
        health = after(&claimed, &strike(), at(end + 1)).unwrap();
        assert_eq!(out_until(&health, end + 1), Some(end + 1 + seconds));
        end += 1 + seconds;
    }
    let claimed = probing(&health, at(end)).unwrap();
    let closed = served(&claimed, OPUS, Utilisation::default(), at(end + 1)).unwrap();
    assert_eq!(closed, Health { out_until: Some(at(end)), ..Health::default() });
    let limited = after(&claimed, &cool(end + 5), at(end + 1)).unwrap();
    assert_eq!(out_until(&limited, end + 1), Some(end + 5), "the probe found something else");
}

#[test]
fn a_family_cools_alone() {
    let (until, reason) = (at(600), RestReason::RateLimited);
    let effect = resting(RestScope::Family("opus".to_owned()), 600, reason, false);
    let health = after(&Health::default(), &effect, at(0)).unwrap();
    let cooling = Standing::Cooling { until, reason, is_guess: false };
    assert_eq!(health.standing(OPUS, false, at(1)), cooling);
    assert_eq!(health.standing("claude-haiku-5-5", false, at(1)), Standing::Ready);
    assert_eq!(health.standing(OPUS, false, at(600)), Standing::Ready);
    assert_eq!(health.overall(at(1)), Standing::Ready);
    assert_eq!(after(&health, &effect, at(1)), None);
}

#[test]
fn a_model_and_fast_speed_cool_alone() {
    let reason = RestReason::RateLimited;
    let model = resting(RestScope::Model(OPUS.to_owned()), 40, reason, false);
    let health = after(&Health::default(), &model, at(0)).unwrap();
    assert_eq!(health.overall(at(1)), Standing::Ready);
    assert_eq!(health.standing("claude-opus-5-5-fast", false, at(1)), Standing::Ready);
    assert!(matches!(health.standing(OPUS, false, at(1)), Standing::Cooling { .. }));
    assert_eq!(health.standing(OPUS, false, at(40)), Standing::Ready);
    assert_eq!(after(&health, &model, at(1)), None, "it is known");
    let guess = resting(RestScope::Model(OPUS.to_owned()), 90, reason, true);
    assert_eq!(after(&health, &guess, at(1)), None, "a guess says nothing new");
    let fast = after(&health, &resting(RestScope::Fast, 90, reason, false), at(1)).unwrap();
    assert_eq!(fast.standing("claude-haiku-5-5", false, at(2)), Standing::Ready);
    assert!(matches!(fast.standing("claude-haiku-5-5", true, at(2)), Standing::Cooling { .. }));
}

#[test]
fn a_good_answer_ends_what_was_guessed_of_its_model() {
    let scope = || RestScope::Model(OPUS.to_owned());
    let guess = resting(scope(), 300, RestReason::ModelUnavailable, true);
    let health = after(&Health::default(), &guess, at(0)).unwrap();
    assert_eq!(health.out_until, None, "no session stays away for it");
    let after_it = served(&health, OPUS, Utilisation::default(), at(1)).unwrap();
    assert_eq!(after_it, Health::default());
    assert_eq!(served(&health, "claude-haiku-5-5", Utilisation::default(), at(1)), None);
}

#[test]
fn names_that_clients_make_up_neither_pile_up_nor_push_real_limits_out() {
    let (limit, missing) = (RestReason::RateLimited, RestReason::ModelUnavailable);
    let mut health = run(&[(0, resting(RestScope::Model(OPUS.into()), 40, limit, false))]);
    for number in 0..10_000 {
        let scope = RestScope::Model(format!("made-up-{number}"));
        let effect = resting(scope, 300 + number, missing, true);
        health = after(&health, &effect, at(1)).unwrap_or(health);
    }
    assert!(health.models.len() <= UNAVAILABLE_MAX + 1, "{}", health.models.len());
    assert!(matches!(health.standing(OPUS, false, at(2)), Standing::Cooling { .. }));
    let long = resting(RestScope::Model("x".repeat(10_000)), 300, missing, true);
    assert_eq!(after(&health, &long, at(1)), None);
}

#[test]
fn a_newer_token_ends_what_was_held_against_an_older_one() {
    let effect = Effect::Rest {
        scope: RestScope::Account,
        until: at(60),
        reason: RestReason::TokenRefused,
        is_guess: false,
        token_issue: Some(3),
    };
    let health = run(&[(0, effect)]);
    assert_eq!(health.with_token(3), None);
    assert_eq!(health.with_token(4).unwrap().overall(at(1)), Standing::Ready);
    assert_eq!(run(&[(0, cool(60))]).with_token(4), None, "a limit is not the token's");
}

#[test]
fn money_comes_back_with_a_good_answer() {
    let reason = RestReason::CreditUsedUp;
    let health = run(&[(0, resting(RestScope::Account, 600, reason, false))]);
    assert_eq!(served(&health, OPUS, Utilisation::default(), at(1)), None);
    let back = served(&health, OPUS, Utilisation::default(), at(600)).unwrap();
    assert_eq!(back.state, State::Ready);
}

#[test]
fn utilisation_is_news_when_it_moved_by_five_points() {
    let known = served(&Health::default(), OPUS, used(40), at(0)).unwrap();
    assert_eq!(known.utilisation, used(40));
    for (percent, is_news) in [(40, false), (44, false), (45, true), (36, false), (35, true)] {
        assert_eq!(served(&known, OPUS, used(percent), at(1)).is_some(), is_news, "{percent}");
    }
    assert_eq!(
        served(&known, OPUS, Utilisation::default(), at(1)),
        None,
        "an answer without headers"
    );
}

#[test]
fn what_the_upstream_says_outranks_a_guess() {
    let guess = |seconds| resting(RestScope::Account, seconds, RestReason::RateLimited, true);
    let is_guess = |steps: &[(i64, Effect)]| match run(steps).overall(at(5)) {
        Standing::Cooling { is_guess, .. } => is_guess,
        other => panic!("{other:?}"),
    };
    assert!(is_guess(&[(0, guess(30))]));
    assert!(!is_guess(&[(0, guess(30)), (1, cool(10))]), "sooner, but certain");
    assert!(!is_guess(&[(0, cool(10)), (1, guess(30))]), "a request that was under way");
    assert!(is_guess(&[(0, strike()), (0, strike()), (0, strike())]));
}

#[test]
fn that_it_was_out_is_remembered_after_it_is_over() {
    let hour = SignedDuration::from_hours(1);
    let was = |steps: &[(i64, Effect)], second| run(steps).was_out(hour, at(second));
    assert!(!Health::default().was_out(hour, at(0)));
    assert!(was(&[(0, cool(600))], 10));
    assert!(was(&[(0, cool(600))], 600 + 3599));
    assert!(!was(&[(0, cool(600))], 600 + 3600));
    assert!(!was(&[(0, strike()), (0, strike())], 1), "a strike is not out yet");
    assert!(was(&[(0, strike()), (0, strike()), (0, strike())], 30 + 3599));
    let refused = condemned();
    assert!(refused.was_out(hour, at(99_999)), "it still is");
    let back = refused.forgiven(at(99_999));
    assert_eq!(back.overall(at(99_999)), Standing::Ready);
    assert!(back.was_out(hour, at(99_999 + 3599)));
}

#[test]
fn utilisation_is_that_of_the_fullest_limit_still_running() {
    let window = |percent, reset| Some(Window { percent, resets_at: Some(at(reset)) });
    let used = Utilisation { five_hour: window(97, 10), seven_day: window(40, 1000) };
    assert_eq!([0, 9, 10, 999, 1000].map(|second| used.percent(at(second))), [97, 97, 40, 40, 0]);
}

#[test]
fn it_is_stored_and_read_back() {
    let strikes = [(0, strike()), (0, strike()), (0, strike())];
    let model = resting(RestScope::Model("a".into()), 30, RestReason::RateLimited, true);
    let fast = resting(RestScope::Fast, 30, RestReason::RateLimited, true);
    let (model, fast) = ([(0, model)], [(0, fast)]);
    let steps = [&[][..], &[(0, cool(30))], &strikes, &model, &fast];
    for health in steps.map(run).into_iter().chain([condemned()]) {
        let text = serde_json::to_string(&health).unwrap();
        assert_eq!(serde_json::from_str::<Health>(&text).unwrap(), health, "{text}");
    }
}

#[test]
fn what_0_1_0_has_stored_is_read() {
    let check = |text: &str, standing: &Standing<'_>| {
        let health: Health = serde_json::from_str(text).unwrap();
        assert_eq!(health.standing(OPUS, false, at(0)), *standing, "{text}");
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
    let rest = |reason| Standing::Cooling { until, reason, is_guess: false };
    check(&cooling("rate limited (429)"), &rest(RestReason::RateLimited));
    check(&cooling("forbidden (403)"), &rest(RestReason::Forbidden));
    check(&cooling("something else"), &rest(RestReason::Unknown));
    let failed = |reason: &str| {
        state(&format!(r#"{{"is":"auth_failed","since":"{until}","reason":"{reason}"}}"#))
    };
    let refused = |reason| Standing::AuthFailed { reason, detail: None };
    let text = "the upstream refuses the credential (401)";
    check(&failed(text), &refused(RestReason::CredentialRefused));
    check(&failed("invalid_grant: revoked"), &refused(RestReason::Unknown));
    let open = format!(
        r#"{{"is":"open","until":"{until}","seconds":30,"reason":"server error","probe_until":null}}"#
    );
    let standing = Standing::Cooling { until, reason: RestReason::ServerError, is_guess: true };
    check(&state(&open), &standing);
    let family = format!(
        r#"{{"state":{{"is":"ready"}},"families":{{"opus":{{"until":"{until}","reason":"rate limited (429)","is_guess":false}}}}}}"#
    );
    check(&family, &rest(RestReason::RateLimited));
}
