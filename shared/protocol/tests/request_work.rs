//! The work of a translation grows at most in proportion to the request: no entry of a list is
//! compared with all others of its list.
#![expect(clippy::unwrap_used, reason = "a test may")]
#![expect(clippy::print_stdout, reason = "for show")]

mod growth;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use baton_protocol::translate::{
    ClientProtocol, ProtocolPair, TranslationOptions, UpstreamProtocol,
};
use growth::{GROWTH, assert_linear};
use std::time::{Duration, Instant};

/// A request whose list of something has this many entries.
type Body = fn(usize) -> String;

fn list(count: usize, entry: impl Fn(usize) -> String) -> String {
    (0..count).map(entry).collect::<Vec<_>>().join(",")
}

fn messages(messages: &str) -> String {
    format!(r#"{{"model":"m","max_tokens":9,"messages":[{messages}]}}"#)
}

fn state(json: &str) -> String {
    format!("baton1_{}", URL_SAFE_NO_PAD.encode(json))
}

/// A strict tool of a Chat client with this schema.
fn chat_tool(schema: &str) -> String {
    let tool = format!(
        r#"{{"type":"function","function":{{"name":"f","strict":true,"parameters":{schema}}}}}"#
    );
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"a"}}],"tools":[{tool}]}}"#)
}

/// A strict tool of a Messages client with this schema.
fn messages_tool(schema: &str) -> String {
    let tool = format!(r#"{{"name":"f","strict":true,"input_schema":{schema}}}"#);
    format!(
        r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"a"}}],"tools":[{tool}]}}"#
    )
}

fn definitions(count: usize) -> String {
    let next = |at: usize| if at + 1 < count { at + 1 } else { count };
    let chain = list(count, |at| format!(r##""d{at}":{{"$ref":"#/$defs/d{}"}}"##, next(at)));
    format!(
        r##"{{"type":"object","properties":{{"a":{{"$ref":"#/$defs/d0"}}}},"$defs":{{{chain},"d{count}":{{"type":"string"}}}}}}"##
    )
}

const FROM_MESSAGES: [(&str, usize, Body); 13] = [
    ("turns", 2_000, |n| {
        messages(&list(n, |_| {
            r#"{"role":"user","content":"a"},{"role":"assistant","content":"b"}"#.into()
        }))
    }),
    ("systems", 2_000, |n| messages(&list(n, |_| r#"{"role":"system","content":"a"}"#.into()))),
    ("blocks", 3_000, |n| {
        let blocks = list(n, |_| r#"{"type":"text","text":"a"}"#.into());
        messages(&format!(r#"{{"role":"user","content":[{blocks}]}}"#))
    }),
    ("calls", 2_000, |n| {
        let calls = list(n, |at| {
            format!(r#"{{"type":"tool_use","id":"i{at}","name":"n{at}","input":{{}}}}"#)
        });
        messages(&format!(r#"{{"role":"assistant","content":[{calls}]}}"#))
    }),
    ("signed calls", 2_000, |n| {
        let calls = list(n, |at| {
            let signature = state(&format!(r#"{{"model":"m","call":["i{at}",{{}}]}}"#));
            format!(
                r#"{{"type":"thinking","thinking":"","signature":"{signature}"}},{{"type":"tool_use","id":"i{at}","name":"n","input":{{}}}}"#
            )
        });
        messages(&format!(r#"{{"role":"assistant","content":[{calls}]}}"#))
    }),
    ("reasoning items", 2_000, |n| {
        let signature = state(r#"{"model":"m","item":{"id":"rs_1","encrypted_content":"gAAA"}}"#);
        let thinking = list(n, |_| {
            format!(r#"{{"type":"thinking","thinking":"","signature":"{signature}"}}"#)
        });
        messages(&format!(r#"{{"role":"assistant","content":[{thinking}]}}"#))
    }),
    ("results with images", 1_500, |n| {
        messages(&list(n, |at| {
            format!(
                r#"{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"i{at}","content":[{{"type":"image","source":{{"type":"url","url":"https://a"}}}}]}}]}},{{"role":"assistant","content":"b"}}"#
            )
        }))
    }),
    ("tools", 2_000, |n| {
        let tools = list(n, |at| format!(r#"{{"name":"n{at}","input_schema":{{}}}}"#));
        format!(
            r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"a"}}],"tools":[{tools}]}}"#
        )
    }),
    ("long names", 1_000, |n| {
        let long = "n".repeat(200);
        let tools = list(n, |at| format!(r#"{{"name":"{long}{at}","input_schema":{{}}}}"#));
        format!(
            r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"a"}}],"tools":[{tools}]}}"#
        )
    }),
    ("required", 2_000, |n| {
        let names = list(n, |at| format!("\"p{at}\""));
        messages_tool(&format!(
            r#"{{"type":"object","properties":{{}},"required":[{names}],"additionalProperties":false}}"#
        ))
    }),
    ("properties", 250, |n| {
        let fields = list(n, |at| format!(r#""p{at}":{{"type":"string"}}"#));
        let names = list(n, |at| format!("\"p{at}\""));
        messages_tool(&format!(
            r#"{{"type":"object","properties":{{{fields}}},"required":[{names}],"additionalProperties":false}}"#
        ))
    }),
    ("stops", 60, |n| {
        let stops = list(n, |at| format!("\"s{at}\""));
        format!(
            r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"a"}}],"stop_sequences":[{stops}]}}"#
        )
    }),
    ("unknown fields", 250, |n| {
        let fields = list(n, |at| format!("\"u{at}\":0"));
        messages(&format!(r#"{{"role":"user","content":"a",{fields}}}"#))
    }),
];

const FROM_CHAT: [(&str, usize, Body); 10] = [
    ("turns", 2_000, |n| {
        messages(&list(n, |_| {
            r#"{"role":"user","content":"a"},{"role":"assistant","content":"b"}"#.into()
        }))
    }),
    ("calls", 2_000, |n| {
        let calls = list(n, |at| {
            format!(
                r#"{{"id":"i{at}","type":"function","function":{{"name":"n{at}","arguments":"{{}}"}}}}"#
            )
        });
        messages(&format!(r#"{{"role":"assistant","tool_calls":[{calls}]}}"#))
    }),
    ("results", 2_000, |n| {
        messages(&list(n, |at| {
            format!(r#"{{"role":"tool","tool_call_id":"i{at}","content":"a"}}"#)
        }))
    }),
    ("images", 2_000, |n| {
        let images = list(n, |_| {
            r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}"#
                .into()
        });
        messages(&format!(r#"{{"role":"user","content":[{images}]}}"#))
    }),
    ("repeated keywords", 3_000, |n| {
        chat_tool(&format!(r#"{{"type":"object",{}}}"#, list(n, |_| r#""oneOf":0"#.into())))
    }),
    ("keywords", 250, |n| {
        chat_tool(&format!(r#"{{"type":"object",{}}}"#, list(n, |at| format!("\"oneOf{at}\":0"))))
    }),
    ("enum", 2_000, |n| chat_tool(&format!(r#"{{"enum":[{}]}}"#, list(n, |at| at.to_string())))),
    ("alternatives", 2_000, |n| {
        chat_tool(&format!(
            r#"{{"type":"object","properties":{{"a":{{"oneOf":[{}]}}}}}}"#,
            list(n, |_| r#"{"type":"string"}"#.into())
        ))
    }),
    ("definitions", 12, |n| chat_tool(&definitions(n))),
    ("references", 2_000, |n| {
        let fields = list(n, |_| r##"{"$ref":"#/$defs/a"}"##.into());
        chat_tool(&format!(
            r#"{{"type":"object","properties":{{"a":{{"anyOf":[{fields}]}}}},"$defs":{{"a":{{"type":"string"}}}}}}"#
        ))
    }),
];

const FROM_RESPONSES: [(&str, usize, Body); 3] = [
    ("items", 2_000, |n| {
        let items = list(n, |at| {
            format!(
                r#"{{"type":"function_call","call_id":"i{at}","name":"n{at}","arguments":"{{}}"}},{{"type":"function_call_output","call_id":"i{at}","output":"a"}}"#
            )
        });
        format!(r#"{{"model":"m","input":[{items}]}}"#)
    }),
    ("tools of a namespace", 1_000, |n| {
        let tools = list(n, |at| format!(r#"{{"type":"custom","name":"n{at}"}}"#));
        format!(
            r#"{{"model":"m","input":"a","tools":[{{"type":"namespace","name":"a","tools":[{tools}]}}]}}"#
        )
    }),
    ("allowed tools", 1_000, |n| {
        let tools = list(n, |at| format!(r#"{{"type":"function","name":"n{at}"}}"#));
        format!(
            r#"{{"model":"m","input":"a","tools":[{tools}],"tool_choice":{{"type":"allowed_tools","mode":"auto","tools":[{tools}]}}}}"#
        )
    }),
];

/// The shortest time of several translations.
fn time(pair: ProtocolPair, model: &str, body: &str, runs: usize) -> Duration {
    let options = TranslationOptions::new(model, "req_1");
    let run = |_| {
        let start = Instant::now();
        drop(pair.translate_request(body.as_bytes(), &options));
        start.elapsed()
    };
    (0..runs).map(run).min().unwrap()
}

fn check(client: ClientProtocol, upstream: UpstreamProtocol, bodies: &[(&str, usize, Body)]) {
    let pair = ProtocolPair::between(client, upstream).unwrap();
    for (name, count, body) in bodies {
        // A user's message must not follow a tool's at models of the second kind.
        let models = if name.starts_with("results") { &["m", "mistral-large"][..] } else { &["m"] };
        for model in models {
            let (short, long) = (body(*count), body(count * GROWTH));
            let label = format!("{client:?} to {upstream:?}, {model}, {name}");
            let (time_short, time_long) =
                (|| time(pair, model, &short, 4), || time(pair, model, &long, 2));
            assert_linear(&label, Duration::from_micros(500), time_short, time_long);
        }
    }
}

#[test]
#[ignore = "it measures time: run with --ignored"]
fn work_for_messages_clients_is_linear() {
    check(ClientProtocol::AnthropicMessages, UpstreamProtocol::Chat, &FROM_MESSAGES);
    check(ClientProtocol::AnthropicMessages, UpstreamProtocol::Responses, &FROM_MESSAGES);
}

#[test]
#[ignore = "it measures time: run with --ignored"]
fn work_for_chat_clients_is_linear() {
    check(ClientProtocol::OpenaiChat, UpstreamProtocol::Messages, &FROM_CHAT);
    check(ClientProtocol::OpenaiChat, UpstreamProtocol::Responses, &FROM_CHAT);
}

#[test]
#[ignore = "it measures time: run with --ignored"]
fn work_for_responses_clients_is_linear() {
    check(ClientProtocol::OpenaiResponses, UpstreamProtocol::Messages, &FROM_RESPONSES);
    check(ClientProtocol::OpenaiResponses, UpstreamProtocol::Chat, &FROM_RESPONSES);
}
