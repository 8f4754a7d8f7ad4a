//! Simulation: random runs with injected faults, each repeatable by its seed. No usage is lost or
//! counted twice.
//!
//! `BATON_SEED=7 cargo test -p baton-tests --test simulation -- --nocapture` replays a run;
//! `BATON_SEEDS=100000 cargo test --release -p baton-tests --test simulation` runs many.
#![expect(clippy::expect_used, clippy::panic, reason = "a check that cannot run fails the test")]

mod oracle_checks;

use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use baton_test_harness::simulation::{RunReport, run};

/// Number of runs in every `cargo test`.
const SEEDS: u64 = 1_000;
/// Seeds that found a bug once.
const FOUND: &str = include_str!("found.txt");

fn number(name: &str) -> Option<u64> {
    let value = std::env::var_os(name)?;
    let digits = value.to_str().and_then(|text| text.parse().ok());
    Some(digits.unwrap_or_else(|| panic!("{name} is a number, not {}", value.display())))
}

fn found() -> Vec<u64> {
    let lines = FOUND.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty()).map(|line| line.parse().expect("a seed")).collect()
}

fn replay(report: &RunReport) -> String {
    format!(
        "seed {seed}: {findings:#?}\nreplay it: BATON_SEED={seed} cargo test -p baton-tests --test \
         simulation -- --nocapture\n(and add it to tests/simulation/found.txt)",
        seed = report.seed,
        findings = report.findings
    )
}

/// Runs seeds on all processors until one of them fails. Returns the numbers of stored events and
/// of upstream calls.
fn sweep(seeds: &[u64]) -> (usize, usize) {
    let next = AtomicU64::new(0);
    let work = || {
        let (mut events, mut calls) = (0, 0);
        while let Some(seed) =
            seeds.get(usize::try_from(next.fetch_add(1, Ordering::SeqCst)).unwrap_or(usize::MAX))
        {
            let report = run(*seed);
            assert!(report.findings.is_empty(), "{}", replay(&report));
            (events, calls) = (events + report.events.len(), calls + report.calls);
        }
        (events, calls)
    };
    let threads = thread::available_parallelism().map_or(2, NonZero::get);
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let done = running.into_iter().map(|one| match one.join() {
            Ok(counts) => counts,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        done.fold((0, 0), |(events, calls), (some, more)| (events + some, calls + more))
    })
}

#[test]
fn no_usage_is_lost_or_counted_twice() {
    let seeds: Vec<u64> = match number("BATON_SEED") {
        Some(seed) => vec![seed],
        None => found().into_iter().chain(1..=number("BATON_SEEDS").unwrap_or(SEEDS)).collect(),
    };
    let begin = std::time::Instant::now();
    let (events, calls) = sweep(&seeds);
    println!(
        "{} seeds: {calls} upstream calls, {events} events stored, in {:?}",
        seeds.len(),
        begin.elapsed()
    );
    assert!(events > 0 && calls > 0, "the runs stored no event");
}

#[test]
fn equal_seeds_have_equal_runs() {
    for seed in 1..=40 {
        assert!(run(seed) == run(seed), "seed {seed}");
    }
}
