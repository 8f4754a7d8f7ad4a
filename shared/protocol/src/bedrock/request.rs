//! Converts requests between the Messages API and `InvokeModel`, in both directions. The bytes of
//! the remaining fields do not change.

use super::betas::sort_betas;
use super::missing_features::FittedFields;
use super::raw_object::RawObject;
use crate::translate::TranslationError;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// Bedrock's version field of the Messages format.
const VERSION: &str = r#""anthropic_version":"bedrock-2023-05-31""#;

/// Why a body does not fit the route. The text is for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BedrockBodyError {
    /// The body is not JSON, or not an object.
    #[error("The request body must be a JSON object.")]
    NotAnObject,
    /// Bedrock keeps no message threads, as [`TranslationError::Thread`].
    #[error("{}", TranslationError::Thread)]
    Thread,
    /// Bedrock cannot answer the request as it is meant.
    #[error("{0}")]
    Translation(TranslationError),
    /// A `CountTokens` body without the request to be counted.
    #[error("input.invokeModel.body: must be the base64 text of an InvokeModel body")]
    NothingToCount,
}

/// A request for `InvokeModel`.
#[derive(Debug, PartialEq, Eq)]
pub struct InvokeModelRequest {
    /// The body.
    pub body: Bytes,
    /// What Bedrock does not have and was left out.
    pub dropped: Vec<String>,
}

/// Converts a Messages request's body for `InvokeModel`. `betas` are the values of its
/// `anthropic-beta` headers. They move into the body, without the betas that Bedrock does not know
/// and their fields.
///
/// # Errors
/// The body is not an object, or asks for what Bedrock does not have.
pub fn messages_to_invoke_model<'a>(
    body: &[u8],
    betas: impl Iterator<Item = &'a str>,
) -> Result<InvokeModelRequest, BedrockBodyError> {
    let object = parse_object(body)?;
    if object.get("thread").is_some_and(|raw| raw != b"null") {
        return Err(BedrockBodyError::Thread);
    }
    let fitted = FittedFields::new(&object, false).map_err(BedrockBodyError::Translation)?;
    let body = build_invoke_body(&object, betas, &fitted, "").into();
    Ok(InvokeModelRequest { body, dropped: fitted.dropped })
}

/// Converts a `count_tokens` request's body for `CountTokens`.
///
/// # Errors
/// The body is not an object, or has what Bedrock does not have.
pub fn count_tokens_to_bedrock<'a>(
    body: &[u8],
    betas: impl Iterator<Item = &'a str>,
) -> Result<Bytes, BedrockBodyError> {
    let object = parse_object(body)?;
    // Bedrock counts a whole request, which must be valid. It therefore needs a `max_tokens` above
    // the thinking budget.
    let thinking = |raw| serde_json::from_slice::<Value>(raw).ok()?["budget_tokens"].as_u64();
    let bound = object.get("thinking").and_then(thinking).unwrap_or_default().saturating_add(1);
    let bound = format!(",\"max_tokens\":{bound}");
    let has_bound = object.get("max_tokens").is_some();
    let fitted = FittedFields::new(&object, true).map_err(BedrockBodyError::Translation)?;
    let inner = build_invoke_body(&object, betas, &fitted, if has_bound { "" } else { &bound });
    let inner = BASE64_STANDARD.encode(inner);
    Ok(json!({"input": {"invokeModel": {"body": inner}}}).to_string().into())
}

fn build_invoke_body<'a>(
    object: &RawObject<'_>,
    betas: impl Iterator<Item = &'a str>,
    fitted: &FittedFields,
    more: &str,
) -> Vec<u8> {
    let own = parse_string_list(object.get("anthropic_beta"));
    let betas = betas.flat_map(|value| value.split(','));
    let sorted = sort_betas(betas.chain(own.iter().map(AsRef::as_ref)));
    let mut before = VERSION.to_owned();
    if !sorted.supported.is_empty() {
        before.push_str(",\"anthropic_beta\":");
        before.push_str(&json!(sorted.supported).to_string());
    }
    before.push_str(more);
    let config = rename_output_format(object);
    if let Some(config) = &config {
        before.push_str(",\"output_config\":");
        before.push_str(config);
    }
    for (name, value) in &fitted.fields {
        if let Some(value) = value {
            before.extend([",\"", name, "\":", value.as_str()]);
        }
    }
    let is_fitted = |name: &str| fitted.fields.iter().any(|(fitted, _)| *fitted == name);
    object.rewrite_fields(&before, |name| {
        matches!(name, "model" | "stream" | "anthropic_version" | "anthropic_beta" | "thread")
            || sorted.fields.contains(&name)
            || is_fitted(name)
            || (config.is_some() && matches!(name, "output_config" | "output_format"))
    })
}

/// The `output_config` with the form of the answer that the request has in `output_format`, its name
/// in the beta, which Bedrock does not know (Bedrock user guide, "Structured outputs", 2026-11).
fn rename_output_format(object: &RawObject<'_>) -> Option<String> {
    let format: Value = serde_json::from_slice(object.get("output_format")?).ok()?;
    let config = object.get("output_config");
    let config = config.and_then(|raw| serde_json::from_slice::<Map<String, Value>>(raw).ok());
    let mut config = config.unwrap_or_default();
    if format.is_null() || config.contains_key("format") {
        return None;
    }
    config.insert("format".to_owned(), format);
    Some(Value::Object(config).to_string())
}

/// A request of the Messages API.
#[derive(Debug, PartialEq, Eq)]
pub struct MessagesRequest {
    /// The body.
    pub body: Bytes,
    /// The value of the `anthropic-beta` header.
    pub betas: Option<String>,
}

/// Converts an `InvokeModel` body for the Messages API. Model and stream are added, the version
/// field is removed, and the betas become a header.
///
/// # Errors
/// [`BedrockBodyError::NotAnObject`]
pub fn invoke_model_to_messages(
    body: &[u8],
    model: &str,
    stream: bool,
) -> Result<MessagesRequest, BedrockBodyError> {
    let object = parse_object(body)?;
    let stream = if stream { ",\"stream\":true" } else { "" };
    Ok(build_message(&object, &format!("\"model\":{}{stream}", json!(model)), &["model", "stream"]))
}

/// Converts a `CountTokens` body for `count_tokens`, which does not accept a bound of the answer.
///
/// # Errors
/// [`BedrockBodyError`]
pub fn count_tokens_from_bedrock(
    body: &[u8],
    model: &str,
) -> Result<MessagesRequest, BedrockBodyError> {
    #[derive(Deserialize)]
    struct CountTokensBody<'a> {
        #[serde(borrow)]
        input: CountTokensInput<'a>,
    }
    #[derive(Deserialize)]
    struct CountTokensInput<'a> {
        #[serde(borrow, rename = "invokeModel")]
        invoke_model: InvokeModelInput<'a>,
    }
    #[derive(Deserialize)]
    struct InvokeModelInput<'a> {
        #[serde(borrow)]
        body: Cow<'a, str>,
    }
    let count: CountTokensBody<'_> =
        serde_json::from_slice(body).map_err(|_| BedrockBodyError::NothingToCount)?;
    let inner = BASE64_STANDARD.decode(count.input.invoke_model.body.as_bytes());
    let inner = inner.map_err(|_| BedrockBodyError::NothingToCount)?;
    let object = RawObject::parse(&inner).map_err(|_| BedrockBodyError::NothingToCount)?;
    let drops = ["model", "stream", "max_tokens"];
    Ok(build_message(&object, &format!("\"model\":{}", json!(model)), &drops))
}

fn build_message(object: &RawObject<'_>, before: &str, drops: &[&str]) -> MessagesRequest {
    let betas = parse_string_list(object.get("anthropic_beta"));
    let body = object.rewrite_fields(before, |name| {
        matches!(name, "anthropic_version" | "anthropic_beta") || drops.contains(&name)
    });
    MessagesRequest { body: body.into(), betas: (!betas.is_empty()).then(|| betas.join(",")) }
}

fn parse_object(body: &[u8]) -> Result<RawObject<'_>, BedrockBodyError> {
    RawObject::parse(body).map_err(|_| BedrockBodyError::NotAnObject)
}

fn parse_string_list(raw: Option<&[u8]>) -> Vec<String> {
    raw.and_then(|raw| serde_json::from_slice(raw).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn messages_request_becomes_invoke_model() {
        let check = |body: &str, betas: &[&str], expect: &str| {
            let made = messages_to_invoke_model(body.as_bytes(), betas.iter().copied()).unwrap();
            assert_eq!(text(&made.body), expect);
        };
        check(
            r#"{"model":"m", "max_tokens": 1,"stream":true,"messages":[{"role":"user"}]}"#,
            &[],
            r#"{"anthropic_version":"bedrock-2023-05-31", "max_tokens": 1,"messages":[{"role":"user"}]}"#,
        );
        check(
            r#"{"model":"m","speed":"fast","mcp_servers":[],"system":"s","anthropic_beta":["effort-2025-11-24"]}"#,
            &["context-1m-2025-08-07,fast-mode-2026-02-01", "mcp-client-2025-11-20"],
            r#"{"anthropic_version":"bedrock-2023-05-31","anthropic_beta":["context-1m-2025-08-07","effort-2025-11-24"],"system":"s"}"#,
        );
        check(
            r#"{"output_config":{"effort":"low"},"output_format":{"type":"json_schema","schema":{}},"max_tokens":1}"#,
            &["structured-outputs-2025-11-13"],
            r#"{"anthropic_version":"bedrock-2023-05-31","output_config":{"effort":"low","format":{"schema":{},"type":"json_schema"}},"max_tokens":1}"#,
        );
        let threaded = br#"{"thread":{"type":"create"}}"#;
        assert_eq!(
            messages_to_invoke_model(threaded, [].into_iter()),
            Err(BedrockBodyError::Thread)
        );
        // A field that the client sent without its beta stays, so that Bedrock reports the client's
        // mistake.
        check(
            r#"{"speed":"fast"}"#,
            &[],
            r#"{"anthropic_version":"bedrock-2023-05-31","speed":"fast"}"#,
        );
        assert_eq!(
            messages_to_invoke_model(b"[]", [].into_iter()),
            Err(BedrockBodyError::NotAnObject)
        );
    }

    #[test]
    fn recorded_requests_keep_their_content() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/requests");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let file = std::fs::read(entry.unwrap().path()).unwrap();
            let request: Value = serde_json::from_slice(&file).unwrap();
            let mut expect = request["body"].clone();
            if !expect["messages"].is_array() {
                continue;
            }
            let is_server_tool = |tool: &Value| {
                tool["type"].as_str().is_some_and(|kind| kind.starts_with("web_search_"))
            };
            let body = serde_json::to_vec_pretty(&expect).unwrap();
            let made = messages_to_invoke_model(&body, [].into_iter());
            if let Some(tools) = expect.get_mut("tools").and_then(Value::as_array_mut)
                && tools.iter().any(is_server_tool)
            {
                tools.retain(|tool| !is_server_tool(tool));
                if tools.is_empty() {
                    assert!(matches!(made, Err(BedrockBodyError::Translation(_))));
                    continue;
                }
            }
            seen += 1;
            let made = made.unwrap().body;
            let fields = expect.as_object_mut().unwrap();
            fields.retain(|name, _| !["model", "stream", "service_tier"].contains(&name.as_str()));
            fields.insert("anthropic_version".into(), "bedrock-2023-05-31".into());
            assert_eq!(serde_json::from_slice::<Value>(&made).unwrap(), expect);
        }
        assert!(seen > 10, "{seen}");
    }

    #[test]
    fn invoke_model_body_survives_a_round_trip() {
        let body = br#"{"anthropic_version":"x","anthropic_beta":["a","b"],"max_tokens":1}"#;
        let made = invoke_model_to_messages(body, "m\"", true).unwrap();
        assert_eq!(text(&made.body), r#"{"model":"m\"","stream":true,"max_tokens":1}"#);
        assert_eq!(made.betas.as_deref(), Some("a,b"));
        let made = invoke_model_to_messages(br#"{"max_tokens":1}"#, "m", false).unwrap();
        assert_eq!((text(&made.body), made.betas), (r#"{"model":"m","max_tokens":1}"#, None));
    }

    #[test]
    fn count_request_survives_a_round_trip() {
        let inner = |made: &[u8]| {
            let made: Value = serde_json::from_slice(made).unwrap();
            let body = made["input"]["invokeModel"]["body"].as_str().unwrap();
            String::from_utf8(BASE64_STANDARD.decode(body).unwrap()).unwrap()
        };
        let made =
            count_tokens_to_bedrock(br#"{"model":"m","messages":[]}"#, [].into_iter()).unwrap();
        let expect = r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":1,"messages":[]}"#;
        assert_eq!(inner(&made), expect);
        let back = count_tokens_from_bedrock(&made, "c").unwrap();
        assert_eq!(text(&back.body), r#"{"model":"c","messages":[]}"#);
        let thinking = br#"{"thinking":{"type":"enabled","budget_tokens":2000}}"#;
        let made = count_tokens_to_bedrock(thinking, [].into_iter()).unwrap();
        assert!(inner(&made).contains("\"max_tokens\":2001"));
        for bad in ["{}", r#"{"input":{"invokeModel":{"body":"%"}}}"#, "x"] {
            let made = count_tokens_from_bedrock(bad.as_bytes(), "c");
            assert_eq!(made, Err(BedrockBodyError::NothingToCount), "{bad}");
        }
    }
}
