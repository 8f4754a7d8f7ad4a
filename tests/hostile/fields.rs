//! Bodies with contradictory fields, model names that are disguised as others, and bodies that are
//! not JSON.

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::system::{TestKey, TestSystem};
use serde_json::json;

use crate::class::AttackClass;
use crate::process::{address, health, open_for_counts};

const PATHS: [&str; 4] =
    ["/v1/messages", "/v1/messages/count_tokens", "/v1/chat/completions", "/v1/responses"];

async fn ask(key: &TestKey, path: &str, body: impl Into<reqwest::Body>) -> ClientResponse {
    let request = key.request("POST", path).header("content-type", "application/json");
    ClientResponse::to(request.body(body)).await
}

/// Creates a group with an OpenAI-compatible account, and a key for it.
async fn openai(system: &TestSystem) -> TestKey {
    let group = system.group("openai").await;
    let fields = json!({"provider": "openai_compatible", "groups": [group]});
    system.account_with("openai", &system.upstream.url(), fields).await;
    system.key("openai").group(&group).create().await
}

/// Fields that occur twice, or a second time with other letter case.
pub(crate) async fn twice(class: AttackClass) {
    let system = open_for_counts().await;
    let keys = [system.key("a").create().await, openai(&system).await];
    let known = [
        "model",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "n",
        "best_of",
        "tools",
        "messages",
        "system",
        "input",
        "instructions",
        "speed",
        "metadata",
        "service_tier",
        "thinking",
        "reasoning",
        "reasoning_effort",
        "tool_choice",
        "previous_response_id",
        "fallbacks",
        "prompt_cache_key",
        "store",
        "other",
    ];
    let body = |more: &str| {
        format!(r#"{{"model":"claude-opus-5-5","max_tokens":9,"messages":[],"input":"x"{more}}}"#)
    };
    let mut cases = Vec::new();
    for name in known {
        cases.push(body(&format!(r#","{name}":1,"{name}":2"#)));
        let escaped = format!("\\u{:04x}{}", u32::from(name.as_bytes()[0]), &name[1..]);
        cases.push(body(&format!(r#","{name}":1,"{escaped}":1"#)));
    }
    for name in ["model", "stream", "max_tokens", "max_output_tokens", "tools", "messages"] {
        let camel = name.replace("_t", "T").replace("_o", "O").replace("_c", "C");
        let mut others =
            vec![name.to_uppercase(), format!("{}{}", &name[..1].to_uppercase(), &name[1..])];
        others.extend((camel != name).then_some(camel));
        others.push(name.replace('s', "\u{17f}").replace('k', "\u{212a}"));
        cases.extend(
            others.iter().filter(|it| *it != name).map(|it| body(&format!(r#","{it}":1"#))),
        );
    }
    for nested in [
        r#","stream":true,"stream_options":{"include_usage":true,"include_usage":false}"#,
        r#","stream":true,"stream_options":{"include_usage":false,"include_usage":true}"#,
        r#","thinking":{"type":"enabled","budget_tokens":1024,"budget_tokens":64000}"#,
        r#","reasoning":{"effort":"low","effort":"high"}"#,
        r#","metadata":{"user_id":"a","user_id":"b"}"#,
        r#","fallbacks":[{"model":"a","model":"b"}]"#,
        r#","tools":[{"type":"advisor","model":"a","model":"b"}]"#,
        r#","text":{"format":{"type":"text","type":"json_object"}}"#,
    ] {
        cases.push(body(nested));
    }
    for body in cases {
        for (path, key) in PATHS.iter().flat_map(|path| keys.iter().map(move |key| (path, key))) {
            let answer = ask(key, path, body.clone()).await;
            class.check(&format!("{path} {body}"), answer.status == 400, || answer.text());
        }
        let mut framed = body.replace(r#""model":"claude-opus-5-5","#, "");
        if !body.contains(r#""model":1"#) {
            framed = framed.replace(r#","input":"x""#, "");
            let answer = ask(&keys[0], "/model/m/invoke", framed).await;
            class
                .check(&format!("Bedrock's client {body}"), answer.status == 400, || answer.text());
        }
    }
    let asked = system.upstream.exchanges().len();
    class.check("nothing went up", asked == 0, || asked.to_string());
}

/// Settings that a less strict upstream reads from a value of another type.
pub(crate) async fn types(class: AttackClass) {
    let system = open_for_counts().await;
    let keys = [system.key("a").create().await, openai(&system).await];
    let body = |field: &str| {
        format!(r#"{{"model":"claude-opus-5-5","max_tokens":9,"messages":[],"input":"x",{field}}}"#)
    };
    let mut fields = Vec::new();
    for value in
        ["\"true\"", "\"false\"", "\"\"", "\"1\"", "\"on\"", "1", "0", "1.0", "[]", "[true]", "{}"]
    {
        fields.push(("stream", format!("\"stream\":{value}")));
    }
    for name in ["max_completion_tokens", "max_output_tokens", "n", "best_of"] {
        for value in ["\"5\"", "\"1e9\"", "[5]", "{\"a\":5}", "true", "\"\""] {
            fields.push((name, format!("\"{name}\":{value}")));
        }
    }
    for name in ["speed", "service_tier"] {
        for value in ["[\"priority\"]", "{\"type\":\"fast\"}", "1", "true"] {
            fields.push((name, format!("\"{name}\":{value}")));
        }
    }
    for value in ["[]", "\"{}\"", "true", "1"] {
        fields.push(("stream_options", format!("\"stream\":true,\"stream_options\":{value}")));
        fields.push(("thinking", format!("\"thinking\":{value}")));
    }
    for options in ["\"include_usage\":\"false\"", "\"include_usage\":0", "\"includeUsage\":false"]
    {
        let field = format!("\"stream\":true,\"stream_options\":{{{options}}}");
        fields.push(("include_usage", field));
    }
    for (name, field) in fields {
        for (path, key) in PATHS.iter().flat_map(|path| keys.iter().map(move |key| (path, key))) {
            let answer = ask(key, path, body(&field)).await;
            let is_named = answer.status == 400 && answer.text().contains(name);
            class.check(&format!("{path} {field}"), is_named, || answer.text());
        }
    }
    let asked = system.upstream.exchanges().len();
    class.check("nothing went up", asked == 0, || asked.to_string());
}

/// Names that contain an allowed name.
pub(crate) async fn decorations(class: AttackClass) {
    let system = open_for_counts().await;
    let literal = system.key("literal").models(&["claude-haiku-4-5"]).create().await;
    let starred = system.key("starred").models(&["claude-haiku-*"]).create().await;
    let names = [
        "claude-opus-4-5/claude-haiku-4-5",
        "anthropic/claude-opus-4-5/claude-haiku-4-5",
        "claude-haiku-4-5/claude-opus-4-5",
        "x.anthropic.claude-haiku-4-5",
        "claude-opus-4-5anthropic.claude-haiku-4-5",
        "claude-opus-4-5.anthropic.claude-haiku-4-5",
        "us.anthropic.claude-opus-4-5-v1:0/us.anthropic.claude-haiku-4-5-v1:0",
        "arn:aws:bedrock:us-east-1:1:inference-profile/claude-opus-4-5/claude-haiku-4-5",
        "publishers/anthropic/models/claude-opus-4-5/claude-haiku-4-5",
        "claude-opus-4-5@claude-haiku-4-5",
        "claude-opus-4-5[claude-haiku-4-5]",
        "claude-opus-4-5:claude-haiku-4-5",
        "claude-opus-4-5 claude-haiku-4-5",
        "claude-opus-4-5\u{0}claude-haiku-4-5",
        "claude-opus-4-5\nclaude-haiku-4-5",
        "claude-opus-4-5",
        "CLAUDE-OPUS-4-5",
        " claude-haiku-4-5",
        "../claude-haiku-4-5",
    ];
    let only_literal = [
        "claude-haiku-4-5@opus",
        "claude-haiku-4-5[opus]",
        "claude-haiku-4-5-v1:claude-opus",
        "claude-haiku-4-5 ",
        "claude-haiku-4-5-opus",
    ];
    for (key, names) in
        [(&literal, &names[..]), (&starred, &names[..]), (&literal, &only_literal[..])]
    {
        for model in names {
            for path in PATHS {
                let body = json!({"model": model, "max_tokens": 9, "messages": [], "input": "x"});
                let answer = ask(key, path, body.to_string()).await;
                let is_refused = matches!(answer.status, 400 | 403);
                class.check(&format!("{path} {model:?}"), is_refused, || answer.text());
            }
        }
    }
    let asked = system.upstream.exchanges().len();
    class.check("nothing went up", asked == 0, || asked.to_string());
    for model in ["claude-haiku-4-5", "claude-haiku-4-5-20251001", "anthropic/claude-haiku-4-5"] {
        let answer = literal.ask_model(model, "hi").await;
        class.check(model, answer.status == 200, || answer.text());
    }
}

/// Malformed bodies.
pub(crate) async fn malformed(class: AttackClass) {
    let system = open_for_counts().await;
    let keys = [system.key("a").create().await, openai(&system).await];
    let mut bodies: Vec<Vec<u8>> = [
        "",
        " ",
        "{",
        "}",
        "[",
        "]",
        "null",
        "true",
        "1",
        "-",
        "\"",
        "\"model\"",
        "[]",
        "{}",
        "{]",
        "{\"model\"",
        "{\"model\":",
        "{\"model\":}",
        "{\"model\":\"m\"",
        "{\"model\":\"m\",}",
        "{,\"model\":\"m\"}",
        "{\"model\":\"m\"}}",
        "{\"model\":\"m\"}{}",
        "{\"model\":\"m\"} x",
        "{\"model\" \"m\"}",
        "{'model':'m'}",
        "{model:\"m\"}",
        "{\"model\":m}",
        "{\"model\":NaN}",
        "{\"model\":\"m\",\"a\":Infinity}",
        "{\"model\":\"m\",\"a\":-}",
        "{\"model\":\"m\",\"a\":01}",
        "{\"model\":\"m\",\"a\":1.}",
        "{\"model\":\"m\",\"a\":.1}",
        "{\"model\":\"m\",\"a\":+1}",
        "{\"model\":\"m\",\"a\":1e}",
        "{\"model\":\"m\",\"a\":0x1}",
        "{\"model\":\"m\",\"a\":tru}",
        "{\"model\":\"m\",\"a\":nul}",
        "{\"model\":\"m\",\"a\":[1,]}",
        "{\"model\":\"m\",\"a\":[,1]}",
        "{\"model\":\"m\",\"a\":[1 2]}",
        "{\"model\":\"m\",\"a\":\"\\x\"}",
        "{\"model\":\"m\",\"a\":\"\\u12\"}",
        "{\"model\":\"m\",\"a\":\"\\\"}",
        "{\"model\":\"m\",\"a\":\"\n\"}",
        "{\"model\":\"m\",\"a\":\"\u{0}\"}",
        "{\"model\":\"m\",/**/\"a\":1}",
        "{\"model\":\"m\"}//",
        "\u{feff}{\"model\":\"m\"}",
        "{\"model\":null}",
        "{\"model\":1}",
        "{\"model\":[]}",
        "{\"model\":{}}",
        "{\"model\":\"\"}",
        "{\"model\":\"\\ud800\"}",
        "{\"\\ud800\":1,\"model\":\"m\"}",
        "{\"model\":\"a\\u0000b\"}",
        "<model>m</model>",
        "model=m&stream=true",
        "data: {\"model\":\"m\"}\n\n",
        "--x\r\n\r\n",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    bodies.push(b"{\"model\":\"\xff\"}".to_vec());
    bodies.push(b"{\"\xff\":1,\"model\":\"m\"}".to_vec());
    bodies.push(vec![0xff; 100]);
    bodies.push(vec![0; 100]);
    let utf16 = || "{\"model\":\"m\"}".encode_utf16();
    bodies.push(utf16().flat_map(u16::to_le_bytes).collect());
    bodies.push(utf16().flat_map(u16::to_be_bytes).collect());
    bodies.push([0xfeff].into_iter().chain(utf16()).flat_map(u16::to_le_bytes).collect());
    for bytes in [u32::to_le_bytes, u32::to_be_bytes] {
        bodies.push("{\"model\":\"m\"}".chars().map(u32::from).flat_map(bytes).collect());
    }
    bodies.push(format!("{{\"model\":\"{}\"}}", "m".repeat(201)).into_bytes());
    bodies.push(format!("{{\"model\":\"m\",\"a\":\"{}", "x".repeat(100_000)).into_bytes());
    for body in &bodies {
        for (path, key) in PATHS.iter().flat_map(|path| keys.iter().map(move |key| (path, key))) {
            let answer = ask(key, path, body.clone()).await;
            let input =
                format!("{path} {:?}", String::from_utf8_lossy(&body[..body.len().min(40)]));
            class.check(&input, answer.status == 400, || answer.text());
        }
    }
    let said = health(address(&system.relay_url())).await;
    class.check("alive", said == "200", || said.clone());
    let asked = system.upstream.exchanges().len();
    class.check("nothing went up", asked == 0, || asked.to_string());
}
