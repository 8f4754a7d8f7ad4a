//! Lets pages of other origins call the relay (Fetch standard, "CORS protocol").
//!
//! Clients that run in a browser need it, as they do of Anthropic's and OpenAI's own APIs. A key in a
//! header guards every call, and no cookie means anything here, so every origin may ask.

use crate::body::RelayBody;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

const ANY: HeaderValue = HeaderValue::from_static("*");

/// The time in seconds for which a browser keeps the answer. Chromium keeps none for longer.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// Whether a page of another origin sent the request.
pub(crate) fn is_cross_origin(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN)
}

/// The answer for a preflight request of a route that accepts the methods in `allow`.
pub(crate) fn answer_preflight(head: &Parts, allow: &'static str) -> Option<Response<RelayBody>> {
    let is_preflight = head.method == Method::OPTIONS
        && head.headers.contains_key(ORIGIN)
        && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if !is_preflight {
        return None;
    }
    let mut response = Response::new(RelayBody::from_bytes(""));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(allow));
    // The wildcard does not include `authorization`, so the names are repeated.
    if let Some(names) = head.headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    headers.append(VARY, HeaderValue::from_static("access-control-request-headers"));
    Some(response)
}

/// Permits the page to read an answer, with all of its headers.
pub(crate) fn permit_reading(headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, ANY);
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn head(method: Method, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri("/v1/messages");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn preflight_permits_the_requested_headers() {
        let names = "x-api-key,anthropic-version,content-type";
        let asked = [
            ("origin", "https://app.example.com"),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", names),
        ];
        let response = answer_preflight(&head(Method::OPTIONS, &asked), "POST").unwrap();
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_METHODS], "POST");
        assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_HEADERS], names);
        assert!(answer_preflight(&head(Method::POST, &asked), "POST").is_none());
        assert!(answer_preflight(&head(Method::OPTIONS, &asked[..1]), "POST").is_none());
    }

    #[test]
    fn page_may_read_an_answer() {
        let mut headers = HeaderMap::new();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("https://a.example"));
        permit_reading(&mut headers);
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert_eq!(headers[ACCESS_CONTROL_EXPOSE_HEADERS], "*");
        assert!(!is_cross_origin(&HeaderMap::new()));
    }
}
