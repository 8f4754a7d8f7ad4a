//! Reads the recorded traffic under `fixtures/`: streams, errors, requests. It reads files only and
//! judges nothing.

use std::path::Path;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use crate::upstream::ServedTokens;

/// The folder with the recordings.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures");

fn read(path: &str) -> Vec<u8> {
    let path = Path::new(FOLDER).join(path);
    std::fs::read(&path).unwrap_or_else(|e| panic!("fixture {}: {e}", path.display()))
}

fn read_json(path: &str) -> Value {
    serde_json::from_slice(&read(path)).unwrap_or_else(|e| panic!("fixture {path}: {e}"))
}

/// One recorded event stream and what is known about it.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The name in `manifest.json`.
    pub name: String,
    /// `anthropic`, `openai-chat`, `openai-responses` or `gemini`.
    pub protocol: String,
    /// Whether the stream ends as its protocol demands.
    pub complete: bool,
    /// The body, exactly as an upstream sends it.
    pub body: Bytes,
    /// The result of a correct parse.
    pub expect: Value,
}

impl Stream {
    /// The tokens that this stream is billed for. If the answer has several passes, this includes
    /// all of them, also those that its totals leave out.
    pub fn usage(&self) -> ServedTokens {
        let totals = self.totals();
        let passes = self.passes();
        let sum = |name: &str| passes.iter().filter_map(|pass| pass[name].as_u64()).sum();
        match passes.as_slice() {
            [] => totals,
            _ => {
                ServedTokens { input: sum("input_tokens"), output: sum("output_tokens"), ..totals }
            }
        }
    }

    fn passes(&self) -> Vec<Value> {
        let text = String::from_utf8_lossy(&self.body);
        let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let events = events.filter_map(|data| serde_json::from_str::<Value>(data).ok());
        let mut lists = events.filter_map(|event| event["usage"]["iterations"].as_array().cloned());
        lists.next_back().unwrap_or_default()
    }

    fn totals(&self) -> ServedTokens {
        let number = |name: &str| self.expect[name].as_u64().unwrap_or(0);
        let written = number("cache_creation_input_tokens");
        let hour = number("cache_creation_1h");
        ServedTokens {
            input: number("input_tokens"),
            output: number("output_tokens"),
            cache_read: number("cache_read_input_tokens"),
            cache_write_5m: written - hour,
            cache_write_1h: hour,
            web_searches: number("web_search_requests"),
        }
    }
}

fn manifest() -> serde_json::Map<String, Value> {
    match read_json("sse/manifest.json") {
        Value::Object(manifest) => manifest,
        _ => panic!("sse/manifest.json is not an object"),
    }
}

/// `text.sse` with one delta of a million characters, which is not worth a file.
fn long_line() -> Bytes {
    let text = String::from_utf8(read("sse/text.sse")).expect("text.sse is UTF-8");
    let long = format!(r#""text":"{}""#, "x".repeat(1_000_000));
    let text = text.replace(r#""text":"Hello""#, &long);
    text.replace(r#""output_tokens":7"#, r#""output_tokens":30"#).into()
}

fn load(name: &str, about: &Value) -> Stream {
    let text = |field: &str| about[field].as_str().expect("a text field");
    let body = match name {
        "long_line_1mb" => long_line(),
        _ => read(&format!("sse/{}", text("file"))).into(),
    };
    Stream {
        name: name.to_owned(),
        protocol: text("proto").to_owned(),
        complete: about["complete"].as_bool().unwrap_or(true),
        body,
        expect: about["expect"].clone(),
    }
}

/// All recorded streams of one protocol, ordered by name.
pub fn streams(protocol: &str) -> Vec<Stream> {
    let manifest = manifest();
    let of_protocol = manifest.iter().filter(|(_, about)| about["proto"] == protocol);
    let mut all: Vec<Stream> = of_protocol.map(|(name, about)| load(name, about)).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(!all.is_empty(), "no {protocol} stream in the manifest");
    all
}

/// The recorded stream with that name.
pub fn stream(name: &str) -> Option<Stream> {
    manifest().get(name).map(|about| load(name, about))
}

/// One recorded error answer.
#[derive(Clone, Debug)]
pub struct ErrorAnswer {
    /// The name in `errors.json`.
    pub name: String,
    /// The HTTP status.
    pub status: u16,
    /// The response headers.
    pub headers: Vec<(String, String)>,
    /// The body as sent: JSON is compact, text is unchanged.
    pub body: Bytes,
}

/// All recorded error answers.
pub fn errors() -> Vec<ErrorAnswer> {
    #[derive(Deserialize)]
    struct Row {
        status: u16,
        headers: serde_json::Map<String, Value>,
        body: Value,
    }
    let Value::Object(rows) = read_json("errors/errors.json") else {
        panic!("errors/errors.json is not an object")
    };
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    rows.into_iter()
        .map(|(name, row)| {
            let row: Row = serde_json::from_value(row).expect("an error row");
            let body = text(&row.body).into();
            let headers = row.headers.iter().map(|(k, v)| (k.clone(), text(v))).collect();
            ErrorAnswer { name, status: row.status, headers, body }
        })
        .collect()
}

/// One recorded request. Shortened prompts and schemas are restored to their original size.
#[derive(Clone, Debug)]
pub struct Request {
    /// The file's name without `.json`.
    pub name: String,
    /// The HTTP method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Headers in wire order and case.
    pub headers: Vec<(String, String)>,
    /// The body; empty for requests without one.
    pub body: Bytes,
}

/// The recorded request with that name.
pub fn request(name: &str) -> Request {
    #[derive(Deserialize)]
    struct Row {
        method: String,
        target: String,
        headers: Vec<(String, String)>,
        #[serde(default)]
        body: Value,
    }
    let row: Row = serde_json::from_value(read_json(&format!("requests/{name}.json")))
        .unwrap_or_else(|e| panic!("request {name}: {e}"));
    let body = match row.body {
        Value::Null => Bytes::new(),
        other => blow_up(other).to_string().into(),
    };
    Request {
        name: name.to_owned(),
        method: row.method,
        target: row.target,
        headers: row.headers,
        body,
    }
}

fn blow_up(value: Value) -> Value {
    match value {
        Value::Object(map) => match map.get("x-redacted-bytes").and_then(Value::as_u64) {
            Some(bytes) => {
                let filler = "x".repeat(usize::try_from(bytes.saturating_sub(60)).unwrap_or(0));
                serde_json::json!({"type": "object", "properties": {}, "description": filler})
            }
            None => Value::Object(map.into_iter().map(|(k, v)| (k, blow_up(v))).collect()),
        },
        Value::Array(items) => Value::Array(items.into_iter().map(blow_up).collect()),
        Value::String(text) => Value::String(blow_up_text(text)),
        other => other,
    }
}

fn blow_up_text(text: String) -> String {
    let count = text.strip_prefix('«').and_then(|rest| rest.strip_suffix(" chars»"));
    match count.and_then(|count| count.parse::<usize>().ok()) {
        Some(count) => "lorem \\n \"ipsum\" ".chars().cycle().take(count).collect(),
        None => text,
    }
}

/// The texts in a JSON list.
pub fn texts(list: &serde_json::Value) -> Vec<String> {
    let all = list.as_array().expect("a list");
    all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect()
}
