//! The transitions of [`super`], row by row.

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + seconds).unwrap()
}

fn cool(seconds: i64) -> Effect {
    Effect::Cool { until: at(seconds), reason: "rate limited", family: None, is_guess: false }
}

fn strike() -> Effect {
    Effect::Strike { reason: "server error" }
}

fn used(five_hour: u32) -> Utilisation {
    let window = |percent| Some(Window { percent, resets_at: None });
    Utilisation { five_hour: window(five_hour), seven_day: None }
}

/// Applies effects at their seconds; what changes nothing leaves all as it is.
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
    assert_eq!(served(&cooling, Utilisation::default(), at(1)), None, "it stays out");
    assert_eq!(served(&Health::default(), Utilisation::default(), at(1)), None);
    let refused = run(&[(0, Effect::AuthFailed { reason: "401" })]);
    for effect in [Effect::AuthFailed { reason: "403" }, cool(30), strike()] {
        assert_eq!(after(&refused, &effect, at(1)), None, "{effect:?}");
    }
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
    let clear = served(&two, Utilisation::default(), at(2)).unwrap();
    assert_eq!(clear, Health::default());
    assert_eq!(served(&clear, Utilisation::default(), at(3)), None);
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
    let closed = served(&claimed, Utilisation::default(), at(end + 1)).unwrap();
    assert_eq!(closed, Health { out_until: Some(at(end)), ..Health::default() });
    let limited = after(&claimed, &cool(end + 5), at(end + 1)).unwrap();
    assert_eq!(out_until(&limited, end + 1), Some(end + 5), "the probe found something else");
}

#[test]
fn a_family_cools_alone() {
    let until = at(600);
    let family = Some("opus".to_owned());
    let effect = Effect::Cool { until, reason: "limited", family, is_guess: false };
    let health = after(&Health::default(), &effect, at(0)).unwrap();
    let cooling = Standing::Cooling { until, reason: "limited", is_guess: false };
    assert_eq!(health.standing("claude-opus-5-5", at(1)), cooling);
    assert_eq!(health.standing("claude-haiku-5-5", at(1)), Standing::Ready);
    assert_eq!(health.standing("claude-opus-5-5", at(600)), Standing::Ready);
    assert_eq!(health.overall(at(1)), Standing::Ready);
    assert_eq!(after(&health, &effect, at(1)), None);
}

#[test]
fn utilisation_is_news_when_it_moved_by_five_points() {
    let known = served(&Health::default(), used(40), at(0)).unwrap();
    assert_eq!(known.utilisation, used(40));
    for (percent, is_news) in [(40, false), (44, false), (45, true), (36, false), (35, true)] {
        assert_eq!(served(&known, used(percent), at(1)).is_some(), is_news, "{percent}");
    }
    assert_eq!(served(&known, Utilisation::default(), at(1)), None, "an answer without headers");
}

#[test]
fn what_the_upstream_says_outranks_a_guess() {
    let guess = |seconds| match cool(seconds) {
        Effect::Cool { until, reason, family, .. } => {
            Effect::Cool { until, reason, family, is_guess: true }
        }
        other => other,
    };
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
    let refused = run(&[(0, Effect::AuthFailed { reason: "401" })]);
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
    let refused = [(0, Effect::AuthFailed { reason: "401" })];
    for steps in [&[][..], &[(0, cool(30))], &strikes, &refused] {
        let health = run(steps);
        let text = serde_json::to_string(&health).unwrap();
        assert_eq!(serde_json::from_str::<Health>(&text).unwrap(), health, "{text}");
    }
}
