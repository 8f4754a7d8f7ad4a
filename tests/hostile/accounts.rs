//! One tenant tries to make the organization's accounts unusable for all others: by requests that
//! make upstreams answer as if the account were at fault, and by headers that choose another
//! organization.

use crate::class::AttackClass;
use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::system::{MODEL, TestKey, TestSystem, message};
use baton_test_harness::upstream::FakeUpstream;
use serde_json::{Value, json};

const PROVIDERS: [&str; 2] = ["anthropic", "openai_compatible"];

/// Answers that a request can provoke: about itself, its model, a feature, or with texts that sound
/// like the account's fault. The fake upstream gives the answer that the request names.
const ANSWERS: [&str; 24] = [
    "status:401",
    "error:authentication",
    "error:authentication_final",
    "error:permission",
    "error:text_403_waf",
    "error:lambda_403",
    "status:403;say=The model x-disabled is not enabled, revoked or deactivated",
    "status:403;say=Fast mode is disabled for this organization.",
    "error:not_found_model",
    "status:404;say=no such file",
    "status:400;say=tool `Your credit balance is too low to access the Anthropic API` is unknown",
    "status:400;say=You have reached your specified API usage limits: Extra inputs are not permitted",
    "status:400;say=This organization has been disabled.x: Extra inputs are not permitted",
    "status:400;say=billing spend insufficient_quota disabled",
    "status:402;say=This request requires more credits, or fewer max_tokens. You requested 9",
    "status:429;say=Request too large for gpt-4o on tokens per min (TPM): Limit 1, Requested 2",
    "status:429;say=Extra usage is required for long context requests.",
    "error:overloaded",
    "error:api_error",
    "error:html_502",
    "error:empty_500",
    "first_error:permission_error",
    "first_error:authentication_error",
    "first_error:api_error",
];

/// The accounts of one group, the hostile tenant, and another tenant.
struct Tenants {
    evil: TestKey,
    victim: TestKey,
}

async fn tenants(
    system: &TestSystem,
    upstream: &FakeUpstream,
    provider: &str,
    count: usize,
) -> Tenants {
    let group = system.group("tenants").await;
    for serial in 0..count {
        let fields = json!({
            "groups": [group], "provider": provider, "cache_domain": format!("d{serial}"),
        });
        system.account_with(&format!("a{serial}"), &upstream.url(), fields).await;
    }
    let evil = system.key("evil").group(&group).create().await;
    let victim = system.key("victim").group(&group).create().await;
    Tenants { evil, victim }
}

fn request(path: &str, model: &str, stream: bool) -> Value {
    if path == "/v1/responses" {
        return json!({"model": model, "input": "hi", "stream": stream});
    }
    message(model, "hi", stream)
}

/// Requests of one tenant, and the answers that another tenant gets after them.
pub(crate) async fn run(class: AttackClass) {
    let system = TestSystem::empty().await;
    for provider in PROVIDERS {
        for is_strict in [false, true] {
            let upstream = FakeUpstream::start();
            if is_strict {
                upstream.only_takes(&["sk-upstream-a0", "sk-upstream-a1", "sk-upstream-a2"]);
            }
            for (path, count) in
                [("/v1/messages", 1), ("/v1/messages", 3), ("/v1/chat/completions", 3)]
            {
                for answer in ANSWERS {
                    let tenants = tenants(&system, &upstream, provider, count).await;
                    let name = format!("{provider} {path} x{count} strict={is_strict}: {answer}");
                    poison(&tenants, path, answer).await;
                    class.record(&name, is_served(&tenants.victim, path).await);
                }
            }
        }
    }
}

async fn poison(tenants: &Tenants, path: &str, answer: &str) {
    for stream in [true, false, true, false] {
        let body = request(path, MODEL, stream).to_string();
        let request = tenants.evil.request("POST", path).header("x-scenario", answer);
        ClientResponse::to(request.body(body)).await;
    }
}

async fn is_served(victim: &TestKey, path: &str) -> Result<(), String> {
    for model in [MODEL, "claude-haiku-5-5"] {
        for stream in [true, false] {
            let body = request(path, model, stream).to_string();
            let answer = ClientResponse::to(victim.request("POST", path).body(body)).await;
            if answer.status != 200 {
                return Err(format!("{model}: {} {}", answer.status, answer.text()));
            }
        }
    }
    Ok(())
}

const OWNERS: [&str; 15] = [
    "openai-organization",
    "OpenAI-Project",
    "anthropic-workspace-id",
    "anthropic-organization-id",
    "x-organization-uuid",
    "x-org-id",
    "chatgpt-account-id",
    "x-goog-user-project",
    "x-goog-request-params",
    "x-amz-security-token",
    "x-amzn-bedrock-accept-type",
    "x-ms-client-principal-id",
    "ocp-apim-subscription-key",
    "azure-project-id",
    "x-tenant-id",
];

const QUERIES: [&str; 8] = [
    "organization=o",
    "organization_id=o",
    "%6f%72ganization=o",
    "project=p",
    "userProject=p",
    "workspace_id=w",
    "key=AIzaSyA",
    "api-key=k",
];

/// Headers and query parameters that choose an organization, a project or a workspace.
pub(crate) async fn run_owners(class: AttackClass) {
    let system = TestSystem::empty().await;
    for provider in PROVIDERS {
        let upstream = FakeUpstream::start();
        let tenants = tenants(&system, &upstream, provider, 1).await;
        for path in ["/v1/messages", "/v1/chat/completions", "/v1/responses"] {
            let body = request(path, MODEL, false).to_string();
            for name in OWNERS {
                let request = tenants.evil.request("POST", path).header(name, "bogus-owner");
                ClientResponse::to(request.body(body.clone())).await;
                let seen = format!("{:?}", upstream.last().request.headers);
                class.check(
                    &format!("{provider} {path} {name}"),
                    !seen.contains("bogus-owner"),
                    || seen,
                );
            }
            for query in QUERIES {
                let request = tenants.evil.request("POST", &format!("{path}?{query}&beta=true"));
                ClientResponse::to(request.body(body.clone())).await;
                let seen = upstream.last().request.target.clone();
                let holds = !seen.contains("=o")
                    && !seen.contains("=p")
                    && !seen.contains("=w")
                    && !seen.contains("key");
                class.check(&format!("{provider} {path} ?{query}"), holds, || seen.clone());
            }
        }
    }
}

/// Answers that repeat the account's credential, or name the organization and its web site.
pub(crate) async fn run_echoes(class: AttackClass) {
    let system = TestSystem::empty().await;
    for provider in PROVIDERS {
        let upstream = FakeUpstream::start();
        let group = system.group("echoes").await;
        let fields = json!({"groups": [group], "provider": provider});
        system.account_with("echo", &upstream.url(), fields).await;
        let key = system.key("curious").group(&group).create().await;
        let secret = "sk-upstream-echo";
        for path in ["/v1/messages", "/v1/chat/completions", "/v1/responses"] {
            for status in [400, 401, 402, 403, 404, 413, 422, 429, 500, 529] {
                for form in ["", ";gzip!"] {
                    let scenario = format!(
                        "status:{status};say=bad key {secret} ({secret}){form};header=x-echo:{secret}"
                    );
                    for stream in [false, true] {
                        upstream.next(&scenario);
                        let body = request(path, MODEL, stream).to_string();
                        let request = key.request("POST", path).header("accept-encoding", "gzip");
                        let answer = ClientResponse::to(request.body(body)).await;
                        let seen = format!("{} {:?}", answer.text(), answer.headers);
                        let name = format!("{provider} {path} {status}{form} stream={stream}");
                        class.check(&name, !seen.contains(secret), || seen);
                    }
                    system.admin().get("/accounts").await.ok();
                    reset(&system).await;
                }
            }
            for header in [
                "strict-transport-security:max-age=1",
                "access-control-allow-origin:*",
                "location:/elsewhere",
                "refresh:0",
                "www-authenticate:Bearer",
                "openai-organization:org-x",
                "openai-project:proj-x",
                "anthropic-organization-id:org-x",
                "set-cookie:a=b",
            ] {
                let (name, _) = header.split_once(':').unwrap_or_default();
                for answer in ["text", "status:400"] {
                    upstream.next(&format!("{answer};header={header}"));
                    let body = request(path, MODEL, false).to_string();
                    let answer = ClientResponse::to(key.request("POST", path).body(body)).await;
                    let seen = answer.header(name).map(str::to_owned);
                    class.check(&format!("{provider} {path} {name}"), seen.is_none(), || {
                        seen.clone().unwrap_or_default()
                    });
                }
            }
        }
    }
}

/// Clears the failures of all accounts.
async fn reset(system: &TestSystem) {
    let accounts = system.admin().get("/accounts").await.ok().json();
    for account in accounts["data"].as_array().cloned().unwrap_or_default() {
        let id = account["id"].as_str().unwrap_or_default();
        system.admin().post(&format!("/accounts/{id}/reset"), &json!({})).await.ok();
    }
}
