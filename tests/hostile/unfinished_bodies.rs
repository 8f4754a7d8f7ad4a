//! Large bodies of one key that do not end: the memory that they use, and the service for others
//! meanwhile.

use std::time::Duration;

use baton_test_harness::eventually::eventually;
use baton_test_harness::system::{MODEL, TestSystem};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::class::AttackClass;
use crate::process::{RESIDENT_MB_MAX, address, memory_mb};

const MB: usize = 1 << 20;

pub(crate) async fn run(class: AttackClass) {
    let system = TestSystem::builder()
        .env("BATON_BODY_STALL_SECONDS", "4")
        .with_account("main")
        .start()
        .await;
    let tight = system.key("tight").limit("concurrency", 1).limit_usd_daily("0.01").create().await;
    let loose = system.key("loose").create().await;
    let other = system.key("other").create().await;
    for (name, key, is_chunked) in [
        ("80 bodies of a key that may have one request", &tight, false),
        ("80 bodies of an unlimited key", &loose, false),
        ("80 bodies of unknown length", &loose, true),
    ] {
        let mut sending = Vec::new();
        for _ in 0..80 {
            let (relay, secret) = (address(&system.relay_url()), key.secret.clone());
            sending.push(tokio::spawn(body(relay, secret, is_chunked)));
        }
        let mut answers = Vec::new();
        // Others are served while all of these requests are open.
        for _ in 0..5 {
            let answer = other.ask("hi").await;
            class.check("another key meanwhile", answer.status == 200, || answer.text());
        }
        for one in sending {
            answers.push(one.await.unwrap_or_default());
        }
        for said in answers {
            let status = said.get(9..12).unwrap_or_default().to_owned();
            let is_refused = ["429", "503", "408"].contains(&status.as_str());
            class.check(name, is_refused, || format!("it was told: {said:.300}"));
        }
        let most = memory_mb(system.process_id(), "VmHWM");
        class.check(name, most < RESIDENT_MB_MAX, || format!("{most} MB resident"));
    }
    let most = memory_mb(system.process_id(), "VmHWM");
    println!("  unfinished bodies: {most} MB at most");
    let back = eventually("memory is given back", Duration::from_secs(20), async || {
        let now = memory_mb(system.process_id(), "VmRSS");
        if now < 140 { Ok(now) } else { Err(now) }
    });
    let back = back.await;
    class.check("afterwards", back < 140, || format!("{back} MB"));
    // A body of the largest allowed size is served.
    let text = "x".repeat(31 * MB);
    let body = format!(
        r#"{{"model":"{MODEL}","max_tokens":9,"stream":true,"messages":[{{"role":"user","content":"{text}"}}]}}"#
    );
    let answer = baton_test_harness::client_response::ClientResponse::to(loose.message(body)).await;
    class.check("one body of 31 MB", answer.status == 200, || answer.text());
}

/// Sends up to 31 of 32 MB, as far as they are accepted. Returns the answer.
async fn body(relay: std::net::SocketAddr, secret: String, is_chunked: bool) -> String {
    let length = if is_chunked {
        "transfer-encoding: chunked".to_owned()
    } else {
        format!("content-length: {}", 32 * MB)
    };
    let head =
        format!("POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {secret}\r\n{length}\r\n\r\n");
    let Ok(mut stream) = TcpStream::connect(relay).await else { return String::new() };
    if stream.write_all(head.as_bytes()).await.is_err() {
        return String::new();
    }
    let (mut reader, mut writer) = stream.into_split();
    let writing = tokio::spawn(async move {
        let piece = vec![b'x'; MB];
        for _ in 0..31 {
            if is_chunked && writer.write_all(b"100000\r\n").await.is_err() {
                break;
            }
            if writer.write_all(&piece).await.is_err() {
                break;
            }
            if is_chunked && writer.write_all(b"\r\n").await.is_err() {
                break;
            }
        }
        // Kept open without an end.
        writer
    });
    let mut said = Vec::new();
    let reading = async {
        while let Ok(1..) = tokio::io::AsyncReadExt::read_buf(&mut reader, &mut said).await {}
    };
    let _late = tokio::time::timeout(Duration::from_secs(40), reading).await;
    writing.abort();
    String::from_utf8_lossy(&said).into_owned()
}
