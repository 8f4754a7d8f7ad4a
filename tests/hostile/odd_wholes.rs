//! Whole answers in the forms in which gateways, proxies and other versions of an API write them.

use serde_json::{Value, json};

use crate::odd_forms::{
    JSON, Odd, Protocol, WORD, coded, harmless_fields, usage, whole, with, without,
};

/// Whole answers of this API.
pub(crate) fn odd_wholes(protocol: Protocol) -> Vec<Odd> {
    let usual = whole(protocol);
    let text = usual.to_string();
    let content = match protocol {
        Protocol::Messages => "content",
        Protocol::Chat => "choices",
        Protocol::Responses => "output",
    };
    let pretty = serde_json::to_string_pretty(&usual).expect("JSON");
    let escaped = text.replace(
        &format!("\"{content}\""),
        &format!("\"\\u00{:x}{}\"", content.as_bytes()[0], &content[1..]),
    );
    let numbered = |number: &str| text.replacen('{', &format!("{{\"x\":{number},"), 1);
    let deep = format!("{}1{}", "[".repeat(50), "]".repeat(50));
    let mut all = vec![
        Odd::whole("a usual answer", &text),
        Odd::whole("more white space", format!("\n\n   \n{pretty}\n\n")),
        Odd::whole("spaces of a slow gateway", format!("{}{text}", "         \n".repeat(40))),
        Odd::whole("a byte order mark", format!("\u{feff}{text}")),
        Odd::whole("an escaped field", escaped),
        Odd::whole("NaN", numbered("NaN")).or_error(),
        Odd::whole("-Infinity", numbered("-Infinity")).or_error(),
        Odd::whole("a deep field", numbered(&deep)),
        Odd::whole("no usage", without(usual.clone(), &["usage"])).without_usage(),
        Odd::whole("`usage`: null", with(usual.clone(), "usage", Value::Null)).without_usage(),
        Odd::whole("empty usage", with(usual.clone(), "usage", json!({}))).without_usage(),
        Odd::whole("usage of a text", with(usual.clone(), "usage", json!("18"))).without_usage(),
        Odd::whole("no ids", without(usual.clone(), &["id", "model", "created", "created_at"])),
        Odd::whole("no type", without(usual.clone(), &["type", "object"])).or_error(),
        Odd::whole("no output", with(usual.clone(), content, json!([]))).silent(),
        Odd::whole("an answer in an answer", json!({"code": 0, "data": usual})).foreign(),
        Odd::whole("a list of answers", json!([usual])).without_usage().or_error().silent(),
        Odd::whole("more after its end", format!("{text}{text}")).without_usage().or_error(),
        Odd::whole("a text with the answer", Value::String(text.clone())).foreign(),
    ];
    for (name, value) in harmless_fields() {
        let body = with(usual.clone(), name, value.clone());
        // Responses has a status of its own.
        let odd = Odd::whole(format!("`{name}`: {value}"), body);
        all.push(if name == "status" { odd.or_error() } else { odd });
    }
    for kind in [
        "",
        "application/json; charset=utf-8",
        "Application/JSON",
        "text/plain",
        "text/json",
        "application/octet-stream",
        "application/vnd.api+json",
        "text/event-stream",
    ] {
        let odd = Odd::whole(format!("an answer of the type {kind:?}"), &text);
        let is_json = kind.to_lowercase().starts_with(JSON);
        all.push(if is_json { odd.of_type(kind) } else { odd.of_type(kind).or_error() });
    }
    all.extend(coded(&Odd::whole("an answer", &text)));
    all.extend(shapes(protocol));
    all
}

/// Whole answers whose content has another shape.
fn shapes(protocol: Protocol) -> Vec<Odd> {
    let usual = whole(protocol);
    match protocol {
        Protocol::Chat => {
            let message = |message: Value| {
                let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
                with(usual.clone(), "choices", json!([choice]))
            };
            let mut in_choice = without(usual.clone(), &["usage"]);
            in_choice["choices"][0]["usage"] = usage(protocol);
            let broken = |choices: Value| {
                let body = json!({"id": "c", "object": "chat.completion", "choices": choices});
                Odd::whole(format!("`choices`: {choices:.30}"), body)
                    .without_usage()
                    .or_error()
                    .silent()
            };
            vec![
                Odd::whole(
                    "parts of text",
                    message(json!({
                        "role": "assistant", "content": [{"type": "text", "text": WORD}],
                    })),
                ),
                Odd::whole(
                    "reasoning only",
                    message(json!({
                        "role": "assistant", "content": null, "reasoning_content": WORD,
                    })),
                )
                .silent(),
                Odd::whole(
                    "a refusal",
                    message(json!({
                        "role": "assistant", "content": null, "refusal": WORD,
                    })),
                ),
                Odd::whole("nothing in the message", message(json!({"role": "assistant"})))
                    .silent(),
                Odd::whole("usage in a choice", in_choice).without_usage(),
                Odd::whole(
                    "an old text",
                    with(
                        usual.clone(),
                        "choices",
                        json!([{"index": 0, "text": WORD, "finish_reason": "stop"}]),
                    ),
                )
                .silent()
                .or_error(),
                broken(json!(WORD)),
                broken(json!({"0": {"message": {"content": WORD}}})),
                broken(json!([{"message": {"content": WORD}}, 5])),
            ]
        }
        Protocol::Messages => vec![
            Odd::whole("a text for the content", with(usual.clone(), "content", json!(WORD)))
                .silent()
                .or_error(),
            Odd::whole("`content`: null", with(usual.clone(), "content", Value::Null))
                .silent()
                .or_error(),
            Odd::whole(
                "thinking only",
                with(
                    usual.clone(),
                    "content",
                    json!([{"type": "thinking", "thinking": WORD, "signature": "s"}]),
                ),
            )
            .silent(),
            Odd::whole(
                "an unknown block",
                with(usual.clone(), "content", json!([{"type": "novelty", "text": WORD}])),
            )
            .silent()
            .or_error(),
            Odd::whole("no type and no usage", without(usual, &["type", "usage"]))
                .without_usage()
                .or_error(),
        ],
        Protocol::Responses => vec![
            Odd::whole(
                "an incomplete response",
                with(
                    with(usual.clone(), "status", json!("incomplete")),
                    "incomplete_details",
                    json!({"reason": "max_output_tokens"}),
                ),
            ),
            Odd::whole(
                "reasoning only",
                with(
                    usual.clone(),
                    "output",
                    json!([{"id": "rs", "type": "reasoning",
                    "summary": [{"type": "summary_text", "text": WORD}]}]),
                ),
            )
            .silent(),
            Odd::whole("no status and no usage", without(usual.clone(), &["status", "usage"]))
                .without_usage()
                .or_error(),
            Odd::whole("a text for the output", with(usual, "output", json!(WORD)))
                .silent()
                .or_error(),
        ],
    }
}
