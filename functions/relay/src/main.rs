//! The relay on Lambda: a function URL with response streaming.

use baton_cloud::aws::Aws;
use baton_cloud::clock::Clock;
use baton_cloud::dice::Dice;
use baton_cloud::queue::UsageQueue;
use baton_cloud::settings::Settings;
use baton_cloud::store::Store;
use baton_cloud::telemetry;
use baton_relay::{Broken, PlatformDeadline, Relay};
use http_body_util::BodyExt as _;
use lambda_http::{
    Error, Request, RequestExt as _, run_with_streaming_response_concurrent, service_fn,
};
use std::convert::Infallible;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let settings = Settings::from_env()?;
    telemetry::init(settings.log_format, &settings.log);
    settings.require_resources()?;
    let aws = Aws::from_env().await;
    let store = Store::new(&aws, &settings, Clock::system(), Dice::system());
    let queue = UsageQueue::new(&aws, &settings.resources.usage_queue_url);
    let pepper = store.pepper_or(settings.pepper.as_ref()).await?;
    let relay = Relay::new(&settings, &pepper, store, queue)?;
    // One after the other, unless the platform (Managed Instances) asks for several at once.
    run_with_streaming_response_concurrent(service_fn(move |mut request: Request| {
        let relay = relay.clone();
        async move {
            let deadline = request.lambda_context_ref().map(|context| context.deadline);
            if let Some(at) = deadline.and_then(at) {
                request.extensions_mut().insert(PlatformDeadline(at));
            }
            let answer = relay.handle(request).await;
            Ok::<_, Error>(answer.map(|body| body.map_err(break_off)))
        }
    }))
    .await
}

/// The runtime tells the deadline in unix milliseconds.
fn at(millis: u64) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_millisecond(i64::try_from(millis).ok()?).ok()
}

/// The runtime would write the failure into the body as text and end it as if it were whole. Only
/// the end of the process breaks the connection; the usage record is safe by now.
fn break_off(broken: Broken) -> Infallible {
    tracing::warn!("{broken}: the process ends, so that the connection breaks");
    std::process::exit(1)
}
