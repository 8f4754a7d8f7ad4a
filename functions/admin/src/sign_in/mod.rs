//! The way into the console: sign-in, sessions, and the protection of its pages. People sign in with the
//! admin token or a key in a form, or with the identity provider (`openid`). The pages are those of
//! `baton-console`, which gets the visitor with each request.

mod openid;
mod openid_claims;
mod security_headers;
mod session;
mod session_cookie;
mod session_csrf;
pub(crate) mod session_seal;

use crate::api_response::ApiResult;
use crate::auth_failures::AuthFailureLimiter;
use crate::authorize::ClientAddress;
use crate::{AdminState, SharedAdminState};
use askama::Template;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use baton_console::{CONSOLE_PATH, SIGN_IN_PATH, to_console_path};
use baton_domain::console_session::SessionSubject;
use baton_domain::relay_key::RelayKey;
use baton_domain::secret::Secret;
use baton_runtime::aws::AwsClients;
use baton_runtime::live_secret::LiveSecret;
use baton_runtime::openid::OpenIdClient;
use baton_runtime::settings::Settings;
use baton_runtime::upstream::UpstreamClient;
use baton_store::ConfigEdit;
use form_urlencoded::byte_serialize;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use serde::Deserialize;
use session::{SessionBasis, error_page, redirect, refusal, render_template, sign_in_audit_json};
use session_cookie::{ConsoleOrigin, CookieKind};
use session_csrf::{FIELD, is_same_site, is_token, token};
use std::net::IpAddr;
use std::sync::Arc;

const STYLE: &str = include_str!("../../templates/sign_in.css");
/// Larger than any credential and address together.
const FORM_BYTES_MAX: usize = 16 << 10;

/// The login methods.
#[derive(Default)]
pub(crate) struct LoginMethods {
    /// The console's origin, if the operator has set it.
    origin: Option<String>,
    openid: Option<OpenIdClient>,
    /// Counts returns from the identity provider, because each causes a call to it.
    callback: AuthFailureLimiter,
}

impl LoginMethods {
    /// Creates the login methods. The provider is reached with the same client as upstreams. No
    /// I/O.
    pub(crate) fn new(settings: &Settings, upstream: &UpstreamClient, aws: &AwsClients) -> Self {
        let allow = settings.upstreams.allow_private;
        let secret = LiveSecret::from_setting(aws, settings, &settings.openid_secret_setting());
        let openid = settings.openid.clone();
        let openid = openid.map(|it| OpenIdClient::new(it, secret, upstream.clone(), allow));
        Self {
            origin: settings.addresses.console_origin.clone(),
            openid,
            callback: AuthFailureLimiter::default(),
        }
    }
}

/// The messages of the sign-in page. They say what to do, but not which users exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SignInNotice {
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

impl SignInNotice {
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

    fn notice_text(self) -> &'static str {
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
struct SignInQuery {
    next: Option<String>,
    #[serde(rename = "why")]
    notice: Option<SignInNotice>,
}

/// The submitted form.
struct SignInForm {
    csrf: String,
    next: String,
    credential: Secret,
}

impl SignInForm {
    fn parse_form(form: &[u8]) -> Self {
        let text = |name: &str| {
            let found = form_urlencoded::parse(form).find(|(key, _)| key == name);
            found.map(|(_, value)| value.into_owned()).unwrap_or_default()
        };
        let credential = Secret::new(text("credential").trim().to_owned());
        Self { csrf: text(FIELD), next: text("next"), credential }
    }
}

/// The console: sign-in pages for everybody, and `pages` for signed-in visitors.
pub(crate) fn console_router(
    state: &Arc<AdminState>,
    pages: Router<Arc<AdminState>>,
) -> Router<Arc<AdminState>> {
    routes()
        .merge(session::routes())
        .nest(CONSOLE_PATH, pages)
        // Layers around the nested router see the whole path.
        .layer(from_fn_with_state(Arc::clone(state), session::require_session))
        .layer(from_fn_with_state(Arc::clone(state), security_headers::add_security_headers))
}

/// `GET /`: redirects every client to the console.
pub(crate) async fn redirect_to_console() -> Redirect {
    Redirect::to(CONSOLE_PATH)
}

fn routes() -> Router<Arc<AdminState>> {
    Router::new()
        .route(SIGN_IN_PATH, get(show_sign_in).post(sign_in))
        .route(&format!("{SIGN_IN_PATH}/style.css"), get(style))
        .merge(openid::routes())
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
}

/// The address of the sign-in page with the page to return to and the message.
fn sign_in_url(next: Option<&str>, notice: Option<SignInNotice>) -> String {
    let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let next = next.map(to_console_path).filter(|next| *next != CONSOLE_PATH);
    let next = next.map(|next| format!("next={}", encode(next)));
    let all: Vec<String> =
        next.into_iter().chain(notice.map(|notice| format!("why={}", notice.name()))).collect();
    let mark = if all.is_empty() { "" } else { "?" };
    format!("{SIGN_IN_PATH}{mark}{}", all.join("&"))
}

async fn style() -> Response {
    let kind = HeaderValue::from_static("text/css; charset=utf-8");
    let day = HeaderValue::from_static("max-age=86400");
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, day)], STYLE).into_response()
}

async fn show_sign_in(
    State(state): SharedAdminState,
    uri: Uri,
    headers: HeaderMap,
    Query(requested): Query<SignInQuery>,
) -> Response {
    let Some(origin) = ConsoleOrigin::from_request(&state, &headers, &uri) else {
        return refusal(StatusCode::BAD_REQUEST, "The request names no host.");
    };
    let mut response =
        sign_in_page(&state, &origin, &headers, requested.next.as_deref(), requested.notice);
    // The message belongs to an earlier request, so this one succeeds.
    *response.status_mut() = StatusCode::OK;
    response
}

/// Shows the page with a form that only this browser can send.
fn sign_in_page(
    state: &AdminState,
    origin: &ConsoleOrigin,
    headers: &HeaderMap,
    next: Option<&str>,
    notice: Option<SignInNotice>,
) -> Response {
    let notice = if origin.is_private() { notice } else { Some(SignInNotice::Plain) };
    let (browser_token, cookie) = browser_token(state, origin, headers);
    let next = to_console_path(next.unwrap_or_default());
    let way = openid::start_url(next);
    let page = render_template(
        notice.map_or(StatusCode::OK, SignInNotice::status),
        &SignInPage {
            csrf: &token(state, &browser_token),
            next,
            message: notice.map(SignInNotice::notice_text),
            is_alarm: notice.is_some_and(|notice| notice.status() != StatusCode::OK),
            provider: state.login_methods.openid.as_ref().map(|_| way.as_str()),
            is_private: origin.is_private(),
        },
    );
    let mut response = page;
    let wait = (notice == Some(SignInNotice::TooMany))
        .then(|| (RETRY_AFTER, HeaderValue::from_static("5")));
    response.headers_mut().extend(cookie.map(|cookie| (SET_COOKIE, cookie)));
    response.headers_mut().extend(wait);
    response
}

/// Returns the value that ties a form or an unfinished sign-in to this browser, and the cookie to
/// set if it is new.
fn browser_token(
    state: &AdminState,
    origin: &ConsoleOrigin,
    headers: &HeaderMap,
) -> (String, Option<HeaderValue>) {
    match origin.cookie(CookieKind::SignIn, headers) {
        Some(browser_token) if !browser_token.is_empty() => (browser_token.to_owned(), None),
        _ => {
            let browser_token = state.random();
            let cookie = origin.set(CookieKind::SignIn, &browser_token, None);
            (browser_token, cookie)
        }
    }
}

async fn sign_in(
    State(state): SharedAdminState,
    ClientAddress(from): ClientAddress,
    uri: Uri,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    let Some(origin) = ConsoleOrigin::from_request(&state, &headers, &uri) else {
        return refusal(StatusCode::BAD_REQUEST, "The request names no host.");
    };
    let values = SignInForm::parse_form(&bytes);
    let retry_page =
        |notice| sign_in_page(&state, &origin, &headers, Some(&values.next), Some(notice));
    if !origin.is_private() {
        return retry_page(SignInNotice::Plain);
    }
    let browser_token = origin.cookie(CookieKind::SignIn, &headers).unwrap_or_default();
    let is_browser_token =
        !browser_token.is_empty() && is_token(&state, browser_token, &values.csrf);
    if !is_browser_token || !is_same_site(&origin, &headers) {
        return retry_page(SignInNotice::Foreign);
    }
    let basis = match state.session_basis(values.credential.expose(), from).await {
        Ok(Some(basis)) => basis,
        Ok(None) => return retry_page(SignInNotice::Wrong),
        Err(error) if error.status() == StatusCode::TOO_MANY_REQUESTS => {
            return retry_page(SignInNotice::TooMany);
        }
        Err(error) if error.status() == StatusCode::FORBIDDEN => {
            return retry_page(SignInNotice::LockedOut);
        }
        Err(error) => return error_page(&error),
    };
    let next = to_console_path(&values.next);
    match state.begin_session(ConfigEdit::default(), basis, &origin, &headers, next).await {
        Ok(response) => response,
        Err(error) => error_page(&error),
    }
}

impl AdminState {
    /// Checks the admin token or key. Wrong ones are counted together with those of the API.
    async fn session_basis(
        &self,
        credential: &str,
        from: Option<IpAddr>,
    ) -> ApiResult<Option<SessionBasis>> {
        let basis = if self.is_admin_token(credential).await? {
            let message = sign_in_audit_json("admin_token");
            Some(SessionBasis {
                subject: SessionSubject::Token,
                round: 0,
                proof: self.pepper.hash(credential),
                message,
            })
        } else if let Ok(given) = RelayKey::parse(credential) {
            self.find_valid_key(&given).await?.map(|(key, user)| {
                let mut message = sign_in_audit_json("key");
                message["key_id"] = serde_json::json!(key.value.id);
                let subject = SessionSubject::Key { key: key.value.id, user: user.id };
                let proof = key.secret.unwrap_or_default();
                SessionBasis { subject, round: user.session_round, proof, message }
            })
        } else {
            None
        };
        if basis.is_none() {
            self.count_failed_attempt(credential, from)?;
        }
        Ok(basis)
    }
}

/// Redirects back to the sign-in page with a message.
fn redirect_to_sign_in(next: Option<&str>, notice: SignInNotice) -> Response {
    redirect(&sign_in_url(next, Some(notice)), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn return_path_is_encoded() {
        assert_eq!(sign_in_url(None, None), "/console/sign-in");
        assert_eq!(sign_in_url(Some("/console"), None), "/console/sign-in");
        assert_eq!(
            sign_in_url(Some("/console/keys?a=1&b=2"), Some(SignInNotice::Wrong)),
            "/console/sign-in?next=%2Fconsole%2Fkeys%3Fa%3D1%26b%3D2&why=wrong"
        );
    }
}
