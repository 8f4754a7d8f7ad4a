//! Metrics and spans of requests, in addition to the log.
//!
//! They are OpenTelemetry's own instruments and spans. The module `exporters` installs what
//! collects them, at start; without it, as in the Lambda functions, they do nothing. Names are
//! defined in `domain::metric`. Neither prompts nor secrets are reported here.

#[cfg(feature = "export")]
mod collector_client;
#[cfg(feature = "export")]
mod exporters;
mod spans;

#[cfg(feature = "export")]
pub use exporters::{TelemetryExporters, TelemetrySetupError, install};
pub use spans::{AttemptTrace, RequestTrace};

use baton_domain::id::RequestId;
use baton_domain::metric::{
    self, AccountState, GaugeReadings, MetricName, model_label, token_kinds,
};
use baton_domain::money::PicoUsd;
use baton_domain::record::UsageRecord;
use http::HeaderMap;
use opentelemetry::global::BoxedTracer;
use opentelemetry::metrics::{Counter, Gauge, Histogram, UpDownCounter};
use opentelemetry::{KeyValue, global};
use std::sync::{Arc, OnceLock};

/// The name of the meter and of the tracer.
const NAME: &str = "baton";

/// What an exporter has installed in this process.
static INSTALLED: OnceLock<Installed> = OnceLock::new();

struct Installed {
    /// Writes the page for Prometheus.
    page: Box<dyn Fn() -> String + Send + Sync>,
    /// Makes spans, if they are exported.
    tracer: Option<Arc<BoxedTracer>>,
}

/// The instruments and the tracer of this process. Clones share them.
#[derive(Clone)]
pub struct Observer {
    tracer: Option<Arc<BoxedTracer>>,
    requests: Counter<u64>,
    tokens: Counter<u64>,
    spend: Counter<f64>,
    ttft: Histogram<f64>,
    duration: Histogram<f64>,
    attempts: Counter<u64>,
    failovers: Counter<u64>,
    open_streams: UpDownCounter<i64>,
    accounts: Gauge<u64>,
    pending: Gauge<u64>,
    queued: Gauge<u64>,
    unpriced: Counter<u64>,
    dead_letters: Gauge<u64>,
}

impl Observer {
    /// The instruments of the exporter that was installed before, or ones that do nothing.
    pub fn installed() -> Self {
        let meter = global::meter(NAME);
        let count = |it: MetricName| meter.u64_counter(it.name).with_description(it.help).build();
        let level = |it: MetricName| meter.u64_gauge(it.name).with_description(it.help).build();
        let seconds = |it: MetricName| {
            let bounds = metric::BUCKETS_MS.map(|millis| f64::from(millis) / 1000.0);
            let histogram = meter.f64_histogram(it.name).with_description(it.help);
            histogram.with_unit("s").with_boundaries(bounds.to_vec()).build()
        };
        let (spend, open) = (metric::SPEND_USD, metric::OPEN_STREAMS);
        let open_streams = meter.i64_up_down_counter(open.name).with_description(open.help).build();
        open_streams.add(0, &[]);
        level(metric::BUILD_INFO).record(1, &[KeyValue::new("version", env!("CARGO_PKG_VERSION"))]);
        Self {
            tracer: INSTALLED.get().and_then(|installed| installed.tracer.clone()),
            requests: count(metric::REQUESTS),
            tokens: count(metric::TOKENS),
            spend: meter.f64_counter(spend.name).with_description(spend.help).build(),
            unpriced: count(metric::UNPRICED),
            ttft: seconds(metric::TTFT),
            duration: seconds(metric::DURATION),
            attempts: count(metric::ATTEMPTS),
            failovers: count(metric::FAILOVERS),
            open_streams,
            accounts: level(metric::ACCOUNTS),
            pending: level(metric::PENDING),
            queued: level(metric::QUEUED),
            dead_letters: level(metric::DEAD_LETTERS),
        }
    }

    /// A request without a usage record has ended: a refused request or a free call.
    pub fn record_request_end(&self, protocol: &'static str, status: u16, outcome: &'static str) {
        self.requests.add(
            1,
            &[
                KeyValue::new("protocol", protocol),
                KeyValue::new("status", i64::from(status)),
                KeyValue::new("outcome", outcome),
            ],
        );
    }

    /// A request with this usage record has ended.
    pub fn record_usage(&self, protocol: &'static str, record: &UsageRecord) {
        self.record_request_end(protocol, record.status, record.outcome.as_str());
        let model = KeyValue::new("model", model_label(&record.upstream_model));
        for (kind, count) in token_kinds(&record.tokens).into_iter().filter(|(_, n)| *n > 0) {
            self.tokens.add(count, &[KeyValue::new("kind", kind), model.clone()]);
        }
        self.spend.add(usd(record.cost_usd), &[model]);
        if record.is_unpriced() {
            self.unpriced.add(1, &[]);
        }
        if let Some(millis) = record.ttft_ms {
            self.ttft.record(seconds(millis), &[]);
        }
        self.duration.record(seconds(record.duration_ms), &[]);
    }

    /// An upstream was called; `result` is `ok` or a cause of `domain::metric`.
    pub fn record_attempt(&self, provider: &'static str, result: &'static str) {
        self.attempts
            .add(1, &[KeyValue::new("provider", provider), KeyValue::new("result", result)]);
    }

    /// A request fails over to another account.
    pub fn record_failover(&self, cause: &'static str) {
        self.failovers.add(1, &[KeyValue::new("cause", cause)]);
    }

    /// An answer is being streamed until the guard is dropped.
    pub fn open_stream(&self) -> OpenStream {
        self.open_streams.add(1, &[]);
        OpenStream(self.open_streams.clone())
    }

    /// Sets the current values of the gauges.
    pub fn set_gauges(&self, readings: &GaugeReadings) {
        if let Some(accounts) = &readings.accounts {
            for state in AccountState::ALL {
                let label = KeyValue::new("state", state.as_str());
                self.accounts.record(accounts.count(state), &[label]);
            }
        }
        for (gauge, level) in [
            (&self.pending, readings.pending),
            (&self.queued, readings.queued),
            (&self.dead_letters, readings.dead_letters),
        ] {
            if let Some(level) = level {
                gauge.record(level, &[]);
            }
        }
    }

    /// The span of a request with these headers, if spans are exported. It continues a
    /// `traceparent` header (W3C Trace Context). The headers are not changed.
    pub fn trace(&self, headers: &HeaderMap, id: &RequestId) -> RequestTrace {
        RequestTrace::start(self.tracer.as_ref(), headers, id)
    }
}

/// An answer that is being streamed.
pub struct OpenStream(UpDownCounter<i64>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.add(-1, &[]);
    }
}

/// Everything that this process has counted, in Prometheus' text form. `None` if no exporter is
/// installed.
pub fn write_metrics_page() -> Option<String> {
    INSTALLED.get().map(|installed| (installed.page)())
}

/// Whether this process counts for `/metrics`.
pub fn has_metrics_page() -> bool {
    INSTALLED.get().is_some()
}

#[expect(clippy::cast_precision_loss, reason = "a chart shows fewer digits than this keeps")]
fn seconds(millis: u64) -> f64 {
    millis as f64 / 1e3
}

#[expect(clippy::cast_precision_loss, reason = "a chart shows fewer digits than this keeps")]
fn usd(amount: PicoUsd) -> f64 {
    amount.pico() as f64 / 1e12
}
