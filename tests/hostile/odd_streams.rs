//! Streams in the forms in which gateways, proxies and other versions of an API write them.

use serde_json::{Value, json};

use crate::odd_forms::{
    Events, Odd, Protocol, SSE, WORD, chunk, coded, events, harmless_fields, sse, usage, with,
    without,
};

/// The same field in each event.
fn with_field(protocol: Protocol, name: &str, value: &Value) -> String {
    let events = events(protocol).into_iter();
    let events = events.map(|(event, data)| (event, with(data, name, value.clone())));
    sse(protocol, &events.collect())
}

/// Objects that some gateways send before the first event.
const FIRST: [&str; 20] = [
    "data: {}",
    "data: []",
    "data: null",
    "data: \"\"",
    "data:",
    "data: OPENROUTER PROCESSING",
    ": OPENROUTER PROCESSING",
    "retry: 1000",
    "id: 7",
    "event: ping\ndata: {}",
    "event: heartbeat\ndata: {\"t\":1}",
    "event: keepalive\ndata: {\"type\":\"keepalive\",\"sequence_number\":3}",
    "data: {\"type\":\"ping\"}",
    "data: {\"status\":\"queued\"}",
    "data: {\"message\":\"Loading model\"}",
    "data: {\"object\":\"queue\",\"position\":3,\"message\":\"You are in the queue\"}",
    "data: {\"status\":\"loading\",\"detail\":\"x\"}",
    "data: {\"warning\":\"deprecated\",\"type\":\"warning\"}",
    "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\"}",
    "data: {\"choices\":[],\"created\":0,\"id\":\"\",\"model\":\"\",\"object\":\"\",\"prompt_filter_results\":[]}",
];

/// Names of events that the API does not have.
const NAMES: [&str; 9] = [
    "message",
    "chat.completion.chunk",
    "completion",
    "answer",
    "delta",
    "token",
    "add",
    "result",
    "data",
];

/// Streams of this API.
pub(crate) fn odd_streams(protocol: Protocol) -> Vec<Odd> {
    let usual = sse(protocol, &events(protocol));
    let mut all = vec![
        Odd::stream("a usual stream", usual.clone()).framed(),
        Odd::stream("a byte order mark", format!("\u{feff}{usual}")),
        Odd::stream("CRLF", usual.replace('\n', "\r\n")),
        Odd::stream("CR", usual.replace('\n', "\r")),
        Odd::stream("no spaces", usual.replace("data: ", "data:").replace("event: ", "event:")),
        Odd::stream("ids", usual.replace("data: ", "id: 7\ndata: ")),
        Odd::stream("comments", usual.replace("\n\n", "\n\n: c\n\n")),
        Odd::stream("more blank lines", usual.replace("\n\n", "\n\n\n\n")),
        Odd::stream("no end of the last line", usual.trim_end().to_owned()),
        Odd::stream("the usual end of Chat", format!("{usual}data: [DONE]\n\n")),
        Odd::stream("an unknown field", usual.replace("data: ", "trace: x\ndata: ")),
    ];
    for (name, value) in harmless_fields() {
        let body = with_field(protocol, name, &value);
        all.push(Odd::stream(format!("`{name}`: {value} in each event"), body).framed());
    }
    for first in FIRST {
        let odd = Odd::stream(format!("{first:?} first"), format!("{first}\n\n{usual}"));
        all.push(if protocol == Protocol::Chat { odd } else { odd.or_error() });
    }
    for number in ["NaN", "Infinity", "-Infinity"] {
        let body = usual.replacen("{\"", &format!("{{\"logprobs\":{number},\""), 1);
        all.push(Odd::stream(format!("{number} in the first event"), body));
        let body = usual.replace("data: {", &format!("data: {{\"x\":{number},"));
        all.push(Odd::stream(format!("{number} in each event"), body));
    }
    for kind in [
        "",
        "text/event-stream; charset=utf-8",
        "Text/Event-Stream;charset=UTF-8",
        "text/event-stream, text/event-stream",
        "text/plain",
        "application/octet-stream",
        "application/x-ndjson",
        "application/json",
    ] {
        let odd = Odd::stream(format!("a stream of the type {kind:?}"), usual.clone());
        let is_stream = kind.to_lowercase().starts_with(SSE);
        all.push(if is_stream { odd.of_type(kind) } else { odd.of_type(kind).or_error() });
    }
    all.extend(coded(&Odd::stream("a stream", usual)));
    match protocol {
        Protocol::Chat => all.extend(chat_streams()),
        Protocol::Messages | Protocol::Responses => all.extend(unnamed_streams(protocol)),
    }
    all
}

/// Streams whose events have no names, or only names.
fn unnamed_streams(protocol: Protocol) -> Vec<Odd> {
    let all = events(protocol);
    let unnamed = all.iter().map(|(_, data)| ("", data.clone())).collect();
    let untyped =
        all.iter().map(|(name, data)| (*name, without(data.clone(), &["type"]))).collect();
    let last = all[all.len() - 1..].to_vec();
    let mut odd = vec![
        Odd::stream("no names", sse(protocol, &unnamed)).framed(),
        Odd::stream("no types", sse(protocol, &untyped)).or_error(),
    ];
    if protocol == Protocol::Responses {
        odd.push(Odd::stream("only the last event", sse(protocol, &last)).or_error());
        let hidden = with_last_response(&all, Value::Null);
        odd.push(Odd::stream("no usage", sse(protocol, &hidden)).without_usage());
        let empty = with_last_response(&all, json!({}));
        odd.push(Odd::stream("empty usage", sse(protocol, &empty)).without_usage());
    } else {
        let mut hidden = all.clone();
        let sorted =
            all.iter().map(|(_, data)| format!("data: {data}\n\n")).collect::<Vec<_>>().concat();
        odd.push(Odd::stream("fields in the order of the alphabet", sorted).framed());
        hidden[0].1["message"]["usage"] = json!({});
        hidden[5].1["usage"] = json!({});
        odd.push(Odd::stream("no usage", sse(protocol, &hidden)).without_usage().framed());
        let mut late = all;
        late[0].1["message"]["usage"] = Value::Null;
        late[5].1["usage"] = usage(protocol);
        odd.push(Odd::stream("all usage at the end", sse(protocol, &late)).framed());
    }
    odd
}

fn with_last_response(events: &Events, usage: Value) -> Events {
    let mut events = events.clone();
    let last = events.len() - 1;
    events[last].1["response"]["usage"] = usage;
    events
}

fn chat_streams() -> Vec<Odd> {
    let protocol = Protocol::Chat;
    let all = events(protocol);
    let usual = sse(protocol, &all);
    let text =
        |events: &[Value]| sse(protocol, &events.iter().map(|event| ("", event.clone())).collect());
    let [role, word, end, last] = [0, 1, 2, 3].map(|at| all[at].1.clone());
    let said = |field: &str| {
        let value = if field == "text" { json!(WORD) } else { json!({"content": WORD}) };
        with(word.clone(), "choices", json!([{"index": 0, field: value}]))
    };
    let own = usage(protocol);
    let stream = |name: &str, events: &[Value]| Odd::stream(name, text(events));
    let mut odd: Vec<_> = NAMES
        .map(|name| {
            let body = usual.replace("data: ", &format!("event: {name}\ndata: "));
            Odd::stream(format!("events with the name {name}"), body)
        })
        .into();
    let bare = |event: &Value| without(event.clone(), &["object", "id", "created", "model"]);
    odd.extend([
        Odd::stream("no end", usual.replace("data: [DONE]\n\n", "")),
        stream("no ids", &[bare(&role), bare(&word), bare(&end), bare(&last)]),
        stream("one chunk", &[with(with_finish(&word), "usage", own.clone())]),
        stream(
            "usage without choices",
            &[role.clone(), word.clone(), end.clone(), without(last.clone(), &["choices"])],
        ),
        stream(
            "usage with `choices`: null",
            &[role.clone(), word.clone(), end.clone(), with(last.clone(), "choices", Value::Null)],
        ),
        stream(
            "usage at the end of the text",
            &[role.clone(), word.clone(), with(end.clone(), "usage", own.clone())],
        ),
        stream(
            "usage in each chunk",
            &[
                with(role.clone(), "usage", Value::Null),
                with(word.clone(), "usage", own.clone()),
                with(end.clone(), "usage", own.clone()),
                last.clone(),
            ],
        ),
        stream(
            "usage in numbers with a fraction",
            &[
                role.clone(),
                word.clone(),
                end.clone(),
                with(
                    last.clone(),
                    "usage",
                    json!({"prompt_tokens": 11.0, "completion_tokens": 7.0, "total_tokens": 18.0}),
                ),
            ],
        ),
        stream(
            "empty chunks",
            &[
                with(role.clone(), "choices", json!([])),
                role.clone(),
                with(role.clone(), "choices", json!([])),
                word.clone(),
                end.clone(),
                last.clone(),
            ],
        ),
        stream("no usage", &[role.clone(), word.clone(), end.clone()]).without_usage(),
        stream(
            "empty usage",
            &[role.clone(), word.clone(), end.clone(), with(last.clone(), "usage", json!({}))],
        )
        .without_usage(),
        stream(
            "usage of zeros",
            &[
                role.clone(),
                word.clone(),
                end.clone(),
                with(last.clone(), "usage", json!({"prompt_tokens": 0, "completion_tokens": 0})),
            ],
        )
        .without_usage(),
        stream(
            "usage as texts",
            &[
                role.clone(),
                word.clone(),
                end.clone(),
                with(
                    last.clone(),
                    "usage",
                    json!({"prompt_tokens": "11", "completion_tokens": "7"}),
                ),
            ],
        )
        .without_usage(),
        stream(
            "negative usage",
            &[
                role.clone(),
                word.clone(),
                end.clone(),
                with(last.clone(), "usage", json!({"prompt_tokens": -1, "completion_tokens": -7})),
            ],
        )
        .without_usage(),
        stream(
            "usage in another field",
            &[
                role.clone(),
                word.clone(),
                with(end.clone(), "x_groq", json!({"id": "r", "usage": own})),
            ],
        )
        .without_usage(),
        stream(
            "usage in a choice",
            &[role.clone(), word.clone(), {
                let mut end = end.clone();
                end["choices"][0]["usage"] = own.clone();
                end
            }],
        )
        .without_usage(),
        stream(
            "usage in the first chunk only",
            &[
                with(
                    role.clone(),
                    "usage",
                    json!({"prompt_tokens": 11, "completion_tokens": 0, "total_tokens": 11}),
                ),
                word.clone(),
                end.clone(),
            ],
        )
        .without_usage(),
        stream(
            "no index",
            &[
                with(word.clone(), "choices", json!([{"delta": {"content": WORD}}])),
                with(end.clone(), "choices", json!([{"delta": {}, "finish_reason": "stop"}])),
                last.clone(),
            ],
        ),
        stream(
            "`delta`: null",
            &[
                with(role.clone(), "choices", json!([{"index": 0, "delta": null}])),
                word.clone(),
                end.clone(),
                last.clone(),
            ],
        ),
        stream(
            "parts of text",
            &[
                role.clone(),
                chunk(&json!({"content": [{"type": "text", "text": WORD}]}), &Value::Null),
                end.clone(),
                last.clone(),
            ],
        ),
        stream(
            "a number for a code",
            &[with(role.clone(), "code", json!(200)), word.clone(), end.clone(), last.clone()],
        ),
        stream(
            "`choices` as an object",
            &[
                role.clone(),
                with(
                    word.clone(),
                    "choices",
                    json!({"0": {"index": 0, "delta": {"content": WORD}}}),
                ),
                end.clone(),
            ],
        )
        .or_error()
        .silent(),
        stream(
            "a choice in place of a list of one",
            &[
                role.clone(),
                with(word.clone(), "choices", word["choices"][0].clone()),
                end.clone(),
                last.clone(),
            ],
        ),
        stream("`message` in a chunk", &[role.clone(), said("message"), end.clone(), last.clone()]),
        stream("`text` in a choice", &[said("text"), end.clone(), last.clone()]),
        stream(
            "output in other fields",
            &[role.clone(), json!({"text": WORD}), json!({"output": WORD}), end.clone()],
        )
        .without_usage()
        .or_error()
        .silent(),
        stream("only other objects", &[json!({"response": WORD}), json!({"response": ""})])
            .foreign(),
    ]);
    let lines = [&role, &word, &end, &last].map(|event| format!("{event}\n")).concat();
    let lines = Odd::stream("a JSON object in each line", lines).without_usage();
    odd.push(lines.of_type("application/x-ndjson").or_error());
    odd
}

fn with_finish(chunk: &Value) -> Value {
    let mut chunk = chunk.clone();
    chunk["choices"][0]["finish_reason"] = json!("stop");
    chunk
}
