//! The fields of an upstream's error, whatever its format. They are read once, for the rules of all
//! vendors.

use jiff::SignedDuration;
use serde_json::Value;

/// The fields of an error that the rules use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorFields {
    /// `error.type`
    pub kind: Option<String>,
    /// `error.code`, as text even if it is a number.
    pub code: Option<String>,
    /// `error.status` in Google's APIs (`RESOURCE_EXHAUSTED`).
    pub status: Option<String>,
    /// `reason` in Google's `ErrorInfo`, `details.error_code` of Anthropic's errors, or `reason` of the
    /// error itself (Novita, 2026-11).
    pub reason: Option<String>,
    /// `retryDelay` in Google's `RetryInfo`.
    pub retry_delay: Option<SignedDuration>,
    /// The smallest limit of tokens that Google's `QuotaFailure` names (`quotaValue`).
    pub token_quota: Option<u64>,
    /// `error.message`
    pub message: String,
    /// Whether the fields come from an object `error`, in which all vendors with documented limits
    /// send theirs.
    pub is_enveloped: bool,
    /// Whether the body has a field `error`, be it an object or a text.
    pub has_error_field: bool,
}

impl ErrorFields {
    /// Reads the body of an error, or the data of an event that reports one: Anthropic's envelope,
    /// OpenAI's object, Google's list of one, a failed response, a choice that failed (OpenRouter),
    /// xAI's `{"code", "error"}`, `{"error", "error_type"}` (Text Generation Inference), Amazon's
    /// `{"message"}`. Other bodies have no fields.
    pub fn from_body(body: &[u8]) -> Self {
        let document: Value = if has_many_values(body) {
            Value::Null
        } else {
            serde_json::from_slice(body).unwrap_or_default()
        };
        // Google's OpenAI-compatible endpoint answers every error as a list (2026-11).
        let document = document.get(0).unwrap_or(&document);
        let of_choice = &document["choices"][0]["error"];
        if let Some(error) = read_base_resp(document) {
            return error;
        }
        let error = match (&document["response"]["error"], &document["error"], of_choice) {
            (failed @ Value::Object(_), ..) => failed,
            (_, error @ Value::Object(_), _) | (_, Value::Null, error @ Value::Object(_)) => error,
            (_, Value::String(message), _) => {
                let (kind, code) =
                    (scalar_text(&document["error_type"]), scalar_text(&document["code"]));
                let message = message.clone();
                return Self { kind, code, message, has_error_field: true, ..Self::default() };
            }
            _ => document,
        };
        let is_enveloped = !std::ptr::eq(error, document);
        let details = error["details"].as_array().map(Vec::as_slice).unwrap_or_default();
        let detail = |name: &str| details.iter().find_map(|detail| detail[name].as_str());
        Self {
            kind: scalar_text(&error["type"]),
            code: scalar_text(&error["code"]),
            status: scalar_text(&error["status"]),
            reason: detail("reason")
                .or(error["details"]["error_code"].as_str())
                .or(error["reason"].as_str())
                .map(str::to_owned),
            retry_delay: detail("retryDelay").and_then(parse_duration),
            token_quota: token_quota(details),
            message: MESSAGE_FIELDS
                .iter()
                .map(|name| error_text(&error[*name]))
                .find(|text| !text.is_empty())
                .unwrap_or_default(),
            is_enveloped,
            has_error_field: is_enveloped,
        }
    }

    /// Whether one of the error's names is among these.
    pub fn has_name_in(&self, names: &[&str]) -> bool {
        let own = [&self.code, &self.kind, &self.status, &self.reason];
        own.into_iter().flatten().any(|own| names.iter().any(|name| own.eq_ignore_ascii_case(name)))
    }

    /// Whether the message begins with this text.
    pub fn message_starts_with(&self, prefix: &str) -> bool {
        self.message.starts_with(prefix)
    }

    /// Whether the error has a name. A code that only repeats the status does not count.
    pub fn has_name(&self) -> bool {
        let own = [&self.code, &self.kind, &self.status, &self.reason];
        own.into_iter().flatten().any(|name| name.parse::<u16>().is_err())
    }

    /// Whether the error contains nothing: it is a page or empty.
    pub fn is_silent(&self) -> bool {
        let names = [&self.code, &self.kind, &self.status, &self.reason];
        self.message.is_empty() && names.iter().all(|name| name.is_none())
    }

    /// Whether the error's names blame the credential itself and not the requested operation.
    pub fn blames_credential(&self) -> bool {
        self.has_name_in(&["authentication_error", "invalid_api_key", "UNAUTHENTICATED"])
    }

    /// The status that an error inside an answer with 200 stands for, by its names, as the vendors
    /// document them for their statuses. An unknown name counts as the request's fault, because
    /// most names mean that. An error without a name counts as the upstream's fault, because the
    /// upstream accepted the request.
    pub fn implied_status(&self) -> u16 {
        let numeric = self.code.as_ref().and_then(|code| code.parse().ok());
        if let Some(status) = numeric.filter(|status| (400..600).contains(status)) {
            return status;
        }
        let known = IMPLIED.iter().find(|(names, _)| self.has_name_in(names));
        let unknown = if self.has_name() { 400 } else { 500 };
        known.map_or(unknown, |(_, status)| *status)
    }
}

/// The most values of a body that is read. Each takes many times its bytes in memory.
const VALUES_MAX: usize = 20_000;

/// Whether a JSON text has more than [`VALUES_MAX`] values.
fn has_many_values(body: &[u8]) -> bool {
    let (mut values, mut is_text, mut is_escaped) = (0, false, false);
    for byte in body {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b',' | b'[' | b'{' if !is_text => values += 1,
            _ => {}
        }
    }
    values > VALUES_MAX
}

/// The smallest limit of tokens in `QuotaFailure` (ai.google.dev, errors of the Gemini API as users
/// report them, 2026-11: `quotaMetric` ends with `input_token_count`).
fn token_quota(details: &[Value]) -> Option<u64> {
    let violations = details.iter().filter_map(|detail| detail["violations"].as_array()).flatten();
    let of_tokens = violations.filter(|violation| {
        violation["quotaMetric"].as_str().is_some_and(|it| it.contains("token"))
    });
    of_tokens.filter_map(|violation| violation["quotaValue"].as_str()?.parse().ok()).min()
}

/// The names for the codes in `MiniMax`'s `base_resp` (platform.minimax.io, "Error codes", 2026-11).
const BASE_RESP: [(&[u64], &str); 6] = [
    (&[1008], "insufficient_balance_error"),
    (&[1002, 1039, 1041, 2045, 2056], "rate_limit_exceeded"),
    (&[1004, 2049], "invalid_api_key"),
    (&[1026, 1027, 1042, 2013], "invalid_request_error"),
    (&[1001], "timeout"),
    (&[1000, 1024, 1033], "server_error"),
];

/// The name for a code in `MiniMax`'s `base_resp`, which is 0 in an answer.
pub fn base_resp_name(code: u64) -> Option<&'static str> {
    let known = BASE_RESP.iter().find(|(codes, _)| codes.contains(&code)).map(|(_, name)| *name);
    (code != 0).then_some(known.unwrap_or("server_error"))
}

/// Reads `MiniMax`'s `base_resp`, which comes with status 200 and without an `error`.
fn read_base_resp(document: &Value) -> Option<ErrorFields> {
    let base = document["base_resp"].as_object().filter(|_| document["error"].is_null())?;
    let code = base.get("status_code")?.as_u64()?;
    Some(ErrorFields {
        kind: Some(base_resp_name(code)?.to_owned()),
        code: Some(code.to_string()),
        message: base.get("status_msg").map(error_text).unwrap_or_default(),
        is_enveloped: true,
        ..ErrorFields::default()
    })
}

/// Anthropic ("Errors", 2026-11), OpenAI ("Error codes", 2026-11), Google's RPC codes, and the
/// classes of vLLM and types of Text Generation Inference ("Errors", 2026-11).
const IMPLIED: [(&[&str], u16); 14] = [
    (&["overloaded_error", "server_is_overloaded", "engine_overloaded", "slow_down"], 529),
    (&["overloaded"], 529),
    (&["insufficient_quota", "rate_limit_error", "rate_limit_exceeded"], 429),
    (&["RESOURCE_EXHAUSTED", "too_many_requests", "tokens", "requests"], 429),
    (&["billing_error", "insufficient_credits", "insufficient_balance_error"], 402),
    (&["authentication_error", "invalid_api_key", "UNAUTHENTICATED"], 401),
    (&["permission_error", "permission_denied"], 403),
    (&["model_not_found", "not_found_error", "NOT_FOUND"], 404),
    (&["request_too_large"], 413),
    (&["timeout_error", "timeout", "gateway_timeout_error", "DEADLINE_EXCEEDED"], 504),
    (&["api_error", "server_error", "internal_error", "INTERNAL", "internal_server_error"], 500),
    (&["InternalServerError", "generation", "incomplete_generation", "upstream_error"], 500),
    (&["UNAVAILABLE", "service_unavailable", "ServiceUnavailableError"], 503),
    (&["invalid_request_error"], 400),
];

/// The deepest nesting of an error's text.
const TEXT_DEPTH_MAX: usize = 4;

/// The fields in which vendors send the text of an error.
pub const MESSAGE_FIELDS: [&str; 7] =
    ["message", "Message", "detail", "msg", "error_message", "errors", "description"];

/// The text of an error's message: a string, a list of them, or an object. `FastAPI` and pydantic send
/// a list of objects with a place and a message, as do vLLM and Mistral (whose `message` is an
/// object with such a `detail`; their servers, 2026-11).
pub fn error_text(value: &Value) -> String {
    text_within(value, TEXT_DEPTH_MAX)
}

fn text_within(value: &Value, levels: usize) -> String {
    match value {
        Value::String(text) => text.clone(),
        _ if levels == 0 => String::new(),
        Value::Array(items) => {
            let texts = items.iter().take(8).map(|item| text_within(item, levels - 1));
            texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ")
        }
        Value::Object(_) => {
            let fields = MESSAGE_FIELDS.iter().chain(&["error", "reason", "title"]);
            let mut texts = fields.map(|name| text_within(&value[*name], levels - 1));
            let text = texts.find(|text| !text.is_empty());
            let place = value["loc"].as_array().into_iter().flatten();
            let place: Vec<String> = place
                .map(|step| step.as_str().map_or_else(|| step.to_string(), str::to_owned))
                .collect();
            match (text, place.is_empty()) {
                (Some(text), false) => format!("{}: {text}", place.join(".")),
                (text, _) => text.unwrap_or_default(),
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => String::new(),
    }
}

fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A duration in Google's JSON format, such as `34s` or `34.074824224s`.
fn parse_duration(text: &str) -> Option<SignedDuration> {
    let (integer_part, fraction) =
        text.strip_suffix('s')?.split_once('.').unwrap_or((text.strip_suffix('s')?, ""));
    let millis: String = fraction.chars().chain("000".chars()).take(3).collect();
    let (integer_part, millis): (i64, i64) = (integer_part.parse().ok()?, millis.parse().ok()?);
    Some(SignedDuration::from_millis(integer_part.checked_mul(1000)?.checked_add(millis)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value takes up to a hundred times its bytes in memory.
    #[test]
    fn bodies_with_very_many_values_are_not_read() {
        let error = r#""error":{"type":"api_error","message":"m, [{"}"#;
        let body = |values: usize| format!("{{{error},\"x\":[{}0]}}", r#"{"a":0},"#.repeat(values));
        assert_eq!(ErrorFields::from_body(body(1_000).as_bytes()).message, "m, [{");
        assert_eq!(ErrorFields::from_body(body(20_000).as_bytes()), ErrorFields::default());
        let text = format!(r#"{{"error":{{"message":"\"{}"}}}}"#, ",[{".repeat(100_000));
        assert!(
            ErrorFields::from_body(text.as_bytes()).message.len() > 100_000,
            "a text is one value"
        );
    }
}
