//! The admin function on Lambda: API and console behind a function URL.

use baton_runtime::aws::AwsClients;
use baton_runtime::clock::Clock;
use baton_runtime::random::RandomSource;
use baton_runtime::settings::Settings;
use baton_runtime::{lambda, telemetry};
use baton_store::pepper::load_pepper;
use baton_store::{AdminStores, StoreConnection};
use lambda_http::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let settings = Settings::from_env()?;
    telemetry::init(settings.telemetry.log_format, &settings.telemetry.log);
    settings.require_resources()?;
    let aws = AwsClients::from_env(&settings).await;
    let connection = StoreConnection::new(&aws, &settings, Clock::system(), RandomSource::system());
    let store = AdminStores::new(&connection);
    let pepper = load_pepper(&aws, &settings, &store.secrets).await?;
    let router = baton_admin::router(&settings, pepper, store, &aws)?;
    lambda::run(router).await
}
