//! Exports metrics and spans: to Prometheus, which reads them, and by OTLP (http/protobuf) to a
//! collector, if the environment names one.
//!
//! The exporter itself reads the collector's address and headers from `OTEL_EXPORTER_OTLP_…`
//! (OpenTelemetry, "Environment Variable Specification", 2026-11).

use super::collector_client::CollectorClient;
use super::{INSTALLED, Installed, NAME};
use crate::settings::TelemetrySettings;
use opentelemetry::{Key, KeyValue, global};
use opentelemetry_otlp::{
    MetricExporter, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use prometheus::{Registry, TextEncoder};
use std::sync::Arc;

/// The exporter could not be set up. The message names the bad variable.
#[derive(Debug, thiserror::Error)]
#[error("cannot export metrics or traces: {0}")]
pub struct TelemetrySetupError(String);

/// The exporters of this process.
pub struct TelemetryExporters {
    meters: SdkMeterProvider,
    tracers: Option<SdkTracerProvider>,
}

/// Starts exporting what this process does: for
/// [`write_metrics_page`](super::write_metrics_page), and to a collector as
/// `settings` say. To be called once, inside the runtime and before a relay is created.
///
/// # Errors
/// If a variable of the exporter is bad.
pub fn install(settings: &TelemetrySettings) -> Result<TelemetryExporters, TelemetrySetupError> {
    let registry = Registry::new();
    let page = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .without_target_info()
        .scope_info_enabled(false)
        .build()
        .map_err(setup_error)?;
    let mut meters = SdkMeterProvider::builder().with_resource(resource()).with_reader(page);
    if settings.sends_metrics() {
        let http = MetricExporter::builder().with_http().with_http_client(new_collector_client()?);
        let exporter = http.with_protocol(Protocol::HttpBinary).build().map_err(setup_error)?;
        meters = meters.with_periodic_exporter(exporter);
    }
    let meters = meters.build();
    let tracers = settings.sends_traces().then(build_tracer_provider).transpose()?;
    global::set_meter_provider(meters.clone());
    global::set_text_map_propagator(TraceContextPropagator::new());
    let tracer = tracers.clone().map(|provider| {
        global::set_tracer_provider(provider);
        Arc::new(global::tracer(NAME))
    });
    let encode = move || TextEncoder::new().encode_to_string(&registry.gather());
    let page = Box::new(move || encode().unwrap_or_default());
    let _only_once = INSTALLED.set(Installed { page, tracer });
    Ok(TelemetryExporters { meters, tracers })
}

fn build_tracer_provider() -> Result<SdkTracerProvider, TelemetrySetupError> {
    let http = SpanExporter::builder().with_http().with_http_client(new_collector_client()?);
    let exporter = http.with_protocol(Protocol::HttpBinary).build().map_err(setup_error)?;
    let provider = SdkTracerProvider::builder().with_resource(resource());
    Ok(provider.with_batch_exporter(exporter).build())
}

impl TelemetryExporters {
    /// Sends the remaining data, once nothing more is recorded.
    pub async fn finish(self) {
        let flushing = tokio::task::spawn_blocking(move || {
            let spans = self.tracers.map(|tracers| tracers.shutdown());
            let ended = [spans, Some(self.meters.shutdown())];
            for error in ended.into_iter().flatten().filter_map(Result::err) {
                tracing::warn!("the last metrics and traces could not be exported: {error}");
            }
        });
        let _ended = flushing.await;
    }
}

fn new_collector_client() -> Result<CollectorClient, TelemetrySetupError> {
    CollectorClient::new().map_err(setup_error)
}

fn setup_error(cause: impl std::fmt::Display) -> TelemetrySetupError {
    TelemetrySetupError(cause.to_string())
}

/// The name and attributes of this service, unless the environment sets them (`OTEL_SERVICE_NAME`,
/// `OTEL_RESOURCE_ATTRIBUTES`).
fn resource() -> Resource {
    let builder = || {
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        Resource::builder().with_attribute(version)
    };
    let said = builder().build();
    let name = said.get(&Key::new("service.name")).map(|name| name.to_string());
    match name {
        Some(name) if !name.starts_with("unknown_service") => said,
        _ => builder().with_service_name(NAME).build(),
    }
}
