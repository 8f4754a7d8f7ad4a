//! Requests that are legal in the client's protocol, and what the upstream's model accepts of them.
//! The inputs are under `tests/fixtures/fitted`.

use baton_protocol::translate::{
    ClientProtocol, PromptCaching, ProtocolPair, TranslationOptions, UpstreamProtocol,
};
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;

/// A client's request, and what becomes of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dialect {
    note: String,
    client: String,
    upstream: String,
    /// The upstream's name for the model.
    model: String,
    /// Whether blocks are marked for caching, instead of the whole request.
    #[serde(default)]
    caches_blocks: bool,
    ask: Value,
    /// Values in the upstream's body by their JSON pointers. `null` stands for a missing value.
    #[serde(default)]
    sent: std::collections::BTreeMap<String, Value>,
    /// The beginning of the refusal.
    refused: Option<String>,
}

fn client(name: &str) -> ClientProtocol {
    match name {
        "messages" => ClientProtocol::AnthropicMessages,
        "chat" => ClientProtocol::OpenaiChat,
        "responses" => ClientProtocol::OpenaiResponses,
        other => panic!("{other}"),
    }
}

fn upstream(name: &str) -> UpstreamProtocol {
    match name {
        "messages" => UpstreamProtocol::Messages,
        "chat" => UpstreamProtocol::Chat,
        "responses" => UpstreamProtocol::Responses,
        other => panic!("{other}"),
    }
}

/// The faults of a translation.
fn faults(name: &str, dialect: &Dialect) -> Vec<String> {
    let pair = ProtocolPair::between(client(&dialect.client), upstream(&dialect.upstream)).unwrap();
    let mut options = TranslationOptions::new(&dialect.model, "req_1");
    if dialect.caches_blocks {
        options.prompt_caching = PromptCaching::Blocks;
    }
    let translated = pair.translate_request(dialect.ask.to_string().as_bytes(), &options);
    let note = format!("{name}: {} ({})", dialect.note, dialect.model);
    match (translated, &dialect.refused) {
        (Ok(translated), None) => {
            let body: Value = serde_json::from_slice(&translated.body).unwrap();
            assert!(!dialect.sent.is_empty(), "{note}: nothing is checked");
            let value = |pointer: &str| body.pointer(pointer).unwrap_or(&Value::Null);
            let other = dialect.sent.iter().filter(|(pointer, expect)| value(pointer) != *expect);
            let words = |(pointer, expect): (&String, &Value)| {
                format!("{note}: {pointer} is {} instead of {expect} in {body}", value(pointer))
            };
            other.map(words).collect()
        }
        (Err(error), Some(start)) if error.to_string().starts_with(start.as_str()) => Vec::new(),
        (Err(error), _) => vec![format!("{note}: {error}")],
        (Ok(translated), Some(_)) => {
            vec![format!("{note}: not refused: {}", String::from_utf8_lossy(&translated.body))]
        }
    }
}

#[test]
fn each_request_is_fitted_or_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/fitted");
    let (mut seen, mut found) = (0, Vec::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let dialects: Vec<Dialect> = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        for dialect in &dialects {
            found.extend(faults(&name, dialect));
            seen += 1;
        }
    }
    assert!(seen >= 100, "{seen}");
    assert!(found.is_empty(), "{}", found.join("\n"));
}
