//! Failures of one account, of its proxy or of a server in front of its upstream. The next account
//! must serve the client, no working account may be marked as failed, and all usage must be
//! recorded.

use std::net::SocketAddr;
use std::time::Duration;

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::system::{TestKey, TestSystem, pico, settled};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::bad_upstream::listen;
use crate::class::AttackClass;

const CHAT: &str = "/v1/chat/completions";
const JSON: &str = "application/json";
const SSE: &str = "text/event-stream";
const HTML: &str = "text/html";

/// An answer: status, content type, body.
type Reply = (u16, &'static str, &'static str);

const SCOPES_401: Reply = (
    401,
    JSON,
    r#"{"error":{"message":"You have insufficient permissions for this operation. Missing scopes: api.model.read. Check that you have the correct role in your organization.","type":"invalid_request_error","param":null,"code":null}}"#,
);
const SCOPES_403: Reply = (
    403,
    JSON,
    r#"{"error":"You have insufficient permissions for this operation. Missing scopes: api.model.read."}"#,
);
const AZURE_SCOPE: Reply = (
    401,
    JSON,
    r#"{"error":{"code":"PermissionDenied","message":"Principal does not have access to API/Operation."}}"#,
);
const PAGE_403: Reply =
    (403, HTML, "<html><title>403 Forbidden</title>cloudflare Ray ID: 8f3ab17c</html>");
const PLAIN_401: Reply = (401, JSON, r#"{"detail":"Unauthorized"}"#);
const BAD_KEY: Reply = (
    401,
    JSON,
    r#"{"error":{"message":"Incorrect API key provided: sk-up**9.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
);
const GOOD: Reply = (
    200,
    JSON,
    r#"{"id":"c","object":"chat.completion","model":"gpt-5.5","choices":[{"index":0,"message":{"role":"assistant","content":"good"},"finish_reason":"stop"}],"usage":{"prompt_tokens":500,"completion_tokens":4000,"total_tokens":4500}}"#,
);
const GOOD_STREAM: Reply = (
    200,
    SSE,
    "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt-5.5\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"good\"},\"finish_reason\":null}]}\n\ndata: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt-5.5\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":500,\"completion_tokens\":4000}}\n\ndata: [DONE]\n\n",
);

/// The answers of an upstream: to calls of the account `bad` that contain `poison`, to requests for
/// the list of models, and to any unknown credential.
#[derive(Clone, Copy)]
struct Script {
    poison: Reply,
    list: Reply,
    /// The answer to an unknown credential.
    stranger: Reply,
}

impl Script {
    async fn start(self) -> SocketAddr {
        listen(move |stream| self.serve(stream)).await
    }

    async fn serve(self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut seen = Vec::new();
        loop {
            let end = seen.windows(4).position(|four| four == b"\r\n\r\n");
            let Some(end) = end else {
                if stream.read_buf(&mut seen).await? == 0 {
                    return Ok(());
                }
                continue;
            };
            let head = String::from_utf8_lossy(&seen[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length = length.and_then(|value| value.trim().parse().ok()).unwrap_or(0_usize);
            while seen.len() < end + 4 + length {
                if stream.read_buf(&mut seen).await? == 0 {
                    return Ok(());
                }
            }
            let body = String::from_utf8_lossy(&seen[end + 4..end + 4 + length]).into_owned();
            seen.drain(..end + 4 + length);
            let (status, kind, body) = self.answer(&head, &body);
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all((head + body).as_bytes()).await?;
        }
    }

    fn answer(self, head: &str, body: &str) -> Reply {
        let is_known = ["sk-upstream-bad", "sk-upstream-spare"].iter().any(|it| head.contains(it));
        match body {
            _ if !is_known => self.stranger,
            _ if head.starts_with("get ") => self.list,
            "{}" => (
                400,
                JSON,
                r#"{"error":{"message":"you must provide a model parameter","type":"invalid_request_error","param":null,"code":null}}"#,
            ),
            _ if body.contains("poison") && head.contains("sk-upstream-bad") => self.poison,
            _ if body.contains(r#""stream":true"#) => GOOD_STREAM,
            _ => GOOD,
        }
    }
}

/// A request for a model that Messages clients reach through Chat Completions, too.
fn chat(text: &str, stream: bool) -> Value {
    json!({
        "model": "gpt-4.1", "max_tokens": 5000, "stream": stream,
        "messages": [{"role": "user", "content": text}],
    })
}

async fn ask(key: &TestKey, path: &str, body: &Value) -> ClientResponse {
    ClientResponse::to(key.request("POST", path).body(body.to_string())).await
}

/// Creates a group with the account `bad`, and with a second account if `has_spare`.
async fn group(system: &TestSystem, script: Script, has_spare: bool) -> (String, String) {
    let (address, group) = (script.start().await, system.group("faults").await);
    let mut ids = Vec::new();
    for (priority, name) in [(1, "bad"), (2, "spare")] {
        let fields = json!({
            "groups": [group], "provider": "openai_compatible", "speaks_responses": true,
            "priority": priority, "cache_domain": name,
            "credential": {"type": "api_key", "value": format!("sk-upstream-{name}-0123456789")},
        });
        if has_spare || priority == 1 {
            ids.push(system.account_with(name, &format!("http://{address}"), fields).await);
        }
    }
    (group, ids.swap_remove(0))
}

/// Accounts with restricted keys: an answer to one tenant must not take an account from another
/// tenant.
pub(crate) async fn restricted(class: AttackClass) {
    let system = TestSystem::empty().await;
    let poisons = [
        ("401 scopes", SCOPES_401),
        ("403 scopes", SCOPES_403),
        ("azure", AZURE_SCOPE),
        ("page", PAGE_403),
        ("401", PLAIN_401),
    ];
    let lists = [
        ("401 scopes", SCOPES_401),
        ("403 scopes", SCOPES_403),
        ("azure", AZURE_SCOPE),
        ("page", PAGE_403),
        ("404", (404, HTML, "<html>")),
        ("501", (501, HTML, "<html>")),
    ];
    let strangers = [("named", BAD_KEY), ("unnamed", PLAIN_401)];
    for (poison_name, poison) in poisons {
        for (list_name, list) in lists {
            for (stranger_name, stranger) in strangers {
                let script = Script { poison, list, stranger };
                let (group, account) = group(&system, script, false).await;
                let evil = system.key("evil").group(&group).create().await;
                let victim = system.key("victim").group(&group).create().await;
                for path in ["/v1/responses", CHAT] {
                    let body = match path {
                        CHAT => chat("poison", false),
                        _ => json!({"model": "gpt-5.5", "input": "poison"}),
                    };
                    ask(&evil, path, &body).await;
                }
                let name = format!("{poison_name}, list {list_name}, stranger {stranger_name}");
                let answer = ask(&victim, CHAT, &chat("hi", false)).await;
                let is_served = answer.status == 200;
                class.check(&format!("{name}: served"), is_served, || answer.text());
                let account = system.admin().get(&format!("/accounts/{account}")).await.json();
                let is_well = account["status"] == "ready";
                class.check(&format!("{name}: ready"), is_well, || account.to_string());
            }
        }
    }
}

/// Failures that the next account must make up for: streamed or not, with and without an error
/// status.
const FAILURES: [(&str, Reply); 44] = [
    ("429 page", (429, HTML, "<html>429 Too Many Requests</html>")),
    ("402 page", (402, HTML, "<html>402 Payment Required</html>")),
    ("200 sign-in page", (200, HTML, "<html><form>Sign in</form></html>")),
    ("200 page as JSON", (200, JSON, "<!doctype html><title>Welcome</title>")),
    ("200 page as text", (200, "text/plain", "<html>proxy</html>")),
    ("200 nothing", (200, JSON, "")),
    ("200 empty page", (200, HTML, "")),
    ("204", (204, JSON, "")),
    ("200 list", (200, JSON, "[]")),
    ("200 null", (200, JSON, "null")),
    ("200 words", (200, "text/plain", "It works!")),
    ("530", (530, HTML, "<html>error code: 1033")),
    ("408", (408, JSON, r#"{"error":{"code":408,"message":"Your request timed out"}}"#)),
    ("404 page", (404, HTML, "<html>nginx")),
    ("404 text", (404, "text/plain", "404 page not found")),
    ("404 router", (404, JSON, r#"{"detail":"Not Found"}"#)),
    ("405 page", (405, HTML, "<html>405 Not Allowed")),
    ("407", (407, HTML, "<html>")),
    ("501", (501, HTML, "<html>")),
    ("509", (509, HTML, "<html>")),
    ("scopes", SCOPES_401),
    (
        "key limit",
        (
            403,
            JSON,
            r#"{"error":{"message":"Key limit exceeded (monthly limit). Manage it using https://openrouter.ai/settings/keys","code":403}}"#,
        ),
    ),
    (
        "location",
        (
            400,
            JSON,
            r#"[{"error":{"code":400,"message":"User location is not supported for the API use.","status":"FAILED_PRECONDITION"}}]"#,
        ),
    ),
    (
        "project",
        (
            403,
            JSON,
            r#"[{"error":{"code":403,"message":"Your project has been denied access. Please contact support.","status":"PERMISSION_DENIED"}}]"#,
        ),
    ),
    ("xai key", (400, JSON, r#"{"code":"c","error":"Incorrect API key provided: sk***9."}"#)),
    (
        "litellm budget",
        (
            400,
            JSON,
            r#"{"error":{"message":"Budget has been exceeded! Current cost: 9, Max budget: 8","type":"budget_exceeded","param":null,"code":"400"}}"#,
        ),
    ),
    ("200 429", (200, JSON, r#"{"error":{"message":"Provider returned error","code":429}}"#)),
    ("200 text", (200, JSON, r#"{"error":"model is loading"}"#)),
    (
        "200 object",
        (200, JSON, r#"{"object":"error","message":"m","type":"InternalServerError","code":500}"#),
    ),
    (
        "200 402",
        (200, JSON, r#"{"error":{"message":"Insufficient credits","code":402},"user_id":"u"}"#),
    ),
    (
        "200 choice",
        (
            200,
            JSON,
            r#"{"id":"x","choices":[{"index":0,"error":{"code":502,"message":"Upstream error"},"finish_reason":"error","message":{"role":"assistant","content":""}}]}"#,
        ),
    ),
    (
        "stream object",
        (
            200,
            SSE,
            "data: {\"object\":\"error\",\"message\":\"m\",\"type\":\"InternalServerError\",\"param\":null,\"code\":500}\n\ndata: [DONE]\n\n",
        ),
    ),
    ("stream text", (200, SSE, "data: {\"error\":\"model is loading\"}\n\n")),
    ("stream detail", (200, SSE, "data: {\"detail\":\"Internal Server Error\"}\n\n")),
    (
        "stream proxy",
        (200, SSE, "data: upstream connect error or disconnect/reset before headers\n\n"),
    ),
    ("stream done", (200, SSE, "data: [DONE]\n\n")),
    ("stream page", (200, SSE, "<html>502 Bad Gateway</html>\n\n")),
    ("stream nothing", (200, SSE, "")),
    (
        "stream tgi",
        (200, SSE, "data: {\"error\":\"Model is overloaded\",\"error_type\":\"overloaded\"}\n\n"),
    ),
    (
        "stream openrouter",
        (
            200,
            SSE,
            ": OPENROUTER PROCESSING\n\ndata: {\"id\":\"g\",\"error\":{\"code\":502,\"message\":\"Provider disconnected\"},\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"},\"finish_reason\":\"error\"}]}\n\n",
        ),
    ),
    (
        "stream azure filter",
        (
            200,
            SSE,
            "data: {\"id\":\"\",\"object\":\"\",\"created\":0,\"model\":\"\",\"choices\":[],\"prompt_filter_results\":[{\"prompt_index\":0}]}\n\ndata: {\"error\":{\"code\":\"429\",\"message\":\"Requests have exceeded token rate limit\"}}\n\n",
        ),
    ),
    (
        "stream role",
        (
            200,
            SSE,
            "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\ndata: {\"error\":{\"message\":\"overloaded\",\"code\":503}}\n\n",
        ),
    ),
    (
        "stream role only",
        (
            200,
            SSE,
            "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":null},\"finish_reason\":null}]}\n\n",
        ),
    ),
    (
        "stream ping",
        (
            200,
            SSE,
            "event: ping\ndata: {}\n\nevent: error\ndata: {\"error\":{\"code\":402,\"message\":\"Insufficient credits\"}}\n\n",
        ),
    ),
];

/// One account fails, and the other must serve the client.
pub(crate) async fn elsewhere(class: AttackClass) {
    let system = TestSystem::empty().await;
    for (name, poison) in FAILURES {
        let list = (200, JSON, r#"{"data":[]}"#);
        let (group, _) = group(&system, Script { poison, list, stranger: BAD_KEY }, true).await;
        let key = system.key("client").group(&group).create().await;
        for path in [CHAT, "/v1/messages"] {
            for stream in [false, true] {
                let answer = ask(&key, path, &chat("poison", stream)).await;
                let text = answer.text();
                let is_served = answer.status == 200 && text.contains("good");
                let name = format!("{name} {path} stream={stream}");
                class.check(&name, is_served, || format!("{} {text}", answer.status));
            }
        }
        let lone = Script { poison, list, stranger: BAD_KEY };
        let (group, _) = self::group(&system, lone, false).await;
        let key = system.key("lone").group(&group).create().await;
        if INVALID_ANSWERS.contains(&name) {
            check_invalid_answer(&class, &system, name, poison).await;
        }
        // Even without another account, no client may take an error for an answer or learn about
        // the credential.
        let answer = ask(&key, CHAT, &chat("poison", false)).await;
        let is_told = answer.status >= 400 || poison.1 == SSE;
        let is_private = !answer.text().contains("Missing scopes") && answer.status != 407;
        class.check(&format!("{name}, alone"), is_told && is_private, || {
            format!("{} {}", answer.status, answer.text())
        });
    }
}

/// The failures that are answers with success, but not of the upstream's API.
const INVALID_ANSWERS: [&str; 9] = [
    "200 sign-in page",
    "200 page as JSON",
    "200 page as text",
    "200 nothing",
    "200 empty page",
    "204",
    "200 list",
    "200 null",
    "200 words",
];

/// The client must get 502 in its API's form, the requests must be recorded, and nothing counts
/// against the account.
async fn check_invalid_answer(class: &AttackClass, system: &TestSystem, name: &str, poison: Reply) {
    let list = (200, JSON, r#"{"data":[]}"#);
    let (group, account) = group(system, Script { poison, list, stranger: BAD_KEY }, false).await;
    let key = system.key("invalid").group(&group).create().await;
    let mut asked = 0;
    for (path, place) in [(CHAT, "/error/message"), ("/v1/messages", "/error/type")] {
        for stream in [false, true] {
            let answer = ask(&key, path, &chat("poison", stream)).await;
            asked += 1;
            let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let is_error = answer.status == 502 && body.pointer(place).is_some();
            class.check(&format!("{name} {path} stream={stream}, error"), is_error, || {
                format!("{} {}", answer.status, answer.text())
            });
        }
    }
    let account = system.admin().get(&format!("/accounts/{account}")).await.json();
    let is_well = account["status"] == "ready" && account["status_reason"].is_null();
    class.check(&format!("{name}, ready"), is_well, || account.to_string());
    let path = format!("/usage/events?key_id={}", key.id);
    let mut events = Value::Null;
    for _ in 0..50 {
        events = system.admin().get(&path).await.json()["data"].clone();
        if events.as_array().is_some_and(|events| events.len() == asked) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let is_recorded = events.as_array().is_some_and(|events| {
        events.len() == asked && events.iter().all(|event| event["outcome"] == "upstream_error")
    });
    class.check(&format!("{name}, recorded"), is_recorded, || events.to_string());
}

/// Successful answers without usage, or with usage that cannot be read.
const HIDDEN: [(&str, Reply); 9] = [
    (
        "no usage",
        (
            200,
            JSON,
            r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"good"},"finish_reason":"stop"}]}"#,
        ),
    ),
    (
        "null",
        (
            200,
            JSON,
            r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"good"},"finish_reason":"stop"}],"usage":null}"#,
        ),
    ),
    (
        "empty",
        (
            200,
            JSON,
            r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"good"},"finish_reason":"stop"}],"usage":{}}"#,
        ),
    ),
    (
        "zeros",
        (
            200,
            JSON,
            r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"good"},"finish_reason":"stop"}],"usage":{"prompt_tokens":0,"completion_tokens":0}}"#,
        ),
    ),
    (
        "wrapped",
        (
            200,
            JSON,
            r#"x({"choices":[{"index":0,"message":{"role":"assistant","content":"good"}}]})"#,
        ),
    ),
    ("cut", (200, JSON, r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"good"#)),
    (
        "stream",
        (
            200,
            SSE,
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"good\"},\"finish_reason\":null}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
        ),
    ),
    (
        "stream without finish",
        (
            200,
            SSE,
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"good\"}}]}\n\ndata: [DONE]\n\n",
        ),
    ),
    (
        "stream zeros",
        (
            200,
            SSE,
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"good\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0}}\n\ndata: [DONE]\n\n",
        ),
    ),
];

/// Compares the cost of answers with hidden usage to the cost of answers with usage.
pub(crate) async fn hidden_usage(class: AttackClass) {
    let system = TestSystem::empty().await;
    let honest = spent(&system, GOOD_STREAM, true).await;
    let is_complete = honest.1["outcome"] == "complete" && honest.1["estimated"] == false;
    class.check("an honest stream with a length", is_complete, || honest.1.to_string());
    for (name, poison) in HIDDEN {
        let (cost, record) = spent(&system, poison, poison.1 == SSE).await;
        class.check(name, cost >= honest.0 && record["estimated"] == true, || record.to_string());
    }
}

/// The cost to the key of a request that gets this answer, and its usage record.
async fn spent(system: &TestSystem, poison: Reply, stream: bool) -> (i128, Value) {
    let list = (200, JSON, r#"{"data":[]}"#);
    let (group, _) = group(system, Script { poison, list, stranger: BAD_KEY }, false).await;
    let key = system.key("hiding").group(&group).limit_usd_daily("1000").create().await;
    ask(&key, CHAT, &chat("poison", stream)).await;
    let spend = settled(&key).await;
    let path = format!("/usage/events?key_id={}", key.id);
    for _ in 0..50 {
        let events = system.admin().get(&path).await.json();
        if let Some(record) = events["data"].get(0) {
            return (pico(&spend["spent_usd"]), record.clone());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    (0, Value::Null)
}
