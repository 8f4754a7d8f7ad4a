//! What a client receives: a whole answer with checks, or a stream that is read chunk by chunk.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use reqwest::{RequestBuilder, Response};
use serde_json::Value;

/// An answer that was read to its end.
#[derive(Clone, Debug)]
pub struct ClientResponse {
    /// The HTTP status.
    pub status: u16,
    /// The response headers.
    pub headers: HeaderMap,
    /// The body as received, still compressed if it was compressed.
    pub body: Bytes,
    /// Whether the connection broke before the end of the body.
    pub torn: bool,
}

impl ClientResponse {
    /// Sends the request and reads the whole answer.
    pub async fn to(request: RequestBuilder) -> Self {
        OpenResponse::to(request).await.finish().await
    }

    /// The value of a header; `None` if it is absent.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("a header in plain text"))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("not JSON ({e}): {} {:?}", self.status, self.text()))
    }

    /// Expects this status.
    #[track_caller]
    pub fn status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "answer: {}", self.text());
        self
    }

    /// Expects a complete answer with status 200.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(!self.torn, "torn: {}", self.text());
        self.status(200)
    }

    /// Expects an error from Baton itself: the status, the envelope with this type, a message, and
    /// a request id in body and header.
    #[track_caller]
    pub fn refused(self, status: u16, kind: &str) -> Self {
        let answer = self.status(status);
        let body = answer.json();
        assert_eq!(body["type"], "error", "{body}");
        assert_eq!(body["error"]["type"], kind, "{body}");
        let message = body["error"]["message"].as_str().unwrap_or_default();
        assert!(message.len() > 5, "a message that helps: {body}");
        let id = body["request_id"].as_str().unwrap_or_default();
        assert!(id.starts_with("req_"), "{body}");
        assert_eq!(answer.header("request-id"), Some(id));
        answer
    }

    /// Expects the refusal by a limit.
    #[track_caller]
    pub fn blocked(self, kind: &str) -> Self {
        self.refused(429, kind)
    }

    /// The message of the error envelope.
    pub fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap_or_default().to_owned()
    }

    /// The parsed `data` payloads of the events.
    pub fn events(&self) -> Vec<Value> {
        self.text()
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .filter_map(|data| serde_json::from_str(data).ok())
            .collect()
    }

    /// The text of the answer, streamed or not.
    pub fn said(&self) -> String {
        if let Ok(whole) = serde_json::from_slice::<Value>(&self.body) {
            let blocks = whole["content"].as_array().cloned().unwrap_or_default();
            return blocks.iter().filter_map(|block| block["text"].as_str()).collect();
        }
        let events = self.events();
        events.iter().filter_map(|event| event["delta"]["text"].as_str()).collect()
    }
}

/// An answer whose head has arrived and whose body is still arriving.
pub struct OpenResponse {
    response: Response,
    so_far: BytesMut,
}

impl OpenResponse {
    /// Sends the request and waits for the head of the answer.
    pub async fn to(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap_or_else(|e| panic!("no answer: {e:?}"));
        Self { response, so_far: BytesMut::new() }
    }

    /// The status of the head.
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// Reads until the body has at least this length.
    pub async fn read_to(&mut self, length: usize) -> Bytes {
        while self.so_far.len() < length {
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.so_far.extend_from_slice(&chunk),
                end => panic!("{end:?} after {} of {length} bytes", self.so_far.len()),
            }
        }
        Bytes::copy_from_slice(&self.so_far)
    }

    /// Reads to the end.
    pub async fn finish(mut self) -> ClientResponse {
        let torn = loop {
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.so_far.extend_from_slice(&chunk),
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        ClientResponse {
            status: self.response.status().as_u16(),
            headers: self.response.headers().clone(),
            body: self.so_far.freeze(),
            torn,
        }
    }
}
