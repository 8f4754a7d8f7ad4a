//! The one door to upstreams: HTTPS requests over a shared pool.
//!
//! No redirects are followed, no proxy is taken from the environment, nothing is decompressed,
//! and addresses that are not public are refused at connect time unless the operator allows them.

mod address;
mod proxy;
mod signer;

pub use proxy::ProxyUrl;
pub use signer::{AwsAccess, NotSigned, Signer};

use crate::settings::Timers;
use address::Filtered;
use aws_lc_rs::digest::{SHA256, digest};
use baton_domain::account::{Account, CredentialKind};
use baton_domain::secret::Secret;
use bytes::Bytes;
use http::header::{AUTHORIZATION, InvalidHeaderValue};
use http::uri::InvalidUri;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use quick_cache::sync::Cache;
use serde_json::Value;
use std::error::Error as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// The body of an upstream's answer, chunk by chunk.
pub type Body = reqwest::Body;

/// What marks a bearer token of the Messages API that OAuth has issued (facts of 2026-11-22:
/// upstreams refuse such tokens without it).
pub const OAUTH_BETA: &str = "oauth-2025-04-20";

/// For a free call.
const PATIENCE: Duration = Duration::from_secs(20);
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Clients for so many proxies are kept, with their connections.
const PROXIES_MAX: usize = 256;
/// So many addresses are remembered as good: parsing one costs more than finding it.
const ADDRESSES_MAX: usize = 1024;

/// Calls upstreams. Cloning shares the connections.
#[derive(Clone)]
pub struct Upstream {
    line: Line,
    allow_private: bool,
}

/// How calls travel.
#[derive(Clone)]
enum Line {
    Network(Network),
    Given(Arc<dyn Transport>),
}

/// Connections that are shared.
#[derive(Clone)]
struct Network {
    client: reqwest::Client,
    timers: Timers,
    /// Addresses that were found good, as they were written.
    checked: Arc<Cache<String, reqwest::Url>>,
    /// By the SHA-256 of the proxy's URL, which may hold a password.
    proxied: Arc<Cache<[u8; 32], reqwest::Client>>,
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
    /// No connection: nothing was sent.
    #[error("{0}")]
    NotConnected(String),
    /// The connection broke before the answer.
    #[error("{0}")]
    Unreachable(String),
}

impl Upstream {
    /// A client with an empty pool. No I/O.
    ///
    /// # Errors
    /// When the TLS library cannot be set up.
    pub fn new(timers: &Timers, allow_private: bool) -> Result<Self, NoAnswer> {
        let client = client(timers, allow_private, None)?;
        let (proxied, checked) =
            (Arc::new(Cache::new(PROXIES_MAX)), Arc::new(Cache::new(ADDRESSES_MAX)));
        let network = Network { client, timers: *timers, checked, proxied };
        Ok(Self { line: Line::Network(network), allow_private })
    }

    /// Calls go to `transport` and nowhere else. The connect timeout is the transport's business.
    pub fn given(transport: Arc<dyn Transport>) -> Self {
        Self { line: Line::Given(transport), allow_private: false }
    }

    /// The same by way of `proxy`; without one, straight. The connections of each proxy are shared
    /// among its accounts. A name in an upstream's address is then resolved by the proxy (by us
    /// with `socks5`).
    ///
    /// # Errors
    /// [`NoAnswer::BadUrl`] when it is no proxy. There is no way around one that cannot be used.
    pub fn through(&self, proxy: Option<&Secret>) -> Result<Self, NoAnswer> {
        let (Some(proxy), Line::Network(network)) = (proxy, &self.line) else {
            return Ok(self.clone());
        };
        let hash = digest(&SHA256, proxy.expose().as_bytes());
        let mut key = [0; 32];
        key.copy_from_slice(hash.as_ref());
        let client = network.proxied.get_or_insert_with(&key, || {
            let url = ProxyUrl::parse(proxy.expose(), self.allow_private)
                .map_err(|why| NoAnswer::BadUrl(format!("its proxy cannot be used: {why}")))?;
            client(&network.timers, self.allow_private, Some(&url))
        })?;
        let line = Line::Network(Network { client, ..network.clone() });
        Ok(Self { line, allow_private: self.allow_private })
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
        let check = || address::check(url, self.allow_private).map_err(NoAnswer::BadUrl);
        let (client, url) = match &self.line {
            Line::Network(network) => {
                (&network.client, network.checked.get_or_insert_with(url, check)?)
            }
            Line::Given(transport) => {
                let mut request = http::Request::new(body);
                *request.method_mut() = method;
                *request.uri_mut() = check()?
                    .as_str()
                    .parse()
                    .map_err(|error: InvalidUri| NoAnswer::BadUrl(error.to_string()))?;
                *request.headers_mut() = headers;
                return transport.answer(request).await;
            }
        };
        let mut request = reqwest::Request::new(method, url);
        *request.headers_mut() = headers;
        *request.body_mut() = (!body.is_empty()).then(|| body.into());
        match client.execute(request).await {
            Ok(answer) => Ok(answer.into()),
            Err(error) if error.is_timeout() => Err(NoAnswer::ConnectTimeout),
            Err(error) if error.is_connect() => {
                Err(NoAnswer::NotConnected(chain(&error.without_url())))
            }
            Err(error) => Err(NoAnswer::Unreachable(chain(&error.without_url()))),
        }
    }
}

fn client(
    timers: &Timers,
    allow_private: bool,
    proxy: Option<&ProxyUrl>,
) -> Result<reqwest::Client, NoAnswer> {
    let unusable = |error: reqwest::Error| NoAnswer::Unreachable(chain(&error.without_url()));
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(timers.connect)
        .tcp_nodelay(true)
        .pool_max_idle_per_host(1024);
    builder = builder.dns_resolver(Arc::new(Filtered { allow_private }));
    if let Some(proxy) = proxy {
        builder = builder.proxy(proxy.for_all().map_err(unusable)?);
    }
    builder.build().map_err(unusable)
}

/// Whether `url` may be an upstream's address, with the reason why not.
///
/// # Errors
/// A sentence for the operator.
pub fn check_url(url: &str, allow_private: bool) -> Result<(), String> {
    address::check(url, allow_private).map(drop)
}

/// Whether `url` may be an account's address, to which paths are appended.
///
/// # Errors
/// A sentence for the operator.
pub fn check_base_url(url: &str, allow_private: bool) -> Result<(), String> {
    let read = address::check(url, allow_private)?;
    if read.query().is_some() || read.fragment().is_some() {
        return Err("the URL must end with a host or path, without `?` and `#`".to_owned());
    }
    Ok(())
}

/// Scheme, host and port of a URL; empty where it is none.
pub fn origin(url: &str) -> String {
    let Ok(url) = reqwest::Url::parse(url.trim()) else { return String::new() };
    let (scheme, host) = (url.scheme(), url.host_str().unwrap_or_default());
    let port = url.port_or_known_default().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}://{host}{port}")
}

/// The header that an account's credential goes into; none for a role, which signs.
///
/// # Errors
/// When the credential has characters that no header may hold.
pub fn credential_header(
    kind: CredentialKind,
    secret: &Secret,
) -> Result<Option<(HeaderName, HeaderValue)>, InvalidHeaderValue> {
    let secret = secret.expose();
    let (name, mut value) = match kind {
        CredentialKind::ApiKey => {
            (HeaderName::from_static("x-api-key"), HeaderValue::from_str(secret)?)
        }
        CredentialKind::Bearer | CredentialKind::Oauth2 | CredentialKind::WorkloadIdentity => {
            (AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {secret}"))?)
        }
        CredentialKind::Aws => return Ok(None),
    };
    value.set_sensitive(true);
    Ok(Some((name, value)))
}

/// The one call that costs nothing and shows whether a credential is good: a list of one model.
/// Answers the status and what the upstream says of an error.
///
/// # Errors
/// A sentence for the operator.
pub async fn free_call(
    upstream: &Upstream,
    account: &Account,
    credential: &Secret,
) -> Result<(StatusCode, String), String> {
    let version = HeaderName::from_static("anthropic-version");
    let mut headers = HeaderMap::from_iter([(version, HeaderValue::from_static("2023-06-01"))]);
    let own = credential_header(account.credential, credential);
    headers.extend(own.map_err(|_| "its credential is no header value".to_owned())?);
    if account.credential.is_renewed() {
        let beta = HeaderName::from_static("anthropic-beta");
        headers.insert(beta, HeaderValue::from_static(OAUTH_BETA));
    }
    let url = format!("{}/v1/models?limit=1", trimmed(&account.base_url));
    let call = async {
        let answer = upstream.call(Method::GET, &url, headers, Bytes::new()).await;
        let (head, body) = answer.map_err(|error| error.to_string())?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Ok((head.status, said(&body)))
    };
    let late = |_| Err(format!("no answer within {} s", PATIENCE.as_secs()));
    tokio::time::timeout(PATIENCE, call).await.unwrap_or_else(late)
}

/// The message of an upstream's error, else the beginning of whatever it is.
fn said(body: &[u8]) -> String {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = String::from_utf8_lossy(body);
    json["error"]["message"].as_str().unwrap_or(&text).chars().take(500).collect()
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
