//! The telemetry of this process while it serves: `/metrics`, and an OpenTelemetry collector if one
//! is configured.

use crate::CliError;
use baton_runtime::aws::AwsClients;
use baton_runtime::dead_letters::DeadLetters;
use baton_runtime::observe::{Observer, TelemetryExporters, install};
use baton_runtime::settings::Settings;
use baton_runtime::usage_queue::UsageQueue;
use baton_store::GaugeReader;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The longest time between two readings of the gauges that a collector receives.
const GAUGE_INTERVAL: Duration = Duration::from_secs(30);

/// Installs the telemetry. This must happen before anything that is counted is created.
pub(crate) fn install_telemetry(settings: &Settings) -> Result<TelemetryExporters, CliError> {
    install(&settings.telemetry).map_err(|error| CliError::Usage(error.to_string()))
}

/// Reads the gauges until `shutdown`, if there is a collector. A request for `/metrics` reads them
/// itself.
pub(crate) fn observe_gauges(
    settings: &Settings,
    aws: &AwsClients,
    gauges: GaugeReader,
    shutdown: CancellationToken,
) {
    if !settings.telemetry.sends_metrics() {
        return;
    }
    let queue = UsageQueue::new(aws, &settings.resources.usage_queue_url);
    let letters = DeadLetters::from_resources(aws, &settings.resources);
    let observer = Observer::installed();
    let observing = async move {
        let mut times = tokio::time::interval(GAUGE_INTERVAL);
        loop {
            times.tick().await;
            let levels = gauges.read_gauges(&queue, letters.as_ref()).await;
            observer.set_gauges(&levels);
        }
    };
    tokio::spawn(shutdown.run_until_cancelled_owned(observing));
}
