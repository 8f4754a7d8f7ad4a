//! The counters behind `/metrics` and OTLP: both read the same set of instruments.

use super::{GaugeReadings, ObservationSink, RequestSpan, spans::RequestTracer};
use baton_domain::id::RequestId;
use baton_domain::metric::{self, AccountState, MetricName, model_label, token_kinds};
use baton_domain::money::PicoUsd;
use baton_domain::record::UsageRecord;
use http::HeaderMap;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, UpDownCounter};
use prometheus::{Registry, TextEncoder};
use std::sync::Arc;

pub(super) struct MetricInstruments {
    registry: Registry,
    tracer: Option<RequestTracer>,
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
    dead_letters: Gauge<u64>,
}

impl MetricInstruments {
    /// `registry` holds what `/metrics` shows of `meter`'s instruments.
    pub(super) fn new(meter: &Meter, registry: Registry, tracer: Option<RequestTracer>) -> Self {
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
            registry,
            tracer,
            requests: count(metric::REQUESTS),
            tokens: count(metric::TOKENS),
            spend: meter.f64_counter(spend.name).with_description(spend.help).build(),
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
}

impl ObservationSink for MetricInstruments {
    fn record_request_end(&self, protocol: &'static str, status: u16, outcome: &'static str) {
        self.requests.add(
            1,
            &[
                KeyValue::new("dialect", protocol),
                KeyValue::new("status", i64::from(status)),
                KeyValue::new("outcome", outcome),
            ],
        );
    }

    fn record_usage(&self, record: &UsageRecord) {
        let model = KeyValue::new("model", model_label(&record.upstream_model));
        for (kind, count) in token_kinds(&record.tokens).into_iter().filter(|(_, n)| *n > 0) {
            self.tokens.add(count, &[KeyValue::new("kind", kind), model.clone()]);
        }
        self.spend.add(usd(record.cost_usd), &[model]);
        if let Some(millis) = record.ttft_ms {
            self.ttft.record(seconds(millis), &[]);
        }
        self.duration.record(seconds(record.duration_ms), &[]);
    }

    fn record_attempt(&self, provider: &'static str, result: &'static str) {
        self.attempts
            .add(1, &[KeyValue::new("provider", provider), KeyValue::new("result", result)]);
    }

    fn record_failover(&self, cause: &'static str) {
        self.failovers.add(1, &[KeyValue::new("cause", cause)]);
    }

    fn open_streams(&self, change: i64) {
        self.open_streams.add(change, &[]);
    }

    fn set_gauges(&self, readings: &GaugeReadings) {
        for state in AccountState::ALL {
            if let Some(accounts) = &readings.accounts {
                self.accounts
                    .record(accounts.count(state), &[KeyValue::new("state", state.as_str())]);
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

    fn page(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }

    fn trace(&self, headers: &HeaderMap, id: &RequestId) -> Option<Arc<dyn RequestSpan>> {
        self.tracer.as_ref().map(|tracer| tracer.start_request_span(headers, id))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a chart shows fewer digits than this keeps")]
fn seconds(millis: u64) -> f64 {
    millis as f64 / 1e3
}

#[expect(clippy::cast_precision_loss, reason = "a chart shows fewer digits than this keeps")]
fn usd(amount: PicoUsd) -> f64 {
    amount.pico() as f64 / 1e12
}
