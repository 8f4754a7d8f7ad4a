//! Which parts of an answer are read on other threads, and what the client gets of it.

use super::*;
use crate::body_transform::TranslatedEvents;
use baton_domain::protocol::Framing;
use baton_protocol::translate::{
    ClientProtocol, ProtocolPair, TranslationOptions, UpstreamProtocol,
};
use baton_runtime::upstream::UpstreamBody;
use futures_util::FutureExt as _;
use http::header::CONTENT_ENCODING;
use std::sync::mpsc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

impl MeteredBody {
    /// Reads a chunk in steps, without workers.
    fn observe(&mut self, chunk: Bytes) -> Result<Bytes, UndecodableResponse> {
        let mut given = Vec::new();
        self.add_chunk(chunk);
        while self.has_pending() {
            let step = self.decode_step()?;
            given.extend_from_slice(&self.transform_step(step)?);
        }
        Ok(given.into())
    }
}

/// A body of an answer of Chat Completions that is translated into the Messages API.
fn translated(is_stream: bool) -> MeteredBody {
    let pair =
        ProtocolPair::between(ClientProtocol::AnthropicMessages, UpstreamProtocol::Chat).unwrap();
    let request = br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"a"}]}"#;
    let options = TranslationOptions::new("m", "req_1");
    let context = pair.translate_request(request, &options).unwrap().context;
    let (kind, transform) = if is_stream {
        let events = TranslatedEvents::new(
            context.stream_translator(),
            Framing::ServerSentEvents,
            Framing::ServerSentEvents,
        );
        ("text/event-stream", BodyTransform::TranslateEvents(Box::new(events)))
    } else {
        ("application/json", BodyTransform::TranslateWhole(Box::new(context)))
    };
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().unwrap())]);
    MeteredBody::new(&headers, b"", false, transform)
}

fn whole_answer(text_bytes: usize) -> Bytes {
    let text = "a".repeat(text_bytes);
    let answer = r#"{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"TEXT"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;
    answer.replace("TEXT", &text).into()
}

fn event(text_bytes: usize) -> Bytes {
    let text = "a".repeat(text_bytes);
    let event = r#"{"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":"TEXT"},"finish_reason":null}]}"#;
    format!("data: {}\n\n", event.replace("TEXT", &text)).into()
}

/// Keeps the class of long bodies busy until the returned sender is used.
async fn occupy(workers: &BodyWorkers) -> mpsc::Sender<()> {
    let (release, wait) = mpsc::channel::<()>();
    let key = KeyId::from_bits(2);
    let permits =
        workers.acquire_permits(&key, JobSize::new(LONG_BYTES, TRANSLATION_MEMORY_FACTOR)).await;
    let Ok(permits) = permits else { panic!("the class is free") };
    tokio::spawn(async move {
        let wait = move || wait.recv();
        let done = permits.run(wait).await;
        assert!(matches!(done, Ok(Ok(()))));
    });
    release
}

/// A source that has no more bytes and waits as long as needed.
fn source() -> ResponseSource {
    let body = UpstreamBody::from(Bytes::new());
    let end = Instant::now() + Duration::from_secs(1000);
    ResponseSource::new(body, Duration::from_secs(1000), end, CancellationToken::new())
}

/// Runs `work` on `body` if it is long, else at once. Returns its result and whether it waited
/// for `release`.
async fn run<T: Send + 'static>(
    body: &mut MeteredBody,
    workers: &BodyWorkers,
    release: &mpsc::Sender<()>,
    size: Option<JobSize>,
    work: impl FnOnce(&mut MeteredBody) -> T + Send + 'static,
) -> (T, bool) {
    let Some(size) = size else { return (work(body), false) };
    let (mut source, key) = (source(), KeyId::from_bits(1));
    let mut reader = ResponseReader { source: &mut source, workers, key: &key };
    let mut job = Box::pin(body.run_on_workers(&mut reader, size, work));
    assert!(job.as_mut().now_or_never().is_none(), "the lane is busy");
    release.send(()).unwrap();
    let Ok(result) = job.await else { panic!("the process does not stop") };
    (result, true)
}

#[tokio::test]
async fn only_long_answers_are_translated_on_the_workers() {
    let workers = BodyWorkers::with_cores(1);
    for (text_bytes, is_long) in [(1000, false), (LONG_BYTES, true)] {
        let release = occupy(&workers).await;
        let (mut body, mut same) = (translated(false), translated(false));
        for body in [&mut body, &mut same] {
            assert!(body.observe(whole_answer(text_bytes)).unwrap().is_empty());
        }
        let expected = same.observe_end().unwrap();
        assert!(expected.len() > text_bytes);
        let size = body.long_end();
        let end = MeteredBody::observe_end;
        let (result, waited) = run(&mut body, &workers, &release, size, end).await;
        assert_eq!(waited, is_long, "{text_bytes} bytes");
        if !waited {
            release.send(()).unwrap();
        }
        assert_eq!(result.unwrap(), expected, "{text_bytes} bytes");
        let (reading, _) = body.finish(10);
        assert_eq!(reading, same.finish(10).0);
        assert_eq!(reading.usage.tokens.output, 2);
    }
}

#[tokio::test]
async fn only_the_end_of_a_long_event_waits_for_the_workers() {
    let workers = BodyWorkers::with_cores(1);
    let release = occupy(&workers).await;
    let (mut body, mut same) = (translated(true), translated(true));
    let stream = [event(5), event(LONG_BYTES), event(7)].concat();
    let chunks: Vec<_> = stream.chunks(16 * 1024).map(Bytes::copy_from_slice).collect();
    let (mut received, mut expected) = (Vec::new(), Vec::new());
    let mut waits = 0;
    for chunk in chunks {
        expected.extend_from_slice(&same.observe(chunk.clone()).unwrap());
        let size = body.long_step(&chunk);
        let observe = move |body: &mut MeteredBody| body.observe(chunk);
        let (result, waited) = run(&mut body, &workers, &release, size, observe).await;
        waits += usize::from(waited);
        received.extend_from_slice(&result.unwrap());
    }
    assert_eq!(waits, 1, "the chunk with the end of the long event");
    assert!(received == expected && received.len() > LONG_BYTES);
    assert!(body.long_step(&event(9)).is_none(), "later events are short again");
}

#[test]
fn answers_that_are_not_translated_are_observed_at_once() {
    for (kind, end) in [
        ("text/event-stream", None),
        ("application/json", Some(READ_MEMORY_FACTOR)),
        ("Text/Event-Stream; charset=utf-8", None),
    ] {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().unwrap())]);
        let mut body = MeteredBody::new(&headers, b"", true, BodyTransform::PassThrough);
        let chunk = event(2 * LONG_BYTES);
        assert!(body.long_step(&chunk).is_none(), "{kind}");
        body.add_chunk(chunk.clone());
        let mut start = chunk.as_ptr();
        while body.has_pending() {
            let step = body.decode_step().unwrap();
            let given = body.transform_step(step).unwrap();
            assert!(given.len() <= STEP_PLAIN_BYTES, "{kind}");
            if body.is_stream() {
                assert_eq!(given.as_ptr(), start, "the same bytes, not a copy");
                start = start.wrapping_add(given.len());
            } else {
                assert!(given.is_empty(), "the meter holds them");
            }
        }
        assert_eq!(
            body.long_end(),
            end.map(|memory_factor| JobSize::new(chunk.len(), memory_factor)),
            "{kind}"
        );
        if end.is_some() {
            assert_eq!(body.read_whole_body(), chunk);
        }
    }
}

#[test]
fn answers_in_unknown_codings_hide_their_usage() {
    for bytes in [b"\x1b\x02\x80".as_slice(), b"<x"] {
        let headers = [(CONTENT_ENCODING, "br"), (CONTENT_TYPE, "application/json")];
        let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
        let headers = HeaderMap::from_iter(headers);
        let mut body = MeteredBody::new(&headers, bytes, true, BodyTransform::PassThrough);
        body.observe(Bytes::from_static(bytes)).unwrap();
        assert!(body.finish(10).0.hides_usage, "{bytes:?}");
    }
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// gzip without its header, or named in `transfer-encoding`: the client gets the answer, and the
/// meter reads it.
#[test]
fn gzip_is_known_by_its_first_bytes() {
    let answer = whole_answer(100);
    for kind in ["application/json", "text/event-stream"] {
        let plain = if kind == "application/json" { answer.clone() } else { event(100) };
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().unwrap())]);
        let packed = Bytes::from(gzip(&plain));
        let mut body = MeteredBody::new(&headers, &packed, true, BodyTransform::PassThrough);
        let given = body.observe(packed).unwrap();
        assert!(body.writes_bytes() && !body.keeps_coding());
        let given = [given, body.observe_end().unwrap(), body.read_whole_body()].concat();
        assert_eq!(given, plain, "{kind}");
        let reading = body.finish(4_000).0;
        assert!(reading.started && !matches!(reading.first, AnswerStart::Error(_)), "{kind}");
        assert_eq!(reading.usage.estimated, kind != "application/json", "{kind}");
    }
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, "application/json".parse().unwrap())]);
    let mut body = MeteredBody::new(&headers, &answer, true, BodyTransform::PassThrough);
    body.observe(answer).unwrap();
    assert!(!body.writes_bytes());
}

/// A gateway decompressed the answer and kept the header.
#[test]
fn plain_bytes_with_a_coding_are_read_and_lose_it() {
    for (kind, plain) in
        [("application/json", whole_answer(100)), ("text/event-stream", event(100))]
    {
        for coding in ["gzip", "br", "zstd", "gzip, gzip"] {
            let headers = [(CONTENT_ENCODING, coding), (CONTENT_TYPE, kind)];
            let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
            let headers = HeaderMap::from_iter(headers);
            let mut body = MeteredBody::new(&headers, &plain, true, BodyTransform::PassThrough);
            assert!(!body.keeps_coding() && !body.is_unread(), "{coding}");
            let given = body.observe(plain.clone()).unwrap();
            let given = [given, body.observe_end().unwrap(), body.read_whole_body()].concat();
            assert_eq!(given, plain, "{kind} {coding}");
            let reading = body.finish(4_000).0;
            assert!(reading.started && !reading.hides_usage, "{kind} {coding}");
        }
    }
}
