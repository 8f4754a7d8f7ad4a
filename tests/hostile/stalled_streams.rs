//! Streams whose clients do not read them, and streams that decompress to very many events: the
//! memory that they hold, and how long other requests wait.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_test_harness::system::{MODEL, TestKey, TestSystem, message};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::bad_upstream::request;
use crate::class::AttackClass;
use crate::process::{RESIDENT_MB_MAX, address, health, memory_mb};

/// The streams that nobody reads.
const STALLED: usize = 300;
/// The keys that share them.
const KEYS: usize = 4;
/// How long the upstream sends.
const SENDING: Duration = Duration::from_secs(10);
/// The longest time for `GET /health`, in a debug build on a machine that runs other tests too.
/// Decoding one piece takes far longer.
const HEALTH_MAX: Duration = Duration::from_secs(2);
/// The bytes of events that one piece of gzip contains.
const BURST_BYTES: usize = 15_500_000;

const SSE: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n";

fn start_events() -> String {
    format!(
        "event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{{\"id\":\"m\",\
         \"type\":\"message\",\"role\":\"assistant\",\"model\":\"{MODEL}\",\"content\":[],\
         \"usage\":{{\"input_tokens\":3,\"output_tokens\":1}}}}}}\n\n{DELTA}"
    )
}

const DELTA: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\
                     \"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}\n\n";

/// What an upstream sends after the head of its answer.
#[derive(Clone)]
enum Sending {
    /// Events without an end.
    Flood,
    /// Pieces of one gzip body, most of which contain very many events.
    Gzip(Arc<Vec<Vec<u8>>>),
}

/// The first events, and then three pieces of very many events.
fn gzip_pieces() -> std::io::Result<Vec<Vec<u8>>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(start_events().as_bytes())?;
    encoder.flush()?;
    let mut pieces = vec![std::mem::take(encoder.get_mut())];
    for _ in 0..3 {
        encoder.write_all(&b"data:{}\n\n".repeat(BURST_BYTES / 9))?;
        encoder.flush()?;
        pieces.push(std::mem::take(encoder.get_mut()));
    }
    Ok(pieces)
}

async fn start_upstream(sending: Sending) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let sending = sending.clone();
            tokio::spawn(async move {
                let sent = send(stream, sending);
                // Baton can close the connection first.
                let _sent = tokio::time::timeout(SENDING, sent).await;
            });
        }
    });
    address
}

async fn send(mut stream: TcpStream, sending: Sending) -> std::io::Result<()> {
    if request(&mut stream).await?.is_none() {
        return Ok(());
    }
    match sending {
        Sending::Flood => {
            stream.write_all(format!("{SSE}\r\n{}", start_events()).as_bytes()).await?;
            let events = DELTA.repeat(500);
            loop {
                stream.write_all(events.as_bytes()).await?;
            }
        }
        Sending::Gzip(pieces) => {
            stream.write_all(format!("{SSE}content-encoding: gzip\r\n\r\n").as_bytes()).await?;
            for piece in pieces.iter() {
                stream.write_all(piece).await?;
                tokio::time::sleep(SENDING / 10).await;
            }
            tokio::time::sleep(SENDING).await;
            Ok(())
        }
    }
}

/// Opens a stream of `key` that nobody reads.
async fn open_unread(relay: SocketAddr, key: &TestKey, path: &str) -> std::io::Result<TcpStream> {
    let body = if path == "/v1/messages" {
        message(MODEL, "hi", true)
    } else {
        json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 5,
            "messages": [{"role": "user", "content": "hi"}]})
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

async fn start(sending: Sending) -> (TestSystem, Vec<TestKey>) {
    let system = TestSystem::builder().env("BATON_LOG", "error").start().await;
    let upstream = format!("http://{}", start_upstream(sending).await);
    system.account_with("bad", &upstream, json!({})).await;
    let mut keys = Vec::new();
    for number in 0..KEYS {
        keys.push(system.key(&format!("ci {number}")).create().await);
    }
    (system, keys)
}

/// Asks `GET /health` until `until`. Returns the longest time for an answer.
async fn longest_health(relay: SocketAddr, until: Instant) -> (Duration, bool) {
    let (mut longest, mut is_served) = (Duration::ZERO, true);
    while Instant::now() < until {
        let began = Instant::now();
        is_served &= health(relay).await == "200";
        longest = longest.max(began.elapsed());
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    (longest, is_served)
}

/// The buffers of streams count toward the memory for answers.
pub(crate) async fn unread(class: AttackClass) {
    let (system, keys) = start(Sending::Flood).await;
    let relay = address(&system.relay_url());
    let mut streams = Vec::new();
    for number in 0..STALLED {
        streams.extend(open_unread(relay, &keys[number % KEYS], "/v1/messages").await.ok());
    }
    let (longest, is_served) = longest_health(relay, Instant::now() + SENDING).await;
    let most = memory_mb(system.process_id(), "VmHWM");
    println!("  {} unread streams: {most} MB at most, health {longest:?}", streams.len());
    class.check("unread streams: memory", most < RESIDENT_MB_MAX, || format!("{most} MB resident"));
    class.check("unread streams: health", is_served, || "no answer".to_owned());
}

/// A chunk that decompresses to very many events is read in steps.
pub(crate) async fn tiny_events(class: AttackClass) {
    let pieces = Arc::new(gzip_pieces().expect("a buffer"));
    for path in ["/v1/messages", "/model/claude-haiku-4-5/invoke-with-response-stream"] {
        let (system, keys) = start(Sending::Gzip(Arc::clone(&pieces))).await;
        let relay = address(&system.relay_url());
        let mut streams = Vec::new();
        for key in &keys {
            streams.extend(open_unread(relay, key, path).await.ok());
        }
        let (longest, is_served) = longest_health(relay, Instant::now() + SENDING).await;
        let most = memory_mb(system.process_id(), "VmHWM");
        println!("  {path}: {most} MB at most, health {longest:?}");
        class.check(&format!("{path}: health"), is_served && longest < HEALTH_MAX, || {
            format!("{longest:?}")
        });
        class.check(&format!("{path}: memory"), most < RESIDENT_MB_MAX, || {
            format!("{most} MB resident")
        });
    }
}
