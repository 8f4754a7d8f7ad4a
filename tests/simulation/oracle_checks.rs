//! Whether the oracle can be trusted: books that are wrong by one thing are found to be wrong.

use baton_domain::money::PicoUsd;
use baton_tests::simulation::account_of;
use baton_tests::simulation::oracle::{RunFacts, findings};

/// A run in which requests were served whole, limits counted and nothing went wrong.
fn good() -> RunFacts {
    let mut all = (1..200).map(account_of);
    let is_rich = |account: &RunFacts| {
        let limited = account.limits.iter().filter(|one| one.counted.windows.len() > 3).count();
        account.is_calm && account.events.len() > 5 && limited > 1
    };
    all.find(is_rich).expect("a calm run with much in it")
}

/// Spoils good books in one way.
#[track_caller]
fn spoilt(what: &str, spoil: impl FnOnce(&mut RunFacts)) {
    let mut account = good();
    assert_eq!(findings(&account), Vec::<String>::new(), "good books");
    spoil(&mut account);
    assert!(!findings(&account).is_empty(), "{what} is not noticed");
}

#[test]
fn wrong_books_are_found_to_be_wrong() {
    spoilt("an event twice", |account| account.events.push(account.events[0].clone()));
    spoilt("an event that is lost", |account| drop(account.events.pop()));
    spoilt("an hour counted twice", |account| account.hours.push(account.hours[0].clone()));
    spoilt("a day that is lost", |account| drop(account.days.pop()));
    spoilt("a cell that is off by one token", |account| account.cells[0].1.tokens.input += 1);
    spoilt("a cost that is off by one", |account| account.events[0].cost_usd += PicoUsd::new(1));
    spoilt("an estimate passed off as true", |account| account.events[0].estimated = true);
    spoilt("a message among the dead", |account| account.dead = 1);
    spoilt("a record that waits for ever", |account| account.pending = 1);
    spoilt("a request settled twice", |account| {
        let counted = account.limits.iter_mut().find(|one| one.limits.has_money());
        let windows = &mut counted.expect("a limited key").counted.windows;
        *windows.values_mut().next_back().expect("a window") += 1;
    });
    spoilt("an upstream that served something else", |account| {
        let call = account.calls.iter_mut().rfind(|call| call.whole.is_some());
        call.and_then(|call| call.whole.as_mut()).expect("a whole answer").output += 1;
    });
}
