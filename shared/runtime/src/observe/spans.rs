//! Spans: one for a request, and one inside it for each upstream call.
//!
//! Attribute names follow OpenTelemetry's semantic conventions for HTTP and generative AI
//! (2026-11); Baton's own attributes begin with `baton.`.

use super::{AttemptSpan, RequestSpan};
use baton_domain::id::{AccountId, RequestId};
use baton_domain::record::UsageRecord;
use http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracer;
use std::sync::Arc;

/// Creates the spans of requests.
pub(super) struct RequestTracer {
    tracer: SdkTracer,
    propagator: TraceContextPropagator,
}

struct OtelRequestSpan {
    tracer: SdkTracer,
    context: Context,
}

struct OtelAttemptSpan(Context);

impl RequestTracer {
    pub(super) fn new(tracer: SdkTracer) -> Self {
        Self { tracer, propagator: TraceContextPropagator::new() }
    }

    pub(super) fn start_request_span(
        &self,
        headers: &HeaderMap,
        id: &RequestId,
    ) -> Arc<dyn RequestSpan> {
        let parent =
            self.propagator.extract_with_context(&Context::new(), &HeaderExtractor(headers));
        let span = self
            .tracer
            .span_builder("request")
            .with_kind(SpanKind::Server)
            .with_attributes([KeyValue::new("baton.request_id", id.as_str().to_owned())]);
        let span = self.tracer.build_with_context(span, &parent);
        Arc::new(OtelRequestSpan { tracer: self.tracer.clone(), context: parent.with_span(span) })
    }
}

impl RequestSpan for OtelRequestSpan {
    fn attempt(
        &self,
        account: &AccountId,
        provider: &'static str,
        model: &str,
    ) -> Box<dyn AttemptSpan> {
        let span =
            self.tracer.span_builder("upstream").with_kind(SpanKind::Client).with_attributes([
                KeyValue::new("baton.account_id", account.as_str().to_owned()),
                KeyValue::new("gen_ai.provider.name", provider),
                KeyValue::new("gen_ai.request.model", model.to_owned()),
            ]);
        let span = self.tracer.build_with_context(span, &self.context);
        Box::new(OtelAttemptSpan(self.context.with_span(span)))
    }

    fn record_usage(&self, record: &UsageRecord) {
        let span = self.context.span();
        if span.is_recording() {
            span.set_attributes(attributes(record));
        }
        if record.outcome.is_error() {
            span.set_status(Status::error(record.outcome.as_str()));
        }
        span.end();
    }

    fn end_with_status(&self, status: u16) {
        let span = self.context.span();
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        if status >= 500 {
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

impl AttemptSpan for OtelAttemptSpan {
    fn end_with_result(self: Box<Self>, result: &'static str) {
        let span = self.0.span();
        if result != "ok" {
            span.set_attribute(KeyValue::new("error.type", result));
            span.set_status(Status::error(result));
        }
        span.end();
    }
}

fn attributes(record: &UsageRecord) -> Vec<KeyValue> {
    let count = |count: u64| Value::I64(i64::try_from(count).unwrap_or(i64::MAX));
    vec![
        KeyValue::new("http.response.status_code", i64::from(record.status)),
        KeyValue::new("gen_ai.operation.name", "chat"),
        KeyValue::new("gen_ai.provider.name", record.provider.clone()),
        KeyValue::new("gen_ai.request.model", record.model.clone()),
        KeyValue::new("gen_ai.response.model", record.upstream_model.clone()),
        KeyValue::new("gen_ai.usage.input_tokens", count(record.tokens.input)),
        KeyValue::new("gen_ai.usage.output_tokens", count(record.tokens.output)),
        KeyValue::new("baton.usage.cache_read_tokens", count(record.tokens.cache_read)),
        KeyValue::new("baton.key_id", record.key_id.as_str().to_owned()),
        KeyValue::new("baton.account_id", record.account_id.as_str().to_owned()),
        KeyValue::new("baton.outcome", record.outcome.as_str()),
        KeyValue::new("baton.attempts", i64::from(record.attempts)),
        KeyValue::new("baton.cost_usd", record.cost_usd.to_string()),
    ]
}
