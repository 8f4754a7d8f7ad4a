//! Names, namespaces and schemas of tools in requests that are translated: the work must grow with
//! the length of the request, the memory must stay bounded, and the request to the upstream must
//! not become far longer than that of the client.

use std::time::Duration;

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::system::{TestKey, TestSystem};

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

/// How many times longer the longer request of a pair is.
const GROWTH: usize = 4;
/// How many times longer the time may grow than the request. Work that grows with the square of the
/// length exceeds this by far.
const SLOWER_MAX: f64 = 2.4;
/// The time in CPU seconds below which nothing is compared.
const UNMEASURED_SECONDS: f64 = 0.1;
/// The most CPU seconds for one request, in an unoptimized build.
const CPU_SECONDS_MAX: f64 = 12.0;

/// A text of this size.
type Sized = fn(usize) -> String;

/// A request: its name, its path, the kind of account, its size and its text.
type Shape = (&'static str, &'static str, &'static str, usize, Sized);

fn list(count: usize, entry: impl Fn(usize) -> String) -> String {
    (0..count).map(entry).collect::<Vec<_>>().join(",")
}

fn properties(count: usize, schema: &str) -> String {
    let fields = list(count, |at| format!("\"p{at}\":{schema}"));
    format!(r#"{{"type":"object","properties":{{{fields}}},"additionalProperties":false}}"#)
}

fn with_definitions(definitions: &str) -> String {
    format!(
        r##"{{"type":"object","properties":{{"a":{{"$ref":"#/$defs/d0"}}}},"$defs":{{{definitions}}}}}"##
    )
}

/// Schemas of a size.
const SCHEMAS: [(&str, usize, Sized); 27] = [
    ("repeated keywords", 6_000, |n| {
        format!(r#"{{"type":"object",{},"properties":{{}}}}"#, list(n, |_| r#""oneOf":0"#.into()))
    }),
    ("unknown keywords", 900, |n| {
        format!(r#"{{"type":"object",{}}}"#, list(n, |at| format!("\"k{at}\":0")))
    }),
    ("properties", 900, |n| properties(n, r#"{"type":"string"}"#)),
    ("too many properties", 5_000, |n| properties(n, r#"{"type":"string"}"#)),
    ("objects in properties", 900, |n| properties(n, r#"{"type":"object","properties":{}}"#)),
    ("required", 6_000, |n| {
        let names = list(n, |at| format!("\"p{at}\""));
        format!(r#"{{"type":"object","properties":{{}},"required":[{names}]}}"#)
    }),
    ("required properties", 900, |n| {
        let fields = list(n, |at| format!(r#""p{at}":{{"type":"string"}}"#));
        let names = list(n, |at| format!("\"p{at}\""));
        format!(r#"{{"type":"object","properties":{{{fields}}},"required":[{names}]}}"#)
    }),
    ("values", 20_000, |n| format!(r#"{{"enum":[{}]}}"#, list(n, |at| at.to_string()))),
    ("lists of values", 8_000, |n| format!(r#"{{"enum":[{}]}}"#, list(n, |_| "[]".into()))),
    ("alternatives", 4_000, |n| {
        let all = list(n, |_| r#"{"type":"string"}"#.into());
        format!(r#"{{"type":"object","properties":{{"a":{{"oneOf":[{all}]}}}}}}"#)
    }),
    ("conditions", 8_000, |n| format!(r#"{{"allOf":[{}]}}"#, list(n, |_| "{}".into()))),
    ("types", 8_000, |n| format!(r#"{{"type":[{}]}}"#, list(n, |_| "\"null\"".into()))),
    ("patterns", 900, |n| {
        let all = list(n, |at| format!(r#""^a{at}":{{"type":"string","maxLength":3}}"#));
        format!(r#"{{"type":"object","patternProperties":{{{all}}}}}"#)
    }),
    ("a chain of definitions", 49, |n| {
        with_definitions(&list(n, |at| {
            format!(r##""d{at}":{{"$ref":"#/$defs/d{}"}}"##, (at + 1).min(n - 1))
        }))
    }),
    ("too many definitions", 2_000, |n| {
        with_definitions(&list(n, |at| {
            format!(r##""d{at}":{{"$ref":"#/$defs/d{}"}}"##, (at + 1).min(n - 1))
        }))
    }),
    ("definitions that refer to all later ones", 45, |n| {
        with_definitions(&list(n, |at| {
            let later = list(n - at, |after| format!(r##"{{"$ref":"#/$defs/d{}"}}"##, at + after));
            format!(r#""d{at}":{{"anyOf":[{later}]}}"#)
        }))
    }),
    ("a large definition that is often used", 500, |n| {
        let large = properties(200, r#"{"type":"string","maxLength":3}"#);
        let uses = list(n, |at| format!(r##""p{at}":{{"$ref":"#/$defs/d"}}"##));
        format!(r#"{{"type":"object","properties":{{{uses}}},"$defs":{{"d":{large}}}}}"#)
    }),
    ("references to the root", 900, |n| properties(n, r##"{"$ref":"#"}"##)),
    ("definitions that refer to each other", 49, |n| {
        with_definitions(&list(n, |at| {
            let next = (at + 1) % n;
            format!(
                r##""d{at}":{{"type":"object","properties":{{"n":{{"$ref":"#/$defs/d{next}"}}}}}}"##
            )
        }))
    }),
    ("references to nothing", 4_000, |n| {
        let all = list(n, |at| format!(r##"{{"$ref":"#/$defs/x{at}"}}"##));
        format!(r#"{{"type":"object","properties":{{"a":{{"anyOf":[{all}]}}}}}}"#)
    }),
    ("a long pointer", 60_000, |n| {
        let name = "a".repeat(n);
        format!(
            r##"{{"type":"object","properties":{{"a":{{"$ref":"#/$defs/{name}"}}}},"$defs":{{"{name}":{{}}}}}}"##
        )
    }),
    ("an escaped pointer", 30_000, |n| {
        format!(
            r##"{{"type":"object","properties":{{"a":{{"$ref":"#/$defs/{}"}}}},"$defs":{{"{}":{{}}}}}}"##,
            "~1".repeat(n),
            "/".repeat(n)
        )
    }),
    ("a pointer with many steps", 30_000, |n| {
        format!(r##"{{"$ref":"#{}","definitions":{{"a":{{}}}}}}"##, "/definitions/a".repeat(n / 14))
    }),
    ("a root reference with definitions", 49, |n| {
        let all = list(n, |at| format!(r#""d{at}":{{"type":"object","properties":{{}}}}"#));
        format!(r##"{{"$ref":"#/definitions/d0","definitions":{{{all}}}}}"##)
    }),
    ("a long description", 200_000, |n| {
        format!(r#"{{"type":"object","properties":{{}},"description":"{}"}}"#, "d".repeat(n))
    }),
    ("an escaped description", 60_000, |n| {
        format!(r#"{{"type":"object","properties":{{}},"description":"{}"}}"#, r"\u0001".repeat(n))
    }),
    ("depth", 15, |n| {
        let open = r#"{"type":"object","properties":{"a":"#.repeat(n);
        format!("{open}{{}}{}", "}}".repeat(n))
    }),
];

/// A place in a request that has a schema: its name, the path, the kind of account, and the request
/// with a schema.
type SchemaPlace = (&'static str, &'static str, &'static str, fn(&str) -> String);

fn chat_tool(strict: bool, schema: &str) -> String {
    format!(
        r#"{{"model":"{CLAUDE}","messages":[{{"role":"user","content":"a"}}],"tools":[{{"type":"function","function":{{"name":"f","strict":{strict},"parameters":{schema}}}}}]}}"#
    )
}

fn messages_tool(model: &str, schema: &str) -> String {
    messages(model, &format!(r#""tools":[{{"name":"f","strict":true,"input_schema":{schema}}}]"#))
}

fn messages(model: &str, fields: &str) -> String {
    format!(
        r#"{{"model":"{model}","max_tokens":9,"messages":[{{"role":"user","content":"a"}}],{fields}}}"#
    )
}

fn responses(fields: &str) -> String {
    format!(r#"{{"model":"{CLAUDE}","input":"a",{fields}}}"#)
}

const PLACES: [SchemaPlace; 9] = [
    ("a Chat client's answer", CHAT, "anthropic", |schema| {
        format!(
            r#"{{"model":"{CLAUDE}","messages":[{{"role":"user","content":"a"}}],"response_format":{{"type":"json_schema","json_schema":{{"name":"a","strict":true,"schema":{schema}}}}}}}"#
        )
    }),
    ("a Chat client's tool", CHAT, "anthropic", |schema| chat_tool(false, schema)),
    ("a Chat client's strict tool", CHAT, "anthropic", |schema| chat_tool(true, schema)),
    ("a Chat client's strict tool at Bedrock", CHAT, "bedrock", |schema| chat_tool(true, schema)),
    ("a Messages client's answer", MESSAGES, "chat", |schema| {
        let format = format!(r#"{{"type":"json_schema","schema":{schema}}}"#);
        messages("gpt-4o", &format!(r#""output_config":{{"format":{format}}}"#))
    }),
    ("a Messages client's strict tool", MESSAGES, "chat", |schema| messages_tool("gpt-4o", schema)),
    ("a Messages client's tool, Responses", MESSAGES, "responses", |schema| {
        messages_tool(GPT, schema)
    }),
    ("a Responses client's answer", RESPONSES, "anthropic", |schema| {
        let format =
            format!(r#"{{"type":"json_schema","name":"a","strict":true,"schema":{schema}}}"#);
        responses(&format!(r#""text":{{"format":{format}}}"#))
    }),
    ("a Responses client's strict tool", RESPONSES, "chat", |schema| {
        responses(&format!(
            r#""tools":[{{"type":"function","name":"f","strict":true,"parameters":{schema}}}]"#
        ))
    }),
];

fn function(name: &str) -> String {
    format!(r#"{{"type":"function","name":"{name}"}}"#)
}

fn namespace(name: &str, tools: &str) -> String {
    format!(r#"{{"type":"namespace","name":"{name}","tools":[{tools}]}}"#)
}

fn numbered(count: usize) -> String {
    list(count, |at| function(&format!("t{at}")))
}

fn in_tools(tools: &str) -> String {
    responses(&format!(r#""tools":[{tools}]"#))
}

fn chat_tools(tools: &str) -> String {
    format!(
        r#"{{"model":"{CLAUDE}","messages":[{{"role":"user","content":"a"}}],"tools":[{tools}]}}"#
    )
}

fn chat_function(name: &str) -> String {
    format!(r#"{{"type":"function","function":{{"name":"{name}"}}}}"#)
}

fn messages_tools(count: usize, name: impl Fn(usize) -> String) -> String {
    let tools = list(count, |at| format!(r#"{{"name":"{}","input_schema":{{}}}}"#, name(at)));
    messages("gpt-4o", &format!(r#""tools":[{tools}]"#))
}

/// Requests whose names, namespaces or number of tools have a size.
const NAMES: [Shape; 24] = [
    ("the longest namespace", RESPONSES, "anthropic", 900, |n| {
        in_tools(&namespace(&"A".repeat(256), &numbered(n)))
    }),
    ("the longest namespace, Chat", RESPONSES, "chat", 900, |n| {
        in_tools(&namespace(&"A".repeat(256), &numbered(n)))
    }),
    ("a long namespace", RESPONSES, "anthropic", 1_000, |n| {
        in_tools(&namespace(&"A".repeat(10 * n), &numbered(n)))
    }),
    ("a short namespace", RESPONSES, "anthropic", 4_000, |n| {
        in_tools(&namespace("a", &numbered(n)))
    }),
    ("many namespaces", RESPONSES, "anthropic", 3_000, |n| {
        in_tools(&list(n, |at| namespace(&format!("n{at}"), &function("t"))))
    }),
    ("equal namespaces", RESPONSES, "chat", 3_000, |n| {
        in_tools(&list(n, |_| namespace("n", &function("t"))))
    }),
    ("namespaces in namespaces", RESPONSES, "anthropic", 600, |n| {
        let all = (0..7).fold(numbered(n), |tools, _| namespace(&"N".repeat(60), &tools));
        in_tools(&all)
    }),
    ("namespaces that become equal", RESPONSES, "anthropic", 3_000, |n| {
        in_tools(&list(n, |at| namespace(&format!("n.{}", at % 7), &function(&format!("t/{at}")))))
    }),
    ("namespaces of more input", RESPONSES, "anthropic", 2_000, |n| {
        let tools = namespace(&"A".repeat(200), &numbered(n));
        format!(
            r#"{{"model":"{CLAUDE}","input":[{{"type":"additional_tools","tools":[{tools}]}}]}}"#
        )
    }),
    ("escaped namespaces", RESPONSES, "anthropic", 2_000, |n| {
        in_tools(&namespace(&r"\u0041".repeat(40), &numbered(n)))
    }),
    ("a choice among the tools of a namespace", RESPONSES, "anthropic", 1_500, |n| {
        let tools = numbered(n);
        let choice = format!(r#"{{"type":"allowed_tools","mode":"auto","tools":[{tools}]}}"#);
        responses(&format!(
            r#""tools":[{}],"tool_choice":{choice}"#,
            namespace(&"A".repeat(100), &tools)
        ))
    }),
    ("calls of a namespace", RESPONSES, "anthropic", 1_500, |n| {
        let calls = list(n, |at| {
            format!(
                r#"{{"type":"function_call","call_id":"c{at}","namespace":"{}","name":"t{at}","arguments":"{{}}"}},{{"type":"function_call_output","call_id":"c{at}","output":"x"}}"#,
                "A".repeat(200)
            )
        });
        let tools = namespace(&"A".repeat(200), &numbered(n.min(3_000)));
        format!(r#"{{"model":"{CLAUDE}","input":[{calls}],"tools":[{tools}]}}"#)
    }),
    ("tools with one beginning", CHAT, "anthropic", 2_500, |n| {
        chat_tools(&list(n, |at| chat_function(&format!("{}{at}", "p".repeat(100)))))
    }),
    ("tools with one beginning, Messages", MESSAGES, "chat", 2_500, |n| {
        messages_tools(n, |at| format!("{}{at}", "p".repeat(100)))
    }),
    ("tools that become equal", CHAT, "anthropic", 2_500, |n| {
        chat_tools(&list(n, |at| {
            chat_function(&format!("a{}b{}", [".", "/", "é", " "][at % 4], at / 4))
        }))
    }),
    ("equal tools", CHAT, "anthropic", 4_000, |n| chat_tools(&list(n, |_| chat_function("same")))),
    ("equal tools, Messages", MESSAGES, "responses", 4_000, |n| {
        messages_tools(n, |_| "same".to_owned()).replace("gpt-4o", GPT)
    }),
    ("the longest names", CHAT, "anthropic", 1_500, |n| {
        chat_tools(&list(n, |at| chat_function(&format!("{}{at:06}", "n".repeat(250)))))
    }),
    ("long names", CHAT, "anthropic", 300, |n| {
        chat_tools(&list(n, |at| chat_function(&format!("{}{at}", "n".repeat(1_000)))))
    }),
    ("one endless name", MESSAGES, "chat", 500_000, |n| messages_tools(1, |_| "n".repeat(n))),
    ("a choice among all tools", CHAT, "anthropic", 2_500, |n| {
        let tools = list(n, |at| chat_function(&format!("t{at}")));
        format!(
            r#"{{"model":"{CLAUDE}","messages":[{{"role":"user","content":"a"}}],"tools":[{tools}],"tool_choice":{{"type":"allowed_tools","allowed_tools":{{"mode":"auto","tools":[{tools}]}}}}}}"#
        )
    }),
    ("calls of tools that nobody defined", CHAT, "anthropic", 3_000, |n| {
        let calls = list(n, |at| {
            format!(
                r#"{{"id":"c{at}","type":"function","function":{{"name":"n{at:07}","arguments":""}}}}"#
            )
        });
        format!(
            r#"{{"model":"{CLAUDE}","messages":[{{"role":"user","content":"a"}},{{"role":"assistant","content":null,"tool_calls":[{calls}]}},{{"role":"tool","tool_call_id":"c0","content":"x"}}]}}"#
        )
    }),
    ("results with images", MESSAGES, "chat", 1_500, |n| {
        let turns = list(n, |_| {
            r#"{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a"},{"type":"image","source":{"type":"url","url":"x"}}]}"#.into()
        });
        format!(
            r#"{{"model":"mistral-large-latest","max_tokens":9,"messages":[{{"role":"user","content":"a"}},{turns}]}}"#
        )
    }),
    ("100,000 tools", CHAT, "anthropic", 25_000, |n| {
        chat_tools(&list(n, |at| chat_function(&format!("t{at}"))))
    }),
];

/// Single requests that are far beyond a bound, and must be refused.
fn refused() -> Vec<(&'static str, &'static str, &'static str, String)> {
    let namespaced =
        |length: usize, count: usize| in_tools(&namespace(&"A".repeat(length), &numbered(count)));
    let deep =
        |depth: usize| in_tools(&(0..depth).fold(function("t"), |tools, _| namespace("n", &tools)));
    vec![
        ("a name of 257 bytes for a namespace", RESPONSES, "anthropic", namespaced(257, 1)),
        ("a name of 700 KB in 18,000 tools", RESPONSES, "anthropic", namespaced(700_000, 18_000)),
        ("a name of 700 KB in 18,000 tools, Chat", RESPONSES, "chat", namespaced(700_000, 18_000)),
        ("1 MB of namespaces", RESPONSES, "anthropic", namespaced(256, 4_200)),
        ("nine levels of namespaces", RESPONSES, "anthropic", deep(9)),
        ("a name of 257 bytes", CHAT, "anthropic", chat_tools(&chat_function(&"n".repeat(257)))),
        ("a name of 257 bytes, Messages", MESSAGES, "chat", messages_tools(1, |_| "n".repeat(257))),
        ("300,000 tools", CHAT, "anthropic", chat_tools(&list(300_000, |_| chat_function("t")))),
        (
            "a name of 8 MB for a custom tool",
            RESPONSES,
            "anthropic",
            in_tools(&format!(r#"{{"type":"custom","name":"{}"}}"#, "n".repeat(8_000_000))),
        ),
        (
            "metadata of 8 MB",
            RESPONSES,
            "anthropic",
            responses(&format!(r#""metadata":{{"a":"{}"}}"#, "x".repeat(8_000_000))),
        ),
    ]
}

/// What a request needed.
struct Cost {
    status: u16,
    text: String,
    seconds: f64,
    peak_mb: u64,
    /// The length of the request to the upstream, if there was one.
    sent: Option<usize>,
}

struct Measurements {
    class: AttackClass,
    system: TestSystem,
    upstream: PlainUpstream,
    keys: Vec<(&'static str, TestKey)>,
}

impl Measurements {
    async fn ask(&self, path: &str, kind: &str, body: String) -> Cost {
        let (process, before) = (self.system.process_id(), self.upstream.count());
        let found = self.keys.iter().find(|(name, _)| *name == kind);
        let (_, key) = found.expect("a key of that kind");
        let began = cpu_seconds(process);
        let request = key.request("POST", path).header("content-type", "application/json");
        let answer = ClientResponse::to(request.body(body)).await;
        let seconds = cpu_seconds(process) - began;
        let peak_mb = memory_mb(process, "VmHWM");
        if peak_mb > RESIDENT_MB_MAX / 2 {
            reset_peak(process);
        }
        let is_sent = self.upstream.count() > before;
        let sent = is_sent.then(|| self.upstream.last_body().len());
        Cost { status: answer.status, text: answer.text(), seconds, peak_mb, sent }
    }

    fn check(&self, name: &str, length: usize, cost: &Cost) {
        let is_answer = matches!(cost.status, 200 | 400) && cost.seconds < CPU_SECONDS_MAX;
        let is_small = cost.peak_mb < RESIDENT_MB_MAX;
        // The documented bound on the translated body.
        let is_short = cost.sent.is_none_or(|sent| sent <= 4 * length + 256 * 1024);
        self.class.check(name, is_answer && is_small && is_short, || {
            format!(
                "{} after {:.1} s of CPU, {} MB, {:?} of {length} bytes sent, {:.200}",
                cost.status, cost.seconds, cost.peak_mb, cost.sent, cost.text
            )
        });
    }

    /// Compares a request with one that is several times as long.
    async fn grow(&self, name: &str, (path, kind): (&str, &str), bodies: [String; 2]) {
        let lengths = [bodies[0].len(), bodies[1].len()];
        let [short, long] = bodies;
        let before = self.ask(path, kind, short.clone()).await;
        self.check(name, lengths[0], &before);
        let after = self.ask(path, kind, long.clone()).await;
        self.check(&format!("{name}, more"), lengths[1], &after);
        #[expect(clippy::cast_precision_loss, reason = "short lengths")]
        let ratio = lengths[1] as f64 / lengths[0] as f64;
        let (mut short_seconds, mut long_seconds) = (before.seconds, after.seconds);
        let is_linear =
            |short: f64, long: f64| long < UNMEASURED_SECONDS.max(short) * ratio * SLOWER_MAX;
        // Other work of the process can disturb one measurement, but not each.
        for _ in 0..3 {
            if is_linear(short_seconds, long_seconds) {
                break;
            }
            short_seconds = self.ask(path, kind, short.clone()).await.seconds;
            long_seconds = self.ask(path, kind, long.clone()).await.seconds;
        }
        self.class.check(
            &format!("{name}, growth"),
            is_linear(short_seconds, long_seconds),
            || format!("{short_seconds:.2} s, {long_seconds:.2} s for {ratio:.1} times the length"),
        );
    }
}

pub(crate) async fn run(class: AttackClass) {
    let (system, upstream) = (open_for_counts().await, PlainUpstream::start().await);
    let keys = upstream.keys(&system).await;
    let watch = HealthWatch::start(address(&system.relay_url()), Duration::from_millis(100));
    let all = Measurements { class: class.clone(), system, upstream, keys };
    for (schema_at, (schema, size, text)) in SCHEMAS.into_iter().enumerate() {
        // Each schema is tried in each second place.
        for (place, path, kind, request) in PLACES.into_iter().skip(schema_at % 2).step_by(2) {
            let bodies = [request(&text(size)), request(&text(GROWTH * size))];
            all.grow(&format!("{schema} in {place}"), (path, kind), bodies).await;
        }
    }
    for (name, path, kind, size, text) in NAMES {
        let bodies = [text(size), text(GROWTH * size)];
        all.grow(name, (path, kind), bodies).await;
    }
    for (name, path, kind, body) in refused() {
        let length = body.len();
        let cost = all.ask(path, kind, body).await;
        all.check(name, length, &cost);
        class.check(&format!("{name}: refused"), cost.status == 400, || cost.status.to_string());
    }
    let seen = watch.finish(HEALTH_MAX).await;
    println!("  definitions of tools: health {seen:?}");
    class.record("health", seen.map(drop));
}
