//! Accounts whose credential was refused become ready again by themselves, and the checks cost
//! nothing.

use baton_domain::account::{Account, CredentialKind, Provider};
use baton_domain::cooldown_reason::CooldownReason;
use baton_domain::health::{AccountAvailability, AccountHealth, after_refusal};
use baton_domain::id::{AccountId, GroupId};
use baton_domain::secret::Secret;
use baton_refresh::{OutboundClients, maintain_accounts};
use baton_store::ConfigEdit;
use baton_test_harness::system::{InProcessSystem, stored_account};
use baton_test_harness::upstream::FakeUpstream;
use jiff::SignedDuration;

async fn refused_account(
    inside: &InProcessSystem,
    number: u128,
    (provider, base_url): (Provider, &str),
) -> AccountId {
    let id = AccountId::from_bits(number);
    let account = Account {
        name: format!("account {number}"),
        provider,
        credential: match provider {
            Provider::Anthropic => CredentialKind::ApiKey,
            _ => CredentialKind::Bearer,
        },
        priority: 1,
        ..stored_account(id.clone(), base_url, GroupId::from_bits(1))
    };
    let store = &inside.store;
    let sealed =
        store.admin.editor.seal_credential(&account, &Secret::new("sk-upstream".into())).await;
    let stored = store.admin.editor.new_stored(account, Some(sealed.expect("sealed")));
    let mut edit = ConfigEdit::default();
    store.admin.editor.save_account(&mut edit, &stored, &[]).expect("an item");
    store.admin.editor.apply(edit).await.expect("saved");
    mark_auth_failed(inside, &id).await;
    id
}

/// Records that the upstream has refused the account's credential.
async fn mark_auth_failed(inside: &InProcessSystem, id: &AccountId) {
    let (store, reason) = (&inside.store, CooldownReason::CredentialRefused);
    let now = store.clock().now();
    let change = |health: &AccountHealth| after_refusal(health, reason, None, now);
    store.admin.health.change_health(id, change).await.expect("written");
}

async fn relay_and_clients() -> (InProcessSystem, OutboundClients) {
    let inside = InProcessSystem::open().await;
    let outside = OutboundClients::new(&inside.aws(), &inside.settings).expect("clients");
    (inside, outside)
}

/// The paths of all requests to an upstream.
fn requested_paths(upstream: &FakeUpstream) -> Vec<String> {
    upstream.exchanges().iter().map(|it| it.request.path().to_owned()).collect()
}

#[tokio::test]
async fn free_call_makes_account_ready_again() {
    let (inside, outside) = relay_and_clients().await;
    let upstream = FakeUpstream::start();
    upstream.only_takes(&["sk-upstream"]);
    let valid = refused_account(&inside, 1, (Provider::Anthropic, &upstream.url())).await;
    let unreachable =
        refused_account(&inside, 2, (Provider::Anthropic, "http://127.0.0.1:9")).await;
    let store = &inside.store;
    let is_ready =
        |id| store.admin.health.get(id).overall(store.clock().now()) == AccountAvailability::Ready;

    assert_eq!(
        maintain_accounts(&store.refresh, &outside, "test").await.expect("a tick").recovered,
        1
    );
    assert!(is_ready(&valid) && !is_ready(&unreachable));
    assert_eq!(
        requested_paths(&upstream),
        ["/v1/models"; 2],
        "one free call with its credential and one with an invalid one"
    );

    // No process checks again before the interval is over.
    mark_auth_failed(&inside, &valid).await;
    let another = inside.another(8).store;
    assert_eq!(
        maintain_accounts(&another.refresh, &outside, "another").await.expect("a tick").recovered,
        0
    );
    store.clock().advance(SignedDuration::from_secs(301));
    assert_eq!(
        maintain_accounts(&another.refresh, &outside, "another").await.expect("a tick").recovered,
        1
    );
    assert_eq!(
        requested_paths(&upstream).len(),
        3,
        "the result of the invalid credential is stored"
    );
}

#[tokio::test]
async fn all_providers_recover_and_public_list_is_no_proof() {
    for (provider, is_public, call) in [
        (Provider::Anthropic, true, "/v1/messages/count_tokens"),
        (Provider::OpenaiCompatible, false, "/v1/models"),
        (Provider::OpenaiCompatible, true, "/v1/chat/completions"),
    ] {
        let (inside, outside) = relay_and_clients().await;
        let upstream = FakeUpstream::start();
        upstream.only_takes(&[]);
        if is_public {
            upstream.lists_publicly();
        }
        let id = refused_account(&inside, 1, (provider, &upstream.url())).await;
        let store = &inside.store;
        // An invalid key stays refused, however often it is checked.
        for _ in 0..3 {
            assert_eq!(
                maintain_accounts(&store.refresh, &outside, "test")
                    .await
                    .expect("a tick")
                    .recovered,
                0
            );
            store.clock().advance(SignedDuration::from_secs(301));
        }
        assert!(requested_paths(&upstream).iter().any(|path| path == call), "{provider:?} {call}");
        upstream.only_takes(&["sk-upstream"]);
        assert_eq!(
            maintain_accounts(&store.refresh, &outside, "test").await.expect("a tick").recovered,
            1
        );
        assert_eq!(
            store.admin.health.get(&id).overall(store.clock().now()),
            AccountAvailability::Ready
        );
        assert_eq!(upstream.ledger().total().begun, 0, "a paid request was sent");
    }
}

#[tokio::test]
async fn account_without_proof_waits_for_operator() {
    let (inside, outside) = relay_and_clients().await;
    let upstream = FakeUpstream::start();
    refused_account(&inside, 1, (Provider::OpenaiCompatible, &upstream.url())).await;
    for _ in 0..3 {
        assert_eq!(
            maintain_accounts(&inside.store.refresh, &outside, "test")
                .await
                .expect("a tick")
                .recovered,
            0
        );
        inside.store.clock().advance(SignedDuration::from_secs(301));
    }
}
