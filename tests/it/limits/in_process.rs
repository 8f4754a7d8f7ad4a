//! Limits with everything in one process, where store calls can be counted and made to fail.

use baton_domain::effective_limits::EffectiveLimits;
use baton_domain::id::RequestId;
use baton_domain::key::Limits;
use baton_domain::money::PicoUsd;
use baton_domain::reservation::{BlockReason, Reservation};
use baton_domain::scope::LimitScope;
use baton_store::{Admission, EventFilter};
use baton_test_harness::injected_faults::InjectedFault;
use baton_test_harness::system::{InProcessSystem, TestSystem, broken, daily, reservation};
use jiff::SignedDuration;

#[tokio::test]
async fn key_without_limits_writes_nothing() {
    let inside = InProcessSystem::open().await;
    let (_, free) = inside.key(Limits::default()).await;
    let (_, limited) = inside.key(daily("100")).await;
    inside.take_calls();
    assert_eq!(inside.ask(&free).await.0, 503);
    let seen = inside.take_calls();
    assert!(seen.iter().all(|operation| matches!(&**operation, "GetItem" | "Query")), "{seen:?}");

    assert_eq!(inside.ask(&limited).await.0, 503, "the first request creates the item");
    inside.take_calls();
    assert_eq!(inside.ask(&limited).await.0, 503);
    let seen = inside.take_calls();
    let updates = seen.iter().filter(|operation| *operation == "UpdateItem").count();
    assert_eq!(updates, 2, "one reservation and, without an account, one release: {seen:?}");
    assert!(!seen.iter().any(|operation| operation == "PutItem"), "{seen:?}");
}

#[tokio::test]
async fn blocking_limit_is_noted_once() {
    let inside = InProcessSystem::open().await;
    let (key, secret) = inside.key(daily("1")).await;
    inside.spend(&key, &daily("1")).await;
    let mut writes = Vec::new();
    for _ in 0..3 {
        inside.take_calls();
        assert_eq!(inside.ask(&secret).await.0, 429);
        let seen = inside.take_calls();
        writes.push(seen.iter().filter(|operation| *operation == "UpdateItem").count());
    }
    // Each request tries to reserve. Only the first one also notes that the limit blocks.
    assert_eq!(writes, [2, 1, 1]);
    let touched = inside.store.refresh.alerts.touched_limits().await.expect("read");
    let noted: Vec<_> = touched.iter().map(|one| (&one.scope, &one.blocked)).collect();
    assert_eq!(noted, [(&key.to_string(), &["d#2026-11-22".to_owned()].into())]);
}

#[tokio::test]
async fn store_failure_blocks_money_limits_and_allows_rates() {
    let rates = Limits { requests_per_minute: Some(1), ..Limits::default() };
    let check = async |variables: &[(&str, &str)], limits: &Limits, expect: (u16, &str)| {
        let inside = TestSystem::builder().envs(variables).in_process().start().await;
        let (_, secret) = inside.key(limits.clone()).await;
        inside.fail(usize::MAX, broken());
        let (status, error) = inside.ask(&secret).await;
        let kind = error["error"]["type"].as_str().unwrap_or_default();
        assert_eq!((status, kind), expect, "{variables:?}: {error}");
        error
    };
    let error = check(&[], &daily("100"), (429, "billing_error")).await;
    let text = error["error"]["message"].as_str().unwrap_or_default();
    assert!(text.starts_with("spend limit unavailable"), "{error}");
    assert_eq!(error["has_wait"], false, "the duration of the failure is unknown");
    check(&[("BATON_LIMITS_FAIL_MONEY", "open")], &daily("100"), (503, "api_error")).await;
    check(&[], &rates, (503, "api_error")).await;
    let closed = [("BATON_LIMITS_FAIL_RATES", "closed")];
    check(&closed, &rates, (429, "rate_limit_error")).await;
}

#[tokio::test]
async fn conflict_is_retried_and_lost_answer_reserves_once() {
    let inside = InProcessSystem::open().await;
    let (key, _) = inside.key(daily("100")).await;
    let now = inside.store.clock().now();
    let admit = async |bits| {
        let id = RequestId::from_bits(bits);
        let bounds = EffectiveLimits::from_own_limits(key.clone(), daily("100"));
        inside.store.relay.limits.admit(&bounds, &id, &reservation(now, 5)).await
    };
    assert!(matches!(admit(1).await, Ok(Admission::Admitted(_))));
    inside.fail(2, InjectedFault::conflict());
    assert!(matches!(admit(2).await, Ok(Admission::Admitted(_))));
    assert_eq!(inside.spent(&key).await.1, PicoUsd::new(10));
    inside.fail(1, InjectedFault::connection_lost().after());
    assert!(matches!(admit(3).await, Ok(Admission::Admitted(_))));
    assert_eq!(inside.spent(&key).await.1, PicoUsd::new(15), "once");
}

#[tokio::test]
async fn forty_concurrent_requests_respect_the_limit_in_few_writes() {
    let at_once = async |limits: Limits, instances: usize| {
        let inside = InProcessSystem::open().await;
        let (key, _) = inside.key(limits.clone()).await;
        let stores = [inside.store.clone(), inside.another(8).store];
        let (bounds, at) =
            (EffectiveLimits::from_own_limits(key.clone(), limits), inside.store.clock().now());
        inside.take_calls();
        let asking = (0..40).map(|number: usize| {
            let (store, bounds) = (&stores[number % instances], &bounds);
            async move {
                let id = RequestId::from_bits(number as u128);
                store
                    .relay
                    .limits
                    .admit(bounds, &id, &reservation(at, 10))
                    .await
                    .expect("the store is up")
            }
        });
        let admitted = futures_util::future::join_all(asking).await;
        let admitted = admitted.iter().filter(|one| matches!(one, Admission::Admitted(_))).count();
        let counted = inside.store.admin.counters.read_key_counters(&key).await.expect("counted");
        assert_eq!(
            (counted.open_reservations.len(), counted.requests_in_minute(at)),
            (admitted, admitted as i128)
        );
        assert_eq!(inside.spent(&key).await.1, PicoUsd::new(10 * admitted as i128));
        (admitted, inside.take_calls().iter().filter(|one| *one == "UpdateItem").count())
    };
    let money = || Limits { usd_daily: Some(PicoUsd::new(259)), ..Limits::default() };
    let rate = || Limits { requests_per_minute: Some(25), ..Limits::default() };
    let concurrency = || Limits { concurrency: Some(25), ..Limits::default() };
    for limits in [money, rate, concurrency].map(|limits| limits()) {
        for instances in [1, 2] {
            assert_eq!(at_once(limits.clone(), instances).await.0, 25, "{limits:?}");
        }
    }
    // The first write fails because the item is missing, creates it and repeats. The other requests
    // share their writes.
    assert_eq!(at_once(daily("100"), 1).await, (40, 4));
}

#[tokio::test]
async fn full_limit_item_makes_requests_retry_later() {
    let inside =
        TestSystem::builder().env("BATON_LIMITS_FAIL_MONEY", "open").in_process().start().await;
    let limits = daily("100");
    let (key, secret) = inside.key(limits.clone()).await;
    let at = inside.store.clock().now();
    let wanted = Reservation { model: "m".repeat(4000), ..reservation(at, 10) };
    let own = EffectiveLimits::from_own_limits(key.clone(), limits.clone());
    let pooled =
        EffectiveLimits { shared_limits: vec![(LimitScope::Organization, limits)], ..own.clone() };
    let together = Reservation { shared_limits: vec![LimitScope::Organization], ..wanted.clone() };
    let admit = async |bounds: &EffectiveLimits, bits: u128, wanted: &Reservation| {
        let id = RequestId::from_bits(bits);
        inside.store.relay.limits.admit(bounds, &id, wanted).await.expect("the store is up")
    };
    let mut admitted = 0;
    let full = Admission::Blocked(LimitScope::Key(key.clone()), BlockReason::Backlog);
    while admit(&own, admitted, &wanted).await != full {
        admitted += 1;
    }
    assert!((90..100).contains(&admitted), "reservations of 4 KB in an item of 400 KB: {admitted}");
    while admit(&own, admitted, &reservation(at, 10)).await != full {
        admitted += 1;
    }
    assert_eq!(admit(&pooled, admitted, &together).await, full);
    let several =
        futures_util::future::join_all((1..4).map(|n| admit(&own, admitted + n, &wanted)));
    assert_eq!(several.await, vec![full.clone(); 3]);
    assert_eq!(inside.spent(&key).await.1, PicoUsd::new(10 * i128::try_from(admitted).unwrap()));

    let (status, error) = inside.ask(&secret).await;
    let kind = error["error"]["type"].as_str().unwrap_or_default();
    assert_eq!((status, kind, &error["has_wait"]), (429, "rate_limit_error", &true.into()));
    inside
        .store
        .relay
        .limits
        .release(&key, &RequestId::from_bits(0), &wanted)
        .await
        .expect("released");
    assert!(matches!(admit(&own, admitted, &wanted).await, Admission::Admitted(_)));
}

#[tokio::test]
async fn admission_of_a_disconnected_client_is_released() {
    let inside = InProcessSystem::open().await;
    let (key, _) = inside.key(daily("100")).await;
    let (bounds, at) =
        (EffectiveLimits::from_own_limits(key.clone(), daily("100")), inside.store.clock().now());
    let (id, wanted) = (RequestId::from_bits(1), reservation(at, 10));
    {
        let mut asking = std::pin::pin!(inside.store.relay.limits.admit(&bounds, &id, &wanted));
        assert!(futures_util::poll!(&mut asking).is_pending());
    }
    let (next, wanted) = (RequestId::from_bits(2), reservation(at, 10));
    inside
        .store
        .relay
        .limits
        .admit(&bounds, &next, &wanted)
        .await
        .expect("the second request admitted");
    assert_eq!(inside.spent(&key).await.1, PicoUsd::new(10), "only the second");
}

#[tokio::test]
async fn expired_reservation_is_settled_once_despite_late_record() {
    let inside = InProcessSystem::open().await;
    let (key, _) = inside.key(daily("100")).await;
    let (store, queue) = (&inside.store, &inside.queue);
    let at = store.clock().now();
    let id = RequestId::at(at, store.random_source().bits());
    let wanted = reservation(at, 1000);
    let bounds = EffectiveLimits::from_own_limits(key.clone(), daily("100"));
    store.relay.limits.admit(&bounds, &id, &wanted).await.expect("admitted");
    let swept = async || {
        baton_refresh::collect_usage(&store.refresh, queue, "test").await.expect("a tick").swept
    };
    assert_eq!(swept().await, 0, "the reservation has not expired");
    store.clock().advance(SignedDuration::from_secs(61));
    assert_eq!(swept().await, 1);
    assert_eq!(swept().await, 0, "the second sweep is too early");
    inside.run_stats().await;
    assert_eq!(inside.spent(&key).await, (PicoUsd::new(1000), PicoUsd::ZERO));

    let mut late = wanted.to_expired_record(id, key.clone(), "t");
    late.cost_usd = PicoUsd::new(400);
    queue.send(&late).await.expect("sent");
    inside.run_stats().await;
    assert_eq!(inside.spent(&key).await, (PicoUsd::new(1000), PicoUsd::ZERO), "settled once");
    let now = store.clock().now();
    let filter = EventFilter {
        from: at,
        to: now,
        key: Some(key),
        account: None,
        user: None,
        model: None,
        outcome: None,
        keys: None,
    };
    let events = store.admin.usage.events(&filter, 10, None).await.expect("events").data;
    assert_eq!((events.len(), events[0].estimated), (1, true));
    store.clock().advance(SignedDuration::from_secs(700));
    assert_eq!(swept().await, 0, "nothing is left");
}

#[tokio::test]
async fn unknown_reservation_is_settled_at_actual_cost() {
    for come_together in [false, true] {
        let inside = InProcessSystem::open().await;
        let (key, _) = inside.key(daily("100")).await;
        let (store, queue) = (&inside.store, &inside.queue);
        let at = store.clock().now();
        let id = RequestId::at(at, store.random_source().bits());
        let wanted = reservation(at, 1000);
        let bounds = EffectiveLimits::from_own_limits(key.clone(), daily("100"));
        store.relay.limits.admit(&bounds, &id, &wanted).await.expect("admitted");
        // The answer to the reservation was lost and the request continued without it. Its record
        // has no reservation.
        let mut unaware = wanted.to_expired_record(id, key.clone(), "t");
        (unaware.cost_usd, unaware.reserved_usd) = (PicoUsd::new(400), None);
        queue.send(&unaware).await.expect("sent");
        if !come_together {
            inside.run_stats().await;
        }
        store.clock().advance(SignedDuration::from_secs(61));
        for _ in 0..2 {
            baton_refresh::collect_usage(&store.refresh, queue, "test").await.expect("a tick");
            inside.run_stats().await;
            assert_eq!(inside.spent(&key).await, (PicoUsd::new(400), PicoUsd::ZERO));
            let counted = store.admin.counters.read_key_counters(&key).await.expect("counted");
            assert!(
                counted.open_reservations.is_empty(),
                "a reservation is open; one batch: {come_together}"
            );
            store.clock().advance(SignedDuration::from_secs(700));
        }
    }
}

#[tokio::test]
async fn record_without_limit_item_is_stored() {
    let inside = InProcessSystem::open().await;
    let (key, _) = inside.key(daily("100")).await;
    let at = inside.store.clock().now();
    let id = RequestId::at(at, inside.store.random_source().bits());
    let record = reservation(at, 1000).to_expired_record(id, key.clone(), "t");
    inside.queue.send(&record).await.expect("sent");
    inside.run_stats().await;
    let filter = EventFilter {
        from: at,
        to: at + SignedDuration::from_secs(1),
        key: Some(key.clone()),
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
    assert_eq!(inside.spent(&key).await, (PicoUsd::ZERO, PicoUsd::ZERO), "nothing was reserved");
}

#[tokio::test]
async fn limit_item_stays_small() {
    let inside = InProcessSystem::open().await;
    let limits = Limits { requests_per_minute: Some(1), ..Limits::default() };
    let (key, _) = inside.key(limits.clone()).await;
    let bounds = EffectiveLimits::from_own_limits(key.clone(), limits);
    for number in 0..100 {
        let at = inside.store.clock().now();
        let (id, wanted) = (RequestId::from_bits(number), reservation(at, 5));
        let admitted = inside.store.relay.limits.admit(&bounds, &id, &wanted).await;
        assert!(matches!(admitted, Ok(Admission::Admitted(_))), "{number}: {admitted:?}");
        inside.store.relay.limits.release(&key, &id, &wanted).await.expect("released");
        inside.store.clock().advance(SignedDuration::from_mins(1));
    }
    let counted = inside.store.admin.counters.read_key_counters(&key).await.expect("counted");
    assert!(counted.windows.len() < 30, "{:?}", counted.windows.keys());
    assert!(counted.open_reservations.is_empty());
}
