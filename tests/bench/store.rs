//! What storing costs: one consumer, the embedded store on a file, events of several keys.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use aws_lambda_events::sqs::{SqsEvent, SqsMessage};
use baton_runtime::clock::Clock;
use baton_test_harness::stores::AllStores;
use baton_test_harness::system::TestSystem;
use serde_json::{Map, Value, json};

const EVENTS: u32 = 20_000;
const BATCH: u32 = 100;
const KEYS: u32 = 20;

/// What the line to the store has seen.
#[derive(Default)]
struct StoreCallTimes {
    transactions: usize,
    puts: usize,
    updates: usize,
    event_bytes: usize,
}

/// Stores events and prints how fast, with how many writes, and how large each is.
pub(crate) async fn measure() {
    let folder = tempfile::TempDir::with_prefix("baton-bench-").expect("a folder");
    let seen = Arc::<Mutex<StoreCallTimes>>::default();
    let notes = Arc::clone(&seen);
    let builder = TestSystem::builder().data_at(folder.path()).in_process();
    let plain = builder.clock(Clock::system()).unrecorded().start().await;
    let watched = plain.another_with_hook(7, move |target, body| {
        if target.ends_with("TransactWriteItems") {
            note(&mut notes.lock().unwrap_or_else(PoisonError::into_inner), body);
        }
        None
    });
    let (plain, watched) = (plain.store, watched.store);
    store(&watched, 0, 1_000).await;
    let begin = Instant::now();
    store(&plain, 1_000, EVENTS).await;
    let seconds = begin.elapsed().as_secs_f64();
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    println!("{:.0} events/s stored by one consumer, on a file", f64::from(EVENTS) / seconds);
    println!(
        "1,000 events of {KEYS} keys in batches of {BATCH}: {} transactions, {} items written \
         ({} events, {} rollups)",
        seen.transactions,
        seen.puts + seen.updates,
        seen.puts,
        seen.updates
    );
    println!("{} bytes a stored event, as DynamoDB counts", seen.event_bytes / seen.puts.max(1));
}

async fn store(store: &AllStores, from: u32, count: u32) {
    for first in (from..from + count).step_by(BATCH as usize) {
        let mut event = SqsEvent::default();
        event.records = (first..first + BATCH).map(message).collect();
        let answer = baton_stats::handle(&store.stats, event).await;
        assert!(answer.batch_item_failures.is_empty(), "all are stored");
    }
}

/// A record as Claude Code's requests leave it.
fn message(number: u32) -> SqsMessage {
    let second = number / 20 % 86_400;
    let (hour, minute) = (second / 3600, second / 60 % 60);
    let record = json!({
        "v": 1, "id": format!("req_{number:022}"),
        "started_at": format!("2026-11-22T{hour:02}:{minute:02}:{:02}.123Z", second % 60),
        "key_id": format!("key_{:012}", number % KEYS), "user_id": "usr_0000000000000001",
        "group_id": "grp_default", "account_id": format!("acc_{:016}", number % 3),
        "provider": "anthropic", "protocol": "anthropic_messages",
        "model": "claude-opus-5-5", "upstream_model": "claude-opus-5-5",
        "stream": true, "status": 200, "outcome": "complete", "estimated": false,
        "tokens": { "input": 12, "output": 873, "cache_read": 84_231,
                    "cache_write_5m": 1_204, "cache_write_1h": 0 },
        "web_searches": 0, "service_tier": "standard", "inference_geo": "global", "speed": null,
        "cost_usd": "0.071525500000", "price_version": "2026-11-22",
        "ttft_ms": 812, "duration_ms": 14_302, "attempts": 1,
        "session_id": "0b2d6f8e-5a14-4c1b-9a57-0a8f4e2d9c31", "agent_id": null,
    });
    let mut message = SqsMessage::default();
    message.message_id = Some(number.to_string());
    message.body = Some(record.to_string());
    message
}

fn note(seen: &mut StoreCallTimes, body: &[u8]) {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    seen.transactions += 1;
    for action in request["TransactItems"].as_array().into_iter().flatten() {
        match action["Put"]["Item"].as_object() {
            Some(item) => {
                seen.puts += 1;
                seen.event_bytes += size(item);
            }
            None => seen.updates += 1,
        }
    }
}

/// The size of an item: names and values; a number is a byte for two significant digits and one
/// more ("DynamoDB item sizes and formats", developer guide, November 2026).
fn size(item: &Map<String, Value>) -> usize {
    let value = |value: &Value| {
        let digits = |number: &str| number.trim_matches('0').len().div_ceil(2) + 1;
        let text = |kind: &str| value[kind].as_str();
        text("S").map(str::len).or_else(|| text("N").map(digits)).unwrap_or(1)
    };
    item.iter().map(|(name, held)| name.len() + value(held)).sum()
}
