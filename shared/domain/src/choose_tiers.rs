//! Properties of [`super::choose`] for accounts that are unhealthy, near a limit or full, and for
//! sessions that had to move.

use super::laws::{account, among, wish};
use super::*;
use crate::health::{Rest, State, Utilisation, Window};
use proptest::prelude::*;
use std::cell::Cell;

fn resting(is_guess: bool) -> Health {
    let rest = Rest::new(Timestamp::MAX, RestReason::RateLimited, is_guess);
    Health { state: State::Cooling(rest), ..Health::default() }
}

fn used(percent: u32) -> Health {
    let five_hour = Some(Window { percent, resets_at: None });
    Health { utilisation: Utilisation { five_hour, seven_day: None }, ..Health::default() }
}

/// The health with this number.
fn health(number: u8) -> Health {
    match number {
        0 | 1 => used(94),
        2 => used(95),
        3 => resting(true),
        _ => resting(false),
    }
}

/// The rank of this health in the selection; `None` if the account is not eligible.
fn rank(number: u8) -> Option<u8> {
    match number {
        0 | 1 => Some(0),
        2 => Some(1),
        3 => Some(2),
        _ => None,
    }
}

#[derive(Debug)]
struct Pool(Vec<(Account, Health)>);

impl Pool {
    fn choose(&self, wish: &Wish<'_>) -> Option<usize> {
        let (health, now) = (|at| self.health(at), Timestamp::UNIX_EPOCH);
        match among(&self.accounts(), |all| choose(all, health, wish, now)) {
            Choice::Chosen(at) => Some(at),
            Choice::Nobody(_) => None,
        }
    }

    fn accounts(&self) -> Vec<&Account> {
        self.0.iter().map(|(account, _)| account).collect()
    }

    fn health(&self, at: usize) -> &Health {
        &self.0[at].1
    }
}

fn pools() -> impl Strategy<Value = (Vec<u8>, Pool)> {
    let one = (0_u8..5, 1_u32..9, 0_usize..4, 1_u32..3);
    prop::collection::vec(one, 1..8).prop_map(|drawn| {
        let domains = [Some("a"), Some("b"), Some("c"), None];
        let numbers = drawn.iter().map(|(number, ..)| *number).collect();
        let each = drawn.iter().zip(1..).map(|(&(number, weight, domain, priority), id)| {
            let account = Account { priority, ..account(id, weight, domains[domain]) };
            (account, health(number))
        });
        (numbers, Pool(each.collect()))
    })
}

proptest! {
    #[test]
    fn the_gladdest_are_taken_whatever_their_priority((numbers, pool) in pools(), session: u64) {
        let group = GroupId::from_bits(1);
        let chosen = pool.choose(&wish(&group, session));
        let best = numbers.iter().filter_map(|number| rank(*number)).min();
        prop_assert_eq!(chosen.and_then(|at| rank(numbers[at])), best);
        let priority = |at: usize| pool.0[at].0.priority;
        let equals = (0..numbers.len()).filter(|&at| rank(numbers[at]) == best);
        prop_assert_eq!(chosen.map(priority), best.and(equals.map(priority).min()));
    }

    #[test]
    fn a_look_at_the_first_choice_alone_chooses_as_a_look_at_all(
        (numbers, pool) in pools(), session: u64,
    ) {
        let group = GroupId::from_bits(1);
        let (wish, now) = (wish(&group, session), Timestamp::UNIX_EPOCH);
        let (accounts, looked) = (pool.accounts(), Cell::new(0));
        let health = |at| {
            looked.set(looked.get() + 1);
            pool.health(at)
        };
        let quick = among(&accounts, |all| choose(all, health, &wish, now));
        let first = among(&accounts, |all| first_choice(all, &wish));
        let is_well = first.is_some_and(|at| rank(numbers[at]) == Some(0));
        prop_assert_eq!(looked.get() == 1, is_well, "nobody else is looked at");
        prop_assert_eq!(quick, among(&accounts, |all| choose_with_care(all, health, &wish, now)));
    }

    #[test]
    fn guesses_lock_nobody_out((numbers, pool) in pools(), session: u64) {
        let group = GroupId::from_bits(1);
        let chosen = pool.choose(&wish(&group, session));
        prop_assert_eq!(chosen.is_none(), numbers.iter().all(|number| *number == 4));
    }

    #[test]
    fn a_moved_session_stays_where_it_went_as_long_as_that_is_as_good(
        (numbers, pool) in pools(), session: u64, to in any::<prop::sample::Index>(),
    ) {
        let group = GroupId::from_bits(1);
        let to = domain(&pool.0[to.index(pool.0.len())].0).to_owned();
        let plain = pool.choose(&wish(&group, session));
        let chosen = pool.choose(&Wish { moved_to: Some(&to), ..wish(&group, session) });
        let best = numbers.iter().filter_map(|number| rank(*number)).min();
        let is_good = |at: usize| domain(&pool.0[at].0) == to && rank(numbers[at]) == best;
        if best.is_some() && (0..numbers.len()).any(is_good) {
            prop_assert!(is_good(chosen.unwrap()));
        } else {
            prop_assert_eq!(chosen, plain);
        }
    }

    #[test]
    fn the_first_choice_is_what_is_chosen_when_all_are_well((_, pool) in pools(), session: u64) {
        let group = GroupId::from_bits(1);
        let well = Pool(pool.0.iter().map(|(account, _)| (account.clone(), used(0))).collect());
        let home = among(&pool.accounts(), |all| first_choice(all, &wish(&group, session)));
        prop_assert_eq!(home, well.choose(&wish(&group, session)));
    }

    #[test]
    fn a_full_account_is_as_one_that_is_out((_, pool) in pools(), session: u64) {
        let group = GroupId::from_bits(1);
        let Some(first) = pool.choose(&wish(&group, session)) else { return Ok(()) };
        let full = [pool.0[first].0.id.clone()];
        let without = pool.choose(&Wish { tried: &full, ..wish(&group, session) });
        let next = pool.choose(&Wish { full: &full, ..wish(&group, session) });
        prop_assert_eq!(next, without);
        prop_assert_ne!(next, Some(first));
    }
}

#[test]
fn the_threshold_can_be_switched_off() {
    let pool = Pool(vec![(account(1, 1, None), used(100)), (account(2, 1, None), used(0))]);
    let group = GroupId::from_bits(1);
    let session = (0..1000).find(|session| {
        pool.choose(&Wish { utilisation_max: None, ..wish(&group, *session) }) == Some(0)
    });
    assert_eq!(pool.choose(&wish(&group, session.unwrap())), Some(1));
}

#[test]
fn a_full_account_says_so() {
    let pool = Pool(vec![(account(1, 1, None), used(0))]);
    let (group, full) = (GroupId::from_bits(1), [AccountId::from_bits(1)]);
    let wish = Wish { full: &full, ..wish(&group, 0) };
    let (health, now) = (|at| pool.health(at), Timestamp::UNIX_EPOCH);
    let choice = among(&pool.accounts(), |all| choose(all, health, &wish, now));
    assert_eq!(choice, Choice::Nobody(vec![(full[0].clone(), Ineligible::Full)]));
}

#[test]
fn of_guesses_the_one_that_is_over_soonest_is_tried() {
    let resting = |seconds| {
        let until = Timestamp::from_second(seconds).unwrap();
        let rest = Rest::new(until, RestReason::Overloaded, true);
        Health { state: State::Cooling(rest), ..Health::default() }
    };
    let pool = Pool(vec![
        (account(1, 9, None), resting(30)),
        (account(2, 1, None), resting(10)),
        (account(3, 9, None), resting(20)),
    ]);
    let group = GroupId::from_bits(1);
    for session in 0..100 {
        assert_eq!(pool.choose(&wish(&group, session)), Some(1));
    }
}

#[test]
fn one_model_rests_by_the_name_that_the_upstream_knows() {
    let until = Timestamp::from_second(30).unwrap();
    let rest = Rest::new(until, RestReason::RateLimited, false);
    let models = [("opus-upstream".to_owned(), rest)].into_iter().collect();
    let mut mapped = account(1, 1, None);
    mapped.model_map = vec![("claude-opus-*".parse().unwrap(), "opus-upstream".to_owned())];
    let pool = Pool(vec![(mapped, Health { models, ..Health::default() })]);
    let group = GroupId::from_bits(1);
    assert_eq!(pool.choose(&wish(&group, 1)), None);
    assert_eq!(pool.choose(&Wish { model: "claude-haiku-5-5", ..wish(&group, 1) }), Some(0));
}
