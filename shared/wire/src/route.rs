//! Which route a request means, whatever base URL its client was given.

use crate::bedrock::Action;
use crate::model_path::{BadId, check_id, read_id, segment};
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
    ///
    /// # Errors
    /// The model's id is none that a path may hold.
    pub fn upstream_path(&self) -> Result<Cow<'static, str>, BadId> {
        Ok(Cow::Borrowed(match self {
            Self::Messages => "/v1/messages",
            Self::CountTokens => "/v1/messages/count_tokens",
            Self::Models => "/v1/models",
            Self::Model(id) => {
                check_id(id)?;
                return Ok(Cow::Owned(format!("/v1/models/{}", segment(id))));
            }
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Responses => "/v1/responses",
            Self::Usage => "/v1/usage",
            Self::Bedrock(model, action) => {
                return crate::bedrock::path(model, *action).map(Cow::Owned);
            }
            Self::InferenceProfiles => "/inference-profiles",
            Self::Alive => "/",
        }))
    }
}

/// The path and query that an upstream is asked for, where `query` has only parameters that may go
/// there.
pub fn with_query(path: &str, query: &str) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
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
    /// `GET /v1/responses`, a WebSocket attempt: 426, on which Codex falls back at once (recorded
    /// requests of Codex, 2026-11-22).
    UpgradeRequired,
    /// The path has no model's id where one should be.
    BadId(BadId),
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
            (Route::Bedrock(id_of(path, model)?, action), "POST")
        }
        other => {
            let id = other.strip_prefix("/v1/models/").ok_or(NoRoute::Unknown)?;
            (Route::Model(id_of(path, id)?), "GET, HEAD")
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

/// The id that `written`, a part of the plain form of `path`, stands for. The plain form has no empty
/// segments, so those are looked for in the path itself.
fn id_of(path: &str, written: &str) -> Result<String, NoRoute> {
    let is_whole = path.trim_end_matches('/').contains(written)
        && !path.contains("/models//")
        && !path.contains("/model//");
    if !is_whole {
        return Err(NoRoute::BadId(BadId::Segments));
    }
    read_id(written).map_err(NoRoute::BadId)
}

#[cfg(test)]
mod tests {
    use super::*;
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
            assert_eq!(route.upstream_path().as_deref(), Ok(path));
        }
    }

    #[test]
    fn bedrocks_routes() {
        let (raw, encoded) = ("/model/a.b-v1:0/invoke", "/model/a.b-v1%3A0/invoke");
        let route = Route::Bedrock("a.b-v1:0".into(), Action::Invoke);
        for path in [raw, encoded, "/anthropic/model/a.b-v1%3A0/invoke"] {
            check("POST", path, &Ok(route.clone()));
        }
        assert_eq!(route.upstream_path().as_deref(), Ok(encoded));
        let arn = "/model/arn%3Aaws%3Abedrock%3A%3Aprofile%2Fx/invoke-with-response-stream";
        let route = Route::Bedrock("arn:aws:bedrock::profile/x".into(), Action::Stream);
        check("POST", arn, &Ok(route));
        check("GET", raw, &Err(NoRoute::Method { allow: "POST" }));
        check("GET", "/inference-profiles", &Ok(Route::InferenceProfiles));
        check("POST", "/model/%zz/invoke", &Err(NoRoute::BadId(BadId::Escapes)));
        for id in ["..", "%2e%2e", "a//b", "a/../b", "/a", "..%2F..%2Fx"] {
            check("POST", &format!("/model/{id}/invoke"), &Err(NoRoute::BadId(BadId::Segments)));
        }
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
            "/v1/responses/resp_1",
        ];
        for path in paths {
            check("POST", path, &Err(NoRoute::Unknown));
        }
        check("GET", "/v1/messages/../models", &Err(NoRoute::Unknown));
    }

    #[test]
    fn model_ids() {
        let read = |path: &str, id: &str, upstream: &str| {
            let route = resolve(&Method::GET, path).unwrap();
            assert_eq!(route, Route::Model(id.into()));
            assert_eq!(route.upstream_path().as_deref(), Ok(upstream));
        };
        read("/v1/models/a:b@c", "a:b@c", "/v1/models/a:b@c");
        read("/v1/models/anthropic/claude", "anthropic/claude", "/v1/models/anthropic%2Fclaude");
        read("/v1/models/a%2Fb%20%C3%A9", "a/b é", "/v1/models/a%2Fb%20%C3%A9");
        read("/anthropic//v1/models/x/", "x", "/v1/models/x");
        for (path, why) in [
            ("/v1/models/..", BadId::Segments),
            ("/v1/models/../files/x", BadId::Segments),
            ("/v1/models/..%2f..%2ffiles", BadId::Segments),
            ("/anthropic/v1/v1/models/%2e%2e/files", BadId::Segments),
            ("/v1/models/a//b", BadId::Segments),
            ("/v1/models//a", BadId::Segments),
            ("/v1/models/a/%2F/b", BadId::Segments),
            ("/v1/models/a%5Cb", BadId::Character),
            ("/v1/models/a%3Fb", BadId::Character),
            ("/v1/models/%252e%252e%252ffiles", BadId::EncodedTwice),
            ("/v1/models/%zz", BadId::Escapes),
            ("/v1/models/%ff", BadId::Escapes),
            ("/v1/models/%2", BadId::Escapes),
        ] {
            check("GET", path, &Err(NoRoute::BadId(why)));
        }
        assert!(Route::Model("..".into()).upstream_path().is_err());
    }

    #[test]
    fn a_path_with_its_query() {
        assert_eq!(with_query("/v1/x", ""), "/v1/x");
        assert_eq!(with_query("/v1/x", "beta=true"), "/v1/x?beta=true");
    }

    proptest! {
        #[test]
        fn no_path_panics(path in "\\PC{0,60}") {
            if let Ok(route) = resolve(&Method::GET, &path) {
                prop_assert!(route.upstream_path().unwrap().is_ascii());
            }
        }

        #[test]
        fn ids_survive(id in "[^\\p{C}]{1,20}") {
            if let Ok(path) = Route::Model(id.clone()).upstream_path() {
                prop_assert_eq!(resolve(&Method::GET, &path), Ok(Route::Model(id)));
            }
        }
    }
}
