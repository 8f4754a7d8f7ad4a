//! Re-rating a period: exact, applied once, in several calls, with corrected sums.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use baton_domain::id::KeyId;
use baton_domain::money::PicoUsd;
use baton_domain::price::PriceTable;
use baton_domain::record::UsageRecord;
use baton_domain::usage::TokenCounts;
use baton_test_harness::injected_faults::InjectedFault;
use baton_test_harness::system::{InProcessSystem, MODEL, TestSystem};
use serde_json::{Value, json};

const PERIOD: [&str; 2] = ["2026-11-01", "2026-11-30"];

fn rerate_request(dry_run: bool, limit: u32) -> Value {
    json!({"from": PERIOD[0], "to": PERIOD[1], "dry_run": dry_run, "limit": limit})
}

fn true_cost(record: &UsageRecord) -> PicoUsd {
    let table = PriceTable::builtin();
    table.cost(&record.usage(), &record.upstream_model, record.started_at).amount
}

/// Stores `count` events of five keys. The cost of each is wrong by a different amount.
async fn wrongly_priced(in_process: &InProcessSystem, count: i128) -> Vec<UsageRecord> {
    let mut records = Vec::new();
    for number in 0..count {
        let key = KeyId::from_bits(u128::try_from(number % 5).expect("small"));
        let mut record = in_process.record(&key);
        record.started_at -= jiff::SignedDuration::from_mins(i64::try_from(number).expect("small"));
        record.cost_usd = PicoUsd::new(number);
        records.push(record);
    }
    in_process.store_all(&records).await;
    records
}

async fn cost_by(in_process: &InProcessSystem, by: &str) -> PicoUsd {
    let path = format!("/usage/summary?from={}&to={}&by={by}", PERIOD[0], PERIOD[1]);
    let rows = in_process.admin().get(&path).await.ok().json()["data"].clone();
    let rows = rows.as_array().expect("rows").clone();
    let cost = |row: &Value| row["cost_usd"].as_str().expect("text").parse().expect("an amount");
    rows.iter().map(cost).sum()
}

#[tokio::test]
async fn rerate_corrects_events_and_sums() {
    let in_process = InProcessSystem::open().await;
    let records = wrongly_priced(&in_process, 300).await;
    let (old, new): (PicoUsd, PicoUsd) =
        (records.iter().map(|one| one.cost_usd).sum(), records.iter().map(true_cost).sum());
    assert_eq!(cost_by(&in_process, "").await, old);

    let progress =
        in_process.admin().post("/prices/rerate", &rerate_request(true, 5000)).await.ok().json();
    assert_eq!((&progress["done"], &progress["changed"]), (&json!(true), &json!(300)));
    assert_eq!(progress["difference_usd"], json!(new - old));
    assert_eq!(cost_by(&in_process, "").await, old, "a dry run changes nothing");

    // Calls with 70 events each, as a Lambda makes them.
    let mut calls = 0;
    let progress = loop {
        let progress =
            in_process.admin().post("/prices/rerate", &rerate_request(false, 70)).await.ok().json();
        calls += 1;
        if progress["done"] == true {
            break progress;
        }
        assert_eq!(progress["examined"], calls * 70, "{progress}");
        assert!(
            progress["next"].as_str().is_some_and(|next| next.starts_with("2026-11-2")),
            "{progress}"
        );
    };
    assert_eq!((calls, &progress["examined"], &progress["changed"]), (5, &json!(300), &json!(300)));
    assert_eq!((&progress["difference_usd"], &progress["next"]), (&json!(new - old), &Value::Null));
    for by in ["", "hour", "key", "model,account"] {
        assert_eq!(cost_by(&in_process, by).await, new, "by {by}");
    }
    let events = in_process.admin().get("/usage/events?limit=1000").await.ok().json();
    for event in events["data"].as_array().expect("rows") {
        assert_eq!(event["cost_usd"], json!(true_cost(&records[0])), "{event}");
        assert_eq!(event["price_version"], PriceTable::builtin().version());
    }
    let again =
        in_process.admin().post("/prices/rerate", &rerate_request(false, 5000)).await.ok().json();
    assert_eq!((&again["changed"], &again["examined"]), (&json!(0), &json!(300)));
    assert_eq!(cost_by(&in_process, "").await, new, "the change was applied twice");

    // The audit trail notes the beginning and the end, independent of the number of calls.
    let rows = in_process.admin().get("/audit?action=rerate").await.ok().json();
    let rows = rows["data"].as_array().expect("rows");
    assert_eq!(rows.len(), 4, "{rows:?}");
    let ends = rows.iter().filter(|row| row["after"]["done"] == true);
    let mut changed: Vec<u64> = ends.filter_map(|row| row["after"]["changed"].as_u64()).collect();
    changed.sort_unstable();
    assert_eq!(changed, [0, 300], "{rows:?}");
}

#[tokio::test]
async fn own_price_applies_from_its_start_date() {
    let in_process = InProcessSystem::open().await;
    let mut old = in_process.record(&KeyId::from_bits(1));
    old.started_at -= jiff::SignedDuration::from_hours(48);
    old.id = baton_domain::id::RequestId::from_bits(1);
    let new = in_process.record(&KeyId::from_bits(1));
    in_process.store_all(&[old, new]).await;
    in_process.admin().post("/prices/rerate", &rerate_request(false, 5000)).await.ok();
    let rates = json!({
        "input": "7", "output": "0", "cache_read": "0", "cache_write_5m": "0", "cache_write_1h": "0",
    });
    let price = json!({"model": MODEL, "effective_from": "2026-11-22", "standard": rates});
    in_process.admin().post("/prices", &price).await.status(201);
    let progress =
        in_process.admin().post("/prices/rerate", &rerate_request(false, 5000)).await.ok().json();
    assert_eq!((&progress["examined"], &progress["changed"]), (&json!(2), &json!(1)));
    let events = in_process.admin().get("/usage/events").await.ok().json();
    assert_eq!(
        events["data"][0]["cost_usd"], "0.007000000000",
        "1,000 tokens at 7 USD per million"
    );
    assert!(events["data"][0]["price_version"].as_str().is_some_and(|it| it.starts_with("own-")));
    assert_eq!(events["data"][1]["price_version"], PriceTable::builtin().version());
}

#[tokio::test]
async fn records_that_were_settled_at_their_reservation_keep_its_amount() {
    let in_process = InProcessSystem::open().await;
    let amount = |pico: i128| PicoUsd::new(pico);
    // Settled at the reservation, above it, below it, without one, and capped.
    let rows = [
        (true, Some(900), 900, false, true),
        (true, Some(900), 950, false, true),
        (true, Some(900), 899, false, false),
        (true, None, 900, false, false),
        (false, Some(900), 900, false, false),
        (false, Some(900), 900, true, true),
    ];
    let mut records = Vec::new();
    for (number, (estimated, reserved, cost, capped, _)) in (1..).zip(rows) {
        let mut record = in_process.record(&KeyId::from_bits(1));
        record.id = baton_domain::id::RequestId::from_bits(number);
        (record.estimated, record.is_capped) = (estimated, capped);
        (record.reserved_usd, record.cost_usd) = (reserved.map(amount), amount(cost));
        records.push(record);
    }
    in_process.store_all(&records).await;
    let rerated =
        in_process.admin().post("/prices/rerate", &rerate_request(false, 5000)).await.ok().json();
    assert_eq!((&rerated["examined"], &rerated["changed"]), (&json!(6), &json!(3)), "{rerated}");
    let events = in_process.admin().get("/usage/events").await.ok().json();
    for (record, (.., stays)) in records.iter().zip(rows) {
        let events = events["data"].as_array().expect("rows");
        let event = events.iter().find(|event| event["id"] == json!(record.id)).expect("the event");
        let expect = if stays { record.cost_usd } else { true_cost(record) };
        assert_eq!(event["cost_usd"], json!(expect), "{event}");
    }
}

#[tokio::test]
async fn concurrent_rerates_apply_once() {
    let in_process = InProcessSystem::open().await;
    let records = wrongly_priced(&in_process, 200).await;
    let new: PicoUsd = records.iter().map(true_cost).sum();
    let body = rerate_request(false, 5000);
    let admin = in_process.admin();
    let calls = (0..4).map(|_| admin.post("/prices/rerate", &body));
    for answer in futures_util::future::join_all(calls).await {
        answer.ok();
    }
    assert_eq!(cost_by(&in_process, "").await, new);
    assert_eq!(cost_by(&in_process, "key").await, new);
}

/// Whether a store call changes events, and not the audit trail.
fn is_revision(target: &str, body: &[u8]) -> bool {
    target.ends_with(".TransactWriteItems") && String::from_utf8_lossy(body).contains("event#")
}

#[tokio::test]
async fn change_with_lost_answer_is_applied_once() {
    let losses = Arc::new(AtomicUsize::new(0));
    let left = Arc::clone(&losses);
    let in_process = TestSystem::builder()
        .in_process()
        .store_hook(move |target, body| {
            let is_lost = is_revision(target, body)
                && left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                    .is_ok();
            is_lost.then(|| InjectedFault::connection_lost().after())
        })
        .start()
        .await;
    let records = wrongly_priced(&in_process, 150).await;
    losses.store(1, Ordering::SeqCst);
    in_process.admin().post("/prices/rerate", &rerate_request(false, 5000)).await.ok();
    assert_eq!(losses.load(Ordering::SeqCst), 0, "no answer was lost");
    let new: PicoUsd = records.iter().map(true_cost).sum();
    assert_eq!((cost_by(&in_process, "").await, cost_by(&in_process, "key").await), (new, new));
}

#[tokio::test]
async fn transaction_conflicts_are_retried() {
    let conflicts = Arc::new(AtomicUsize::new(0));
    let left = Arc::clone(&conflicts);
    let in_process = TestSystem::builder()
        .in_process()
        .store_hook(move |target, body| {
            let is_busy = is_revision(target, body)
                && left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                    .is_ok();
            let cancelled = json!({
                "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
                "Message": "Transaction cancelled [TransactionConflict]",
                "CancellationReasons": [{"Code": "TransactionConflict"}],
            });
            is_busy.then(|| InjectedFault::error_answer(400, &cancelled))
        })
        .start()
        .await;
    let records = wrongly_priced(&in_process, 20).await;
    conflicts.store(3, Ordering::SeqCst);
    let progress =
        in_process.admin().post("/prices/rerate", &rerate_request(false, 5000)).await.ok().json();
    assert_eq!(progress["changed"], 20);
    assert_eq!(cost_by(&in_process, "").await, records.iter().map(true_cost).sum());
}

#[tokio::test]
async fn expired_reservations_keep_their_cost() {
    let in_process = InProcessSystem::open().await;
    let mut record = in_process.record(&KeyId::from_bits(1));
    (record.tokens, record.cost_usd) = (TokenCounts::default(), PicoUsd::new(777));
    in_process.store_all(&[record]).await;
    let progress =
        in_process.admin().post("/prices/rerate", &rerate_request(false, 5000)).await.ok().json();
    assert_eq!((&progress["examined"], &progress["changed"]), (&json!(1), &json!(0)));
    assert_eq!(cost_by(&in_process, "").await, PicoUsd::new(777));
}

#[tokio::test]
async fn invalid_input_is_refused() {
    let in_process = InProcessSystem::open().await;
    for body in [
        json!({}),
        json!({"from": "2026-11-01"}),
        json!({"from": "2026-11-05", "to": "2026-11-01"}),
        json!({"from": "2026-11-01", "to": "2026-11-02", "limit": 0}),
        json!({"from": "2026-11-01", "to": "2026-11-02", "table": "mine"}),
    ] {
        in_process
            .admin()
            .post("/prices/rerate", &body)
            .await
            .refused(400, "invalid_request_error");
    }
}

#[tokio::test]
async fn rerate_command_prints_the_change() {
    let mut system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    key.ask("hi").await.ok();
    system.events_of(&key, 1).await;
    let (from, to) = ("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
    let command = ["usage", "rerate", "--from", from, "--to", to];
    let ended = system.process().command(&command);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let expected = "0 of 1 requests changed; the total difference is 0.000000000000 USD";
    assert_eq!(ended.stdout.trim(), expected, "the price has not changed");
}
