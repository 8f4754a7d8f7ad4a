//! Tests of the oracle: it reports a run whose facts have one error.

use baton_domain::money::PicoUsd;
use baton_test_harness::simulation::account_of;
use baton_test_harness::simulation::oracle::{RunFacts, findings};

/// A run without faults, with several whole answers and several limited keys.
fn good_run() -> RunFacts {
    let mut all = (1..200).map(account_of);
    let is_rich = |facts: &RunFacts| {
        let limited = facts.limits.iter().filter(|one| one.counted.windows.len() > 3).count();
        facts.is_calm && facts.events.len() > 5 && limited > 1
    };
    all.find(is_rich).expect("a run without faults")
}

/// Changes the facts of a good run in one way, which the oracle must report.
#[track_caller]
fn assert_detected(what: &str, change: impl FnOnce(&mut RunFacts)) {
    let mut facts = good_run();
    assert_eq!(findings(&facts), Vec::<String>::new(), "the unchanged run has findings");
    change(&mut facts);
    assert!(!findings(&facts).is_empty(), "{what} is not detected");
}

#[test]
fn oracle_reports_each_wrong_fact() {
    assert_detected("an event twice", |facts| facts.events.push(facts.events[0].clone()));
    assert_detected("an event that is lost", |facts| drop(facts.events.pop()));
    assert_detected("an hour counted twice", |facts| facts.hours.push(facts.hours[0].clone()));
    assert_detected("a day that is lost", |facts| drop(facts.days.pop()));
    assert_detected("a cell that is off by one token", |facts| facts.cells[0].1.tokens.input += 1);
    assert_detected("a cost that is off by one", |facts| {
        facts.events[0].cost_usd += PicoUsd::new(1);
    });
    assert_detected("an estimate passed off as true", |facts| facts.events[0].estimated = true);
    assert_detected("a message among the dead", |facts| facts.dead = 1);
    assert_detected("a record that waits for ever", |facts| facts.pending = 1);
    assert_detected("a request settled twice", |facts| {
        let counted = facts.limits.iter_mut().find(|one| one.limits.has_money());
        let windows = &mut counted.expect("a limited key").counted.windows;
        *windows.values_mut().next_back().expect("a window") += 1;
    });
    assert_detected("an upstream that served something else", |facts| {
        let call = facts.calls.iter_mut().rfind(|call| call.whole.is_some());
        call.and_then(|call| call.whole.as_mut()).expect("a whole answer").output += 1;
    });
}
