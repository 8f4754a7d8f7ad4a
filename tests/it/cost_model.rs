//! Counts the store calls of a request and compares them with the cost model.

use std::sync::{Arc, Mutex};

use baton_local::LocalAws;
use baton_relay::Relay;
use baton_runtime::aws::AwsClients;
use baton_runtime::clock::Clock;
use baton_runtime::random::RandomSource;
use baton_runtime::settings::Settings;
use baton_runtime::usage_queue::UsageQueue;
use baton_tests::cost::{ALONE, BilledUnits, STEADY};
use baton_tests::house::{MODEL, message};
use baton_tests::injected_faults::WithFaults as _;
use baton_tests::stores::AllStores;
use baton_tests::upstream::FakeUpstream;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use tokio_util::sync::CancellationToken;

const COST_DOCUMENT: &str = include_str!("../../infra/cost.md");

/// Sends `requests` through one relay, lets stats store the usage, and returns the units of one
/// request.
async fn count_units(requests: u64) -> BilledUnits {
    let upstream = FakeUpstream::start();
    let (seen, local) =
        (Arc::<Mutex<BilledUnits>>::default(), LocalAws::open(None).await.expect("stores"));
    let notes = Arc::clone(&seen);
    let local = local.with_faults(move |target, body| {
        let mut seen = notes.lock().expect("the notes");
        *seen = seen.plus(BilledUnits::of(target, body));
        None
    });
    let url = upstream.url();
    let mut settings = Settings::from_lookup(|name| match name {
        "BATON_ALLOW_PRIVATE_UPSTREAMS" => Some("1".into()),
        "ANTHROPIC_API_KEY" => Some("sk-upstream".into()),
        "BATON_ANTHROPIC_BASE_URL" => Some(url.clone()),
        _ => None,
    })
    .expect("settings");
    settings.resources = local.resources();
    let aws = AwsClients::new(&local.sdk_config());
    // The caches use tokio's time. No entry expires here.
    let store = || AllStores::new(&aws, &settings, Clock::system(), RandomSource::seeded(3));
    let first = store();
    let pepper = first.admin.secrets.pepper().await.expect("a pepper");
    let made =
        baton_admin::first_start(&settings, &pepper, first.admin).await.expect("first start");
    let key = made.key.expect("a key");
    let queue = UsageQueue::new(&aws, &settings.resources.usage_queue_url);
    let relay = Relay::new(&settings, &pepper, store().relay, queue).expect("a relay");
    *seen.lock().expect("the notes") = BilledUnits::default();
    for _ in 0..requests {
        let request = Request::post("/v1/messages").header("x-api-key", key.expose());
        let body = Full::new(bytes::Bytes::from(message(MODEL, "hi", true).to_string()));
        let answer = relay.handle(request.body(body).expect("a request")).await;
        assert_eq!(answer.status(), 200);
        answer.into_body().collect().await.expect("a whole answer");
    }
    let (stop, stats_store) = (CancellationToken::new(), store());
    stop.cancel();
    let handler = move |event| {
        let store = stats_store.clone();
        async move { baton_stats::handle(&store.stats, event).await }
    };
    local.consume_usage(stop, handler).await;
    seen.lock().expect("the notes").each_of(requests)
}

#[tokio::test]
async fn store_calls_match_the_cost_model() {
    for traffic in [ALONE, STEADY] {
        assert_eq!(Box::pin(count_units(traffic.batch)).await, traffic.units, "{}", traffic.name);
    }
}

#[test]
fn cost_document_matches_the_model() {
    let rows =
        [ALONE, STEADY].iter().flat_map(|traffic| [2, 20, 60].map(|seconds| traffic.row(seconds)));
    let missing: Vec<String> = rows.filter(|row| !COST_DOCUMENT.contains(row)).collect();
    assert!(missing.is_empty(), "infra/cost.md lacks\n{}", missing.join("\n"));
}
