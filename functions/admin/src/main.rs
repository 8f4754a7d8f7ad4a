//! admin on Lambda: the API and console behind a function URL.

use axum::body::Body;
use axum::middleware::map_response;
use axum::response::Response;
use baton_cloud::aws::Aws;
use baton_cloud::clock::Clock;
use baton_cloud::dice::Dice;
use baton_cloud::settings::Settings;
use baton_cloud::store::Store;
use baton_cloud::telemetry;
use http_body_util::BodyExt as _;
use lambda_http::{Error, run_with_streaming_response};
use std::convert::Infallible;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let settings = Settings::from_env()?;
    telemetry::init(settings.log_format, &settings.log);
    settings.require_resources()?;
    let aws = Aws::from_env().await;
    let store = Store::new(&aws, &settings, Clock::system(), Dice::system());
    let pepper = store.pepper_or(settings.pepper.as_ref()).await?;
    let router = baton_admin::router(&settings, &pepper, store, &aws)?;
    run_with_streaming_response(router.layer(map_response(whole_or_broken))).await
}

/// The runtime would write the failure of an export into the file as text and end it as if it were
/// whole. Only the end of the process breaks the connection.
async fn whole_or_broken(answer: Response) -> Response {
    let break_off = |broken: axum::Error| -> Infallible {
        tracing::error!("{broken}: the process ends, so that the connection breaks");
        std::process::exit(1)
    };
    answer.map(|body| Body::new(body.map_err(break_off)))
}
