//! Properties of the selection: shares and sessions of healthy accounts, then accounts that are
//! unhealthy, near a limit or at capacity, and sessions that had to move.

use super::*;
use crate::account::{CredentialKind, Provider};
use crate::health::{Cooldown, HealthState, UpstreamUtilization, UtilizationWindow};
use crate::protocol::ClientProtocol;
use crate::request_tier::RequestTier;
use proptest::prelude::*;
use std::cell::Cell;

fn account(bits: u128, weight: u32, domain: Option<&str>) -> Account {
    let id = AccountId::from_bits(bits);
    Account {
        priority: 1,
        weight,
        cache_domain: domain.map(str::to_owned),
        ..Account::new(id, Provider::Anthropic, "", CredentialKind::ApiKey)
    }
}

fn criteria(group: &GroupId, session: u64) -> SelectionCriteria<'_> {
    SelectionCriteria {
        group,
        operation: UpstreamOperation::Answer(ClientProtocol::AnthropicMessages),
        model: "claude-opus-5-5",
        session,
        pinned_domain: None,
        tried: &[],
        at_capacity: &[],
        without_token: &[],
        is_fast: false,
        tier: RequestTier::default(),
        max_utilization: Some(95),
    }
}

/// Calls `ask` with these accounts as candidates and returns its result.
fn among<T>(accounts: &[&Account], ask: impl FnOnce(&AccountCandidates<'_, &Account>) -> T) -> T {
    let candidates: Vec<HashedAccount> =
        accounts.iter().map(|account| HashedAccount::from_account(account)).collect();
    ask(&AccountCandidates { accounts, candidates: &candidates })
}

fn pick(accounts: &[Account], session: u64, tried: &[AccountId]) -> Option<AccountId> {
    let health = AccountHealth::default();
    let candidates: Vec<_> = accounts.iter().collect();
    let group = GroupId::from_bits(1);
    let criteria = SelectionCriteria { tried, ..criteria(&group, session) };
    match among(&candidates, |all| {
        choose_account(all, |_| &health, &criteria, Timestamp::UNIX_EPOCH)
    }) {
        SelectionResult::Chosen(index) => Some(accounts[index].id.clone()),
        SelectionResult::NoneEligible(_) => None,
    }
}

/// Selects for 100,000 sessions and checks that each account's share is within 2 % of its weight's.
fn check_shares(accounts: &[Account]) {
    const SESSIONS: u32 = 100_000;
    let mut counts = vec![0_u32; accounts.len()];
    for session in 0..SESSIONS {
        let id = pick(accounts, session.into(), &[]).unwrap();
        counts[accounts.iter().position(|account| account.id == id).unwrap()] += 1;
    }
    let integer_part: u32 = accounts.iter().map(|account| account.weight).sum();
    for (count, account) in counts.iter().zip(accounts) {
        let wanted = SESSIONS / integer_part * account.weight;
        assert!(count.abs_diff(wanted) <= SESSIONS / 50, "{counts:?}");
    }
}

#[test]
fn shares_follow_weights() {
    let of = |weights: &[(u32, Option<&str>)]| -> Vec<Account> {
        let each = weights.iter().zip(1..);
        each.map(|(&(weight, domain), id)| account(id, weight, domain)).collect()
    };
    check_shares(&of(&[(1, None), (2, None), (5, None)]));
    check_shares(&of(&[(1, None), (1, None)]));
    check_shares(&of(&[(1, Some("a")), (2, Some("a")), (5, Some("b"))]));
    check_shares(&of(&[(10, Some("a")), (20, Some("b")), (30, Some("b")), (40, None)]));
    check_shares(&of(&[(0, None), (3, None), (1, None)]));
}

#[test]
fn smallest_priority_is_used_first() {
    let mut accounts = [account(1, 100, None), account(2, 1, None)];
    accounts[0].priority = 2;
    for session in 0..100 {
        assert_eq!(pick(&accounts, session, &[]), Some(AccountId::from_bits(2)));
        let tried = [AccountId::from_bits(2)];
        assert_eq!(pick(&accounts, session, &tried), Some(AccountId::from_bits(1)));
    }
}

#[test]
fn account_that_names_the_model_comes_first() {
    let (any, mut named, mut other) =
        (account(1, 9, None), account(2, 1, None), account(3, 1, None));
    named.models = vec!["claude-opus-5-5".parse().unwrap(), "claude-*".parse().unwrap()];
    other.models = vec!["claude-*".parse().unwrap()];
    let all = [any, named, other];
    for session in 0..50 {
        assert_eq!(pick(&all, session, &[]), Some(AccountId::from_bits(2)));
        let next = pick(&all, session, &[AccountId::from_bits(2)]);
        assert!(next.is_some_and(|id| id != AccountId::from_bits(2)));
    }
}

/// The account that is chosen for a model, by its place.
fn pick_for(accounts: &[&Account], model: &str) -> Option<usize> {
    let group = GroupId::from_bits(1);
    let health = AccountHealth::default();
    let criteria = SelectionCriteria { model, ..criteria(&group, 7) };
    let choose = |all: &AccountCandidates<'_, &Account>| {
        choose_account(all, |_| &health, &criteria, Timestamp::UNIX_EPOCH)
    };
    match among(accounts, choose) {
        SelectionResult::Chosen(index) => Some(index),
        SelectionResult::NoneEligible(_) => None,
    }
}

/// A vendor serves what it makes and what the catalog says.
#[test]
fn account_at_a_vendor_serves_the_vendors_models() {
    let (mut openai, other) = (account(1, 900, None), account(2, 1, None));
    openai.provider = Provider::OpenaiCompatible;
    openai.priority = other.priority - 1;
    let at = |url: &str| Account { base_url: url.to_owned(), ..openai.clone() };
    let any = Account { provider: Provider::OpenaiCompatible, ..other.clone() };
    let check = |url: &str, model: &str, expected| {
        assert_eq!(pick_for(&[&at(url), &any], model), Some(expected), "{url} {model}");
    };
    let openai = "https://api.openai.com/v1";
    check(openai, "gpt-5.2", 0);
    check(openai, "openai/gpt-5.2", 0);
    check(openai, "ft:gpt-4.1:acme", 0);
    check(openai, "my-model", 0);
    for foreign in ["claude-opus-5-5", "gemini-3-pro", "deepseek-chat", "mistral-large-latest"] {
        check(openai, foreign, 1);
    }
    check("https://api.deepseek.com", "gpt-5.2", 1);
    check("https://generativelanguage.googleapis.com/v1beta/openai", "grok-4.3", 1);
    // Hosts of other vendors' models, and what the catalog has at the vendor.
    check("https://api.groq.com/openai", "qwen3-32b", 0);
    check("https://x.openai.azure.com/openai/v1", "grok-4.3", 0);
    for sold_at_vertex in ["claude-opus-4-6", "deepseek-v3.1-maas", "qwen3-coder-maas"] {
        check("https://us-central1-aiplatform.googleapis.com/v1", sold_at_vertex, 0);
    }
    // Without another account, the upstream decides; a map or a list says more than the host.
    assert_eq!(pick_for(&[&at(openai)], "claude-opus-5-5"), Some(0));
    let claude = other;
    assert_eq!(pick_for(&[&at(openai), &claude], "claude-opus-5-5"), Some(1));
    assert_eq!(pick_for(&[&at(openai), &claude], "gpt-5.2"), Some(0));
    let mut mapped = at(openai);
    mapped.model_map = vec![("claude-*".parse().unwrap(), "gpt-5.2".to_owned())];
    assert_eq!(pick_for(&[&mapped, &any], "claude-opus-5-5"), Some(0));
    let mut listed = at(openai);
    listed.models = vec!["claude-*".parse().unwrap()];
    assert_eq!(pick_for(&[&listed, &any], "claude-opus-5-5"), Some(0));
}

#[test]
fn anthropic_account_without_a_list_serves_claude_models() {
    let (claude, mut openai) = (account(1, 9, None), account(2, 1, None));
    openai.provider = Provider::OpenaiCompatible;
    openai.priority = claude.priority + 1;
    assert_eq!(pick_for(&[&claude, &openai], "gpt-5.2"), Some(1));
    assert_eq!(pick_for(&[&claude, &openai], "claude-opus-5-5"), Some(0));
    // Without another account, the upstream decides.
    assert_eq!(pick_for(&[&claude], "gpt-5.2"), Some(0));
    let mut mapped = claude.clone();
    mapped.model_map = vec![("gpt-*".parse().unwrap(), "claude-opus-5-5".to_owned())];
    assert_eq!(pick_for(&[&mapped, &openai], "gpt-5.2"), Some(0));
    let mut host = claude;
    host.base_url = "https://api.deepseek.com/anthropic".to_owned();
    assert_eq!(pick_for(&[&host, &openai], "deepseek-chat"), Some(0));
}

#[test]
fn no_eligible_account_reports_reasons() {
    let mut off = account(1, 1, None);
    off.enabled = false;
    let mut other = account(2, 1, None);
    other.models = vec!["claude-haiku-*".parse().unwrap()];
    let cooldown = Cooldown::new(Timestamp::MAX, CooldownReason::Overloaded, false);
    let cooling =
        AccountHealth { state: HealthState::Cooling(cooldown), ..AccountHealth::default() };
    let since = Timestamp::UNIX_EPOCH;
    let state =
        HealthState::AuthFailed { since, reason: CooldownReason::CredentialRefused, detail: None };
    let refused = AccountHealth { state, ..AccountHealth::default() };
    let (third, fourth) = (account(3, 1, None), account(4, 1, None));
    let ready = AccountHealth::default();
    let candidates = [&off, &other, &third, &fourth];
    let health = |index: usize| [&ready, &ready, &cooling, &refused][index];
    let group = GroupId::from_bits(1);
    let criteria = criteria(&group, 0);
    let choice =
        among(&candidates, |all| choose_account(all, health, &criteria, Timestamp::UNIX_EPOCH));
    let SelectionResult::NoneEligible(reasons) = choice else {
        panic!("somebody");
    };
    let cooling =
        IneligibleReason::Cooling { until: Timestamp::MAX, reason: CooldownReason::Overloaded };
    let expect = [
        (off.id.clone(), IneligibleReason::Disabled),
        (other.id.clone(), IneligibleReason::Model),
        (third.id.clone(), cooling),
        (fourth.id.clone(), IneligibleReason::AuthFailed(CooldownReason::CredentialRefused)),
    ];
    assert_eq!(reasons, expect);
    assert_eq!(ready_at(&reasons), Some(Timestamp::MAX));
    assert_eq!(ready_at(&reasons[..2]), None);
}

proptest! {
    #[test]
    fn lost_account_moves_only_its_own_sessions(
        weights in prop::collection::vec((1_u32..9, 0_u8..4), 2..8),
        lost in any::<prop::sample::Index>(),
        sessions in prop::collection::vec(any::<u64>(), 50),
    ) {
        let names = ["a", "b", "c"];
        let accounts: Vec<_> = weights
            .iter()
            .enumerate()
            .map(|(at, &(weight, domain))| account(at as u128, weight, names.get(usize::from(domain)).copied()))
            .collect();
        let lost = &accounts[lost.index(accounts.len())];
        for session in sessions {
            let before = pick(&accounts, session, &[]).unwrap();
            let after = pick(&accounts, session, std::slice::from_ref(&lost.id)).unwrap();
            if before == lost.id {
                let moved = accounts.iter().find(|account| account.id == after).unwrap();
                let stays = accounts.iter().any(|other| other.id != lost.id && domain(other) == domain(lost));
                prop_assert!(!stays || domain(moved) == domain(lost));
            } else {
                prop_assert_eq!(before, after);
            }
        }
    }
    #[test]
    fn recovered_account_gets_its_sessions_back(
        weights in prop::collection::vec((1_u32..9, 0_u8..4), 2..8),
        gone in any::<prop::sample::Index>(),
        sessions in prop::collection::vec(any::<u64>(), 50),
    ) {
        let names = ["a", "b", "c"];
        let accounts: Vec<_> = weights
            .iter()
            .enumerate()
            .map(|(at, &(weight, domain))| account(at as u128, weight, names.get(usize::from(domain)).copied()))
            .collect();
        let (rest, now) = (Cooldown::new(Timestamp::MAX, CooldownReason::RateLimited, false), Timestamp::UNIX_EPOCH);
        let (out, ready) = (AccountHealth { state: HealthState::Cooling(rest), ..AccountHealth::default() }, AccountHealth::default());
        let gone = &accounts[gone.index(accounts.len())].id;
        let group = GroupId::from_bits(1);
        for session in sessions {
            let criteria = criteria(&group, session);
            let chosen = |order: &[Account], is_out: bool| {
                let health = |at: usize| if is_out && order[at].id == *gone { &out } else { &ready };
                let candidates: Vec<_> = order.iter().collect();
                match among(&candidates, |all| choose_account(all, health, &criteria, now)) {
                    SelectionResult::Chosen(at) => Some(order[at].id.clone()),
                    SelectionResult::NoneEligible(_) => None,
                }
            };
            let turned: Vec<Account> = accounts.iter().rev().cloned().collect();
            let before = chosen(&accounts, false);
            prop_assert_eq!(&before, &chosen(&turned, false), "the order says nothing");
            prop_assert_eq!(chosen(&accounts, true), pick(&accounts, session, std::slice::from_ref(gone)));
            prop_assert_eq!(before, chosen(&accounts, false));
        }
    }
}

/// A direct implementation of the selection: the smallest `-log2(hash) / weight` over domains, then
/// over the accounts of the domain.
fn plain(accounts: &[Account], group: &GroupId, session: u64) -> Option<usize> {
    let usable: Vec<usize> = (0..accounts.len()).filter(|&index| accounts[index].enabled).collect();
    let seed = xxh3_64_with_seed(group.as_str().as_bytes(), session);
    let hash = |name: &str, seed| xxh3_64_with_seed(&xxh3_64(name.as_bytes()).to_le_bytes(), seed);
    let key = |name: &str, seed, weight: u64, other: (u64, u64)| {
        let neg = neg_log2(hash(name, seed));
        (u128::from(neg) * u128::from(other.1)).cmp(&(u128::from(other.0) * u128::from(weight)))
    };
    let ticket = |name: &str, seed, weight| (neg_log2(hash(name, seed)), weight);
    let whole = |index: usize| -> u64 {
        let peers = usable.iter().filter(|&&it| domain(&accounts[it]) == domain(&accounts[index]));
        peers.map(|&it| u64::from(accounts[it].weight)).sum()
    };
    let first = usable.iter().copied().min_by(|&a, &b| {
        let other = ticket(domain(&accounts[b]), seed, whole(b));
        key(domain(&accounts[a]), seed, whole(a), other)
    })?;
    let home = domain(&accounts[first]);
    let seed = seed.rotate_left(32);
    usable.iter().copied().filter(|&index| domain(&accounts[index]) == home).min_by(|&a, &b| {
        let weight = |index: usize| u64::from(accounts[index].weight);
        let other = ticket(accounts[b].id.as_str(), seed, weight(b));
        key(accounts[a].id.as_str(), seed, weight(a), other)
    })
}

proptest! {
    #[test]
    fn fast_hashing_agrees_with_reference(
        kinds in prop::collection::vec((1..9_u32, 0..6_u8, any::<bool>()), 1..40),
        session: u64,
    ) {
        let mut accounts = Vec::new();
        for ((weight, shared, enabled), id) in kinds.into_iter().zip(1..) {
            let name = format!("d{shared}");
            let mut account = account(id, weight, (shared < 3).then_some(name.as_str()));
            account.enabled = enabled;
            accounts.push(account);
        }
        let group = GroupId::from_bits(1);
        let expected = plain(&accounts, &group, session).map(|at| accounts[at].id.clone());
        prop_assert_eq!(pick(&accounts, session, &[]), expected);
    }

    #[test]
    fn logarithm_is_at_least_its_lower_bound(u: u64, shift in 0..64_u32) {
        prop_assert!(neg_log2_min(u >> shift) <= neg_log2(u >> shift));
    }
}

fn resting(is_estimated: bool) -> AccountHealth {
    let cooldown = Cooldown::new(Timestamp::MAX, CooldownReason::RateLimited, is_estimated);
    AccountHealth { state: HealthState::Cooling(cooldown), ..AccountHealth::default() }
}

fn used(percent: u32) -> AccountHealth {
    let five_hour = Some(UtilizationWindow { percent, resets_at: None });
    AccountHealth {
        utilization: UpstreamUtilization { five_hour, seven_day: None },
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
        let chosen = pool.choose(&criteria(&group, session));
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
        let (criteria, now) = (criteria(&group, session), Timestamp::UNIX_EPOCH);
        let (accounts, looked) = (pool.accounts(), Cell::new(0));
        let health = |at| {
            looked.set(looked.get() + 1);
            pool.health(at)
        };
        let quick = among(&accounts, |all| choose_account(all, health, &criteria, now));
        let first = among(&accounts, |all| first_choice(all, &criteria));
        let is_well = first.is_some_and(|at| rank(numbers[at]) == Some(0));
        prop_assert_eq!(looked.get() == 1, is_well, "nobody else is looked at");
        let complete = among(&accounts, |all| {
            let avoided = all.avoided_vendors(criteria.operation, criteria.model);
            choose_with_health(all, health, &criteria, &avoided, now)
        });
        prop_assert_eq!(quick, complete);
    }

    #[test]
    fn guessed_cooldowns_never_block_the_last_account((numbers, pool) in pools(), session: u64) {
        let group = GroupId::from_bits(1);
        let chosen = pool.choose(&criteria(&group, session));
        prop_assert_eq!(chosen.is_none(), numbers.iter().all(|number| *number == 4));
    }

    #[test]
    fn pinned_session_stays_while_its_domain_is_in_the_best_tier(
        (numbers, pool) in pools(), session: u64, to in any::<prop::sample::Index>(),
    ) {
        let group = GroupId::from_bits(1);
        let to = domain(&pool.0[to.index(pool.0.len())].0).to_owned();
        let plain = pool.choose(&criteria(&group, session));
        let chosen = pool.choose(&SelectionCriteria { pinned_domain: Some(&to), ..criteria(&group, session) });
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
        let home = among(&pool.accounts(), |all| first_choice(all, &criteria(&group, session)));
        prop_assert_eq!(home, well.choose(&criteria(&group, session)));
    }

    #[test]
    fn account_at_capacity_is_skipped_like_a_tried_one((_, pool) in pools(), session: u64) {
        let group = GroupId::from_bits(1);
        let Some(first) = pool.choose(&criteria(&group, session)) else { return Ok(()) };
        let full = [pool.0[first].0.id.clone()];
        let without = pool.choose(&SelectionCriteria { tried: &full, ..criteria(&group, session) });
        let next = pool.choose(&SelectionCriteria { at_capacity: &full, ..criteria(&group, session) });
        prop_assert_eq!(next, without);
        prop_assert_ne!(next, Some(first));
    }
}

#[test]
fn utilization_threshold_can_be_disabled() {
    let pool = TestAccounts(vec![(account(1, 1, None), used(100)), (account(2, 1, None), used(0))]);
    let group = GroupId::from_bits(1);
    let session = (0..1000).find(|session| {
        pool.choose(&SelectionCriteria { max_utilization: None, ..criteria(&group, *session) })
            == Some(0)
    });
    assert_eq!(pool.choose(&criteria(&group, session.unwrap())), Some(1));
}

#[test]
fn account_at_capacity_reports_its_reason() {
    let pool = TestAccounts(vec![(account(1, 1, None), used(0))]);
    let (group, full) = (GroupId::from_bits(1), [AccountId::from_bits(1)]);
    let criteria = SelectionCriteria { at_capacity: &full, ..criteria(&group, 0) };
    let (health, now) = (|index| pool.health(index), Timestamp::UNIX_EPOCH);
    let choice = among(&pool.accounts(), |all| choose_account(all, health, &criteria, now));
    assert_eq!(
        choice,
        SelectionResult::NoneEligible(vec![(full[0].clone(), IneligibleReason::AtCapacity)])
    );
}

#[test]
fn guessed_cooldown_that_ends_first_is_tried() {
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
        assert_eq!(pool.choose(&criteria(&group, session)), Some(1));
    }
}

#[test]
fn model_cooldown_uses_the_upstream_model_name() {
    let until = Timestamp::from_second(30).unwrap();
    let cooldown = Cooldown::new(until, CooldownReason::RateLimited, false);
    let models = [("opus-upstream".to_owned(), cooldown)].into_iter().collect();
    let mut mapped = account(1, 1, None);
    mapped.model_map = vec![("claude-opus-*".parse().unwrap(), "opus-upstream".to_owned())];
    let pool = TestAccounts(vec![(mapped, AccountHealth { models, ..AccountHealth::default() })]);
    let group = GroupId::from_bits(1);
    assert_eq!(pool.choose(&criteria(&group, 1)), None);
    assert_eq!(
        pool.choose(&SelectionCriteria { model: "claude-haiku-5-5", ..criteria(&group, 1) }),
        Some(0)
    );
}
