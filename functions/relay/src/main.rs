//! The relay on Lambda: a function URL with response streaming.

use baton_cloud::aws::Aws;
use baton_cloud::client_address::PeerAddress;
use baton_cloud::clock::Clock;
use baton_cloud::dice::Dice;
use baton_cloud::queue::UsageQueue;
use baton_cloud::settings::Settings;
use baton_cloud::store::Store;
use baton_cloud::{lambda, telemetry};
use baton_relay::{PlatformDeadline, Relay};
use lambda_http::request::RequestContext;
use lambda_http::{Error, Request, RequestExt as _, service_fn};
use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let settings = Settings::from_env()?;
    telemetry::init(settings.log_format, &settings.log);
    settings.require_resources()?;
    let aws = Aws::from_env().await;
    let store = Store::new(&aws, &settings, Clock::system(), Dice::system());
    let clock = store.clock().clone();
    let queue = UsageQueue::new(&aws, &settings.resources.usage_queue_url);
    let pepper = store.pepper_or(settings.pepper.as_ref()).await?;
    let relay = Relay::new(&settings, &pepper, store, queue)?;
    tokio::spawn(end_with_the_environment(relay.clone()));
    lambda::run(service_fn(move |mut request: Request| {
        let (relay, clock) = (relay.clone(), clock.clone());
        async move {
            let told = request.lambda_context_ref().map(|context| context.deadline);
            let deadline = told.and_then(|told| PlatformDeadline::told(told, clock.now()));
            if let Some(deadline) = deadline {
                request.extensions_mut().insert(deadline);
            }
            if let Some(address) = source(&request) {
                request.extensions_mut().insert(PeerAddress(address));
            }
            Ok::<_, Infallible>(relay.handle(request).await)
        }
    }))
    .await
}

/// Where the platform says that the request comes from.
fn source(request: &Request) -> Option<IpAddr> {
    match request.request_context_ref()? {
        RequestContext::ApiGatewayV2(context) => context.http.source_ip.as_deref()?.parse().ok(),
        _ => None,
    }
}

/// Before it ends an environment, the platform sends SIGTERM where somebody has asked it to
/// (an extension) and allows half a second: answers that are read on without a client end and are
/// recorded.
async fn end_with_the_environment(relay: Relay) {
    let Ok(mut asked) = signal(SignalKind::terminate()) else { return };
    asked.recv().await;
    relay.end_answers();
    let _late = tokio::time::timeout(Duration::from_millis(450), relay.drain()).await;
    std::process::exit(0);
}
