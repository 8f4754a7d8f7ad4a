//! Attempts to spend more than a money limit: each field that multiplies a cost, in every protocol,
//! on every kind of account, in many simultaneous requests. Also models that the key cannot use,
//! named in addition to the first one.

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::system::{TestKey, TestSystem, pico};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::time::Duration;

use crate::class::AttackClass;
use crate::greedy_upstream::GreedyUpstream;

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const RESPONSES: &str = "/v1/responses";
const CLAUDE: &str = "claude-haiku-4-5";
const GPT: &str = "gpt-5.5";
/// A model with a price, whose context window is not known.
const WINDOWLESS: &str = "model-without-a-window";

/// The number of simultaneous requests.
const AT_ONCE: usize = 6;

/// A Baton with one account of each kind, each in a separate group.
struct AccountOfEachKind {
    system: TestSystem,
    upstream: GreedyUpstream,
    groups: Vec<(&'static str, String)>,
}

impl AccountOfEachKind {
    async fn start() -> Self {
        // No request waits here for reservations of others.
        let launch = TestSystem::builder().env("BATON_LIMIT_WAIT_SECONDS", "0");
        let (system, upstream) = (launch.start().await, GreedyUpstream::start().await);
        let mut groups = Vec::new();
        for (name, fields) in [
            ("anthropic", json!({})),
            ("chat", json!({"provider": "openai_compatible"})),
            ("responses", json!({"provider": "openai_compatible", "speaks_responses": true})),
        ] {
            let group = system.group(name).await;
            let mut fields = fields;
            fields["groups"] = json!([group]);
            system.account_with(name, &upstream.url(), fields).await;
            groups.push((name, group));
        }
        Self { system, upstream, groups }
    }

    fn group(&self, name: &str) -> &str {
        let found = self.groups.iter().find(|(kind, _)| *kind == name);
        found.map_or("", |(_, id)| id)
    }
}

/// A request in the form of a protocol, with these fields.
fn body(path: &str, model: &str, text: &str, fields: &Value) -> Value {
    let mut body = match path {
        RESPONSES => json!({"model": model, "input": text}),
        _ => json!({"model": model, "messages": [{"role": "user", "content": text}]}),
    };
    for (name, value) in fields.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    body
}

async fn ask(key: &TestKey, path: &str, body: &Value) -> ClientResponse {
    ClientResponse::to(key.request("POST", path).body(body.to_string())).await
}

/// The fields that multiply the cost, by protocol.
fn multipliers() -> Vec<(&'static str, Value)> {
    let bounded = |mut fields: Value| {
        fields["max_tokens"] = json!(2_000);
        fields
    };
    let history = |fields: Value| {
        let mut fields = fields;
        fields["max_output_tokens"] = json!(100);
        fields
    };
    vec![
        (CHAT, json!({"max_output_tokens": 1})),
        (CHAT, json!({"max_tokens": 0})),
        (CHAT, json!({"max_tokens": 0.0001})),
        (CHAT, json!({"max_completion_tokens": 1.5})),
        (CHAT, json!({"max_tokens": -5})),
        (CHAT, json!({"max_tokens": 5, "max_completion_tokens": 0.5})),
        (CHAT, json!({"max_tokens": 1, "reasoning_effort": "high"})),
        (CHAT, json!({"max_tokens": 1, "max_completion_tokens": 90_000})),
        (CHAT, bounded(json!({"n": 2}))),
        (CHAT, bounded(json!({"n": 128}))),
        (CHAT, bounded(json!({"n": 4, "best_of": 8}))),
        (CHAT, bounded(json!({"service_tier": "priority"}))),
        (CHAT, bounded(json!({"prediction": {"type": "content", "content": "x".repeat(9_000)}}))),
        (CHAT, bounded(json!({"web_search_options": {}}))),
        (CHAT, json!({})),
        (RESPONSES, json!({"max_tokens": 1})),
        (RESPONSES, json!({"max_completion_tokens": 1})),
        (RESPONSES, json!({"max_output_tokens": 0.0001})),
        (RESPONSES, json!({"max_output_tokens": 1e-9})),
        (RESPONSES, json!({"max_output_tokens": 16, "reasoning": {"effort": "high"}})),
        (RESPONSES, history(json!({"previous_response_id": "resp_0"}))),
        (RESPONSES, history(json!({"conversation": "conv_0"}))),
        (RESPONSES, history(json!({"conversation": {"id": "conv_0"}}))),
        (RESPONSES, history(json!({"prompt": {"id": "pmpt_0"}}))),
        (RESPONSES, history(json!({"input": [{"type": "item_reference", "id": "m"}]}))),
        (RESPONSES, history(json!({"service_tier": "priority"}))),
        (RESPONSES, history(json!({"tools": [{"type": "web_search"}]}))),
        (RESPONSES, json!({})),
        (MESSAGES, json!({"max_output_tokens": 1})),
        (MESSAGES, json!({"max_tokens": 0})),
        (MESSAGES, json!({"max_tokens": 0.0001})),
        (MESSAGES, json!({"max_tokens": 2.5})),
        (MESSAGES, bounded(json!({"fallbacks": [{"model": CLAUDE, "max_tokens": 0.5}]}))),
        (MESSAGES, bounded(json!({"fallbacks": [{"model": "claude-opus-4-1"}]}))),
        (MESSAGES, bounded(json!({"fallbacks": [{"model": CLAUDE, "max_tokens": 50_000}]}))),
        (MESSAGES, bounded(json!({"speed": "fast"}))),
        (MESSAGES, bounded(json!({"inference_geo": "us"}))),
        (
            MESSAGES,
            bounded(
                json!({"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 50}]}),
            ),
        ),
        (
            MESSAGES,
            bounded(json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]})),
        ),
        (
            MESSAGES,
            bounded(json!({"context_management": {"edits": [{"type": "compact_20260112"}]}})),
        ),
    ]
}

/// The spend of each limit after all requests have ended.
pub(crate) async fn overspending(class: AttackClass) {
    let kinds = AccountOfEachKind::start().await;
    let mut tried = Vec::new();
    for limit in ["0.020000000000", "0.500000000000"] {
        for (kind, group) in &kinds.groups {
            let model = if *kind == "anthropic" { CLAUDE } else { GPT };
            for (path, fields) in multipliers() {
                let name = format!("{kind} {path} {fields:.90} with {limit} a day");
                let plan = kinds.system.key(&format!("k{}", tried.len())).group(group);
                let key = plan.limit_usd_daily(limit).create().await;
                tried.push((name, limit, key, path, body(path, model, "hi", &fields)));
            }
        }
    }
    for some in tried.chunks(24) {
        let asking = some.iter().map(|(.., key, path, body)| async move {
            let all = join_all((0..AT_ONCE).map(|_| ask(key, path, body))).await;
            all.iter().map(|answer| answer.status).collect::<Vec<_>>()
        });
        let answers = join_all(asking).await;
        for ((name, limit, key, ..), statuses) in some.iter().zip(answers) {
            let is_known = |status: &u16| matches!(status, 200 | 400 | 429);
            class.check(name, statuses.iter().all(is_known), || format!("{statuses:?}"));
            let served = statuses.iter().filter(|status| **status == 200).count();
            let events = match served {
                0 => Vec::new(),
                _ => kinds.system.events_within(Duration::from_secs(30), key, served).await,
            };
            let spent: i128 = events.iter().map(|event| pico(&event["cost_usd"])).sum();
            class.check(name, spent <= pico(&json!(limit)), || format!("{spent} pico-dollars"));
            let capped = events.iter().any(|event| event["capped"] == true);
            class.check(name, !capped, || "an honest answer was cut".to_owned());
        }
    }
}

/// A small limit, and an output limit that only an upstream with another protocol would read.
pub(crate) async fn reservations(class: AttackClass) {
    let kinds = AccountOfEachKind::start().await;
    for (kind, group) in &kinds.groups {
        let model = if *kind == "anthropic" { "claude-opus-4-5" } else { GPT };
        for (number, (path, fields)) in multipliers().into_iter().enumerate() {
            let (name, mark) =
                (format!("{kind} {path} {fields:.90}"), format!("mark-{kind}-{number}-"));
            let plan = kinds.system.key(&mark).group(group);
            let key = plan.limit_usd_daily("0.02").create().await;
            let answer = ask(&key, path, &body(path, model, &mark, &fields)).await;
            let asked = kinds.upstream.asked_with(&mark);
            let most = asked.iter().map(|body| {
                let bounds = ["max_tokens", "max_completion_tokens", "max_output_tokens"];
                bounds.iter().filter_map(|name| body[*name].as_u64()).max().unwrap_or(u64::MAX)
            });
            let most = most.max().unwrap_or_default();
            let is_held = asked.is_empty() || most <= 800;
            class.check(&name, is_held, || format!("{}: asked for {most} tokens", answer.status));
        }
    }
}

/// Models that are named in other places than `model`.
pub(crate) async fn named_models(class: AttackClass) {
    let kinds = AccountOfEachKind::start().await;
    let opus = "claude-opus-4-1";
    let places = [
        json!({"fallbacks": [{"model": opus}]}),
        json!({"fallbacks": [opus]}),
        json!({"fallbacks": [{"model": CLAUDE}, {"model": opus}]}),
        json!({"tools": [{"type": "advisor_20260301", "name": "advisor", "model": opus}]}),
        json!({"tools": [{"type": "image_generation", "model": opus}]}),
        json!({"models": [CLAUDE, opus]}),
        json!({"extra_body": {"routing": [{"model": opus}]}}),
        json!({"fallback_models": [opus]}),
        json!({"fallbacks": [{CLAUDE: [opus]}]}),
        json!({"fallbacks": [{CLAUDE: opus}]}),
        json!({"context_window_fallbacks": [{CLAUDE: [opus]}]}),
        json!({"fallback": opus}),
        json!({"fallback_model": opus}),
        json!({"fallbackModels": [opus]}),
        json!({"models": {"1": opus}}),
        json!({"extra_body": {"Model": opus}}),
        json!({"plugins": [{"id": "auto-router", "allowed_models": [opus]}]}),
        json!({"reasoning": {"model": opus}}),
        json!({"engine": opus}),
        json!({"deployment": opus}),
        json!({"deploymentId": opus}),
        json!({"model_id": opus}),
        json!({"model_name": opus}),
        json!({"tools": [{"type": "advisor_20260301", "name": "advisor", "Model": opus}]}),
        json!({"tools": [{"type": "advisor_20260301", "parameters": {"model": opus}}]}),
    ];
    let other_spellings =
        [json!({"Models": [opus]}), json!({"Fallbacks": [opus]}), json!({"FALLBACKS": opus})];
    for (kind, group) in &kinds.groups {
        for limit in [None, Some("100")] {
            let plan = kinds.system.key(&format!("{kind}{limit:?}")).group(group).models(&[CLAUDE]);
            let plan = if let Some(usd) = limit { plan.limit_usd_daily(usd) } else { plan };
            let key = plan.create().await;
            for path in [MESSAGES, CHAT, RESPONSES] {
                for (number, fields) in places.iter().enumerate() {
                    let mark = format!("mark-{kind}-{number}-{limit:?}-{path}");
                    let mut request = body(path, CLAUDE, &mark, fields);
                    request["max_tokens"] = json!(5);
                    let answer = ask(&key, path, &request).await;
                    let name = format!("{kind} {path} {fields}");
                    let asked = kinds.upstream.asked_with(&mark);
                    class.check(&name, answer.status == 403 && asked.is_empty(), || {
                        format!("{} {:.200}", answer.status, answer.text())
                    });
                }
                for (number, fields) in other_spellings.iter().enumerate() {
                    let mark = format!("mark-spelling-{kind}-{number}-{limit:?}-{path}");
                    let answer = ask(&key, path, &body(path, CLAUDE, &mark, fields)).await;
                    let asked = kinds.upstream.asked_with(&mark);
                    let is_held = answer.status == 400 && asked.is_empty();
                    class.check(&format!("{kind} {path} {fields}"), is_held, || {
                        format!("{} {:.200}", answer.status, answer.text())
                    });
                }
                // Data, in contrast to a setting, can contain any name.
                let bound = if path == RESPONSES { "max_output_tokens" } else { "max_tokens" };
                let data = json!({bound: 5, "metadata": {"model": opus}, "user": opus});
                let answer = ask(&key, path, &body(path, CLAUDE, opus, &data)).await;
                class.check(&format!("{kind} {path}, its own model"), answer.status == 200, || {
                    format!("{} {:.200}", answer.status, answer.text())
                });
            }
        }
    }
}

/// Fields that no API documents or whose cost Baton cannot know, with the name that the refusal
/// gives.
fn undocumented_fields() -> Vec<(&'static str, Value, &'static str)> {
    let item = |item: Value| json!({"input": [item, {"role": "user", "content": "hi"}]});
    let web = json!([{"type": "web_search"}]);
    let mut all = vec![
        (RESPONSES, json!({"multi_agent": {"enabled": true}}), "multi_agent"),
        (RESPONSES, item(json!({"type": "additional_tools", "tools": web})), "tools (web_search)"),
        (
            RESPONSES,
            item(json!({"type": "tool_search_output", "execution": "client", "tools": web})),
            "tools (web_search)",
        ),
        (RESPONSES, item(json!({"type": "new_in_2027"})), "new_in_2027"),
        (RESPONSES, json!({"reasoning": {"mode": "pro"}}), "reasoning.mode"),
        (MESSAGES, json!({"compaction_2027": {}}), "compaction_2027"),
        (MESSAGES, json!({"tools": [{"name": "web_search", "type": null}]}), "tools"),
    ];
    for (name, value) in [
        ("data_sources", json!([{"type": "azure_search"}])),
        ("extra_body", json!({"google": {"cached_content": "cachedContents/abc"}})),
        ("cached_content", json!("cachedContents/abc")),
        ("enable_thinking", json!(true)),
        ("enable_search", json!("true")),
        ("enable_code_interpreter", json!(true)),
        ("search_settings", json!({})),
        ("num_return_sequences", json!(50)),
        ("candidate_count", json!(8)),
        ("preset", json!("p")),
    ] {
        all.push((CHAT, json!({name: value}), name));
    }
    for tool in [
        json!({"google_search": {}}),
        json!({"googleSearch": {}}),
        json!({"web_search": {"enable": true}}),
        json!({"name": "x", "code_execution": {}}),
    ] {
        all.push((CHAT, json!({"tools": [tool]}), "tools (without a type)"));
    }
    all.extend(undocumented_nested_fields());
    let with_call_price = [
        "sonar-pro",
        "perplexity/sonar",
        "groq/compound",
        "gpt-4o-search-preview",
        "o3-deep-research",
    ];
    for model in with_call_price {
        all.push((CHAT, json!({"model": model}), "model"));
    }
    // No list has these names, so their price has no bound.
    for model in ["openrouter/auto", "gpt-5.5:nitro", "~gpt-5.5", " gpt-5.5", "an-own-model"] {
        all.push((CHAT, json!({"model": model}), "model"));
    }
    for path in [MESSAGES, CHAT, RESPONSES] {
        all.push((path, json!({"plugins": [{"id": "web"}]}), "plugins"));
        all.push((path, json!({"web_search_options": {}}), "web_search_options"));
        all.push((path, json!({"x_new": {"a": [1]}}), "x_new"));
        all.push((path, json!({"model": "openai/gpt-5.5:online"}), "model"));
    }
    all
}

/// The same inside messages, items and blocks.
fn undocumented_nested_fields() -> Vec<(&'static str, Value, &'static str)> {
    let mut all = Vec::new();
    for (name, value) in [
        ("file_ids", json!(["f"])),
        ("files", json!(["f"])),
        ("attachments", json!([{"file_id": "f"}])),
        ("tool_resources", json!({"file_search": {"vector_store_ids": ["v"]}})),
    ] {
        let messages = json!({"messages": [{"role": "user", "content": "hi", name: value}]});
        all.push((CHAT, messages.clone(), name));
        all.push((MESSAGES, messages, name));
    }
    for (block, name) in [
        (json!({"type": "document", "documentId": "f"}), "messages[0].content[0].documentId"),
        (
            json!({"type": "reference", "reference_ids": [1]}),
            "messages[0].content[0].reference_ids",
        ),
    ] {
        all.push((CHAT, json!({"messages": [{"role": "user", "content": [block]}]}), name));
    }
    let search = json!({"type": "web_search_20250305", "name": "web_search"});
    let added = json!({"type": "tool_addition", "tool": search});
    all.push((MESSAGES, json!({"messages": [{"role": "user", "content": [added]}]}), "messages"));
    for (item, name) in [
        (json!({"type": "configuration_update", "reasoning": {"mode": "pro"}}), "reasoning.mode"),
        (
            json!({"type": "configuration_update", "service_tier": "priority"}),
            "input[0].service_tier",
        ),
        (json!({"type": "configuration_update", "model": "o1-pro"}), "input[0].model"),
        (
            json!({"type": "tool_search_output", "tools": [], "tool": {"type": "web_search"}}),
            "input[0].tool",
        ),
    ] {
        let input = json!({"input": [item, {"role": "user", "content": "hi"}]});
        all.push((RESPONSES, input, name));
    }
    all
}

/// Fields that refer to what the upstream stores. Their cost has a bound if the model's context
/// window is known.
fn references_to_stored_content() -> Vec<(&'static str, Value, &'static str)> {
    let item = |item: Value| json!({"input": [item, {"role": "user", "content": "hi"}]});
    let document = json!({"type": "document", "document": {"id": "f"}});
    let message = json!({"type": "message", "id": "msg_1", "role": "assistant", "content": []});
    vec![
        (RESPONSES, item(json!({"type": "reasoning", "id": "rs_1", "summary": []})), "reasoning"),
        (RESPONSES, item(json!({"type": "image_generation_call", "id": "i"})), "image_generation"),
        (RESPONSES, item(json!({"type": "web_search_call", "id": "ws_1"})), "web_search_call"),
        (RESPONSES, item(json!({"type": "file_search_call", "id": "fs_1"})), "file_search_call"),
        (RESPONSES, item(json!({"type": "code_interpreter_call", "id": "c"})), "code_interpreter"),
        (RESPONSES, item(json!({"type": "compaction", "id": "cmp_1"})), "compaction"),
        (RESPONSES, item(json!({"type": "message", "id": "msg_1"})), "message"),
        (RESPONSES, item(message), "message"),
        (CHAT, json!({"messages": [{"role": "user", "content": [document]}]}), "messages"),
        (
            CHAT,
            json!({"messages": [
                {"role": "system", "content": "fileid://file-fe-abc"},
                {"role": "user", "content": "hi"},
            ]}),
            "fileid://",
        ),
    ]
}

/// Keys with a money limit cannot send fields without a cost bound, and the refusal names the
/// field. Other keys can send them.
pub(crate) async fn undocumented(class: AttackClass) {
    let kinds = AccountOfEachKind::start().await;
    let rates = json!({"input": "5", "output": "30"});
    let price = json!({"model": WINDOWLESS, "standard": rates});
    kinds.system.admin().post("/prices", &price).await.status(201);
    for (path, kind) in [(MESSAGES, "anthropic"), (CHAT, "chat"), (RESPONSES, "responses")] {
        let model = if kind == "anthropic" { CLAUDE } else { GPT };
        let key = |name: &str| kinds.system.key(name).group(kinds.group(kind));
        let limited = key(kind).limit_usd_daily("100").create().await;
        let small = key(&format!("{kind} small")).limit_usd_daily("0.50").create().await;
        let open = key(&format!("{kind} open")).create().await;
        let bound = if path == RESPONSES { "max_output_tokens" } else { "max_tokens" };
        let new_request = |model: &str, mark: &str, fields: &Value| {
            let mut request = body(path, model, mark, fields);
            request[bound] = json!(5);
            request["user"] = json!(mark);
            request
        };
        let stored = references_to_stored_content().into_iter().filter(|(of, ..)| *of == path);
        let unbounded = undocumented_fields().into_iter().filter(|(of, ..)| *of == path);
        let refused = unbounded.map(|case| (model, case));
        let refused = refused.chain(stored.clone().map(|case| (WINDOWLESS, case)));
        for (number, (model, (_, fields, name))) in refused.enumerate() {
            let mark = format!("mark-{kind}-{number}-");
            let request = new_request(model, &mark, &fields);
            let answer = ask(&limited, path, &request).await;
            let is_named = answer.status == 400 && answer.text().contains(name);
            let is_held = is_named && kinds.upstream.asked_with(&mark).is_empty();
            class.check(&format!("{path} {fields}"), is_held, || {
                format!("{} {:.200}", answer.status, answer.text())
            });
            let answer = ask(&open, path, &request).await;
            class.check(&format!("{path} {fields}, no limit"), answer.status == 200, || {
                format!("{} {:.200}", answer.status, answer.text())
            });
        }
        // The whole window is reserved: about ten dollars.
        for (number, (_, fields, _)) in stored.enumerate() {
            let mark = format!("mark-{kind}-stored-{number}-");
            let request = new_request(GPT, &mark, &fields);
            let answer = ask(&small, path, &request).await;
            let is_held = answer.status == 429 && kinds.upstream.asked_with(&mark).is_empty();
            class.check(&format!("{path} {fields}, a small limit"), is_held, || {
                format!("{} {:.200}", answer.status, answer.text())
            });
            let answer = ask(&limited, path, &request).await;
            class.check(&format!("{path} {fields}, a large limit"), answer.status == 200, || {
                format!("{} {:.200}", answer.status, answer.text())
            });
        }
    }
}

/// Answers that the upstream produces in the background, after its first answer.
pub(crate) async fn background(class: AttackClass) {
    let kinds = AccountOfEachKind::start().await;
    for kind in ["anthropic", "chat", "responses"] {
        let key = kinds.system.key(kind).group(kinds.group(kind)).create().await;
        for (field, path) in [
            ("background", RESPONSES),
            ("background", CHAT),
            ("background", MESSAGES),
            ("deferred", RESPONSES),
            ("deferred", CHAT),
            ("deferred", MESSAGES),
        ] {
            for value in [json!(true), json!("true"), json!(1), json!({})] {
                for stream in [false, true] {
                    let mark = format!("mark-{kind}-{field}-{path}-{value}-{stream}");
                    let fields = json!({field: value, "stream": stream, "store": true});
                    let answer = ask(&key, path, &body(path, CLAUDE, &mark, &fields)).await;
                    let text = answer.text();
                    let is_named = answer.status == 400 && text.contains(field);
                    let is_held = is_named && kinds.upstream.asked_with(&mark).is_empty();
                    class.check(&format!("{kind} {path} {fields}"), is_held, || {
                        format!("{} {text:.200}", answer.status)
                    });
                }
            }
            for value in [json!(false), json!(null)] {
                let fields = json!({field: value});
                let answer = ask(&key, RESPONSES, &body(RESPONSES, CLAUDE, "hi", &fields)).await;
                class.check(&format!("{kind} {fields}"), answer.status == 200, || answer.text());
            }
        }
    }
}
