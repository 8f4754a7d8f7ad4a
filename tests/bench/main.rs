//! What Baton costs, beside what others cost: the same load straight to an upstream, through nginx,
//! through Baton and through any peer, in interleaved rounds. README.md beside this file says how
//! to run and read it.
//!
//! `cargo run --release -p baton-bench --bin bench [-- --quick]`. Instead of these loads it measures
//! what failing upstreams cost with `-- failover` ([`failover`]), what storing events costs with
//! `-- store` ([`store`]), limits with `-- limited` ([`limited`]), many keys and accounts with
//! `-- growth` ([`growth`]), the console's first page with `-- overview` ([`overview`]), and what
//! stays in memory with `-- flat` ([`memory`]). Upstream and roads are processes of their own on
//! loopback, the load is in this one.
#![expect(clippy::print_stdout, reason = "the table is the result")]
#![expect(clippy::expect_used, reason = "a benchmark that cannot measure stops")]

mod failover;
mod growth;
mod limited;
mod load;
mod memory;
mod options;
mod overview;
mod peer;
mod process;
mod relay;
mod report;
mod request_path;
mod scenario;
mod store;
mod times;
mod wire;

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use baton_test_harness::eventually::eventually;
use baton_test_harness::program::Program;
use baton_test_harness::system::fake_upstream_binary;

use options::Options;
use relay::BenchedBaton;
use report::{Baseline, Table};
use request_path::RequestPath;
use scenario::Scenario;

fn main() -> Result<(), String> {
    // Two threads make enough load, and leave the rest of a small machine to what is measured.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(run())
}

async fn run() -> Result<(), String> {
    match std::env::args().nth(1).as_deref() {
        Some("failover") => {
            failover::run().await;
            return Ok(());
        }
        Some("flat") => {
            return memory::run(&Options::read(std::env::args().skip(2))?).await;
        }
        Some("limited") => {
            limited::measure().await;
            return Ok(());
        }
        Some("growth") => {
            growth::measure().await;
            return Ok(());
        }
        Some("store") => {
            store::measure().await;
            return Ok(());
        }
        Some("overview") => {
            overview::run().await;
            return Ok(());
        }
        _ => {}
    }
    let options = Options::read(std::env::args().skip(1))?;
    let scenarios = Scenario::all(&options);
    let (_upstream, address) = upstream().await;
    println!(
        "{} rounds; {} worker(s) of nginx, {} thread(s) of Baton; {} event(s) a write",
        options.rounds, options.threads, options.threads, options.burst
    );
    println!(
        "load average {}",
        std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim()
    );
    let baton = BenchedBaton::prepare(address, options.threads).await?;
    let roads = roads(&options, address, &baton).await?;
    for road in &roads {
        if let Some(start) = road.start {
            println!(
                "{:<12} first good answer {:.0} ms after its start; {} MiB resident",
                road.name,
                start.as_secs_f64() * 1e3,
                road.resident_kib() / 1024
            );
        }
    }
    println!(
        "times in µs; + is what is added to direct in the same round; CPU of the road's processes"
    );
    measure(&options, &scenarios, &roads).await?;
    for road in &roads {
        println!("{:<12} {} MiB resident at the end", road.name, road.resident_kib() / 1024);
    }
    Ok(())
}

/// The fake upstream in a process of its own.
async fn upstream() -> (Program, SocketAddr) {
    let mut command = Command::new(fake_upstream_binary());
    let program = Program::start(command.args(["--no-record", "--workers", "2"]));
    let address = eventually("the upstream", Duration::from_secs(10), async || {
        let url = program.stdout();
        url.trim().trim_start_matches("http://").parse().map_err(|_| program.stderr())
    })
    .await;
    (program, address)
}

/// All roads, open. What is not installed is left out.
async fn roads(
    options: &Options,
    upstream: SocketAddr,
    baton: &BenchedBaton,
) -> Result<Vec<Arc<RequestPath>>, String> {
    let hello = scenario::hello();
    let mut roads = vec![RequestPath::direct(upstream)];
    if Command::new("nginx").arg("-v").output().is_ok() {
        roads.push(
            RequestPath::open(request_path::nginx(upstream, options.threads)?, &hello).await?,
        );
    } else {
        println!("nginx        is not on the PATH: left out");
    }
    roads.push(baton.open(&hello).await?);
    for build in &options.builds {
        roads.push(baton.open_build(build, &hello).await?);
    }
    roads.push(relay::whole(upstream, options.threads, &hello).await?);
    for file in &options.peers {
        roads.push(RequestPath::open(peer::plan(file, upstream)?, &hello).await?);
    }
    Ok(roads.into_iter().map(Arc::new).collect())
}

/// Round by round, so that each road meets the same weather.
async fn measure(
    options: &Options,
    scenarios: &[Scenario],
    roads: &[Arc<RequestPath>],
) -> Result<(), String> {
    let chosen = scenarios.iter().filter(|scenario| scenario.name.contains(&options.only));
    let mut tables: Vec<_> = chosen.map(|scenario| (scenario, Table::of(scenario))).collect();
    for _ in 0..options.rounds {
        for (scenario, table) in &mut tables {
            let mut direct = None;
            // All of Baton in one process is asked what only it can answer.
            for road in roads.iter().filter(|road| scenario.limited || !road.limits()) {
                let seen = one(scenario, table, road, direct).await?;
                direct = direct.or(Some(seen));
            }
        }
    }
    for (_, table) in &tables {
        println!("{}", table.text());
    }
    Ok(())
}

/// One round of a scenario on a road, with every key that is to ask there.
async fn one(
    scenario: &Scenario,
    table: &mut Table,
    road: &Arc<RequestPath>,
    direct: Option<Baseline>,
) -> Result<Baseline, String> {
    let failed = |error| format!("{}, {}: {error}", scenario.name, road.name);
    let measured = load::run(road, scenario, false).await.map_err(failed)?;
    let seen = table.add(&road.name, scenario, &measured, direct);
    if scenario.limited && road.limits() {
        let measured = load::run(road, scenario, true).await.map_err(failed)?;
        table.add(&format!("{}, limited key", road.name), scenario, &measured, direct);
    }
    Ok(seen)
}
