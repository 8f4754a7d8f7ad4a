//! The answer of a store: a status and a JSON body, in the format that AWS clients expect.
//!
//! `connector.rs` and `http.rs` carry it to the client.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// One answer of a store.
#[derive(Clone, Debug)]
pub(crate) struct StoreReply {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

/// An error with the code that the SDKs recognize.
#[derive(Debug)]
pub(crate) struct StoreRefusal {
    status: u16,
    code: &'static str,
    message: String,
}

impl StoreReply {
    pub(crate) fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, body: body.into() }
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::new(status, body.to_string())
    }
}

impl StoreRefusal {
    /// An error that the client caused.
    pub(crate) fn client(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: 400, code, message: message.into() }
    }

    /// A failure of the local stack; clients retry the request.
    #[expect(clippy::needless_pass_by_value, reason = "fits map_err as it is")]
    pub(crate) fn server(message: impl ToString) -> Self {
        Self { status: 500, code: "InternalFailure", message: message.to_string() }
    }

    pub(crate) fn unknown_operation(target: &str) -> Self {
        Self::client("UnknownOperationException", format!("unknown operation {target:?}"))
    }

    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    pub(crate) fn is_client_fault(&self) -> bool {
        self.status < 500
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

impl From<StoreRefusal> for StoreReply {
    fn from(refusal: StoreRefusal) -> Self {
        let body = json!({ "__type": refusal.code, "message": refusal.message });
        Self::json(refusal.status, &body)
    }
}

impl From<Result<Value, StoreRefusal>> for StoreReply {
    fn from(outcome: Result<Value, StoreRefusal>) -> Self {
        match outcome {
            Ok(body) => Self::json(200, &body),
            Err(refusal) => refusal.into(),
        }
    }
}

/// Parses a request body; an empty body counts as `{}`.
pub(crate) fn parse_request<T: DeserializeOwned>(body: &[u8]) -> Result<T, StoreRefusal> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|cause| StoreRefusal::client("SerializationException", cause.to_string()))
}
