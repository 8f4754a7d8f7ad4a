//! Accounts whose credential was refused come back by themselves, and asking them costs nothing.

use baton_cloud::aws::Aws;
use baton_cloud::store::Edit;
use baton_domain::account::{Account, CredentialKind, Provider};
use baton_domain::health::{Standing, refused};
use baton_domain::id::{AccountId, GroupId};
use baton_domain::secret::Secret;
use baton_refresh::{Outside, tend};
use baton_tests::inside::Inside;
use baton_tests::upstream::FakeUpstream;
use jiff::SignedDuration;

async fn refused_account(inside: &Inside, number: u128, base_url: &str) -> AccountId {
    let id = AccountId::from_bits(number);
    let account = Account {
        id: id.clone(),
        name: format!("account {number}"),
        provider: Provider::Anthropic,
        base_url: base_url.to_owned(),
        credential: CredentialKind::ApiKey,
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
    let stored = store.stamp(account, Some(sealed.expect("sealed")));
    let mut edit = Edit::default();
    store.save_account(&mut edit, &stored, &[]).expect("an item");
    store.apply(edit).await.expect("saved");
    let now = store.clock().now();
    store.change_health(&id, |health| refused(health, "401", now)).await.expect("written");
    id
}

#[tokio::test]
async fn a_good_answer_to_a_free_call_brings_an_account_back() {
    let inside = Inside::new(&[("BATON_ALLOW_PRIVATE_UPSTREAMS", "1")]).await;
    let upstream = FakeUpstream::start();
    let good = refused_account(&inside, 1, &upstream.url()).await;
    let gone = refused_account(&inside, 2, "http://127.0.0.1:9").await;
    let aws = Aws::new(&inside.local.sdk_config());
    let outside = Outside::new(&aws, &inside.settings).expect("clients");
    let store = &inside.store;
    let is_ready = |id| store.health(id).overall(store.clock().now()) == Standing::Ready;

    assert_eq!(tend(store, &outside, "test").await.expect("a tick").recovered, 1);
    assert!(is_ready(&good) && !is_ready(&gone));
    let asked: Vec<String> =
        upstream.exchanges().iter().map(|it| it.request.path().to_owned()).collect();
    assert_eq!(asked, ["/v1/models"], "nothing that is paid for");

    // Not before its time, by no process.
    let now = store.clock().now();
    store.change_health(&good, |health| refused(health, "401", now)).await.expect("written");
    let another = inside.another();
    assert_eq!(tend(&another, &outside, "another").await.expect("a tick").recovered, 0);
    store.clock().advance(SignedDuration::from_secs(301));
    assert_eq!(tend(&another, &outside, "another").await.expect("a tick").recovered, 1);
}
