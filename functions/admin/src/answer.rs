//! What the operator is told: the Anthropic error envelope, and a request id on every answer.

use crate::Shared;
use crate::replay::BODY_BYTES_MAX;
use crate::visit::etag;
use axum::Json;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use baton_cloud::store::StoreError;
use baton_domain::id::RequestId;
use baton_domain::key::Limits;
use futures_util::FutureExt as _;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};
use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use tracing::Instrument as _;

const HTML: &[u8] = b"text/html";

/// Why the API does not do what it was asked.
#[derive(Debug)]
pub(crate) struct Refused {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

pub(crate) type Answer<T = Told> = Result<T, Refused>;

impl Refused {
    fn new(status: StatusCode, kind: &'static str, message: impl Display) -> Self {
        Self { status, kind, message: message.to_string() }
    }

    pub(crate) fn bad(message: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// A mistake of Baton's own.
    pub(crate) fn broken(error: impl Display) -> Self {
        tracing::error!("{error}");
        let message = "Baton failed; the log says why, under this request's id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "api_error", message)
    }

    /// The same where the log has been told already.
    fn panicked() -> Self {
        let message = "Baton failed; the log says where, under this request's id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "api_error", message)
    }

    pub(crate) fn not_found(what: impl Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found_error", format!("{what} does not exist"))
    }

    pub(crate) fn conflict(message: impl Display) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict_error", message)
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// Something behind the API failed; the operator is told what, the log why.
    pub(crate) fn unreachable(error: impl Display, what: &str) -> Self {
        tracing::error!("{error}");
        let message = format!("{what} failed; the log says why, under this request's id");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "api_error", message)
    }

    /// Whether somebody else was there first.
    pub(crate) fn is_conflict(&self) -> bool {
        self.status == StatusCode::CONFLICT
    }

    /// What is to be changed is not what it was when it was read.
    pub(crate) fn stale(message: impl Display) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "conflict_error", message)
    }

    pub(crate) fn another_request() -> Self {
        let message = "this `Idempotency-Key` was used for another request within a day; take a \
                       new key for a new request";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request_error", message)
    }

    pub(crate) fn too_large(bytes_max: usize) -> Self {
        let message = format!("the body is larger than {bytes_max} bytes; send a shorter one");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message)
    }

    /// The body of the answer, without its request id.
    fn envelope(&self) -> Value {
        let error = json!({ "type": self.kind, "message": self.message });
        json!({ "type": "error", "error": error })
    }

    pub(crate) fn forbidden(message: impl Display) -> Self {
        Self::new(StatusCode::FORBIDDEN, "permission_error", message)
    }

    pub(crate) fn too_many_attempts() -> Self {
        let message = "too many wrong credentials were tried here; wait a few seconds";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message)
    }

    pub(crate) fn too_many_summaries(message: &str) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message)
    }

    pub(crate) fn unauthenticated() -> Self {
        let message = "the admin API takes `Authorization: Bearer <admin token>` (the token was \
                       shown at first start, or is BATON_ADMIN_TOKEN) or the relay key of an \
                       enabled user";
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
        let mut response = (self.status, Json(self.envelope())).into_response();
        let header = match self.status {
            StatusCode::UNAUTHORIZED => Some((WWW_AUTHENTICATE, "Bearer")),
            StatusCode::TOO_MANY_REQUESTS => Some((RETRY_AFTER, "5")),
            _ => None,
        };
        response.headers_mut().extend(header.map(|(k, v)| (k, HeaderValue::from_static(v))));
        response
    }
}

/// What is told of one thing.
pub(crate) struct Told {
    pub(crate) status: StatusCode,
    /// `null` where there is nothing more to tell. Its `version` becomes the `etag`.
    pub(crate) view: Value,
    /// Whether it was told before, under the same idempotency key.
    pub(crate) is_repeated: bool,
}

impl Told {
    pub(crate) fn ok(view: Value) -> Self {
        Self { status: StatusCode::OK, view, is_repeated: false }
    }

    pub(crate) fn created(view: Value) -> Self {
        Self { status: StatusCode::CREATED, ..Self::ok(view) }
    }

    pub(crate) fn gone() -> Self {
        Self { status: StatusCode::NO_CONTENT, ..Self::ok(Value::Null) }
    }
}

impl IntoResponse for Told {
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

/// Gives every answer a request id, in a header, and in the body where it is an error.
pub(crate) async fn with_request_id(office: Shared, request: Request, next: Next) -> Response {
    let State(office) = office;
    let id = RequestId::at(office.store.clock().now(), office.store.dice().bits());
    // Every line that is logged on the way names the request, that of a panic, too.
    let span = tracing::error_span!("request", request_id = %id);
    let answer = AssertUnwindSafe(next.run(request).instrument(span)).catch_unwind().await;
    let mut response = answer.unwrap_or_else(|_| Refused::panicked().into_response());
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert("request-id", value);
    }
    // Answers hold new secrets, and who uses what. Assets of the console say otherwise themselves.
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().entry(CACHE_CONTROL).or_insert(no_store);
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    if is_error && !is_page(&response) { signed(response, &id).await } else { response }
}

/// Whether a person reads it; the console has put the reason on it.
fn is_page(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(HTML))
}

async fn signed(response: Response, id: &RequestId) -> Response {
    let (mut head, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
    let mut value: Value = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| error_of_axum(head.status, &String::from_utf8_lossy(&bytes)));
    value["request_id"] = json!(id);
    head.headers.remove(http::header::CONTENT_LENGTH);
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Response::from_parts(head, value.to_string().into())
}

/// The error of an extractor of axum, which answers in plain text. A body that is too large gets the
/// words of [`Refused::too_large`].
fn error_of_axum(status: StatusCode, text: &str) -> Value {
    let kind = match status {
        StatusCode::PAYLOAD_TOO_LARGE => return Refused::too_large(BODY_BYTES_MAX).envelope(),
        StatusCode::NOT_FOUND => "not_found_error",
        status if status.is_server_error() => "api_error",
        _ => "invalid_request_error",
    };
    Refused::new(status, kind, text).envelope()
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

/// Reads a JSON body, which is an object. JSON has one kind of number: `3.0` is as good a count as
/// `3`.
pub(crate) fn body<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Answer<T> {
    // An array would be read as an object's values in a row.
    if bytes.trim_ascii_start().first().is_some_and(|first| *first == b'[') {
        return Err(Refused::bad("the body does not fit: it is an array, not an object"));
    }
    let read = serde_json::from_slice(bytes).or_else(|error| {
        let mut value: Value = serde_json::from_slice(bytes)?;
        make_whole(&mut value);
        serde_json::from_value(value).map_err(|_| error)
    });
    read.map_err(|error| {
        Refused::bad(format!("the body does not fit: {}", without_values(&error.to_string())))
    })
}

/// What is wrong with a body, without the value that is wrong: it may be a secret in another's place.
fn without_values(error: &str) -> String {
    let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let (field, what) = match error.split_once(": ") {
        Some((field, what)) if is_name(field) => (format!("{field}: "), what),
        _ => (String::new(), error),
    };
    let quotes = what.starts_with("invalid") || what.starts_with("unknown variant");
    match what.rsplit_once("expected ") {
        Some((_, rest)) if quotes => format!("{field}expected {rest}"),
        _ => error.to_owned(),
    }
}

/// Limits as an operator sets them: no amount is below zero.
pub(crate) fn checked(limits: Limits) -> Answer<Limits> {
    match limits.negative() {
        Some(field) => Err(Refused::bad(format!(
            "`{field}` is below zero: 0 refuses every request, and without the field nothing is limited"
        ))),
        None => Ok(limits),
    }
}

/// Writes whole numbers without their decimal point.
pub(crate) fn make_whole(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(make_whole),
        Value::Array(list) => list.iter_mut().for_each(make_whole),
        Value::Number(number) => {
            let whole = number.to_string().strip_suffix(".0").and_then(|text| text.parse().ok());
            *number = whole.map_or_else(|| number.clone(), |whole: u64| whole.into());
        }
        _ => {}
    }
}

/// Reads an id out of the path; one of another form names nothing.
pub(crate) fn id<T: std::str::FromStr<Err: Display>>(text: &str) -> Answer<T> {
    text.parse()
        .map_err(|_| Refused::not_found(format!("`{}`", text.chars().take(80).collect::<String>())))
}

impl Display for Refused {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.message)
    }
}
