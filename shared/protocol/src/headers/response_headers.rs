//! Decides which headers of an upstream's answer pass to the client.

use super::{filter_headers, names_owner, with_hyphens};
use http::{HeaderMap, HeaderValue};

/// Headers about the upstream's connection and web site: cookies, alternative addresses, redirects,
/// ways to sign in, and rules and hints for browsers, which would apply to the relay's own origin
/// (MDN, "HTTP headers", and the WICG's drafts, 2026-11). The server that sends the answer sets its
/// length: an upstream's can be wrong if there is a `transfer-encoding` (RFC 9112, section 6.3).
const NOT_CLIENT: [&str; 32] = [
    "accept-ch",
    "activate-storage-access",
    "alt-svc",
    "authentication-info",
    "clear-site-data",
    "content-length",
    "content-location",
    "critical-ch",
    "expect-ct",
    "link",
    "location",
    "nel",
    "no-vary-search",
    "observe-browsing-topics",
    "origin-agent-cluster",
    "origin-trial",
    "refresh",
    "report-to",
    "reporting-endpoints",
    "service-worker-allowed",
    "set-cookie",
    "set-cookie2",
    "set-login",
    "sourcemap",
    "speculation-rules",
    "strict-transport-security",
    "supports-loading-mode",
    "timing-allow-origin",
    "use-as-dictionary",
    "www-authenticate",
    "x-frame-options",
    "x-sourcemap",
];

/// Prefixes of headers about the upstream's quota and its rules for browsers. The quota is shared,
/// and a client would take it for its own. The upstream does not decide which web pages can read an
/// answer.
const NOT_CLIENT_PREFIXES: [&str; 14] = [
    "access-control-",
    "anthropic-fast-",
    "anthropic-priority-",
    "anthropic-ratelimit-",
    "attribution-reporting-",
    "cross-origin-",
    "public-key-pins",
    "x-dns-prefetch-",
    "x-download-",
    "x-permitted-cross-domain-",
    "x-ratelimit-",
    "x-robots-",
    "x-ua-",
    "x-xss-",
];

/// Ends of the names of a web site's policies (`content-security-policy`, `permissions-policy`), and
/// of the rules for one kind of cache (`cloudflare-cdn-cache-control`; RFC 9213).
const NOT_CLIENT_SUFFIXES: [&str; 3] = ["-policy", "-policy-report-only", "cdn-cache-control"];

/// Prefixes of headers that command a web server, proxy or CDN that passes the answer on, such as one
/// in front of the relay: nginx follows `x-accel-redirect`, and `LiteSpeed` `x-litespeed-location`;
/// lighttpd and Apache send the file of `x-sendfile`; Perlbal fetches `x-reproxy-url`; Envoy takes the
/// server out of use for `x-envoy-immediate-health-check-fail`; CDNs read `surrogate-control` and
/// `edge-control` (their manuals, 2026-11).
const SERVER_COMMAND_PREFIXES: [&str; 10] = [
    "edge-control",
    "fastly-",
    "surrogate-",
    "x-accel-",
    "x-envoy-",
    "x-lighttpd-",
    "x-litespeed-",
    "x-middleware-",
    "x-reproxy-",
    "x-sendfile",
];

/// Prefixes of headers of gateways about their own keys, budgets and accounts, which are the
/// organization's (`LiteLLM`'s proxy, "Response headers", 2026-11).
const GATEWAY_PREFIXES: [&str; 2] = ["llm-provider-", "x-litellm-"];

/// Ends of the names of ids by which a gateway and the vendor behind it find a call in their logs.
const CALL_ID_SUFFIXES: [&str; 2] = ["-call-id", "-request-id"];

/// A header with one of these words in its name and a digit in its value has a figure of a limit, which
/// is the organization's (Cohere's `x-endpoint-monthly-call-limit`, `x-codex-primary-used-percent`).
const LIMIT_WORDS: [&str; 2] = ["limit", "used"];

/// A header with one of these words in its name has a figure of the organization's account: what it
/// has spent, or what is left for all.
const ACCOUNT_FIGURES: [&str; 9] =
    ["balance", "budget", "cost", "credit", "credits", "quota", "remaining", "spend", "spent"];

/// The response headers that pass to the client. Nothing is added.
pub fn to_client(headers: &HeaderMap) -> HeaderMap {
    filter_headers(headers, |name: &str, value: &HeaderValue| {
        let hyphened = with_hyphens(name);
        let name = hyphened.as_ref();
        let begins_with =
            |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
        let ends_with = |suffixes: &[&str]| suffixes.iter().any(|suffix| name.ends_with(suffix));
        let has_word = |words: &[&str]| name.split(['-', '.']).any(|word| words.contains(&word));
        NOT_CLIENT.contains(&name)
            || names_owner(name)
            || begins_with(&NOT_CLIENT_PREFIXES)
            || begins_with(&SERVER_COMMAND_PREFIXES)
            || (begins_with(&GATEWAY_PREFIXES) && !ends_with(&CALL_ID_SUFFIXES))
            || ends_with(&NOT_CLIENT_SUFFIXES)
            || name.contains("rate-limit")
            || name.contains("ratelimit")
            || has_word(&ACCOUNT_FIGURES)
            || (has_word(&LIMIT_WORDS) && value.as_bytes().iter().any(u8::is_ascii_digit))
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{headers, names};
    use super::*;

    #[test]
    fn response_headers_are_filtered_for_the_client() {
        let all = headers(&[
            ("content-type", "text/event-stream"),
            ("request-id", "r"),
            ("retry-after", "7"),
            ("content-encoding", "gzip"),
            ("x-should-retry", "false"),
            ("cf-ray", "x"),
            ("anthropic-organization-id", "o"),
            ("set-cookie", "a=b"),
            ("alt-svc", "h3"),
            ("anthropic-ratelimit-requests-limit", "1"),
            ("x-ratelimit-reset", "1"),
            ("anthropic-ratelimit-unified-status", "allowed"),
            ("anthropic-fast-limit", "1"),
            ("openai-organization", "o"),
            ("openai-project", "p"),
            ("strict-transport-security", "max-age=1"),
            ("access-control-allow-origin", "*"),
            ("access-control-allow-credentials", "true"),
            ("location", "/x"),
            ("refresh", "0; url=/x"),
            ("www-authenticate", "Bearer"),
            ("clear-site-data", "*"),
            ("content-security-policy", "x"),
            ("content-security-policy-report-only", "x"),
            ("timing-allow-origin", "*"),
            ("service-worker-allowed", "/"),
            ("speculation-rules", "\"/rules.json\""),
            ("supports-loading-mode", "credentialed-prerender"),
            ("reporting-endpoints", "a=\"https://a.example\""),
            ("x-frame-options", "DENY"),
            ("origin-agent-cluster", "?1"),
            ("origin-trial", "x"),
            ("sourcemap", "/x.map"),
            ("x-sourcemap", "/x.map"),
            ("link", "</x>; rel=preload"),
            ("permissions-policy", "camera=()"),
            ("referrer-policy", "origin"),
            ("document-policy", "x"),
            ("integrity-policy-report-only", "x"),
            ("x-permitted-cross-domain-policies", "all"),
            ("accept-ch", "sec-ch-ua"),
            ("critical-ch", "sec-ch-ua"),
            ("set-login", "logged-in"),
            ("attribution-reporting-register-source", "{}"),
            ("use-as-dictionary", "match=\"/*\""),
            ("x-robots-tag", "all"),
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("trailer", "x"),
        ]);
        let expect = [
            "cf-ray",
            "content-encoding",
            "content-type",
            "request-id",
            "retry-after",
            "x-should-retry",
        ];
        assert_eq!(names(&to_client(&all)), expect);
    }

    #[test]
    fn headers_that_command_a_server_or_show_the_account_do_not_pass() {
        for name in [
            // Web servers, proxies and CDNs.
            "content-length",
            "content_length",
            "x-accel-redirect",
            "x_accel_redirect",
            "x-accel-buffering",
            "x-accel-limit-rate",
            "x-sendfile",
            "x-sendfile2",
            "x-sendfile-temporary",
            "x-lighttpd-send-file",
            "x-reproxy-url",
            "x-litespeed-location",
            "x-envoy-immediate-health-check-fail",
            "x-envoy-ratelimited",
            "x-middleware-rewrite",
            "surrogate-control",
            "surrogate-key",
            "edge-control",
            "fastly-restarts",
            "cdn-cache-control",
            "cloudflare-cdn-cache-control",
            // What the organization has spent, or has left.
            "x-litellm-key-spend",
            "x-litellm-response-cost",
            "llm_provider-x-ratelimit-remaining-requests",
            "anthropic-priority-input-tokens-remaining",
            "ratelimit",
            "ratelimit-policy",
            "x-rate-limit-limit",
            "x-credits-remaining",
            "x-quota-limit",
            "x-key-budget",
            "x-endpoint-monthly-call-limit",
            "x-codex-primary-used-percent",
            // Mistral's.
            "ratelimitbysize-limit",
            "x-ratelimitbysize-limit-minute",
            "ratelimitbysize-query-cost",
            "x-litellm-model-id",
            "llm_provider-anthropic-organization-id",
        ] {
            assert!(names(&to_client(&headers(&[(name, "1")]))).is_empty(), "{name}");
        }
        let limited = headers(&[("x-context-limit", "reached"), ("x-cache-used", "true")]);
        assert_eq!(names(&to_client(&limited)), ["x-cache-used", "x-context-limit"]);
        for name in [
            "apim-request-id",
            "cache-control",
            "cf-ray",
            "openai-processing-ms",
            "openai-version",
            "retry-after",
            "retry-after-ms",
            "server",
            "x-amzn-requestid",
            "x-litellm-call-id",
            "llm_provider-request-id",
            "x-ms-region",
            "x-should-retry",
            "x-request-id",
        ] {
            assert_eq!(names(&to_client(&headers(&[(name, "1")]))), [name]);
        }
    }
}
