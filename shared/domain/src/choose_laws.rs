//! The laws of [`super::choose`].

use super::*;
use crate::account::CredentialKind;
use proptest::prelude::*;

fn account(bits: u128, weight: u32, domain: Option<&str>) -> Account {
    Account {
        id: AccountId::from_bits(bits),
        name: String::new(),
        provider: Provider::Anthropic,
        base_url: String::new(),
        credential: CredentialKind::ApiKey,
        groups: Vec::new(),
        priority: 1,
        weight,
        models: Vec::new(),
        model_map: Vec::new(),
        cache_domain: domain.map(str::to_owned),
        max_concurrency: None,
        proxy_url: None,
        enabled: true,
    }
}

fn pick(accounts: &[Account], session: u64, tried: &[AccountId]) -> Option<AccountId> {
    let health = Health::Ready;
    let candidates: Vec<_> =
        accounts.iter().map(|account| Candidate { account, health: &health }).collect();
    let group = GroupId::from_bits(1);
    let wish = Wish { group: &group, model: "claude-opus-5-5", session, tried };
    match choose(&candidates, &wish, Timestamp::UNIX_EPOCH) {
        Choice::Chosen(index) => Some(accounts[index].id.clone()),
        Choice::Nobody(_) => None,
    }
}

#[test]
fn shares_follow_weights() {
    let accounts = [account(1, 1, None), account(2, 2, None), account(3, 5, None)];
    let mut counts = [0_u32; 3];
    for session in 0..100_000 {
        let id = pick(&accounts, session, &[]).unwrap();
        counts[accounts.iter().position(|account| account.id == id).unwrap()] += 1;
    }
    for (count, wanted) in counts.into_iter().zip([12_500_u32, 25_000, 62_500]) {
        assert!(count.abs_diff(wanted) < 2_000, "{counts:?}");
    }
}

#[test]
fn the_smallest_priority_is_used_first() {
    let mut accounts = [account(1, 100, None), account(2, 1, None)];
    accounts[0].priority = 2;
    for session in 0..100 {
        assert_eq!(pick(&accounts, session, &[]), Some(AccountId::from_bits(2)));
        let tried = [AccountId::from_bits(2)];
        assert_eq!(pick(&accounts, session, &tried), Some(AccountId::from_bits(1)));
    }
}

#[test]
fn nobody_says_why() {
    let mut off = account(1, 1, None);
    off.enabled = false;
    let mut other = account(2, 1, None);
    other.models = vec!["claude-haiku-*".parse().unwrap()];
    let cooling = Health::Cooling { until: Timestamp::MAX, reason: String::new() };
    let (third, ready) = (account(3, 1, None), Health::Ready);
    let candidates = [
        Candidate { account: &off, health: &ready },
        Candidate { account: &other, health: &ready },
        Candidate { account: &third, health: &cooling },
    ];
    let group = GroupId::from_bits(1);
    let wish = Wish { group: &group, model: "claude-opus-5-5", session: 0, tried: &[] };
    assert_eq!(
        choose(&candidates, &wish, Timestamp::UNIX_EPOCH),
        Choice::Nobody(vec![
            (off.id.clone(), Ineligible::Disabled),
            (other.id.clone(), Ineligible::Model),
            (third.id.clone(), Ineligible::Cooling(Timestamp::MAX)),
        ])
    );
}

proptest! {
    #[test]
    fn only_the_sessions_of_a_lost_account_move(
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
}
