//! The deployed binaries on Lambda behave as the libraries do elsewhere.

use std::time::{Duration, Instant};

use baton_test_harness::fixtures;
use baton_test_harness::lambda::{
    FunctionProcess, HeldQueue, LambdaDeployment, WITHOUT_HURRY, event,
};
use baton_test_harness::system::tokens;
use serde_json::{Value, json};

/// Lambda ends an init phase that takes longer.
const INIT_MAX: Duration = Duration::from_secs(10);

/// The records that are in the queue now.
async fn records(cloud: &LambdaDeployment) -> Vec<Value> {
    let bodies = cloud.stores.receive().await;
    let read = |message: &Value| {
        serde_json::from_str(message["Body"].as_str().expect("a body")).expect("a record")
    };
    bodies.iter().map(read).collect()
}

#[tokio::test]
async fn stream_chunks_arrive_one_by_one() {
    let cloud = LambdaDeployment::open().await;
    let key = cloud.create_account_and_key(&cloud.function("admin").await).await;
    let relay = cloud.function("relay").await;
    let stream = fixtures::stream("text").expect("the fixture");
    let size = stream.body.len().div_ceil(6);
    let gate = cloud.upstream.gate("step");
    // The response head waits for the first whole event, which is in the first two chunks.
    gate.release(2);
    cloud.upstream.next(&format!("fixture:text;size={size};gate=step"));
    let mut live = LambdaDeployment::ask(&relay, &key, "hi", WITHOUT_HURRY).await;
    assert_eq!(live.status, 200);
    assert_eq!(live.headers["content-type"], "text/event-stream; charset=utf-8");
    for count in 2..6 {
        // The upstream sends the next chunk only after this one has arrived on the platform's side.
        let seen = live.read_to(count * size).await;
        assert_eq!(seen, stream.body[..count * size], "after {count} chunks");
        gate.release(1);
    }
    assert_eq!(live.finish().await.ok().body, stream.body);
}

#[tokio::test]
async fn stream_ends_after_record_is_queued() {
    let cloud = LambdaDeployment::open().await;
    let key = cloud.create_account_and_key(&cloud.function("admin").await).await;
    let queue = HeldQueue::before(&cloud.stores).await;
    let mut relay = cloud.function_with("relay", "AWS_ENDPOINT_URL_SQS", &queue.url()).await;
    let mut live = LambdaDeployment::ask(&relay, &key, "hi", WITHOUT_HURRY).await;
    queue.gate.reached(1).await;
    live.stays_open(Duration::from_millis(300)).await;
    let sent = cloud.upstream.last().sent;
    assert_eq!(live.read_to(sent.len()).await, sent, "all bytes have arrived before the end");
    queue.gate.open();
    live.finish().await.ok();
    // Lambda can freeze the environment from this moment on. Unfinished work can be lost.
    relay.kill();
    let records = records(&cloud).await;
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["outcome"], "complete");
    assert_eq!(records[0]["status"], 200);
}

#[tokio::test]
async fn function_answers_requests_in_turn() {
    let cloud = LambdaDeployment::open().await;
    let key = cloud.create_account_and_key(&cloud.function("admin").await).await;
    let relay = cloud.function("relay").await;
    for _ in 0..3 {
        let answer =
            LambdaDeployment::ask(&relay, &key, "hi", WITHOUT_HURRY).await.finish().await.ok();
        assert_eq!(answer.body, cloud.upstream.last().sent);
    }
    let unknown =
        LambdaDeployment::ask(&relay, "bt_nonsense", "hi", WITHOUT_HURRY).await.finish().await;
    unknown.refused(401, "authentication_error");
    let health = relay.stream(&event::request("GET", "/health", &[], ""), WITHOUT_HURRY).await;
    health.finish().await.ok();
    assert_eq!(records(&cloud).await.len(), 3);
}

/// As on Lambda Managed Instances, which set this variable.
#[tokio::test]
async fn function_streams_concurrently_on_managed_instances() {
    let cloud = LambdaDeployment::open().await;
    let key = cloud.create_account_and_key(&cloud.function("admin").await).await;
    let relay = cloud.function_with("relay", "AWS_LAMBDA_MAX_CONCURRENCY", "3").await;
    let stream = fixtures::stream("text").expect("the fixture");
    let gate = cloud.upstream.gate("three");
    for _ in 0..3 {
        cloud.upstream.next("fixture:text;size=300;gate=three");
    }
    let ask = || LambdaDeployment::ask(&relay, &key, "hi", WITHOUT_HURRY);
    // The upstream answers only after all three requests have arrived.
    let together = async {
        gate.reached(3).await;
        gate.open();
    };
    let (first, second, third, ()) = tokio::join!(ask(), ask(), ask(), together);
    for live in [first, second, third] {
        assert_eq!(live.finish().await.ok().body, stream.body);
    }
    assert_eq!(records(&cloud).await.len(), 3);
}

#[tokio::test]
async fn batch_is_stored_once_and_malformed_message_is_returned() {
    let cloud = LambdaDeployment::open().await;
    let admin = cloud.function("admin").await;
    let key = cloud.create_account_and_key(&admin).await;
    let relay = cloud.function("relay").await;
    LambdaDeployment::ask(&relay, &key, "hi", WITHOUT_HURRY).await.finish().await.ok();
    let stats = cloud.function("stats").await;
    let mut messages = cloud.stores.receive().await;
    assert_eq!(messages.len(), 1, "{messages:?}");
    let mut malformed = messages[0].clone();
    malformed["MessageId"] = "malformed".into();
    malformed["Body"] = r#"{"v":1}"#.into();
    for round in 0..2 {
        let answer = stats.invoke(&event::batch(&messages), WITHOUT_HURRY).await;
        assert_eq!(answer["batchItemFailures"], json!([]), "round {round}");
    }
    messages.insert(0, malformed);
    let answer = stats.invoke(&event::batch(&messages), WITHOUT_HURRY).await;
    assert_eq!(answer["batchItemFailures"], json!([{"itemIdentifier": "malformed"}]));

    let summary =
        LambdaDeployment::operate(&admin, "GET", "/usage/summary", &Value::Null).await.ok().json();
    assert_eq!(summary["data"][0]["requests"], 1, "{summary}");
    assert_eq!(tokens(&summary["data"][0]), cloud.upstream.ledger().total().usage);
}

#[tokio::test]
async fn refresh_resends_pending_events() {
    let cloud = LambdaDeployment::open().await;
    let key = cloud.create_account_and_key(&cloud.function("admin").await).await;
    let nowhere = format!("{}-gone", cloud.stores.variable("BATON_USAGE_QUEUE_URL"));
    let relay = cloud.function_with("relay", "BATON_USAGE_QUEUE_URL", &nowhere).await;
    LambdaDeployment::ask(&relay, &key, "hi", WITHOUT_HURRY).await.finish().await.ok();
    assert_eq!(records(&cloud).await.len(), 0);

    let refresh = cloud.function("refresh").await;
    let answer = refresh.invoke(&event::tick(), WITHOUT_HURRY).await;
    assert_eq!(
        answer,
        json!({"elsewhere": false, "resent": 1, "swept": 0, "renewed": 0, "recovered": 0})
    );
    assert_eq!(records(&cloud).await.len(), 1);
}

#[tokio::test]
async fn stream_ends_before_lambda_deadline() {
    let cloud = LambdaDeployment::open().await;
    let key = cloud.create_account_and_key(&cloud.function("admin").await).await;
    let relay = cloud.function("relay").await;
    let (left, begun) = (Duration::from_secs(6), Instant::now());
    let live = LambdaDeployment::ask(&relay, &key, "[[hang:4]]", left).await;
    let answer = live.finish().await.ok();
    assert!(begun.elapsed() < left, "{:?}", begun.elapsed());
    assert!(
        answer.body.starts_with(&cloud.upstream.last().sent),
        "the received bytes are not passed on"
    );
    assert_eq!(answer.events().pop().expect("an event")["type"], "error", "{}", answer.text());
    let records = records(&cloud).await;
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["outcome"], "deadline");
}

#[tokio::test]
async fn unreportable_break_aborts_only_its_own_answer() {
    let cloud = LambdaDeployment::open().await;
    let key = cloud.create_account_and_key(&cloud.function("admin").await).await;
    let relay = cloud.function("relay").await;
    // The relay cannot add an event to a stream that the client decompresses.
    cloud.upstream.next("cut:4;gzip!");
    let headers = [("x-api-key", key.as_str()), ("accept-encoding", "gzip")];
    let live = LambdaDeployment::ask_with(&relay, &headers, "hi", WITHOUT_HURRY).await;
    let answer = live.finish().await;
    assert!(answer.torn, "the broken answer ended without an error: {}", answer.text());
    assert!(!answer.text().contains("Lambda-Runtime"), "{}", answer.text());
    // The process still runs and answers the next request.
    let next = LambdaDeployment::ask(&relay, &key, "hi", WITHOUT_HURRY).await.finish().await.ok();
    assert_eq!(next.body, cloud.upstream.last().sent);
    let records = records(&cloud).await;
    assert_eq!(records[0]["outcome"], "upstream_error");
    assert_eq!(records[1]["outcome"], "complete");
}

/// As on Lambda Managed Instances: one environment has many streams, and some of them break.
#[tokio::test]
async fn broken_stream_does_not_end_others() {
    const WHOLE: usize = 4;
    let cloud = LambdaDeployment::open().await;
    let key = cloud.create_account_and_key(&cloud.function("admin").await).await;
    let relay = cloud.function_with("relay", "AWS_LAMBDA_MAX_CONCURRENCY", "8").await;
    let stream = fixtures::stream("text").expect("the fixture");
    let gates: [_; WHOLE] = std::array::from_fn(|at| cloud.upstream.gate(&format!("other{at}")));
    let headers = [("x-api-key", key.as_str()), ("accept-encoding", "gzip")];
    let mut live = Vec::new();
    let size = stream.body.len().div_ceil(6);
    for (at, gate) in gates.iter().enumerate() {
        gate.release(2);
        cloud.upstream.next(&format!("fixture:text;size={size};gate=other{at}"));
        let mut open_stream = LambdaDeployment::ask(&relay, &key, "hi", WITHOUT_HURRY).await;
        open_stream.read_to(2 * size).await;
        live.push(open_stream);
    }
    for round in 0..3 {
        // Two broken streams at once. No error event is possible because the client decompresses
        // them.
        let broken = ["cut:4;gzip!", "cut:1;gzip!"].map(|how| {
            cloud.upstream.next(how);
            LambdaDeployment::ask_with(&relay, &headers, "hi", WITHOUT_HURRY)
        });
        for broken in futures_util::future::join_all(broken).await {
            assert!(broken.finish().await.torn, "round {round}");
        }
    }
    for (gate, open_stream) in gates.iter().zip(live) {
        gate.open();
        assert_eq!(open_stream.finish().await.ok().body, stream.body);
    }
    let records = records(&cloud).await;
    let complete = records.iter().filter(|record| record["outcome"] == "complete").count();
    assert_eq!(complete, WHOLE, "{records:?}");
}

/// cargo-lambda always sends a deadline of January 1970.
#[tokio::test]
async fn impossible_deadline_is_ignored() {
    let cloud = LambdaDeployment::open().await;
    let key = cloud.create_account_and_key(&cloud.function("admin").await).await;
    let relay = cloud.function("relay").await;
    for deadline in ["600000", "0", "1", "4102444800000", "18446744073709551615"] {
        relay.set_deadline(deadline);
        let answer =
            LambdaDeployment::ask(&relay, &key, "hi", WITHOUT_HURRY).await.finish().await.ok();
        assert_eq!(answer.body, cloud.upstream.last().sent, "{deadline}");
    }
}

/// The events of the harness come from 192.0.2.1.
#[tokio::test]
async fn admin_function_answers_allowed_addresses_only() {
    let cloud = LambdaDeployment::open().await;
    for (ranges, status) in [
        ("192.0.2.0/24", 200),
        ("203.0.113.0/24,192.0.2.1", 200),
        ("203.0.113.0/24", 403),
        ("2001:db8::/32", 403),
    ] {
        let admin = cloud.function_with("admin", "BATON_ADMIN_ALLOWED_CIDRS", ranges).await;
        let keys = LambdaDeployment::operate(&admin, "GET", "/keys", &Value::Null).await;
        assert_eq!(keys.status, status, "{ranges}: {}", keys.text());
        for path in ["/console/sign-in", "/health", "/", "/api/v1/openapi.json"] {
            // An address that a client writes into the header itself is ignored.
            let forged = [("x-forwarded-for", "203.0.113.9")];
            let event = event::request("GET", path, &forged, "");
            let answer = admin.request(&event, WITHOUT_HURRY).await;
            assert_eq!(answer.status == 403, status == 403, "{ranges} {path}: {}", answer.status);
        }
    }
}

#[tokio::test]
async fn start_makes_no_connection() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.set_nonblocking(true).expect("a listener that does not wait");
    let cloud = format!("http://{}", listener.local_addr().expect("its address"));
    let mut variables: Vec<(String, String)> = [
        "BATON_CONFIG_TABLE",
        "BATON_STATE_TABLE",
        "BATON_USAGE_TABLE",
        "BATON_USAGE_QUEUE_URL",
        "BATON_DATA_KEY_ID",
    ]
    .map(|name| (name.to_owned(), name.to_lowercase()))
    .into();
    // Everything that a start could connect to: AWS, credentials, instance metadata and a proxy.
    let credentials = format!("{cloud}/credentials");
    for (name, value) in [
        ("AWS_ENDPOINT_URL", cloud.as_str()),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &credentials),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &cloud),
        ("HTTPS_PROXY", &cloud),
        ("AWS_REGION", "us-east-1"),
    ] {
        variables.push((name.into(), value.into()));
    }
    variables.push(("BATON_KEY_PEPPER".into(), "p".repeat(32)));
    for name in ["relay", "stats", "refresh", "admin"] {
        let function = FunctionProcess::spawn(name, &variables).await;
        let took = function.ready().await;
        assert!(took < INIT_MAX, "{name}: {took:?} from its start to its first poll");
        // A connection before the first poll is in the listener's backlog by now.
        let connected = listener.accept();
        assert!(connected.is_err(), "{name} connected before its first poll: {connected:?}");
    }
    // Without a pepper the start must connect. This shows that the check above can fail.
    variables.retain(|(name, _)| name != "BATON_KEY_PEPPER");
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    let _starting = FunctionProcess::spawn("relay", &variables).await;
    let connection = tokio::time::timeout(INIT_MAX, listener.accept()).await;
    assert!(connection.is_ok(), "the start did not connect to the listener");
}

#[tokio::test]
async fn start_without_settings_names_them() {
    for name in ["relay", "stats", "refresh", "admin"] {
        let ended = FunctionProcess::spawn(name, &[]).await.ended();
        assert_eq!(ended.code, Some(1), "{name}");
        assert!(ended.stderr.contains("BATON_CONFIG_TABLE"), "{name}: {}", ended.stderr);
    }
}
