//! What this process tells of itself while it serves: `/metrics`, and a collector where one is
//! named.

use crate::Fail;
use baton_cloud::aws::Aws;
use baton_cloud::dead_letters::DeadLetters;
use baton_cloud::observe::{Exports, Levels, Observer, install};
use baton_cloud::queue::UsageQueue;
use baton_cloud::settings::Settings;
use baton_cloud::store::Store;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A collector is told how things stand as they were no longer ago than this.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Begins to count. Before anything that is counted is made.
pub(crate) fn begin(settings: &Settings) -> Result<Exports, Fail> {
    install(settings.otlp).map_err(|error| Fail::Usage(error.to_string()))
}

/// Looks at how things stand until `stop`, where a collector is to be told. Who asks for `/metrics`
/// looks for itself.
pub(crate) fn look(settings: &Settings, aws: &Aws, store: Store, stop: CancellationToken) {
    if !settings.otlp.metrics {
        return;
    }
    let queue = UsageQueue::new(aws, &settings.resources.usage_queue_url);
    let letters = DeadLetters::of(aws, &settings.resources);
    let looking = async move {
        let mut times = tokio::time::interval(LOOK_EVERY);
        loop {
            times.tick().await;
            let levels = Levels::read(&store, &queue, letters.as_ref()).await;
            Observer::installed().levels(&levels);
        }
    };
    tokio::spawn(stop.run_until_cancelled_owned(looking));
}
