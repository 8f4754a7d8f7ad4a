//! Amazon Bedrock's `InvokeModel` for Claude models. It is the Messages API with another address,
//! other places for model, version and betas, and binary frames instead of server-sent events.
//!
//! Formats from the Bedrock API reference and the Claude-on-Bedrock page, 2026-11. The `runtime`
//! crate signs requests. The relay decides which of the two forms the client and the account speak.

use crate::model_path::{ModelIdError, check_id, encode_bedrock_segment};

mod betas;
mod error;
mod frame;
mod headers;
mod missing_features;
mod raw_object;
mod request;
mod stream;

pub use error::{MessagesError, to_messages_error};
pub use frame::FrameError;
pub use headers::{add_request_headers, guardrail, unpriced_header};
pub use request::{
    BedrockBodyError, InvokeModelRequest, MessagesRequest, count_tokens_from_bedrock,
    count_tokens_to_bedrock, invoke_model_to_messages, messages_to_invoke_model,
};
pub use stream::{
    FramesToSse, PING, SseToFrames, count_result_from_bedrock, count_result_to_bedrock,
};

/// The content type of an answer in frames.
pub const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";

/// An operation on a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BedrockAction {
    /// `InvokeModel`: an answer without a stream.
    Invoke,
    /// `InvokeModelWithResponseStream`
    Stream,
    /// `CountTokens`
    CountTokens,
}

impl BedrockAction {
    const ALL: [(Self, &str); 3] = [
        (Self::Invoke, "/invoke"),
        (Self::Stream, "/invoke-with-response-stream"),
        (Self::CountTokens, "/count-tokens"),
    ];

    /// The model, still percent-encoded, and the action of a path under `/model/`.
    pub(crate) fn parse_path(path: &str) -> Option<(&str, Self)> {
        let rest = path.strip_prefix("/model/")?;
        let found = |(action, end): (Self, &'static str)| {
            rest.strip_suffix(end).map(|model| (model, action))
        };
        Self::ALL.into_iter().find_map(found).filter(|(model, _)| !model.is_empty())
    }
}

/// The path of an action on a model. The id can come from the client or from the account's mapping.
///
/// # Errors
/// The id is not allowed in a path.
pub fn build_path(model: &str, action: BedrockAction) -> Result<String, ModelIdError> {
    check_id(model)?;
    let end = BedrockAction::ALL.into_iter().find(|(one, _)| *one == action).map(|(_, end)| end);
    Ok(format!("/model/{}{}", encode_bedrock_segment(model), end.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_the_model_and_operation() {
        let check = |model, action, expect: &str| {
            assert_eq!(build_path(model, action).as_deref(), Ok(expect));
            let (_, read) = BedrockAction::parse_path(expect).unwrap();
            assert_eq!(read, action);
        };
        check(
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            BedrockAction::Stream,
            "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke-with-response-stream",
        );
        check(
            "arn:aws:bedrock:us-east-1:1:application-inference-profile/x",
            BedrockAction::Invoke,
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aapplication-inference-profile%2Fx/invoke",
        );
        check("é", BedrockAction::CountTokens, "/model/%C3%A9/count-tokens");
        for bad in ["", "..", "a/../b", "a?b", "a%2Fb", "a\\b", "a\n"] {
            assert!(build_path(bad, BedrockAction::Invoke).is_err(), "{bad}");
        }
        for none in ["/model//invoke", "/model/x", "/model/x/converse", "/models/x/invoke"] {
            assert_eq!(BedrockAction::parse_path(none), None, "{none}");
        }
    }
}
