//! The plan of an answer: status, headers, and the steps of writing its body.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{ScriptGate, ServedTokens};

/// One step of writing a body.
pub(super) enum ReplyStep {
    /// Write these bytes as one chunk.
    Write(Bytes),
    /// Wait at the gate.
    Gate(Arc<ScriptGate>),
    /// Wait this long (benchmarks pace their events; tests use gates).
    Pause(Duration),
    /// Break the connection.
    Cut,
    /// Send nothing more until the client leaves.
    Hang,
}

/// A body of known length, or one written step by step in chunks.
pub(super) enum Body {
    Whole(Bytes),
    Steps(Vec<ReplyStep>),
}

/// The ledger entry of a finished answer.
pub(super) struct LedgerEntry {
    pub(super) model: String,
    pub(super) usage: ServedTokens,
}

pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    /// Steps before the head is written: a gate or a hang of an answer that is not streamed.
    pub(super) before: Vec<ReplyStep>,
    pub(super) body: Body,
    pub(super) bill: Option<LedgerEntry>,
}

impl Reply {
    pub(super) fn json(status: u16, value: &Value) -> Self {
        Self {
            status,
            headers: vec![("content-type".into(), "application/json".into())],
            before: Vec::new(),
            body: Body::Whole(value.to_string().into()),
            bill: None,
        }
    }

    pub(super) fn error(status: u16, kind: &str, message: &str) -> Self {
        let error = json!({"type": kind, "message": message});
        Self::json(status, &json!({"type": "error", "error": error}))
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}
