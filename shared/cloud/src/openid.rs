//! The one door to an OpenID provider: what it says of itself, the keys that it signs with, and
//! the id token that a code is good for. Whether that one is to be believed is decided elsewhere.

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

/// For one call: a person waits.
const PATIENCE: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 1 << 18;
/// For so long what it says of itself, its keys among it, is taken as said.
const FRESH: SignedDuration = SignedDuration::from_mins(60);
/// Keys that are not known are asked for no more often than this.
const KEYS_ANEW: SignedDuration = SignedDuration::from_secs(10);

/// An OpenID provider.
pub struct OpenIdClient {
    /// Who it is and who we are.
    pub settings: OpenIdSettings,
    /// What proves who we are; a public client has none.
    secret: Option<LiveSecret>,
    upstream: UpstreamClient,
    allow_private: bool,
    known: Mutex<Option<Arc<CachedProvider>>>,
}

/// What it has said of itself.
pub struct CachedProvider {
    /// Its description.
    pub provider: ProviderMetadata,
    /// The keys that it signs with: JWKs (RFC 7517), as they came.
    pub keys: Vec<Value>,
    at: Timestamp,
}

/// What is read of a provider's description (OpenID Connect Discovery 1.0, §3; RFC 9207).
#[derive(Deserialize)]
pub struct ProviderMetadata {
    issuer: String,
    /// Where the browser is sent to.
    pub authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// Whether it names itself beside each code.
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
}

/// What a code was good for.
#[derive(Deserialize)]
pub struct RedeemedCode {
    /// Who has signed in, as the provider signs it.
    pub id_token: Secret,
    access_token: Option<Secret>,
}

#[derive(Deserialize)]
struct JwksDocument {
    keys: Vec<Value>,
}

/// What an authorization code is redeemed with (RFC 6749 §4.1.3, RFC 7636 §4.5).
pub struct CodeGrant<'a> {
    /// The code.
    pub code: &'a str,
    /// The verifier whose hash went ahead.
    pub verifier: &'a str,
    /// Where the code was sent to.
    pub redirect_uri: &'a str,
}

/// The provider did not do its part. A sentence for the log; no secret is in it.
#[derive(Debug, thiserror::Error)]
#[error("the identity provider: {0}")]
pub struct OpenIdError(String);

impl OpenIdClient {
    /// A provider that is reached as upstreams are, with the same rules for addresses. No I/O.
    pub fn new(
        (settings, secret): (OpenIdSettings, Option<LiveSecret>),
        upstream: UpstreamClient,
        allow_private: bool,
    ) -> Self {
        Self { settings, secret, upstream, allow_private, known: Mutex::default() }
    }

    /// What it says of itself, from memory where that is good at `now`.
    pub async fn load_provider(&self, now: Timestamp) -> Result<Arc<CachedProvider>, OpenIdError> {
        self.load_provider_for(FRESH, now).await
    }

    /// The same after it has signed with a key that is not among its keys.
    pub async fn reload_provider(
        &self,
        now: Timestamp,
    ) -> Result<Arc<CachedProvider>, OpenIdError> {
        self.load_provider_for(KEYS_ANEW, now).await
    }

    async fn load_provider_for(
        &self,
        time: SignedDuration,
        now: Timestamp,
    ) -> Result<Arc<CachedProvider>, OpenIdError> {
        // Held while it is asked, so that many visitors ask once.
        let mut known = self.known.lock().await;
        if let Some(known) = known.as_ref().filter(|it| now.duration_since(it.at) < time) {
            return Ok(Arc::clone(known));
        }
        let fresh = Arc::new(self.discover(now).await?);
        *known = Some(Arc::clone(&fresh));
        Ok(fresh)
    }

    async fn discover(&self, now: Timestamp) -> Result<CachedProvider, OpenIdError> {
        let issuer = &self.settings.issuer;
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let provider: ProviderMetadata =
            self.send_request(Method::GET, &url, HeaderMap::new(), None).await?;
        if provider.issuer != *issuer {
            return Err(OpenIdError(format!(
                "it calls itself {}, BATON_OIDC_ISSUER calls it {issuer}",
                provider.issuer
            )));
        }
        check_url(&provider.authorization_endpoint, self.allow_private).map_err(OpenIdError)?;
        let JwksDocument { keys } =
            self.send_request(Method::GET, &provider.jwks_uri, HeaderMap::new(), None).await?;
        Ok(CachedProvider { provider, keys, at: now })
    }

    /// Redeems a code.
    pub async fn redeem(
        &self,
        known: &CachedProvider,
        grant: &CodeGrant<'_>,
    ) -> Result<RedeemedCode, OpenIdError> {
        if let Some(secret) = &self.secret {
            secret.refresh().await.map_err(|error| OpenIdError(error.to_string()))?;
        }
        let (headers, form) = self.redemption(known, grant)?;
        self.send_request(Method::POST, &known.provider.token_endpoint, headers, Some(form)).await
    }

    fn redemption(
        &self,
        known: &CachedProvider,
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
            Some(secret) if known.provider.takes_basic() => {
                headers.insert(AUTHORIZATION, basic(client_id, secret)?);
            }
            secret => {
                form.append_pair("client_id", client_id);
                form.extend_pairs(secret.into_iter().map(|it| ("client_secret", it.expose())));
            }
        }
        Ok((headers, form.finish()))
    }

    /// What it tells of the person beside the id token, for providers that keep those small
    /// (OpenID Connect Core 1.0, §5.3).
    pub async fn fetch_userinfo(
        &self,
        known: &CachedProvider,
        redeemed: &RedeemedCode,
    ) -> Result<Map<String, Value>, OpenIdError> {
        let (Some(url), Some(token)) = (&known.provider.userinfo_endpoint, &redeemed.access_token)
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
        form: Option<String>,
    ) -> Result<T, OpenIdError> {
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let body = form.map(Bytes::from).unwrap_or_default();
        let call = async {
            let answer =
                self.upstream.call(method, &UpstreamAddress::from(url), headers, body).await;
            let answer = answer.map_err(|error| OpenIdError(format!("{url}: {error}")))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|_| OpenIdError(format!("{url}: its answer broke off")))?;
            parse_answer(url, head.status.as_u16(), &body.to_bytes())
        };
        let late = || Err(OpenIdError(format!("{url}: no answer in time")));
        tokio::time::timeout(PATIENCE, call).await.unwrap_or_else(|_| late())
    }
}

impl ProviderMetadata {
    /// Whether the client's secret goes into a header: what holds where nothing is said, too.
    fn takes_basic(&self) -> bool {
        let methods = self.token_endpoint_auth_methods_supported.as_ref();
        methods.is_none_or(|all| all.iter().any(|one| one == "client_secret_basic"))
    }
}

/// RFC 6749 §2.3.1: both parts are form-encoded first.
fn basic(client_id: &str, secret: &Secret) -> Result<HeaderValue, OpenIdError> {
    let part = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let both = format!("{}:{}", part(client_id), part(secret.expose()));
    secret_header("Basic", &Secret::new(BASE64_STANDARD.encode(both)))
}

fn secret_header(scheme: &str, secret: &Secret) -> Result<HeaderValue, OpenIdError> {
    let value = HeaderValue::from_str(&format!("{scheme} {}", secret.expose()));
    let mut value = value.map_err(|_| OpenIdError("its token is no header value".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Of an error only its code is told: descriptions may hold anything, as may what does not parse.
fn parse_answer<T: DeserializeOwned>(
    url: &str,
    status: u16,
    body: &[u8],
) -> Result<T, OpenIdError> {
    if !(200..300).contains(&status) {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let code: String = body["error"].as_str().unwrap_or_default().chars().take(60).collect();
        return Err(OpenIdError(format!("{url} answers {status} {}", code.escape_default())));
    }
    serde_json::from_slice(body)
        .map_err(|_| OpenIdError(format!("{url} does not answer what it should")))
}
