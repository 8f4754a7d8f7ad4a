//! The one door to an OpenID provider: what it says of itself, the keys that it signs with, and
//! the id token that a code is good for. Whether that one is to be believed is decided elsewhere.

use crate::settings::OpenIdSettings;
use crate::upstream::{Address, Upstream, check_url};
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
pub struct OpenId {
    /// Who it is and who we are.
    pub settings: OpenIdSettings,
    upstream: Upstream,
    allow_private: bool,
    known: Mutex<Option<Arc<Known>>>,
}

/// What it has said of itself.
pub struct Known {
    /// Its description.
    pub provider: Provider,
    /// The keys that it signs with: JWKs (RFC 7517), as they came.
    pub keys: Vec<Value>,
    at: Timestamp,
}

/// What is read of a provider's description (OpenID Connect Discovery 1.0, §3; RFC 9207).
#[derive(Deserialize)]
pub struct Provider {
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
pub struct Redeemed {
    /// Who has signed in, as the provider signs it.
    pub id_token: Secret,
    access_token: Option<Secret>,
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<Value>,
}

/// What an authorization code is redeemed with (RFC 6749 §4.1.3, RFC 7636 §4.5).
pub struct Grant<'a> {
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
pub struct Unhelpful(String);

impl OpenId {
    /// A provider that is reached as upstreams are, with the same rules for addresses. No I/O.
    pub fn new(settings: OpenIdSettings, upstream: Upstream, allow_private: bool) -> Self {
        Self { settings, upstream, allow_private, known: Mutex::default() }
    }

    /// What it says of itself, from memory where that is good at `now`.
    pub async fn known(&self, now: Timestamp) -> Result<Arc<Known>, Unhelpful> {
        self.known_for(FRESH, now).await
    }

    /// The same after it has signed with a key that is not among its keys.
    pub async fn known_anew(&self, now: Timestamp) -> Result<Arc<Known>, Unhelpful> {
        self.known_for(KEYS_ANEW, now).await
    }

    async fn known_for(
        &self,
        time: SignedDuration,
        now: Timestamp,
    ) -> Result<Arc<Known>, Unhelpful> {
        // Held while it is asked, so that many visitors ask once.
        let mut known = self.known.lock().await;
        if let Some(known) = known.as_ref().filter(|it| now.duration_since(it.at) < time) {
            return Ok(Arc::clone(known));
        }
        let fresh = Arc::new(self.discover(now).await?);
        *known = Some(Arc::clone(&fresh));
        Ok(fresh)
    }

    async fn discover(&self, now: Timestamp) -> Result<Known, Unhelpful> {
        let issuer = &self.settings.issuer;
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let provider: Provider = self.ask(Method::GET, &url, HeaderMap::new(), None).await?;
        if provider.issuer != *issuer {
            return Err(Unhelpful(format!(
                "it calls itself {}, BATON_OIDC_ISSUER calls it {issuer}",
                provider.issuer
            )));
        }
        check_url(&provider.authorization_endpoint, self.allow_private).map_err(Unhelpful)?;
        let Keys { keys } =
            self.ask(Method::GET, &provider.jwks_uri, HeaderMap::new(), None).await?;
        Ok(Known { provider, keys, at: now })
    }

    /// Redeems a code.
    pub async fn redeem(&self, known: &Known, grant: &Grant<'_>) -> Result<Redeemed, Unhelpful> {
        let (headers, form) = self.redemption(known, grant)?;
        self.ask(Method::POST, &known.provider.token_endpoint, headers, Some(form)).await
    }

    fn redemption(
        &self,
        known: &Known,
        grant: &Grant<'_>,
    ) -> Result<(HeaderMap, String), Unhelpful> {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code").append_pair("code", grant.code);
        form.append_pair("redirect_uri", grant.redirect_uri);
        form.append_pair("code_verifier", grant.verifier);
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, kind)]);
        let client_id = &self.settings.client_id;
        match &self.settings.client_secret {
            Some(secret) if known.provider.takes_basic() => {
                headers.insert(AUTHORIZATION, basic(client_id, secret)?);
            }
            secret => {
                form.append_pair("client_id", client_id);
                form.extend_pairs(secret.iter().map(|it| ("client_secret", it.expose())));
            }
        }
        Ok((headers, form.finish()))
    }

    /// What it tells of the person beside the id token, for providers that keep those small
    /// (OpenID Connect Core 1.0, §5.3).
    pub async fn more(
        &self,
        known: &Known,
        redeemed: &Redeemed,
    ) -> Result<Map<String, Value>, Unhelpful> {
        let (Some(url), Some(token)) = (&known.provider.userinfo_endpoint, &redeemed.access_token)
        else {
            return Ok(Map::new());
        };
        let headers = HeaderMap::from_iter([(AUTHORIZATION, secret_header("Bearer", token)?)]);
        self.ask(Method::GET, url, headers, None).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        url: &str,
        mut headers: HeaderMap,
        form: Option<String>,
    ) -> Result<T, Unhelpful> {
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let body = form.map(Bytes::from).unwrap_or_default();
        let call = async {
            let answer = self.upstream.call(method, &Address::from(url), headers, body).await;
            let answer = answer.map_err(|error| Unhelpful(format!("{url}: {error}")))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|_| Unhelpful(format!("{url}: its answer broke off")))?;
            read(url, head.status.as_u16(), &body.to_bytes())
        };
        let late = || Err(Unhelpful(format!("{url}: no answer in time")));
        tokio::time::timeout(PATIENCE, call).await.unwrap_or_else(|_| late())
    }
}

impl Provider {
    /// Whether the client's secret goes into a header: what holds where nothing is said, too.
    fn takes_basic(&self) -> bool {
        let methods = self.token_endpoint_auth_methods_supported.as_ref();
        methods.is_none_or(|all| all.iter().any(|one| one == "client_secret_basic"))
    }
}

/// RFC 6749 §2.3.1: both parts are form-encoded first.
fn basic(client_id: &str, secret: &Secret) -> Result<HeaderValue, Unhelpful> {
    let part = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let both = format!("{}:{}", part(client_id), part(secret.expose()));
    secret_header("Basic", &Secret::new(BASE64_STANDARD.encode(both)))
}

fn secret_header(scheme: &str, secret: &Secret) -> Result<HeaderValue, Unhelpful> {
    let value = HeaderValue::from_str(&format!("{scheme} {}", secret.expose()));
    let mut value = value.map_err(|_| Unhelpful("its token is no header value".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Of an error only its code is told: descriptions may hold anything, as may what does not parse.
fn read<T: DeserializeOwned>(url: &str, status: u16, body: &[u8]) -> Result<T, Unhelpful> {
    if !(200..300).contains(&status) {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let code: String = body["error"].as_str().unwrap_or_default().chars().take(60).collect();
        return Err(Unhelpful(format!("{url} answers {status} {}", code.escape_default())));
    }
    serde_json::from_slice(body)
        .map_err(|_| Unhelpful(format!("{url} does not answer what it should")))
}
