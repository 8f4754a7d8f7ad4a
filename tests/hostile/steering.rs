//! Headers and query parameters by which a server behind Baton would read another request than
//! Baton: another path, method, model, tier or charset, or an answer without usage.

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::system::{MODEL, TestKey, TestSystem, message};
use baton_test_harness::upstream::BEDROCK_KEY;
use serde_json::json;

use crate::class::AttackClass;

const HEADERS: [&str; 38] = [
    "x-original-url",
    "x_original_url",
    "x-rewrite-url",
    "x-envoy-original-path",
    "x-envoy-decorator-operation",
    "x-forwarded-host",
    "x-forwarded-prefix",
    "x-forwarded-uri",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-host",
    "x-target-url",
    "x-middleware-subrequest",
    "x-accel-redirect",
    "x-litellm-model",
    "x-litellm-tags",
    "x-model",
    "x-router-model",
    "x-bf-model",
    "x-ai-eg-model",
    "x-model-fallback",
    "x-fallbacks",
    "x-deployment",
    "x-vertex-ai-llm-request-type",
    "x-vertex-ai-llm-shared-request-type",
    "x-service-tier",
    "x-amzn-bedrock-service-tier",
    "x-goog-fieldmask",
    "x-dashscope-async",
    "x-dashscope-sse",
    "x-openrouter-plugins",
    "x-billing-account",
    "x-openai-api-key",
    "x_api_key",
    "x-auth-token",
    "content_type",
    "prefer",
];

const QUERIES: [&str; 12] = [
    "fields=bogus",
    "$fields=bogus",
    "%24fields=bogus",
    "$httpMethod=bogus",
    "x-http-method=bogus",
    "_method=bogus",
    "alt=bogus",
    "callback=bogus",
    "prettyPrint=bogus",
    "model=bogus",
    "X-Amz-Signature=bogus",
    "beta=true;fields=bogus",
];

fn body() -> String {
    message(MODEL, "hi", false).to_string()
}

pub(crate) async fn run(class: AttackClass) {
    let system = TestSystem::open().await;
    let group = system.group("openai").await;
    let fields = json!({"provider": "openai_compatible", "groups": [group]});
    system.account_with("openai", &system.upstream.url(), fields).await;
    let keys = [system.key("a").create().await, system.key("openai").group(&group).create().await];
    for key in &keys {
        for path in ["/v1/messages", "/v1/chat/completions"] {
            for name in HEADERS {
                let request = key.request("POST", path).header(name, "bogus");
                check(&class, &system, (path, name), request.body(body())).await;
            }
            for query in QUERIES {
                let request = key.request("POST", &format!("{path}?{query}"));
                check(&class, &system, (path, query), request.body(body())).await;
            }
        }
    }
    forms(&class, &system, &keys[0]).await;
    bedrock(&class, &system).await;
}

/// The request is served, and the headers that would change it are not forwarded.
async fn check(
    class: &AttackClass,
    system: &TestSystem,
    (path, input): (&str, &str),
    request: reqwest::RequestBuilder,
) {
    let answer = ClientResponse::to(request).await;
    let seen = system.upstream.last().request;
    let sent = format!("{} {:?}", seen.target, seen.headers);
    let is_clean = answer.status == 200 && !sent.contains("bogus");
    class.check(&format!("{path} {input}"), is_clean, || {
        format!("{} {sent} {}", answer.status, answer.text())
    });
}

/// The upstream must receive the body in the form that Baton has read.
async fn forms(class: &AttackClass, system: &TestSystem, key: &TestKey) {
    let before = system.upstream.exchanges().len();
    // The body is none of these. Codings that Baton reads fail on its bytes, others at once.
    for (name, value, status) in [
        ("content-type", "application/json; charset=utf-7", 400),
        ("content-type", "application/json; charset=\"UTF-16\"", 400),
        ("content-type", "application/json;charset=utf-32", 400),
        ("content-type", "application/json; Charset = iso-2022-kr", 400),
        ("content-encoding", "gzip", 400),
        ("content-encoding", "br", 415),
        ("content-encoding", "zstd", 400),
        ("content-encoding", "identity, deflate", 415),
        ("content-encoding", "bogus", 415),
    ] {
        let request = key.request("POST", "/v1/messages").header(name, value);
        let answer = ClientResponse::to(request.body(body())).await;
        let is_named = answer.status == status && answer.text().contains(name);
        class.check(&format!("{name}: {value}"), is_named, || answer.text());
    }
    let asked = system.upstream.exchanges().len() - before;
    class.check("no such body went up", asked == 0, || asked.to_string());
    for value in ["application/json; charset=utf-8", "text/plain", "application/x-bogus"] {
        let request = key.request("POST", "/v1/messages").header("content-type", value);
        let answer = ClientResponse::to(request.body(body())).await;
        let seen = system.upstream.last().request;
        let kinds: Vec<_> = seen.headers_named("content-type").collect();
        let is_json = answer.status == 200 && kinds == ["application/json"];
        class.check(&format!("content-type: {value}"), is_json, || format!("{kinds:?}"));
    }
}

/// Only the documented headers of a Bedrock client are sent to Bedrock. Headers without a known
/// price are sent only for keys without a money limit.
async fn bedrock(class: &AttackClass, system: &TestSystem) {
    let group = system.group("bedrock").await;
    let account = json!({
        "provider": "bedrock", "groups": [group],
        "credential": {"type": "api_key", "value": BEDROCK_KEY, "header": "authorization"},
    });
    system.account_with("bedrock", &system.upstream.url(), account).await;
    let free = system.key("free").group(&group).create().await;
    let limited = system.key("limited").group(&group).limit_usd_daily("100").create().await;
    for (name, value, is_known, is_priced) in [
        ("x-amzn-bedrock-service-tier", "default", true, true),
        ("x-amzn-bedrock-service-tier", "flex", true, true),
        ("x-amzn-bedrock-service-tier", "priority", true, false),
        ("x-amzn-bedrock-service-tier", "reserved", true, false),
        ("x-amzn-bedrock-performanceconfig-latency", "standard", true, true),
        ("x-amzn-bedrock-performanceconfig-latency", "optimized", true, false),
        ("x-amzn-bedrock-guardrailidentifier", "g", true, false),
        ("x-amzn-bedrock-guardrailversion", "1", true, false),
        ("x-amzn-bedrock-trace", "ENABLED", true, true),
        ("x-amzn-bedrock-accept", "text/csv", false, true),
        ("x-amzn-bedrock-model", "m", false, true),
    ] {
        for (key, has_limit) in [(&free, false), (&limited, true)] {
            let input = format!("{name}: {value}, limited: {has_limit}");
            let before = system.upstream.exchanges().len();
            let request = key.request("POST", "/model/anthropic.claude-opus-5-5/invoke");
            let body = json!({
                "anthropic_version": "bedrock-2023-05-31", "max_tokens": 9,
                "messages": [{"role": "user", "content": "hi"}],
            });
            let answer =
                ClientResponse::to(request.header(name, value).body(body.to_string())).await;
            let asked = system.upstream.exchanges().len() - before;
            if has_limit && !is_priced {
                let is_named = answer.status == 400 && answer.text().contains(name) && asked == 0;
                class.check(&input, is_named, || answer.text());
                continue;
            }
            let seen = system.upstream.last().request;
            let is_sent = seen.header(name) == is_known.then_some(value);
            class.check(&input, asked == 1 && is_sent, || {
                format!("{} {} {:?}", answer.status, answer.text(), seen.headers)
            });
        }
    }
}
