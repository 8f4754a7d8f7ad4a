//! Clients that send nothing, send only a part, or do not read.

use std::time::Duration;

use baton_test_harness::system::TestSystem;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::bad_upstream;
use crate::class::AttackClass;
use crate::process::{address, read_to_end, send, unknown_key};

const EACH: usize = 10;
const CLOSE_TIMEOUT: Duration = Duration::from_secs(15);
const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0";

pub(crate) async fn run(class: AttackClass) {
    let launch = TestSystem::builder()
        .env("BATON_HEAD_SECONDS", "1")
        .env("BATON_KEEP_ALIVE_SECONDS", "1")
        .env("BATON_BODY_SECONDS", "4")
        .env("BATON_BODY_STALL_SECONDS", "1")
        .env("BATON_UNREAD_SECONDS", "2");
    let system = launch.start().await;
    let upstream = bad_upstream::start().await;
    let key = system.private_key(&format!("http://{upstream}")).await;
    let relay = address(&system.relay_url());
    let admin = address(&system.admin_url());
    let body = |headers: &str| {
        format!(
            "POST /v1/messages HTTP/1.1\r\nhost: x\r\n{headers}content-length: 100000\r\n\r\n{{"
        )
    };
    let kinds = [
        ("nothing", relay, String::new()),
        ("half a line", relay, "POST /v1/mess".to_owned()),
        ("half a head", relay, "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-a: ".to_owned()),
        ("idle after an answer", relay, "GET /health HTTP/1.1\r\nhost: x\r\n\r\n".to_owned()),
        ("body without a key", relay, body("")),
        ("body with an unknown key", relay, body(&format!("x-api-key: {}\r\n", unknown_key(1)))),
        ("body with a key", relay, body(&format!("x-api-key: {}\r\n", key.secret))),
        (
            "body of unknown length with a key",
            relay,
            format!(
                "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{{\"mod\r\n",
                key.secret
            ),
        ),
        ("body on a route that there is not", relay, body("").replace("/v1/messages", "/nowhere")),
        ("idle HTTP/2", relay, PREFACE.to_owned()),
        ("half a preface", relay, "PRI * HTTP/2.0\r\n".to_owned()),
        ("admin: nothing", admin, String::new()),
        (
            "admin: body with a wrong token",
            admin,
            body("authorization: Bearer no\r\n").replace("/v1/messages", "/api/v1/keys"),
        ),
        (
            "admin: body with the token",
            admin,
            body(&format!("authorization: Bearer {}\r\n", system.admin_token()))
                .replace("/v1/messages", "/api/v1/keys"),
        ),
        (
            "admin: sign-in form",
            admin,
            body("content-type: application/x-www-form-urlencoded\r\n")
                .replace("/v1/messages", "/console/sign-in"),
        ),
        ("admin: idle HTTP/2", admin, PREFACE.to_owned()),
    ];
    let mut open = Vec::new();
    for (name, at, bytes) in &kinds {
        for _ in 0..EACH {
            let stream = send(*at, bytes.as_bytes()).await;
            open.push((
                *name,
                tokio::spawn(async move {
                    let Ok(mut stream) = stream else { return (String::new(), true) };
                    read_to_end(&mut stream, CLOSE_TIMEOUT).await
                }),
            ));
        }
    }
    for (name, reading) in open {
        let (said, is_closed) = reading.await.unwrap_or_default();
        class.check(name, is_closed, || format!("still open after {CLOSE_TIMEOUT:?}: {said}"));
        if name == "body with a key" {
            let is_told = said.contains(" 408 ") && said.contains("fewer than");
            class.check("what a slow body is told", is_told, || said.clone());
        }
        if name == "admin: body with the token" {
            class.check("what a slow admin is told", said.contains(" 408 "), || said.clone());
        }
    }
    trickled(&class, relay, &body(&format!("x-api-key: {}\r\n", key.secret))).await;
    unread(&class, &system, &key.secret).await;
}

/// A body that arrives byte by byte.
async fn trickled(class: &AttackClass, relay: std::net::SocketAddr, head: &str) {
    let Ok(stream) = send(relay, head.as_bytes()).await else { return };
    let (mut reader, mut writer) = stream.into_split();
    let writing = tokio::spawn(async move {
        while writer.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let mut said = Vec::new();
    let reading = tokio::io::AsyncReadExt::read_buf(&mut reader, &mut said);
    let is_told = tokio::time::timeout(CLOSE_TIMEOUT, reading).await.is_ok();
    let said = String::from_utf8_lossy(&said).into_owned();
    class.check("a byte every 0.1 s", is_told && said.contains(" 408 "), || said.clone());
    writing.abort();
}

/// Answers that the client does not read: their connections are closed, and their usage is
/// recorded.
async fn unread(class: &AttackClass, system: &TestSystem, secret: &str) {
    let body = r#"{"model":"pouring","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let request = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {secret}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut streams = Vec::new();
    for _ in 0..EACH {
        let stream = send(address(&system.relay_url()), request.as_bytes()).await;
        streams.extend(stream.ok());
    }
    for stream in streams {
        let is_cut = cut(stream).await;
        class.check("an answer that is not read", is_cut, || "it is still open".to_owned());
    }
}

/// Whether the other end closes a connection that is not read.
async fn cut(stream: TcpStream) -> bool {
    let waiting = async {
        // A write fails after the other end has closed. Reading is not possible here, because the
        // test must not read.
        let mut stream = stream;
        while stream.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(CLOSE_TIMEOUT, waiting).await.is_ok()
}
