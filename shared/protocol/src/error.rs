//! Writes the relay's own errors in the client's protocol: as a body, and as the last event of a
//! stream.
//!
//! Upstream errors are not written here. They pass unchanged.

use crate::route::normalize_path;
use bytes::Bytes;
use serde_json::json;

/// The API family of the client, which decides the form of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiFamily {
    /// `{"type":"error","error":{…},"request_id":…}`
    Anthropic,
    /// `{"error":{…}}`
    OpenAi,
}

impl ApiFamily {
    /// The API family of a path, aliases included. Anthropic's if the path fits both.
    pub fn from_path(path: &str) -> Self {
        let plain = normalize_path(path);
        let under = |root: &str| {
            plain.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if OPENAI_ROOTS.into_iter().any(under) { Self::OpenAi } else { Self::Anthropic }
    }
}

/// The routes that only OpenAI's clients or Google's use, whether they are served or not. Google's
/// clients read the same fields of an error (developers.openai.com, "API reference"; ai.google.dev,
/// "Troubleshooting", 2026-11).
const OPENAI_ROOTS: [&str; 16] = [
    "/v1/assistants",
    "/v1/audio",
    "/v1/batches",
    "/v1/chat",
    "/v1/completions",
    "/v1/conversations",
    "/v1/embeddings",
    "/v1/fine_tuning",
    "/v1/images",
    "/v1/moderations",
    "/v1/realtime",
    "/v1/responses",
    "/v1/threads",
    "/v1/vector_stores",
    "/v1/videos",
    "/v1beta",
];

/// An error of the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorBody {
    /// `error.type`, one of the types in docs/guide/errors.md.
    pub kind: &'static str,
    /// Whole sentences that say what to do next. Never contains a secret.
    pub message: String,
    /// `error.details.error_code` for Anthropic's clients, by which their SDKs find another way.
    pub error_code: Option<&'static str>,
}

impl ErrorBody {
    /// An `api_error`.
    pub fn api_error(message: impl Into<String>) -> Self {
        Self { kind: "api_error", message: message.into(), error_code: None }
    }

    /// A `timeout_error`.
    pub fn timeout_error(message: impl Into<String>) -> Self {
        Self { kind: "timeout_error", message: message.into(), error_code: None }
    }
}

/// The error as a response body.
pub fn encode_error_body(api_family: ApiFamily, error: &ErrorBody, request_id: &str) -> Bytes {
    let ErrorBody { kind, message, error_code } = error;
    let body = match (api_family, error_code) {
        (ApiFamily::Anthropic, None) => json!({
            "type": "error",
            "error": {"type": kind, "message": message},
            "request_id": request_id,
        }),
        (ApiFamily::Anthropic, Some(code)) => json!({
            "type": "error",
            "error": {"type": kind, "message": message, "details": {"error_code": code}},
            "request_id": request_id,
        }),
        (ApiFamily::OpenAi, _) => json!({
            "error": {"message": message, "type": kind, "param": null, "code": kind},
        }),
    };
    body.to_string().into()
}

/// The form of an error event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorForm {
    /// That of the client's API family.
    Family(ApiFamily),
    /// An `error` event of the Responses API with this sequence number (OpenAI, "Streaming events",
    /// `error`, 2026-11).
    Responses(u64),
}

impl ErrorForm {
    fn encode(self, error: &ErrorBody, request_id: &str) -> Bytes {
        match self {
            Self::Family(api_family) => encode_error_body(api_family, error, request_id),
            Self::Responses(number) => json!({
                "type": "error", "code": error.kind, "message": error.message, "param": null,
                "sequence_number": number,
            })
            .to_string()
            .into(),
        }
    }
}

/// The error as the last event of a stream that has begun.
///
/// If the upstream broke off inside an event (`mid_event`), that event has to be ended. For an
/// Anthropic client it becomes the error itself: the last `event:` line names an event, and the
/// SDKs show the data of an `error` that is not JSON as it is (fixture `error_plain_text`). A blank
/// line instead would end half an event, which the client would treat as its own fault.
pub fn encode_error_event(
    form: ErrorForm,
    error: &ErrorBody,
    request_id: &str,
    mid_event: bool,
) -> Bytes {
    let (end, name) = match form {
        ErrorForm::Family(ApiFamily::Anthropic) => ("\n", "event: error\n"),
        ErrorForm::Family(ApiFamily::OpenAi) => ("\n\n", ""),
        ErrorForm::Responses(_) => ("\n\n", "event: error\n"),
    };
    let mut frame = Vec::with_capacity(256);
    if mid_event {
        frame.extend_from_slice(end.as_bytes());
    }
    frame.extend_from_slice(name.as_bytes());
    frame.extend_from_slice(b"data: ");
    frame.extend_from_slice(&form.encode(error, request_id));
    frame.extend_from_slice(b"\n\n");
    frame.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::{AnswerEnd, UpstreamFailure, UsageMeter};

    fn error() -> ErrorBody {
        ErrorBody::api_error("it said \"no\"\nand left")
    }

    #[test]
    fn anthropic_clients_get_the_code_of_an_error() {
        let error = ErrorBody { error_code: Some("a_code"), ..error() };
        let body = encode_error_body(ApiFamily::Anthropic, &error, "req_1");
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["details"]["error_code"], "a_code");
    }

    #[test]
    fn unserved_routes_of_openai_clients_get_their_form() {
        for path in ["/v1/embeddings", "/chat/completions", "/v1/audio/speech", "/v1beta/models/x"]
        {
            assert_eq!(ApiFamily::from_path(path), ApiFamily::OpenAi, "{path}");
        }
        for path in ["/v1/messages", "/v1/models", "/v1/files", "/v1/audios", "/x"] {
            assert_eq!(ApiFamily::from_path(path), ApiFamily::Anthropic, "{path}");
        }
    }

    #[test]
    fn error_body_follows_the_api_family() {
        let check = |dialect, expect: &str| {
            let body = encode_error_body(dialect, &error(), "req_1");
            let read = |text| serde_json::from_slice::<serde_json::Value>(text).unwrap();
            assert_eq!(read(&body), read(expect.as_bytes()));
        };
        check(
            ApiFamily::Anthropic,
            r#"{"error":{"message":"it said \"no\"\nand left","type":"api_error"},"request_id":"req_1","type":"error"}"#,
        );
        check(
            ApiFamily::OpenAi,
            r#"{"error":{"code":"api_error","message":"it said \"no\"\nand left","param":null,"type":"api_error"}}"#,
        );
    }

    #[test]
    fn error_frame_is_readable_after_a_break_anywhere() {
        let stream = "event: message_start\ndata: {\"type\":\"message_start\"}\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n";
        let families = [ApiFamily::Anthropic, ApiFamily::OpenAi].map(ErrorForm::Family);
        for dialect in families.into_iter().chain([ErrorForm::Responses(7)]) {
            for end in 0..=stream.len() {
                let mut meter = UsageMeter::for_stream();
                meter.observe(&stream.as_bytes()[..end]);
                let frame = encode_error_event(dialect, &error(), "req_1", meter.is_mid_event());
                meter.observe(&frame);
                assert!(!meter.is_mid_event());
                let AnswerEnd::Error(UpstreamFailure { message, .. }) = meter.finish(0).end else {
                    panic!("{dialect:?}, broken at {end}");
                };
                assert!(message.contains("it said"), "{message}");
            }
        }
    }

    #[test]
    fn error_event_of_a_response_has_the_form_of_the_api() {
        let event = encode_error_event(ErrorForm::Responses(9), &error(), "req_1", false);
        let text = std::str::from_utf8(&event).unwrap();
        let data = text.strip_prefix("event: error\ndata: ").unwrap();
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        let expected = json!({"type": "error", "code": "api_error", "param": null,
            "message": "it said \"no\"\nand left", "sequence_number": 9});
        assert_eq!(data, expected);
    }

    #[test]
    fn api_family_follows_from_the_path() {
        let check = |path, dialect| assert_eq!(ApiFamily::from_path(path), dialect, "{path}");
        check("/v1/messages", ApiFamily::Anthropic);
        check("/v1/chat/completions", ApiFamily::OpenAi);
        check("/anthropic/v1/v1/chat/completions/", ApiFamily::OpenAi);
        check("/v1/responses", ApiFamily::OpenAi);
        check("/v1/responses/resp_1", ApiFamily::OpenAi);
        check("/v1/responsesx", ApiFamily::Anthropic);
        check("/", ApiFamily::Anthropic);
    }
}
