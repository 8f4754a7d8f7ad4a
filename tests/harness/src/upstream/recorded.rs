//! Requests and answers as plain data for tests.

use bytes::Bytes;
use serde_json::Value;

/// A request exactly as received.
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    /// The HTTP method.
    pub method: String,
    /// Path and query as sent.
    pub target: String,
    /// Headers in wire order and case, including repeated ones.
    pub headers: Vec<(String, String)>,
    /// The body without transfer coding.
    pub body: Bytes,
}

impl RecordedRequest {
    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The first header with that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// All headers with that name, in any case.
    pub fn headers_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as JSON; `Null` if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// Whether the text occurs anywhere in the request: target, headers or body.
    pub fn mentions(&self, text: &str) -> bool {
        let body = String::from_utf8_lossy(&self.body);
        self.target.contains(text)
            || body.contains(text)
            || self.headers.iter().any(|(key, value)| key.contains(text) || value.contains(text))
    }
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordedEnd {
    /// It is still being written.
    Open,
    /// The last byte was written.
    Complete,
    /// The scenario broke the connection.
    Cut,
    /// The client closed the connection before the end.
    PeerLeft,
}

/// A request and its answer.
#[derive(Clone, Debug)]
pub struct RecordedExchange {
    /// The request.
    pub request: RecordedRequest,
    /// The status of the answer.
    pub status: u16,
    /// The response headers sent.
    pub headers: Vec<(String, String)>,
    /// The body that was sent so far, without transfer coding.
    pub sent: Vec<u8>,
    /// How the answer ended.
    pub ending: RecordedEnd,
}
