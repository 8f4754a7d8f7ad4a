//! What the operator is told: the Anthropic error envelope, and a request id on every answer.

use crate::Shared;
use axum::Json;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use baton_cloud::store::StoreError;
use baton_domain::id::RequestId;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};
use std::fmt::Display;

/// Why the API does not do what it was asked.
#[derive(Debug)]
pub(crate) struct Refused {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

pub(crate) type Answer<T = Response> = Result<T, Refused>;

impl Refused {
    fn new(status: StatusCode, kind: &'static str, message: impl Display) -> Self {
        Self { status, kind, message: message.to_string() }
    }

    pub(crate) fn bad(message: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    pub(crate) fn not_found(what: impl Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found_error", format!("{what} does not exist"))
    }

    pub(crate) fn conflict(message: impl Display) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict_error", message)
    }

    /// Something behind the API failed; the operator is told what, the log why.
    pub(crate) fn unreachable(error: impl Display, what: &str) -> Self {
        tracing::error!("{error}");
        let message = format!("{what} failed; the log says why, under this request's id");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "api_error", message)
    }

    pub(crate) fn unauthenticated() -> Self {
        let message = "the admin API takes `Authorization: Bearer <admin token>`; the token was shown \
                       at first start, or is BATON_ADMIN_TOKEN";
        Self::new(StatusCode::UNAUTHORIZED, "authentication_error", message)
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict => Self::conflict(error),
            StoreError::BadCursor => Self::bad(error),
            StoreError::Database(_) | StoreError::Inconsistent { .. } | StoreError::Sealed(_) => {
                Self::unreachable(error, "the store")
            }
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let error = json!({ "type": self.kind, "message": self.message });
        let body = json!({ "type": "error", "error": error });
        (self.status, Json(body)).into_response()
    }
}

/// Gives every answer a request id, in a header, and in the body where it is an error.
pub(crate) async fn with_request_id(office: Shared, request: Request, next: Next) -> Response {
    let State(office) = office;
    let id = RequestId::at(office.store.clock().now(), office.store.dice().bits());
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert("request-id", value);
    }
    if response.status().is_success() { response } else { signed(response, &id).await }
}

async fn signed(response: Response, id: &RequestId) -> Response {
    let (mut head, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
    let mut value: Value = serde_json::from_slice(&bytes).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(&bytes);
        json!({ "type": "error", "error": { "type": "invalid_request_error", "message": text } })
    });
    value["request_id"] = json!(id);
    head.headers.remove(http::header::CONTENT_LENGTH);
    head.headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Response::from_parts(head, value.to_string().into())
}

pub(crate) async fn no_such_route() -> Refused {
    Refused::not_found("this route")
}

pub(crate) async fn wrong_method() -> Refused {
    Refused::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "invalid_request_error",
        "this route does not take this method; `allow` lists those it takes",
    )
}

pub(crate) async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

/// Reads a JSON body.
pub(crate) fn body<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Answer<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        Refused::bad(format!("the body does not fit: {}", without_values(&error.to_string())))
    })
}

/// What is wrong with a body, without the value that is wrong: it may be a secret in another's place.
fn without_values(error: &str) -> String {
    let quotes = error.starts_with("invalid") || error.starts_with("unknown variant");
    match error.rsplit_once("expected ") {
        Some((_, rest)) if quotes => format!("expected {rest}"),
        _ => error.to_owned(),
    }
}

/// Reads an id out of the path; one of another form names nothing.
pub(crate) fn id<T: std::str::FromStr<Err: Display>>(text: &str) -> Answer<T> {
    text.parse()
        .map_err(|_| Refused::not_found(format!("`{}`", text.chars().take(80).collect::<String>())))
}

/// The created object.
pub(crate) fn created(view: Value) -> Response {
    (StatusCode::CREATED, Json(view)).into_response()
}

impl Display for Refused {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.message)
    }
}
