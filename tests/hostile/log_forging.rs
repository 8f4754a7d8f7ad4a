//! Text of clients and upstreams in logs, spreadsheet files and the terminal. It must never look
//! like a log line, a command or a formula. A log at the most detailed level must not contain
//! secrets either.

use crate::class::AttackClass;
use baton_test_harness::system::{MODEL, TestKey, TestSystem, message};
use serde_json::{Value, json};

/// A mark in each payload, by which it is found.
const MARK: &str = "FORGED-7f3a";

fn payloads() -> Vec<String> {
    [
        "\n",
        "\r\n",
        "\r",
        "\u{b}",
        "\u{c}",
        "\u{1b}[2K",
        "\u{1b}]0;title\u{7}",
        "\u{9b}2J",
        "\u{85}",
        "\u{2028}",
        "\u{2029}",
        "\u{202e}",
        "\u{2066}",
        "\u{200f}",
        "\u{0}",
        "\u{7f}",
        "\u{8}",
        "\u{feff}",
    ]
    .iter()
    .map(|odd| format!("claude{odd}2026-11-28T12:00:00.000000Z  INFO {MARK} all is well"))
    .collect()
}

pub(crate) async fn run(class: AttackClass) {
    for format in ["text", "json"] {
        for level in ["info", "trace"] {
            Box::pin(logs(&class, format, level)).await;
        }
    }
    Box::pin(exports(&class)).await;
}

async fn ask(key: &TestKey, path: &str, body: &Value) -> u16 {
    let request = key.request("POST", path).header("content-type", "application/json");
    let answer = request.body(body.to_string()).send().await;
    answer.map(|answer| answer.status().as_u16()).unwrap_or_default()
}

async fn logs(class: &AttackClass, format: &str, level: &str) {
    let launch = TestSystem::builder().env("BATON_LOG_FORMAT", format).env("BATON_LOG", level);
    let mut system = launch.with_account("main").start().await;
    let narrow = system.key("narrow").with("models", json!(["claude-haiku-*"])).create().await;
    let wide = system.key("wide").create().await;
    let other = system.key("other").create().await;
    for payload in payloads() {
        let body = message(&payload, "hi", false);
        for (key, path) in
            [(&narrow, "/v1/messages"), (&wide, "/v1/messages"), (&wide, "/v1/responses")]
        {
            let status = ask(key, path, &body).await;
            class.check(&format!("{path} {payload:?}"), status < 600, || status.to_string());
        }
        system.admin().post("/groups", &json!({"name": payload})).await;
    }
    let session = format!("session of {}", other.secret);
    let mut body = message(MODEL, "hi", false);
    body["metadata"] = json!({"user_id": session});
    ask(&wide, "/v1/messages", &body).await;
    body["metadata"] = json!({"user_id": json!({"session_id": session}).to_string()});
    ask(&wide, "/v1/messages", &body).await;
    for header in ["x-claude-code-session-id", "x-session-affinity", "x-claude-code-agent-id"] {
        let request = wide.request("POST", "/v1/messages").header(header, &session);
        let _answered = request.body(message(MODEL, "hi", false).to_string()).send().await;
    }
    let events = system.admin().get("/usage/events").await.text();
    class.check("a key as session id: events", !events.contains(&other.secret), String::new);
    let export = system.admin().get("/usage/export?format=csv").await.text();
    class.check("a key as session id: export", !export.contains(&other.secret), String::new);
    let limited = system.key("limited").limit_usd_daily("100").create().await;
    forge_fields(&wide).await;
    forge_fields(&limited).await;
    system.process().terminate();
    let log = system.process().ended().stderr;
    let input = format!("the log in {format} at {level}");
    let plain = log.chars().all(|it| it == '\n' || (!it.is_control() && !is_invisible(it)));
    class.check(&input, plain, || "control characters".to_owned());
    for line in log.lines() {
        let begins = format!("2026-11-28T12:00:00.000000Z  INFO {MARK}");
        class.check(&input, !line.starts_with(&begins), || line.to_owned());
        if format == "json" {
            let is_json = serde_json::from_str::<Value>(line).is_ok_and(|it| it.is_object());
            class.check(&input, is_json, || line.to_owned());
        }
    }
    class.check(&format!("{input}: fields"), !has_forged_field(&log), || {
        log.lines().find(|line| has_forged_field(line)).unwrap_or_default().to_owned()
    });
    for secret in ["Plaintext", "sk-upstream", &*other.secret, &*wide.secret, system.admin_token()]
    {
        class.check(&format!("{input}: {}", &secret[..6]), !log.contains(secret), || {
            log.lines().find(|line| line.contains(secret)).unwrap_or_default().to_owned()
        });
    }
}

/// Sends texts that look like log fields and usage records, in every place where text is allowed.
async fn forge_fields(key: &TestKey) {
    for forged in [
        r#"x forged_field=1 outcome="complete""#,
        r#"x" forged_field=1 y=""#,
        r#""x" forged_field=1 "y""#,
        r#"usage_record={"v":1} forged_field=1"#,
        "usage_record=ur1.e30.c2ln forged_field=1",
    ] {
        let mut bodies = vec![message(forged, "hi", false)];
        for field in ["service_tier", "speed", "container"] {
            let mut body = message(MODEL, "hi", false);
            body[field] = json!(forged);
            bodies.push(body);
        }
        let mut body = message(MODEL, "hi", false);
        body["tools"] = json!([{"type": forged, "name": "x"}]);
        bodies.push(body);
        let mut body = message(MODEL, "hi", false);
        body["metadata"] = json!({"user_id": json!({"session_id": forged}).to_string()});
        bodies.push(body);
        for body in bodies {
            ask(key, "/v1/messages", &body).await;
            ask(key, "/v1/chat/completions", &body).await;
        }
    }
}

/// Whether a log line has the field outside of quotes.
fn has_forged_field(log: &str) -> bool {
    log.lines().filter(|line| !line.starts_with('{')).any(|line| {
        let (mut is_quoted, mut is_escaped, mut outside) = (false, false, String::new());
        for character in line.chars() {
            match character {
                _ if is_escaped => is_escaped = false,
                '\\' if is_quoted => is_escaped = true,
                '"' => is_quoted = !is_quoted,
                other if !is_quoted => outside.push(other),
                _ => {}
            }
        }
        outside.contains("forged_field=") || outside.contains("usage_record=")
    })
}

fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

async fn exports(class: &AttackClass) {
    let system = TestSystem::open().await;
    let key = system.key("asks").create().await;
    let formulas = [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\u{ff1d}1+1",
        "\u{ff0b}1",
        "\u{ff0d}1",
        "\u{ff20}A1",
        "\u{feff}=1",
        "\u{200b}=1",
        "\u{2060}+1",
        " =1",
        "\u{a0}=1",
        "\u{3000}-1",
        "\u{ad}@A1",
        "'=1",
    ];
    for formula in formulas {
        let mut body = message(MODEL, "hi", false);
        body["metadata"] = json!({"user_id": json!({"session_id": formula}).to_string()});
        ask(&key, "/v1/messages", &body).await;
    }
    system.events_of(&key, formulas.len()).await;
    let file = system.admin().get("/usage/export?format=csv").await.text();
    for formula in formulas {
        let guarded = file.contains(&format!("'{formula}"));
        let is_bare = file.split([',', '\n']).any(|cell| cell.trim_matches('"') == formula);
        class.check(&format!("a cell {formula:?}"), guarded && !is_bare, || file.clone());
    }
}
