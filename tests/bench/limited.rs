//! What limits cost, without relay and upstream: `bench -- limited`.
//!
//! Clients admit, record and begin anew, all with one key, while one stats consumer settles. Told
//! are how long admission takes, requests a second, and the calls of the state table a request, for
//! stores in memory and on a file, and for shared limits beside the key. The embedded store never
//! refuses a transaction as AWS does: conflicts are not in here.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use baton_domain::effective_limits::EffectiveLimits;
use baton_domain::id::{GroupId, KeyId, RequestId, UserId};
use baton_domain::key::Limits;
use baton_domain::money::PicoUsd;
use baton_domain::reservation::Reservation;
use baton_domain::scope::LimitScope;
use baton_runtime::clock::Clock;
use baton_runtime::usage_queue::UsageQueue;
use baton_store::Admission;
use baton_test_harness::stores::AllStores;
use baton_test_harness::system::{InProcessSystem, TestSystem, TestSystemBuilder};
use tokio_util::sync::CancellationToken;

use crate::times::{Times, histogram, quantile, record};

const LENGTH: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How many shared limits bind the key beside its own limits, and how many clients ask at once.
const CASES: [(usize, u32); 5] = [(0, 1), (0, 64), (0, 256), (2, 1), (3, 1)];

/// Measures all of it and prints a line each.
pub(crate) async fn measure() {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("one limited key, {} s each; load average {}", LENGTH.as_secs(), load.trim());
    let disk = tempfile::TempDir::with_prefix("baton-bench-").expect("a folder");
    for (place, folder) in [("in memory", None), ("on a file", Some(disk.path()))] {
        for (shared_limits, at_once) in CASES {
            let folder = folder.map(|folder| folder.join(format!("{shared_limits}-{at_once}")));
            let told = one(folder.as_deref(), shared_limits, at_once).await;
            println!("{place}, {} items, {at_once:>3} at once: {told}", shared_limits + 1);
        }
    }
}

/// A key, and the lines that its requests use.
#[derive(Clone)]
struct LimitedCaller {
    store: AllStores,
    queue: UsageQueue,
    bounds: Arc<EffectiveLimits>,
}

async fn one(folder: Option<&Path>, shared_limits: usize, at_once: u32) -> String {
    let calls = Arc::<Mutex<BTreeMap<String, u64>>>::default();
    let notes = Arc::clone(&calls);
    let builder = TestSystem::builder();
    let builder = folder.into_iter().fold(builder, TestSystemBuilder::data_at).in_process();
    let builder = builder.clock(Clock::system()).unrecorded().store_hook(move |target, body| {
        let operation = target.rsplit('.').next().unwrap_or_default();
        if memchr::memmem::find(body, b"StateTable").is_some() {
            let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
            *notes.entry(operation.to_owned()).or_default() += 1;
        }
        None
    });
    let system = builder.start().await;
    let caller = caller(&system, shared_limits);
    let stop = CancellationToken::new();
    let settling = tokio::spawn({
        let (local, store, stop) = (system.local.clone(), caller.store.clone(), stop.clone());
        async move {
            let stats = move |event| {
                let store = store.clone();
                async move { baton_stats::handle(&store.stats, event).await }
            };
            local.consume_usage(stop, stats).await;
        }
    });
    let (is_over, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let begun = Instant::now();
    let clients: Vec<_> = (0..at_once)
        .map(|_| tokio::spawn(client(caller.clone(), Arc::clone(&is_over), Arc::clone(&done))))
        .collect();
    let (mut looks, mut open) = (0, 0);
    while begun.elapsed() < LENGTH {
        tokio::time::sleep(LOOK_EVERY).await;
        looks += 1;
        open += caller
            .store
            .admin
            .counters
            .read_key_counters(&caller.bounds.key)
            .await
            .expect("counted")
            .open_reservations
            .len();
    }
    let (done, seconds) = (done.load(Ordering::Relaxed).max(1), begun.elapsed().as_secs_f64());
    is_over.store(true, Ordering::Relaxed);
    let calls = calls.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut times = histogram();
    for client in clients {
        times.add(client.await.expect("a client")).expect("the same form");
    }
    stop.cancel();
    settling.await.expect("stats");
    let micros = |share| quantile(&times, share);
    format!(
        "admitted in {:.0} µs at p50, {:.0} at p99; {}",
        micros(0.5),
        micros(0.99),
        told(done, seconds, open / looks, &calls)
    )
}

#[expect(clippy::cast_precision_loss, reason = "counts in a line of text")]
fn told(done: u64, seconds: f64, open: usize, calls: &BTreeMap<String, u64>) -> String {
    let each =
        |(name, count): (&String, &u64)| format!("{:.2} {name}", *count as f64 / done as f64);
    let calls: Vec<_> =
        calls.iter().filter(|(name, _)| *name != "BatchGetItem").map(each).collect();
    let rate = done as f64 / seconds;
    format!("{rate:.0} requests/s, {open} open on average; a request: {}", calls.join(", "))
}

fn caller(system: &InProcessSystem, shared_limits: usize) -> LimitedCaller {
    let limits = Limits {
        usd_daily: Some(PicoUsd::from_micros(1_000_000_000_000)),
        requests_per_minute: Some(1_000_000_000),
        ..Limits::default()
    };
    let scopes = [
        LimitScope::Organization,
        LimitScope::User(UserId::from_bits(1)),
        LimitScope::Group(GroupId::from_bits(1)),
    ];
    LimitedCaller {
        store: system.store.clone(),
        queue: system.queue.clone(),
        bounds: Arc::new(EffectiveLimits {
            shared_limits: scopes
                .into_iter()
                .take(shared_limits)
                .map(|scope| (scope, limits.clone()))
                .collect(),
            ..EffectiveLimits::from_own_limits(KeyId::from_bits(1), limits.clone())
        }),
    }
}

/// Answers how long each admission took.
async fn client(caller: LimitedCaller, is_over: Arc<AtomicBool>, done: Arc<AtomicU64>) -> Times {
    let LimitedCaller { store, queue, bounds } = caller;
    let mut times = histogram();
    while !is_over.load(Ordering::Relaxed) {
        let at = store.clock().now();
        let id = RequestId::at(at, store.random_source().bits());
        let wanted = Reservation {
            estimate: PicoUsd::from_micros(2_000_000),
            unreserved: PicoUsd::ZERO,
            at,
            expires: at.as_second() + 3_660,
            model: "claude-opus-5-5".to_owned(),
            stream: true,
            group: GroupId::from_bits(1),
            user: None,
            shared_limits: bounds.shared_scopes(),
        };
        let begun = Instant::now();
        let admitted =
            store.relay.limits.admit(&bounds, &id, &wanted).await.expect("the store is up");
        record(&mut times, begun);
        assert!(matches!(admitted, Admission::Admitted(_)), "far below its limits");
        let mut usage = wanted.to_expired_record(id, bounds.key.clone(), "bench");
        (usage.estimated, usage.cost_usd) = (false, PicoUsd::from_micros(500));
        queue.send(&usage).await.expect("the queue is up");
        done.fetch_add(1, Ordering::Relaxed);
    }
    times
}
