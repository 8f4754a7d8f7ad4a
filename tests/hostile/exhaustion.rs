//! Very many connections without a credential, and a process without free file descriptors.

use std::time::Duration;

use baton_test_harness::system::TestSystem;

use crate::class::AttackClass;
use crate::process::{address, health, send, unknown_key};

const MOST: usize = 100;

pub(crate) async fn run(class: AttackClass) {
    let launch = TestSystem::builder().env("BATON_CONNECTIONS_MAX", &MOST.to_string());
    let system = launch.with_account("main").start().await;
    let key = system.key("kept").create().await;
    let (relay, admin) = (address(&system.relay_url()), address(&system.admin_url()));
    // A stream of a valid key is open all the time.
    let gate = system.upstream.gate("kept");
    gate.release(3);
    system.upstream.next("text;gate=kept");
    let mut live = key.open("hi").await;
    live.read_to(20).await;
    let mut held = Vec::new();
    let requests = [
        String::new(),
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n{".to_owned(),
        "GET / HTTP/1.1\r\nx: ".to_owned(),
        format!(
            "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ncontent-length: 9\r\n\r\n{{",
            unknown_key(1)
        ),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0".to_owned(),
        "GET /health HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
    ];
    for round in 0..3 {
        held.clear();
        for request in &requests {
            for at in [relay, admin] {
                for _ in 0..40 {
                    held.extend(send(at, request.as_bytes()).await.ok());
                }
            }
        }
        for (name, at) in [("relay", relay), ("admin", admin)] {
            let said = health(at).await;
            class.check(&format!("{name} in round {round}"), said == "200", || said.clone());
        }
        let answer = key.ask("hi").await;
        class.check("a valid key", answer.status == 200, || answer.text());
    }
    let files =
        std::fs::read_dir(format!("/proc/{}/fd", system.process_id())).map_or(0, Iterator::count);
    class.check("open files", files < 3 * MOST + 100, || {
        format!("{files} of {} connections", held.len())
    });
    gate.open();
    let answer = live.finish().await;
    class.check("the stream that was under way", !answer.torn, || answer.text());
    drop(held);
    no_files(&class, &system).await;
}

/// The process cannot open another file.
async fn no_files(class: &AttackClass, system: &TestSystem) {
    let open =
        std::fs::read_dir(format!("/proc/{}/fd", system.process_id())).map_or(0, Iterator::count);
    let limit = format!("--nofile={0}:{0}", open + 12);
    let process = system.process_id().to_string();
    let limited = std::process::Command::new("prlimit").args(["--pid", &process, &limit]).status();
    if !limited.is_ok_and(|status| status.success()) {
        return;
    }
    let relay = address(&system.relay_url());
    let mut held = Vec::new();
    for _ in 0..80 {
        let request = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n{";
        let opening = tokio::time::timeout(Duration::from_secs(1), send(relay, request)).await;
        held.extend(opening.ok().and_then(Result::ok));
    }
    let said = health(relay).await;
    class.check("no more files: relay", said == "200", || said.clone());
    let said = health(address(&system.admin_url())).await;
    class.check("no more files: admin", said == "200", || said.clone());
}
