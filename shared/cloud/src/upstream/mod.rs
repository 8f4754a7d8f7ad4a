//! The one door to upstreams: HTTPS requests over a shared pool.
//!
//! No redirects are followed, no proxy is taken from the environment, nothing is decompressed,
//! and addresses that are not public are refused at connect time unless the operator allows them.

mod address;

use crate::settings::Timers;
use address::PublicOnly;
use baton_domain::account::CredentialKind;
use baton_domain::secret::Secret;
use bytes::Bytes;
use http::header::{AUTHORIZATION, InvalidHeaderValue};
use http::uri::InvalidUri;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::error::Error as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// The body of an upstream's answer, chunk by chunk.
pub type Body = reqwest::Body;

/// Calls upstreams. Cloning shares the connections.
#[derive(Clone)]
pub struct Upstream {
    line: Line,
    allow_private: bool,
}

/// How calls travel.
#[derive(Clone)]
enum Line {
    Network(reqwest::Client),
    Given(Arc<dyn Transport>),
}

/// An upstream inside this process, for tests that must not wait for a network.
pub trait Transport: Send + Sync {
    /// Answers a request as an upstream would, or fails to.
    fn answer(
        &self,
        request: http::Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<http::Response<Body>, NoAnswer>> + Send + '_>>;
}

/// No answer was had.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// The URL cannot be used, ever.
    #[error("{0}")]
    BadUrl(String),
    /// No connection in time.
    #[error("no connection in time")]
    ConnectTimeout,
    /// No connection, or it broke before the answer.
    #[error("{0}")]
    Unreachable(String),
}

impl Upstream {
    /// A client with an empty pool. No I/O.
    ///
    /// # Errors
    /// When the TLS library cannot be set up.
    pub fn new(timers: &Timers, allow_private: bool) -> Result<Self, NoAnswer> {
        let builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(timers.connect)
            .tcp_nodelay(true)
            .pool_max_idle_per_host(1024);
        let builder =
            if allow_private { builder } else { builder.dns_resolver(Arc::new(PublicOnly)) };
        let client = builder.build().map_err(|error| NoAnswer::Unreachable(chain(&error)))?;
        Ok(Self { line: Line::Network(client), allow_private })
    }

    /// Calls go to `transport` and nowhere else. The connect timeout is the transport's business.
    pub fn given(transport: Arc<dyn Transport>) -> Self {
        Self { line: Line::Given(transport), allow_private: false }
    }

    /// Sends a request and returns as soon as the answer's head is there.
    ///
    /// `url` is taken as it is; `headers` are sent as they are, `host` and `content-length` added.
    pub async fn call(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<http::Response<Body>, NoAnswer> {
        let url = address::check(url, self.allow_private).map_err(NoAnswer::BadUrl)?;
        let client = match &self.line {
            Line::Network(client) => client,
            Line::Given(transport) => {
                let mut request = http::Request::new(body);
                *request.method_mut() = method;
                *request.uri_mut() = url
                    .as_str()
                    .parse()
                    .map_err(|error: InvalidUri| NoAnswer::BadUrl(error.to_string()))?;
                *request.headers_mut() = headers;
                return transport.answer(request).await;
            }
        };
        let mut request = client.request(method, url).headers(headers);
        if !body.is_empty() {
            request = request.body(body);
        }
        match request.send().await {
            Ok(answer) => Ok(answer.into()),
            Err(error) if error.is_timeout() => Err(NoAnswer::ConnectTimeout),
            Err(error) => Err(NoAnswer::Unreachable(chain(&error.without_url()))),
        }
    }
}

/// Whether `url` may be an upstream's address, with the reason why not.
///
/// # Errors
/// A sentence for the operator.
pub fn check_url(url: &str, allow_private: bool) -> Result<(), String> {
    address::check(url, allow_private).map(drop)
}

/// The header that an account's credential goes into.
///
/// # Errors
/// When the credential has characters that no header may hold.
pub fn credential_header(
    kind: CredentialKind,
    secret: &Secret,
) -> Result<(HeaderName, HeaderValue), InvalidHeaderValue> {
    let secret = secret.expose();
    let (name, mut value) = match kind {
        CredentialKind::ApiKey => {
            (HeaderName::from_static("x-api-key"), HeaderValue::from_str(secret)?)
        }
        CredentialKind::Bearer => {
            (AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {secret}"))?)
        }
    };
    value.set_sensitive(true);
    Ok((name, value))
}

/// What paths like `/v1/messages` are appended to: operators end a base with a slash, or with the
/// version that the path begins with.
pub fn trimmed(base_url: &str) -> &str {
    let base = base_url.trim_end_matches('/');
    base.strip_suffix("/v1").unwrap_or(base)
}

/// The error and what caused it, in one line.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
