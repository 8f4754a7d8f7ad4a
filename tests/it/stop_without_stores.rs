//! A stop while the stores fail: clients get an error event, the log contains every record, and the
//! output says so.

use std::process::Command;
use std::time::{Duration, Instant};

use baton_domain::record::RequestOutcome;
use baton_domain::secret::Secret;
use baton_runtime::signed_record;
use baton_runtime::vault::Pepper;
use baton_test_harness::lambda::{LambdaDeployment, PEPPER, ServeProcess};
use baton_test_harness::system::SOON;
use serde_json::Value;

const STREAMS: usize = 12;
const STOP_SECONDS: u64 = 1;

/// Sends a signal to the process of the stores.
fn signal(cloud: &LambdaDeployment, name: &str) {
    let id = cloud.stores.id().to_string();
    let status = Command::new("kill").args([name, &id]).status().expect("kill");
    assert!(status.success(), "{name}");
}

/// Stops `baton serve` with open streams after the stores have received this signal.
async fn stop_after(signal_name: &str) {
    let cloud = LambdaDeployment::open().await;
    let secret = cloud.create_account_and_key(&cloud.function("admin").await).await;
    let mut variables = cloud.variables();
    variables.push(("BATON_STOP_SECONDS".to_owned(), STOP_SECONDS.to_string()));
    let mut server = ServeProcess::start(&variables).await;
    let key = server.key(&secret);
    let mut streams = Vec::new();
    for number in 0..STREAMS {
        cloud.upstream.gate(&format!("stop-{number}")).release(8);
        cloud.upstream.next(&format!("fixture:text;size=100;gate=stop-{number}"));
        let mut live = key.open("hi").await;
        live.read_to(600).await;
        streams.push(live);
    }

    signal(&cloud, signal_name);
    let begun = Instant::now();
    server.program.terminate();
    for live in streams {
        let answer = live.finish().await.ok();
        assert!(!answer.torn, "{signal_name}: the answer is torn");
        assert!(answer.text().contains("event: error"), "{signal_name}: {}", answer.text());
    }
    let ended = server.program.ended(SOON);
    let took = begun.elapsed();
    signal(&cloud, "-CONT");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(took < Duration::from_secs(STOP_SECONDS + 10), "{took:?}");
    let words = format!("stopped; {STREAMS} usage records of this process are only in the log");
    assert!(ended.stdout.contains(&words), "{}", ended.stdout);

    let pepper = Pepper::new(&Secret::new(PEPPER.to_owned()));
    let lines = ended.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let texts = lines.filter_map(|line| line[signed_record::FIELD].as_str().map(str::to_owned));
    let records: Vec<_> =
        texts.map(|text| signed_record::verify(&pepper, &text).expect("a record")).collect();
    assert_eq!(records.len(), STREAMS);
    assert!(records.iter().all(|record| record.outcome == RequestOutcome::Stopped));
}

#[tokio::test]
async fn stop_with_hanging_stores_logs_all_records() {
    stop_after("-STOP").await;
}

#[tokio::test]
async fn stop_without_stores_logs_all_records() {
    stop_after("-KILL").await;
}
