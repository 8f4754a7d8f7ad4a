//! Times in microseconds, gathered in histograms.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;

/// Many times.
pub(crate) type Times = Histogram<u64>;

pub(crate) fn histogram() -> Times {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("a histogram")
}

pub(crate) fn record(histogram: &mut Times, since: Instant) {
    let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
    histogram.saturating_record(micros);
}

#[expect(clippy::cast_precision_loss, reason = "microseconds in a table")]
pub(crate) fn quantile(histogram: &Times, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64
}

/// The clock that all processes of this machine share, as the upstream stamps it into events.
pub(crate) fn now() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "two processes measure by one clock")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or_default()
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
