//! Calls of the admin API inside this process, with the same routes, checks and audit rows as other
//! calls.

use crate::ConsoleState;
use crate::ConsoleUser;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use baton_api::error::ErrorBody;
use http::{HeaderValue, Method, StatusCode};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tower::ServiceExt as _;

/// An error of the API.
#[derive(Debug, Clone)]
pub(crate) struct ConsoleApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// The id of the request in the log.
    pub(crate) request_id: String,
}

pub(crate) type ConsoleResult<T = Response> = Result<T, ConsoleApiError>;

impl ConsoleApiError {
    /// The page does not exist.
    pub(crate) fn page_not_found() -> Self {
        let message = "This page does not exist. It may have been deleted; use the navigation to find another page.";
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(crate) fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "This page is for administrators.")
    }

    pub(crate) fn new(status: StatusCode, message: &str) -> Self {
        Self { status, message: message.to_owned(), request_id: String::new() }
    }

    /// The form's input is not valid, as this message says.
    pub(crate) fn invalid_input(message: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message, request_id: String::new() }
    }

    /// Whether the error is one of the form's input, so that the form is shown again.
    pub(crate) fn is_form_error(&self) -> bool {
        matches!(
            self.status,
            StatusCode::BAD_REQUEST
                | StatusCode::CONFLICT
                | StatusCode::PRECONDITION_FAILED
                | StatusCode::UNPROCESSABLE_ENTITY
        )
    }

    /// The message for people.
    pub(crate) fn sentence(&self) -> String {
        if self.status == StatusCode::PRECONDITION_FAILED {
            return "Somebody else has changed this in the meantime. Open the page again to see the \
                    current values; what you typed stays here until then."
                .to_owned();
        }
        self.message.clone()
    }
}

impl IntoResponse for ConsoleApiError {
    /// `page_request::render_failures` adds the page around the message, because it knows the visitor.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// A call of the API.
pub(crate) struct ApiCall<'a> {
    console: &'a ConsoleState,
    visitor: &'a ConsoleUser,
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Option<Value>,
}

impl<'a> ApiCall<'a> {
    pub(crate) fn new(
        console: &'a ConsoleState,
        visitor: &'a ConsoleUser,
        method: Method,
        path: impl Into<String>,
    ) -> Self {
        Self { console, visitor, method, path: path.into(), headers: Vec::new(), body: None }
    }

    pub(crate) fn body(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }

    /// Sends the version that the form was made from as `if-match`.
    pub(crate) fn version(mut self, version: &str) -> Self {
        if !version.is_empty() {
            self.headers.push(("if-match", format!("\"{version}\"")));
        }
        self
    }

    /// Sends an idempotency key, so that a form that is sent twice is handled once.
    pub(crate) fn with_idempotency_key(mut self, name: &str) -> Self {
        if !name.is_empty() {
            self.headers.push(("idempotency-key", name.to_owned()));
        }
        self
    }

    /// Sends the call. Returns the answer as a type of the API.
    pub(crate) async fn send<T: DeserializeOwned>(self) -> ConsoleResult<T> {
        let broken =
            |_| ConsoleApiError::new(StatusCode::BAD_REQUEST, "This address is not valid.");
        let mut request = Request::builder()
            .method(self.method)
            .uri(self.path)
            .body(Body::from(self.body.map(|body| body.to_string()).unwrap_or_default()))
            .map_err(broken)?;
        for (name, value) in self.headers {
            let value = HeaderValue::from_str(&value).map_err(|_| {
                ConsoleApiError::new(
                    StatusCode::BAD_REQUEST,
                    "The form is not valid any more; open its page again.",
                )
            })?;
            request.headers_mut().insert(name, value);
        }
        request.extensions_mut().insert(self.visitor.actor.clone());
        let answer = self.console.api.clone().oneshot(request).await;
        let answer = answer.unwrap_or_else(|never| match never {});
        let status = answer.status();
        let bytes = answer.into_body().collect().await.map(http_body_util::Collected::to_bytes);
        let bytes = bytes.unwrap_or_default();
        if status.is_success() {
            // An answer without a body is read like `null`.
            let json: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
            return serde_json::from_slice(json).map_err(|error| {
                tracing::error!("an answer of the admin API could not be read: {error}");
                let message = "The answer could not be read; the log has the reason.";
                ConsoleApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message)
            });
        }
        let (message, request_id) = match serde_json::from_slice::<ErrorBody>(&bytes) {
            Ok(body) => (body.error.message, body.request_id),
            Err(_) => (String::new(), String::new()),
        };
        Err(ConsoleApiError { status, message, request_id })
    }
}
