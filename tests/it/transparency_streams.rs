//! Event streams pass byte for byte, as they come, and a broken one never ends as if it were whole.

use baton_tests::client_response::ClientResponse;
use baton_tests::fixtures::{self, Stream};
use baton_tests::house::{TestKey, TestSystem};

async fn ask_for(
    house: &TestSystem,
    key: &TestKey,
    stream: &Stream,
    size: usize,
) -> ClientResponse {
    house.upstream.next(&format!("fixture:{};size={size}", stream.name));
    key.ask("hi").await
}

fn complete_streams() -> impl Iterator<Item = Stream> {
    fixtures::streams("anthropic").into_iter().filter(|stream| stream.complete)
}

#[tokio::test]
async fn every_whole_stream_is_identical_at_every_chunk_size() {
    let house = TestSystem::open().await;
    let key = house.key("ci").create().await;
    for stream in complete_streams() {
        let long = stream.body.len() > 100_000;
        let sizes: &[usize] = if long { &[1_000, 65_536] } else { &[1, 7, 64, 1_000, 1 << 20] };
        for size in sizes {
            let answer = ask_for(&house, &key, &stream, *size).await.ok();
            assert!(answer.body == stream.body, "{} in chunks of {size}", stream.name);
            let content_type = answer.header("content-type").unwrap_or_default();
            assert!(content_type.starts_with("text/event-stream"), "{content_type}");
            assert_eq!(answer.header("x-accel-buffering"), Some("no"));
            assert_eq!(answer.header("cache-control"), Some("no-cache"));
        }
    }
}

#[tokio::test]
async fn a_broken_stream_keeps_its_bytes_and_ends_with_an_error() {
    let house = TestSystem::empty().await;
    for stream in fixtures::streams("anthropic").into_iter().filter(|stream| !stream.complete) {
        // An account of its own: what breaks here may cool the account down.
        let key = house.private_key(&house.upstream.url()).await;
        let answer = ask_for(&house, &key, &stream, 64).await;
        if stream.name == "empty" {
            assert_ne!(answer.status, 200, "nothing came, so nothing is 200: {}", answer.text());
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
            assert_eq!(rest, "", "{}: the upstream has told it already", stream.name);
        } else if stream.name != "error_plain_text" {
            assert!(answer.torn || rest.contains("event: error\n"), "{}: {rest:?}", stream.name);
        }
    }
}

#[tokio::test]
async fn a_torn_connection_is_told_as_an_error_event() {
    let house = TestSystem::open().await;
    let key = house.key("ci").create().await;
    let answer = key.ask("[[cut:4]]").await;
    assert_eq!(answer.status, 200);
    let sent = house.upstream.last().sent;
    assert!(answer.body.starts_with(&sent), "what came is passed on");
    let last = answer.events().pop().expect("an event");
    assert_eq!(last["type"], "error", "{}", answer.text());
    assert!(answer.text().ends_with("\n\n"), "the TypeScript SDK loses an unfinished event");
}

#[tokio::test]
async fn chunks_arrive_as_they_are_sent() {
    const SIZE: usize = 150;
    let house = TestSystem::open().await;
    let key = house.key("ci").create().await;
    let stream = fixtures::stream("thinking_text").expect("the fixture");
    let gate = house.upstream.gate("step");
    house.upstream.next(&format!("fixture:thinking_text;size={SIZE};gate=step"));
    // The head comes with the first whole event, so that much is let through at once.
    let first = stream.body.windows(2).position(|pair| pair == b"\n\n").expect("an event") + 2;
    let begin = first.div_ceil(SIZE);
    gate.release(begin);
    let mut live = key.open("hi").await;
    for count in begin..=stream.body.len() / SIZE {
        // The upstream sends nothing more until these very bytes have been seen here.
        let seen = live.read_to(count * SIZE).await;
        assert_eq!(seen, stream.body[..count * SIZE], "after {count} chunks");
        gate.release(1);
    }
    gate.open();
    assert_eq!(live.finish().await.ok().body, stream.body);
}

#[tokio::test]
async fn pings_and_comments_pass() {
    let house = TestSystem::open().await;
    let key = house.key("ci").create().await;
    let answer = key.ask("[[pings]]").await.ok();
    assert_eq!(answer.body, house.upstream.last().sent);
    assert!(answer.text().contains(": keep-alive\n\n"));
}

#[tokio::test]
async fn a_long_stream_keeps_every_byte() {
    let house = TestSystem::open().await;
    let key = house.key("ci").create().await;
    let answer = key.ask("[[text;events=20000]]").await.ok();
    assert_eq!(answer.body, house.upstream.last().sent);
    house.summary_equals(&house.upstream.ledger().total()).await;
}
