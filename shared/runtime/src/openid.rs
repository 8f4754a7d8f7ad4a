//! The client for the OpenID provider at which people sign in to the console. It reads the
//! provider's metadata and signing keys, and exchanges an authorization code for an id token. It
//! does not verify the token; the admin function does
//! (`functions/admin/src/sign_in/openid_claims.rs`).

use crate::live_secret::LiveSecret;
use crate::settings::OpenIdSettings;
use crate::upstream::{UpstreamAddress, UpstreamClient, check_url};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use baton_domain::secret::Secret;
use bytes::Bytes;
use form_urlencoded::{Serializer, byte_serialize};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::{BodyExt as _, Limited};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// The timeout of one call. It is short because a person waits for the page.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 1 << 18;
/// How long the provider's metadata and keys are cached.
const METADATA_LIFETIME: SignedDuration = SignedDuration::from_mins(60);
/// The shortest time between two reads that look for an unknown signing key.
const KEY_RELOAD_INTERVAL: SignedDuration = SignedDuration::from_secs(10);

/// A client for one OpenID provider.
pub struct OpenIdClient {
    /// The provider's address and the client id of this deployment.
    pub settings: OpenIdSettings,
    /// The client secret; `None` for a public client.
    secret: Option<LiveSecret>,
    upstream: UpstreamClient,
    allow_private: bool,
    cached_provider: Mutex<Option<Arc<CachedProvider>>>,
}

/// The provider's metadata and signing keys, with the time at which they were read.
pub struct CachedProvider {
    /// The provider's metadata.
    pub provider: ProviderMetadata,
    /// The provider's signing keys: JWKs (RFC 7517), unparsed.
    pub keys: Vec<Value>,
    at: Timestamp,
}

/// The parts of the provider's metadata that are read (OpenID Connect Discovery 1.0, §3; RFC 9207).
#[derive(Deserialize)]
pub struct ProviderMetadata {
    issuer: String,
    /// The address that the browser is sent to.
    pub authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// Whether the provider adds its issuer to each code.
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
}

/// The answer to a redeemed code.
#[derive(Deserialize)]
pub struct RedeemedCode {
    /// The signed statement about who has signed in.
    pub id_token: Secret,
    access_token: Option<Secret>,
}

#[derive(Deserialize)]
struct JwksDocument {
    keys: Vec<Value>,
}

/// The parameters for redeeming an authorization code (RFC 6749 §4.1.3, RFC 7636 §4.5).
pub struct CodeGrant<'a> {
    /// The authorization code.
    pub code: &'a str,
    /// The PKCE verifier; its hash was sent with the authorization request.
    pub verifier: &'a str,
    /// The redirect URI that the code was sent to.
    pub redirect_uri: &'a str,
}

/// A call to the provider failed. The message is written to the log and contains no secrets.
#[derive(Debug, thiserror::Error)]
#[error("the identity provider: {0}")]
pub struct OpenIdError(String);

impl OpenIdClient {
    /// Creates a client that follows the same address rules as calls to upstreams. No I/O.
    pub fn new(
        settings: OpenIdSettings,
        secret: Option<LiveSecret>,
        upstream: UpstreamClient,
        allow_private: bool,
    ) -> Self {
        Self { settings, secret, upstream, allow_private, cached_provider: Mutex::default() }
    }

    /// Returns the provider's metadata and keys: from the cache if they are fresh at `now`,
    /// otherwise from the provider.
    pub async fn load_provider(&self, now: Timestamp) -> Result<Arc<CachedProvider>, OpenIdError> {
        self.load_provider_for(METADATA_LIFETIME, now).await
    }

    /// Reads the provider's metadata and keys again, because a token was signed with an unknown
    /// key. Values that are only a few seconds old come from the cache.
    pub async fn reload_provider(
        &self,
        now: Timestamp,
    ) -> Result<Arc<CachedProvider>, OpenIdError> {
        self.load_provider_for(KEY_RELOAD_INTERVAL, now).await
    }

    async fn load_provider_for(
        &self,
        time: SignedDuration,
        now: Timestamp,
    ) -> Result<Arc<CachedProvider>, OpenIdError> {
        // The lock is held during the call, so that many visitors cause only one call.
        let mut cached_provider = self.cached_provider.lock().await;
        if let Some(cached_provider) =
            cached_provider.as_ref().filter(|it| now.duration_since(it.at) < time)
        {
            return Ok(Arc::clone(cached_provider));
        }
        let fresh = Arc::new(self.discover(now).await?);
        *cached_provider = Some(Arc::clone(&fresh));
        Ok(fresh)
    }

    async fn discover(&self, now: Timestamp) -> Result<CachedProvider, OpenIdError> {
        let issuer = &self.settings.issuer;
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let provider: ProviderMetadata =
            self.send_request(Method::GET, &url, HeaderMap::new(), None).await?;
        if provider.issuer != *issuer {
            return Err(OpenIdError(format!(
                "its issuer is {}, but BATON_OIDC_ISSUER is {issuer}",
                provider.issuer
            )));
        }
        check_url(&provider.authorization_endpoint, self.allow_private).map_err(OpenIdError)?;
        let JwksDocument { keys } =
            self.send_request(Method::GET, &provider.jwks_uri, HeaderMap::new(), None).await?;
        Ok(CachedProvider { provider, keys, at: now })
    }

    /// Exchanges an authorization code for tokens.
    pub async fn redeem(
        &self,
        cached_provider: &CachedProvider,
        grant: &CodeGrant<'_>,
    ) -> Result<RedeemedCode, OpenIdError> {
        if let Some(secret) = &self.secret {
            secret.refresh().await.map_err(|error| OpenIdError(error.to_string()))?;
        }
        let (headers, form_body) = self.redemption_request(cached_provider, grant)?;
        self.send_request(
            Method::POST,
            &cached_provider.provider.token_endpoint,
            headers,
            Some(form_body),
        )
        .await
    }

    fn redemption_request(
        &self,
        cached_provider: &CachedProvider,
        grant: &CodeGrant<'_>,
    ) -> Result<(HeaderMap, String), OpenIdError> {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code").append_pair("code", grant.code);
        form.append_pair("redirect_uri", grant.redirect_uri);
        form.append_pair("code_verifier", grant.verifier);
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, kind)]);
        let client_id = &self.settings.client_id;
        let values = self.secret.as_ref().map(LiveSecret::values);
        match values.as_ref().and_then(|values| values.current()) {
            Some(secret) if cached_provider.provider.takes_basic() => {
                headers.insert(AUTHORIZATION, basic(client_id, secret)?);
            }
            secret => {
                form.append_pair("client_id", client_id);
                form.extend_pairs(secret.into_iter().map(|it| ("client_secret", it.expose())));
            }
        }
        Ok((headers, form.finish()))
    }

    /// Reads more claims about the person from the userinfo endpoint, because some providers keep
    /// the id token small (OpenID Connect Core 1.0, §5.3). Returns no claims if there is no such
    /// endpoint.
    pub async fn fetch_userinfo(
        &self,
        cached_provider: &CachedProvider,
        redeemed: &RedeemedCode,
    ) -> Result<Map<String, Value>, OpenIdError> {
        let (Some(url), Some(token)) =
            (&cached_provider.provider.userinfo_endpoint, &redeemed.access_token)
        else {
            return Ok(Map::new());
        };
        let headers = HeaderMap::from_iter([(AUTHORIZATION, secret_header("Bearer", token)?)]);
        self.send_request(Method::GET, url, headers, None).await
    }

    async fn send_request<T: DeserializeOwned>(
        &self,
        method: Method,
        url: &str,
        mut headers: HeaderMap,
        form_body: Option<String>,
    ) -> Result<T, OpenIdError> {
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let body = form_body.map(Bytes::from).unwrap_or_default();
        let call = async {
            let response =
                self.upstream.call(method, &UpstreamAddress::from(url), headers, body).await;
            let response = response.map_err(|error| OpenIdError(format!("{url}: {error}")))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|_| {
                OpenIdError(format!("{url}: the connection broke during the answer"))
            })?;
            parse_answer(url, head.status.as_u16(), &body.to_bytes())
        };
        let timeout_error = || Err(OpenIdError(format!("{url}: no answer in time")));
        tokio::time::timeout(CALL_TIMEOUT, call).await.unwrap_or_else(|_| timeout_error())
    }
}

impl ProviderMetadata {
    /// Whether the provider accepts the client secret in the header `authorization`. It does if its
    /// metadata does not name the methods (OpenID Connect Discovery 1.0, §3).
    fn takes_basic(&self) -> bool {
        let methods = self.token_endpoint_auth_methods_supported.as_ref();
        methods.is_none_or(|all| all.iter().any(|one| one == "client_secret_basic"))
    }
}

/// The header `authorization` with client id and secret. Both are form-encoded first (RFC 6749
/// §2.3.1).
fn basic(client_id: &str, secret: &Secret) -> Result<HeaderValue, OpenIdError> {
    let part = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let both = format!("{}:{}", part(client_id), part(secret.expose()));
    secret_header("Basic", &Secret::new(BASE64_STANDARD.encode(both)))
}

fn secret_header(scheme: &str, secret: &Secret) -> Result<HeaderValue, OpenIdError> {
    let value = HeaderValue::from_str(&format!("{scheme} {}", secret.expose()));
    let mut value = value.map_err(|_| {
        OpenIdError("its token has characters that a header cannot contain".to_owned())
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Parses an answer. The error contains only the error code, because descriptions and unparsable
/// bodies can contain anything.
fn parse_answer<T: DeserializeOwned>(
    url: &str,
    status: u16,
    body: &[u8],
) -> Result<T, OpenIdError> {
    if !(200..300).contains(&status) {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let code: String = body["error"].as_str().unwrap_or_default().chars().take(60).collect();
        return Err(OpenIdError(format!(
            "{url} answered with status {status} {}",
            code.escape_default()
        )));
    }
    serde_json::from_slice(body)
        .map_err(|_| OpenIdError(format!("{url} answered with unexpected content")))
}
