//! Signing in at the identity provider: OpenID Connect's authorization code flow with PKCE
//! (RFC 7636), `state` and `nonce`. Each sign-in is kept sealed, is good once, for ten minutes, and
//! only in the browser that began it.

use super::session::{redirect, refusal, refusal_of};
use super::session_cookie::{Cookie, Front};
use super::session_csrf::is_led;
use super::sign_in::{PATH, Why, back, door, local, sign_in_at};
use super::sign_in_claims::NotIn;
use crate::answer::Answer;
use crate::{Office, Shared};
use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::get;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use baton_cloud::openid::{Grant, Known, OpenId};
use baton_cloud::vault::same;
use baton_domain::secret::Secret;
use form_urlencoded::{Serializer, byte_serialize};
use http::{HeaderMap, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// For so long a sign-in may take.
const MINUTES: i64 = 10;
/// Longer than any state, code or issuer that is taken.
const ANSWER_BYTES_MAX: usize = 4096;

/// A sign-in under way. It is kept sealed: the verifier is in it.
#[derive(Serialize, Deserialize)]
struct UnderWay {
    nonce: String,
    verifier: String,
    redirect_uri: String,
    next: String,
    /// A hash of the cookie of the browser that began it.
    door: String,
}

#[derive(Deserialize)]
struct Wanted {
    next: Option<String>,
}

/// What the provider sends the browser back with (RFC 6749 §4.1.2, RFC 9207).
#[derive(Deserialize)]
struct Returned {
    state: Option<String>,
    code: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

pub(super) fn routes() -> Router<Arc<Office>> {
    Router::new()
        .route(&format!("{PATH}/openid"), get(begin))
        .route(&format!("{PATH}/openid/callback"), get(finish))
}

/// The link that begins a sign-in. It is a link and no form, since the provider may lead the
/// browser on through any number of sites, which `form-action` would have to name.
pub(super) fn begin_at(next: &str) -> String {
    let next: String = byte_serialize(next.as_bytes()).collect();
    format!("{PATH}/openid?next={next}")
}

async fn begin(
    State(office): Shared,
    uri: Uri,
    headers: HeaderMap,
    Query(Wanted { next }): Query<Wanted>,
) -> Response {
    let next = local(next.as_deref().unwrap_or_default());
    let (Some(openid), Some(front)) = (&office.porter.openid, Front::of(&office, &headers, &uri))
    else {
        return refusal(StatusCode::NOT_FOUND, "No identity provider is set up here.");
    };
    // Another site must not begin it, nor where secrets can be read along.
    if is_led(&headers) || !front.is_private() {
        return redirect(&sign_in_at(Some(next), None), None);
    }
    let now = office.store.clock().now();
    if !office.porter.begun.may_try(b"", now) {
        return back(Some(next), Why::TooMany);
    }
    office.porter.begun.note(Vec::new(), false);
    let known = match openid.known(now).await {
        Ok(known) => known,
        Err(error) => {
            tracing::warn!("a sign-in cannot begin: {error}");
            return back(Some(next), Why::Unhelpful);
        }
    };
    let (door, cookie) = door(&office, &front, &headers);
    let under_way = UnderWay {
        nonce: office.random(),
        verifier: office.random(),
        redirect_uri: format!("{}{PATH}/openid/callback", front.origin),
        next: next.to_owned(),
        door: office.door_hash(&door),
    };
    match office.keep(&under_way).await {
        Ok(state) => redirect(&under_way.page(openid, &known, &state), cookie),
        Err(refused) => refusal_of(&refused),
    }
}

async fn finish(
    State(office): Shared,
    uri: Uri,
    headers: HeaderMap,
    Query(returned): Query<Returned>,
) -> Response {
    let (Some(openid), Some(front)) = (&office.porter.openid, Front::of(&office, &headers, &uri))
    else {
        return refusal(StatusCode::NOT_FOUND, "No identity provider is set up here.");
    };
    match office.come_in(openid, (&front, &headers), &returned).await {
        Ok(response) => response,
        Err(NotIn::Told(why)) => back(None, why),
        // Two have made the same user, or changed it.
        Err(NotIn::Failed(refused)) if refused.is_conflict() => back(None, Why::Again),
        Err(NotIn::Failed(refused)) => refusal_of(&refused),
    }
}

impl UnderWay {
    /// Where the browser is to go (OpenID Connect Core 1.0, §3.1.2.1).
    fn page(&self, openid: &OpenId, known: &Known, state: &str) -> String {
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, self.verifier.as_bytes()));
        let mut query = Serializer::new(String::new());
        query.append_pair("response_type", "code").append_pair("scope", "openid email profile");
        query.append_pair("client_id", &openid.settings.client_id);
        query.append_pair("redirect_uri", &self.redirect_uri);
        query.append_pair("state", state).append_pair("nonce", &self.nonce);
        query.append_pair("code_challenge", &challenge);
        query.append_pair("code_challenge_method", "S256");
        let page = &known.provider.authorization_endpoint;
        let mark = if page.contains('?') { '&' } else { '?' };
        format!("{page}{mark}{}", query.finish())
    }
}

impl Office {
    async fn keep(&self, under_way: &UnderWay) -> Answer<String> {
        let state = self.random();
        let text = serde_json::to_string(under_way).map_err(crate::answer::Refused::broken)?;
        self.store.put_sign_in(&kept_as(&state), &Secret::new(text), MINUTES).await?;
        Ok(state)
    }

    async fn come_in(
        &self,
        openid: &OpenId,
        (front, headers): (&Front, &HeaderMap),
        returned: &Returned,
    ) -> Result<Response, NotIn> {
        let under_way = self.take(front, headers, returned.state.as_deref()).await?;
        if let Some(error) = &returned.error {
            let code: String = error.chars().take(60).collect();
            tracing::info!("the identity provider signs nobody in: {}", code.escape_default());
            return Err(Why::Declined.into());
        }
        let now = self.store.clock().now();
        let known = openid.known(now).await?;
        let names_itself = known.provider.authorization_response_iss_parameter_supported;
        let is_theirs = match &returned.iss {
            Some(issuer) => *issuer == openid.settings.issuer,
            None => !names_itself,
        };
        let code = returned.code.as_ref().filter(|code| code.len() <= ANSWER_BYTES_MAX);
        let (Some(code), true) = (code, is_theirs) else {
            return Err(Why::Unbelievable.into());
        };
        let UnderWay { nonce, verifier, redirect_uri, next, .. } = &under_way;
        let claims = self.claims(openid, &Grant { code, verifier, redirect_uri }, nonce).await?;
        let (edit, founding) = self.admit(openid, &claims).await?;
        Ok(self.begin_session(edit, founding, (front, headers), local(next)).await?)
    }

    /// The sign-in that this browser has under way with this state; it is under way no more.
    async fn take(
        &self,
        front: &Front,
        headers: &HeaderMap,
        state: Option<&str>,
    ) -> Result<UnderWay, NotIn> {
        let door = front.cookie(Cookie::Door, headers).unwrap_or_default();
        let state = state.filter(|it| !door.is_empty() && it.len() <= ANSWER_BYTES_MAX);
        let kept_as = kept_as(state.ok_or(Why::Late)?);
        let text = self.store.take_sign_in(&kept_as).await.map_err(crate::answer::Refused::from)?;
        let text = text.ok_or(Why::Late)?;
        let under_way: UnderWay = serde_json::from_str(text.expose()).map_err(|_| Why::Late)?;
        if same(&under_way.door, &self.door_hash(door)) {
            Ok(under_way)
        } else {
            Err(Why::Late.into())
        }
    }

    fn door_hash(&self, door: &str) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.pepper.hash(&format!("door\n{door}")))
    }
}

/// Apart from the sign-ins of accounts.
fn kept_as(state: &str) -> String {
    format!("console#{state}")
}
