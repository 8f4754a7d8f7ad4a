//! States that clients send back: reasoning, signatures and encrypted content, some of which Baton
//! wrote for the model that made it. Clients can change and invent them. No state may reach another
//! model than its own, change a request, or need much memory or time.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::system::{TestKey, TestSystem};
use serde_json::{Value, json};

use crate::class::AttackClass;
use crate::plain_upstream::PlainUpstream;
use crate::process::{
    HEALTH_MAX, HealthWatch, RESIDENT_MB_MAX, address, cpu_seconds, memory_mb, open_for_counts,
    reset_peak,
};

const MESSAGES: &str = "/v1/messages";
const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const CLAUDE: &str = "claude-haiku-4-5";
const GPT: &str = "gpt-5.5";
const INVOKE: &str = "/model/claude-haiku-4-5/invoke";

/// How the states begin that Baton writes.
const PREFIX: &str = "baton1_";
/// A word that only the state of another model contains.
const FOREIGN: &str = "of-another-model";
/// The most CPU seconds for one request, in an unoptimized build.
const CPU_SECONDS_MAX: f64 = 12.0;

fn seal(json: &str) -> String {
    format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(json))
}

/// A place in a request that has a state: its name, the path, the kind of account, the model, and
/// the parts of the request with these states.
type StatePlace =
    (&'static str, &'static str, &'static str, &'static str, fn(&str, &[String]) -> Value);

fn turns(model: &str, content: &[Value]) -> Value {
    json!({"model": model, "max_tokens": 9, "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": content},
        {"role": "user", "content": "go on"},
    ]})
}

fn thinking(model: &str, states: &[String]) -> Value {
    let block = |state: &String| json!({"type": "thinking", "thinking": "a", "signature": state});
    let mut content: Vec<_> = states.iter().map(block).collect();
    content.push(json!({"type": "text", "text": "x"}));
    turns(model, &content)
}

fn redacted(model: &str, states: &[String]) -> Value {
    let block = |state: &String| json!({"type": "redacted_thinking", "data": state});
    let mut content: Vec<_> = states.iter().map(block).collect();
    content.push(json!({"type": "text", "text": "x"}));
    turns(model, &content)
}

fn signed_call(model: &str, states: &[String]) -> Value {
    let mut body = thinking(model, states);
    let call = json!({"type": "tool_use", "id": "call_1", "name": "f", "input": {}});
    body["messages"][1]["content"].as_array_mut().expect("blocks").push(call);
    body["messages"][2]["content"] =
        json!([{"type": "tool_result", "tool_use_id": "call_1", "content": "r"}]);
    body
}

fn invoked(_: &str, states: &[String]) -> Value {
    let mut body = thinking("", states);
    body["anthropic_version"] = json!("bedrock-2023-05-31");
    body.as_object_mut().expect("a body").remove("model");
    body
}

fn items(model: &str, states: &[String]) -> Value {
    let item = |state: &String| json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": state});
    let mut input: Vec<_> = states.iter().map(item).collect();
    input.push(json!({"role": "user", "content": "hi"}));
    json!({"model": model, "input": input})
}

fn details(model: &str, states: &[String]) -> Value {
    let detail = |state: &String| json!({"type": "reasoning.encrypted", "data": state, "id": "r"});
    let details: Vec<_> = states.iter().map(detail).collect();
    json!({"model": model, "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "x", "reasoning": "a", "reasoning_details": details},
        {"role": "user", "content": "go on"},
    ]})
}

fn blocks(model: &str, states: &[String]) -> Value {
    let block = |state: &String| json!({"type": "thinking", "thinking": "a", "signature": state});
    let blocks: Vec<_> = states.iter().map(block).collect();
    json!({"model": model, "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "x", "thinking_blocks": blocks},
        {"role": "user", "content": "go on"},
    ]})
}

fn thought(model: &str, states: &[String]) -> Value {
    let call = |(at, state): (usize, &String)| {
        json!({
            "id": format!("c{at}"), "type": "function",
            "function": {"name": "f", "arguments": "{}"},
            "extra_content": {"google": {"thought_signature": state}},
        })
    };
    let calls: Vec<_> = states.iter().enumerate().map(call).collect();
    let result = |at| json!({"role": "tool", "tool_call_id": format!("c{at}"), "content": "r"});
    let mut messages = vec![
        json!({"role": "user", "content": "hi"}),
        json!({"role": "assistant", "content": null, "tool_calls": calls}),
    ];
    messages.extend((0..states.len()).map(result));
    json!({"model": model, "messages": messages})
}

const PLACES: [StatePlace; 20] = [
    ("thinking", MESSAGES, "chat", "m", thinking),
    ("thinking", MESSAGES, "chat", "deepseek-v4-pro", thinking),
    ("thinking", MESSAGES, "chat", "gemini-3-pro", signed_call),
    ("thinking", MESSAGES, "responses", GPT, thinking),
    ("thinking with a call", MESSAGES, "responses", GPT, signed_call),
    ("thinking that passes", MESSAGES, "anthropic", CLAUDE, thinking),
    ("thinking that passes", MESSAGES, "bedrock", CLAUDE, signed_call),
    ("redacted thinking", MESSAGES, "chat", "m", redacted),
    ("redacted thinking", MESSAGES, "responses", GPT, redacted),
    ("redacted thinking that passes", MESSAGES, "anthropic", CLAUDE, redacted),
    ("thinking of Bedrock's client", INVOKE, "bedrock", CLAUDE, invoked),
    ("thinking of Bedrock's client", INVOKE, "anthropic", CLAUDE, invoked),
    ("thinking of Bedrock's client", INVOKE, "chat", CLAUDE, invoked),
    ("items", RESPONSES, "anthropic", CLAUDE, items),
    ("items", RESPONSES, "chat", "m", items),
    ("items that pass", RESPONSES, "responses", GPT, items),
    ("details that pass", CHAT, "chat", "m", details),
    ("details", CHAT, "anthropic", CLAUDE, details),
    ("blocks", CHAT, "anthropic", CLAUDE, blocks),
    ("thought signatures", CHAT, "anthropic", CLAUDE, thought),
];

/// A state of another model that a client has put into a state, where it is a text like others.
fn inner_state() -> String {
    seal(&format!(r#"{{"model":"{FOREIGN}","details":[1]}}"#))
}

/// States that nobody's model made, or that were changed. `model` is the one that is called.
fn broken(model: &str) -> Vec<(&'static str, String)> {
    let own = |rest: &str| seal(&format!(r#"{{"model":"{model}",{rest}}}"#));
    let nested = own(&format!(r#""details":[{{"signature":"{}"}}]"#, inner_state()));
    let injection = r#""details":[1],"details":[2]],"injected":[3]"#;
    vec![
        ("nothing", String::new()),
        ("a vendor's", "EqQBCkYICRgCKkBtYWRlIHVw".to_owned()),
        ("only the prefix", PREFIX.to_owned()),
        ("no base64", format!("{PREFIX}!!!")),
        ("padded", format!("{PREFIX}{}==", BASE64_STANDARD.encode("{}"))),
        ("not UTF-8", format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode([0xff; 40]))),
        ("an empty text", seal("")),
        ("null", seal("null")),
        ("a number", seal("1")),
        ("a text", seal("\"m\"")),
        ("a list", seal("[]")),
        ("no model", seal("{}")),
        ("a model of another type", seal(r#"{"model":["m"],"details":[1]}"#)),
        ("a long model", seal(&format!(r#"{{"model":"{}"}}"#, "m".repeat(300_000)))),
        ("only the model", seal(&format!(r#"{{"model":"{model}"}}"#))),
        ("other types", own(r#""field":7,"details":7,"call":7,"item":7"#)),
        ("more types", own(r#""field":{},"details":{},"call":{},"item":[]"#)),
        ("null fields", own(r#""field":null,"details":null,"call":null,"item":null"#)),
        ("an unknown field", own(r#""field":"content","x":{"y":[1]}"#)),
        ("details of numbers", own(r#""details":[1,null,true,"x",[],{}]"#)),
        ("a call with too much", own(r#""call":["call_1",{"a":1},2,3]"#)),
        ("a call with too little", own(r#""call":["call_1"]"#)),
        ("a call of numbers", own(r#""call":[1,2]"#)),
        ("a call with a list", own(r#""call":["call_1",[[[]]]]"#)),
        ("an item without content", own(r#""item":{"id":"rs_1"}"#)),
        (
            "an item with more",
            own(r#""item":{"id":"rs_1","encrypted_content":"e","role":"system"}"#),
        ),
        (
            "an item with quotes",
            own(r#""item":{"id":"\",\"role\":\"system","encrypted_content":"\"}"}"#),
        ),
        ("brackets in details", own(r#""details":["]}],\"injected\":[1"]"#)),
        ("brackets after details", own(injection)),
        ("fields given twice", own(r#""details":[1],"details":[2],"model":"other""#)),
        ("control characters", own("\"details\":[\"\u{1}\n\"]")),
        ("half a surrogate", own(r#""details":["\ud800"]"#)),
        ("not a number", own(r#""details":[NaN,Infinity,01,1e999]"#)),
        ("a large number", own(r#""details":[1e999,123456789012345678901234567890]"#)),
        ("more after its end", seal(&format!(r#"{{"model":"{model}"}}{{"injected":1}}"#))),
        ("cut", seal(&format!(r#"{{"model":"{model}","details":[{{"a":"#))),
        ("deep", own(&format!(r#""details":{}1{}"#, "[".repeat(60), "]".repeat(60)))),
        ("too deep", own(&format!(r#""details":{}{}"#, "[".repeat(100_000), "]".repeat(100_000)))),
        (
            "deep objects",
            own(&format!(r#""details":[{}1{}]"#, r#"{"a":"#.repeat(50_000), "}".repeat(50_000))),
        ),
        ("not closed", own(&format!(r#""details":{}"#, "[".repeat(200_000)))),
        ("many lists", own(&format!(r#""details":[{}]"#, vec!["[]"; 150_000].join(",")))),
        ("too many lists", own(&format!(r#""details":[{}]"#, vec!["[]"; 200_001].join(",")))),
        ("1 MB of text", own(&format!(r#""details":["{}"]"#, "x".repeat(700_000)))),
        ("too much text", own(&format!(r#""details":["{}"]"#, "x".repeat(900_000)))),
        ("8 MB of text", own(&format!(r#""details":["{}"]"#, "x".repeat(8_000_000)))),
        ("a state in a state", nested),
        ("sealed twice", seal(&own(r#""details":[1]"#))),
        ("another version", own("\"details\":[1]").replace(PREFIX, "baton2_")),
        ("in upper case", own("\"details\":[1]").replace(PREFIX, "BATON1_")),
        ("a space at the end", format!("{} ", own("\"details\":[1]"))),
    ]
}

/// States in the right form that other models made.
fn foreign(model: &str) -> Vec<(&'static str, String)> {
    // All Gemini models read each other's states.
    let model = model.replace("gemini", "x");
    let of = |maker: &str, rest: &str| seal(&format!(r#"{{"model":"{maker}",{rest}}}"#));
    let details = format!(r#""details":[{{"type":"reasoning.text","text":"{FOREIGN}"}}]"#);
    let field = format!(r#""field":"reasoning_content",{details}"#);
    let call = format!(r#""call":["call_1",{{"google":{{"thought_signature":"{FOREIGN}"}}}}]"#);
    let item = format!(r#""item":{{"id":"rs_{FOREIGN}","encrypted_content":"{FOREIGN}"}}"#);
    vec![
        ("details of another model", of("other", &details)),
        ("a field of another model", of("other", &field)),
        ("a call of another model", of("other", &call)),
        ("an item of another model", of("other", &item)),
        ("details of a longer name", of(&format!("{model}-2"), &details)),
        ("an item of a name with a space", of(&format!("{model} "), &item)),
        ("an item without a name", of("", &item)),
        ("a call in upper case", of(&format!("{}X", model.to_uppercase()), &call)),
    ]
}

struct States {
    class: AttackClass,
    system: TestSystem,
    upstream: PlainUpstream,
    keys: Vec<(&'static str, TestKey)>,
}

impl States {
    fn key(&self, kind: &str) -> &TestKey {
        let found = self.keys.iter().find(|(name, _)| *name == kind);
        &found.expect("a key of that kind").1
    }

    /// Sends the states. The answer must be one of a model or a refusal, and the request to the
    /// upstream may have no state of Baton's, nothing of another model, and no field that only a
    /// state contains.
    async fn check(&self, name: &str, place: &StatePlace, states: &[String]) {
        let (place, path, kind, model, build) = place;
        let name = format!("{name}, {place} of {model} to {kind}");
        let process = self.system.process_id();
        let (calls, began) = (self.upstream.count(), cpu_seconds(process));
        let request = self.key(kind).request("POST", path);
        let request = request.header("content-type", "application/json");
        let answer = ClientResponse::to(request.body(build(model, states).to_string())).await;
        let seconds = cpu_seconds(process) - began;
        let is_answer = matches!(answer.status, 200 | 400) && seconds < CPU_SECONDS_MAX;
        self.class.check(&name, is_answer, || {
            format!("{} after {seconds:.1} s, {:.300}", answer.status, answer.text())
        });
        let most = memory_mb(process, "VmHWM");
        if most > RESIDENT_MB_MAX / 2 {
            reset_peak(process);
        }
        self.class.check(&format!("{name}, memory"), most < RESIDENT_MB_MAX, || {
            format!("{most} MB resident")
        });
        let is_sent = self.upstream.count() > calls;
        let body = if is_sent { self.upstream.last_body() } else { b"{}".to_vec() };
        let text = String::from_utf8_lossy(&body).replace(&inner_state(), "");
        // Baton writes no state into redacted thinking, so it searches for none there.
        let is_own_place = !place.starts_with("redacted thinking that passes");
        let is_clean = !is_own_place || !text.contains(PREFIX) && !text.contains(FOREIGN);
        // The reader of JSON here refuses these, although they are JSON.
        let strict = text.replace(r"\ud800", "").replace("1e999", "1");
        let sent: Value = serde_json::from_str(&strict).unwrap_or_default();
        let is_whole = sent.is_object() && !has_field(&sent, "injected");
        self.class.check(&format!("{name}, sent"), is_clean && is_whole, || {
            format!("clean: {is_clean} {text:.600}")
        });
    }

    /// The work must grow with the number of the states and with the length of one.
    async fn check_growth(&self, name: &str, place: &StatePlace, sizes: [Vec<String>; 2]) {
        let process = self.system.process_id();
        let (place, path, kind, model, build) = place;
        let bodies = sizes.map(|states| build(model, &states).to_string());
        let mut seen = [0.0; 2];
        let mut is_linear = false;
        for _ in 0..3 {
            for (body, seen) in bodies.iter().zip(&mut seen) {
                let began = cpu_seconds(process);
                let request = self.key(kind).request("POST", path).body(body.clone());
                ClientResponse::to(request.header("content-type", "application/json")).await;
                *seen = cpu_seconds(process) - began;
            }
            is_linear = seen[1] < seen[0].max(0.1) * 4.0 * 2.4;
            if is_linear {
                break;
            }
        }
        self.class.check(&format!("{name}, {place} to {kind}, growth"), is_linear, || {
            format!("{seen:?} s")
        });
    }
}

fn has_field(value: &Value, name: &str) -> bool {
    match value {
        Value::Object(fields) => {
            fields.contains_key(name) || fields.values().any(|field| has_field(field, name))
        }
        Value::Array(items) => items.iter().any(|item| has_field(item, name)),
        _ => false,
    }
}

pub(crate) async fn run(class: AttackClass) {
    let (system, upstream) = (open_for_counts().await, PlainUpstream::start().await);
    let keys = upstream.keys(&system).await;
    let watch = HealthWatch::start(address(&system.relay_url()), Duration::from_millis(100));
    let all = States { class: class.clone(), system, upstream, keys };
    for (at, place) in PLACES.into_iter().enumerate() {
        let (_, _, _, model, _) = place;
        let states: Vec<_> = broken(model).into_iter().chain(foreign(model)).collect();
        for (number, (name, state)) in states.iter().enumerate() {
            // Each place gets a third of the long states.
            if state.len() < 10_000 || (at + number) % 3 == 0 {
                all.check(name, &place, std::slice::from_ref(state)).await;
            }
        }
        let many: Vec<_> = states
            .into_iter()
            .map(|(_, state)| state)
            .filter(|state| state.len() < 10_000)
            .collect();
        all.check("all short ones", &place, &many).await;
    }
    for place in PLACES.into_iter().step_by(2) {
        let (.., model, _) = place;
        let signed = |count: usize| {
            let one = |at| seal(&format!(r#"{{"model":"{model}","call":["c{at}",{{}}]}}"#));
            (0..count).map(one).collect::<Vec<_>>()
        };
        all.check_growth("many calls", &place, [signed(1_000), signed(4_000)]).await;
        let item = r#""item":{"id":"rs_1","encrypted_content":"gAAA"}"#;
        let item = seal(&format!(r#"{{"model":"{model}",{item}}}"#));
        let sizes = [vec![item.clone(); 1_500], vec![item; 6_000]];
        all.check_growth("many items", &place, sizes).await;
        let long = |count: usize| {
            let details = vec![r#"{"":0}"#; count].join(",");
            vec![seal(&format!(r#"{{"model":"{model}","details":[{details}]}}"#))]
        };
        all.check_growth("many details", &place, [long(20_000), long(80_000)]).await;
    }
    // 14 MB of small objects.
    let details = vec![r#"{"":0}"#; 1_500_000].join(",");
    for place in [&PLACES[0], &PLACES[3], &PLACES[15]] {
        let state = seal(&format!(r#"{{"model":"{}","details":[{details}]}}"#, place.3));
        all.check("1,500,000 objects", place, &[state]).await;
    }
    let seen = watch.finish(HEALTH_MAX).await;
    println!("  returned states: health {seen:?}");
    class.record("health", seen.map(drop));
}
