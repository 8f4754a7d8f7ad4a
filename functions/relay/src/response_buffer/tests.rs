//! Tests of the response buffer: which failures end a request, and errors that stay compressed.

use super::*;
use crate::body_transform::BodyTransform;
use crate::metered_body::SSE;
use baton_domain::verdict::CallFailure;
use baton_runtime::upstream::UpstreamBody;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Empty;
use jiff::Timestamp;
use std::io::Write as _;
use tokio_util::sync::CancellationToken;

const OUTPUT: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":\
    {\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\nevent: content_block_delta\n\
    data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\
    \"text\":\"word\"}}\n\n";

/// Returns whether another account is asked when an answer with `body` does not fit.
async fn tries_another(kind: &'static str, body: &'static str, reason: &'static str) -> bool {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
    let mut metered_body = MeteredBody::new(&headers, false, BodyTransform::PassThrough);
    let end = Instant::now() + Duration::from_secs(9);
    let upstream = UpstreamBody::wrap(Empty::<Bytes>::new());
    let mut source =
        ResponseSource::new(upstream, Duration::from_secs(9), end, CancellationToken::new());
    let (workers, key) = (BodyWorkers::with_cores(1), KeyId::from_bits(1));
    metered_body.add_chunk(Bytes::from_static(body.as_bytes()));
    while metered_body.has_pending() {
        let read = metered_body.read_step((&mut source, (&workers, &key))).await;
        assert!(matches!(read, Ok(Ok(_))), "it can be read");
    }
    let error = BufferFailure::TooLarge(reason).into_attempt_error(metered_body, 9);
    let upstream_error = error.read_upstream_error(Timestamp::UNIX_EPOCH);
    matches!(error.to_call_failure(&upstream_error), CallFailure::NotAsked)
}

#[tokio::test]
async fn output_is_bought_once_and_full_memory_ends_the_request() {
    for (name, kind, body, reason, expected) in [
        ("half an event", SSE, "data: {", "too long", true),
        ("output", SSE, OUTPUT, "too long", false),
        ("output, memory", SSE, OUTPUT, CROWDED, false),
        ("half an event, memory", SSE, "data: {", CROWDED, false),
        ("whole", "application/json", "{", "too long", false),
        ("whole, memory", "application/json", "", CROWDED, false),
    ] {
        assert_eq!(tries_another(kind, body, reason).await, expected, "{name}");
    }
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn error_that_stays_compressed_is_replaced() {
    let plain = br#"{"error":{"message":"the key sk-up-1 is wrong"}}"#;
    let twice = gzip(&gzip(plain));
    for (coding, body, is_kept) in [
        ("identity", plain.to_vec(), true),
        ("utf-8", plain.to_vec(), true),
        ("gzip", gzip(plain), true),
        ("gzip, gzip", twice.clone(), false),
        ("gzip", twice.clone(), false),
        ("none", twice, false),
        ("deflate", plain.to_vec(), false),
        ("gzip, deflate", vec![7; 99], false),
        ("br", vec![7; 99], false),
    ] {
        let mut headers =
            HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static(coding))]);
        let mut error_body = ErrorBuffer::new(None);
        assert!(error_body.add(&body));
        let (body, _) = error_body.decompress(&mut headers);
        let expected = if is_kept { plain.as_slice() } else { COMPRESSED_ERROR };
        assert_eq!(body, expected, "{coding}");
        assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok(), "{coding}");
        assert!(!headers.contains_key(CONTENT_ENCODING), "{coding}");
    }
}
