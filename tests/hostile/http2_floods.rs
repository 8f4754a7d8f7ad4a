//! Floods of HTTP/2 frames that request nothing.

use std::net::SocketAddr;
use std::time::Duration;

use baton_test_harness::system::TestSystem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::class::AttackClass;
use crate::process::{RESIDENT_MB_MAX, address, health, memory_mb};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The most bytes of a flood that Baton may read.
const TAKEN_BYTES_MAX: usize = 12 << 20;
/// The size of a whole flood.
const FLOOD_BYTES: usize = 64 << 20;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header block of literals without indexing (RFC 7541, section 6.2.2).
fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            let length = u8::try_from(text.len()).unwrap_or(126);
            block.push(length.min(126));
            block.extend(text.bytes().take(126));
        }
    }
    block
}

fn get(path: &str) -> Vec<u8> {
    block(&[(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "x")])
}

fn post() -> Vec<u8> {
    let path = (":path", "/v1/messages");
    block(&[(":method", "POST"), (":scheme", "http"), path, (":authority", "x")])
}

/// The frames of a flood: the first ones, and those that each round repeats.
struct Flood {
    name: &'static str,
    first: Vec<u8>,
    round: fn(u32) -> Vec<u8>,
}

pub(crate) async fn run(class: AttackClass) {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    let floods = [
        Flood {
            name: "WINDOW_UPDATE",
            first: Vec::new(),
            round: |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        },
        Flood {
            name: "WINDOW_UPDATE of a stream",
            first: frame(HEADERS, 4, 1, &post()),
            round: |_| frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
        },
        Flood {
            name: "PRIORITY",
            first: Vec::new(),
            round: |n| frame(PRIORITY, 0, n * 2 + 1, &[0, 0, 0, 0, 1]),
        },
        Flood { name: "PING", first: Vec::new(), round: |_| frame(PING, 0, 0, &[7; 8]) },
        Flood {
            name: "PING acknowledged",
            first: Vec::new(),
            round: |_| frame(PING, 1, 0, &[7; 8]),
        },
        Flood { name: "SETTINGS", first: Vec::new(), round: |_| frame(SETTINGS, 0, 0, &[]) },
        Flood {
            name: "SETTINGS with values",
            first: Vec::new(),
            round: |_| frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]),
        },
        Flood {
            name: "empty DATA",
            first: frame(HEADERS, 4, 1, &post()),
            round: |_| frame(DATA, 0, 1, &[]),
        },
        Flood {
            name: "padded DATA",
            first: frame(HEADERS, 4, 1, &post()),
            round: |_| frame(DATA, 8, 1, &[20; 21]),
        },
        Flood {
            name: "CONTINUATION",
            first: frame(HEADERS, 0, 1, &get("/health")),
            round: |_| frame(CONTINUATION, 0, 1, &block(&[("x-a", "b")])),
        },
        Flood {
            name: "empty CONTINUATION",
            first: frame(HEADERS, 0, 1, &get("/health")),
            round: |_| frame(CONTINUATION, 0, 1, &[]),
        },
        Flood {
            name: "rapid reset",
            first: Vec::new(),
            round: |n| {
                [
                    frame(HEADERS, 4, n * 2 + 1, &post()),
                    frame(RST_STREAM, 0, n * 2 + 1, &[0, 0, 0, 8]),
                ]
                .concat()
            },
        },
        Flood {
            name: "reset by an error",
            first: Vec::new(),
            round: |n| {
                [
                    frame(HEADERS, 4, n * 2 + 1, &post()),
                    frame(WINDOW_UPDATE, 0, n * 2 + 1, &[0, 0, 0, 0]),
                ]
                .concat()
            },
        },
        Flood {
            name: "unknown frames",
            first: Vec::new(),
            round: |_| frame(0xbb, 0, 0, &[0; 100]),
        },
        Flood {
            name: "RST_STREAM of one stream",
            first: frame(HEADERS, 5, 1, &get("/health")),
            round: |_| frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]),
        },
    ];
    for (door, at) in [("relay", system.relay_url()), ("admin", system.admin_url())] {
        let at = address(&at);
        for flood in &floods {
            let taken = flooded(at, flood).await;
            class.check(&format!("{} at the {door}", flood.name), taken <= TAKEN_BYTES_MAX, || {
                format!("{taken} bytes were taken")
            });
        }
        let said = health(at).await;
        class.check(&format!("{door} afterwards"), said == "200", || said.clone());
    }
    let answer = key.ask("hi").await;
    class.check("a key afterwards", answer.status == 200, || answer.text());
    honest(&class, &system).await;
    let most = memory_mb(system.process_id(), "VmHWM");
    class.check("memory", most < RESIDENT_MB_MAX, || format!("{most} MB resident"));
}

/// The number of bytes of a flood that are read before the connection is closed.
async fn flooded(at: SocketAddr, flood: &Flood) -> usize {
    let Ok(stream) = TcpStream::connect(at).await else { return usize::MAX };
    let (mut reader, mut writer) = stream.into_split();
    // Answers are read, so that they do not block the connection.
    let reading = tokio::spawn(async move {
        let mut bytes = [0; 4096];
        while let Ok(1..) = reader.read(&mut bytes).await {}
    });
    let mut taken = 0;
    let mut number = 0;
    let flooding = async {
        let first = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &flood.first].concat();
        writer.write_all(&first).await?;
        while taken < FLOOD_BYTES {
            let mut rounds = Vec::with_capacity(70_000);
            while rounds.len() < 64 * 1024 {
                rounds.extend((flood.round)(number));
                number = (number + 1) % 0x1fff_ffff;
            }
            writer.write_all(&rounds).await?;
            taken += rounds.len();
        }
        Ok::<_, std::io::Error>(())
    };
    let _late = tokio::time::timeout(Duration::from_secs(20), flooding).await;
    reading.abort();
    taken
}

/// A client that multiplexes, reads and writes much without being hostile must be served.
async fn honest(class: &AttackClass, system: &TestSystem) {
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build();
    let Ok(client) = client else { return };
    let key = system.key("h2").create().await;
    system.upstream.always("text");
    let ask = |body: String| {
        client
            .post(format!("{}/v1/messages", system.relay_url()))
            .header("x-api-key", &key.secret)
            .body(body)
            .send()
    };
    let text = "x".repeat(200_000);
    let body =
        |text: &str| baton_test_harness::system::message("claude-opus-5-5", text, true).to_string();
    let asking = (0..150).map(|number| ask(body(if number % 10 == 0 { &text } else { "hi" })));
    for answer in futures_util::future::join_all(asking).await {
        let is_good = match answer {
            Ok(answer) => answer.status() == 200 && answer.bytes().await.is_ok(),
            Err(_) => false,
        };
        class.check("150 requests on one connection", is_good, || "no good answer".to_owned());
    }
}
