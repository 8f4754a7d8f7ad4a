//! Shared limits with everything in one process, where store calls can be counted and made to fail.

use baton_domain::effective_limits::EffectiveLimits;
use baton_domain::id::{GroupId, KeyId, RequestId, UserId};
use baton_domain::key::Limits;
use baton_domain::money::PicoUsd;
use baton_domain::reservation::Reservation;
use baton_domain::scope::LimitScope;
use baton_store::{Admission, EventFilter};
use baton_test_harness::injected_faults::InjectedFault;
use baton_test_harness::stores::AllStores;
use baton_test_harness::system::{InProcessSystem, TestSystem, broken, daily, reservation};
use jiff::{SignedDuration, Timestamp};

const SCOPES: [LimitScope; 1] = [LimitScope::Organization];

fn user() -> LimitScope {
    LimitScope::User(UserId::from_bits(1))
}

fn group() -> LimitScope {
    LimitScope::Group(GroupId::from_bits(1))
}

/// The limits of a key in these scopes, with the same limit in each.
fn bounds(key: &KeyId, scopes: &[LimitScope], limits: &Limits) -> EffectiveLimits {
    let shared_limits = scopes.iter().map(|scope| (scope.clone(), limits.clone())).collect();
    EffectiveLimits {
        shared_limits,
        ..EffectiveLimits::from_own_limits(key.clone(), Limits::default())
    }
}

fn reservation_in(at: Timestamp, pico: i128, scopes: &[LimitScope]) -> Reservation {
    Reservation { shared_limits: scopes.to_vec(), ..reservation(at, pico) }
}

async fn admits(
    store: &AllStores,
    bounds: &EffectiveLimits,
    bits: u128,
    wanted: &Reservation,
) -> bool {
    let id = RequestId::from_bits(bits);
    match store.relay.limits.admit(bounds, &id, wanted).await {
        Ok(Admission::Admitted(_)) => true,
        Ok(Admission::Blocked(..)) => false,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn organization_limit_holds_over_two_instances_with_conflicts() {
    let inside = InProcessSystem::open().await;
    let other = inside.another(8).store;
    let limits = Limits { usd_daily: Some(PicoUsd::new(509)), ..Limits::default() };
    let keys = [KeyId::from_bits(1), KeyId::from_bits(2), KeyId::from_bits(3)];
    let wanted = reservation_in(inside.store.clock().now(), 10, &SCOPES);
    inside.fail(40, InjectedFault::cancelled(&["None", "TransactionConflict"]));
    let asking = (0..200).map(|number: usize| {
        let store = if number.is_multiple_of(2) { &inside.store } else { &other };
        let (key, wanted) = (&keys[number % 3], &wanted);
        let bounds = bounds(key, &SCOPES, &limits);
        async move { admits(store, &bounds, number as u128, wanted).await }
    });
    let admitted = futures_util::future::join_all(asking).await;
    assert_eq!(admitted.iter().filter(|admitted| **admitted).count(), 50);
    let (spent, reserved) = inside.spent_of(LimitScope::Organization).await;
    assert_eq!((spent, reserved), (PicoUsd::ZERO, PicoUsd::new(500)));
    let mut in_keys = PicoUsd::ZERO;
    for key in &keys {
        in_keys += inside.spent(key).await.1;
    }
    assert_eq!(in_keys, PicoUsd::new(500), "the scope and the keys have different sums");
}

#[tokio::test]
async fn request_in_shared_limits_writes_one_transaction() {
    let inside = InProcessSystem::open().await;
    for scope in [user(), group(), LimitScope::Organization] {
        inside.limit(&scope, &daily("100")).await;
    }
    let (_, secret) = inside.key_of(Some(UserId::from_bits(1)), Limits::default()).await;
    assert_eq!(inside.ask(&secret).await.0, 503, "the first request creates the item");
    inside.take_calls();
    assert_eq!(inside.ask(&secret).await.0, 503);
    let mut seen = inside.take_calls();
    // The group has no account, so the reservation is released. The `BatchGetItem` calls are for
    // the headers.
    seen.retain(|operation| operation != "BatchGetItem");
    assert_eq!(seen, ["TransactWriteItems", "TransactWriteItems"]);
    for scope in [user(), group(), LimitScope::Organization] {
        assert_eq!(inside.spent_of(scope).await, (PicoUsd::ZERO, PicoUsd::ZERO));
    }
}

#[tokio::test]
async fn store_failure_follows_settings_in_each_scope() {
    let rates = Limits { requests_per_minute: Some(1), ..Limits::default() };
    let closed = ("BATON_LIMITS_FAIL_RATES", "closed");
    let open = ("BATON_LIMITS_FAIL_MONEY", "open");
    for scope in [user(), group(), LimitScope::Organization] {
        let check = async |variables: &[(&str, &str)], limits: &Limits, expect: u16| {
            let inside = TestSystem::builder().envs(variables).in_process().start().await;
            inside.limit(&scope, limits).await;
            let key = inside.key_of(Some(UserId::from_bits(1)), Limits::default()).await;
            inside.fail(usize::MAX, broken());
            let (status, error) = inside.ask(&key.1).await;
            assert_eq!(status, expect, "{scope} {variables:?}: {error}");
        };
        check(&[], &daily("100"), 429).await;
        check(&[open], &daily("100"), 503).await;
        check(&[], &rates, 503).await;
        check(&[closed], &rates, 429).await;
    }
}

#[tokio::test]
async fn lost_answer_reserves_once_in_every_scope() {
    let inside = InProcessSystem::open().await;
    let (key, scopes) = (KeyId::from_bits(1), [user(), group(), LimitScope::Organization]);
    let bounds = bounds(&key, &scopes, &daily("100"));
    let wanted = reservation_in(inside.store.clock().now(), 5, &scopes);
    assert!(admits(&inside.store, &bounds, 1, &wanted).await);
    inside.fail(1, InjectedFault::connection_lost().after());
    assert!(admits(&inside.store, &bounds, 2, &wanted).await);
    for scope in scopes {
        assert_eq!(inside.spent_of(scope).await.1, PicoUsd::new(10), "once");
    }
    assert_eq!(inside.spent(&key).await.1, PicoUsd::new(10));
}

#[tokio::test]
async fn expired_reservation_is_settled_once_in_every_scope() {
    let inside = InProcessSystem::open().await;
    let (key, scopes) = (KeyId::from_bits(1), [user(), group(), LimitScope::Organization]);
    let (store, at) = (&inside.store, inside.store.clock().now());
    let id = RequestId::at(at, store.random_source().bits());
    let wanted = reservation_in(at, 1000, &scopes);
    let bounds = bounds(&key, &scopes, &daily("100"));
    let admitted = store.relay.limits.admit(&bounds, &id, &wanted).await;
    assert!(matches!(admitted, Ok(Admission::Admitted(_))), "{admitted:?}");
    store.clock().advance(SignedDuration::from_secs(61));
    let done =
        baton_refresh::collect_usage(&store.refresh, &inside.queue, "test").await.expect("a tick");
    assert_eq!(done.swept, 1);
    inside.run_stats().await;
    let mut late = wanted.to_expired_record(id, key.clone(), "t");
    late.cost_usd = PicoUsd::new(400);
    inside.queue.send(&late).await.expect("sent");
    inside.run_stats().await;
    for scope in scopes.into_iter().chain([LimitScope::Key(key)]) {
        let counted = inside.spent_of(scope.clone()).await;
        assert_eq!(counted, (PicoUsd::new(1000), PicoUsd::ZERO), "{scope}: settled once");
        let item = store.admin.counters.read_counters(&[scope], true).await.expect("counted");
        assert_eq!(item[0].open_requests(), 0);
    }
}

#[tokio::test]
async fn missing_limit_item_does_not_block_settlement() {
    let inside = InProcessSystem::open().await;
    let (key, at) = (KeyId::from_bits(1), inside.store.clock().now());
    let id = RequestId::at(at, 7);
    let wanted = reservation_in(at, 1000, &SCOPES);
    let bounds = bounds(&key, &SCOPES, &daily("100"));
    inside.store.relay.limits.admit(&bounds, &id, &wanted).await.expect("admitted");
    let mut record = wanted.to_expired_record(id, key.clone(), "t");
    record.cost_usd = PicoUsd::new(400);
    record.reserved_shared_limits.push(group());
    inside.queue.send(&record).await.expect("sent");
    inside.run_stats().await;
    let expect = (PicoUsd::new(400), PicoUsd::ZERO);
    assert_eq!(inside.spent(&key).await, expect);
    assert_eq!(inside.spent_of(LimitScope::Organization).await, expect);
    let to = at + SignedDuration::from_secs(1);
    let filter = EventFilter {
        from: at,
        to,
        key: Some(key),
        account: None,
        user: None,
        model: None,
        outcome: None,
        keys: None,
    };
    assert_eq!(
        inside.store.admin.usage.events(&filter, 10, None).await.expect("events").data.len(),
        1
    );
}

#[tokio::test]
async fn shared_limit_item_stays_small() {
    let inside = InProcessSystem::open().await;
    let limits = Limits { requests_per_minute: Some(1), ..Limits::default() };
    let bounds = bounds(&KeyId::from_bits(1), &SCOPES, &limits);
    for number in 0..100 {
        let at = inside.store.clock().now();
        let (id, wanted) = (RequestId::from_bits(number), reservation_in(at, 5, &SCOPES));
        assert!(admits(&inside.store, &bounds, number, &wanted).await, "{number}");
        inside.store.relay.limits.read_counters_after(&bounds, at).await.expect("counted");
        inside.store.relay.limits.release(&bounds.key, &id, &wanted).await.expect("released");
        inside.store.clock().advance(SignedDuration::from_mins(1));
    }
    for counted in
        inside.store.admin.counters.read_counters(&bounds.scopes(), true).await.expect("counted")
    {
        assert!(counted.windows.len() < 30, "{:?}", counted.windows.keys());
        assert_eq!(counted.open_requests(), 0);
    }
}

#[tokio::test]
async fn low_estimates_overrun_by_the_stated_amount() {
    let inside = InProcessSystem::open().await;
    let (key, at) = (KeyId::from_bits(1), inside.store.clock().now());
    let own = Limits { usd_total: Some(PicoUsd::new(100)), ..Limits::default() };
    let bounds = EffectiveLimits::from_own_limits(key.clone(), own);
    let wanted = Reservation { unreserved: PicoUsd::new(40), ..reservation(at, 10) };
    let mut records = Vec::new();
    for bits in 0..20 {
        if admits(&inside.store, &bounds, bits, &wanted).await {
            let mut record = wanted.to_expired_record(RequestId::from_bits(bits), key.clone(), "t");
            record.cost_usd = PicoUsd::new(50);
            records.push(record);
        }
    }
    assert_eq!(records.len(), 10);
    let stated = inside
        .store
        .admin
        .counters
        .read_key_counters(&key)
        .await
        .expect("counted")
        .unreserved_cost();
    for record in &records {
        inside.queue.send(record).await.expect("sent");
    }
    inside.run_stats().await;
    let (spent, _) = inside.spent(&key).await;
    assert_eq!((spent, stated), (PicoUsd::new(500), PicoUsd::new(400)));
    assert!(
        !admits(&inside.store, &bounds, 99, &wanted).await,
        "a request is admitted over the limit"
    );
}

#[tokio::test]
async fn spend_limit_message_of_environment_is_appended() {
    let inside = TestSystem::builder()
        .env("BATON_SPEND_LIMIT_MESSAGE", "Ask in #llm for more.")
        .in_process()
        .start()
        .await;
    let (key, secret) = inside.key(daily("1")).await;
    inside.spend(&key, &daily("1")).await;
    let (status, error) = inside.ask(&secret).await;
    let text = error["error"]["message"].as_str().unwrap_or_default();
    let expect = "spend limit reached · resets Nov 23 · Ask in #llm for more.";
    assert_eq!((status, text), (429, expect));
}
