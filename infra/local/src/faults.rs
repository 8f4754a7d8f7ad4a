//! Failures that a test injects between a client and the stores: what only AWS does by itself,
//! such as throttling, transaction conflicts and lost connections.
//!
//! Which failure when is the test's business.

use std::{fmt, sync::Arc};

use serde_json::{Value, json};

use crate::reply::Reply;

/// Decides, from the `x-amz-target` and the body of a request, whether it fails.
pub(crate) type Injector = Arc<dyn Fn(&str, &[u8]) -> Option<Fault> + Send + Sync>;

/// One failure. By default the operation is not executed.
#[derive(Clone, Debug)]
pub struct Fault {
    pub(crate) is_executed: bool,
    pub(crate) outcome: Result<Reply, Disconnected>,
}

/// The connection broke and nobody knows what became of the request.
#[derive(Clone, Copy, Debug)]
pub struct Disconnected;

impl Fault {
    /// An error answer with the given HTTP status and JSON body (`__type`, `message`, …).
    pub fn answer(status: u16, body: &Value) -> Self {
        Self { is_executed: false, outcome: Ok(Reply::json(status, body)) }
    }

    /// `ThrottlingException`, which the SDKs retry.
    pub fn throttled() -> Self {
        Self::answer(400, &json!({ "__type": "ThrottlingException", "message": "Rate exceeded" }))
    }

    /// A 500 of the service, which the SDKs retry.
    pub fn internal() -> Self {
        Self::answer(500, &json!({ "__type": "InternalServerError", "message": "Internal error" }))
    }

    /// `TransactionConflictException`: a transaction holds the item that a single write wants.
    pub fn conflict() -> Self {
        let message = "Transaction is ongoing for the item";
        Self::answer(400, &json!({ "__type": "TransactionConflictException", "message": message }))
    }

    /// `TransactionCanceledException` with one reason an action, such as
    /// `["None", "TransactionConflict"]`.
    pub fn cancelled(reasons: &[&str]) -> Self {
        let all = reasons.join(", ");
        let reasons: Vec<_> = reasons.iter().map(|code| json!({ "Code": code })).collect();
        let message = format!(
            "Transaction cancelled, please refer cancellation reasons for specific reasons [{all}]"
        );
        let body = json!({
            "__type": "TransactionCanceledException",
            "Message": message,
            "CancellationReasons": reasons,
        });
        Self::answer(400, &body)
    }

    /// The connection breaks.
    pub fn disconnected() -> Self {
        Self { is_executed: false, outcome: Err(Disconnected) }
    }

    /// The operation is executed, only its answer is lost to this failure.
    #[must_use]
    pub fn after(self) -> Self {
        Self { is_executed: true, ..self }
    }
}

impl fmt::Display for Disconnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection broke")
    }
}

impl std::error::Error for Disconnected {}
