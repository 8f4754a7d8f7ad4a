//! Spans: one for a request, and one inside it for each upstream call.
//!
//! Attribute names follow OpenTelemetry's semantic conventions for HTTP and generative AI
//! (2026-11); Baton's own attributes begin with `baton.`.

use baton_domain::id::{AccountId, RequestId};
use baton_domain::record::UsageRecord;
use http::HeaderMap;
use opentelemetry::global::{BoxedTracer, get_text_map_propagator};
use opentelemetry::trace::{SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// The headers of W3C Trace Context.
const CONTEXT_HEADERS: [&str; 2] = ["traceparent", "tracestate"];

/// The span of a request, if there is one. Clones share it; it ends once.
#[derive(Clone, Default)]
pub struct RequestTrace(Option<(Arc<BoxedTracer>, Context)>);

impl RequestTrace {
    pub(super) fn start(
        tracer: Option<&Arc<BoxedTracer>>,
        headers: &HeaderMap,
        id: &RequestId,
    ) -> Self {
        let Some(tracer) = tracer else { return Self(None) };
        let header = |name: &str| Some((name.to_owned(), headers.get(name)?.to_str().ok()?.into()));
        let sent: HashMap<String, String> =
            CONTEXT_HEADERS.into_iter().filter_map(header).collect();
        let parent = get_text_map_propagator(|it| it.extract_with_context(&Context::new(), &sent));
        let span = SpanBuilder::from_name("request")
            .with_kind(SpanKind::Server)
            .with_attributes([KeyValue::new("baton.request_id", id.as_str().to_owned())]);
        let span = tracer.build_with_context(span, &parent);
        Self(Some((Arc::clone(tracer), parent.with_span(span))))
    }

    /// The span of a call to `account` for `model`.
    pub fn attempt(
        &self,
        account: &AccountId,
        provider: &'static str,
        model: &str,
    ) -> AttemptTrace {
        AttemptTrace(self.0.as_ref().map(|(tracer, request)| {
            let span = SpanBuilder::from_name("upstream").with_kind(SpanKind::Client);
            let span = span.with_attributes([
                KeyValue::new("baton.account_id", account.as_str().to_owned()),
                KeyValue::new("gen_ai.provider.name", provider),
                KeyValue::new("gen_ai.request.model", model.to_owned()),
            ]);
            request.with_span(tracer.build_with_context(span, request))
        }))
    }

    /// The request has ended with this usage record.
    pub fn end_with_usage(&self, record: &UsageRecord) {
        let Some((_, context)) = &self.0 else { return };
        let span = context.span();
        if span.is_recording() {
            span.set_attributes(attributes(record));
        }
        if record.outcome.is_error() {
            span.set_status(Status::error(record.outcome.as_str()));
        }
        span.end();
    }

    /// The request has ended with this status and without a usage record.
    pub fn end_with_status(&self, status: u16) {
        let Some((_, context)) = &self.0 else { return };
        let span = context.span();
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        if status >= 500 {
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

/// The span of one upstream call, if there is one.
pub struct AttemptTrace(Option<Context>);

impl AttemptTrace {
    /// The call has ended with this result: `ok` or a cause of `domain::metric`.
    pub fn end_with_result(self, result: &'static str) {
        let Some(context) = &self.0 else { return };
        let span = context.span();
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
