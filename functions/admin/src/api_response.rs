//! Answers of the admin API: errors in Anthropic's error format, and a request id on every answer.

use crate::body_bounds::{BODY_BYTES_MAX, REDRIVE_BODY_BYTES_MAX};
use crate::{AdminState, SharedAdminState};
use axum::Json;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use baton_api::error::{ErrorBody, ErrorDetail, ErrorKind, field_message};
use baton_api::fields::normalize_numbers;
use baton_domain::id::RequestId;
use baton_domain::key::Limits;
use baton_store::StoreError;
use futures_util::FutureExt as _;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Display;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use tracing::{Instrument as _, Span};

const HTML: &[u8] = b"text/html";

/// An error of the API, with its status.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    kind: ErrorKind,
    message: String,
}

pub(crate) type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    fn new(status: StatusCode, kind: ErrorKind, message: impl Display) -> Self {
        Self { status, kind, message: message.to_string() }
    }

    pub(crate) fn bad(message: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::InvalidRequest, message)
    }

    /// An internal error. The reason goes to the log only.
    pub(crate) fn internal_error(error: impl Display) -> Self {
        tracing::error!("{error}");
        let message = "internal error; the log has the reason under this request id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorKind::Internal, message)
    }

    /// An internal error that has been logged already.
    fn internal_error_logged() -> Self {
        let message = "internal error; the log has the place under this request id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorKind::Internal, message)
    }

    pub(crate) fn not_found(what: impl Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, format!("{what} does not exist"))
    }

    pub(crate) fn conflict(message: impl Display) -> Self {
        Self::new(StatusCode::CONFLICT, ErrorKind::Conflict, message)
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// A failure of the service `what` behind the API. The log gets the reason.
    pub(crate) fn backend_failed(error: impl Display, what: &str) -> Self {
        tracing::error!("{error}");
        let message = format!("{what} failed; the log has the reason under this request id");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorKind::Internal, message)
    }

    /// Whether a concurrent change was first.
    pub(crate) fn is_conflict(&self) -> bool {
        self.status == StatusCode::CONFLICT
    }

    /// The resource has changed since the caller read it.
    pub(crate) fn stale(message: impl Display) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, ErrorKind::Conflict, message)
    }

    pub(crate) fn reused_idempotency_key() -> Self {
        let message = "this `Idempotency-Key` was used for a different request in the last 24 hours; \
                       send a new key with a new request";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, ErrorKind::InvalidRequest, message)
    }

    pub(crate) fn too_large(bytes_max: usize) -> Self {
        let message = format!("the body is larger than {bytes_max} bytes; send a shorter one");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorKind::TooLarge, message)
    }

    /// The body of the answer. [`add_request_id`] writes the request id into it.
    fn to_body(&self) -> ErrorBody {
        let error = ErrorDetail { kind: self.kind, message: self.message.clone() };
        ErrorBody { error, request_id: String::new() }
    }

    pub(crate) fn forbidden(message: impl Display) -> Self {
        Self::new(StatusCode::FORBIDDEN, ErrorKind::Permission, message)
    }

    pub(crate) fn too_many_attempts() -> Self {
        let message = "too many wrong credentials; wait a few seconds, then try again";
        Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorKind::RateLimit, message)
    }

    pub(crate) fn too_many_summaries(message: &str) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorKind::RateLimit, message)
    }

    pub(crate) fn unauthenticated() -> Self {
        let message = "send `Authorization: Bearer …` with the admin token (printed at the first \
                       start, or BATON_ADMIN_TOKEN) or with the relay key of an enabled user";
        Self::new(StatusCode::UNAUTHORIZED, ErrorKind::Authentication, message)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict => Self::conflict(error),
            StoreError::BadCursor => Self::bad(error),
            StoreError::Database(_)
            | StoreError::InvalidRequest(_)
            | StoreError::Inconsistent { .. }
            | StoreError::Sealed(_) => Self::backend_failed(error, "the store"),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.to_body())).into_response();
        let header = match self.status {
            StatusCode::UNAUTHORIZED => Some((WWW_AUTHENTICATE, "Bearer")),
            StatusCode::TOO_MANY_REQUESTS => Some((RETRY_AFTER, "5")),
            _ => None,
        };
        response.headers_mut().extend(header.map(|(k, v)| (k, HeaderValue::from_static(v))));
        response
    }
}

/// A successful answer as it is sent and, for repetitions, stored. [`TypedResponse`] is the same with the
/// type of its body.
pub(crate) struct ApiResponse {
    pub(crate) status: StatusCode,
    /// The body; `null` sends none. Its `version` becomes the `etag`.
    pub(crate) view: Value,
    /// Whether this is the stored answer of an earlier request with the same idempotency key.
    pub(crate) is_repeated: bool,
}

/// A successful answer with this status and a body of the type `T`.
pub(crate) struct TypedResponse<T, const STATUS: u16 = 200> {
    response: ApiResponse,
    body: PhantomData<fn() -> T>,
}

/// The answer to a request that has created something.
pub(crate) type Created<T> = TypedResponse<T, 201>;
/// The answer to a request whose work is done later.
pub(crate) type Accepted<T> = TypedResponse<T, 202>;
/// The answer without a body.
pub(crate) type NoContent = TypedResponse<(), 204>;

impl<T: Serialize, const STATUS: u16> TypedResponse<T, STATUS> {
    pub(crate) fn new(body: &T) -> ApiResult<Self> {
        let view = serde_json::to_value(body).map_err(ApiError::internal_error)?;
        let status = StatusCode::from_u16(STATUS).map_err(ApiError::internal_error)?;
        Ok(Self::from_response(ApiResponse { status, view, is_repeated: false }))
    }
}

impl<T, const STATUS: u16> TypedResponse<T, STATUS> {
    /// The answer to the same request, as it was stored.
    pub(crate) fn from_response(response: ApiResponse) -> Self {
        Self { response, body: PhantomData }
    }

    pub(crate) fn as_response(&self) -> &ApiResponse {
        &self.response
    }

    /// Whether this is the stored answer of an earlier request with the same idempotency key.
    pub(crate) fn is_repeated(&self) -> bool {
        self.response.is_repeated
    }
}

impl<T, const STATUS: u16> IntoResponse for TypedResponse<T, STATUS> {
    fn into_response(self) -> Response {
        self.response.into_response()
    }
}

impl IntoResponse for ApiResponse {
    fn into_response(self) -> Response {
        let etag = self.view["version"].as_u64().and_then(|version| etag(version).parse().ok());
        let mut response = match &self.view {
            Value::Null => self.status.into_response(),
            view => (self.status, Json(view)).into_response(),
        };
        let headers = response.headers_mut();
        headers.extend(etag.map(|etag| (ETAG, etag)));
        if self.is_repeated {
            headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
        }
        response
    }
}

/// Adds a request id to every answer: in a header and, for errors, in the body.
pub(crate) async fn add_request_id(
    State(state): SharedAdminState,
    request: Request,
    next: Next,
) -> Response {
    let id = new_request_id(&state);
    let span = tracing::error_span!("request", request_id = %id);
    run_with_id(id, span, request, next).await
}

/// The same for a call that a page of the console makes. Its span is inside the one of the page's
/// request, so it has another name.
pub(crate) async fn add_call_id(
    State(state): SharedAdminState,
    request: Request,
    next: Next,
) -> Response {
    let id = new_request_id(&state);
    let span = tracing::error_span!("admin_call", request_id = %id);
    run_with_id(id, span, request, next).await
}

fn new_request_id(state: &AdminState) -> RequestId {
    RequestId::at(state.store.clock().now(), state.store.random_source().bits())
}

/// Runs the request inside the span, which adds the id to every log line of the request, including
/// that of a panic.
async fn run_with_id(id: RequestId, span: Span, request: Request, next: Next) -> Response {
    let answer = AssertUnwindSafe(next.run(request).instrument(span)).catch_unwind().await;
    let mut response = answer.unwrap_or_else(|_| ApiError::internal_error_logged().into_response());
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert("request-id", value);
    }
    // Answers can contain new secrets and usage of people. Assets of the console set their own
    // header.
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().entry(CACHE_CONTROL).or_insert(no_store);
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    if is_error && !is_page(&response) {
        add_request_id_to_error(response, &id).await
    } else {
        response
    }
}

/// The entity tag of a version.
pub(crate) fn etag(version: u64) -> String {
    format!("\"{version}\"")
}

/// Whether the answer is a page of the console, which shows the error itself.
fn is_page(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(HTML))
}

async fn add_request_id_to_error(response: Response, id: &RequestId) -> Response {
    let (mut head, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
    let mut value: Value = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| error_of_axum(head.status, &String::from_utf8_lossy(&bytes)));
    value["request_id"] = json!(id);
    head.headers.remove(http::header::CONTENT_LENGTH);
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Response::from_parts(head, value.to_string().into())
}

/// The error of an extractor of axum, which answers in plain text. One route has another bound for
/// its body, so the error names both.
fn error_of_axum(status: StatusCode, text: &str) -> Value {
    let kind = match status {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let (max, redrive) = (BODY_BYTES_MAX, REDRIVE_BODY_BYTES_MAX);
            let message = format!(
                "the body is larger than {max} bytes ({redrive} bytes for `/usage/redrive`); \
                 send a shorter one"
            );
            return json!(ApiError::new(status, ErrorKind::TooLarge, message).to_body());
        }
        StatusCode::NOT_FOUND => ErrorKind::NotFound,
        status if status.is_server_error() => ErrorKind::Internal,
        _ => ErrorKind::InvalidRequest,
    };
    json!(ApiError::new(status, kind, text).to_body())
}

pub(crate) async fn no_such_route() -> ApiError {
    ApiError::not_found("this route")
}

pub(crate) async fn method_not_allowed() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        ErrorKind::InvalidRequest,
        "this route does not support this method; the header `allow` lists the methods that it supports",
    )
}

pub(crate) async fn get_health() -> Json<Value> {
    Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

/// Reads the JSON object in a request body. JSON has one kind of number, so `3.0` is read as the
/// count `3`.
///
/// # Errors
/// 400 with the path of the field that is wrong and what is expected there.
pub(crate) fn body<T: DeserializeOwned>(bytes: &[u8]) -> ApiResult<T> {
    // Serde would read an array as the values of an object's fields, in their order.
    if bytes.trim_ascii_start().first().is_some_and(|first| *first == b'[') {
        return Err(ApiError::bad("the body is a JSON array; send a JSON object"));
    }
    let read = serde_json::from_slice(bytes).or_else(|error| {
        let mut value: Value = serde_json::from_slice(bytes)?;
        normalize_numbers(&mut value);
        serde_json::from_value(value).map_err(|_| error)
    });
    read.map_err(|error| ApiError::bad(body_message::<T>(bytes, &error)))
}

/// Describes why a body could not be read as `T`. Reads it once more to find the field.
fn body_message<T: DeserializeOwned>(bytes: &[u8], error: &serde_json::Error) -> String {
    if !error.is_data() {
        return format!("the body is not valid JSON: {error}");
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let path = match serde_path_to_error::deserialize::<_, T>(&mut json) {
        Err(error) => error.path().to_string(),
        Ok(_) => String::new(),
    };
    // A path of no fields is written as a dot.
    field_message(path.trim_matches('.'), &error.to_string())
}

/// Checks limits that an operator sets. `parent` is the path of the object that holds them, with
/// its dot, or empty.
///
/// # Errors
/// 400 if an amount of money is negative or too large.
pub(crate) fn check_limits(parent: &str, limits: Limits) -> ApiResult<Limits> {
    if let Some(field) = limits.negative() {
        return Err(ApiError::bad(format!(
            "`{parent}{field}`: expected 0 or more, or null for no limit; 0 refuses every request"
        )));
    }
    match limits.too_large() {
        Some(field) => Err(ApiError::bad(format!(
            "`{parent}{field}`: expected less than 1,000,000,000 US dollars, or null for no limit"
        ))),
        None => Ok(limits),
    }
}

/// Parses an id from the path. A malformed id names nothing, so the error is 404.
pub(crate) fn id<T: std::str::FromStr<Err: Display>>(text: &str) -> ApiResult<T> {
    text.parse().map_err(|_| {
        ApiError::not_found(format!("`{}`", text.chars().take(80).collect::<String>()))
    })
}

impl Display for ApiError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_api::keys::KeyChange;

    #[test]
    fn body_error_names_the_invalid_field() {
        let message = |bytes: &[u8]| {
            body::<std::collections::BTreeMap<String, Vec<u32>>>(bytes).unwrap_err().to_string()
        };
        assert_eq!(message(br#"{"a": [1, "x"]}"#), "`a[1]`: expected a whole number, 0 or more");
        assert!(message(b"{\"a\": ").starts_with("the body is not valid JSON: "));
        assert!(message(b" [1]").contains("send a JSON object"));
        for (limits, said) in [
            (r#"{"usd_daily": 5}"#, "`limits.usd_daily`: expected an amount as a decimal string"),
            (r#"{"concurrency": "x"}"#, "`limits.concurrency`: expected a whole number, 0 or more"),
            (
                r#"{"usd_yearly": null}"#,
                "`limits.usd_yearly` is not a known field; expected one of",
            ),
            (r#"["5"]"#, "`limits`: expected an object or null"),
        ] {
            let bytes = format!("{{\"limits\": {limits}}}");
            let error = body::<KeyChange>(bytes.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(said), "{limits}: {error}");
        }
        let whole = body::<KeyChange>(br#"{"limits": {"concurrency": 3.0}}"#).unwrap();
        assert_eq!(whole.limits.apply_to(&Limits::default()).concurrency, Some(3));
    }
}
