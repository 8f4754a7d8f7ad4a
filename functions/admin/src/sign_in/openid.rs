//! Sign-in with an identity provider: the authorization code flow of OpenID Connect with PKCE (RFC
//! 7636), `state` and `nonce`. Each sign-in can be finished once, within ten minutes, and only in
//! the browser that started it.

use super::openid_claims::SignInError;
use super::session::{error_page, redirect, refusal};
use super::session_cookie::{ConsoleOrigin, CookieKind};
use super::session_csrf::is_cross_site_navigation;
use super::{SignInNotice, browser_token, redirect_to_sign_in, sign_in_url};
use crate::api_response::ApiError;
use crate::authorize::ClientAddress;
use crate::sign_in::session_seal::SessionKey;
use crate::{AdminState, SharedAdminState};
use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::get;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use baton_console::{CONSOLE_PATH, SIGN_IN_PATH, to_console_path};
use baton_runtime::openid::{CachedProvider, CodeGrant, OpenIdClient};
use baton_runtime::vault::is_equal_constant_time;
use baton_store::StoreError;
use form_urlencoded::{Serializer, byte_serialize};
use http::{HeaderMap, StatusCode, Uri};
use jiff::Timestamp;
use serde::Deserialize;
use std::net::IpAddr;
use std::sync::Arc;

/// How long a sign-in can take.
const MINUTES: i64 = 10;
/// Larger than any accepted state, code or issuer.
const ANSWER_BYTES_MAX: usize = 4096;

/// Longer return addresses are left out of `state`, because providers limit its length.
const NEXT_BYTES_MAX: usize = 600;
const RANDOM_BYTES: usize = 16;

/// An unfinished sign-in. It is not stored: `state` contains its end and the return address, only
/// Baton can create it, and it is valid only in the browser that started the sign-in. The nonce and
/// the verifier are derived from both. So sign-ins that strangers start take no space.
struct PendingSignIn<'a> {
    key: &'a SessionKey,
    /// The cookie of the browser that started it.
    browser_token: &'a str,
    state: String,
    next: String,
}

#[derive(Deserialize)]
struct StartQuery {
    next: Option<String>,
}

/// The query with which the provider sends the browser back (RFC 6749 §4.1.2, RFC 9207).
#[derive(Deserialize)]
struct CallbackQuery {
    state: Option<String>,
    code: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

pub(super) fn routes() -> Router<Arc<AdminState>> {
    Router::new()
        .route(&format!("{SIGN_IN_PATH}/openid"), get(start_sign_in))
        .route(&format!("{SIGN_IN_PATH}/openid/callback"), get(handle_callback))
}

/// The link that starts a sign-in. It is not a form, because the provider can redirect through any
/// number of sites, and `form-action` would have to list them all.
pub(super) fn start_url(next: &str) -> String {
    let next: String = byte_serialize(next.as_bytes()).collect();
    format!("{SIGN_IN_PATH}/openid?next={next}")
}

async fn start_sign_in(
    State(state): SharedAdminState,
    uri: Uri,
    headers: HeaderMap,
    Query(StartQuery { next }): Query<StartQuery>,
) -> Response {
    let next = to_console_path(next.as_deref().unwrap_or_default());
    let (Some(openid), Some(origin)) =
        (&state.login_methods.openid, ConsoleOrigin::from_request(&state, &headers, &uri))
    else {
        return refusal(StatusCode::NOT_FOUND, "No identity provider is set up here.");
    };
    // Another site must not start a sign-in, and neither can an unencrypted page.
    if is_cross_site_navigation(&headers) || !origin.is_private() {
        return redirect(&sign_in_url(Some(next), None), None);
    }
    let now = state.store.clock().now();
    let cached_provider = match openid.load_provider(now).await {
        Ok(cached_provider) => cached_provider,
        Err(error) => {
            tracing::warn!("a sign-in cannot start: {error}");
            return redirect_to_sign_in(Some(next), SignInNotice::Unhelpful);
        }
    };
    let (browser_token, cookie) = browser_token(&state, &origin, &headers);
    let key = match state.session_key().await {
        Ok(key) => key,
        Err(error) => return error_page(&error),
    };
    let mut random = [0; RANDOM_BYTES];
    state.store.random_source().fill(&mut random);
    let pending_sign_in = PendingSignIn::new(&key, &browser_token, next, now, random);
    redirect(&pending_sign_in.authorization_url(openid, &cached_provider, &origin), cookie)
}

async fn handle_callback(
    State(state): SharedAdminState,
    ClientAddress(from): ClientAddress,
    uri: Uri,
    headers: HeaderMap,
    Query(callback): Query<CallbackQuery>,
) -> Response {
    let (Some(openid), Some(origin)) =
        (&state.login_methods.openid, ConsoleOrigin::from_request(&state, &headers, &uri))
    else {
        return refusal(StatusCode::NOT_FOUND, "No identity provider is set up here.");
    };
    match state.complete_sign_in(openid, &origin, &headers, from, &callback).await {
        Ok(response) => response,
        Err(SignInError::Denied(notice)) => redirect_to_sign_in(None, notice),
        // Two sign-ins have created or changed the same user at once.
        Err(SignInError::Failed(error)) if error.is_conflict() => {
            redirect_to_sign_in(None, SignInNotice::Again)
        }
        Err(SignInError::Failed(error)) => error_page(&error),
    }
}

impl<'a> PendingSignIn<'a> {
    fn new(
        key: &'a SessionKey,
        browser_token: &'a str,
        next: &str,
        now: Timestamp,
        random: [u8; RANDOM_BYTES],
    ) -> Self {
        let next = if next.len() > NEXT_BYTES_MAX { CONSOLE_PATH } else { next };
        let ends_at = now.as_second().saturating_add(MINUTES * 60);
        let payload = [&ends_at.to_be_bytes()[..], &random, next.as_bytes()].concat();
        let payload = BASE64_URL_SAFE_NO_PAD.encode(payload);
        let proof = derive(key, "state", browser_token, &payload);
        Self { key, browser_token, state: format!("{payload}.{proof}"), next: next.to_owned() }
    }

    /// Reads a `state`. Returns `None` if it is not valid for this browser or has expired at `now`.
    fn from_state(
        key: &'a SessionKey,
        browser_token: &'a str,
        state: &str,
        now: Timestamp,
    ) -> Option<Self> {
        let (payload, proof) = state.split_once('.')?;
        if browser_token.is_empty()
            || !is_equal_constant_time(proof, &derive(key, "state", browser_token, payload))
        {
            return None;
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?;
        let (ends_at, rest) = bytes.split_first_chunk()?;
        let next = std::str::from_utf8(rest.get(RANDOM_BYTES..)?).ok()?.to_owned();
        let is_over = i64::from_be_bytes(*ends_at) <= now.as_second();
        (!is_over).then(|| Self { key, browser_token, state: state.to_owned(), next })
    }

    /// The nonce that the ID token must contain.
    fn nonce(&self) -> String {
        derive(self.key, "nonce", self.browser_token, &self.state)
    }

    /// The PKCE verifier (RFC 7636).
    fn verifier(&self) -> String {
        derive(self.key, "verifier", self.browser_token, &self.state)
    }

    /// The name under which the sign-in is stored as used.
    fn use_mark(&self) -> String {
        format!("console#{}", derive(self.key, "used", "", &self.state))
    }

    /// The provider's sign-in page (OpenID Connect Core 1.0, §3.1.2.1).
    fn authorization_url(
        &self,
        openid: &OpenIdClient,
        cached_provider: &CachedProvider,
        origin: &ConsoleOrigin,
    ) -> String {
        let verifier = self.verifier();
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
        let mut query = Serializer::new(String::new());
        query.append_pair("response_type", "code").append_pair("scope", "openid email profile");
        query.append_pair("client_id", &openid.settings.client_id);
        query.append_pair("redirect_uri", &redirect_uri(origin));
        query.append_pair("state", &self.state).append_pair("nonce", &self.nonce());
        query.append_pair("code_challenge", &challenge);
        query.append_pair("code_challenge_method", "S256");
        let page = &cached_provider.provider.authorization_endpoint;
        let mark = if page.contains('?') { '&' } else { '?' };
        format!("{page}{mark}{}", query.finish())
    }
}

/// The address to which the provider sends the browser back.
fn redirect_uri(origin: &ConsoleOrigin) -> String {
    format!("{}{SIGN_IN_PATH}/openid/callback", origin.origin)
}

/// Derives 43 characters from a browser's cookie and a text. Only the admin function has the secret
/// for it.
fn derive(key: &SessionKey, what: &str, browser_token: &str, text: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(key.derive(&format!("openid {what}\n{browser_token}\n{text}")))
}

impl AdminState {
    async fn complete_sign_in(
        &self,
        openid: &OpenIdClient,
        origin: &ConsoleOrigin,
        headers: &HeaderMap,
        from: Option<IpAddr>,
        callback: &CallbackQuery,
    ) -> Result<Response, SignInError> {
        let now = self.store.clock().now();
        let browser_token = origin.cookie(CookieKind::SignIn, headers).unwrap_or_default();
        let state = callback.state.as_deref().filter(|state| state.len() <= ANSWER_BYTES_MAX);
        let key = self.session_key().await?;
        let pending_sign_in =
            state.and_then(|state| PendingSignIn::from_state(&key, browser_token, state, now));
        let pending_sign_in = pending_sign_in.ok_or(SignInNotice::Late)?;
        // Each return causes a write and usually a call to the provider.
        let mark = self.pepper.hash(browser_token);
        if self.login_methods.callback.count_failure(from, browser_token, &mark, now) {
            return Err(SignInNotice::TooMany.into());
        }
        match self.store.sessions.use_sign_in(&pending_sign_in.use_mark(), MINUTES).await {
            Ok(()) => {}
            Err(StoreError::Conflict) => return Err(SignInNotice::Late.into()),
            Err(error) => return Err(ApiError::from(error).into()),
        }
        if let Some(error) = &callback.error {
            let code: String = error.chars().take(60).collect();
            tracing::info!("the identity provider refused a sign-in: {}", code.escape_default());
            return Err(SignInNotice::Declined.into());
        }
        let cached_provider = openid.load_provider(now).await?;
        let sends_issuer = cached_provider.provider.authorization_response_iss_parameter_supported;
        let is_issuer_valid = match &callback.iss {
            Some(issuer) => *issuer == openid.settings.issuer,
            None => !sends_issuer,
        };
        let code = callback.code.as_ref().filter(|code| code.len() <= ANSWER_BYTES_MAX);
        let (Some(code), true) = (code, is_issuer_valid) else {
            return Err(SignInNotice::Unbelievable.into());
        };
        let (verifier, redirect_uri) = (&pending_sign_in.verifier(), &redirect_uri(origin));
        let grant = CodeGrant { code, verifier, redirect_uri };
        let claims = self.claims(openid, &grant, &pending_sign_in.nonce()).await?;
        let (edit, basis) = self.admit(openid, &claims).await?;
        let next = to_console_path(&pending_sign_in.next);
        Ok(self.begin_session(edit, basis, origin, headers, next).await?)
    }
}
