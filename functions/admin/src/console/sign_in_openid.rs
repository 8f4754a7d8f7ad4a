//! Sign-in with an identity provider: the authorization code flow of OpenID Connect with PKCE (RFC
//! 7636), `state` and `nonce`. Each sign-in can be finished once, within ten minutes, and only in
//! the browser that started it.

use super::BASE;
use super::session::{error_page, redirect, refusal};
use super::session_cookie::{ConsoleOrigin, CookieKind};
use super::session_csrf::is_cross_site_navigation;
use super::sign_in::{
    PATH, SignInNotice, browser_token, redirect_to_sign_in, sign_in_url, to_console_path,
};
use super::sign_in_claims::SignInError;
use crate::api_response::ApiError;
use crate::authorize::ClientAddress;
use crate::session_seal::SessionKey;
use crate::{AdminState, SharedAdminState};
use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::get;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
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
    door: &'a str,
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
        .route(&format!("{PATH}/openid"), get(start_sign_in))
        .route(&format!("{PATH}/openid/callback"), get(handle_callback))
}

/// The link that starts a sign-in. It is not a form, because the provider can redirect through any
/// number of sites, and `form-action` would have to list them all.
pub(super) fn start_url(next: &str) -> String {
    let next: String = byte_serialize(next.as_bytes()).collect();
    format!("{PATH}/openid?next={next}")
}

async fn start_sign_in(
    State(office): SharedAdminState,
    uri: Uri,
    headers: HeaderMap,
    Query(StartQuery { next }): Query<StartQuery>,
) -> Response {
    let next = to_console_path(next.as_deref().unwrap_or_default());
    let (Some(openid), Some(front)) =
        (&office.porter.openid, ConsoleOrigin::from_request(&office, &headers, &uri))
    else {
        return refusal(StatusCode::NOT_FOUND, "No identity provider is set up here.");
    };
    // Another site must not start a sign-in, and neither can an unencrypted page.
    if is_cross_site_navigation(&headers) || !front.is_private() {
        return redirect(&sign_in_url(Some(next), None), None);
    }
    let now = office.store.clock().now();
    let known = match openid.load_provider(now).await {
        Ok(known) => known,
        Err(error) => {
            tracing::warn!("a sign-in cannot start: {error}");
            return redirect_to_sign_in(Some(next), SignInNotice::Unhelpful);
        }
    };
    let (door, cookie) = browser_token(&office, &front, &headers);
    let key = match office.session_key().await {
        Ok(key) => key,
        Err(refused) => return error_page(&refused),
    };
    let mut random = [0; RANDOM_BYTES];
    office.store.random_source().fill(&mut random);
    let under_way = PendingSignIn::new(&key, &door, next, (now, random));
    redirect(&under_way.authorization_url(openid, &known, &front), cookie)
}

async fn handle_callback(
    State(office): SharedAdminState,
    ClientAddress(from): ClientAddress,
    uri: Uri,
    headers: HeaderMap,
    Query(returned): Query<CallbackQuery>,
) -> Response {
    let (Some(openid), Some(front)) =
        (&office.porter.openid, ConsoleOrigin::from_request(&office, &headers, &uri))
    else {
        return refusal(StatusCode::NOT_FOUND, "No identity provider is set up here.");
    };
    match office.complete_sign_in(openid, (&front, &headers, from), &returned).await {
        Ok(response) => response,
        Err(SignInError::Denied(why)) => redirect_to_sign_in(None, why),
        // Two sign-ins have created or changed the same user at once.
        Err(SignInError::Failed(refused)) if refused.is_conflict() => {
            redirect_to_sign_in(None, SignInNotice::Again)
        }
        Err(SignInError::Failed(refused)) => error_page(&refused),
    }
}

impl<'a> PendingSignIn<'a> {
    fn new(
        key: &'a SessionKey,
        door: &'a str,
        next: &str,
        (now, random): (Timestamp, [u8; RANDOM_BYTES]),
    ) -> Self {
        let next = if next.len() > NEXT_BYTES_MAX { BASE } else { next };
        let ends_at = now.as_second().saturating_add(MINUTES * 60);
        let payload = [&ends_at.to_be_bytes()[..], &random, next.as_bytes()].concat();
        let payload = BASE64_URL_SAFE_NO_PAD.encode(payload);
        let proof = derive(key, "state", door, &payload);
        Self { key, door, state: format!("{payload}.{proof}"), next: next.to_owned() }
    }

    /// Reads a `state`. Returns `None` if it is not valid for this browser or has expired at `now`.
    fn from_state(key: &'a SessionKey, door: &'a str, state: &str, now: Timestamp) -> Option<Self> {
        let (payload, proof) = state.split_once('.')?;
        if door.is_empty() || !is_equal_constant_time(proof, &derive(key, "state", door, payload)) {
            return None;
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?;
        let (ends_at, rest) = bytes.split_first_chunk()?;
        let next = std::str::from_utf8(rest.get(RANDOM_BYTES..)?).ok()?.to_owned();
        let is_over = i64::from_be_bytes(*ends_at) <= now.as_second();
        (!is_over).then(|| Self { key, door, state: state.to_owned(), next })
    }

    /// The nonce that the ID token must contain.
    fn nonce(&self) -> String {
        derive(self.key, "nonce", self.door, &self.state)
    }

    /// The PKCE verifier (RFC 7636).
    fn verifier(&self) -> String {
        derive(self.key, "verifier", self.door, &self.state)
    }

    /// The name under which the sign-in is stored as used.
    fn use_mark(&self) -> String {
        format!("console#{}", derive(self.key, "used", "", &self.state))
    }

    /// The provider's sign-in page (OpenID Connect Core 1.0, §3.1.2.1).
    fn authorization_url(
        &self,
        openid: &OpenIdClient,
        known: &CachedProvider,
        front: &ConsoleOrigin,
    ) -> String {
        let verifier = self.verifier();
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
        let mut query = Serializer::new(String::new());
        query.append_pair("response_type", "code").append_pair("scope", "openid email profile");
        query.append_pair("client_id", &openid.settings.client_id);
        query.append_pair("redirect_uri", &redirect_uri(front));
        query.append_pair("state", &self.state).append_pair("nonce", &self.nonce());
        query.append_pair("code_challenge", &challenge);
        query.append_pair("code_challenge_method", "S256");
        let page = &known.provider.authorization_endpoint;
        let mark = if page.contains('?') { '&' } else { '?' };
        format!("{page}{mark}{}", query.finish())
    }
}

/// The address to which the provider sends the browser back.
fn redirect_uri(front: &ConsoleOrigin) -> String {
    format!("{}{PATH}/openid/callback", front.origin)
}

/// Derives 43 characters from a browser's cookie and a text. Only the admin function has the secret
/// for it.
fn derive(key: &SessionKey, what: &str, door: &str, text: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(key.derive(&format!("openid {what}\n{door}\n{text}")))
}

impl AdminState {
    async fn complete_sign_in(
        &self,
        openid: &OpenIdClient,
        (front, headers, from): (&ConsoleOrigin, &HeaderMap, Option<IpAddr>),
        returned: &CallbackQuery,
    ) -> Result<Response, SignInError> {
        let now = self.store.clock().now();
        let door = front.cookie(CookieKind::SignIn, headers).unwrap_or_default();
        let state = returned.state.as_deref().filter(|state| state.len() <= ANSWER_BYTES_MAX);
        let key = self.session_key().await?;
        let under_way = state.and_then(|state| PendingSignIn::from_state(&key, door, state, now));
        let under_way = under_way.ok_or(SignInNotice::Late)?;
        // Each return causes a write and usually a call to the provider.
        let mark = self.pepper.hash(door);
        if self.porter.returned.count_failure(from, (door, &mark), now) {
            return Err(SignInNotice::TooMany.into());
        }
        match self.store.sessions.use_sign_in(&under_way.use_mark(), MINUTES).await {
            Ok(()) => {}
            Err(StoreError::Conflict) => return Err(SignInNotice::Late.into()),
            Err(error) => return Err(ApiError::from(error).into()),
        }
        if let Some(error) = &returned.error {
            let code: String = error.chars().take(60).collect();
            tracing::info!("the identity provider refused a sign-in: {}", code.escape_default());
            return Err(SignInNotice::Declined.into());
        }
        let known = openid.load_provider(now).await?;
        let names_itself = known.provider.authorization_response_iss_parameter_supported;
        let is_theirs = match &returned.iss {
            Some(issuer) => *issuer == openid.settings.issuer,
            None => !names_itself,
        };
        let code = returned.code.as_ref().filter(|code| code.len() <= ANSWER_BYTES_MAX);
        let (Some(code), true) = (code, is_theirs) else {
            return Err(SignInNotice::Unbelievable.into());
        };
        let (verifier, redirect_uri) = (&under_way.verifier(), &redirect_uri(front));
        let grant = CodeGrant { code, verifier, redirect_uri };
        let claims = self.claims(openid, &grant, &under_way.nonce()).await?;
        let (edit, founding) = self.admit(openid, &claims).await?;
        let next = to_console_path(&under_way.next);
        Ok(self.begin_session(edit, founding, (front, headers), next).await?)
    }
}
