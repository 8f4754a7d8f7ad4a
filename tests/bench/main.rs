//! What Baton costs: the same load directly to the upstream and relayed, in interleaved pairs.
//!
//! `cargo run --release -p baton-tests --bin bench [-- --rounds 5 --requests 2000 --minutes 2]`.
//! With `-- failover` it measures what failing upstreams cost instead; see [`failover`]. With
//! `-- overview` it measures the console's first page; see [`overview`].
//! With `store` instead of options: what storing events costs.
//!
//! Upstream, relay and load generator are processes of their own on loopback. Only the ratio of
//! the two columns means anything beyond the machine it was measured on.
#![expect(clippy::print_stdout, reason = "the table is the result")]
#![expect(clippy::expect_used, reason = "a benchmark that cannot measure stops")]

mod events;
mod failover;
mod load;
mod options;
mod overview;
mod process;
mod store;
mod table;

use std::process::Command;
use std::time::{Duration, Instant};

use baton_tests::eventually::eventually;
use baton_tests::house::{House, Key, fake_upstream_binary};
use baton_tests::program::Program;
use serde_json::json;

use load::{Load, Measured};
use options::Options;
use process::Figures;
use table::Table;

#[tokio::main]
async fn main() -> Result<(), String> {
    if std::env::args().nth(1).as_deref() == Some("failover") {
        failover::run().await;
        return Ok(());
    }
    if std::env::args().nth(1).as_deref() == Some("store") {
        store::measure().await;
        return Ok(());
    }
    if std::env::args().nth(1).as_deref() == Some("overview") {
        overview::run().await;
        return Ok(());
    }
    let options = Options::read(std::env::args().skip(1))?;
    let upstream = Upstream::start().await;
    let direct = Key::found("sk-direct", &upstream.url);
    println!("upstream {}; {options:?}", upstream.url);
    if options.direct_only {
        let load = Load::of(&direct, &options).run().await;
        println!(
            "{:.0} requests/s, first event p50 {} µs",
            load.per_second(),
            load.first_event(0.5)
        );
        return Ok(());
    }
    let house = House::open().await;
    let relayed = key_to(&house, &upstream.url).await;
    let near = house.key("near").create().await;
    let relay = Figures::of(house.process_id());

    warm_up(&direct, &relayed, &options).await;
    let mut table = Table::default();
    rounds(&direct, &relayed, &relay, &options, &mut table).await;
    events::compare(&house, &near, &mut table).await;
    println!("{}", table.text());
    flatness(&relayed, &relay, &options).await;
    open_streams(&relayed, &relay, &options).await;
    Ok(())
}

/// The fake upstream in a process of its own.
struct Upstream {
    url: String,
    _program: Program,
}

impl Upstream {
    async fn start() -> Self {
        let mut command = Command::new(fake_upstream_binary());
        let program = Program::start(command.args(["--no-record", "--workers", "2"]));
        let started = async || match program.stdout().trim() {
            "" => Err(program.stderr()),
            url => Ok(url.to_owned()),
        };
        let url = eventually("the upstream", Duration::from_secs(10), started).await;
        Self { url, _program: program }
    }
}

/// A key whose group has just this upstream.
async fn key_to(house: &House, url: &str) -> Key {
    let group = house.group("bench").await;
    house.account_with("bench", url, json!({"groups": [group]})).await;
    house.key("bench").group(&group).create().await
}

async fn warm_up(direct: &Key, relayed: &Key, options: &Options) {
    for key in [direct, relayed] {
        Load { requests: options.requests / 4, ..Load::of(key, options) }.run().await;
    }
}

async fn rounds(
    direct: &Key,
    relayed: &Key,
    relay: &Figures,
    options: &Options,
    table: &mut Table,
) {
    for round in 0..options.rounds {
        // One at a time for latency, many at once for throughput; who goes first alternates.
        let single =
            Load { at_once: 1, requests: options.requests / 8, ..Load::of(direct, options) };
        let (alone, alone_relayed) = pair(round, &single, relayed).await;
        let many = Load::of(direct, options);
        let before = relay.cpu();
        let (direct_many, relayed_many) = pair(round, &many, relayed).await;
        let spent = relay.cpu().saturating_sub(before);
        table.add("requests/s", direct_many.per_second(), relayed_many.per_second());
        for (quantile, name) in [(0.5, "p50"), (0.99, "p99")] {
            let row = |what: &str| format!("{what}, {name}, µs");
            let first = |measured: &Measured| measured.first_event(quantile);
            table.add(&row("first event, 1 at once"), first(&alone), first(&alone_relayed));
            table.add(&row("first event, loaded"), first(&direct_many), first(&relayed_many));
            let whole = |measured: &Measured| measured.whole(quantile);
            table.add(&row("whole answer, 1 at once"), whole(&alone), whole(&alone_relayed));
        }
        let each = spent.as_secs_f64() * 1e6 / f64::from(relayed_many.requests);
        table.add("relay CPU per request, µs", 0.0, each);
    }
}

async fn pair(round: u32, load: &Load, relayed: &Key) -> (Measured, Measured) {
    let through = Load { key: relayed.clone(), ..load.clone() };
    if round.is_multiple_of(2) {
        let direct = load.run().await;
        (direct, through.run().await)
    } else {
        let relayed = through.run().await;
        (load.run().await, relayed)
    }
}

/// Resident memory with many streams open at the same time.
async fn open_streams(relayed: &Key, relay: &Figures, options: &Options) {
    let idle = relay.resident_kib();
    let mut streams = Vec::new();
    for _ in 0..options.streams {
        let mut live = relayed.open("[[hang:4]]").await;
        live.read_to(100).await;
        streams.push(live);
    }
    let open = relay.resident_kib();
    drop(streams);
    let each = open.saturating_sub(idle) / u64::from(options.streams.max(1));
    println!(
        "resident: {idle} KiB before, {open} KiB with {} open streams ({each} KiB each)",
        options.streams
    );
}

/// Resident memory over minutes of load.
async fn flatness(relayed: &Key, relay: &Figures, options: &Options) {
    let load = Load { at_once: 16, requests: 500, ..Load::of(relayed, options) };
    let length = Duration::from_secs_f64(options.minutes * 60.0);
    let start = Instant::now();
    let mut samples = Vec::new();
    while start.elapsed() < length {
        load.run().await;
        samples.push(relay.resident_kib());
    }
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return };
    let half = samples[samples.len() / 2];
    let most = samples.iter().max().unwrap_or(last);
    println!(
        "resident over {:.1} min and {} requests: first {first}, middle {half}, last {last}, most {most} KiB",
        options.minutes,
        samples.len() * 500
    );
}
