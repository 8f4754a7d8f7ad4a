//! How long one event takes from the upstream's hand to the client's: the upstream stands in this
//! process, so that both ends read the same clock, and a gate lets one event go at a time.

use std::time::Instant;

use baton_tests::answer::Live;
use baton_tests::house::{House, Key, MODEL, message};
use hdrhistogram::Histogram;

use crate::load::{histogram, quantile, record};
use crate::table::Table;

const EVENTS: usize = 2_000;
const ROUNDS: usize = 3;

/// Adds the delay of an event, directly and relayed.
pub(crate) async fn compare(house: &House, relayed: &Key, table: &mut Table) {
    let direct = Key::found("sk-direct", &house.upstream.url());
    for round in 0..ROUNDS {
        let straight = delays(house, &direct, &format!("direct-{round}")).await;
        let through = delays(house, relayed, &format!("relayed-{round}")).await;
        for (at, name) in [(0.5, "p50"), (0.99, "p99")] {
            let row = format!("delay of an event, {name}, µs");
            table.add(&row, quantile(&straight, at), quantile(&through, at));
        }
    }
}

async fn delays(house: &House, key: &Key, gate_name: &str) -> Histogram<u64> {
    let gate = house.upstream.gate(gate_name);
    let scenario = format!("[[text;events={EVENTS};size=64;gate={gate_name}]]");
    // Two chunks are more than the first event's beginning; the relay may hold the head for it.
    gate.release(20);
    let body = message(MODEL, &scenario, true).to_string();
    let mut live = Live::to(key.message(body)).await;
    live.read_to(20 * 64).await;
    let mut delays = histogram();
    for sent in 21..EVENTS {
        let start = Instant::now();
        gate.release(1);
        live.read_to(sent * 64).await;
        record(&mut delays, start);
    }
    gate.open();
    live.finish().await.ok();
    delays
}
