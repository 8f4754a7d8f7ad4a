//! Metrics of the Lambda functions: log lines in CloudWatch's embedded metric format. The platform
//! reads them by itself, so the functions make no calls for metrics.
//!
//! Form: CloudWatch User Guide, "Specification: Embedded metric format" (2026-11).

use crate::settings::Settings;
use baton_domain::metric::{LogMetric, NAMESPACE, STACK};
use baton_domain::money::PicoUsd;
use jiff::Timestamp;
use serde_json::json;
use serde_json::value::RawValue;
use std::io::Write as _;

/// Writes metrics under the name of the stack. Without a stack (`BATON_STACK`) it writes nothing.
#[derive(Debug, Clone)]
pub struct LogMetrics {
    stack: Option<String>,
}

impl LogMetrics {
    /// Uses the stack of the settings.
    pub fn from_settings(settings: &Settings) -> Self {
        Self { stack: settings.telemetry.stack.clone() }
    }

    /// Writes a count.
    pub fn count(&self, at: Timestamp, metric: LogMetric, count: u64) {
        self.write_metric(at, metric, &count.to_string());
    }

    /// Writes an amount of US dollars with all its digits.
    pub fn usd(&self, at: Timestamp, metric: LogMetric, amount: PicoUsd) {
        self.write_metric(at, metric, &amount.to_string());
    }

    fn write_metric(&self, at: Timestamp, metric: LogMetric, number: &str) {
        let Some(stack) = &self.stack else { return };
        let Some(line) = line(stack, at, metric, number) else { return };
        // If the log cannot be written, this error could not be reported there either.
        let _unwritable = writeln!(std::io::stdout().lock(), "{line}");
    }
}

/// One metric with one value. `number` is a JSON number.
fn line(stack: &str, at: Timestamp, metric: LogMetric, number: &str) -> Option<String> {
    let number: &RawValue = serde_json::from_str(number).ok()?;
    let head = json!({
        "Timestamp": at.as_millisecond(),
        "CloudWatchMetrics": [{
            "Namespace": NAMESPACE,
            "Dimensions": [[STACK]],
            "Metrics": [{ "Name": metric.name(), "Unit": metric.unit() }],
        }],
    });
    let stack = json!(stack);
    Some(format!(r#"{{"_aws":{head},"{STACK}":{stack},"{}":{number}}}"#, metric.name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn metric_line_is_json_with_an_exact_number() {
        let at = Timestamp::from_millisecond(1_794_387_600_123).unwrap();
        let text = line("a \"b\"", at, LogMetric::SpendUsd, "0.071525500001").unwrap();
        assert!(text.ends_with(r#""SpendUsd":0.071525500001}"#), "{text}");
        assert!(!text.contains('\n'));
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["Stack"], "a \"b\"");
        assert_eq!(read["_aws"]["Timestamp"], 1_794_387_600_123_i64);
        let directive = &read["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Namespace"], "Baton");
        assert_eq!(directive["Dimensions"], json!([["Stack"]]));
        assert_eq!(directive["Metrics"], json!([{"Name": "SpendUsd", "Unit": "None"}]));
    }
}
