//! Refusals of requests whose path or form the relay does not know.

use super::RelayError;
use baton_protocol::body_form::BadBodyForm;
use baton_protocol::request_coding::{CODINGS, RequestCodingError};
use baton_protocol::route::RouteError;
use http::StatusCode;

/// The answer for a path without a route.
const NO_ROUTE: &str = "There is no such route. Check the base URL of your client: Anthropic's clients need one \
     without a path, for POST /v1/messages, and OpenAI's one that ends with /v1, for POST \
     /v1/chat/completions and POST /v1/responses. The models are at GET /v1/models. Embeddings, \
     images, audio, files and batches are not served.";

/// The answer for a path of Google's Gemini API.
const NO_GEMINI: &str = "Google's Gemini API is not served. Use a client of Anthropic's API, with a base URL without a \
     path, or of OpenAI's, with one that ends with /v1.";

impl RelayError {
    /// The error of a path whose route has none.
    pub(crate) fn from_route(error: RouteError, path: &str) -> Self {
        let is_gemini = path.contains("/v1beta/")
            || [":generateContent", ":streamGenerateContent"].iter().any(|it| path.contains(it));
        if error == RouteError::Unknown && is_gemini {
            return Self::new(StatusCode::NOT_FOUND, "not_found_error", NO_GEMINI);
        }
        error.into()
    }
}

impl From<RouteError> for RelayError {
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::Unknown => Self::new(StatusCode::NOT_FOUND, "not_found_error", NO_ROUTE),
            RouteError::Method { allow } => {
                let message = format!("This route accepts only {allow}.");
                let refusal =
                    Self::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message);
                Self { allow: Some(allow), ..refusal }
            }
            RouteError::BadId(why) => Self::bad_request(&why.to_string()),
            RouteError::UpgradeRequired => Self::new(
                StatusCode::UPGRADE_REQUIRED,
                "invalid_request_error",
                "WebSockets are not supported. Use POST /v1/responses.",
            ),
        }
    }
}

impl From<BadBodyForm> for RelayError {
    fn from(error: BadBodyForm) -> Self {
        match error {
            BadBodyForm::Charset => Self::bad_request(&error.to_string()),
            // The header names what is supported (RFC 9110, section 15.5.16).
            BadBodyForm::Coding => {
                let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
                let refusal = Self::new(status, "invalid_request_error", error.to_string());
                Self { headers: vec![("accept-encoding", CODINGS.to_owned())], ..refusal }
            }
        }
    }
}

impl From<RequestCodingError> for RelayError {
    fn from(error: RequestCodingError) -> Self {
        Self::bad_request(&error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_path_gets_advice_for_its_client() {
        let check = |path, expect: &str| {
            let error = RelayError::from_route(RouteError::Unknown, path);
            assert!(error.to_string().contains(expect), "{path}: {error}");
            assert_eq!(error.summary(), "404 not_found_error final");
        };
        check("/v1/embeddings", "OpenAI's one that ends with /v1");
        check("/v1/messages/batches", "Anthropic's clients need one without a path");
        check("/v1beta/models/gemini-3-pro:generateContent", "Gemini API is not served");
    }

    #[test]
    fn unknown_coding_gets_the_known_ones() {
        let error = RelayError::from(BadBodyForm::Coding);
        assert_eq!(error.summary(), "415 invalid_request_error final");
        assert_eq!(error.headers, [("accept-encoding", "gzip, zstd".to_owned())]);
        let error = RelayError::from(RequestCodingError::TooLong);
        assert_eq!(error.summary(), "400 invalid_request_error final");
    }
}
