//! refresh on Lambda: invoked by the schedule, whatever the event says.

use baton_cloud::aws::Aws;
use baton_cloud::clock::Clock;
use baton_cloud::dice::Dice;
use baton_cloud::herald::Herald;
use baton_cloud::queue::UsageQueue;
use baton_cloud::settings::Settings;
use baton_cloud::store::Store;
use baton_cloud::telemetry;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let settings = Settings::from_env()?;
    telemetry::init(settings.log_format, &settings.log);
    settings.require_resources()?;
    let aws = Aws::from_env().await;
    let store = Store::new(&aws, &settings, Clock::system(), Dice::system());
    let queue = UsageQueue::new(&aws, &settings.resources.usage_queue_url);
    let herald = Herald::new(&aws, &settings.timers, settings.allow_private_upstreams)?;
    run(service_fn(|event: LambdaEvent<serde_json::Value>| {
        let (store, queue, herald) = (&store, &queue, &herald);
        async move {
            let owner = event.context.request_id;
            let done = baton_refresh::tick(store, queue, &owner).await;
            baton_refresh::alerts::tell(store, herald, &owner).await?;
            Ok::<_, Error>(done?)
        }
    }))
    .await
}
