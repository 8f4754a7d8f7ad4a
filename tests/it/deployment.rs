//! The deployment files in `infra/`: the sample events work with the functions, the container's
//! health check is correct, and `baton serve` drains when the platform stops it. `tests/image`
//! checks the image itself.

use std::path::PathBuf;

use baton_test_harness::eventually::eventually;
use baton_test_harness::fixtures;
use baton_test_harness::lambda::{LambdaDeployment, ServeProcess, WITHOUT_HURRY};
use baton_test_harness::system::{SOON, TestSystem};
use serde_json::{Value, json};

fn infra(name: &str) -> String {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../infra")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn sample(name: &str) -> Value {
    serde_json::from_str(&infra(&format!("events/{name}.json"))).expect("JSON")
}

#[tokio::test]
async fn sample_events_are_accepted_by_the_functions() {
    let cloud = LambdaDeployment::open().await;
    let admin = cloud.function("admin").await;
    let key = cloud.create_account_and_key(&admin).await;

    let mut request = sample("request");
    request["headers"]["x-api-key"] = key.into();
    let relay = cloud.function("relay").await;
    relay.stream(&request, WITHOUT_HURRY).await.finish().await.ok();
    assert_eq!(cloud.upstream.last().request.path(), "/v1/messages");

    let stats = cloud.function("stats").await;
    let answer = stats.invoke(&sample("batch"), WITHOUT_HURRY).await;
    assert_eq!(answer["batchItemFailures"], json!([]));
    let november = "/usage/summary?from=2026-11-11&to=2026-11-11";
    let summary =
        LambdaDeployment::operate(&admin, "GET", november, &Value::Null).await.ok().json();
    assert_eq!(summary["data"][0]["tokens"]["output"], 34, "{summary}");

    let refresh = cloud.function("refresh").await;
    let done = refresh.invoke(&sample("tick"), WITHOUT_HURRY).await;
    assert_eq!(done["elsewhere"], false, "{done}");
}

/// A health check that fails although the relay runs would stop a good container. One that passes
/// although the relay is gone would keep a dead container.
#[tokio::test]
async fn health_command_reports_the_relay() {
    let mut system = TestSystem::open().await;
    let listen = system.process().relay.to_string();
    let ended = system.process().command(&["health", "--listen", &listen]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let anywhere = listen.replace("127.0.0.1", "0.0.0.0");
    assert_eq!(system.process().command(&["health", "--listen", &anywhere]).code, Some(0));
    // The other server answers, but it is not a relay.
    let other = system.upstream.url().replace("http://", "");
    assert_eq!(system.process().command(&["health", "--listen", &other]).code, Some(1));
    system.process().kill();
    let ended = system.process().command(&["health", "--listen", &listen]);
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.stderr.trim().lines().count(), 1, "{}", ended.stderr);
}

#[test]
fn container_file_has_command_and_health_check() {
    let file = infra("Containerfile");
    for command in [r#"CMD ["baton", "health"]"#, r#"CMD ["serve"]"#, "USER nonroot"] {
        assert!(file.contains(command), "{command}");
    }
}

#[tokio::test]
async fn serve_drains_on_sigterm() {
    let cloud = LambdaDeployment::open().await;
    let key = cloud.create_account_and_key(&cloud.function("admin").await).await;
    let mut server = ServeProcess::start(&cloud.variables()).await;
    let key = server.key(&key);
    let fixture = fixtures::stream("text").expect("the fixture");
    let gate = cloud.upstream.gate("drain");
    gate.release(8);
    cloud.upstream.next("fixture:text;size=100;gate=drain");
    let mut live = key.open("hi").await;
    live.read_to(600).await;

    server.program.terminate();
    eventually("no new connection is taken", SOON, async || match tokio::net::TcpStream::connect(
        server.relay,
    )
    .await
    {
        Err(_) => Ok(()),
        Ok(_) => Err("it still listens"),
    })
    .await;
    assert!(!server.program.is_over(), "the stream is still open");
    gate.open();
    assert_eq!(live.finish().await.ok().body, fixture.body);
    let ended = server.program.ended(SOON);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(cloud.stores.receive().await.len(), 1, "its usage is in the queue");
}
