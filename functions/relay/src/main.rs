//! The relay on Lambda, behind a function URL with response streaming.

use baton_relay::{PlatformDeadline, Relay};
use baton_runtime::aws::AwsClients;
use baton_runtime::clock::Clock;
use baton_runtime::random::RandomSource;
use baton_runtime::settings::Settings;
use baton_runtime::usage_queue::UsageQueue;
use baton_runtime::{lambda, telemetry};
use baton_store::pepper::load_existing_pepper;
use baton_store::{RelayStores, StoreConnection};
use lambda_http::{Error, Request, RequestExt as _, service_fn};
use std::convert::Infallible;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let settings = Settings::from_env()?;
    telemetry::init(settings.telemetry.log_format, &settings.telemetry.log);
    settings.require_resources()?;
    let aws = AwsClients::from_env(&settings).await;
    let connection = StoreConnection::new(&aws, &settings, Clock::system(), RandomSource::system());
    let store = RelayStores::new(&connection);
    let clock = store.clock().clone();
    let queue = UsageQueue::new(&aws, &settings.resources.usage_queue_url);
    let pepper = load_existing_pepper(&aws, &settings, &store.credentials).await?;
    let relay = Relay::new(&settings, pepper, store, queue)?;
    tokio::spawn(drain_on_sigterm(relay.clone()));
    lambda::run(service_fn(move |mut request: Request| {
        let (relay, clock) = (relay.clone(), clock.clone());
        async move {
            let deadline_millis = request.lambda_context_ref().map(|context| context.deadline);
            let deadline = deadline_millis.and_then(|deadline_millis| {
                PlatformDeadline::from_unix_millis(deadline_millis, clock.now())
            });
            if let Some(deadline) = deadline {
                request.extensions_mut().insert(deadline);
            }
            Ok::<_, Infallible>(relay.handle(request).await)
        }
    }))
    .await
}

/// Drains answers when the platform sends SIGTERM. It does so before it ends an environment, if an
/// extension is registered, and then allows half a second. In that time, answers whose client has
/// left are ended and recorded.
async fn drain_on_sigterm(relay: Relay) {
    let Ok(mut requested) = signal(SignalKind::terminate()) else { return };
    requested.recv().await;
    relay.cancel_responses();
    let _late = tokio::time::timeout(Duration::from_millis(450), relay.drain()).await;
    std::process::exit(0);
}
