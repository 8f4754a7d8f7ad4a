//! Finds the route of a request, whatever base URL the client has.

use crate::bedrock::BedrockAction;
use crate::model_path::{ModelIdError, check_id, decode_id, encode_segment};
use baton_domain::protocol::ClientProtocol;
use http::Method;
use std::borrow::Cow;

/// A route that the relay serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayRoute {
    /// `POST /v1/messages`
    Messages,
    /// `POST /v1/messages/count_tokens`
    CountTokens,
    /// `GET /v1/models`
    Models,
    /// `GET /v1/models/{id}`, with the id decoded.
    Model(String),
    /// `POST /v1/chat/completions`
    ChatCompletions,
    /// `POST /v1/responses`
    Responses,
    /// `GET /v1/usage`
    Usage,
    /// `POST /model/{id}/invoke` and similar paths of a Bedrock client, with the id decoded.
    Bedrock(String, BedrockAction),
    /// `GET /inference-profiles`: Bedrock's list of models.
    InferenceProfiles,
    /// `/`, `/api/hello`, `/health`: a check that the server is running.
    Alive,
}

impl RelayRoute {
    /// The protocol of the clients that use the route. Routes of all clients count as Anthropic's.
    pub fn client_protocol(&self) -> ClientProtocol {
        match self {
            Self::ChatCompletions => ClientProtocol::OpenaiChat,
            Self::Responses => ClientProtocol::OpenaiResponses,
            Self::Bedrock(..) => ClientProtocol::BedrockInvokeModel,
            Self::Messages
            | Self::CountTokens
            | Self::Models
            | Self::Model(_)
            | Self::Usage
            | Self::InferenceProfiles
            | Self::Alive => ClientProtocol::AnthropicMessages,
        }
    }

    /// The path at the upstream, without aliases and without a query.
    ///
    /// # Errors
    /// The model's id is not allowed in a path.
    pub fn upstream_path(&self) -> Result<Cow<'static, str>, ModelIdError> {
        Ok(Cow::Borrowed(match self {
            Self::Messages => "/v1/messages",
            Self::CountTokens => "/v1/messages/count_tokens",
            Self::Models => "/v1/models",
            Self::Model(id) => {
                check_id(id)?;
                return Ok(Cow::Owned(format!("/v1/models/{}", encode_segment(id))));
            }
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Responses => "/v1/responses",
            Self::Usage => "/v1/usage",
            Self::Bedrock(model, action) => {
                return crate::bedrock::build_path(model, *action).map(Cow::Owned);
            }
            Self::InferenceProfiles => "/inference-profiles",
            Self::Alive => "/",
        }))
    }
}

/// The path and query at the upstream. `query` must contain only parameters that are allowed
/// upstream.
pub fn with_query(path: &str, query: &str) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// The reason why a path has no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteError {
    /// Nothing is served at this path.
    Unknown,
    /// The path is served, but not with this method.
    Method {
        /// The value of the `allow` header.
        allow: &'static str,
    },
    /// `GET /v1/responses` is an attempt to open a WebSocket. The answer is 426, after which Codex
    /// falls back to HTTP at once (recorded requests of Codex, 2026-11-22).
    UpgradeRequired,
    /// The path has no valid model id where one is required.
    BadId(ModelIdError),
}

/// The route of a method and a path without its query.
///
/// # Errors
/// No route matches.
pub fn resolve_route(method: &Method, path: &str) -> Result<RelayRoute, RouteError> {
    let plain = normalize_path(path);
    let (route, allow) = match plain.as_str() {
        "/v1/messages" => (RelayRoute::Messages, "POST"),
        "/v1/messages/count_tokens" => (RelayRoute::CountTokens, "POST"),
        "/v1/chat/completions" => (RelayRoute::ChatCompletions, "POST"),
        "/v1/responses" if method == Method::GET => return Err(RouteError::UpgradeRequired),
        "/v1/responses" => (RelayRoute::Responses, "POST"),
        "/v1/models" => (RelayRoute::Models, "GET, HEAD"),
        "/v1/usage" => (RelayRoute::Usage, "GET, HEAD"),
        "/" | "/api/hello" | "/health" => (RelayRoute::Alive, "GET, HEAD"),
        "/inference-profiles" => (RelayRoute::InferenceProfiles, "GET, HEAD"),
        other if let Some((model, action)) = BedrockAction::parse_path(other) => {
            (RelayRoute::Bedrock(decode_model_id(path, model)?, action), "POST")
        }
        other => {
            let id = other.strip_prefix("/v1/models/").ok_or(RouteError::Unknown)?;
            (RelayRoute::Model(decode_model_id(path, id)?), "GET, HEAD")
        }
    };
    let allowed = allow.split(", ").any(|name| name == method.as_str());
    if allowed { Ok(route) } else { Err(RouteError::Method { allow }) }
}

/// The path without aliases, empty segments and a doubled `/v1`. A client of OpenAI's API whose base
/// URL lacks `/v1` gets it added, as other gateways do.
pub(crate) fn normalize_path(path: &str) -> String {
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
    let lacks_version = ["/chat/completions", "/responses", "/models"].contains(&plain.as_str())
        || plain.starts_with("/models/");
    if lacks_version {
        plain.insert_str(0, "/v1");
    } else if plain.is_empty() {
        plain.push('/');
    }
    plain
}

/// Decodes the id `written`, a part of the plain form of `path`. The plain form has no empty
/// segments, so `path` itself is searched for them.
fn decode_model_id(path: &str, written: &str) -> Result<String, RouteError> {
    let is_whole = path.trim_end_matches('/').contains(written)
        && !path.contains("/models//")
        && !path.contains("/model//");
    if !is_whole {
        return Err(RouteError::BadId(ModelIdError::Segments));
    }
    decode_id(written).map_err(RouteError::BadId)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(method: &str, path: &str, expect: &Result<RelayRoute, RouteError>) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        assert_eq!(&resolve_route(&method, path), expect, "{method} {path}");
    }

    #[test]
    fn every_route_resolves_under_every_base() {
        let routes = [
            ("POST", "/v1/messages", RelayRoute::Messages),
            ("POST", "/v1/messages/count_tokens", RelayRoute::CountTokens),
            ("GET", "/v1/models", RelayRoute::Models),
            ("GET", "/v1/models/claude-opus-5-5", RelayRoute::Model("claude-opus-5-5".into())),
            ("POST", "/v1/chat/completions", RelayRoute::ChatCompletions),
            ("POST", "/v1/responses", RelayRoute::Responses),
            ("GET", "/v1/usage", RelayRoute::Usage),
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
    fn bedrock_routes_resolve() {
        let (raw, encoded) = ("/model/a.b-v1:0/invoke", "/model/a.b-v1%3A0/invoke");
        let route = RelayRoute::Bedrock("a.b-v1:0".into(), BedrockAction::Invoke);
        for path in [raw, encoded, "/anthropic/model/a.b-v1%3A0/invoke"] {
            check("POST", path, &Ok(route.clone()));
        }
        assert_eq!(route.upstream_path().as_deref(), Ok(encoded));
        let arn = "/model/arn%3Aaws%3Abedrock%3A%3Aprofile%2Fx/invoke-with-response-stream";
        let route = RelayRoute::Bedrock("arn:aws:bedrock::profile/x".into(), BedrockAction::Stream);
        check("POST", arn, &Ok(route));
        check("GET", raw, &Err(RouteError::Method { allow: "POST" }));
        check("GET", "/inference-profiles", &Ok(RelayRoute::InferenceProfiles));
        check("POST", "/model/%zz/invoke", &Err(RouteError::BadId(ModelIdError::Escapes)));
        for id in ["..", "%2e%2e", "a//b", "a/../b", "/a", "..%2F..%2Fx"] {
            check(
                "POST",
                &format!("/model/{id}/invoke"),
                &Err(RouteError::BadId(ModelIdError::Segments)),
            );
        }
    }

    #[test]
    fn openai_routes_resolve_without_a_version() {
        for base in ["", "/anthropic", "/"] {
            let check = |method, path: &str, route| {
                check(method, &format!("{base}{path}"), &Ok(route));
            };
            check("POST", "/chat/completions", RelayRoute::ChatCompletions);
            check("POST", "/responses/", RelayRoute::Responses);
            check("GET", "/models", RelayRoute::Models);
            check("GET", "/models/gpt-5.5", RelayRoute::Model("gpt-5.5".into()));
        }
        check("GET", "/models/../x", &Err(RouteError::BadId(ModelIdError::Segments)));
        check("POST", "/responses/resp_1", &Err(RouteError::Unknown));
    }

    #[test]
    fn health_check_routes_resolve() {
        for path in ["", "/", "/api/hello", "/health", "/claude-code", "/claude-code/api/hello/"] {
            check("HEAD", path, &Ok(RelayRoute::Alive));
            check("GET", path, &Ok(RelayRoute::Alive));
        }
        check("POST", "/", &Err(RouteError::Method { allow: "GET, HEAD" }));
    }

    #[test]
    fn wrong_methods_are_refused() {
        check("GET", "/v1/messages", &Err(RouteError::Method { allow: "POST" }));
        check("OPTIONS", "/anthropic/v1/messages", &Err(RouteError::Method { allow: "POST" }));
        check("POST", "/v1/models", &Err(RouteError::Method { allow: "GET, HEAD" }));
        check("DELETE", "/v1/models/x", &Err(RouteError::Method { allow: "GET, HEAD" }));
        check("GET", "/v1/responses", &Err(RouteError::UpgradeRequired));
        check("GET", "/claude-code/v1/v1/responses/", &Err(RouteError::UpgradeRequired));
        check("PUT", "/v1/responses", &Err(RouteError::Method { allow: "POST" }));
    }

    #[test]
    fn unknown_paths_are_refused() {
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
            check("POST", path, &Err(RouteError::Unknown));
        }
        check("GET", "/v1/messages/../models", &Err(RouteError::Unknown));
    }

    #[test]
    fn model_ids_in_paths_are_decoded() {
        let read = |path: &str, id: &str, upstream: &str| {
            let route = resolve_route(&Method::GET, path).unwrap();
            assert_eq!(route, RelayRoute::Model(id.into()));
            assert_eq!(route.upstream_path().as_deref(), Ok(upstream));
        };
        read("/v1/models/a:b@c", "a:b@c", "/v1/models/a:b@c");
        read("/v1/models/anthropic/claude", "anthropic/claude", "/v1/models/anthropic%2Fclaude");
        read("/v1/models/a%2Fb%20%C3%A9", "a/b é", "/v1/models/a%2Fb%20%C3%A9");
        read("/anthropic//v1/models/x/", "x", "/v1/models/x");
        for (path, why) in [
            ("/v1/models/..", ModelIdError::Segments),
            ("/v1/models/../files/x", ModelIdError::Segments),
            ("/v1/models/..%2f..%2ffiles", ModelIdError::Segments),
            ("/anthropic/v1/v1/models/%2e%2e/files", ModelIdError::Segments),
            ("/v1/models/a//b", ModelIdError::Segments),
            ("/v1/models//a", ModelIdError::Segments),
            ("/v1/models/a/%2F/b", ModelIdError::Segments),
            ("/v1/models/a%5Cb", ModelIdError::Character),
            ("/v1/models/a%3Fb", ModelIdError::Character),
            ("/v1/models/%252e%252e%252ffiles", ModelIdError::EncodedTwice),
            ("/v1/models/%zz", ModelIdError::Escapes),
            ("/v1/models/%ff", ModelIdError::Escapes),
            ("/v1/models/%2", ModelIdError::Escapes),
        ] {
            check("GET", path, &Err(RouteError::BadId(why)));
        }
        assert!(RelayRoute::Model("..".into()).upstream_path().is_err());
    }

    #[test]
    fn query_is_appended_to_the_path() {
        assert_eq!(with_query("/v1/x", ""), "/v1/x");
        assert_eq!(with_query("/v1/x", "beta=true"), "/v1/x?beta=true");
    }

    proptest! {
        #[test]
        fn arbitrary_paths_do_not_panic(path in "\\PC{0,60}") {
            if let Ok(route) = resolve_route(&Method::GET, &path) {
                prop_assert!(route.upstream_path().unwrap().is_ascii());
            }
        }

        #[test]
        fn model_ids_survive_a_round_trip(id in "[^\\p{C}]{1,20}") {
            if let Ok(path) = RelayRoute::Model(id.clone()).upstream_path() {
                prop_assert_eq!(resolve_route(&Method::GET, &path), Ok(RelayRoute::Model(id)));
            }
        }
    }
}
