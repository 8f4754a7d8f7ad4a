//! Accounts whose credential was refused come back by themselves, and asking them costs nothing.

use baton_domain::account::{Account, CredentialKind, Provider};
use baton_domain::cooldown_reason::CooldownReason;
use baton_domain::health::{AccountAvailability, AccountHealth, after_refusal};
use baton_domain::id::{AccountId, GroupId};
use baton_domain::secret::Secret;
use baton_refresh::{OutboundClients, maintain_accounts};
use baton_runtime::aws::AwsClients;
use baton_store::ConfigEdit;
use baton_tests::in_process_relay::InProcessRelay;
use baton_tests::upstream::FakeUpstream;
use jiff::SignedDuration;

async fn refused_account(
    inside: &InProcessRelay,
    number: u128,
    (provider, base_url): (Provider, &str),
) -> AccountId {
    let id = AccountId::from_bits(number);
    let account = Account {
        id: id.clone(),
        name: format!("account {number}"),
        provider,
        base_url: base_url.to_owned(),
        credential: match provider {
            Provider::Anthropic => CredentialKind::ApiKey,
            _ => CredentialKind::Bearer,
        },
        groups: vec![GroupId::from_bits(1)],
        priority: 1,
        weight: 1,
        models: Vec::new(),
        model_map: Vec::new(),
        cache_domain: None,
        max_concurrency: None,
        proxy_url: None,
        proxy_sealed: None,
        speaks_responses: false,
        enabled: true,
    };
    let store = &inside.store;
    let sealed = store.seal_credential(&account, &Secret::new("sk-upstream".into())).await;
    let stored = store.new_stored(account, Some(sealed.expect("sealed")));
    let mut edit = ConfigEdit::default();
    store.save_account(&mut edit, &stored, &[]).expect("an item");
    store.apply(edit).await.expect("saved");
    condemn(inside, &id).await;
    id
}

/// Holds against the account that its credential is refused.
async fn condemn(inside: &InProcessRelay, id: &AccountId) {
    let (store, reason) = (&inside.store, CooldownReason::CredentialRefused);
    let now = store.clock().now();
    let change = |health: &AccountHealth| after_refusal(health, reason, None, now);
    store.change_health(id, change).await.expect("written");
}

async fn upstreams_inside() -> (InProcessRelay, OutboundClients) {
    let inside = InProcessRelay::new(&[("BATON_ALLOW_PRIVATE_UPSTREAMS", "1")]).await;
    let aws = AwsClients::new(&inside.local.sdk_config());
    let outside = OutboundClients::new(&aws, &inside.settings).expect("clients");
    (inside, outside)
}

/// What an upstream was asked so far.
fn asked(upstream: &FakeUpstream) -> Vec<String> {
    upstream.exchanges().iter().map(|it| it.request.path().to_owned()).collect()
}

#[tokio::test]
async fn a_good_answer_to_a_free_call_brings_an_account_back() {
    let (inside, outside) = upstreams_inside().await;
    let upstream = FakeUpstream::start();
    upstream.only_takes(&["sk-upstream"]);
    let good = refused_account(&inside, 1, (Provider::Anthropic, &upstream.url())).await;
    let gone = refused_account(&inside, 2, (Provider::Anthropic, "http://127.0.0.1:9")).await;
    let store = &inside.store;
    let is_ready = |id| store.health(id).overall(store.clock().now()) == AccountAvailability::Ready;

    assert_eq!(maintain_accounts(store, &outside, "test").await.expect("a tick").recovered, 1);
    assert!(is_ready(&good) && !is_ready(&gone));
    assert_eq!(
        asked(&upstream),
        ["/v1/models"; 2],
        "nothing that is paid for: its own, a made-up one"
    );

    // Not before its time, by no process.
    condemn(&inside, &good).await;
    let another = inside.another();
    assert_eq!(
        maintain_accounts(&another, &outside, "another").await.expect("a tick").recovered,
        0
    );
    store.clock().advance(SignedDuration::from_secs(301));
    assert_eq!(
        maintain_accounts(&another, &outside, "another").await.expect("a tick").recovered,
        1
    );
    assert_eq!(asked(&upstream).len(), 3, "what the call proves is remembered");
}

#[tokio::test]
async fn every_kind_of_account_comes_back_and_a_public_list_proves_nothing() {
    for (provider, is_public, call) in [
        (Provider::Anthropic, true, "/v1/messages/count_tokens"),
        (Provider::OpenaiCompatible, false, "/v1/models"),
        (Provider::OpenaiCompatible, true, "/v1/chat/completions"),
    ] {
        let (inside, outside) = upstreams_inside().await;
        let upstream = FakeUpstream::start();
        upstream.only_takes(&[]);
        if is_public {
            upstream.lists_publicly();
        }
        let id = refused_account(&inside, 1, (provider, &upstream.url())).await;
        let store = &inside.store;
        // A dead key stays out, however often it is looked at.
        for _ in 0..3 {
            assert_eq!(
                maintain_accounts(store, &outside, "test").await.expect("a tick").recovered,
                0
            );
            store.clock().advance(SignedDuration::from_secs(301));
        }
        assert!(asked(&upstream).iter().any(|path| path == call), "{provider:?} {call}");
        upstream.only_takes(&["sk-upstream"]);
        assert_eq!(maintain_accounts(store, &outside, "test").await.expect("a tick").recovered, 1);
        assert_eq!(store.health(&id).overall(store.clock().now()), AccountAvailability::Ready);
        assert_eq!(upstream.ledger().total().begun, 0, "nothing was paid for");
    }
}

#[tokio::test]
async fn where_nothing_proves_anything_an_operator_is_waited_for() {
    let (inside, outside) = upstreams_inside().await;
    let upstream = FakeUpstream::start();
    refused_account(&inside, 1, (Provider::OpenaiCompatible, &upstream.url())).await;
    for _ in 0..3 {
        assert_eq!(
            maintain_accounts(&inside.store, &outside, "test").await.expect("a tick").recovered,
            0
        );
        inside.store.clock().advance(SignedDuration::from_secs(301));
    }
}
