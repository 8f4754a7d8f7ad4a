//! What failing upstreams cost the clients: `bench -- failover`.
//!
//! Three upstreams: one answers 429, one 529 to a tenth of its requests, one hangs on a hundredth.
//! 200 conversations ask 10,000 times, and again of three upstreams that are well. Counted are
//! the answers that were not whole, the time to the first event, and how often a conversation
//! changed its cache domain.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use baton_test_harness::eventually::eventually;
use baton_test_harness::system::{MODEL, TestKey, TestSystem, message};
use baton_test_harness::upstream::{FakeUpstream, Options};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::times::{histogram, quantile, record};

const REQUESTS: u32 = 10_000;
const SESSIONS: u32 = 200;
/// A short timer, since each request that meets a hanging upstream waits for it once.
const FIRST_BYTE_SECONDS: &str = "1";
const TEXT: &str = "text;events=20;pace=5";
const WELL: [&str; 3] = [TEXT, TEXT, TEXT];
const ILL: [&str; 3] = [
    "status:429;header=retry-after:30",
    "error:overloaded;chance=100;events=20;pace=5",
    "hang;chance=10;events=20;pace=5",
];

/// What the clients saw.
struct FailoverTimes {
    errors: u32,
    first: Histogram<u64>,
}

/// What the records say.
struct RecordedFailovers {
    failovers: usize,
    switches: usize,
    switched: usize,
    by_attempts: [usize; 3],
}

pub(crate) async fn run() {
    println!(
        "{REQUESTS} requests, {SESSIONS} at once; a hang is left after {FIRST_BYTE_SECONDS} s"
    );
    for accounts_each in [1, 2] {
        let well = measure(WELL, accounts_each).await;
        let ill = measure(ILL, accounts_each).await;
        println!("\n{accounts_each} account(s) an upstream");
        for (name, (seen, told)) in [("all well", &well), ("failing", &ill)] {
            let millis = |at| quantile(&seen.first, at) / 1000.0;
            println!(
                "  {name:9} errors {}; first event p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms; \
                 {} requests failed over (attempts 1/2/3: {:?}); {} switches of cache domain in {} \
                 of {SESSIONS} sessions",
                seen.errors,
                millis(0.5),
                millis(0.99),
                millis(0.999),
                told.failovers,
                told.by_attempts,
                told.switches,
                told.switched,
            );
        }
        let added = quantile(&ill.0.first, 0.99) - quantile(&well.0.first, 0.99);
        println!("  p99 of the first event added by failover: {:.1} ms", added / 1000.0);
    }
}

async fn measure(scenarios: [&str; 3], accounts_each: u32) -> (FailoverTimes, RecordedFailovers) {
    let launch = TestSystem::builder().env("BATON_FIRST_BYTE_SECONDS", FIRST_BYTE_SECONDS);
    let system = launch.env("BATON_LOG", "error").start().await;
    let upstreams = scenarios.map(|scenario| {
        let upstream = FakeUpstream::start_with(Options { record: false, ..Options::default() });
        upstream.always(scenario);
        upstream
    });
    for upstream in &upstreams {
        for _ in 0..accounts_each {
            system.account_with("one", &upstream.url(), json!({})).await;
        }
    }
    let key = system.key("ci").create().await;
    let left = Arc::new(AtomicU32::new(REQUESTS));
    let clients: Vec<_> = (0..SESSIONS)
        .map(|serial| tokio::spawn(client(key.clone(), serial, Arc::clone(&left))))
        .collect();
    let mut seen = FailoverTimes { errors: 0, first: histogram() };
    for client in clients {
        let one = client.await.expect("a client of the load");
        seen.errors += one.errors;
        seen.first.add(one.first).expect("the same bounds");
    }
    (seen, told(&system).await)
}

/// One conversation: each request says which session it is of.
async fn client(key: TestKey, serial: u32, left: Arc<AtomicU32>) -> FailoverTimes {
    let mut seen = FailoverTimes { errors: 0, first: histogram() };
    let body = message(MODEL, "hi", true).to_string();
    let take = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
    while take().is_ok() {
        let start = Instant::now();
        let request = key.message(body.clone());
        let request = request.header("x-claude-code-session-id", format!("session {serial}"));
        if !is_whole(request, start, &mut seen.first).await {
            seen.errors += 1;
        }
    }
    seen
}

async fn is_whole(
    request: reqwest::RequestBuilder,
    start: Instant,
    first: &mut Histogram<u64>,
) -> bool {
    let Ok(mut answer) = request.send().await else { return false };
    let mut whole = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        if whole.is_empty() {
            record(first, start);
        }
        whole.extend_from_slice(&chunk);
    }
    let text = String::from_utf8_lossy(&whole);
    answer.status() == 200 && text.contains("message_stop") && !text.contains("event: error")
}

async fn told(system: &TestSystem) -> RecordedFailovers {
    let mut events = eventually("all records", Duration::from_mins(2), async || {
        let events = all_events(system).await;
        if events.len() == REQUESTS as usize { Ok(events) } else { Err(events.len()) }
    })
    .await;
    events.sort_by_key(|event| event["started_at"].as_str().map(str::to_owned));
    let mut told =
        RecordedFailovers { failovers: 0, switches: 0, switched: 0, by_attempts: [0; 3] };
    let mut last: HashMap<String, (String, usize)> = HashMap::new();
    for event in events.iter().filter(|event| event["status"] == 200) {
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        told.failovers += usize::from(event["tried"].is_array());
        let attempts = event["attempts"].as_u64().unwrap_or(1).clamp(1, 3) as usize;
        told.by_attempts[attempts - 1] += 1;
        let account = text("account_id");
        let known = last.entry(text("session_id")).or_insert_with(|| (account.clone(), 0));
        if known.0 != account {
            *known = (account, known.1 + 1);
        }
    }
    told.switches = last.values().map(|(_, switches)| switches).sum();
    told.switched = last.values().filter(|(_, switches)| *switches > 0).count();
    told
}

async fn all_events(system: &TestSystem) -> Vec<Value> {
    let (mut events, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/usage/events?limit=1000{cursor}");
        let page = system.admin().get(&path).await.ok().json();
        events.extend(page["data"].as_array().into_iter().flatten().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return events,
        }
    }
}
