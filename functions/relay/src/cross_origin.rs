//! Lets pages of other origins call the relay (Fetch standard, "CORS protocol").
//!
//! Clients that run in a browser need it. The operator lists their origins (`BATON_CORS_ORIGINS`). A
//! key in a header guards every call, and no cookie means anything here.

use crate::body::RelayBody;
use baton_runtime::settings::AllowedOrigins;
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

/// What the settings permit to the page that sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CrossOriginPermission {
    /// The value of `access-control-allow-origin`, if the origin is allowed.
    allow_origin: Option<HeaderValue>,
    /// Whether the answer differs by origin, which caches have to know.
    varies: bool,
}

impl CrossOriginPermission {
    /// The permission for a request with these headers.
    pub(crate) fn new(allowed: &AllowedOrigins, headers: &HeaderMap) -> Self {
        let origin = headers.get(ORIGIN);
        match allowed {
            AllowedOrigins::Any => Self { allow_origin: origin.map(|_| ANY), varies: false },
            AllowedOrigins::Listed(origins) => {
                let is_listed = |origin: &&HeaderValue| {
                    let is =
                        |known: &String| known.as_bytes().eq_ignore_ascii_case(origin.as_bytes());
                    origins.iter().any(is)
                };
                let allow_origin = origin.filter(is_listed).cloned();
                Self { allow_origin, varies: !origins.is_empty() }
            }
        }
    }

    /// The answer for a preflight request of a route that accepts the methods in `allow`. Without
    /// permission it has no headers that allow anything.
    pub(crate) fn answer_preflight(
        &self,
        head: &Parts,
        allow: &'static str,
    ) -> Option<Response<RelayBody>> {
        let is_preflight = head.method == Method::OPTIONS
            && head.headers.contains_key(ORIGIN)
            && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !is_preflight {
            return None;
        }
        let mut response = Response::new(RelayBody::from_bytes(""));
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        if let Some(origin) = &self.allow_origin {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(allow));
            // The wildcard does not include `authorization`, so the names are repeated.
            if let Some(names) = head.headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
                headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
            }
            headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
            headers.append(VARY, HeaderValue::from_static("access-control-request-headers"));
        }
        self.add_vary(headers);
        Some(response)
    }

    /// Permits the page to read an answer, with all of its headers.
    pub(crate) fn permit_reading(&self, headers: &mut HeaderMap) {
        if let Some(origin) = &self.allow_origin {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, ANY);
        }
        self.add_vary(headers);
    }

    fn add_vary(&self, headers: &mut HeaderMap) {
        if self.varies {
            headers.append(VARY, HeaderValue::from_static("origin"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    const APP: &str = "https://app.example.com";
    const NAMES: &str = "x-api-key,anthropic-version,content-type";

    fn listed() -> AllowedOrigins {
        AllowedOrigins::Listed(vec!["http://localhost:3000".to_owned(), APP.to_owned()])
    }

    fn head(method: Method, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri("/v1/messages");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn preflight(allowed: &AllowedOrigins, origin: &str) -> HeaderMap {
        let asked = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", NAMES),
        ];
        let head = head(Method::OPTIONS, &asked);
        let permission = CrossOriginPermission::new(allowed, &head.headers);
        let response = permission.answer_preflight(&head, "POST").unwrap();
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        response.headers().clone()
    }

    #[test]
    fn preflight_of_an_allowed_origin_permits_the_requested_headers() {
        for (allowed, origin, expect) in [
            (AllowedOrigins::Any, "null", "*"),
            (AllowedOrigins::Any, APP, "*"),
            (listed(), APP, APP),
        ] {
            let headers = preflight(&allowed, origin);
            assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], expect);
            assert_eq!(headers[ACCESS_CONTROL_ALLOW_METHODS], "POST");
            assert_eq!(headers[ACCESS_CONTROL_ALLOW_HEADERS], NAMES);
        }
    }

    #[test]
    fn preflight_of_another_origin_permits_nothing() {
        for (allowed, origin) in [
            (AllowedOrigins::Listed(Vec::new()), APP),
            (listed(), "null"),
            (listed(), "https://app.example.com.evil.example"),
            (listed(), "http://app.example.com"),
            (listed(), "https://app.example.com:8443"),
        ] {
            let headers = preflight(&allowed, origin);
            let permits = |name: &&http::HeaderName| name.as_str().starts_with("access-control-");
            assert_eq!(headers.keys().find(permits), None, "{origin}");
        }
        assert_eq!(preflight(&listed(), "null")[VARY], "origin");
    }

    #[test]
    fn other_requests_are_no_preflight() {
        let asked = [("origin", APP), ("access-control-request-method", "POST")];
        for head in [head(Method::POST, &asked), head(Method::OPTIONS, &asked[..1])] {
            let permission = CrossOriginPermission::new(&listed(), &head.headers);
            assert!(permission.answer_preflight(&head, "POST").is_none());
        }
    }

    #[test]
    fn page_of_an_allowed_origin_may_read_an_answer() {
        let check = |allowed: &AllowedOrigins, origin: Option<&str>, expect: Option<&str>| {
            let asked: Vec<_> = origin.map(|origin| ("origin", origin)).into_iter().collect();
            let head = head(Method::POST, &asked);
            let mut headers = HeaderMap::new();
            CrossOriginPermission::new(allowed, &head.headers).permit_reading(&mut headers);
            let value = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap());
            assert_eq!(value(ACCESS_CONTROL_ALLOW_ORIGIN), expect, "{origin:?}");
            assert_eq!(value(ACCESS_CONTROL_EXPOSE_HEADERS), expect.map(|_| "*"), "{origin:?}");
        };
        check(&AllowedOrigins::Any, Some(APP), Some("*"));
        check(&AllowedOrigins::Any, None, None);
        check(&listed(), Some(APP), Some(APP));
        check(&listed(), Some("https://evil.example"), None);
        check(&listed(), None, None);
        check(&AllowedOrigins::Listed(Vec::new()), Some(APP), None);
    }
}
