//! Amazon Bedrock's `InvokeModel` as Claude speaks it: the Messages API with another address,
//! other places for model, version and betas, and binary frames instead of an event stream.
//!
//! Shapes from the Bedrock API reference and the Claude-on-Bedrock page, 2026-11. Signing is
//! `cloud`'s business; which of two forms a client and an account speak is the relay's.

use crate::model_path::{BadId, bedrock_segment, check_id};

mod betas;
mod error;
mod frame;
mod headers;
mod object;
mod request;
mod stream;

pub use error::{Told, told};
pub use frame::BadFrame;
pub use headers::{add_request_headers, guardrail, unpriced_header};
pub use request::{BadBody, Message, to_count, to_count_messages, to_invoke, to_messages};
pub use stream::{FromSse, PING, ToSse, counted, counted_there};

/// The type of a framed answer.
pub const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";

/// What is asked of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// `InvokeModel`: an answer in one piece.
    Invoke,
    /// `InvokeModelWithResponseStream`
    Stream,
    /// `CountTokens`
    CountTokens,
}

impl Action {
    const ALL: [(Self, &str); 3] = [
        (Self::Invoke, "/invoke"),
        (Self::Stream, "/invoke-with-response-stream"),
        (Self::CountTokens, "/count-tokens"),
    ];

    /// The model, still percent-encoded, and the action of a path under `/model/`.
    pub(crate) fn of_path(path: &str) -> Option<(&str, Self)> {
        let rest = path.strip_prefix("/model/")?;
        let found = |(action, end): (Self, &'static str)| {
            rest.strip_suffix(end).map(|model| (model, action))
        };
        Self::ALL.into_iter().find_map(found).filter(|(model, _)| !model.is_empty())
    }
}

/// The path of an action on a model.
///
/// # Errors
/// The id is none that a path may hold: it may be a client's, or what an account maps to.
pub fn path(model: &str, action: Action) -> Result<String, BadId> {
    check_id(model)?;
    let end = Action::ALL.into_iter().find(|(one, _)| *one == action).map(|(_, end)| end);
    Ok(format!("/model/{}{}", bedrock_segment(model), end.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let check = |model, action, expect: &str| {
            assert_eq!(path(model, action).as_deref(), Ok(expect));
            let (_, read) = Action::of_path(expect).unwrap();
            assert_eq!(read, action);
        };
        check(
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            Action::Stream,
            "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke-with-response-stream",
        );
        check(
            "arn:aws:bedrock:us-east-1:1:application-inference-profile/x",
            Action::Invoke,
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aapplication-inference-profile%2Fx/invoke",
        );
        check("é", Action::CountTokens, "/model/%C3%A9/count-tokens");
        for bad in ["", "..", "a/../b", "a?b", "a%2Fb", "a\\b", "a\n"] {
            assert!(path(bad, Action::Invoke).is_err(), "{bad}");
        }
        for none in ["/model//invoke", "/model/x", "/model/x/converse", "/models/x/invoke"] {
            assert_eq!(Action::of_path(none), None, "{none}");
        }
    }
}
