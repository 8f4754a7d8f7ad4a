//! The binaries that are deployed do on Lambda what the libraries do elsewhere.

use std::time::{Duration, Instant};

use baton_tests::fixtures;
use baton_tests::house::tokens;
use baton_tests::lambda::{FunctionProcess, HeldQueue, LambdaDeployment, WITHOUT_HURRY, event};
use serde_json::{Value, json};

/// The platform ends an init phase that takes longer.
const INIT_MAX: Duration = Duration::from_secs(10);

/// The records in the queue, which must be there already.
async fn records(cloud: &LambdaDeployment) -> Vec<Value> {
    let bodies = cloud.stores.receive().await;
    let read = |message: &Value| {
        serde_json::from_str(message["Body"].as_str().expect("a body")).expect("a record")
    };
    bodies.iter().map(read).collect()
}

#[tokio::test]
async fn a_stream_arrives_as_it_is_sent() {
    let cloud = LambdaDeployment::open().await;
    let key = cloud.furnish(&cloud.function("admin").await).await;
    let relay = cloud.function("relay").await;
    let stream = fixtures::stream("text").expect("the fixture");
    let size = stream.body.len().div_ceil(6);
    let gate = cloud.upstream.gate("step");
    // The head waits for the first whole event, which is within the first two chunks.
    gate.release(2);
    cloud.upstream.next(&format!("fixture:text;size={size};gate=step"));
    let mut live = LambdaDeployment::ask(&relay, &key, "hi", WITHOUT_HURRY).await;
    assert_eq!(live.status, 200);
    assert_eq!(live.headers["content-type"], "text/event-stream; charset=utf-8");
    for count in 2..6 {
        // The upstream sends the next chunk only after this one was seen on the platform's side.
        let seen = live.read_to(count * size).await;
        assert_eq!(seen, stream.body[..count * size], "after {count} chunks");
        gate.release(1);
    }
    assert_eq!(live.finish().await.ok().body, stream.body);
}

#[tokio::test]
async fn a_stream_ends_after_the_queue_has_its_record() {
    let cloud = LambdaDeployment::open().await;
    let key = cloud.furnish(&cloud.function("admin").await).await;
    let queue = HeldQueue::before(&cloud.stores).await;
    let mut relay = cloud.function_with("relay", "AWS_ENDPOINT_URL_SQS", &queue.url()).await;
    let mut live = LambdaDeployment::ask(&relay, &key, "hi", WITHOUT_HURRY).await;
    queue.gate.reached(1).await;
    live.stays_open(Duration::from_millis(300)).await;
    let sent = cloud.upstream.last().sent;
    assert_eq!(live.read_to(sent.len()).await, sent, "every byte is there but not the end");
    queue.gate.open();
    live.finish().await.ok();
    // A Lambda may be frozen from this moment on: what is not done yet may never be.
    relay.kill();
    let records = records(&cloud).await;
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["outcome"], "complete");
    assert_eq!(records[0]["status"], 200);
}

#[tokio::test]
async fn one_function_answers_one_request_after_the_other() {
    let cloud = LambdaDeployment::open().await;
    let key = cloud.furnish(&cloud.function("admin").await).await;
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

/// As on Managed Instances, which set this variable.
#[tokio::test]
async fn one_function_streams_to_several_where_the_platform_asks_for_it() {
    let cloud = LambdaDeployment::open().await;
    let key = cloud.furnish(&cloud.function("admin").await).await;
    let relay = cloud.function_with("relay", "AWS_LAMBDA_MAX_CONCURRENCY", "3").await;
    let stream = fixtures::stream("text").expect("the fixture");
    let gate = cloud.upstream.gate("three");
    for _ in 0..3 {
        cloud.upstream.next("fixture:text;size=300;gate=three");
    }
    let ask = || LambdaDeployment::ask(&relay, &key, "hi", WITHOUT_HURRY);
    // Nothing passes before all three are with the upstream.
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
async fn a_batch_is_stored_once_and_a_malformed_message_comes_back_alone() {
    let cloud = LambdaDeployment::open().await;
    let admin = cloud.function("admin").await;
    let key = cloud.furnish(&admin).await;
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
async fn a_tick_sends_what_the_queue_did_not_take() {
    let cloud = LambdaDeployment::open().await;
    let key = cloud.furnish(&cloud.function("admin").await).await;
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
async fn the_relay_keeps_clear_of_the_deadline() {
    let cloud = LambdaDeployment::open().await;
    let key = cloud.furnish(&cloud.function("admin").await).await;
    let relay = cloud.function("relay").await;
    let (left, begun) = (Duration::from_secs(6), Instant::now());
    let live = LambdaDeployment::ask(&relay, &key, "[[hang:4]]", left).await;
    let answer = live.finish().await.ok();
    assert!(begun.elapsed() < left, "{:?}", begun.elapsed());
    assert!(answer.body.starts_with(&cloud.upstream.last().sent), "what came is passed on");
    assert_eq!(answer.events().pop().expect("an event")["type"], "error", "{}", answer.text());
    let records = records(&cloud).await;
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["outcome"], "deadline");
}

#[tokio::test]
async fn unreportable_break_aborts_only_its_own_answer() {
    let cloud = LambdaDeployment::open().await;
    let key = cloud.furnish(&cloud.function("admin").await).await;
    let relay = cloud.function("relay").await;
    // No event can be added to a stream that the client decompresses itself.
    cloud.upstream.next("cut:4;gzip!");
    let headers = [("x-api-key", key.as_str()), ("accept-encoding", "gzip")];
    let live = LambdaDeployment::ask_with(&relay, &headers, "hi", WITHOUT_HURRY).await;
    let answer = live.finish().await;
    assert!(answer.torn, "it ended as if it were whole: {}", answer.text());
    assert!(!answer.text().contains("Lambda-Runtime"), "{}", answer.text());
    // The process is still there, and the next request is answered by it.
    let next = LambdaDeployment::ask(&relay, &key, "hi", WITHOUT_HURRY).await.finish().await.ok();
    assert_eq!(next.body, cloud.upstream.last().sent);
    let records = records(&cloud).await;
    assert_eq!(records[0]["outcome"], "upstream_error");
    assert_eq!(records[1]["outcome"], "complete");
}

/// As on Managed Instances: one environment has many streams, and some of them break.
#[tokio::test]
async fn a_broken_answer_ends_none_of_the_others() {
    const WHOLE: usize = 4;
    let cloud = LambdaDeployment::open().await;
    let key = cloud.furnish(&cloud.function("admin").await).await;
    let relay = cloud.function_with("relay", "AWS_LAMBDA_MAX_CONCURRENCY", "8").await;
    let stream = fixtures::stream("text").expect("the fixture");
    let gates: [_; WHOLE] = std::array::from_fn(|at| cloud.upstream.gate(&format!("other{at}")));
    let headers = [("x-api-key", key.as_str()), ("accept-encoding", "gzip")];
    let mut live = Vec::new();
    let size = stream.body.len().div_ceil(6);
    for (at, gate) in gates.iter().enumerate() {
        gate.release(2);
        cloud.upstream.next(&format!("fixture:text;size={size};gate=other{at}"));
        let mut under_way = LambdaDeployment::ask(&relay, &key, "hi", WITHOUT_HURRY).await;
        under_way.read_to(2 * size).await;
        live.push(under_way);
    }
    for round in 0..3 {
        // Two at once, of which no client can be told: it decompresses them itself.
        let broken = ["cut:4;gzip!", "cut:1;gzip!"].map(|how| {
            cloud.upstream.next(how);
            LambdaDeployment::ask_with(&relay, &headers, "hi", WITHOUT_HURRY)
        });
        for broken in futures_util::future::join_all(broken).await {
            assert!(broken.finish().await.torn, "round {round}");
        }
    }
    for (gate, under_way) in gates.iter().zip(live) {
        gate.open();
        assert_eq!(under_way.finish().await.ok().body, stream.body);
    }
    let records = records(&cloud).await;
    let complete = records.iter().filter(|record| record["outcome"] == "complete").count();
    assert_eq!(complete, WHOLE, "{records:?}");
}

/// cargo-lambda always tells a deadline of January 1970.
#[tokio::test]
async fn a_deadline_that_cannot_be_one_is_not_believed() {
    let cloud = LambdaDeployment::open().await;
    let key = cloud.furnish(&cloud.function("admin").await).await;
    let relay = cloud.function("relay").await;
    for told in ["600000", "0", "1", "4102444800000", "18446744073709551615"] {
        relay.tell_deadline(told);
        let answer =
            LambdaDeployment::ask(&relay, &key, "hi", WITHOUT_HURRY).await.finish().await.ok();
        assert_eq!(answer.body, cloud.upstream.last().sent, "{told}");
    }
}

/// The events of the harness come from 192.0.2.1.
#[tokio::test]
async fn the_admin_function_answers_allowed_addresses_only() {
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
            // What a client writes itself into the header counts for nothing.
            let forged = [("x-forwarded-for", "203.0.113.9")];
            let event = event::request("GET", path, &forged, "");
            let answer = admin.request(&event, WITHOUT_HURRY).await;
            assert_eq!(answer.status == 403, status == 403, "{ranges} {path}: {}", answer.status);
        }
    }
}

#[tokio::test]
async fn a_start_makes_no_connection() {
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
    // Everything that could be asked at a start: AWS itself, credentials, instance metadata, and
    // whatever would go out by a proxy.
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
        // What it connected to before its first poll waits in the listener's backlog by now.
        let connected = listener.accept();
        assert!(connected.is_err(), "{name} asked {connected:?} before its first poll");
    }
    // Without a pepper it has to ask: the count above can be other than nought.
    variables.retain(|(name, _)| name != "BATON_KEY_PEPPER");
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    let _asking = FunctionProcess::spawn("relay", &variables).await;
    let asked = tokio::time::timeout(INIT_MAX, listener.accept()).await;
    assert!(asked.is_ok(), "the listener is where the cloud is asked");
}

#[tokio::test]
async fn a_start_without_settings_says_which() {
    for name in ["relay", "stats", "refresh", "admin"] {
        let ended = FunctionProcess::spawn(name, &[]).await.ended();
        assert_eq!(ended.code, Some(1), "{name}");
        assert!(ended.stderr.contains("BATON_CONFIG_TABLE"), "{name}: {}", ended.stderr);
    }
}
