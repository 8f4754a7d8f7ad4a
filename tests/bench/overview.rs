//! What the console's first page costs: `bench -- overview`.
//!
//! 1,000 keys, 100 accounts and 30 days of requests in stores in memory, in this process; a
//! hundred pages one after the other. The time is the server's, from the request to the last byte,
//! the embedded stores' share included.

use std::time::{Duration, Instant};

use baton_test_harness::console_client::ConsoleClient;

const PAGES: usize = 100;

/// Measures and prints.
pub(crate) async fn run() {
    let console = ConsoleClient::open().await;
    console.company(1_000, 100, 40).await;
    let mut times = Vec::new();
    let (mut calls, mut bytes) = (0, 0);
    for _ in 0..PAGES {
        let begun = Instant::now();
        let page = console.get("/console").await.ok_status();
        times.push(begun.elapsed());
        (calls, bytes) = (page.calls.len(), page.html.len());
    }
    times.sort();
    let at = |percent: usize| times.get(PAGES * percent / 100).copied().unwrap_or(Duration::MAX);
    println!("overview of 1,000 keys, 100 accounts, 30 days: {calls} store calls, {bytes} bytes");
    println!("server time p50 {:?}, p99 {:?}", at(50), at(99));
}
