//! The refresh function on Lambda, invoked by the schedule. The content of the event does not
//! matter.

use baton_cloud::aws::Aws;
use baton_cloud::clock::Clock;
use baton_cloud::dice::Dice;
use baton_cloud::emf::LogMetrics;
use baton_cloud::queue::UsageQueue;
use baton_cloud::settings::Settings;
use baton_cloud::store::Store;
use baton_cloud::telemetry;
use baton_domain::metric::{AccountState, LogMetric};
use baton_refresh::alerts::tell;
use baton_refresh::{Done, Outside, tend, tick};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let settings = Settings::from_env()?;
    telemetry::init(settings.log_format, &settings.log);
    settings.require_resources()?;
    let aws = Aws::from_env(&settings).await;
    let store = Store::new(&aws, &settings, Clock::system(), Dice::system());
    let queue = UsageQueue::new(&aws, &settings.resources.usage_queue_url);
    let outside = Outside::new(&aws, &settings)?;
    let metrics = LogMetrics::of(&settings);
    run(service_fn(|event: LambdaEvent<serde_json::Value>| {
        let (store, queue, outside, metrics) = (&store, &queue, &outside, &metrics);
        async move {
            let owner = &event.context.request_id;
            let (tended, swept) = tokio::join!(
                Box::pin(tend(store, outside, owner)),
                Box::pin(tick(store, queue, owner))
            );
            let told = tell(store, &outside.herald, owner).await;
            let refused = store.survey().await?.count(AccountState::AuthFailed);
            metrics.count(store.clock().now(), LogMetric::AuthFailedAccounts, refused);
            let (tended, swept) = (tended?, swept?);
            told?;
            let Done { renewed, recovered, .. } = tended;
            Ok::<_, Error>(Done { renewed, recovered, ..swept })
        }
    }))
    .await
}
