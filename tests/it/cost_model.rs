//! Counts the store calls of a request and compares them with the cost model.

use std::sync::{Arc, Mutex};

use baton_runtime::clock::Clock;
use baton_test_harness::cost::{ALONE, BilledUnits, STEADY};
use baton_test_harness::system::{MODEL, TestSystem, message};
use baton_test_harness::upstream::FakeUpstream;
use http::Request;
use http_body_util::{BodyExt as _, Full};

const COST_DOCUMENT: &str = include_str!("../../docs/operate/aws-costs.md");

/// Sends `requests` through one relay, lets stats store the usage, and returns the units of one
/// request.
async fn count_units(requests: u64) -> BilledUnits {
    let upstream = FakeUpstream::start();
    let seen = Arc::<Mutex<BilledUnits>>::default();
    let notes = Arc::clone(&seen);
    let builder = TestSystem::builder()
        .env("ANTHROPIC_API_KEY", "sk-upstream")
        .env("BATON_ANTHROPIC_BASE_URL", &upstream.url());
    // The caches use tokio's time. No entry expires here.
    let builder = builder.in_process().clock(Clock::system()).store_hook(move |target, body| {
        let mut seen = notes.lock().expect("the notes");
        *seen = seen.plus(BilledUnits::of(target, body));
        None
    });
    let system = builder.start().await;
    let key = system.first_start().await;
    let relay = system.another(8).relay();
    *seen.lock().expect("the notes") = BilledUnits::default();
    for _ in 0..requests {
        let request = Request::post("/v1/messages").header("x-api-key", key.expose());
        let body = Full::new(bytes::Bytes::from(message(MODEL, "hi", true).to_string()));
        let answer = relay.handle(request.body(body).expect("a request")).await;
        assert_eq!(answer.status(), 200);
        answer.into_body().collect().await.expect("a whole answer");
    }
    system.another(9).run_stats().await;
    seen.lock().expect("the notes").each_of(requests)
}

#[tokio::test]
async fn store_calls_match_the_cost_model() {
    for traffic in [ALONE, STEADY] {
        assert_eq!(Box::pin(count_units(traffic.batch)).await, traffic.units, "{}", traffic.name);
    }
}

#[test]
#[ignore = "it compares the text of a document"]
fn cost_document_matches_the_model() {
    let rows =
        [ALONE, STEADY].iter().flat_map(|traffic| [2, 20, 60].map(|seconds| traffic.row(seconds)));
    let missing: Vec<String> = rows.filter(|row| !COST_DOCUMENT.contains(row)).collect();
    assert!(missing.is_empty(), "docs/operate/aws-costs.md lacks\n{}", missing.join("\n"));
}
