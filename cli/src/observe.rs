//! What this process tells of itself while it serves: `/metrics`, and a collector where one is
//! named.

use crate::CliError;
use baton_cloud::aws::AwsClients;
use baton_cloud::dead_letters::DeadLetters;
use baton_cloud::observe::{GaugeReadings, Observer, TelemetryExporters, install};
use baton_cloud::settings::Settings;
use baton_cloud::store::Store;
use baton_cloud::usage_queue::UsageQueue;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A collector is told how things stand as they were no longer ago than this.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Begins to count. Before anything that is counted is made.
pub(crate) fn install_telemetry(settings: &Settings) -> Result<TelemetryExporters, CliError> {
    install(settings.otlp).map_err(|error| CliError::Usage(error.to_string()))
}

/// Looks at how things stand until `stop`, where a collector is to be told. Who asks for `/metrics`
/// looks for itself.
pub(crate) fn observe_gauges(
    settings: &Settings,
    aws: &AwsClients,
    store: Store,
    stop: CancellationToken,
) {
    if !settings.otlp.metrics {
        return;
    }
    let queue = UsageQueue::new(aws, &settings.resources.usage_queue_url);
    let letters = DeadLetters::from_resources(aws, &settings.resources);
    let looking = async move {
        let mut times = tokio::time::interval(LOOK_EVERY);
        loop {
            times.tick().await;
            let levels = GaugeReadings::read(&store, &queue, letters.as_ref()).await;
            Observer::installed().set_gauges(&levels);
        }
    };
    tokio::spawn(stop.run_until_cancelled_owned(looking));
}
