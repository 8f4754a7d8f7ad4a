//! The export of usage: one row for each request, as a file in three formats.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use baton_domain::id::KeyId;
use baton_domain::usage::{TokenCounts, UsageIteration};
use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::injected_faults::InjectedFault;
use baton_test_harness::system::{InProcessSystem, TestSystem};
use serde_json::{Value, json};

fn lines(answer: &ClientResponse) -> Vec<Value> {
    answer.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test]
async fn export_has_every_event_once_newest_first() {
    let in_process = InProcessSystem::open().await;
    let (one, other) = (KeyId::from_bits(1), KeyId::from_bits(2));
    let mut records = Vec::new();
    // More than two pages of events, over two days.
    for number in 0..2100 {
        let mut record = in_process.record(if number % 3 == 0 { &one } else { &other });
        record.started_at -= jiff::SignedDuration::from_secs(60 * number);
        record.attempts = u32::try_from(number).expect("small");
        records.push(record);
    }
    records[7].iterations = vec![UsageIteration {
        kind: "advisor_message".into(),
        model: Some("claude-haiku-5-5".into()),
        tokens: TokenCounts { input: 40, ..TokenCounts::default() },
    }];
    in_process.store_all(&records).await;

    let answer = in_process.admin().get("/usage/export?format=jsonl").await.ok();
    assert_eq!(answer.header("content-type"), Some("application/jsonl"));
    let rows = lines(&answer);
    let expected: Vec<Value> =
        records.iter().map(|record| serde_json::to_value(record).expect("JSON")).collect();
    assert!(rows == expected, "the {} rows differ from the records", rows.len());

    let some = format!("/usage/export?format=jsonl&key_id={one}&from=2026-11-22&to=2026-11-22");
    let rows = lines(&in_process.admin().get(&some).await.ok());
    let today = records.iter().filter(|record| record.key_id == one);
    let today = today.filter(|record| record.started_at.to_string().starts_with("2026-11-22"));
    assert_eq!(rows.len(), today.count());

    let csv = in_process.admin().get("/usage/export").await.ok();
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    assert_eq!(
        csv.header("content-disposition"),
        Some("attachment; filename=\"usage-2026-10-23-2026-11-22.csv\"")
    );
    assert_eq!(csv.text().lines().count(), 2101, "rows and a header line");
    let parquet = in_process.admin().get("/usage/export?format=parquet").await.ok();
    assert!(parquet.body.starts_with(b"PAR1") && parquet.body.ends_with(b"PAR1"));
}

#[tokio::test]
async fn failed_export_aborts_the_response() {
    let (queries, after) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(usize::MAX)));
    let limit = Arc::clone(&after);
    let in_process = TestSystem::builder()
        .in_process()
        .store_hook(move |target, body| {
            let is_page =
                target.ends_with(".Query") && String::from_utf8_lossy(body).contains("by_day");
            let number = if is_page { queries.fetch_add(1, Ordering::SeqCst) } else { 0 };
            let gone = json!({"__type": "ResourceNotFoundException", "message": "gone"});
            (number >= limit.load(Ordering::SeqCst))
                .then(|| InjectedFault::error_answer(400, &gone))
        })
        .start()
        .await;
    let records: Vec<_> = (0..1500).map(|_| in_process.record(&KeyId::from_bits(1))).collect();
    in_process.store_all(&records).await;
    let query = "/usage/export?from=2026-11-22&to=2026-11-22&format=";
    in_process.admin().get(&format!("{query}csv")).await.ok();
    // The first page of the next file is the last one that can be read.
    after.store(3, Ordering::SeqCst);
    let answer = in_process.admin().get(&format!("{query}jsonl")).await;
    assert_eq!((answer.status, answer.torn), (200, true));
    assert_eq!(answer.text().lines().count(), 1000);
}

#[tokio::test]
async fn invalid_input_is_refused() {
    let in_process = InProcessSystem::open().await;
    for query in ["format=xml", "outcome=fine", "key_id=acc_1", "from=2026-11-05&to=2026-11-01"] {
        let answer = in_process.admin().get(&format!("/usage/export?{query}")).await;
        answer.refused(400, "invalid_request_error");
    }
    assert_eq!(in_process.admin().get("/usage/export?format=jsonl").await.ok().text(), "");
}

#[tokio::test]
async fn export_command_writes_whole_file_or_none() {
    let mut system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    key.ask("hi").await.ok();
    system.events_of(&key, 1).await;
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("usage.csv");
    let path = file.to_str().expect("plain").to_owned();
    let command = ["usage", "export", "--key", "ci", "--out", &path];
    let ended = system.process().command(&command);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let text = std::fs::read_to_string(&file).expect("the file");
    let mut rows = text.lines();
    assert!(rows.next().is_some_and(|head| head.starts_with("v,id,started_at,key_id,")), "{text}");
    assert!(rows.next().is_some_and(|row| row.contains(&key.id)), "{text}");
    assert_eq!(rows.next(), None);

    let ended = system.process().command(&["usage", "export", "--format", "jsonl"]);
    let row: Value = serde_json::from_str(ended.stdout.trim()).expect("one row");
    assert_eq!(row["key_id"], key.id.as_str());

    let other = folder.path().join("other.csv");
    let path = other.to_str().expect("plain").to_owned();
    let ended = system.process().command(&["usage", "export", "--outcome", "fine", "--out", &path]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("a folder").count(),
        1,
        "a partial file is left"
    );
}
