//! After SIGTERM, open requests end normally, and then the process exits with 0.

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::eventually::eventually;
use baton_test_harness::fixtures;
use baton_test_harness::system::{SOON, TestSystem};

#[tokio::test]
async fn sigterm_drains_stream_and_stores_usage() {
    let mut system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    let fixture = fixtures::stream("text").expect("the fixture");
    let gate = system.upstream.gate("drain");
    gate.release(8);
    system.upstream.next("fixture:text;size=100;gate=drain");
    let mut live = key.open("hi").await;
    live.read_to(600).await;

    let again = system.process().again();
    system.process().terminate();
    let refused = system.request("GET", "/health");
    eventually("no new connection is taken", SOON, async || {
        match refused.try_clone().expect("a request").send().await {
            Err(_) => Ok(()),
            Ok(answer) => Err(answer.status()),
        }
    })
    .await;
    assert!(!system.process().is_over(), "the stream is still open");
    gate.open();
    let answer: ClientResponse = live.finish().await.ok();
    assert_eq!(answer.body, fixture.body);
    let ended = system.process().ended();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);

    system.started_again(&again).await;
    system.events_of(&key, 1).await;
}

#[tokio::test]
async fn sigterm_without_requests_exits_cleanly() {
    let mut system = TestSystem::open().await;
    let process = system.process();
    process.terminate();
    let ended = process.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}
