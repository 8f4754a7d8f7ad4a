//! Tests of the response buffer: which failures end a request.

use super::*;
use crate::body_transform::BodyTransform;
use crate::metered_body::SSE;
use baton_domain::verdict::CallFailure;
use baton_runtime::upstream::UpstreamBody;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http_body_util::Empty;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

const OUTPUT: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":\
    {\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\nevent: content_block_delta\n\
    data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\
    \"text\":\"word\"}}\n\n";

/// Reads an answer of this content type.
async fn read(kind: &'static str, body: &[u8]) -> MeteredBody {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
    let mut metered_body = MeteredBody::new(&headers, body, false, BodyTransform::PassThrough);
    let end = Instant::now() + Duration::from_secs(9);
    let upstream = UpstreamBody::wrap(Empty::<Bytes>::new());
    let mut source =
        ResponseSource::new(upstream, Duration::from_secs(9), end, CancellationToken::new());
    let (workers, key) = (BodyWorkers::with_cores(1), KeyId::from_bits(1));
    metered_body.add_chunk(Bytes::copy_from_slice(body));
    let mut reader = ResponseReader { source: &mut source, workers: &workers, key: &key };
    while metered_body.has_pending() {
        let read = metered_body.read_step(&mut reader).await;
        assert!(matches!(read, Ok(Ok(_))), "it can be read");
    }
    metered_body
}

/// Returns whether another account is asked when an answer with `body` does not fit.
async fn tries_another(kind: &'static str, body: &'static str, reason: &'static str) -> bool {
    let metered_body = read(kind, body.as_bytes()).await;
    let error = BufferFailure::TooLarge(reason).into_attempt_error(metered_body, 9);
    let upstream_error = error.read_upstream_error(Timestamp::UNIX_EPOCH);
    matches!(error.to_call_failure(&upstream_error), CallFailure::NotAsked)
}

#[tokio::test]
async fn output_is_bought_once_and_full_memory_ends_the_request() {
    for (name, kind, body, reason, expected) in [
        ("half an event", SSE, "data: {", "too long", true),
        ("output", SSE, OUTPUT, "too long", false),
        ("output, memory", SSE, OUTPUT, RESPONSE_MEMORY_FULL, false),
        ("half an event, memory", SSE, "data: {", RESPONSE_MEMORY_FULL, false),
        ("whole", "application/json", "{", "too long", false),
        ("whole, memory", "application/json", "", RESPONSE_MEMORY_FULL, false),
    ] {
        assert_eq!(tries_another(kind, body, reason).await, expected, "{name}");
    }
}

/// The outcome of a whole answer of which `body` has no known form.
async fn judge_bad_form(body: &[u8]) -> (bool, bool) {
    let metered_body = read("application/json", body).await;
    let failure = BufferFailure::BadForm(ResponseFormError::NotAnObject);
    match failure.into_attempt_error(metered_body, 4_000) {
        AttemptError::UnusableResponse { reading, .. } => {
            let reading = (*reading).unwrap();
            (true, reading.usage.estimated && reading.usage.tokens.output > 0)
        }
        _ => (false, false),
    }
}

#[tokio::test]
async fn unreadable_bytes_are_recorded_and_not_bought_twice() {
    for (body, expected) in [
        (&b"\x28\xb5\x2f\xfd\x04\x00compressed with zstd"[..], (true, true)),
        (b"{\"choices\":[{\"message\"", (true, true)),
        (b"Sign in to the network", (false, false)),
        (b"<html>\xe9\xc4</html>", (false, false)),
    ] {
        assert_eq!(judge_bad_form(body).await, expected, "{body:?}");
    }
}
