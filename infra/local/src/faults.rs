//! Failures that a test injects between a client and the stores: what only AWS does by itself,
//! such as throttling, transaction conflicts and lost connections.
//!
//! Which failure when is the test's business.

use std::{fmt, sync::Arc, time::Duration};

use serde_json::{Value, json};

use crate::reply::Reply;

/// Decides, from the `x-amz-target` and the body of a request, whether it fails.
pub(crate) type Injector = Arc<dyn Fn(&str, &[u8]) -> Option<Fault> + Send + Sync>;

/// One failure. By default the operation is not executed.
#[derive(Clone, Debug)]
pub struct Fault {
    pub(crate) is_executed: bool,
    pub(crate) outcome: Outcome,
    /// The way there, and the way back.
    pub(crate) before: Duration,
    pub(crate) after: Duration,
}

/// What the client hears.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Told(Result<Reply, Disconnected>),
    /// What the store itself answers.
    Whatever,
    /// Nothing, ever.
    Silence,
}

/// The connection broke and nobody knows what became of the request.
#[derive(Clone, Copy, Debug)]
pub struct Disconnected;

impl Fault {
    fn new(outcome: Outcome) -> Self {
        let none = Duration::ZERO;
        Self { is_executed: false, outcome, before: none, after: none }
    }

    /// No failure: the operation is executed and answered, it just takes its time there and back.
    pub fn slow(before: Duration, after: Duration) -> Self {
        Self { is_executed: true, before, after, ..Self::new(Outcome::Whatever) }
    }

    /// No answer ever comes: the client is dead, or the line.
    pub fn silence() -> Self {
        Self::new(Outcome::Silence)
    }

    /// An error answer with the given HTTP status and JSON body (`__type`, `message`, …).
    pub fn answer(status: u16, body: &Value) -> Self {
        Self::new(Outcome::Told(Ok(Reply::json(status, body))))
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
        Self::new(Outcome::Told(Err(Disconnected)))
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
