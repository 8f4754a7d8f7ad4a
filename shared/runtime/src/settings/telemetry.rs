//! Log, metrics and traces.

use super::section::{parsed_values, section};
use std::str::FromStr;

section! {
    /// Log, metrics and traces. The exporter reads the other variables of OpenTelemetry itself.
    #[derive(Clone)]
    TelemetrySettings("Log, metrics and traces") {
        /// Log lines are text for people, or one JSON object each.
        log_format: LogFormat = BATON_LOG_FORMAT("`text` or `json`").or("text").set_by_template();
        /// Baton logs these levels; libraries never log below `info`.
        log: String = BATON_LOG("level, or `info,baton_relay=debug`").or("info");
        /// The functions write CloudWatch metrics into their logs under this name.
        stack: Option<String> = BATON_STACK("text")
            .unless_set("no metrics in logs")
            .set_by_template();
        /// Baton sends metrics and traces to this OpenTelemetry collector (OTLP over HTTP,
        /// protobuf).
        endpoint: Option<String> = OTEL_EXPORTER_OTLP_ENDPOINT("URL")
            .unless_set("nothing is sent");
        /// Baton sends metrics to this URL.
        metrics_endpoint: Option<String> = OTEL_EXPORTER_OTLP_METRICS_ENDPOINT("URL")
            .unless_set("a path below `OTEL_EXPORTER_OTLP_ENDPOINT`");
        /// Baton sends traces to this URL.
        traces_endpoint: Option<String> = OTEL_EXPORTER_OTLP_TRACES_ENDPOINT("URL")
            .unless_set("a path below `OTEL_EXPORTER_OTLP_ENDPOINT`");
        /// `none` sends no metrics.
        metrics_exporter: String = OTEL_METRICS_EXPORTER("`none`")
            .unless_set("metrics are sent if there is an endpoint");
        /// `none` sends no traces.
        traces_exporter: String = OTEL_TRACES_EXPORTER("`none`")
            .unless_set("traces are sent if there is an endpoint");
        /// `true` sends neither metrics nor traces.
        sdk_disabled: String = OTEL_SDK_DISABLED("`true`");
    }
    others {
        /// The exporter sends these headers to the collector.
        OTEL_EXPORTER_OTLP_HEADERS("`name=value,name=value`");
        /// The exporter waits this long for the collector.
        OTEL_EXPORTER_OTLP_TIMEOUT("milliseconds").unless_set("the exporter's own default");
        /// The exporter sends metrics this often.
        OTEL_METRIC_EXPORT_INTERVAL("milliseconds").unless_set("the exporter's own default");
        /// Metrics and traces carry this service name.
        OTEL_SERVICE_NAME("text").or("baton");
        /// Metrics and traces carry these attributes.
        OTEL_RESOURCE_ATTRIBUTES("`name=value,name=value`");
        /// The exporter chooses by this sampler which requests it traces.
        OTEL_TRACES_SAMPLER("name of an OpenTelemetry sampler")
            .unless_set("the exporter's own default");
        /// The sampler takes this argument, such as a ratio.
        OTEL_TRACES_SAMPLER_ARG("depends on the sampler");
    }
}

impl TelemetrySettings {
    /// Whether metrics are sent to an OpenTelemetry collector.
    pub fn sends_metrics(&self) -> bool {
        self.sends(self.metrics_endpoint.as_ref(), &self.metrics_exporter)
    }

    /// Whether spans are sent to an OpenTelemetry collector.
    pub(crate) fn sends_traces(&self) -> bool {
        self.sends(self.traces_endpoint.as_ref(), &self.traces_exporter)
    }

    fn sends(&self, endpoint: Option<&String>, exporter: &str) -> bool {
        let is_off =
            self.sdk_disabled.eq_ignore_ascii_case("true") || exporter.eq_ignore_ascii_case("none");
        endpoint.or(self.endpoint.as_ref()).is_some() && !is_off
    }
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object for each line.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("must be `text` or `json`"),
        }
    }
}

parsed_values! {
    LogFormat;
}
