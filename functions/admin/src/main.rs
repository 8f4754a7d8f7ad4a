//! The admin function on Lambda: API and console behind a function URL.

use baton_cloud::aws::AwsClients;
use baton_cloud::clock::Clock;
use baton_cloud::live_secret::LiveSecret;
use baton_cloud::random::RandomSource;
use baton_cloud::settings::Settings;
use baton_cloud::store::Store;
use baton_cloud::{lambda, telemetry};
use lambda_http::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let settings = Settings::from_env()?;
    telemetry::init(settings.log_format, &settings.log);
    settings.require_resources()?;
    let aws = AwsClients::from_env(&settings).await;
    let store = Store::new(&aws, &settings, Clock::system(), RandomSource::system());
    let pepper = LiveSecret::pepper(&aws, &settings, &store).await?;
    let router = baton_admin::router(&settings, pepper, store, &aws)?;
    lambda::run(router).await
}
