//! Streams whose clients do not read them, and streams that decompress to very many events: the
//! memory that they hold, and how long other requests wait.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use baton_test_harness::system::{MODEL, TestKey, TestSystem, message};
use flate2::write::GzEncoder;
use flate2::{Compress, Compression, FlushCompress};
use futures_util::future::join_all;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::bad_upstream::{begin, delta, frame, listen, request};
use crate::class::AttackClass;
use crate::process::{HEALTH_MAX, HealthWatch, RESIDENT_MB_MAX, address, health, memory_mb};

/// How long the upstream sends.
const SENDING: Duration = Duration::from_secs(4);
/// The pause between two questions to `GET /health`.
const PAUSE: Duration = Duration::from_millis(15);
/// The bytes of events that one piece of gzip contains.
const BURST_BYTES: usize = 15_500_000;
/// The streams that others read meanwhile.
const HONEST: usize = 4;

const SSE: &str = "content-type: text/event-stream\r\n";
const FRAMES: &str = "content-type: application/vnd.amazon.eventstream\r\n";
const MESSAGES: &str = "/v1/messages";
const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const INVOKE: &str = "/model/claude-haiku-4-5/invoke-with-response-stream";

/// What an upstream sends.
#[derive(Clone)]
struct Sending {
    headers: String,
    pieces: Arc<Vec<Vec<u8>>>,
    /// The pause after each piece.
    pause: Duration,
    /// Whether the last piece is sent again and again.
    is_endless: bool,
}

impl Sending {
    /// The first piece once, and the second one without an end.
    fn endless(headers: &str, first: Vec<u8>, block: Vec<u8>) -> Self {
        let pieces = Arc::new(vec![first, block]);
        Self { headers: headers.to_owned(), pieces, pause: Duration::ZERO, is_endless: true }
    }
}

/// The first events, and then three pieces of very many events.
fn gzip_pieces() -> std::io::Result<Vec<Vec<u8>>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(first_events().as_bytes())?;
    encoder.flush()?;
    let mut pieces = vec![std::mem::take(encoder.get_mut())];
    for _ in 0..3 {
        encoder.write_all(&b"data:{}\n\n".repeat(BURST_BYTES / 9))?;
        encoder.flush()?;
        pieces.push(std::mem::take(encoder.get_mut()));
    }
    Ok(pieces)
}

fn first_events() -> String {
    begin(MODEL) + &delta("a")
}

/// The first events in gzip, and a block of events that can follow itself.
fn gzip_flood(block: &str) -> Sending {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(first_events().as_bytes()).expect("compressed");
    encoder.flush().expect("compressed");
    let first = std::mem::take(encoder.get_mut());
    // A full flush makes the block independent of what precedes it.
    let mut compress = Compress::new(Compression::fast(), false);
    let mut bytes = Vec::with_capacity(block.len() + 1_024);
    compress.compress_vec(block.as_bytes(), &mut bytes, FlushCompress::Full).expect("compressed");
    Sending::endless(&format!("{SSE}content-encoding: gzip\r\n"), first, bytes)
}

async fn start_upstream(sending: Sending) -> SocketAddr {
    listen(move |stream| {
        let sent = send(stream, sending.clone());
        // Baton can close the connection first.
        async move { tokio::time::timeout(3 * SENDING, sent).await.unwrap_or(Ok(())) }
    })
    .await
}

async fn send(mut stream: TcpStream, sending: Sending) -> std::io::Result<()> {
    if request(&mut stream).await?.is_none() {
        return Ok(());
    }
    let head = format!("HTTP/1.1 200 OK\r\n{}connection: close\r\n\r\n", sending.headers);
    stream.write_all(head.as_bytes()).await?;
    for piece in sending.pieces.iter() {
        stream.write_all(piece).await?;
        tokio::time::sleep(sending.pause).await;
    }
    while let Some(last) = sending.pieces.last().filter(|_| sending.is_endless) {
        stream.write_all(last).await?;
        // Enough for all buffers, without much work here.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    tokio::time::sleep(SENDING).await;
    Ok(())
}

/// Opens a stream of `key` that nobody reads.
async fn open_unread(relay: SocketAddr, key: &TestKey, path: &str) -> std::io::Result<TcpStream> {
    let body = match path {
        RESPONSES => json!({"model": MODEL, "input": "hi", "stream": true}),
        INVOKE => json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 5,
            "messages": [{"role": "user", "content": "hi"}]}),
        _ => message(MODEL, "hi", true),
    };
    let body = body.to_string();
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    let mut stream = socket.connect(relay).await?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         accept-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        key.secret,
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    Ok(stream)
}

/// Starts Baton with an account of this kind at the upstream, and this number of keys for it.
async fn start(provider: &str, sending: Sending, keys: usize) -> (TestSystem, Vec<TestKey>) {
    let system = TestSystem::builder().env("BATON_LOG", "error").start().await;
    let upstream = format!("http://{}", start_upstream(sending).await);
    let bedrock = "anthropic.claude-haiku-4-5-20251001-v1:0";
    let fields = match provider {
        "bedrock" => json!({"provider": provider, "model_map": {MODEL: bedrock}}),
        provider => json!({"provider": provider}),
    };
    system.account_with("bad", &upstream, fields).await;
    let mut created = Vec::new();
    for number in 0..keys {
        created.push(system.key(&format!("ci {number}")).create().await);
    }
    (system, created)
}

/// Streams that nobody reads.
struct Unread {
    name: &'static str,
    provider: &'static str,
    path: &'static str,
    /// The number of streams, and of keys that share them.
    count: (usize, usize),
    sending: Sending,
}

fn unread_kinds() -> Vec<Unread> {
    let first = || first_events().into_bytes();
    let small = delta("a").repeat(500);
    let large = delta(&"x".repeat(64 * 1024));
    let events = |block: &str| Sending::endless(SSE, first(), block.as_bytes().to_vec());
    let coded = || {
        let headers = format!("{SSE}content-encoding: br\r\n");
        Sending::endless(&headers, vec![1; 100], vec![0x55; 65_536])
    };
    let frames = || {
        let data = |text: &str| {
            text.lines()
                .filter_map(|line| line.strip_prefix("data: "))
                .map(frame)
                .collect::<Vec<_>>()
                .concat()
        };
        Sending::endless(FRAMES, data(&first_events()), data(&delta(&"x".repeat(1_000))).repeat(50))
    };
    let kind =
        |name, provider, path, sending| Unread { name, provider, path, count: (300, 4), sending };
    vec![
        kind("small events", "anthropic", MESSAGES, events(&small)),
        kind("large events for a Chat client", "anthropic", CHAT, events(&large)),
        kind("frames", "bedrock", MESSAGES, frames()),
        // Each of these needs much work, since the system buffers gzip that contains very many events.
        Unread {
            count: (30, 4),
            ..kind("gzip", "anthropic", MESSAGES, gzip_flood(&small.repeat(20)))
        },
        // A debug build takes 35 MB more than a release build, so they are not 2,000.
        Unread { count: (1_500, 10), ..kind("1,500 clients", "anthropic", MESSAGES, coded()) },
    ]
}

/// The buffers of streams count toward the memory for answers, and streams that somebody reads
/// complete meanwhile.
pub(crate) async fn unread(class: AttackClass) {
    for Unread { name, provider, path, count: (count, key_count), sending } in unread_kinds() {
        let (system, keys) = start(provider, sending, key_count).await;
        let relay = address(&system.relay_url());
        let honest = system.private_key(&system.upstream.url()).await;
        let watch = HealthWatch::start(relay, PAUSE);
        let mut streams = Vec::new();
        for number in 0..count {
            streams.extend(open_unread(relay, &keys[number % key_count], path).await.ok());
        }
        class.check(&format!("{name}: connections"), streams.len() == count, || {
            format!("{} of {count}", streams.len())
        });
        tokio::time::sleep(SENDING / 2).await;
        let asking = (0..HONEST).map(|_| honest.ask("[[text;events=50]]"));
        let complete = join_all(asking).await;
        let whole = |answer: &&_| is_complete(answer);
        let whole = complete.iter().filter(whole).count();
        class.check(&format!("{name}: others"), whole == HONEST, || {
            let broken = complete.iter().find(|answer| !is_complete(answer));
            let text = broken.map(baton_test_harness::client_response::ClientResponse::text);
            let text = text.unwrap_or_default();
            let from = text.len().saturating_sub(300);
            format!("{whole} of {HONEST}, {}", text.get(from..).unwrap_or_default())
        });
        tokio::time::sleep(SENDING / 2).await;
        let most = memory_mb(system.process_id(), "VmHWM");
        let seen = watch.finish(HEALTH_MAX).await;
        println!("  {name}: {} unread streams, {most} MB at most, health {seen:?}", streams.len());
        class.check(&format!("{name}: memory"), most < RESIDENT_MB_MAX, || {
            format!("{most} MB resident")
        });
        let said = health(relay).await;
        class.check(&format!("{name}: health"), said == "200", || said.clone());
    }
}

fn is_complete(answer: &baton_test_harness::client_response::ClientResponse) -> bool {
    answer.status == 200 && !answer.torn && answer.text().contains("message_stop")
}

/// A chunk that decompresses to very many events is read in steps.
pub(crate) async fn tiny_events(class: AttackClass) {
    let sending = Sending {
        headers: format!("{SSE}content-encoding: gzip\r\n"),
        pieces: Arc::new(gzip_pieces().expect("a buffer")),
        pause: SENDING / 6,
        is_endless: false,
    };
    for path in [MESSAGES, INVOKE, CHAT, RESPONSES] {
        let (system, keys) = start("anthropic", sending.clone(), 4).await;
        let relay = address(&system.relay_url());
        let watch = HealthWatch::start(relay, PAUSE);
        let mut streams = Vec::new();
        for key in &keys {
            streams.extend(open_unread(relay, key, path).await.ok());
        }
        tokio::time::sleep(SENDING).await;
        let most = memory_mb(system.process_id(), "VmHWM");
        let seen = watch.finish(HEALTH_MAX).await;
        println!("  {path}: {most} MB at most, health {seen:?}");
        class.record(&format!("{path}: health"), seen.map(drop));
        class.check(&format!("{path}: memory"), most < RESIDENT_MB_MAX, || {
            format!("{most} MB resident")
        });
    }
}
