//! Records that cannot be stored do not block others. They become dead letters and can be redriven.

use aws_lambda_events::sqs::{SqsEvent, SqsMessage};
use baton_domain::record::UsageRecord;
use baton_domain::secret::Secret;
use baton_runtime::clock::Clock;
use baton_runtime::signed_record;
use baton_runtime::vault::Pepper;
use baton_store::EventFilter;
use baton_test_harness::eventually::eventually;
use baton_test_harness::lambda::StoresProcess;
use baton_test_harness::system::{SOON, TestKey, TestSystem};
use serde_json::{Value, json};
use tempfile::TempDir;

const USAGE: &str = "BATON_USAGE_QUEUE_URL";
const DEAD: &str = "BATON_DEAD_LETTER_QUEUE_URL";

/// A copy of a record with the id number `number`.
fn with_number(record: &Value, number: usize) -> Value {
    let mut record = record.clone();
    record["id"] = json!(format!("req_{number:022}"));
    record
}

fn unstorable(record: &Value) -> Value {
    let mut record = with_number(record, 99);
    record["tokens"]["input"] = json!(u64::MAX);
    record
}

async fn send(stores: &StoresProcess, queue: &str, body: &str) {
    let message = json!({ "QueueUrl": stores.variable(queue), "MessageBody": body });
    stores.queue("SendMessage", &message).await;
}

/// Receives every message as often as the template allows, without deleting it.
async fn exhaust_receives(stores: &StoresProcess) {
    for _ in 0..5 {
        let request = json!({
            "QueueUrl": stores.variable(USAGE), "MaxNumberOfMessages": 10, "VisibilityTimeout": 0,
        });
        stores.queue("ReceiveMessage", &request).await;
    }
}

async fn count(stores: &StoresProcess, queue: &str) -> u64 {
    let request = json!({ "QueueUrl": stores.variable(queue), "AttributeNames": ["All"] });
    let answer = stores.queue("GetQueueAttributes", &request).await;
    let number =
        |name: &str| answer["Attributes"][name].as_str().and_then(|n| n.parse::<u64>().ok());
    ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        .into_iter()
        .filter_map(number)
        .sum::<u64>()
}

/// Baton with one stored event. Returns also the key, the record and the folder of the data.
async fn with_one_event() -> (TestSystem, TestKey, Value, TempDir) {
    let home = TempDir::with_prefix("baton-poison-").expect("a folder");
    let system =
        TestSystem::builder().data_at(&home.path().join("data")).with_account("main").start().await;
    let key = system.key("ci").create().await;
    key.ask("hi").await.ok();
    let record = system.events_of(&key, 1).await[0].clone();
    (system, key, record, home)
}

#[tokio::test]
async fn messages_are_stored_or_dead_lettered_and_can_be_redriven() {
    let (mut system, mut key, record, home) = with_one_event().await;
    let data = home.path().join("data");
    let again = system.process().again();
    system.process().terminate();
    system.process().ended();

    let stores = StoresProcess::open_data_folder(&data).await;
    send(&stores, USAGE, "not a record, but sk-ant-secret").await;
    send(&stores, USAGE, &unstorable(&record).to_string()).await;
    exhaust_receives(&stores).await;
    for number in 1..=3 {
        send(&stores, USAGE, &with_number(&record, number).to_string()).await;
    }
    for number in 4..=5 {
        send(&stores, DEAD, &with_number(&record, number).to_string()).await;
    }
    drop(stores);

    system.started_again(&again).await;
    key = key.at(&system);
    system.events_of(&key, 4).await;
    let dead = eventually("four dead letters", SOON, async || {
        let dead = system.admin().get("/usage/dead-letters").await.ok().json();
        if dead["count"] == 4 { Ok(dead) } else { Err(dead) }
    })
    .await;
    let reason = |text: &str| dead.to_string().contains(text);
    assert!(reason("it is not a usage record") && reason("`tokens` has a value"), "{dead}");
    assert!(!reason("sk-ant-secret"), "the text of a message is shown: {dead}");

    let ended = system.process().command(&["redrive"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("4 sent again, 0 dead letters left"), "{}", ended.stdout);
    system.events_of(&key, 6).await;
    assert_eq!(system.summary("").await[0]["requests"], 6);

    system.process().terminate();
    system.process().ended();
    let stores = StoresProcess::open_data_folder(&data).await;
    let (waiting, dead) = (count(&stores, USAGE).await, count(&stores, DEAD).await);
    assert_eq!(waiting + dead, 2, "of seven messages five are stored and two are kept");
}

/// The record with Baton's signature under this pepper.
fn signed(pepper: &str, record: &Value) -> String {
    let record: UsageRecord = serde_json::from_value(record.clone()).expect("a record");
    signed_record::sign(&Pepper::new(&Secret::new(pepper.to_owned())), &record).expect("text")
}

#[tokio::test]
async fn records_from_the_log_are_restored_once() {
    let pepper = "a-pepper-of-thirty-two-characters";
    let mut system =
        TestSystem::builder().env("BATON_KEY_PEPPER", pepper).with_account("main").start().await;
    let key = system.key("ci").create().await;
    key.ask("hi").await.ok();
    let record = system.events_of(&key, 1).await[0].clone();
    let home = TempDir::with_prefix("baton-poison-").expect("a folder");
    let file = home.path().join("baton.log");
    // The log is larger than the body limit of other routes, and holds characters that logs escape.
    let mut text = String::from("INFO served\n");
    for number in 1..=120 {
        let mut record = with_number(&record, number);
        record["session_id"] =
            json!(format!("\u{200b}\u{202e}\u{2028}\u{feff}\u{ad}{}", "x".repeat(190)));
        record["agent_id"] = json!("y".repeat(200));
        let signed = signed(pepper, &record);
        let line = match number % 2 {
            0 => format!("ERROR lost request_id=req_2 usage_record={signed}"),
            _ => json!({ "level": "ERROR", "usage_record": signed }).to_string(),
        };
        text.push_str(&line);
        text.push('\n');
    }
    std::fs::write(&file, &text).expect("a log");
    let path = file.to_str().expect("a path");
    for _ in 0..2 {
        let ended = system.process().command(&["redrive", "--file", path]);
        assert!(ended.stdout.contains("120 sent again"), "{}{}", ended.stdout, ended.stderr);
        assert_eq!(ended.code, Some(0));
    }
    system.events_of(&key, 121).await;

    // Records with a missing or wrong signature are refused.
    let forged = with_number(&record, 900);
    let text = format!(
        "ERROR lost usage_record={forged}\nINFO \"no (usage_record={})\"\nERROR lost usage_record={}\n{}\n",
        "{}",
        signed("another pepper", &forged),
        json!({ "usage_record": signed(pepper, &with_number(&record, 1)) }),
    );
    std::fs::write(&file, text).expect("a log");
    let ended = system.process().command(&["redrive", "--file", path]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stdout.contains("1 sent again"), "{}", ended.stdout);
    for message in
        ["line 1: ", "line 3: its signature does not match", "2 lines with a usage record"]
    {
        assert!(ended.stderr.contains(message), "{message}: {}", ended.stderr);
    }
    key.ask("again").await.ok();
    system.events_of(&key, 122).await;
    assert_eq!(system.summary("").await[0]["requests"], 122);
}

#[tokio::test]
async fn refused_record_does_not_block_its_batch() {
    let (.., record, _home) = with_one_event().await;
    let system = TestSystem::builder().in_process().clock(Clock::system()).start().await;
    let store = system.store;
    // This record is larger than an item can be.
    let mut large = with_number(&record, 2);
    large["session_id"] = json!("x".repeat(450_000));
    let mut event = SqsEvent::default();
    for body in [with_number(&record, 1), large, with_number(&record, 3)] {
        let mut message = SqsMessage::default();
        message.message_id = body["id"].as_str().map(str::to_owned);
        message.body = Some(body.to_string());
        event.records.push(message);
    }
    let answer = baton_stats::handle(&store.stats, event).await;
    let failed: Vec<_> =
        answer.batch_item_failures.iter().map(|one| &one.item_identifier).collect();
    assert_eq!(failed, [large_id().as_str()]);
    let at: jiff::Timestamp =
        record["started_at"].as_str().expect("a time").parse().expect("a time");
    let filter = EventFilter {
        from: at,
        to: at + jiff::SignedDuration::from_secs(1),
        key: None,
        account: None,
        user: None,
        model: None,
        outcome: None,
        keys: None,
    };
    assert_eq!(store.admin.usage.events(&filter, 10, None).await.expect("events").data.len(), 2);
}

fn large_id() -> String {
    format!("req_{:022}", 2)
}
