//! Measures how long account selection takes, by the number of accounts.
//!
//! `cargo run --release -p baton-domain --example choosing` prints the median of 1,000 selections,
//! each of another session.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use baton_domain::account::{Account, CredentialKind, Provider};
use baton_domain::account_selection::{
    AccountCandidates, HashedAccount, SelectionCriteria, choose_account,
};
use baton_domain::health::AccountHealth;
use baton_domain::id::{AccountId, GroupId};
use baton_domain::protocol::{ClientProtocol, UpstreamOperation};
use baton_domain::request_tier::RequestTier;
use jiff::Timestamp;
use std::hint::black_box;
use std::time::Instant;

const CHOICES: u64 = 1_000;

fn main() {
    println!("| accounts | each for itself | four to a cache domain |");
    println!("| --- | --- | --- |");
    for count in [10, 100, 1_000] {
        println!("| {count} | {} | {} |", median(count, None), median(count, Some(4)));
    }
}

fn median(count: u128, to_a_domain: Option<u128>) -> String {
    let account = |bits: u128| {
        let id = AccountId::from_bits(bits);
        Account {
            cache_domain: to_a_domain.map(|peers| format!("workspace-{}", bits / peers)),
            ..Account::new(id, Provider::Anthropic, "", CredentialKind::ApiKey)
        }
    };
    let accounts: Vec<Account> = (0..count).map(account).collect();
    let (health, group) = (AccountHealth::default(), GroupId::default_group());
    let lots: Vec<HashedAccount> = accounts.iter().map(HashedAccount::from_account).collect();
    let candidates = AccountCandidates { accounts: &accounts, candidates: &lots };
    let mut nanos: Vec<u128> = (0..CHOICES)
        .map(|session| {
            let criteria = SelectionCriteria {
                is_fast: false,
                tier: RequestTier::default(),
                group: &group,
                operation: UpstreamOperation::Answer(ClientProtocol::AnthropicMessages),
                model: "claude-opus-5-5",
                session: session.wrapping_mul(0x9e37_79b9_7f4a_7c15),
                pinned_domain: None,
                tried: &[],
                at_capacity: &[],
                without_token: &[],
                max_utilization: Some(95),
            };
            let started = Instant::now();
            black_box(choose_account(
                black_box(&candidates),
                |_| &health,
                &criteria,
                Timestamp::UNIX_EPOCH,
            ));
            started.elapsed().as_nanos()
        })
        .collect();
    nanos.sort_unstable();
    let half = nanos.get(nanos.len() / 2).copied().unwrap_or_default();
    format!("{}.{} µs", half / 1000, half / 100 % 10)
}
