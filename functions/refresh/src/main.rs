//! The refresh function on Lambda, invoked by the schedule. The content of the event does not
//! matter.

use baton_domain::metric::{AccountState, LogMetric};
use baton_refresh::alerts::send_alerts;
use baton_refresh::{MaintenanceReport, OutboundClients, collect_usage, maintain_accounts};
use baton_runtime::aws::AwsClients;
use baton_runtime::clock::Clock;
use baton_runtime::emf::LogMetrics;
use baton_runtime::random::RandomSource;
use baton_runtime::settings::Settings;
use baton_runtime::telemetry;
use baton_runtime::usage_queue::UsageQueue;
use baton_store::{RefreshStores, StoreConnection};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let settings = Settings::from_env()?;
    telemetry::init(settings.telemetry.log_format, &settings.telemetry.log);
    settings.require_resources()?;
    let aws = AwsClients::from_env(&settings).await;
    let connection = StoreConnection::new(&aws, &settings, Clock::system(), RandomSource::system());
    let store = RefreshStores::new(&connection);
    let queue = UsageQueue::new(&aws, &settings.resources.usage_queue_url);
    let outside = OutboundClients::new(&aws, &settings)?;
    let metrics = LogMetrics::from_settings(&settings);
    run(service_fn(|event: LambdaEvent<serde_json::Value>| {
        let (store, queue, outside, metrics) = (&store, &queue, &outside, &metrics);
        async move {
            let owner = &event.context.request_id;
            let (results, swept) = tokio::join!(
                Box::pin(maintain_accounts(store, outside, owner)),
                Box::pin(collect_usage(store, queue, owner))
            );
            let run = send_alerts(store, &outside.notifier, owner).await;
            let refused =
                store.health.count_account_states().await?.count(AccountState::AuthFailed);
            metrics.count(store.clock().now(), LogMetric::AuthFailedAccounts, refused);
            let (results, swept) = (results?, swept?);
            run?;
            let MaintenanceReport { renewed, recovered, .. } = results;
            Ok::<_, Error>(MaintenanceReport { renewed, recovered, ..swept })
        }
    }))
    .await
}
