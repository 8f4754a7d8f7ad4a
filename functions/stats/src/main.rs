//! The stats function on Lambda, invoked with batches of the usage queue.

use aws_lambda_events::sqs::SqsEvent;
use baton_runtime::aws::AwsClients;
use baton_runtime::clock::Clock;
use baton_runtime::emf::LogMetrics;
use baton_runtime::random::RandomSource;

use baton_domain::metric::LogMetric;
use baton_runtime::settings::Settings;
use baton_runtime::telemetry;
use baton_store::{StatsStores, StoreConnection};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let settings = Settings::from_env()?;
    telemetry::init(settings.telemetry.log_format, &settings.telemetry.log);
    settings.require_resources()?;
    let aws = AwsClients::from_env(&settings).await;
    let connection = StoreConnection::new(&aws, &settings, Clock::system(), RandomSource::system());
    let store = StatsStores::new(&connection);
    let metrics = LogMetrics::from_settings(&settings);
    run(service_fn(|event: LambdaEvent<SqsEvent>| async {
        let outcome = baton_stats::store_event(&store, event.payload).await;
        metrics.usd(store.clock().now(), LogMetric::SpendUsd, outcome.spent);
        Ok::<_, Error>(outcome.response)
    }))
    .await
}
