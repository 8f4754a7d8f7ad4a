//! A hostile or broken upstream. The model's name decides its answer.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const MB: usize = 1 << 20;
const JSON: &str = "content-type: application/json\r\n";
const SSE: &str = "content-type: text/event-stream\r\n";
/// Enough time for Baton to forward the earlier bytes.
const PAUSE: Duration = Duration::from_millis(200);
/// How long an event stays incomplete.
const HOLD: Duration = Duration::from_secs(6);
const GZIP: &str = "content-encoding: gzip\r\n";

/// The number of requests so far.
pub(crate) static ASKED: AtomicUsize = AtomicUsize::new(0);

/// Listens on a free port and serves each connection, until the runtime ends.
pub(crate) async fn listen<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let serving = serve(stream);
            tokio::spawn(async move {
                // A client that leaves is not a failure of this program.
                let _left = serving.await;
            });
        }
    });
    address
}

/// Starts the upstream on a free port. It serves until the runtime ends.
pub(crate) async fn start() -> SocketAddr {
    listen(serve).await
}

async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        let Some((path, body)) = request(&mut stream).await? else { return Ok(()) };
        ASKED.fetch_add(1, Ordering::Relaxed);
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let named = body["model"].as_str().unwrap_or_default().to_owned();
        let model = path.split("/model/").nth(1).and_then(|rest| rest.split('/').next());
        let model = model.map_or(named, |encoded| encoded.replace("%3A", ":"));
        answer(&mut stream, &model, &path, body["stream"] == true).await?;
    }
}

pub(crate) async fn request(stream: &mut TcpStream) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let mut seen = Vec::new();
    let end = loop {
        if let Some(at) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut seen).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&seen[..end]).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|value| value.trim().parse::<usize>().ok())
        .unwrap_or_default();
    while seen.len() < end + length {
        if stream.read_buf(&mut seen).await? == 0 {
            return Ok(None);
        }
    }
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    Ok(Some((path, seen[end..].to_vec())))
}

fn head(headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{headers}transfer-encoding: chunked\r\n\r\n").into_bytes()
}

fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{JSON}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn event(name: &str, data: &str) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

pub(crate) fn begin(model: &str) -> String {
    let data = format!(
        r#"{{"type":"message_start","message":{{"id":"msg_1","type":"message","role":"assistant","model":"{model}","content":[],"usage":{{"input_tokens":3,"output_tokens":1}}}}}}"#
    );
    event("message_start", &data)
        + &event(
            "content_block_start",
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        )
}

pub(crate) fn delta(text: &str) -> String {
    let data = format!(
        r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{text}"}}}}"#
    );
    event("content_block_delta", &data)
}

pub(crate) fn end() -> String {
    event(
        "message_delta",
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}"#,
    ) + &event("message_stop", r#"{"type":"message_stop"}"#)
}

fn whole(model: &str, usage: &str) -> String {
    format!(
        r#"{{"id":"msg_1","type":"message","role":"assistant","model":"{model}","content":[{{"type":"text","text":"ok"}}],"stop_reason":"end_turn","usage":{usage}}}"#
    )
}

pub(crate) fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).expect("compressed");
    encoder.finish().expect("compressed")
}

/// A Bedrock frame that contains an event.
pub(crate) fn frame(json: &str) -> Vec<u8> {
    let payload = serde_json::json!({"bytes": BASE64_STANDARD.encode(json)}).to_string();
    let header = |name: &'static str, value: &'static str| {
        Header::new(name, HeaderValue::String(value.into()))
    };
    let message = Message::new(payload)
        .add_header(header(":event-type", "chunk"))
        .add_header(header(":content-type", "application/json"))
        .add_header(header(":message-type", "event"));
    let mut frame = Vec::new();
    write_message_to(&message, &mut frame).expect("a frame");
    frame
}

/// Sends `first`, then `piece` repeatedly until `bytes` bytes are sent, then `last`.
async fn long(
    stream: &mut TcpStream,
    headers: &str,
    (first, piece, last): (&[u8], &[u8], &[u8]),
    bytes: usize,
) -> std::io::Result<()> {
    stream.write_all(&head(headers)).await?;
    let mut sent = 0;
    chunk(stream, first).await?;
    while sent < bytes {
        chunk(stream, piece).await?;
        sent += piece.len();
    }
    chunk(stream, last).await?;
    stream.write_all(b"0\r\n\r\n").await
}

async fn chunk(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let mut framed = format!("{:x}\r\n", bytes.len()).into_bytes();
    framed.extend_from_slice(bytes);
    framed.extend_from_slice(b"\r\n");
    stream.write_all(&framed).await
}

async fn answer(
    stream: &mut TcpStream,
    model: &str,
    path: &str,
    is_stream: bool,
) -> std::io::Result<()> {
    let filler = vec![b'x'; 64 * 1024];
    let text = delta(&"x".repeat(16 * 1024));
    let started = begin("claude-opus-5-5");
    let json = br#"{"type":"message","content":[{"type":"text","text":""#.as_slice();
    match model {
        "json-endless" => long(stream, JSON, (json, &filler, b""), 500 * MB).await,
        "text-endless" => {
            long(stream, "content-type: text/plain\r\n", (b"", &filler, b""), 500 * MB).await
        }
        "json-31" => long(stream, JSON, (json, &filler, br#""}]}"#), 31 * MB).await,
        "line-endless" => long(stream, SSE, (b"data: ", &filler, b""), 500 * MB).await,
        "comment-endless" => long(stream, SSE, (b"", b": comment\n\n", b""), 20 * MB).await,
        "blank-endless" => long(stream, SSE, (b"", &[b'\n'; 4096], b""), 20 * MB).await,
        "line-after-start" => {
            let first = format!("{started}data: ");
            long(stream, SSE, (first.as_bytes(), &filler, b""), 300 * MB).await
        }
        "error-endless" => {
            let head = format!("HTTP/1.1 400 X\r\n{JSON}transfer-encoding: chunked\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            for _ in 0..5000 {
                chunk(stream, &filler).await?;
            }
            Ok(())
        }
        "text-deltas" => {
            let bytes = (started.as_bytes(), text.as_bytes(), b"".as_slice());
            long(stream, SSE, bytes, 300 * MB).await
        }
        "parts" => {
            let part = event(
                "content_block_start",
                r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#,
            ) + &event(
                "content_block_stop",
                r#"{"type":"content_block_stop","index":1}"#,
            );
            let many = part.repeat(200);
            long(stream, SSE, (started.as_bytes(), many.as_bytes(), b""), 200 * MB).await
        }
        "event-unfinished" => {
            // A valid event, and then one that nearly reaches the size limit and does not end.
            stream.write_all(&head(SSE)).await?;
            chunk(stream, started.as_bytes()).await?;
            tokio::time::sleep(PAUSE).await;
            let first = &delta("")[..delta("").len() - 6];
            chunk(stream, first.as_bytes()).await?;
            for _ in 0..(8 * MB / filler.len() - 2) {
                chunk(stream, &filler).await?;
            }
            tokio::time::sleep(HOLD).await;
            Ok(())
        }
        "gzip-bomb" => {
            let bomb = gzip(&vec![b' '; 64 * MB]);
            long(stream, &format!("{JSON}{GZIP}"), (b"", &bomb, b""), 1).await
        }
        "gzip-members" => {
            let members = gzip(&vec![b' '; 4 * MB]).repeat(200);
            long(stream, &format!("{JSON}{GZIP}"), (b"", &members, b""), 1).await
        }
        "gzip-empty-members" => {
            let members = gzip(b"").repeat(50_000);
            long(stream, &format!("{JSON}{GZIP}"), (b"", &members, b""), 30 * MB).await
        }
        "gzip-stream" => {
            let members = gzip(&vec![b'\n'; 4 * MB]).repeat(200);
            long(stream, &format!("{SSE}{GZIP}"), (&gzip(started.as_bytes()), &members, b""), 1)
                .await
        }
        "headers-endless" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            let lines = "x-a: b\r\n".repeat(10_000);
            loop {
                stream.write_all(lines.as_bytes()).await?;
            }
        }
        "header-line" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nx-a: ").await?;
            loop {
                stream.write_all(&filler).await?;
            }
        }
        "1xx-endless" => loop {
            stream.write_all("HTTP/1.1 103 Early\r\nx: y\r\n\r\n".repeat(100).as_bytes()).await?;
        },
        _ if model.contains("frame-unfinished") => {
            stream.write_all(&head("content-type: application/vnd.amazon.eventstream\r\n")).await?;
            chunk(stream, &frame(r#"{"type":"message_start","message":{"usage":{}}}"#)).await?;
            tokio::time::sleep(PAUSE).await;
            // The beginning of a frame of 23 MiB without headers.
            let length = u32::try_from(23 * MB).expect("it fits").to_be_bytes();
            let mut prelude = [length, [0; 4]].concat();
            let mut sum = flate2::Crc::new();
            sum.update(&prelude);
            prelude.extend_from_slice(&sum.sum().to_be_bytes());
            chunk(stream, &prelude).await?;
            for _ in 0..(22 * MB / filler.len()) {
                chunk(stream, &filler).await?;
            }
            tokio::time::sleep(HOLD).await;
            Ok(())
        }
        _ if model.contains("frame-length") => {
            // A Bedrock frame that announces a length of 4 GB.
            let first = [0xff_u8, 0xff, 0xff, 0xf0, 0, 0, 0, 0, 0x11, 0x22, 0x33, 0x44];
            let headers = "content-type: application/vnd.amazon.eventstream\r\n";
            long(stream, headers, (&first, &filler, b""), 300 * MB).await
        }
        "big-model" => {
            let body = whole(&"M".repeat(3_000_000), r#"{"input_tokens":3,"output_tokens":2}"#);
            stream.write_all(&ok(&body)).await
        }
        "big-model-stream" => {
            let body = begin(&"M".repeat(3_000_000)) + &end();
            long(stream, SSE, (body.as_bytes(), b"", b""), 0).await
        }
        "iterations" => {
            let pass = r#"{"type":"message","model":"m","input_tokens":1,"output_tokens":1},"#;
            let list = pass.repeat(20_000);
            let usage = format!(
                r#"{{"input_tokens":1,"output_tokens":1,"iterations":[{}]}}"#,
                list.trim_end_matches(',')
            );
            stream.write_all(&ok(&whole("claude-opus-5-5", &usage))).await
        }
        "long-words" => {
            let long = "T".repeat(500_000);
            let usage = format!(
                r#"{{"input_tokens":1,"output_tokens":1,"service_tier":"{long}","inference_geo":"{long}","speed":"{long}"}}"#
            );
            stream.write_all(&ok(&whole("claude-opus-5-5", &usage))).await
        }
        "long-error" => {
            let data = format!(
                r#"{{"type":"error","error":{{"type":"{}","message":"x"}}}}"#,
                "E".repeat(500_000)
            );
            let body = event("error", &data);
            long(stream, SSE, (body.as_bytes(), b"", b""), 0).await
        }
        "ticking" => {
            // Begins an answer, and then sends something from time to time forever.
            stream.write_all(&head(SSE)).await?;
            chunk(stream, begin("claude-opus-5-5").as_bytes()).await?;
            loop {
                chunk(stream, delta("tick").as_bytes()).await?;
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
        "chat-ticking" => {
            stream.write_all(&head(SSE)).await?;
            loop {
                chunk(stream, b"data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"tick\"}}]}\n\n").await?;
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
        "pouring" => {
            stream.write_all(&head(SSE)).await?;
            chunk(stream, begin("claude-opus-5-5").as_bytes()).await?;
            loop {
                chunk(stream, text.as_bytes()).await?;
            }
        }
        "silent" => {
            let mut rest = [0; 16];
            while stream.read(&mut rest).await? > 0 {}
            Ok(())
        }
        _ if model.starts_with("nobody-") => {
            let body =
                r#"{"type":"error","error":{"type":"not_found_error","message":"model: nope"}}"#;
            let head = format!("HTTP/1.1 404 X\r\n{JSON}content-length: {}\r\n\r\n", body.len());
            stream.write_all((head + body).as_bytes()).await
        }
        _ if is_stream && path.starts_with("/v1/messages") => {
            let body = begin("claude-opus-5-5") + &delta("ok") + &end();
            long(stream, SSE, (body.as_bytes(), b"", b""), 0).await
        }
        _ => {
            let body = whole("claude-opus-5-5", r#"{"input_tokens":3,"output_tokens":2}"#);
            stream.write_all(&ok(&body)).await
        }
    }
}
