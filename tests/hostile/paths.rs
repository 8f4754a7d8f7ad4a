//! Texts of clients that would change the path of an upstream's address. The organization's
//! credential must only be used to request models.

use std::time::Duration;

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::system::{TestKey, TestSystem};
use serde_json::json;

use crate::class::AttackClass;
use crate::process::{address, open_for_counts, read_to_end, send};

/// Invalid ids, as a client writes them into a path.
const BAD: [&str; 62] = [
    "..",
    ".",
    "...",
    "../files",
    "../files/file_011/content",
    "../messages/batches?limit=100",
    "..%2f..%2fanything%2fsecret",
    "%2e%2e/organizations/me",
    "%2E%2E%2Ffiles",
    ".%2e/files",
    "%2e./files",
    "x%2F..%2F..%2Ffiles",
    "claude-haiku-x/../../files",
    "../files/claude-haiku-4-5",
    "x/./y",
    "x/.",
    "x/..",
    "./x",
    "x//y",
    "x%2F%2Fy",
    "/x",
    "%2Fx",
    "%2F..%2Fx",
    "//files",
    "x%2f",
    "..;/files",
    "..;a=b/files",
    "x/..;/files",
    ";/files",
    "..%3b/files",
    "..%20/files",
    "%20",
    "..\\files",
    "..%5cfiles",
    "%5c..%5cfiles",
    "x%5cy",
    "..%00/files",
    "x%00",
    "x%0d%0aHost:%20evil",
    "x%0a",
    "x%09",
    "x%7f",
    "x%c2%85",
    "x%c2%9b31m",
    "x%e2%80%ae",
    "x%e2%80%a8",
    "x%e2%81%a6",
    "%ef%bc%8e%ef%bc%8e/files",
    "x%ef%bc%8fy",
    "x%ef%bc%bcy",
    "%e2%80%a5/files",
    "x%3fkey=1",
    "x%23y",
    "%252e%252e/files",
    "%252e%252e%252ffiles",
    "..%252ffiles",
    "x%252fy",
    "x%255cy",
    "%c0%ae%c0%ae/files",
    "%c0%af",
    "%",
    "%zz",
];

const BASES: [&str; 4] =
    ["/v1/models/", "/anthropic/v1/models/", "/claude-code/v1/models/", "/v1/v1/models/"];

/// The status of a request that is sent unchanged. A client library would normalize its path.
async fn raw(system: &TestSystem, key: &TestKey, method: &str, target: &str) -> String {
    let body = "{\"messages\":[],\"max_tokens\":1,\"anthropic_version\":\"bedrock-2023-05-31\"}";
    let length = if method == "POST" { body.len() } else { 0 };
    let request = format!(
        "{method} {target} HTTP/1.1\r\nhost: here\r\nx-api-key: {}\r\nanthropic-version: 2023-06-01\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{}",
        key.secret,
        &body[..length]
    );
    let Ok(mut stream) = send(address(&system.relay_url()), request.as_bytes()).await else {
        return "no connection".to_owned();
    };
    let (said, _) = read_to_end(&mut stream, Duration::from_secs(20)).await;
    said
}

fn is_refused(said: &str) -> bool {
    let Some((head, body)) = said.split_once("\r\n\r\n") else { return false };
    // hyper refuses an invalid request target itself, without a message.
    head.starts_with("HTTP/1.1 400") && (body.is_empty() || body.contains("invalid_request_error"))
}

pub(crate) async fn run(class: AttackClass) {
    let system = open_for_counts().await;
    let group = system.group("bedrock").await;
    let bedrock = json!({"provider": "bedrock", "groups": [group]});
    system.account_with("bedrock", &system.upstream.url(), bedrock).await;
    let wide = system.key("wide").create().await;
    let narrow = system.key("narrow").models(&["claude-haiku-*"]).create().await;
    let on_bedrock = system.key("on bedrock").group(&group).create().await;
    for id in BAD {
        for base in BASES {
            for key in [&wide, &narrow] {
                let said = raw(&system, key, "GET", &format!("{base}{id}")).await;
                class.check(&format!("{base}{id}"), is_refused(&said), || said.clone());
            }
        }
        let id = id.split('?').next().unwrap_or_default();
        for action in ["invoke", "invoke-with-response-stream", "count-tokens"] {
            for key in [&wide, &on_bedrock] {
                let target = format!("/model/{id}/{action}");
                let said = raw(&system, key, "POST", &target).await;
                class.check(&target, is_refused(&said), || said.clone());
            }
        }
    }
    let asked = system.upstream.exchanges();
    class.check("nothing went to the upstream", asked.is_empty(), || {
        asked.iter().map(|it| it.request.target.clone()).collect::<Vec<_>>().join(" ")
    });
    bodies(&class, &system, &on_bedrock).await;
    good(&class, &system, &wide).await;
    queries(&class, &system, &wide).await;
    operators(&class, &system).await;
}

/// The model in a body becomes a part of Bedrock's path.
async fn bodies(class: &AttackClass, system: &TestSystem, key: &TestKey) {
    // Names that a Bedrock account serves without a model map.
    let models = [
        "anthropic.x/../../y",
        "../anthropic.x",
        "..%2fanthropic.x",
        "anthropic.x/..",
        "anthropic.x/.",
        "anthropic.x/./y",
        "anthropic.x\\..\\y",
        "anthropic.x?y",
        "anthropic.x#y",
        "anthropic.x%2fy",
        "anthropic.x%2F..%2F..",
        "anthropic.x\n",
        "anthropic.x\u{0}",
        "anthropic.x\u{202e}",
        "\u{ff0e}\u{ff0e}/anthropic.x",
        "/anthropic.x",
        "anthropic.x/",
        "anthropic.x//y",
        "..;/anthropic.x",
        "anthropic.x/ /y",
    ];
    for model in models {
        for path in ["/v1/messages", "/v1/messages/count_tokens", "/v1/chat/completions"] {
            let body = json!({"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]});
            let request = key.request("POST", path).header("content-type", "application/json");
            let answer = ClientResponse::to(request.body(body.to_string())).await;
            class.check(&format!("{path} {model:?}"), answer.status == 400, || answer.text());
        }
    }
    let asked = system.upstream.exchanges().len();
    class.check("no body's model went up", asked == 0, || asked.to_string());
}

/// A valid model is sent to the upstream as one path segment.
async fn good(class: &AttackClass, system: &TestSystem, key: &TestKey) {
    for (id, target) in [
        ("claude-opus-5-5", "/v1/models/claude-opus-5-5"),
        ("anthropic/claude-opus-5-5", "/v1/models/anthropic%2Fclaude-opus-5-5"),
        ("anthropic%2Fclaude-opus-5-5", "/v1/models/anthropic%2Fclaude-opus-5-5"),
        ("ft:gpt-4o:org::id", "/v1/models/ft:gpt-4o:org::id"),
        ("a..b", "/v1/models/a..b"),
        ("us.anthropic.claude-v1%3A0", "/v1/models/us.anthropic.claude-v1:0"),
    ] {
        raw(system, key, "GET", &format!("/v1/models/{id}")).await;
        let seen = system.upstream.exchanges().last().map(|it| it.request.target.clone());
        class.check(id, seen.as_deref() == Some(target), || format!("{seen:?}"));
    }
}

/// Only documented query parameters are sent to the upstream.
async fn queries(class: &AttackClass, system: &TestSystem, key: &TestKey) {
    for (query, kept) in [
        ("limit=1", "?limit=1"),
        ("limit=1&after_id=x&beta=true", "?limit=1&after_id=x&beta=true"),
        ("path=../files&limit=2", "?limit=2"),
        ("workspace_id=w&organization=o&key=k", ""),
        ("%6cimit=1&x", ""),
    ] {
        for path in ["/v1/models", "/v1/models/claude-opus-5-5"] {
            raw(system, key, "GET", &format!("{path}?{query}")).await;
            // Baton answers a repeated request from its memory.
            let seen = system.upstream.exchanges();
            let wanted = format!("{path}{kept}");
            let is_asked = seen.iter().any(|it| it.request.target == wanted);
            let is_clean = !seen.iter().any(|it| it.request.target.contains("organization"));
            class.check(query, is_asked && is_clean, || format!("{wanted} was not asked for"));
        }
    }
}

/// Ids in the paths of the admin API and the console name a resource of Baton or nothing.
async fn operators(class: &AttackClass, system: &TestSystem) {
    let admin = address(&system.admin_url());
    for kind in ["accounts", "keys", "groups", "users", "prices"] {
        for id in BAD {
            let id = id.split('?').next().unwrap_or_default();
            for base in ["/api/v1", "/console"] {
                let request = format!(
                    "GET {base}/{kind}/x{id} HTTP/1.1\r\nhost: here\r\nauthorization: Bearer {}\r\n\
                     connection: close\r\n\r\n",
                    system.admin_token()
                );
                let Ok(mut stream) = send(admin, request.as_bytes()).await else { continue };
                let (said, _) = read_to_end(&mut stream, Duration::from_secs(20)).await;
                let status = said.get(9..12).unwrap_or_default().to_owned();
                // The console redirects a person who is not signed in to its sign-in page.
                let is_fine = status.starts_with('4') || (base == "/console" && status == "303");
                class.check(&format!("{base}/{kind}/x{id}"), is_fine, || said.clone());
            }
        }
    }
}
