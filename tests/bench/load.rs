//! The load generator: a closed loop of so many clients, each reading its streamed answers whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use baton_tests::answer::Live;
use baton_tests::house::{Key, MODEL, message};
use hdrhistogram::Histogram;

use crate::options::Options;

/// A load to be put on whatever the key's base URL is.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) key: Key,
    pub(crate) requests: u32,
    pub(crate) at_once: u32,
}

/// Times in microseconds.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) requests: u32,
    took: Duration,
    first: Histogram<u64>,
    whole: Histogram<u64>,
}

impl Load {
    pub(crate) fn of(key: &Key, options: &Options) -> Self {
        Self { key: key.clone(), requests: options.requests, at_once: options.at_once }
    }

    pub(crate) async fn run(&self) -> Measured {
        let left = Arc::new(AtomicU32::new(self.requests));
        let body = message(MODEL, "[[text;events=20]]", true).to_string();
        let start = Instant::now();
        let clients: Vec<_> = (0..self.at_once)
            .map(|_| tokio::spawn(client(self.key.clone(), body.clone(), Arc::clone(&left))))
            .collect();
        let mut measured = Measured {
            requests: self.requests,
            took: Duration::ZERO,
            first: histogram(),
            whole: histogram(),
        };
        for client in clients {
            let (first, whole) = client.await.expect("a client of the load");
            measured.first.add(first).expect("the same bounds");
            measured.whole.add(whole).expect("the same bounds");
        }
        measured.took = start.elapsed();
        measured
    }
}

async fn client(key: Key, body: String, left: Arc<AtomicU32>) -> (Histogram<u64>, Histogram<u64>) {
    let (mut first, mut whole) = (histogram(), histogram());
    let take = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
    while take().is_ok() {
        let start = Instant::now();
        let mut live = Live::to(key.message(body.clone())).await;
        assert_eq!(live.status(), 200, "the load is answered");
        live.read_to(1).await;
        record(&mut first, start);
        live.finish().await.ok();
        record(&mut whole, start);
    }
    (first, whole)
}

pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("a histogram")
}

pub(crate) fn record(histogram: &mut Histogram<u64>, since: Instant) {
    let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
    histogram.saturating_record(micros);
}

#[expect(clippy::cast_precision_loss, reason = "microseconds in a table")]
pub(crate) fn quantile(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64
}

impl Measured {
    pub(crate) fn per_second(&self) -> f64 {
        f64::from(self.requests) / self.took.as_secs_f64()
    }

    pub(crate) fn first_event(&self, at: f64) -> f64 {
        quantile(&self.first, at)
    }

    pub(crate) fn whole(&self, at: f64) -> f64 {
        quantile(&self.whole, at)
    }
}
