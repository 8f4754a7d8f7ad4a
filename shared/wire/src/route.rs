//! Which route a request means (contract §2), whatever base URL its client was given.

use crate::bedrock::Action;
use crate::headers::names_owner;
use baton_domain::relay_key::is_within;
use http::Method;
use std::borrow::Cow;

/// What the relay serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `POST /v1/messages`
    Messages,
    /// `POST /v1/messages/count_tokens`
    CountTokens,
    /// `GET /v1/models`
    Models,
    /// `GET /v1/models/{id}`, the id decoded.
    Model(String),
    /// `POST /v1/chat/completions`
    ChatCompletions,
    /// `POST /v1/responses`
    Responses,
    /// `GET /v1/usage`
    Usage,
    /// `POST /model/{id}/invoke` and its like: a client that speaks Bedrock. The id decoded.
    Bedrock(String, Action),
    /// `GET /inference-profiles`: Bedrock's list of models.
    InferenceProfiles,
    /// `/`, `/api/hello`, `/health`: whether anybody is there.
    Alive,
}

impl Route {
    /// The path that an upstream is asked for, without aliases. The query stays the client's.
    pub fn upstream_path(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Messages => "/v1/messages",
            Self::CountTokens => "/v1/messages/count_tokens",
            Self::Models => "/v1/models",
            Self::Model(id) => return Cow::Owned(format!("/v1/models/{}", encoded(id))),
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Responses => "/v1/responses",
            Self::Usage => "/v1/usage",
            Self::Bedrock(model, action) => {
                return Cow::Owned(crate::bedrock::path(model, *action));
            }
            Self::InferenceProfiles => "/inference-profiles",
            Self::Alive => "/",
        })
    }
}

/// The path and query that an upstream is asked for: the query as it came, but for what holds a
/// relay key (some clients put it there, and no upstream is to have it) and what chooses another
/// organization.
pub fn with_query(path: &str, query: Option<&str>) -> String {
    match query {
        None => path.to_owned(),
        Some(query) if query.split('&').all(may_pass) => format!("{path}?{query}"),
        Some(query) => {
            let kept = query.split('&').filter(|pair| may_pass(pair)).collect::<Vec<_>>().join("&");
            if kept.is_empty() { path.to_owned() } else { format!("{path}?{kept}") }
        }
    }
}

/// Whether a parameter may go upstream: none with a relay key, with a credential of the client's own,
/// or that chooses another organization or project (Google: `userProject`, `key`).
fn may_pass(pair: &str) -> bool {
    const CREDENTIALS: [&str; 6] =
        ["key", "api_key", "api-key", "access_token", "quotauser", "subscription-key"];
    let name = pair.split('=').next().unwrap_or_default();
    let name = decoded(name).unwrap_or_else(|| name.to_owned()).to_ascii_lowercase();
    !is_within(pair.as_bytes()) && !CREDENTIALS.contains(&name.as_str()) && !names_owner(&name)
}

/// Why there is no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoute {
    /// Nothing is served at this path.
    Unknown,
    /// Something is, but not by this method.
    Method {
        /// The value of the `allow` header.
        allow: &'static str,
    },
    /// `GET /v1/responses`, a WebSocket attempt: 426, on which Codex falls back at once (facts:
    /// real clients, 2026-11-22).
    UpgradeRequired,
}

/// The route of a method and a path without its query.
///
/// # Errors
/// There is none.
pub fn resolve(method: &Method, path: &str) -> Result<Route, NoRoute> {
    let plain = plain_path(path);
    let (route, allow) = match plain.as_str() {
        "/v1/messages" => (Route::Messages, "POST"),
        "/v1/messages/count_tokens" => (Route::CountTokens, "POST"),
        "/v1/chat/completions" => (Route::ChatCompletions, "POST"),
        "/v1/responses" if method == Method::GET => return Err(NoRoute::UpgradeRequired),
        "/v1/responses" => (Route::Responses, "POST"),
        "/v1/models" => (Route::Models, "GET, HEAD"),
        "/v1/usage" => (Route::Usage, "GET, HEAD"),
        "/" | "/api/hello" | "/health" => (Route::Alive, "GET, HEAD"),
        "/inference-profiles" => (Route::InferenceProfiles, "GET, HEAD"),
        other if let Some((model, action)) = Action::of_path(other) => {
            let model = decoded(model).ok_or(NoRoute::Unknown)?;
            (Route::Bedrock(model, action), "POST")
        }
        other => {
            let id = other.strip_prefix("/v1/models/").and_then(decoded);
            (Route::Model(id.ok_or(NoRoute::Unknown)?), "GET, HEAD")
        }
    };
    let allowed = allow.split(", ").any(|name| name == method.as_str());
    if allowed { Ok(route) } else { Err(NoRoute::Method { allow }) }
}

/// The path without aliases, empty segments and doubled `/v1`.
pub(crate) fn plain_path(path: &str) -> String {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty()).peekable();
    let _ = segments.next_if(|first| ["claude-code", "anthropic"].contains(first));
    let mut plain = String::with_capacity(path.len() + 1);
    while let Some(segment) = segments.next() {
        let is_doubled = plain.is_empty() && segment == "v1" && segments.peek() == Some(&"v1");
        if !is_doubled {
            plain.push('/');
            plain.push_str(segment);
        }
    }
    if plain.is_empty() {
        plain.push('/');
    }
    plain
}

/// Percent-decoded text; `None` when it is no UTF-8 or an escape is broken.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            let (digits, tail) = rest.split_at_checked(2)?;
            let digits = std::str::from_utf8(digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = tail;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.is_empty())
}

/// Percent-encoded but for what a path segment may hold (RFC 3986, §3.3), slashes kept.
fn encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:@!$&'()*+,;=/".contains(&byte);
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_plain(byte) {
            encoded.push(char::from(byte));
        } else {
            let digit = |half: u8| char::from(b"0123456789ABCDEF"[usize::from(half)]);
            encoded.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_domain::id::KeyId;
    use baton_domain::relay_key::{compose, new_secret};
    use proptest::prelude::*;

    fn check(method: &str, path: &str, expect: &Result<Route, NoRoute>) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        assert_eq!(&resolve(&method, path), expect, "{method} {path}");
    }

    #[test]
    fn every_route_under_every_base() {
        let routes = [
            ("POST", "/v1/messages", Route::Messages),
            ("POST", "/v1/messages/count_tokens", Route::CountTokens),
            ("GET", "/v1/models", Route::Models),
            ("GET", "/v1/models/claude-opus-5-5", Route::Model("claude-opus-5-5".into())),
            ("POST", "/v1/chat/completions", Route::ChatCompletions),
            ("POST", "/v1/responses", Route::Responses),
            ("GET", "/v1/usage", Route::Usage),
        ];
        let bases =
            ["", "/claude-code", "/anthropic", "/v1", "/anthropic/v1", "/", "/claude-code/"];
        for (method, path, route) in routes {
            for base in bases {
                check(method, &format!("{base}{path}"), &Ok(route.clone()));
                check(method, &format!("{base}{path}/"), &Ok(route.clone()));
            }
            assert_eq!(route.upstream_path(), path);
        }
    }

    #[test]
    fn bedrocks_routes() {
        let (raw, encoded) = ("/model/a.b-v1:0/invoke", "/model/a.b-v1%3A0/invoke");
        let route = Route::Bedrock("a.b-v1:0".into(), Action::Invoke);
        for path in [raw, encoded, "/anthropic/model/a.b-v1%3A0/invoke"] {
            check("POST", path, &Ok(route.clone()));
        }
        assert_eq!(route.upstream_path(), encoded);
        let arn = "/model/arn%3Aaws%3Abedrock%3A%3Aprofile%2Fx/invoke-with-response-stream";
        let route = Route::Bedrock("arn:aws:bedrock::profile/x".into(), Action::Stream);
        check("POST", arn, &Ok(route));
        check("GET", raw, &Err(NoRoute::Method { allow: "POST" }));
        check("GET", "/inference-profiles", &Ok(Route::InferenceProfiles));
        check("POST", "/model/%zz/invoke", &Err(NoRoute::Unknown));
    }

    #[test]
    fn signs_of_life() {
        for path in ["", "/", "/api/hello", "/health", "/claude-code", "/claude-code/api/hello/"] {
            check("HEAD", path, &Ok(Route::Alive));
            check("GET", path, &Ok(Route::Alive));
        }
        check("POST", "/", &Err(NoRoute::Method { allow: "GET, HEAD" }));
    }

    #[test]
    fn wrong_methods() {
        check("GET", "/v1/messages", &Err(NoRoute::Method { allow: "POST" }));
        check("OPTIONS", "/anthropic/v1/messages", &Err(NoRoute::Method { allow: "POST" }));
        check("POST", "/v1/models", &Err(NoRoute::Method { allow: "GET, HEAD" }));
        check("DELETE", "/v1/models/x", &Err(NoRoute::Method { allow: "GET, HEAD" }));
        check("GET", "/v1/responses", &Err(NoRoute::UpgradeRequired));
        check("GET", "/claude-code/v1/v1/responses/", &Err(NoRoute::UpgradeRequired));
        check("PUT", "/v1/responses", &Err(NoRoute::Method { allow: "POST" }));
    }

    #[test]
    fn unknown_paths() {
        let paths = [
            "/v1",
            "/v2/messages",
            "/messages",
            "/v1/message",
            "/v1/messages/batches",
            "/claude-code/anthropic/v1/messages",
            "/V1/messages",
            "/v1/complete",
            "/healthz",
            "/v1/models/%zz",
            "/v1/models/%ff",
            "/v1/models/%2",
            "/v1/responses/resp_1",
        ];
        for path in paths {
            check("POST", path, &Err(NoRoute::Unknown));
        }
        check("GET", "/v1/messages/../models", &Err(NoRoute::Unknown));
    }

    #[test]
    fn model_ids() {
        let check = |path: &str, id: &str, upstream: &str| {
            let route = resolve(&Method::GET, path).unwrap();
            assert_eq!(route, Route::Model(id.into()));
            assert_eq!(route.upstream_path(), upstream);
        };
        check("/v1/models/a:b@c", "a:b@c", "/v1/models/a:b@c");
        check("/v1/models/anthropic/claude", "anthropic/claude", "/v1/models/anthropic/claude");
        check("/v1/models/a%2Fb%20%C3%A9", "a/b é", "/v1/models/a/b%20%C3%A9");
        check("/v1/models/a%3Fb%23%25", "a?b#%", "/v1/models/a%3Fb%23%25");
    }

    #[test]
    fn a_query_passes_as_it_came_but_for_a_relay_key() {
        let bits = [u128::MAX / 3, 12345];
        let key = compose(&KeyId::from_bits(9), &new_secret(bits)).expose().to_owned();
        for (query, expect) in [
            (None, "/v1/x".to_owned()),
            (Some(String::new()), "/v1/x?".to_owned()),
            (Some("beta=true&&a=%20+&b".to_owned()), "/v1/x?beta=true&&a=%20+&b".to_owned()),
            (Some(format!("key={key}")), "/v1/x".to_owned()),
            (Some(format!("a=1&key={key}&b=%41")), "/v1/x?a=1&b=%41".to_owned()),
            (Some("organization=o&a=1".to_owned()), "/v1/x?a=1".to_owned()),
            (Some("%6frganization%5Fid=o&userProject=p".to_owned()), "/v1/x".to_owned()),
            (Some("workspace_id=w&key=AIza&beta=true".to_owned()), "/v1/x?beta=true".to_owned()),
        ] {
            assert_eq!(with_query("/v1/x", query.as_deref()), expect);
        }
    }

    proptest! {
        #[test]
        fn no_path_panics(path in "\\PC{0,60}") {
            if let Ok(route) = resolve(&Method::GET, &path) {
                prop_assert!(route.upstream_path().is_ascii());
            }
        }

        #[test]
        fn ids_survive(id in "[^/]{1,20}") {
            let path = Route::Model(id.clone()).upstream_path().into_owned();
            prop_assert_eq!(resolve(&Method::GET, &path), Ok(Route::Model(id)));
        }
    }
}
