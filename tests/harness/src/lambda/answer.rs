//! The answer of a function: a value, or an HTTP answer that is still arriving.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::runtime_api::{Part, Parts};
use crate::client_response::ClientResponse;

/// The content type for which the platform reads a prelude.
const WITH_PRELUDE: &str = "application/vnd.awslambda.http-integration-response";
/// The end of the prelude.
const NULS: [u8; 8] = [0; 8];
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

async fn next(parts: &mut Parts) -> Part {
    let part = tokio::time::timeout(ANSWER_TIMEOUT, parts.recv()).await.expect("an answer in time");
    match part.expect("the function goes on") {
        Part::Failed(words) => panic!("the function failed: {words}"),
        part => part,
    }
}

/// Reads an answer that is not streamed.
pub(super) async fn whole(mut parts: Parts) -> Value {
    let begin = next(&mut parts).await;
    assert!(matches!(begin, Part::Begin { streaming: false, .. }), "not buffered: {begin:?}");
    let mut body = BytesMut::new();
    loop {
        match next(&mut parts).await {
            Part::Chunk(bytes) => body.extend_from_slice(&bytes),
            Part::End => break,
            part => panic!("not whole: {part:?}"),
        }
    }
    serde_json::from_slice(&body).unwrap_or_else(|e| panic!("{e}: {body:?}"))
}

fn status(value: &Value) -> u16 {
    let status = value["statusCode"].as_u64().and_then(|status| u16::try_from(status).ok());
    status.unwrap_or_else(|| panic!("no status: {value}"))
}

fn headers(value: &Value) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, values) in value["headers"].as_object().into_iter().flatten() {
        let name: HeaderName = name.parse().expect("a header's name");
        for value in values.as_array().unwrap_or(&vec![values.clone()]) {
            let value = value.as_str().expect("a header's value");
            headers.append(name.clone(), HeaderValue::from_str(value).expect("in plain text"));
        }
    }
    // The platform turns these into header lines.
    for cookie in value["cookies"].as_array().into_iter().flatten() {
        let cookie = cookie.as_str().and_then(|line| HeaderValue::from_str(line).ok());
        headers.append(SET_COOKIE, cookie.expect("a cookie"));
    }
    headers
}

/// An HTTP answer whose head has arrived and whose body is still arriving.
pub struct StreamedResponse {
    /// The status in the prelude.
    pub status: u16,
    /// The headers in the prelude.
    pub headers: HeaderMap,
    parts: Parts,
    so_far: BytesMut,
    /// How the body ended, once it has ended.
    end: Option<Part>,
}

impl StreamedResponse {
    /// Waits for the head.
    pub(super) async fn begin(mut parts: Parts) -> Self {
        match next(&mut parts).await {
            Part::Begin { streaming: true, content_type } => {
                assert_eq!(content_type, WITH_PRELUDE);
            }
            part => panic!("not streamed: {part:?}"),
        }
        let mut bytes = BytesMut::new();
        let prelude = loop {
            if let Some(at) = bytes.windows(NULS.len()).position(|window| window == NULS) {
                let prelude = bytes.split_to(at);
                drop(bytes.split_to(NULS.len()));
                break prelude;
            }
            match next(&mut parts).await {
                Part::Chunk(chunk) => bytes.extend_from_slice(&chunk),
                part => panic!("{part:?} inside the prelude: {bytes:?}"),
            }
        };
        let prelude: Value = serde_json::from_slice(&prelude).expect("a prelude in JSON");
        let (status, headers) = (status(&prelude), headers(&prelude));
        Self { status, headers, parts, so_far: bytes, end: None }
    }

    /// Reads the next piece; returns false at the end.
    async fn read(&mut self) -> bool {
        if self.end.is_none() {
            match next(&mut self.parts).await {
                Part::Chunk(bytes) => self.so_far.extend_from_slice(&bytes),
                end => self.end = Some(end),
            }
        }
        self.end.is_none()
    }

    /// Reads until the body has at least this length.
    pub async fn read_to(&mut self, length: usize) -> Bytes {
        while self.so_far.len() < length {
            assert!(self.read().await, "{:?} after {} bytes", self.end, self.so_far.len());
        }
        Bytes::copy_from_slice(&self.so_far)
    }

    /// Reads for this time and expects that the body does not end.
    pub async fn stays_open(&mut self, patience: Duration) {
        let to_the_end = async { while self.read().await {} };
        let ended = tokio::time::timeout(patience, to_the_end).await.is_ok();
        assert!(!ended, "it has ended: {:?}", self.end);
    }

    /// Reads to the end.
    pub async fn finish(mut self) -> ClientResponse {
        while self.read().await {}
        if let Some(Part::Broken { error_type }) = &self.end {
            // AWS Lambda Developer Guide, "Building a custom runtime" (November 2026): a category
            // and a reason, separated by a dot.
            assert!(error_type.split_once('.').is_some(), "{error_type}");
        }
        let torn = !matches!(self.end, Some(Part::End));
        ClientResponse {
            status: self.status,
            headers: self.headers,
            body: self.so_far.freeze(),
            torn,
        }
    }
}
