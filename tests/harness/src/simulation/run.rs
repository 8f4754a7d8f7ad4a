//! One run: carries out the plan of a seed and lets the oracle check the result.

use std::sync::Arc;
use std::time::Duration;

use baton_domain::record::UsageRecord;
use baton_runtime::dead_letters::DeadLetters;
use baton_store::{EventFilter, RollupPeriod};
use jiff::SignedDuration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::background_functions::BackgroundFunctions;
use super::oracle::{LimitedKey, RunFacts, findings};
use super::plan::PlannedEvent;
use super::simulated_world::{SimulatedWorld, locked};
use super::{client, record_log};

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunReport {
    /// The seed.
    pub seed: u64,
    /// The violations of the rules; empty if there are none.
    pub findings: Vec<String>,
    /// The stored events.
    pub events: Vec<UsageRecord>,
    /// The number of calls that reached an upstream.
    pub calls: usize,
}

/// Runs the plan of `seed` to its end.
///
/// # Panics
///
/// If the harness itself fails.
pub fn run(seed: u64) -> RunReport {
    let account = account_of(seed);
    let findings = findings(&account);
    RunReport { seed, findings, calls: account.calls.len(), events: account.events }
}

/// The facts at the end of the run of `seed`.
///
/// # Panics
///
/// As [`run`].
pub fn account_of(seed: u64) -> RunFacts {
    record_log::listen();
    drop(record_log::records());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let world = Arc::new(SimulatedWorld::new(seed).await);
        let books = Arc::new(BackgroundFunctions::new(&world));
        run_plan(&world, &books).await;
        world.weather.clear();
        world.let_live();
        Box::pin(books.drain()).await;
        account(&world).await
    })
}

/// Does everything that the plan contains, at its time.
async fn run_plan(world: &Arc<SimulatedWorld>, books: &Arc<BackgroundFunctions>) {
    let begin = Instant::now();
    let mut all = JoinSet::new();
    for number in 0..world.plan.requests.len() {
        let world = Arc::clone(world);
        all.spawn(async move {
            sleep_until(begin + world.plan.requests[number].at).await;
            client::ask(&world, number).await;
        });
    }
    for &(at, event) in &world.plan.events {
        let (world, books) = (Arc::clone(world), Arc::clone(books));
        all.spawn(async move {
            sleep_until(begin + at).await;
            match event {
                PlannedEvent::Consume { consumer, polls } => books.consume(consumer, polls).await,
                PlannedEvent::Tick { polls } => books.tick(polls).await,
                PlannedEvent::Jump(seconds) => {
                    world.system.clock.advance(SignedDuration::from_secs(seconds));
                }
                PlannedEvent::Kill(slot) => world.instance(slot).life.end(),
            }
        });
    }
    while let Some(done) = all.join_next().await {
        done.expect("no part of the run panics");
    }
    // Answers whose client has left are read for some more time.
    tokio::time::sleep(Duration::from_secs(100)).await;
}

/// All facts that the oracle needs.
async fn account(world: &SimulatedWorld) -> RunFacts {
    let process = world.system.another(1);
    let letters = DeadLetters::from_resources(&process.aws(), &process.settings.resources)
        .expect("dead letters");
    let store = &process.store;
    let (from, to) = (world.plan.begins, world.system.clock.now());
    let filter = EventFilter {
        from,
        to,
        key: None,
        account: None,
        user: None,
        model: None,
        outcome: None,
        keys: None,
    };
    let events = store.admin.usage.events(&filter, 1000, None).await.expect("the store is up").data;
    let day = |at: jiff::Timestamp| at.strftime("%Y-%m-%d").to_string();
    let hour = |at: jiff::Timestamp| at.strftime("%Y-%m-%dT%H").to_string();
    let hours = store
        .admin
        .rollups
        .totals(RollupPeriod::Hour, &hour(from), &hour(to))
        .await
        .expect("hours");
    let days =
        store.admin.rollups.totals(RollupPeriod::Day, &day(from), &day(to)).await.expect("days");
    let mut cells = Vec::new();
    for (day, _) in &days {
        if !cells.iter().any(|(seen, _)| seen == day) {
            cells.push((day.clone(), store.admin.rollups.cells(day).await.expect("cells")));
        }
    }
    let client_requests = locked(&world.client_requests).clone();
    let mut limits = Vec::new();
    for key in &world.keys {
        let counted = store.admin.counters.read_key_counters(&key.id).await.expect("counted");
        limits.push(LimitedKey { key: key.id.clone(), limits: key.limits.clone(), counted });
    }
    RunFacts {
        events,
        hours,
        days,
        cells: cells.into_iter().flat_map(|(_, cells)| cells).collect(),
        limits,
        client_requests,
        calls: world.ledger.calls(),
        pending: store.refresh.pending.list().await.expect("pending").len(),
        dead: letters.count().await.expect("a count"),
        is_calm: world.plan.is_calm,
    }
}
