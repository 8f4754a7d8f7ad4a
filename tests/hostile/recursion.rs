//! Deeply nested requests, and requests that cause work out of proportion to their size. The
//! process must survive, serve others meanwhile, and name the limit.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::system::{TestKey, TestSystem};
use serde_json::{Value, json};

use crate::class::AttackClass;
use crate::process::{RESIDENT_MB_MAX, address, cpu_seconds, health, memory_mb, open_for_counts};

/// A construct: the body around it, and the part that is repeated.
struct Construct {
    name: &'static str,
    path: &'static str,
    around: (&'static str, &'static str),
    open: &'static str,
    close: &'static str,
}

const MESSAGE: (&str, &str) =
    (r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":["#, "]}]}");
const TOOL_RESULT: (&str, &str) = (r#"{"type":"tool_result","tool_use_id":"x","content":["#, "]}");
const SEARCH: (&str, &str) = (r#"{"type":"search_result","content":["#, "]}");
const DOCUMENT: (&str, &str) =
    (r#"{"type":"document","source":{"type":"content","content":["#, "]}}");

const fn construct(
    name: &'static str,
    path: &'static str,
    around: (&'static str, &'static str),
    (open, close): (&'static str, &'static str),
) -> Construct {
    Construct { name, path, around, open, close }
}

const MESSAGES: &str = "/v1/messages";
const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";

const CONSTRUCTS: [Construct; 21] = [
    construct("tool_result", MESSAGES, MESSAGE, TOOL_RESULT),
    construct("search_result", MESSAGES, MESSAGE, SEARCH),
    construct("document", MESSAGES, MESSAGE, DOCUMENT),
    construct(
        "system",
        MESSAGES,
        (r#"{"model":"m","max_tokens":1,"messages":[],"system":["#, "]}"),
        TOOL_RESULT,
    ),
    construct("tool_result, counted", "/v1/messages/count_tokens", MESSAGE, TOOL_RESULT),
    construct("tool_result, Bedrock's client", "/model/m/invoke", MESSAGE, TOOL_RESULT),
    construct(
        "tool_result, Bedrock's stream",
        "/model/m/invoke-with-response-stream",
        MESSAGE,
        TOOL_RESULT,
    ),
    construct("a field nobody knows", MESSAGES, (r#"{"model":"m","x":"#, "}"), ("[", "]")),
    construct("objects", MESSAGES, (r#"{"model":"m","x":"#, "1}"), (r#"{"a":"#, "}")),
    construct("messages", MESSAGES, (r#"{"model":"m","messages":"#, "}"), ("[", "]")),
    construct("metadata", MESSAGES, (r#"{"model":"m","metadata":{"user_id":"#, "}}"), ("[", "]")),
    construct(
        "schema",
        MESSAGES,
        (r#"{"model":"m","messages":[],"tools":[{"name":"f","input_schema":"#, "1}]}"),
        (r#"{"a":"#, "}"),
    ),
    construct(
        "tool input",
        MESSAGES,
        (
            r#"{"model":"m","messages":[{"role":"assistant","content":[{"type":"tool_use","name":"f","input":"#,
            "1}]}]}",
        ),
        (r#"{"a":"#, "}"),
    ),
    construct(
        "content",
        CHAT,
        (r#"{"model":"m","messages":[{"role":"user","content":"#, r#""x"}]}"#),
        (r#"[{"type":"text","content":"#, "}]"),
    ),
    construct(
        "parameters",
        CHAT,
        (
            r#"{"model":"m","messages":[],"tools":[{"type":"function","function":{"name":"f","parameters":"#,
            "1}}]}",
        ),
        (r#"{"a":"#, "}"),
    ),
    construct(
        "response_format",
        CHAT,
        (r#"{"model":"m","messages":[],"response_format":"#, "1}"),
        (r#"{"json_schema":"#, "}"),
    ),
    construct(
        "tool_choice",
        CHAT,
        (r#"{"model":"m","messages":[],"tool_choice":"#, "1}"),
        (r#"{"allowed_tools":"#, "}"),
    ),
    construct(
        "namespaces",
        RESPONSES,
        (r#"{"model":"m","input":"x","tools":["#, "]}"),
        (r#"{"type":"namespace","name":"n","tools":["#, "]}"),
    ),
    construct(
        "namespaces in input",
        RESPONSES,
        (r#"{"model":"m","input":[{"type":"additional_tools","tools":["#, "]}]}"),
        (r#"{"type":"namespace","name":"n","tools":["#, "]}"),
    ),
    construct("input items", RESPONSES, (r#"{"model":"m","input":"#, "}"), ("[", "]")),
    construct(
        "output",
        RESPONSES,
        (r#"{"model":"m","input":[{"type":"function_call_output","output":"#, r#""x"}]}"#),
        (r#"[{"output":"#, "}]"),
    ),
];

/// Creates keys for each kind of account.
async fn keys(system: &TestSystem) -> Vec<(&'static str, TestKey)> {
    let mut keys = Vec::new();
    let kinds = [
        ("anthropic", json!({})),
        ("openai", json!({"provider": "openai_compatible"})),
        ("responses", json!({"provider": "openai_compatible", "speaks_responses": true})),
        ("bedrock", json!({"provider": "bedrock"})),
    ];
    for (kind, mut fields) in kinds {
        let group = system.group(kind).await;
        fields["groups"] = json!([group]);
        system.account_with(kind, &system.upstream.url(), fields).await;
        keys.push((kind, system.key(kind).group(&group).create().await));
    }
    keys
}

async fn ask(key: &TestKey, path: &str, body: impl Into<reqwest::Body>) -> ClientResponse {
    let request = key.request("POST", path).header("content-type", "application/json");
    ClientResponse::to(request.body(body)).await
}

pub(crate) async fn requests(class: AttackClass) {
    let system = open_for_counts().await;
    let relay = address(&system.relay_url());
    for (kind, key) in keys(&system).await {
        for Construct { name, path, around: (before, after), open, close } in CONSTRUCTS {
            for depth in [130, 3_000, 100_000] {
                let (open, close) = (open.repeat(depth), close.repeat(depth));
                let body = format!("{before}{open}{close}{after}");
                let answer = ask(&key, path, body).await;
                let input = format!("{name}, {depth} times, to {kind}");
                let says_bound = answer.text().contains("At most");
                class.check(&input, answer.status == 400 && says_bound, || answer.text());
            }
            // Within the limit for whole bodies. Translated parts have a smaller limit.
            for depth in [9, 20, 40, 60] {
                let (open, close) = (open.repeat(depth), close.repeat(depth));
                let answer = ask(&key, path, format!("{before}{open}{close}{after}")).await;
                // An account that cannot count tokens answers with 501.
                let is_answer = answer.status < 500 || matches!(answer.status, 501 | 503);
                class.check(&format!("{name}, {depth}"), is_answer, || answer.text());
            }
        }
        unclosed(&class, &key).await;
        strings(&class, &key).await;
        let said = health(relay).await;
        class.check("alive", said == "200", || said.clone());
    }
    api(&class, &system).await;
}

/// Bodies with brackets that are opened and never closed.
async fn unclosed(class: &AttackClass, key: &TestKey) {
    for path in [MESSAGES, CHAT, RESPONSES, "/model/m/invoke"] {
        for open in ["[", r#"{"model":"#, r#"{"a":["#, "[{}, "] {
            let answer = ask(key, path, open.repeat(200_000)).await;
            class.check(path, answer.status == 400, || answer.text());
        }
    }
}

/// JSON inside strings.
async fn strings(class: &AttackClass, key: &TestKey) {
    let deep = format!("{}1{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
    let arguments =
        json!([{"id": "a", "type": "function", "function": {"name": "f", "arguments": deep}}]);
    let call = json!([{"type": "function_call", "call_id": "c", "name": "f", "arguments": deep}]);
    let sealed = json!([{"type": "reasoning", "encrypted_content": deep}]);
    let counted = format!(r#"{{"messages":[{{"role":"user","content":{deep}}}]}}"#);
    let counted = BASE64_STANDARD.encode(counted);
    let cases: [(&str, Value); 5] = [
        (CHAT, json!({"model": "m", "messages": [{"role": "assistant", "tool_calls": arguments}]})),
        (RESPONSES, json!({"model": "m", "input": call})),
        (RESPONSES, json!({"model": "m", "input": sealed})),
        (MESSAGES, json!({"model": "m", "messages": [], "metadata": {"user_id": deep}})),
        ("/model/m/count-tokens", json!({"input": {"invokeModel": {"body": counted}}})),
    ];
    for (path, body) in cases {
        let answer = ask(key, path, body.to_string()).await;
        let is_answer = answer.status < 500 || matches!(answer.status, 501 | 503);
        class.check(path, is_answer, || answer.text());
    }
}

/// Bodies of the admin API.
async fn api(class: &AttackClass, system: &TestSystem) {
    for path in ["accounts", "keys", "groups", "users", "prices", "limits/organization"] {
        for (open, close) in [("[", "]"), (r#"{"name":"#, "}"), (r#"{"limits":"#, "}")] {
            let body = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
            let url = format!("{}/api/v1/{path}", system.admin_url());
            let method = if path == "limits/organization" { "PATCH" } else { "POST" };
            let request = reqwest::Client::new()
                .request(method.parse().expect("a method"), url)
                .bearer_auth(system.admin_token())
                .header("content-type", "application/json");
            let answer = ClientResponse::to(request.body(body)).await;
            class.check(path, (400..500).contains(&answer.status), || answer.text());
        }
    }
    let said = health(address(&system.admin_url())).await;
    class.check("the admin API is alive", said == "200", || said.clone());
}

/// The most CPU seconds for one hostile body, in an unoptimized build on a slow machine.
const CPU_SECONDS_MAX: f64 = 12.0;

pub(crate) async fn quadratic(class: AttackClass) {
    let system = open_for_counts().await;
    let relay = address(&system.relay_url());
    let keys = keys(&system).await;
    for (name, path, body) in costly() {
        for (kind, key) in &keys {
            let before = cpu_seconds(system.process_id());
            let answer = ask(key, path, body.clone()).await;
            let taken = cpu_seconds(system.process_id()) - before;
            // An account that cannot count tokens answers with 501.
            let is_answer = answer.status < 500 || matches!(answer.status, 501 | 503);
            class.check(&format!("{name} to {kind}"), is_answer && taken < CPU_SECONDS_MAX, || {
                format!("{taken:.1} s of CPU, {}", answer.status)
            });
        }
    }
    // Four of them at the same time, and a client that requests the health route.
    let (_, path, body) = costly().swap_remove(0);
    let asking: Vec<_> = (0..4)
        .map(|_| {
            let (key, body) = (keys[0].1.clone(), body.clone());
            tokio::spawn(async move { ask(&key, path, body).await })
        })
        .collect();
    let said = health(relay).await;
    class.check("others are served meanwhile", said == "200", || said.clone());
    for asked in asking {
        let is_there = asked.await.is_ok_and(|answer| answer.status < 500);
        class.check("one of four", is_there, || "no answer".to_owned());
    }
}

/// Large bodies of keys whose requests are searched for their possible cost and the models that
/// they name: keys with a limit of requests or money, or with an allow list.
pub(crate) async fn large_settings(class: AttackClass) {
    let system = open_for_counts().await;
    let relay = address(&system.relay_url());
    let group = system.group("openai").await;
    let fields = json!({"provider": "openai_compatible", "groups": [group]});
    system.account_with("openai", &system.upstream.url(), fields).await;
    let plan = || system.key("limited").group(&group);
    let keys = [
        plan().with("name", "money").limit_usd_daily("1000").create().await,
        plan().with("name", "listed").models(&["m"]).create().await,
    ];
    let list = |field: &str, count: usize, one: &dyn Fn(usize) -> String| {
        let values = (0..count).map(one).collect::<Vec<_>>().join(",");
        format!(r#"{{"model":"m","max_tokens":5,"messages":[],"{field}":[{values}]}}"#)
    };
    let bodies = [
        list("models", 60_000, &|at| format!(r#""m{at}""#)),
        list("fallbacks", 60_000, &|at| format!(r#"{{"model":"m{at}"}}"#)),
        list("x_models", 60_000, &|at| format!(r#"{{"{at}":"m{at}"}}"#)),
        list("tools", 60_000, &|at| format!(r#"{{"model":"m{at}"}}"#)),
        list("x", 1_000_000, &|_| r#"{"a":0}"#.to_owned()),
        list("x", 4_000_000, &|_| "0".to_owned()),
        list("fallbacks", 1_000_000, &|_| "0".to_owned()),
        list("plugins", 1_000_000, &|_| "{}".to_owned()),
        list("tools", 300_000, &|_| r#"{"x":[{}]}"#.to_owned()),
    ];
    for body in bodies {
        for key in &keys {
            let before = cpu_seconds(system.process_id());
            let asking = {
                let (key, body) = (key.clone(), body.clone());
                tokio::spawn(async move { ask(&key, CHAT, body).await })
            };
            let said = health(relay).await;
            class.check("others are served meanwhile", said == "200", || said.clone());
            let status = asking.await.map_or(0, |answer| answer.status);
            let taken = cpu_seconds(system.process_id()) - before;
            let is_cheap = matches!(status, 200 | 400 | 403) && taken < CPU_SECONDS_MAX;
            class.check(&format!("{body:.90}"), is_cheap, || format!("{taken:.1} s, {status}"));
        }
    }
    let most = memory_mb(system.process_id(), "VmHWM");
    class.check("memory", most < RESIDENT_MB_MAX, || format!("{most} MB"));
}

/// Large bodies whose parts could be compared with each other or read repeatedly.
fn costly() -> Vec<(&'static str, &'static str, String)> {
    let pad = "x".repeat(2 << 20);
    let many = |count: usize, one: &dyn Fn(usize) -> String| {
        (0..count).map(one).collect::<Vec<_>>().join(",")
    };
    let tool = |at: usize| format!(r#"{{"type":"function","name":"t{at}"}}"#);
    let chat_tool = |at: usize| format!(r#"{{"type":"function","function":{{"name":"t{at}"}}}}"#);
    let namespaces = |depth: usize| {
        let open = r#"{"type":"namespace","name":"n","tools":["#.repeat(depth);
        let inner = format!(r#"{{"type":"function","name":"f","description":"{pad}"}}"#);
        format!(r#"{{"model":"m","input":"x","tools":[{open}{inner}{}]}}"#, "]}".repeat(depth))
    };
    let results = |depth: usize| {
        let (open, close) = (TOOL_RESULT.0.repeat(depth), TOOL_RESULT.1.repeat(depth));
        let inner = format!(r#"{{"type":"text","text":"{pad}"}}"#);
        format!("{}{open}{inner}{close}{}", MESSAGE.0, MESSAGE.1)
    };
    let fields = many(300_000, &|at| format!(r#""f{at}":0"#));
    vec![
        ("deep namespaces", RESPONSES, namespaces(1_000)),
        ("namespaces within the bound", RESPONSES, namespaces(7)),
        ("deep results", MESSAGES, results(1_000)),
        ("results within the bound", MESSAGES, results(7)),
        (
            "a choice among all tools",
            RESPONSES,
            format!(
                r#"{{"model":"m","input":"x","tools":[{0}],"tool_choice":{{"type":"allowed_tools","tools":[{0}]}}}}"#,
                many(20_000, &tool)
            ),
        ),
        (
            "a choice among all tools, chat",
            CHAT,
            format!(
                r#"{{"model":"m","messages":[],"tools":[{0}],"tool_choice":{{"allowed_tools":{{"tools":[{0}]}}}}}}"#,
                many(20_000, &chat_tool)
            ),
        ),
        ("fields", MESSAGES, format!(r#"{{"model":"m","messages":[],{fields}}}"#)),
        (
            "fields of an option",
            CHAT,
            format!(r#"{{"model":"m","messages":[],"stream":true,"stream_options":{{{fields}}}}}"#),
        ),
        (
            "names of fields",
            MESSAGES,
            format!(r#"{{"model":"m","messages":[],"{}":1}}"#, "_".repeat(2 << 20)),
        ),
        (
            "fields of blocks",
            MESSAGES,
            format!(r#"{}{{"type":"text","text":"x",{fields}}}{}"#, MESSAGE.0, MESSAGE.1),
        ),
        (
            "messages",
            MESSAGES,
            format!(
                r#"{{"model":"m","messages":[{}]}}"#,
                many(50_000, &|_| r#"{"role":"user","content":"x"}"#.to_owned())
            ),
        ),
        (
            "blocks",
            MESSAGES,
            format!("{}{}{}", MESSAGE.0, many(50_000, &|_| "{}".to_owned(),), MESSAGE.1),
        ),
        (
            "numbers",
            MESSAGES,
            format!(r#"{{"model":"m","messages":[{}]}}"#, many(500_000, &|_| "0".to_owned())),
        ),
        (
            "one text",
            MESSAGES,
            format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{pad}"}}]}}"#),
        ),
        (
            "escapes",
            CHAT,
            format!(
                r#"{{"model":"m","messages":[{{"role":"user","content":"{}"}}]}}"#,
                r"\u0041\n".repeat(200_000)
            ),
        ),
        (
            "white space",
            MESSAGES,
            format!(r#"{{"model":"m","messages":[]{}}}"#, " \n".repeat(1 << 20)),
        ),
    ]
}
