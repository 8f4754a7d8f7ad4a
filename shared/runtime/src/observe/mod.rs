//! Metrics and spans of requests, in addition to the log.
//!
//! The relay reports to an [`Observer`]. If nothing is exported it is empty, and every call is one
//! branch. The module `exporters` sets up the export at start; the Lambda functions do without it.
//! Names are defined in `domain::metric`. Neither prompts nor secrets are reported here.

#[cfg(feature = "export")]
mod collector_client;
#[cfg(feature = "export")]
mod exporters;
mod gauge_readings;
#[cfg(feature = "export")]
mod metric_instruments;
#[cfg(feature = "export")]
mod spans;

#[cfg(feature = "export")]
pub use exporters::{TelemetryExporters, TelemetrySetupError, install};
pub use gauge_readings::GaugeReadings;

use baton_domain::id::{AccountId, RequestId};
use baton_domain::record::UsageRecord;
use http::HeaderMap;
use std::sync::{Arc, OnceLock};

static INSTALLED: OnceLock<Observer> = OnceLock::new();

/// Where observations go. Clones share it.
#[derive(Clone, Default)]
pub struct Observer(Option<Arc<dyn ObservationSink>>);

/// A receiver of observations.
pub(crate) trait ObservationSink: Send + Sync {
    fn record_request_end(&self, protocol: &'static str, status: u16, outcome: &'static str);
    fn record_usage(&self, record: &UsageRecord);
    fn record_attempt(&self, provider: &'static str, result: &'static str);
    fn record_failover(&self, cause: &'static str);
    fn open_streams(&self, change: i64);
    fn set_gauges(&self, readings: &GaugeReadings);
    fn page(&self) -> String;
    fn trace(&self, headers: &HeaderMap, id: &RequestId) -> Option<Arc<dyn RequestSpan>>;
}

/// The span of a request.
pub(crate) trait RequestSpan: Send + Sync {
    fn attempt(
        &self,
        account: &AccountId,
        provider: &'static str,
        model: &str,
    ) -> Box<dyn AttemptSpan>;
    fn record_usage(&self, record: &UsageRecord);
    fn end_with_status(&self, status: u16);
}

/// The span of one upstream call.
pub(crate) trait AttemptSpan: Send {
    fn end_with_result(self: Box<Self>, result: &'static str);
}

impl Observer {
    /// The observer that was installed in this process, or an empty one.
    pub fn installed() -> Self {
        INSTALLED.get().cloned().unwrap_or_default()
    }

    /// Whether observations are exported.
    pub fn is_enabled(&self) -> bool {
        self.0.is_some()
    }

    /// A request without a usage record has ended: a refused request or a free call.
    pub fn record_request_end(&self, protocol: &'static str, status: u16, outcome: &'static str) {
        if let Some(sink) = &self.0 {
            sink.record_request_end(protocol, status, outcome);
        }
    }

    /// A request with this usage record has ended.
    pub fn record_usage(&self, protocol: &'static str, record: &UsageRecord) {
        if let Some(sink) = &self.0 {
            sink.record_request_end(protocol, record.status, record.outcome.as_str());
            sink.record_usage(record);
        }
    }

    /// An upstream was called; `result` is `ok` or a cause of `domain::metric`.
    pub fn record_attempt(&self, provider: &'static str, result: &'static str) {
        if let Some(sink) = &self.0 {
            sink.record_attempt(provider, result);
        }
    }

    /// A request fails over to another account.
    pub fn record_failover(&self, cause: &'static str) {
        if let Some(sink) = &self.0 {
            sink.record_failover(cause);
        }
    }

    /// An answer is being streamed until the guard is dropped.
    pub fn open_stream(&self) -> OpenStream {
        if let Some(sink) = &self.0 {
            sink.open_streams(1);
        }
        OpenStream(self.clone())
    }

    /// Sets the current values of the gauges.
    pub fn set_gauges(&self, readings: &GaugeReadings) {
        if let Some(sink) = &self.0 {
            sink.set_gauges(readings);
        }
    }

    /// Everything counted so far, in Prometheus' text form.
    pub fn page(&self) -> String {
        self.0.as_ref().map(|sink| sink.page()).unwrap_or_default()
    }

    /// The span of a request with these headers, if spans are recorded. It continues a
    /// `traceparent` header (W3C Trace Context). The headers are not changed.
    pub fn trace(&self, headers: &HeaderMap, id: &RequestId) -> RequestTrace {
        RequestTrace(self.0.as_ref().and_then(|sink| sink.trace(headers, id)))
    }
}

/// An answer that is being streamed.
pub struct OpenStream(Observer);

impl Drop for OpenStream {
    fn drop(&mut self) {
        if let Some(sink) = &self.0.0 {
            sink.open_streams(-1);
        }
    }
}

/// The span of a request, if there is one. Clones share it; it ends once.
#[derive(Clone, Default)]
pub struct RequestTrace(Option<Arc<dyn RequestSpan>>);

impl RequestTrace {
    /// The span of a call to `account` for `model`.
    pub fn attempt(
        &self,
        account: &AccountId,
        provider: &'static str,
        model: &str,
    ) -> AttemptTrace {
        AttemptTrace(self.0.as_ref().map(|root| root.attempt(account, provider, model)))
    }

    /// The request has ended with this usage record.
    pub fn end_with_usage(&self, record: &UsageRecord) {
        if let Some(root) = &self.0 {
            root.record_usage(record);
        }
    }

    /// The request has ended with this status and without a usage record.
    pub fn end_with_status(&self, status: u16) {
        if let Some(root) = &self.0 {
            root.end_with_status(status);
        }
    }
}

/// The span of one upstream call, if there is one.
pub struct AttemptTrace(Option<Box<dyn AttemptSpan>>);

impl AttemptTrace {
    /// The call has ended with this result: `ok` or a cause of `domain::metric`.
    pub fn end_with_result(self, result: &'static str) {
        if let Some(leaf) = self.0 {
            leaf.end_with_result(result);
        }
    }
}
