//! Properties of [`super::account_selection`] for accounts that are unhealthy, near a limit or full, and for
//! sessions that had to move.

use super::laws::{account, among, wish};
use super::*;
use crate::health::{Cooldown, HealthState, UpstreamUtilization, UtilizationWindow};
use proptest::prelude::*;
use std::cell::Cell;

fn resting(is_guess: bool) -> AccountHealth {
    let cooldown = Cooldown::new(Timestamp::MAX, CooldownReason::RateLimited, is_guess);
    AccountHealth { state: HealthState::Cooling(cooldown), ..AccountHealth::default() }
}

fn used(percent: u32) -> AccountHealth {
    let five_hour = Some(UtilizationWindow { percent, resets_at: None });
    AccountHealth {
        utilisation: UpstreamUtilization { five_hour, seven_day: None },
        ..AccountHealth::default()
    }
}

/// The health with this number.
fn health(number: u8) -> AccountHealth {
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
struct TestAccounts(Vec<(Account, AccountHealth)>);

impl TestAccounts {
    fn choose(&self, criteria: &SelectionCriteria<'_>) -> Option<usize> {
        let (health, now) = (|index| self.health(index), Timestamp::UNIX_EPOCH);
        match among(&self.accounts(), |all| choose_account(all, health, criteria, now)) {
            SelectionResult::Chosen(index) => Some(index),
            SelectionResult::NoneEligible(_) => None,
        }
    }

    fn accounts(&self) -> Vec<&Account> {
        self.0.iter().map(|(account, _)| account).collect()
    }

    fn health(&self, index: usize) -> &AccountHealth {
        &self.0[index].1
    }
}

fn pools() -> impl Strategy<Value = (Vec<u8>, TestAccounts)> {
    let one = (0_u8..5, 1_u32..9, 0_usize..4, 1_u32..3);
    prop::collection::vec(one, 1..8).prop_map(|drawn| {
        let domains = [Some("a"), Some("b"), Some("c"), None];
        let numbers = drawn.iter().map(|(number, ..)| *number).collect();
        let each = drawn.iter().zip(1..).map(|(&(number, weight, domain, priority), id)| {
            let account = Account { priority, ..account(id, weight, domains[domain]) };
            (account, health(number))
        });
        (numbers, TestAccounts(each.collect()))
    })
}

proptest! {
    #[test]
    fn best_tier_wins_regardless_of_priority((numbers, pool) in pools(), session: u64) {
        let group = GroupId::from_bits(1);
        let chosen = pool.choose(&wish(&group, session));
        let best = numbers.iter().filter_map(|number| rank(*number)).min();
        prop_assert_eq!(chosen.and_then(|at| rank(numbers[at])), best);
        let priority = |at: usize| pool.0[at].0.priority;
        let equals = (0..numbers.len()).filter(|&at| rank(numbers[at]) == best);
        prop_assert_eq!(chosen.map(priority), best.and(equals.map(priority).min()));
    }

    #[test]
    fn healthy_first_choice_needs_no_other_health_read(
        (numbers, pool) in pools(), session: u64,
    ) {
        let group = GroupId::from_bits(1);
        let (wish, now) = (wish(&group, session), Timestamp::UNIX_EPOCH);
        let (accounts, looked) = (pool.accounts(), Cell::new(0));
        let health = |at| {
            looked.set(looked.get() + 1);
            pool.health(at)
        };
        let quick = among(&accounts, |all| choose_account(all, health, &wish, now));
        let first = among(&accounts, |all| first_choice(all, &wish));
        let is_well = first.is_some_and(|at| rank(numbers[at]) == Some(0));
        prop_assert_eq!(looked.get() == 1, is_well, "nobody else is looked at");
        prop_assert_eq!(quick, among(&accounts, |all| choose_with_health(all, health, &wish, now)));
    }

    #[test]
    fn guessed_cooldowns_never_block_the_last_account((numbers, pool) in pools(), session: u64) {
        let group = GroupId::from_bits(1);
        let chosen = pool.choose(&wish(&group, session));
        prop_assert_eq!(chosen.is_none(), numbers.iter().all(|number| *number == 4));
    }

    #[test]
    fn pinned_session_stays_while_its_domain_is_in_the_best_tier(
        (numbers, pool) in pools(), session: u64, to in any::<prop::sample::Index>(),
    ) {
        let group = GroupId::from_bits(1);
        let to = domain(&pool.0[to.index(pool.0.len())].0).to_owned();
        let plain = pool.choose(&wish(&group, session));
        let chosen = pool.choose(&SelectionCriteria { pinned_domain: Some(&to), ..wish(&group, session) });
        let best = numbers.iter().filter_map(|number| rank(*number)).min();
        let is_good = |at: usize| domain(&pool.0[at].0) == to && rank(numbers[at]) == best;
        if best.is_some() && (0..numbers.len()).any(is_good) {
            prop_assert!(is_good(chosen.unwrap()));
        } else {
            prop_assert_eq!(chosen, plain);
        }
    }

    #[test]
    fn first_choice_is_selected_when_all_accounts_are_healthy((_, pool) in pools(), session: u64) {
        let group = GroupId::from_bits(1);
        let well = TestAccounts(pool.0.iter().map(|(account, _)| (account.clone(), used(0))).collect());
        let home = among(&pool.accounts(), |all| first_choice(all, &wish(&group, session)));
        prop_assert_eq!(home, well.choose(&wish(&group, session)));
    }

    #[test]
    fn account_at_capacity_is_skipped_like_a_tried_one((_, pool) in pools(), session: u64) {
        let group = GroupId::from_bits(1);
        let Some(first) = pool.choose(&wish(&group, session)) else { return Ok(()) };
        let full = [pool.0[first].0.id.clone()];
        let without = pool.choose(&SelectionCriteria { tried: &full, ..wish(&group, session) });
        let next = pool.choose(&SelectionCriteria { at_capacity: &full, ..wish(&group, session) });
        prop_assert_eq!(next, without);
        prop_assert_ne!(next, Some(first));
    }
}

#[test]
fn the_threshold_can_be_switched_off() {
    let pool = TestAccounts(vec![(account(1, 1, None), used(100)), (account(2, 1, None), used(0))]);
    let group = GroupId::from_bits(1);
    let session = (0..1000).find(|session| {
        pool.choose(&SelectionCriteria { max_utilization: None, ..wish(&group, *session) })
            == Some(0)
    });
    assert_eq!(pool.choose(&wish(&group, session.unwrap())), Some(1));
}

#[test]
fn account_at_capacity_reports_its_reason() {
    let pool = TestAccounts(vec![(account(1, 1, None), used(0))]);
    let (group, full) = (GroupId::from_bits(1), [AccountId::from_bits(1)]);
    let criteria = SelectionCriteria { at_capacity: &full, ..wish(&group, 0) };
    let (health, now) = (|index| pool.health(index), Timestamp::UNIX_EPOCH);
    let choice = among(&pool.accounts(), |all| choose_account(all, health, &criteria, now));
    assert_eq!(
        choice,
        SelectionResult::NoneEligible(vec![(full[0].clone(), IneligibleReason::AtCapacity)])
    );
}

#[test]
fn of_guesses_the_one_that_is_over_soonest_is_tried() {
    let resting = |seconds| {
        let until = Timestamp::from_second(seconds).unwrap();
        let cooldown = Cooldown::new(until, CooldownReason::Overloaded, true);
        AccountHealth { state: HealthState::Cooling(cooldown), ..AccountHealth::default() }
    };
    let pool = TestAccounts(vec![
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
    let cooldown = Cooldown::new(until, CooldownReason::RateLimited, false);
    let models = [("opus-upstream".to_owned(), cooldown)].into_iter().collect();
    let mut mapped = account(1, 1, None);
    mapped.model_map = vec![("claude-opus-*".parse().unwrap(), "opus-upstream".to_owned())];
    let pool = TestAccounts(vec![(mapped, AccountHealth { models, ..AccountHealth::default() })]);
    let group = GroupId::from_bits(1);
    assert_eq!(pool.choose(&wish(&group, 1)), None);
    assert_eq!(
        pool.choose(&SelectionCriteria { model: "claude-haiku-5-5", ..wish(&group, 1) }),
        Some(0)
    );
}
