//! admin on Lambda: the API and console behind a function URL.

use axum::extract::Request;
use axum::middleware::map_request;
use baton_cloud::aws::Aws;
use baton_cloud::client_address::PeerAddress;
use baton_cloud::clock::Clock;
use baton_cloud::dice::Dice;
use baton_cloud::live_secret::LiveSecret;
use baton_cloud::settings::Settings;
use baton_cloud::store::Store;
use baton_cloud::{lambda, telemetry};
use lambda_http::Error;
use lambda_http::request::RequestContext;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let settings = Settings::from_env()?;
    telemetry::init(settings.log_format, &settings.log);
    settings.require_resources()?;
    let aws = Aws::from_env(&settings).await;
    let store = Store::new(&aws, &settings, Clock::system(), Dice::system());
    let pepper = LiveSecret::pepper(&aws, &settings, &store).await?;
    let router = baton_admin::router(&settings, pepper, store, &aws)?;
    lambda::run(router.layer(map_request(with_peer))).await
}

/// Notes where the platform says that the request comes from.
async fn with_peer(mut request: Request) -> Request {
    let source = match request.extensions().get::<RequestContext>() {
        Some(RequestContext::ApiGatewayV2(context)) => context.http.source_ip.as_deref(),
        _ => None,
    };
    if let Some(address) = source.and_then(|text| text.parse().ok()) {
        request.extensions_mut().insert(PeerAddress(address));
    }
    request
}
