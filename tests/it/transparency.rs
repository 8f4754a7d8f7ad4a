//! Pass-through: requests, whole answers and errors are forwarded byte for byte.
//! `streams` tests event streams.

mod streams;

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::fixtures;
use baton_test_harness::system::{MODEL, TestKey, TestSystem, message};
use baton_test_harness::upstream::RecordedRequest;
use reqwest::RequestBuilder;

/// Headers that the relay sets itself or that belong to one connection.
const HOP: [&str; 6] =
    ["host", "connection", "content-length", "transfer-encoding", "keep-alive", "te"];
const CREDENTIAL: [&str; 4] = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];

/// A recorded request with this key in place of its recorded credentials.
fn replay(key: &TestKey, recorded: &fixtures::Request) -> RequestBuilder {
    let mut request = key.request(&recorded.method, &recorded.target);
    for (name, value) in &recorded.headers {
        let lower = name.to_lowercase();
        let special = lower == "anthropic-version" || lower == "accept-encoding";
        if !HOP.contains(&lower.as_str()) && !CREDENTIAL.contains(&lower.as_str()) && !special {
            request = request.header(name, value);
        }
    }
    request.body(recorded.body.clone())
}

#[tokio::test]
async fn recorded_requests_reach_the_upstream_unchanged() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    let names = [
        "cc_messages_auth_token",
        "cc_messages_tool_result",
        "cc_messages_subagent",
        "cc_messages_cache_1h",
        "cc_messages_web_search_tool",
        "cc_messages_hint_headers",
        "cc_count_tokens",
        "py_messages_stream",
        "ts_messages",
        "opencode_messages",
        "aisdk_anthropic",
    ];
    for name in names {
        let recorded = fixtures::request(name);
        ClientResponse::to(replay(&key, &recorded)).await.ok();
        let seen = system.upstream.last().request;
        assert!(seen.body == recorded.body, "{name}: the body differs");
        assert_eq!(seen.method, recorded.method);
        for (header, value) in open_list(&recorded) {
            let values: Vec<&str> = seen.headers_named(header).collect();
            assert_eq!(values, [value], "{name}: {header}");
        }
    }
}

/// The recorded headers of the families that always pass through.
fn open_list(recorded: &fixtures::Request) -> impl Iterator<Item = (&str, &str)> {
    let passes = |name: &str| {
        name.starts_with("anthropic-")
            || name.starts_with("x-claude-code-")
            || name.starts_with("x-stainless-")
            || name.starts_with("x-custom-")
    };
    recorded
        .headers
        .iter()
        .filter(move |(name, _)| {
            let name = name.to_lowercase();
            passes(&name) && name != "anthropic-version"
        })
        .map(|(name, value)| (name.as_str(), value.as_str()))
}

#[tokio::test]
async fn unknown_headers_and_known_parameters_pass_through() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    let request = key
        .request("POST", "/v1/messages?beta=true&x=%20y")
        .header("x-something-new", "Kept; as=it is")
        .header("anthropic-future", "yes")
        .header("user-agent", "claude-cli/9.9.9 (external, cli)")
        .body(message(MODEL, "hi", false).to_string());
    ClientResponse::to(request).await.ok();
    let seen = system.upstream.last().request;
    assert_eq!(seen.target, "/v1/messages?beta=true");
    assert_eq!(seen.header("x-something-new"), Some("Kept; as=it is"));
    assert_eq!(seen.header("anthropic-future"), Some("yes"));
    assert_eq!(seen.header("anthropic-version"), Some("2023-06-01"));
    assert_eq!(seen.header("user-agent"), Some("claude-cli/9.9.9 (external, cli)"));
}

#[tokio::test]
async fn relay_credentials_do_not_go_upstream() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    let body = message(MODEL, "hi", false).to_string();
    let bearer = format!("Bearer {}", key.secret);
    let ways = [
        vec![("x-api-key", key.secret.as_str())],
        vec![("authorization", bearer.as_str())],
        vec![("x-goog-api-key", key.secret.as_str())],
        vec![("api-key", key.secret.as_str())],
        vec![("x-api-key", "not-a-key"), ("authorization", bearer.as_str())],
        vec![("authorization", "Bearer sk-ant-other"), ("x-api-key", key.secret.as_str())],
    ];
    for headers in ways {
        let mut request = system.request("POST", "/v1/messages").body(body.clone());
        for (name, value) in &headers {
            request = request.header(*name, *value);
        }
        ClientResponse::to(request).await.ok();
        let seen = system.upstream.last().request;
        assert_only_the_account(&seen, &key);
    }
}

fn assert_only_the_account(seen: &RecordedRequest, key: &TestKey) {
    assert!(!seen.mentions(&key.secret), "the key went upstream");
    assert!(!seen.mentions("not-a-key") && !seen.mentions("sk-ant-other"), "{:?}", seen.headers);
    let sent: Vec<&str> = CREDENTIAL.iter().flat_map(|name| seen.headers_named(name)).collect();
    assert_eq!(sent.len(), 1, "one credential: {:?}", seen.headers);
    assert!(sent[0].ends_with("sk-upstream-main"));
}

#[tokio::test]
async fn whole_answer_and_headers_pass_through() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    let answer = key.ask_whole("hi").await.ok();
    let upstream = system.upstream.last();
    assert_eq!(answer.body, upstream.sent);
    assert_eq!(answer.header("x-upstream-extra"), Some("kept"));
    let id = upstream.headers.iter().find(|(name, _)| name == "request-id");
    assert_eq!(answer.header("request-id"), id.map(|(_, value)| value.as_str()));
    assert!(answer.header("x-baton-request-id").is_some());
    for gone in ["set-cookie", "anthropic-ratelimit-requests-limit"] {
        assert_eq!(answer.header(gone), None, "{gone} was passed to the client");
    }
}

#[tokio::test]
async fn compressed_answer_passes_through_and_is_counted() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    let request = key.message(message(MODEL, "[[text;gzip]]", false).to_string());
    let answer = ClientResponse::to(request.header("accept-encoding", "gzip, br")).await.ok();
    assert_eq!(answer.body, system.upstream.last().sent, "the compressed body was changed");
    let packed = system.upstream.last().headers.iter().any(|(name, _)| name == "content-encoding");
    assert_eq!(answer.header("content-encoding").is_some(), packed);
    // This upstream compresses although the client did not ask for it.
    ClientResponse::to(key.message(message(MODEL, "[[text;gzip!]]", false).to_string())).await.ok();
    system.summary_equals(&system.upstream.ledger().total()).await;
}

#[tokio::test]
async fn upstream_errors_pass_through_unchanged() {
    let system = TestSystem::empty().await;
    for error in fixtures::errors() {
        for stream in [true, false] {
            // Each request uses a new account, because an error can start a cooldown.
            let key = system.private_key(&system.upstream.url()).await;
            system.upstream.next(&format!("error:{}", error.name));
            let answer =
                ClientResponse::to(key.message(message(MODEL, "hi", stream).to_string())).await;
            let is_ours = matches!(error.status, 401 | 402) || error.name == "spend_cap";
            if is_ours {
                // Clients cannot fix the organization's credential or credit.
                let refused = answer.refused(503, "api_error");
                assert_eq!(refused.header("x-should-retry"), Some("false"), "{}", error.name);
                continue;
            }
            assert_eq!(answer.status, error.status, "{}: {}", error.name, answer.text());
            assert_eq!(answer.body, error.body, "{}", error.name);
            assert_headers_of(&error, &answer);
        }
    }
}

fn assert_headers_of(error: &fixtures::ErrorAnswer, answer: &ClientResponse) {
    for (name, value) in &error.headers {
        // Clients should not wait for more than a minute. Such an error is final instead.
        let is_long = name == "retry-after" && value.parse().is_ok_and(|seconds: u64| seconds > 60);
        if is_long {
            assert_eq!(answer.header("x-should-retry"), Some("false"), "{}", error.name);
        }
        let is_passed = !is_long && !name.starts_with("anthropic-ratelimit-");
        let expected = is_passed.then_some(value.as_str());
        assert_eq!(answer.header(name), expected, "{}: {name}", error.name);
    }
}

#[tokio::test]
async fn body_over_32_mb_gets_413() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    let sized = |bytes: usize| {
        let empty = message(MODEL, "", false).to_string().len();
        message(MODEL, &"x".repeat(bytes - empty), false).to_string()
    };
    let body = sized(31 * 1024 * 1024);
    ClientResponse::to(key.message(body.clone())).await.ok();
    assert!(system.upstream.last().request.body == body);

    let before = system.upstream.exchanges().len();
    let request = key.message(sized(32 * 1024 * 1024 + 1));
    let answer = ClientResponse::to(request).await.refused(413, "request_too_large");
    assert!(
        answer.message().contains("32"),
        "the error does not name the limit: {}",
        answer.message()
    );
    assert_eq!(system.upstream.exchanges().len(), before, "a request went upstream");
}

#[tokio::test]
async fn other_base_paths_have_the_same_routes() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    for base in ["", "/claude-code", "/anthropic", "/v1", "/claude-code/v1"] {
        let request = key.request("POST", &format!("{base}/v1/messages?beta=true"));
        ClientResponse::to(request.body(message(MODEL, "hi", false).to_string())).await.ok();
        assert_eq!(system.upstream.last().request.target, "/v1/messages?beta=true", "{base}");
        key.get(&format!("{base}/v1/models?limit=1000")).await.ok();
    }
}

#[tokio::test]
async fn model_mapping_changes_only_the_model_name() {
    let system = TestSystem::empty().await;
    let map = serde_json::json!({"model_map": {MODEL: "claude-sonnet-5-5"}});
    system.account_with("mapped", &system.upstream.url(), map).await;
    let key = system.key("ci").create().await;
    let body = format!(
        r#"{{ "messages":[{{"role":"user","content":"model \"{MODEL}\" \u00e9"}}],"max_tokens":5, "model" : "{MODEL}" ,"x":1.50}}"#
    );
    ClientResponse::to(key.message(body.clone())).await.ok();
    let last = body.rfind(MODEL).expect("the model");
    let mut expected = body.clone();
    expected.replace_range(last..last + MODEL.len(), "claude-sonnet-5-5");
    assert_eq!(system.upstream.last().request.body, expected.as_bytes());
}
