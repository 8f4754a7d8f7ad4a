//! Decides which headers pass upstream and which pass to the client. [`crate::rate_limit_headers`]
//! reads the headers about an upstream's limits.
//!
//! Both directions are open lists: unknown headers pass, unless their name belongs to a kind that
//! controls a server. The relay adds the account's credential and its own headers.

mod response_headers;

pub use response_headers::to_client;

use baton_domain::relay_key::contains_key;
use http::header::{AUTHORIZATION, CONNECTION};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::borrow::Cow;

/// Headers in which a client can send its key, in the order in which they are tried.
const CREDENTIALS: [&str; 4] = ["x-api-key", "authorization", "x-goog-api-key", "api-key"];

/// Headers of one connection, not of the message (RFC 9110, §7.6.1; RFC 9113, §8.2.2).
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers about the client's way to the relay (addresses, cookies), and headers that the relay
/// sets itself. These include the format of the body, since the upstream must read the body as the
/// relay has read it. `prefer` can ask for an answer that comes later (RFC 7240), and `range` and
/// the conditions for a part or none of it (RFC 9110), without its usage.
const NOT_UPSTREAM: [&str; 24] = [
    "accept-encoding",
    "client-ip",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "destination",
    "early-data",
    "expect",
    "forwarded",
    "front-end-https",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "prefer",
    "range",
    "remote-user",
    "true-client-ip",
    "via",
    "x-real-ip",
];

/// Prefixes of such headers from proxies, API gateways, Lambda, CDNs and web servers. Servers
/// behind some of them take another path, method, host or client from such a header
/// (`x-original-url`, `x-http-method-override`, `x-envoy-original-path`,
/// `x-middleware-subrequest`).
const NOT_UPSTREAM_PREFIXES: [&str; 27] = [
    "akamai-",
    "cf-",
    "cloudfront-",
    "fastly-",
    "x-accel-",
    "x-akamai-",
    "x-amz-",
    "x-amzn-",
    "x-appengine-",
    "x-arr-",
    "x-azure-",
    "x-backend",
    "x-client-cert",
    "x-client-ip",
    "x-cluster-",
    "x-envoy-",
    "x-forwarded",
    "x-http-",
    "x-middleware-",
    "x-original",
    "x-proxy-",
    "x-remote-",
    "x-rewrite-",
    "x-sendfile",
    "x-ssl-",
    "x-upstream",
    "x-vercel-",
];

/// Prefixes of control headers of clouds and gateways. These headers say on whose behalf a call is
/// made, which model, tier or plugin serves it, or how its answer is delivered: Google
/// (`x-goog-user-project`, `x-goog-fieldmask`, `x-vertex-ai-llm-shared-request-type`), Azure,
/// Alibaba (`x-dashscope-async`), NVIDIA (`nvcf-poll-seconds`), and gateways in front of others.
const CLOUD_PREFIXES: [&str; 16] = [
    "azure-",
    "helicone-",
    "nvcf-",
    "x-ai-eg-",
    "x-apisix-",
    "x-bf-",
    "x-dashscope-",
    "x-goog-",
    "x-higress-",
    "x-kong-",
    "x-litellm-",
    "x-llm-",
    "x-ms-",
    "x-portkey-",
    "x-tfy-",
    "x-vertex-ai-",
];

/// A header with one of these words in its name selects the model, the tier or the payer, contains
/// another credential of the client, or makes a server rewrite the request. Words are separated by
/// hyphens.
const STEERING_WORDS: [&str; 43] = [
    "apikey",
    "auth",
    "authentication",
    "authorization",
    "bill",
    "billing",
    "budget",
    "cert",
    "certificate",
    "cookie",
    "cookie2",
    "credential",
    "credentials",
    "deployment",
    "engine",
    "fallback",
    "fallbacks",
    "host",
    "jwt",
    "method",
    "model",
    "models",
    "override",
    "password",
    "path",
    "payer",
    "plugin",
    "plugins",
    "priority",
    "quota",
    "rewrite",
    "route",
    "router",
    "routing",
    "scheme",
    "secret",
    "tier",
    "token",
    "uri",
    "url",
    "verb",
    "webauth",
    "webhook",
];

/// Whether a header has such a word but none of these effects: headers of the vendors' SDKs about
/// themselves (`x-stainless-helper-method`), Claude Code's about its session, and HTTP's `priority`
/// (RFC 9218).
fn is_harmless(name: &str) -> bool {
    name.starts_with("x-stainless-") || name.starts_with("x-claude-code-") || name == "priority"
}

/// A header or a query parameter with one of these words in its name selects an owner, which only
/// the account can do: `openai-organization`, `openai-project`, `anthropic-workspace-id`,
/// `chatgpt-account-id`, `ocp-apim-subscription-key`.
const OWNERS: [&str; 7] =
    ["organization", "organisation", "project", "workspace", "tenant", "subscription", "account"];

/// Whether a header or a query parameter of this name, in lower case, selects the organization,
/// project or workspace that pays. An upstream would refuse the account for a value that belongs to
/// another key of the client.
pub fn names_owner(name: &str) -> bool {
    OWNERS.iter().any(|owner| name.contains(owner))
        || name.split(['-', '_', '.']).any(|word| word == "org")
}

/// The request headers that pass upstream. Left out are the four credential headers, all others
/// that contain a relay key, headers that select another organization, path, method, model or tier,
/// and those of the client's connection. Nothing is added.
pub fn to_upstream(headers: &HeaderMap) -> HeaderMap {
    filter_headers(headers, |name, value| controls_server(name) || contains_key(value.as_bytes()))
}

/// Whether a request header of this name, in lower case, is not sent upstream.
fn controls_server(name: &str) -> bool {
    let hyphened = with_hyphens(name);
    let name = hyphened.as_ref();
    let begins_with = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    CREDENTIALS.contains(&name)
        || HOP_BY_HOP.contains(&name)
        || NOT_UPSTREAM.contains(&name)
        || begins_with(&NOT_UPSTREAM_PREFIXES)
        || begins_with(&CLOUD_PREFIXES)
        || names_owner(name)
        || name.ends_with("api-key")
        || (name.split(['-', '.']).any(|word| STEERING_WORDS.contains(&word)) && !is_harmless(name))
}

/// The name with `-` in place of `_`. Servers that pass headers on as variables (CGI, WSGI) do not
/// distinguish them.
fn with_hyphens(name: &str) -> Cow<'_, str> {
    if name.contains('_') { name.replace('_', "-").into() } else { name.into() }
}

/// Adds `beta` to the `anthropic-beta` header, unless the client has sent it already.
pub fn add_beta(headers: &mut HeaderMap, beta: &'static str) {
    let name = HeaderName::from_static("anthropic-beta");
    let mut known = headers.get_all(&name).iter().filter_map(|value| value.to_str().ok());
    if !known.any(|value| value.split(',').any(|one| one.trim() == beta)) {
        headers.append(name, HeaderValue::from_static(beta));
    }
}

/// The headers that `drops` does not select and that do not belong to the connection alone.
fn filter_headers(headers: &HeaderMap, drops: impl Fn(&str, &HeaderValue) -> bool) -> HeaderMap {
    let mut forwarded = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let text = name.as_str();
        if !HOP_BY_HOP.contains(&text)
            && !drops(text, value)
            && !is_connection_header(headers, name)
        {
            forwarded.append(name.clone(), value.clone());
        }
    }
    forwarded
}

/// Whether a `connection` header declares `name` as a header of the connection.
fn is_connection_header(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|option| option.trim().eq_ignore_ascii_case(name.as_str()))
}

/// All texts that can be the caller's key, in the order in which they are tried.
pub fn find_credentials(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    CREDENTIALS
        .into_iter()
        .flat_map(|name| headers.get_all(name).iter().map(move |v| (name, v)))
        .filter_map(|(name, value)| {
            let text = value.to_str().ok()?.trim();
            let text = if name == AUTHORIZATION.as_str() { bearer_token(text)? } else { text };
            (!text.is_empty()).then_some(text)
        })
}

/// Whether there is an `authorization` header, but none with the scheme `Bearer`.
pub fn lacks_bearer_scheme(headers: &HeaderMap) -> bool {
    let values = || headers.get_all(AUTHORIZATION).iter().filter_map(|value| value.to_str().ok());
    values().next().is_some() && !values().any(|value| bearer_token(value.trim()).is_some())
}

/// The token after `Bearer`, in any case (RFC 6750; RFC 9110, §11.1).
fn bearer_token(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(|c: char| c.is_ascii_whitespace())?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_domain::id::KeyId;
    use baton_domain::relay_key::{compose, new_secret};
    use http::HeaderValue;

    pub(super) fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    pub(super) fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn only_allowed_headers_go_upstream() {
        let all = headers(&[
            ("accept", "*/*"),
            ("anthropic-beta", "a"),
            ("anthropic-beta", "b"),
            ("anthropic-version", "1"),
            ("user-agent", "u"),
            ("x-claude-code-session-id", "s"),
            ("x-stainless-os", "Linux"),
            ("x-custom", "1"),
            ("x-app", "cli"),
            ("cfx", "1"),
            ("x-api-key", "k"),
            ("authorization", "Bearer k"),
            ("x-goog-api-key", "k"),
            ("api-key", "k"),
            ("proxy-authorization", "Basic k"),
            ("cookie", "k=v"),
            ("host", "h"),
            ("content-length", "1"),
            ("accept-encoding", "gzip"),
            ("connection", "keep-alive, X-Hop"),
            ("keep-alive", "1"),
            ("x-hop", "1"),
            ("te", "trailers"),
            ("upgrade", "websocket"),
            ("transfer-encoding", "chunked"),
            ("expect", "100-continue"),
            ("via", "1.1 p"),
            ("forwarded", "for=1"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-real-ip", "1.2.3.4"),
            ("x-amzn-trace-id", "t"),
            ("x-amz-cf-id", "i"),
            ("cloudfront-viewer-country", "DE"),
            ("cf-connecting-ip", "1"),
            ("openai-organization", "org-1"),
            ("OpenAI-Project", "proj_1"),
            ("anthropic-workspace-id", "wrkspc_1"),
            ("x-organization-uuid", "u"),
            ("x-org", "o"),
            ("chatgpt-account-id", "a"),
            ("x-goog-user-project", "p"),
            ("x-goog-iam-authorization-token", "t"),
            ("x-ms-client-principal", "p"),
            ("ocp-apim-subscription-key", "k"),
            ("x-tenant-id", "t"),
        ]);
        let forwarded = to_upstream(&all);
        let expect = [
            "accept",
            "anthropic-beta",
            "anthropic-version",
            "cfx",
            "user-agent",
            "x-app",
            "x-claude-code-session-id",
            "x-custom",
            "x-stainless-os",
        ];
        assert_eq!(names(&forwarded), expect);
        assert_eq!(forwarded.get_all("anthropic-beta").iter().count(), 2);
    }

    #[test]
    fn routing_headers_are_not_forwarded() {
        for name in [
            // Path, host and method.
            "x-original-url",
            "x_original_url",
            "x-rewrite-url",
            "x-envoy-original-path",
            "x-envoy-upstream-rq-timeout-ms",
            "x-forwarded",
            "x-forwarded-prefix",
            "x-http-method-override",
            "x-http-method",
            "x-method-override",
            "x-http-path-override",
            "x-host",
            "x-request-uri",
            "x-target-url",
            "x-middleware-subrequest",
            "x-accel-redirect",
            "destination",
            "client-ip",
            // The body's format, and the time of its answer.
            "content-type",
            "content_type",
            "content_length",
            "transfer_encoding",
            "content-encoding",
            "prefer",
            "x-dashscope-async",
            "x-dashscope-sse",
            "x-goog-fieldmask",
            // Model, tier and payer.
            "x-model",
            "x-litellm-model",
            "x-router-model",
            "x-bf-model",
            "x-model-fallback",
            "x-fallbacks",
            "x-ai-eg-model",
            "x-deployment",
            "x-vertex-ai-llm-request-type",
            "x-vertex-ai-llm-shared-request-type",
            "x-amzn-bedrock-service-tier",
            "x-service-tier",
            "openai-service-tier",
            "x-priority",
            "x-billing-code",
            // Hugging Face ("Inference Providers", billing, 2026-11).
            "x-hf-bill-to",
            "nvcf-poll-seconds",
            "remote-user",
            "x-webauth-user",
            "early-data",
            "x-openrouter-plugins",
            "x-portkey-config",
            // Other credentials of the client.
            "x_api_key",
            "x-openai-api-key",
            "x-auth-token",
            "x-litellm-api-key",
            "x-client-cert",
            "cookie2",
        ] {
            assert!(names(&to_upstream(&headers(&[(name, "1")]))).is_empty(), "{name}");
        }
    }

    #[test]
    fn headers_of_known_clients_pass() {
        // Claude Code, Codex, the SDKs, OpenRouter's attribution, tracing.
        for name in [
            "accept",
            "accept-language",
            "anthropic-beta",
            "anthropic-dangerous-direct-browser-access",
            "conversation_id",
            "http-referer",
            "idempotency-key",
            "openai-beta",
            "originator",
            "priority",
            "sec-fetch-mode",
            "session_id",
            "thread-id",
            "traceparent",
            "user-agent",
            "version",
            "x-app",
            "x-claude-1p-request-class",
            "x-claude-code-prev-tool-durations",
            "x-client-request-id",
            "x-codex-beta-features",
            "x-codex-turn-metadata",
            "x-codex-turn-state",
            "x-openai-subagent",
            "x-request-id",
            "x-session-affinity",
            "x-stainless-helper-method",
            "x-stainless-read-timeout",
            "x-title",
        ] {
            assert_eq!(names(&to_upstream(&headers(&[(name, "1")]))), [name]);
        }
    }

    #[test]
    fn recorded_requests_lose_their_key() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/requests");
        for entry in std::fs::read_dir(folder).unwrap() {
            let file = std::fs::read(entry.unwrap().path()).unwrap();
            let request: serde_json::Value = serde_json::from_slice(&file).unwrap();
            let pairs: Vec<(String, String)> =
                serde_json::from_value(request["headers"].clone()).unwrap();
            let pairs: Vec<_> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let forwarded = to_upstream(&headers(&pairs));
            assert!(
                forwarded.values().all(|value| !value.to_str().unwrap().contains("<credential"))
            );
            for (name, value) in pairs {
                let name = name.to_ascii_lowercase();
                if name.starts_with("anthropic-") || name.starts_with("x-claude-code-") {
                    assert!(
                        forwarded.get_all(&name).iter().any(|passed| passed == value),
                        "{name}"
                    );
                }
            }
        }
    }

    #[test]
    fn relay_key_is_never_forwarded() {
        let bits = [u128::MAX / 3, 12345];
        let key = compose(&KeyId::from_bits(9), &new_secret(bits)).expose().to_owned();
        let bearer = format!("Bearer {key}");
        let all = headers(&[("x-custom", &key), ("x-other", &bearer), ("x-plain", "bt_plain")]);
        assert_eq!(names(&to_upstream(&all)), ["x-plain"]);
    }

    #[test]
    fn credentials_are_found_in_order_of_precedence() {
        let check = |pairs: &[(&str, &str)], expect: &[&str]| {
            let headers = headers(pairs);
            assert_eq!(find_credentials(&headers).collect::<Vec<_>>(), expect, "{pairs:?}");
        };
        check(&[], &[]);
        let all = [
            ("api-key", "4"),
            ("x-goog-api-key", "3"),
            ("authorization", "Bearer 2"),
            ("x-api-key", "1"),
        ];
        check(&all, &["1", "2", "3", "4"]);
        check(&[("x-api-key", "a"), ("x-api-key", "b")], &["a", "b"]);
        check(&[("authorization", "bEARER   k ")], &["k"]);
        check(&[("authorization", "Basic k")], &[]);
        check(&[("authorization", "Bearer")], &[]);
        check(&[("authorization", "Bearer ")], &[]);
        check(&[("authorization", "k"), ("x-api-key", " ")], &[]);
    }
}
