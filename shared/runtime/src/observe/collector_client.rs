//! Sends the exporter's batches to the collector. The exporter runs on a separate thread without a
//! tokio runtime, so the requests are sent on this process's runtime.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use opentelemetry_http::{HttpClient, HttpError};
use std::time::Duration;
use tokio::runtime::Handle;

/// OpenTelemetry's default for `OTEL_EXPORTER_OTLP_TIMEOUT` (its specification, 2026-11).
const TIMEOUT: Duration = Duration::from_secs(10);

/// Sends requests from any thread.
#[derive(Debug)]
pub(super) struct CollectorClient {
    client: reqwest::Client,
    runtime: Handle,
}

impl CollectorClient {
    /// Must be called inside the runtime that sends the requests.
    pub(super) fn new() -> reqwest::Result<Self> {
        let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT);
        let client = client.redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Self { client, runtime: Handle::current() })
    }
}

#[async_trait]
impl HttpClient for CollectorClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let result = self.runtime.spawn(async move {
            // The address can contain a password, and errors are logged.
            let plain = |error: reqwest::Error| error.without_url();
            let response =
                client.execute(request.try_into().map_err(plain)?).await.map_err(plain)?;
            let mut copy = Response::new(Bytes::new());
            *copy.status_mut() = response.status();
            *copy.headers_mut() = response.headers().clone();
            *copy.body_mut() = response.bytes().await.map_err(plain)?;
            Ok::<_, reqwest::Error>(copy)
        });
        Ok(result.await??)
    }
}
