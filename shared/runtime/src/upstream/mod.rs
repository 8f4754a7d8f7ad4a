//! The only module that calls upstreams: HTTPS requests over connections that are reused.
//!
//! They use HTTP/1.1, with one request at a time on a connection. Over HTTP/2, all accounts and keys
//! of a vendor would share one connection: the stream after the vendor's maximum (often 100) waits
//! until another ends, and a connection that hangs fails every request (hyperium/hyper#3623).
//!
//! It does not follow redirects, does not take a proxy from the environment and does not decompress
//! answers. It refuses to connect to addresses that are not public, unless the operator allows
//! them.

mod address;
mod credential_probe;
mod proxy;
mod signer;

pub use credential_probe::{CredentialProbe, CredentialStatus, ProbeOutcome};
pub use proxy::ProxyUrl;
pub use signer::{AwsAccess, RequestSigner, SigningError};

use crate::settings::RelayTimeouts;
use address::FilteringResolver;
use aws_lc_rs::digest::{SHA256, digest};
use baton_domain::secret::{Secret, without_secrets};
use baton_domain::verdict::ErrorFields;
use baton_providers::address::{path_below, trim_base_url};
use bytes::Bytes;
use credential_probe::RandomCredentialAnswers;
use http::uri::InvalidUri;
use http::{HeaderMap, Method};
use quick_cache::sync::Cache;
use std::error::Error as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// The body of an upstream's answer, chunk by chunk.
pub type UpstreamBody = reqwest::Body;

/// The largest answer to a free call, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// How long bytes that were sent can stay unacknowledged. The peer of a pooled connection can have
/// vanished, and an upstream can pause while it reads a long body.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(100);
/// How long an idle connection is kept. Load balancers close theirs after 60 seconds (Elastic Load
/// Balancing) or 75 (nginx), and a request that crosses the close is lost.
const POOL_IDLE_MAX: Duration = Duration::from_secs(50);

/// The number of proxies whose clients are kept with their connections.
const PROXIES_MAX: usize = 256;
/// The number of checked addresses that are cached, because parsing one costs more than a lookup.
const ADDRESSES_MAX: usize = 1024;

/// Calls upstreams. Clones share the connections.
#[derive(Clone)]
pub struct UpstreamClient {
    line: CallTransport,
    allow_private: bool,
    random_credential_responses: RandomCredentialAnswers,
}

/// Where calls go.
#[derive(Clone)]
enum CallTransport {
    Network(NetworkTransport),
    InProcess(Arc<dyn Transport>),
}

/// Connections over the network, which clones share.
#[derive(Clone)]
struct NetworkTransport {
    client: reqwest::Client,
    timers: RelayTimeouts,
    /// Parsed addresses that passed the check, by their text.
    checked: Arc<Cache<String, reqwest::Url>>,
    /// The clients of proxies, by the SHA-256 of the proxy's URL, which can contain a password.
    proxied: Arc<Cache<[u8; 32], reqwest::Client>>,
}

/// An upstream inside this process, for tests that must not wait for a network.
pub trait Transport: Send + Sync {
    /// Answers a request as an upstream would, or fails.
    fn answer(
        &self,
        request: http::Request<Bytes>,
    ) -> Pin<
        Box<
            dyn Future<Output = Result<http::Response<UpstreamBody>, UpstreamCallError>>
                + Send
                + '_,
        >,
    >;
}

/// The reason why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamCallError {
    /// The URL can never be used.
    #[error("{0}")]
    BadUrl(String),
    /// The URL library normalizes the path to another one than was requested.
    #[error("the URL has a different path than the one that was requested")]
    OtherPath,
    /// No connection was made in time.
    #[error("no connection in time")]
    ConnectTimeout,
    /// No connection was made, so nothing was sent.
    #[error("{0}")]
    NotConnected(String),
    /// The connection broke before the answer.
    #[error("{0}")]
    Unreachable(String),
}

/// The address of a call. It has no `Debug` because the address of a webhook is a secret.
#[derive(Clone)]
pub struct UpstreamAddress {
    url: String,
    /// The position in `url` at which the path after the base starts.
    path: usize,
}

impl UpstreamAddress {
    /// `path_and_query` below an account's base URL. The call later checks that the parsed URL
    /// still has this path: URL libraries resolve `..` and treat `\` as a slash, and part of the
    /// path can come from a client.
    pub fn new(base_url: &str, path_and_query: &str) -> Self {
        let mut url = trim_base_url(base_url).to_owned();
        let path = url.len();
        url.push_str(path_below(base_url, path_and_query));
        Self { url, path }
    }

    /// The URL as it was built, before parsing.
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// Returns the parsed URL, if it still has the intended path.
    fn verify_path(&self, url: reqwest::Url) -> Result<reqwest::Url, UpstreamCallError> {
        let (base, path) = self.url.split_at_checked(self.path).unwrap_or_default();
        if !path.is_empty() && base.contains(['?', '#']) {
            return Err(UpstreamCallError::BadUrl(
                "its base URL has a query or a fragment".to_owned(),
            ));
        }
        let path = path.split('?').next().unwrap_or_default();
        let is_kept = url.path().ends_with(path) && (path.is_empty() || url.fragment().is_none());
        if is_kept { Ok(url) } else { Err(UpstreamCallError::OtherPath) }
    }
}

/// A complete URL that an operator has set.
impl From<&str> for UpstreamAddress {
    fn from(url: &str) -> Self {
        Self { url: url.to_owned(), path: url.len() }
    }
}

impl UpstreamClient {
    /// Creates a client without connections. No I/O.
    ///
    /// # Errors
    /// If the TLS library cannot be set up.
    pub fn new(timers: &RelayTimeouts, allow_private: bool) -> Result<Self, UpstreamCallError> {
        let client = client(timers, allow_private, None)?;
        let (proxied, checked) =
            (Arc::new(Cache::new(PROXIES_MAX)), Arc::new(Cache::new(ADDRESSES_MAX)));
        let network = NetworkTransport { client, timers: *timers, checked, proxied };
        Ok(Self {
            line: CallTransport::Network(network),
            allow_private,
            random_credential_responses: RandomCredentialAnswers::new(),
        })
    }

    /// Creates a client whose calls all go to `transport`, which also has to handle the connect
    /// timeout.
    pub fn with_transport(transport: Arc<dyn Transport>) -> Self {
        Self {
            line: CallTransport::InProcess(transport),
            allow_private: false,
            random_credential_responses: RandomCredentialAnswers::new(),
        }
    }

    /// Returns a client that connects through `proxy`, or directly if it is `None`. Accounts with
    /// the same proxy share its connections. The proxy resolves the upstream's host name, except
    /// with `socks5`, where this process does.
    ///
    /// # Errors
    /// [`UpstreamCallError::BadUrl`] if it is not the URL of a proxy. The caller must not connect
    /// directly instead.
    pub fn with_proxy(&self, proxy: Option<&Secret>) -> Result<Self, UpstreamCallError> {
        let (Some(proxy), CallTransport::Network(network)) = (proxy, &self.line) else {
            return Ok(self.clone());
        };
        let hash = digest(&SHA256, proxy.expose().as_bytes());
        let mut key = [0; 32];
        key.copy_from_slice(hash.as_ref());
        let client = network.proxied.get_or_insert_with(&key, || {
            let url = ProxyUrl::parse(proxy.expose(), self.allow_private).map_err(|error| {
                UpstreamCallError::BadUrl(format!("its proxy cannot be used: {error}"))
            })?;
            client(&network.timers, self.allow_private, Some(&url))
        })?;
        let line = CallTransport::Network(NetworkTransport { client, ..network.clone() });
        Ok(Self { line, ..self.clone() })
    }

    /// Sends a request and returns as soon as the head of the answer has arrived.
    ///
    /// `headers` are sent as they are; `host` and `content-length` are added.
    pub async fn call(
        &self,
        method: Method,
        address: &UpstreamAddress,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<http::Response<UpstreamBody>, UpstreamCallError> {
        let url = address.as_str();
        let check = || address::check(url, self.allow_private).map_err(UpstreamCallError::BadUrl);
        let (client, url) = match &self.line {
            CallTransport::Network(network) => {
                let url = network.checked.get_or_insert_with(url, check)?;
                (&network.client, address.verify_path(url)?)
            }
            CallTransport::InProcess(transport) => {
                let mut request = http::Request::new(body);
                *request.method_mut() = method;
                *request.uri_mut() =
                    address.verify_path(check()?)?.as_str().parse().map_err(
                        |error: InvalidUri| UpstreamCallError::BadUrl(error.to_string()),
                    )?;
                *request.headers_mut() = headers;
                return transport.answer(request).await;
            }
        };
        let mut request = reqwest::Request::new(method, url);
        *request.headers_mut() = headers;
        *request.body_mut() = (!body.is_empty()).then(|| body.into());
        match client.execute(request).await {
            Ok(response) => Ok(response.into()),
            // A connection that is lost later can be a timeout, too.
            Err(error) if error.is_connect() && error.is_timeout() => {
                Err(UpstreamCallError::ConnectTimeout)
            }
            Err(error) if error.is_connect() => {
                Err(UpstreamCallError::NotConnected(chain(&error.without_url())))
            }
            Err(error) => Err(UpstreamCallError::Unreachable(chain(&error.without_url()))),
        }
    }
}

fn client(
    timers: &RelayTimeouts,
    allow_private: bool,
    proxy: Option<&ProxyUrl>,
) -> Result<reqwest::Client, UpstreamCallError> {
    let unusable =
        |error: reqwest::Error| UpstreamCallError::Unreachable(chain(&error.without_url()));
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(timers.connect)
        .tcp_nodelay(true)
        .tcp_user_timeout(UNACKNOWLEDGED_MAX)
        .pool_idle_timeout(POOL_IDLE_MAX)
        .http1_only()
        .pool_max_idle_per_host(1024);
    builder = builder.dns_resolver(Arc::new(FilteringResolver { allow_private }));
    if let Some(proxy) = proxy {
        builder = builder.proxy(proxy.to_reqwest_proxy().map_err(unusable)?);
    }
    builder.build().map_err(unusable)
}

/// Checks whether `url` can be the address of an upstream.
///
/// # Errors
/// The reason, as a sentence for the operator.
pub fn check_url(url: &str, allow_private: bool) -> Result<(), String> {
    address::check_given(url, allow_private).map(drop)
}

/// Checks whether `url` can be the base URL of an account, to which paths are appended.
///
/// # Errors
/// The reason, as a sentence for the operator.
pub fn check_base_url(url: &str, allow_private: bool) -> Result<(), String> {
    let read = address::check_given(url, allow_private)?;
    if read.query().is_some() || read.fragment().is_some() {
        return Err("the URL must end with a host or path, without `?` and `#`".to_owned());
    }
    Ok(())
}

/// The most characters of an upstream's error message that are kept for operators.
const WORDS_MAX: usize = 500;

/// The message of an upstream's error, or the beginning of the body if it has none. The credential
/// is masked, because the upstream can repeat it.
fn error_message(body: &[u8], credential: &Secret) -> String {
    let ErrorFields { message, .. } = ErrorFields::from_body(body);
    let text = if message.is_empty() { String::from_utf8_lossy(body) } else { message.into() };
    // The credential is masked before the final cut, so that no part of it remains there unless
    // that part is short.
    let text: String = text.chars().take(2 * WORDS_MAX).collect();
    let text = without_secrets(&text, &[credential.expose()]);
    text.chars().take(WORDS_MAX).collect()
}

/// The error and its causes, in one line.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    /// Servers choose HTTP/2 where a client offers it.
    #[tokio::test]
    async fn only_http_1_is_offered_to_upstreams() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("https://{}/v1/messages", listener.local_addr().unwrap());
        let hello = tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut hello = vec![0; 4096];
            let bytes = connection.read(&mut hello).await.unwrap();
            hello.truncate(bytes);
            hello
        });
        let settings = Settings::from_lookup(|_| None).unwrap_or_else(|bad| panic!("{bad}"));
        let upstream = UpstreamClient::new(&settings.timers, true).unwrap();
        let address = UpstreamAddress::from(url.as_str());
        let call = upstream.call(Method::GET, &address, HeaderMap::new(), Bytes::new()).await;
        assert!(call.is_err(), "the server ends the handshake");
        let hello = hello.await.unwrap();
        let offers = |name: &[u8]| hello.windows(name.len()).any(|part| part == name);
        assert_eq!((offers(b"\x08http/1.1"), offers(b"\x02h2")), (true, false));
    }

    #[test]
    fn error_message_does_not_repeat_the_credential() {
        let secret = Secret::new("sk-upstream-SECRET-0123456789".to_owned());
        for body in [
            r#"{"error":{"message":"bad key sk-upstream-SECRET-0123456789"}}"#.to_owned(),
            r#"{"authorization":"Bearer sk-upstream-SECRET-0123456789"}"#.to_owned(),
            format!("{}sk-upstream-SECRET-0123456789", "x".repeat(490)),
            format!("{}sk-upstream-SECRET-0123456789", "x".repeat(985)),
        ] {
            let words = error_message(body.as_bytes(), &secret);
            assert!(!words.contains("SECRET"), "{words}");
            assert!(words.chars().count() <= WORDS_MAX);
        }
    }

    #[test]
    fn address_with_another_path_is_refused() {
        let kept = |base: &str, path: &str| {
            let address = UpstreamAddress::new(base, path);
            address.verify_path(reqwest::Url::parse(address.as_str()).unwrap()).is_ok()
        };
        for base in
            ["https://h", "https://h/", "https://h:1/a/b", "https://h/a/../b/v1/", "https://h/é"]
        {
            for path in ["/v1/messages", "/v1/messages?beta=true", "/v1/models/a%2Fb%20c?limit=1"] {
                assert!(kept(base, path), "{base} {path}");
            }
            for path in [
                "/v1/models/..",
                "/v1/models/../files",
                "/v1/models/%2e%2e/files",
                "/v1/models/.%2E/files?limit=1",
                "/v1/models/./x",
                "/v1/models/a\\b",
                "/v1/models/a\tb",
                "/v1/models/a b",
                "/v1/models/é",
                "/v1/models/a#b",
                "/v1/models/a?x#b",
                "/model/../invoke",
            ] {
                assert!(!kept(base, path), "{base} {path}");
            }
        }
        for base in ["https://h/?x=", "https://h/#", "https://h/files?"] {
            assert!(!kept(base, "/v1/models"), "{base}");
        }
        let whole = UpstreamAddress::from("https://h/a/../b?x#y");
        assert!(whole.verify_path(reqwest::Url::parse(whole.as_str()).unwrap()).is_ok());
    }
}
