//! Protection against cross-site request forgery: by a token in the console's pages, and by the
//! headers with which browsers report the origin of a request.

use super::session_cookie::ConsoleOrigin;
use crate::AdminState;
use crate::body_bounds::BODY_BYTES_MAX;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use baton_runtime::vault::is_equal_constant_time;
use http::header::{CONTENT_TYPE, ORIGIN};
use http::{HeaderMap, HeaderName};

/// The hidden form field with the token.
pub(super) const FIELD: &str = "csrf";
const HEADER: HeaderName = HeaderName::from_static("x-csrf-token");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a change is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CsrfError {
    /// The request comes from another site.
    Site,
    /// The token is missing or wrong.
    Token,
    /// The body is larger than handlers accept.
    Body,
}

/// The CSRF token for a cookie.
pub(super) fn token(state: &AdminState, cookie: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(state.pepper.hash(&format!("csrf\n{cookie}")))
}

/// Whether `given` is the CSRF token for this cookie.
pub(super) fn is_token(state: &AdminState, cookie: &str, given: &str) -> bool {
    is_equal_constant_time(&token(state, cookie), given)
}

/// Whether the headers allow that the request comes from the console's own pages. Every current
/// browser sends at least one of them. If both are missing, the token decides.
pub(super) fn is_same_site(console_origin: &ConsoleOrigin, headers: &HeaderMap) -> bool {
    let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let site = text(&FETCH_SITE).is_none_or(|site| site == "same-origin" || site == "none");
    site && text(&ORIGIN).is_none_or(|origin| origin.eq_ignore_ascii_case(&console_origin.origin))
}

/// Whether another site led the browser to this address.
pub(super) fn is_cross_site_navigation(headers: &HeaderMap) -> bool {
    headers.get(FETCH_SITE).is_some_and(|site| site == "cross-site")
}

/// Accepts a change if it was sent from a page of the session with this cookie.
pub(super) async fn check(
    state: &AdminState,
    console_origin: &ConsoleOrigin,
    cookie: &str,
    request: Request,
) -> Result<Request, CsrfError> {
    if !is_same_site(console_origin, request.headers()) {
        return Err(CsrfError::Site);
    }
    let good = |given: &str| is_token(state, cookie, given);
    if let Some(given) = request.headers().get(HEADER) {
        let is_valid = given.to_str().is_ok_and(good);
        return if is_valid { Ok(request) } else { Err(CsrfError::Token) };
    }
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !kind.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded")) {
        return Err(CsrfError::Token);
    }
    let (head, body) = request.into_parts();
    let bytes = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| CsrfError::Body)?;
    let field = form_urlencoded::parse(&bytes).find(|(name, _)| name == FIELD);
    if field.is_some_and(|(_, given)| good(&given)) {
        Ok(Request::from_parts(head, Body::from(bytes)))
    } else {
        Err(CsrfError::Token)
    }
}
