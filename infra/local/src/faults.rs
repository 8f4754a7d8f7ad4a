//! Failures that a test injects between a client and the stores. They stand for things that only
//! AWS does, such as throttling, transaction conflicts and lost connections.
//!
//! The test decides when each failure happens.

use std::{fmt, sync::Arc, time::Duration};

use serde_json::{Value, json};

use crate::store_reply::StoreReply;

/// Decides from the `x-amz-target` and the body of a request whether the request fails.
pub(crate) type FaultInjector = Arc<dyn Fn(&str, &[u8]) -> Option<InjectedFault> + Send + Sync>;

/// One failure. By default the operation is not executed.
#[derive(Clone, Debug)]
pub struct InjectedFault {
    pub(crate) is_executed: bool,
    pub(crate) outcome: FaultOutcome,
    /// Delays before and after the operation.
    pub(crate) before: Duration,
    pub(crate) after: Duration,
}

/// The answer that the client gets.
#[derive(Clone, Debug)]
pub(crate) enum FaultOutcome {
    Answer(Result<StoreReply, Disconnected>),
    /// The store's own answer.
    Whatever,
    /// No answer, ever.
    Silence,
}

/// The connection broke, and the result of the request is unknown.
#[derive(Clone, Copy, Debug)]
pub struct Disconnected;

impl InjectedFault {
    fn new(outcome: FaultOutcome) -> Self {
        let none = Duration::ZERO;
        Self { is_executed: false, outcome, before: none, after: none }
    }

    /// Executes the operation and returns its answer, with a delay before and after it.
    pub fn slow(before: Duration, after: Duration) -> Self {
        Self { is_executed: true, before, after, ..Self::new(FaultOutcome::Whatever) }
    }

    /// Never answers, as after a crash of the client or on a dead connection.
    pub fn no_answer() -> Self {
        Self::new(FaultOutcome::Silence)
    }

    /// An error with the given HTTP status and JSON body (`__type`, `message`, …).
    pub fn error_answer(status: u16, body: &Value) -> Self {
        Self::new(FaultOutcome::Answer(Ok(StoreReply::json(status, body))))
    }

    /// `ThrottlingException`, which the SDKs retry.
    pub fn throttled() -> Self {
        Self::error_answer(
            400,
            &json!({ "__type": "ThrottlingException", "message": "Rate exceeded" }),
        )
    }

    /// A 500 of the service, which the SDKs retry.
    pub fn internal() -> Self {
        Self::error_answer(
            500,
            &json!({ "__type": "InternalServerError", "message": "Internal error" }),
        )
    }

    /// `TransactionConflictException`: a transaction uses the item that a single write needs.
    pub fn conflict() -> Self {
        let message = "Transaction is ongoing for the item";
        Self::error_answer(
            400,
            &json!({ "__type": "TransactionConflictException", "message": message }),
        )
    }

    /// `TransactionCanceledException` with one reason per action, such as `["None",
    /// "TransactionConflict"]`.
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
        Self::error_answer(400, &body)
    }

    /// The connection breaks.
    pub fn connection_lost() -> Self {
        Self::new(FaultOutcome::Answer(Err(Disconnected)))
    }

    /// Executes the operation before the failure, so that only its answer is lost.
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
