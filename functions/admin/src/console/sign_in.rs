//! The sign-in page: with the admin token or an own key in a form, or with the identity provider
//! (`sign_in_openid`). `session` has the sessions.

use super::session::{Founding, page, redirect, refusal, refusal_of, signed_in_by};
use super::session_cookie::{Cookie, Front};
use super::session_csrf::{FIELD, is_own, is_token, token};
use super::{BASE, sign_in_openid};
use crate::answer::Answer;
use crate::attempts::Attempts;
use crate::authorize::ClientAddress;
use crate::{Office, Shared};
use askama::Template;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use baton_cloud::aws::Aws;
use baton_cloud::live_secret::LiveSecret;
use baton_cloud::openid::OpenId;
use baton_cloud::settings::Settings;
use baton_cloud::store::Edit;
use baton_cloud::upstream::Upstream;
use baton_domain::relay_key::RelayKey;
use baton_domain::secret::Secret;
use baton_domain::session::Who;
use form_urlencoded::byte_serialize;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use serde::Deserialize;
use std::net::IpAddr;
use std::sync::Arc;

pub(super) const PATH: &str = "/console/sign-in";
const STYLE: &str = include_str!("../../templates/sign_in.css");
/// Larger than any credential and address together.
const FORM_BYTES_MAX: usize = 16 << 10;
const NEXT_BYTES_MAX: usize = 2000;

/// The login methods.
#[derive(Default)]
pub(crate) struct Porter {
    /// The console's origin, if the operator has set it.
    pub(super) origin: Option<String>,
    pub(super) openid: Option<OpenId>,
    /// Counts returns from the identity provider, because each causes a call to it.
    pub(super) returned: Attempts,
}

impl Porter {
    /// Creates the login methods. The provider is reached with the same client as upstreams. No
    /// I/O.
    pub(crate) fn new(settings: &Settings, upstream: &Upstream, aws: &Aws) -> Self {
        let allow = settings.allow_private_upstreams;
        let secret = LiveSecret::of(aws, settings, &settings.openid_secret_setting());
        let openid = settings.openid.clone();
        let openid = openid.map(|it| OpenId::new((it, secret), upstream.clone(), allow));
        Self { origin: settings.console_origin.clone(), openid, returned: Attempts::default() }
    }
}

/// The messages of the sign-in page. They say what to do, but not which users exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Why {
    SignedOut,
    Wrong,
    LockedOut,
    TooMany,
    Foreign,
    Plain,
    Declined,
    Unhelpful,
    Late,
    Unbelievable,
    Unverified,
    Nobody,
    Again,
    #[serde(other)]
    Unknown,
}

impl Why {
    fn name(self) -> &'static str {
        match self {
            Self::SignedOut => "signed_out",
            Self::Wrong => "wrong",
            Self::LockedOut => "locked_out",
            Self::TooMany => "too_many",
            Self::Foreign => "foreign",
            Self::Plain => "plain",
            Self::Declined => "declined",
            Self::Unhelpful => "unhelpful",
            Self::Late => "late",
            Self::Unbelievable => "unbelievable",
            Self::Unverified => "unverified",
            Self::Nobody => "nobody",
            Self::Again => "again",
            Self::Unknown => "unknown",
        }
    }

    fn says(self) -> &'static str {
        match self {
            Self::SignedOut => "You are signed out.",
            Self::Wrong => {
                "This token or key is not valid here. Enter the admin token (printed at the first \
                 start, or BATON_ADMIN_TOKEN) or a key (bt_…) that belongs to an enabled user."
            }
            Self::LockedOut => "The setting “Members have access” is off. Ask an administrator.",
            Self::TooMany => "Too many attempts. Wait a few seconds, then try again.",
            Self::Foreign => {
                "The form has expired or was sent from another site. Please try again."
            }
            Self::Plain => {
                "This connection is not encrypted. Open the console with https, or on the machine \
                 that it runs on. Behind a proxy, set BATON_CONSOLE_ORIGIN to the console's https \
                 address."
            }
            Self::Declined => "The identity provider did not sign you in. Try again there.",
            Self::Unhelpful => {
                "The identity provider did not answer as expected; the log has the reason. Try \
                 again in a minute, or use the admin token."
            }
            Self::Late => {
                "This sign-in took longer than ten minutes, was already finished, or began in \
                 another browser. Please start again."
            }
            Self::Unbelievable => {
                "The answer of the identity provider is not valid; the log has the reason. Start \
                 again; if that does not help, tell an administrator."
            }
            Self::Unverified => {
                "The identity provider has not verified your e-mail address. Verify it there, \
                 then sign in again."
            }
            Self::Nobody => {
                "The identity provider knows you, but you have no access here. Ask an \
                 administrator to add or enable you."
            }
            Self::Again => "Somebody else was signing in at the same moment. Please try again.",
            Self::Unknown => "Please sign in.",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::SignedOut | Self::Unknown => StatusCode::OK,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::FORBIDDEN,
        }
    }
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage<'a> {
    csrf: &'a str,
    next: &'a str,
    message: Option<&'a str>,
    /// Whether the message is an error.
    is_alarm: bool,
    /// The link to the identity provider, if one is configured.
    provider: Option<&'a str>,
    /// Whether it is safe to enter secrets.
    is_private: bool,
}

#[derive(Deserialize)]
struct Asked {
    next: Option<String>,
    why: Option<Why>,
}

/// The submitted form.
struct Typed {
    csrf: String,
    next: String,
    credential: Secret,
}

impl Typed {
    fn read(form: &[u8]) -> Self {
        let text = |name: &str| {
            let found = form_urlencoded::parse(form).find(|(key, _)| key == name);
            found.map(|(_, value)| value.into_owned()).unwrap_or_default()
        };
        let credential = Secret::new(text("credential").trim().to_owned());
        Self { csrf: text(FIELD), next: text("next"), credential }
    }
}

pub(super) fn routes() -> Router<Arc<Office>> {
    Router::new()
        .route(PATH, get(ask).post(sign_in))
        .route(&format!("{PATH}/style.css"), get(style))
        .merge(sign_in_openid::routes())
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
}

/// The address of the sign-in page with the page to return to and the message.
pub(super) fn sign_in_at(next: Option<&str>, why: Option<Why>) -> String {
    let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let next = next.map(local).filter(|next| *next != BASE);
    let next = next.map(|next| format!("next={}", encode(next)));
    let all: Vec<String> =
        next.into_iter().chain(why.map(|why| format!("why={}", why.name()))).collect();
    let mark = if all.is_empty() { "" } else { "?" };
    format!("{PATH}{mark}{}", all.join("&"))
}

/// The address to go to after sign-in: `next` if it is a page of the console, else the first page.
pub(super) fn local(next: &str) -> &str {
    let is_plain = next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let is_page = is_at(next, BASE) && !is_at(next, PATH);
    if is_page && is_plain && next.len() <= NEXT_BYTES_MAX { next } else { BASE }
}

/// Whether the address is `place` or below it.
fn is_at(address: &str, place: &str) -> bool {
    let rest = address.strip_prefix(place);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
}

async fn style() -> Response {
    let kind = HeaderValue::from_static("text/css; charset=utf-8");
    let day = HeaderValue::from_static("max-age=86400");
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, day)], STYLE).into_response()
}

async fn ask(
    State(office): Shared,
    uri: Uri,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Response {
    let Some(front) = Front::of(&office, &headers, &uri) else {
        return refusal(StatusCode::BAD_REQUEST, "The request names no host.");
    };
    let mut response = show(&office, &front, &headers, (asked.next.as_deref(), asked.why));
    // The message belongs to an earlier request, so this one succeeds.
    *response.status_mut() = StatusCode::OK;
    response
}

/// Shows the page with a form that only this browser can send.
fn show(
    office: &Office,
    front: &Front,
    headers: &HeaderMap,
    (next, why): (Option<&str>, Option<Why>),
) -> Response {
    let why = if front.is_private() { why } else { Some(Why::Plain) };
    let (door, cookie) = door(office, front, headers);
    let next = local(next.unwrap_or_default());
    let way = sign_in_openid::begin_at(next);
    let page = page(
        why.map_or(StatusCode::OK, Why::status),
        &SignInPage {
            csrf: &token(office, &door),
            next,
            message: why.map(Why::says),
            is_alarm: why.is_some_and(|why| why.status() != StatusCode::OK),
            provider: office.porter.openid.as_ref().map(|_| way.as_str()),
            is_private: front.is_private(),
        },
    );
    let mut response = page;
    let wait = (why == Some(Why::TooMany)).then(|| (RETRY_AFTER, HeaderValue::from_static("5")));
    response.headers_mut().extend(cookie.map(|cookie| (SET_COOKIE, cookie)));
    response.headers_mut().extend(wait);
    response
}

/// Returns the value that ties a form or an unfinished sign-in to this browser, and the cookie to
/// set if it is new.
pub(super) fn door(
    office: &Office,
    front: &Front,
    headers: &HeaderMap,
) -> (String, Option<HeaderValue>) {
    match front.cookie(Cookie::Door, headers) {
        Some(door) if !door.is_empty() => (door.to_owned(), None),
        _ => {
            let door = office.random();
            let cookie = front.set(Cookie::Door, &door, None);
            (door, cookie)
        }
    }
}

async fn sign_in(
    State(office): Shared,
    ClientAddress(from): ClientAddress,
    uri: Uri,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    let Some(front) = Front::of(&office, &headers, &uri) else {
        return refusal(StatusCode::BAD_REQUEST, "The request names no host.");
    };
    let typed = Typed::read(&bytes);
    let again = |why| show(&office, &front, &headers, (Some(&typed.next), Some(why)));
    if !front.is_private() {
        return again(Why::Plain);
    }
    let door = front.cookie(Cookie::Door, &headers).unwrap_or_default();
    let is_ours = !door.is_empty() && is_token(&office, door, &typed.csrf);
    if !is_ours || !is_own(&front, &headers) {
        return again(Why::Foreign);
    }
    let founding = match office.founding(typed.credential.expose(), from).await {
        Ok(Some(founding)) => founding,
        Ok(None) => return again(Why::Wrong),
        Err(refused) if refused.status() == StatusCode::TOO_MANY_REQUESTS => {
            return again(Why::TooMany);
        }
        Err(refused) if refused.status() == StatusCode::FORBIDDEN => return again(Why::LockedOut),
        Err(refused) => return refusal_of(&refused),
    };
    let (next, place) = (local(&typed.next), (&front, &headers));
    match office.begin_session(Edit::default(), founding, place, next).await {
        Ok(response) => response,
        Err(refused) => refusal_of(&refused),
    }
}

impl Office {
    /// Checks the admin token or key. Wrong ones are counted together with those of the API.
    async fn founding(&self, credential: &str, from: Option<IpAddr>) -> Answer<Option<Founding>> {
        let founding = if self.is_admin_token(credential).await? {
            let said = signed_in_by("admin_token");
            Some(Founding { who: Who::Token, round: 0, proof: self.pepper.hash(credential), said })
        } else if let Ok(given) = RelayKey::parse(credential) {
            self.held(&given).await?.map(|(key, user)| {
                let mut said = signed_in_by("key");
                said["key_id"] = serde_json::json!(key.value.id);
                let who = Who::Key { key: key.value.id, user: user.id };
                let proof = key.secret.unwrap_or_default();
                Founding { who, round: user.session_round, proof, said }
            })
        } else {
            None
        };
        if founding.is_none() {
            self.failed_too_often(credential, from)?;
        }
        Ok(founding)
    }
}

/// Redirects back to the sign-in page with a message.
pub(super) fn back(next: Option<&str>, why: Why) -> Response {
    redirect(&sign_in_at(next, Some(why)), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_away() {
        for page in ["/console", "/console/keys", "/console?tab=1", "/console/keys?q=a%2Fb&x=//y"] {
            assert_eq!(local(page), page);
        }
        for other in [
            "",
            "/",
            "//evil.example",
            "/\\evil.example",
            "/console\\..\\evil",
            "https://evil.example/console",
            "/consoles",
            "/console@evil.example",
            "/console/a b",
            "/console/\r\nset-cookie: a=b",
            "/console/é",
            "javascript:alert(1)",
            "/console/sign-in?next=/console",
            "/console/sign-in/openid",
            "console",
        ] {
            assert_eq!(local(other), BASE, "{other}");
        }
        assert_eq!(local(&format!("/console/{}", "a".repeat(NEXT_BYTES_MAX))), BASE);
    }

    #[test]
    fn the_way_back_is_encoded() {
        assert_eq!(sign_in_at(None, None), "/console/sign-in");
        assert_eq!(sign_in_at(Some("/console"), None), "/console/sign-in");
        assert_eq!(
            sign_in_at(Some("/console/keys?a=1&b=2"), Some(Why::Wrong)),
            "/console/sign-in?next=%2Fconsole%2Fkeys%3Fa%3D1%26b%3D2&why=wrong"
        );
    }
}
