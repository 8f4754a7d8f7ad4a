//! Event streams pass byte for byte and without delay, and a broken stream never looks complete.

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::fixtures::{self, Stream};
use baton_test_harness::system::{TestKey, TestSystem};

async fn ask_for(
    system: &TestSystem,
    key: &TestKey,
    stream: &Stream,
    size: usize,
) -> ClientResponse {
    system.upstream.next(&format!("fixture:{};size={size}", stream.name));
    key.ask("hi").await
}

fn complete_streams() -> impl Iterator<Item = Stream> {
    fixtures::streams("anthropic").into_iter().filter(|stream| stream.complete)
}

#[tokio::test]
async fn complete_streams_are_identical_at_every_chunk_size() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    for stream in complete_streams() {
        let long = stream.body.len() > 100_000;
        let sizes: &[usize] = if long { &[1_000, 65_536] } else { &[1, 7, 64, 1_000, 1 << 20] };
        for size in sizes {
            let answer = ask_for(&system, &key, &stream, *size).await.ok();
            assert!(answer.body == stream.body, "{} in chunks of {size}", stream.name);
            let content_type = answer.header("content-type").unwrap_or_default();
            assert!(content_type.starts_with("text/event-stream"), "{content_type}");
            assert_eq!(answer.header("x-accel-buffering"), Some("no"));
            assert_eq!(answer.header("cache-control"), Some("no-cache"));
        }
    }
}

#[tokio::test]
async fn broken_streams_keep_bytes_and_end_with_error() {
    let system = TestSystem::empty().await;
    for stream in fixtures::streams("anthropic").into_iter().filter(|stream| !stream.complete) {
        // Each stream uses a new account, because a broken stream can start a cooldown.
        let key = system.private_key(&system.upstream.url()).await;
        let answer = ask_for(&system, &key, &stream, 64).await;
        if stream.name == "empty" {
            assert_ne!(answer.status, 200, "an empty stream got status 200: {}", answer.text());
            continue;
        }
        if answer.status != 200 {
            assert_eq!(stream.name, "error_first", "{}", answer.text());
            continue;
        }
        let rest = answer.body.strip_prefix(stream.body.as_ref());
        let rest = rest.unwrap_or_else(|| panic!("{}: {}", stream.name, answer.text()));
        let rest = String::from_utf8_lossy(rest);
        let own_error = stream.expect["error"].as_str().is_some_and(|e| e.ends_with("_error"));
        if own_error {
            assert_eq!(rest, "", "{}: the upstream has already sent an error event", stream.name);
        } else if stream.name != "error_plain_text" {
            assert!(answer.torn || rest.contains("event: error\n"), "{}: {rest:?}", stream.name);
        }
    }
}

#[tokio::test]
async fn lost_connection_becomes_error_event() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    let answer = key.ask("[[cut:4]]").await;
    assert_eq!(answer.status, 200);
    let sent = system.upstream.last().sent;
    assert!(answer.body.starts_with(&sent), "the received bytes are not passed on");
    let last = answer.events().pop().expect("an event");
    assert_eq!(last["type"], "error", "{}", answer.text());
    assert!(
        answer.text().ends_with("\n\n"),
        "the last event is not finished, and the TypeScript SDK would drop it"
    );
}

#[tokio::test]
async fn chunks_arrive_as_they_are_sent() {
    const SIZE: usize = 150;
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    let stream = fixtures::stream("thinking_text").expect("the fixture");
    let gate = system.upstream.gate("step");
    system.upstream.next(&format!("fixture:thinking_text;size={SIZE};gate=step"));
    // The response head comes with the first whole event, so these chunks are released at once.
    let first = stream.body.windows(2).position(|pair| pair == b"\n\n").expect("an event") + 2;
    let begin = first.div_ceil(SIZE);
    gate.release(begin);
    let mut live = key.open("hi").await;
    for count in begin..=stream.body.len() / SIZE {
        // The upstream sends nothing more until these bytes have arrived here.
        let seen = live.read_to(count * SIZE).await;
        assert_eq!(seen, stream.body[..count * SIZE], "after {count} chunks");
        gate.release(1);
    }
    gate.open();
    assert_eq!(live.finish().await.ok().body, stream.body);
}

#[tokio::test]
async fn pings_and_comments_pass_through() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    let answer = key.ask("[[pings]]").await.ok();
    assert_eq!(answer.body, system.upstream.last().sent);
    assert!(answer.text().contains(": keep-alive\n\n"));
}

#[tokio::test]
async fn long_stream_is_unchanged() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    let answer = key.ask("[[text;events=20000]]").await.ok();
    assert_eq!(answer.body, system.upstream.last().sent);
    system.summary_equals(&system.upstream.ledger().total()).await;
}
