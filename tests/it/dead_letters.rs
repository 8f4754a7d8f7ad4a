//! What cannot be stored blocks nothing, is kept among the dead letters, and comes back when asked.

use aws_lambda_events::sqs::{SqsEvent, SqsMessage};
use baton_domain::record::UsageRecord;
use baton_domain::secret::Secret;
use baton_local::LocalAws;
use baton_runtime::aws::AwsClients;
use baton_runtime::clock::Clock;
use baton_runtime::random::RandomSource;
use baton_runtime::settings::Settings;
use baton_runtime::signed_record;
use baton_runtime::vault::Pepper;
use baton_store::{EventFilter, Store};
use baton_tests::eventually::eventually;
use baton_tests::house::{LaunchOptions, SOON, TestKey, TestSystem};
use baton_tests::lambda::StoresProcess;
use serde_json::{Value, json};
use tempfile::TempDir;

const USAGE: &str = "BATON_USAGE_QUEUE_URL";
const DEAD: &str = "BATON_DEAD_LETTER_QUEUE_URL";

/// The record of a real request, under the `number`-th other id.
fn another(record: &Value, number: usize) -> Value {
    let mut record = record.clone();
    record["id"] = json!(format!("req_{number:022}"));
    record
}

fn odd(record: &Value) -> Value {
    let mut record = another(record, 99);
    record["tokens"]["input"] = json!(u64::MAX);
    record
}

async fn send(stores: &StoresProcess, queue: &str, body: &str) {
    let message = json!({ "QueueUrl": stores.variable(queue), "MessageBody": body });
    stores.queue("SendMessage", &message).await;
}

/// Takes every message of the queue as often as the template allows, and lets each go at once.
async fn wear_out(stores: &StoresProcess) {
    for _ in 0..5 {
        let asked = json!({
            "QueueUrl": stores.variable(USAGE), "MaxNumberOfMessages": 10, "VisibilityTimeout": 0,
        });
        stores.queue("ReceiveMessage", &asked).await;
    }
}

async fn count(stores: &StoresProcess, queue: &str) -> u64 {
    let asked = json!({ "QueueUrl": stores.variable(queue), "AttributeNames": ["All"] });
    let answer = stores.queue("GetQueueAttributes", &asked).await;
    let number =
        |name: &str| answer["Attributes"][name].as_str().and_then(|n| n.parse::<u64>().ok());
    ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        .into_iter()
        .filter_map(number)
        .sum::<u64>()
}

/// Baton with one stored event, and where its data is.
async fn with_one_event() -> (TestSystem, TestKey, Value, TempDir) {
    let home = TempDir::with_prefix("baton-poison-").expect("a folder");
    let house = TestSystem::launched(LaunchOptions::new().data_at(&home.path().join("data"))).await;
    house.account("main", &house.upstream.url()).await;
    let key = house.key("ci").create().await;
    key.ask("hi").await.ok();
    let record = house.events_of(&key, 1).await[0].clone();
    (house, key, record, home)
}

#[tokio::test]
async fn messages_are_stored_or_dead_lettered_and_can_be_redriven() {
    let (mut house, mut key, record, home) = with_one_event().await;
    let data = home.path().join("data");
    let again = house.process().again();
    house.process().terminate();
    house.process().ended();

    let stores = StoresProcess::over(&data).await;
    send(&stores, USAGE, "not a record, but sk-ant-secret").await;
    send(&stores, USAGE, &odd(&record).to_string()).await;
    wear_out(&stores).await;
    for number in 1..=3 {
        send(&stores, USAGE, &another(&record, number).to_string()).await;
    }
    for number in 4..=5 {
        send(&stores, DEAD, &another(&record, number).to_string()).await;
    }
    drop(stores);

    house.started_again(again).await;
    key = key.at(&house);
    house.events_of(&key, 4).await;
    let dead = eventually("four dead letters", SOON, async || {
        let dead = house.admin().get("/usage/dead-letters").await.ok().json();
        if dead["count"] == 4 { Ok(dead) } else { Err(dead) }
    })
    .await;
    let reason = |text: &str| dead.to_string().contains(text);
    assert!(reason("it is not a usage record") && reason("`tokens` has a value"), "{dead}");
    assert!(!reason("sk-ant-secret"), "a message is not shown: {dead}");

    let ended = house.process().command(&["redrive"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("4 sent again, 0 dead letters left"), "{}", ended.stdout);
    house.events_of(&key, 6).await;
    assert_eq!(house.summary("").await[0]["requests"], 6);

    house.process().terminate();
    house.process().ended();
    let stores = StoresProcess::over(&data).await;
    let (waiting, dead) = (count(&stores, USAGE).await, count(&stores, DEAD).await);
    assert_eq!(waiting + dead, 2, "seven came in, five are stored: two are kept");
}

/// The record as Baton signs it under this pepper.
fn signed(pepper: &str, record: &Value) -> String {
    let record: UsageRecord = serde_json::from_value(record.clone()).expect("a record");
    signed_record::sign(&Pepper::new(&Secret::new(pepper.to_owned())), &record).expect("text")
}

#[tokio::test]
async fn a_record_in_the_log_finds_its_way_back_once() {
    let pepper = "a-pepper-of-thirty-two-characters";
    let mut house =
        TestSystem::launched(LaunchOptions::new().env("BATON_KEY_PEPPER", pepper)).await;
    house.account("main", &house.upstream.url()).await;
    let key = house.key("ci").create().await;
    key.ask("hi").await.ok();
    let record = house.events_of(&key, 1).await[0].clone();
    let home = TempDir::with_prefix("baton-poison-").expect("a folder");
    let file = home.path().join("baton.log");
    // More than one body of the admin API takes elsewhere, and letters that logs write as escapes.
    let mut text = String::from("INFO served\n");
    for number in 1..=120 {
        let mut record = another(&record, number);
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
        let ended = house.process().command(&["redrive", "--file", path]);
        assert!(ended.stdout.contains("120 sent again"), "{}{}", ended.stdout, ended.stderr);
        assert_eq!(ended.code, Some(0));
    }
    house.events_of(&key, 121).await;

    // Nobody but Baton writes records into a log.
    let forged = another(&record, 900);
    let text = format!(
        "ERROR lost usage_record={forged}\nINFO \"no (usage_record={})\"\nERROR lost usage_record={}\n{}\n",
        "{}",
        signed("another pepper", &forged),
        json!({ "usage_record": signed(pepper, &another(&record, 1)) }),
    );
    std::fs::write(&file, text).expect("a log");
    let ended = house.process().command(&["redrive", "--file", path]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stdout.contains("1 sent again"), "{}", ended.stdout);
    for said in ["line 1: ", "line 3: its signature does not match", "2 lines with a usage record"]
    {
        assert!(ended.stderr.contains(said), "{said}: {}", ended.stderr);
    }
    key.ask("again").await.ok();
    house.events_of(&key, 122).await;
    assert_eq!(house.summary("").await[0]["requests"], 122);
}

#[tokio::test]
async fn a_record_that_the_table_refuses_does_not_keep_its_neighbours_out() {
    let (.., record, _home) = with_one_event().await;
    let local = LocalAws::open(None).await.expect("stores");
    let mut settings = Settings::from_lookup(|_| None).expect("settings");
    settings.resources = local.resources();
    let aws = AwsClients::new(&local.sdk_config());
    let store = Store::new(&aws, &settings, Clock::system(), RandomSource::seeded(1));
    // Larger than an item may be.
    let mut large = another(&record, 2);
    large["session_id"] = json!("x".repeat(450_000));
    let mut event = SqsEvent::default();
    for body in [another(&record, 1), large, another(&record, 3)] {
        let mut message = SqsMessage::default();
        message.message_id = body["id"].as_str().map(str::to_owned);
        message.body = Some(body.to_string());
        event.records.push(message);
    }
    let answer = baton_stats::handle(&store, event).await;
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
    assert_eq!(store.events(&filter, 10, None).await.expect("events").data.len(), 2);
}

fn large_id() -> String {
    format!("req_{:022}", 2)
}
