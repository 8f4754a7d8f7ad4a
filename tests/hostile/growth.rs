//! Names and numbers that make stored data grow: sums, metrics, records, log lines.

use std::time::Duration;

use baton_test_harness::system::{TestSystem, message};

use crate::bad_upstream;
use crate::class::AttackClass;

const NAMES: usize = 150;

/// Names that do not exist.
pub(crate) async fn cardinality(class: AttackClass) {
    let system = TestSystem::builder().env("BATON_METRICS_TOKEN", "metrics-token").start().await;
    let key = system.private_key(&format!("http://{}", bad_upstream::start().await)).await;
    for number in 0..NAMES {
        let answer = key.ask_model(&format!("nobody-{number}"), "hi").await;
        class.check("a model that there is not", answer.status == 404, || answer.text());
    }
    let events = system.events_within(Duration::from_mins(1), &key, NAMES).await;
    class.check("records", events.len() == NAMES, || events.len().to_string());
    for by in ["model", "day,model", "key,model", "hour,model"] {
        let rows = system.summary(&format!("by={by}")).await;
        class.check(by, rows.len() <= 3, || format!("{} rows", rows.len()));
        let requests: u64 = rows.iter().filter_map(|row| row["requests"].as_u64()).sum();
        class.check(&format!("{by}: all counted"), requests == NAMES as u64, || {
            requests.to_string()
        });
    }
    let metrics = reqwest::Client::new().get(format!("{}/metrics", system.admin_url()));
    let metrics = baton_test_harness::client_response::ClientResponse::to(
        metrics.bearer_auth("metrics-token"),
    )
    .await;
    let names = metrics.text().matches("nobody-").count();
    class.check("labels", metrics.status == 200 && names == 0, || {
        format!("{} {names}", metrics.status)
    });
}

/// Answers that would make records long. The records are cut, and the usage is counted.
pub(crate) async fn long_records(class: AttackClass) {
    let mut system = TestSystem::builder().start().await;
    let key = system.private_key(&format!("http://{}", bad_upstream::start().await)).await;
    let models = ["big-model", "big-model-stream", "iterations", "long-words", "long-error"];
    for model in models {
        let body = message(model, "hi", model.ends_with("stream") || model == "long-error");
        let request = key
            .message(body.to_string())
            .header("x-claude-code-session-id", "s".repeat(5_000))
            .header("x-claude-code-agent-id", "a".repeat(5_000));
        let answer = baton_test_harness::client_response::ClientResponse::to(request).await;
        class.check(model, answer.status == 200 || model == "long-error", || {
            format!("{} {:.300}", answer.status, answer.text())
        });
    }
    let events = system.events_within(Duration::from_secs(20), &key, models.len()).await;
    for model in models {
        let event = events.iter().find(|event| event["model"] == model);
        let length = event.map(|event| event.to_string().len()).unwrap_or_default();
        class.check(&format!("{model}: the record"), (1..20_000).contains(&length), || {
            format!("{length} bytes")
        });
    }
    let log = system.process().stderr().len() + system.process().stdout().len();
    class.check("the log", log < 200_000, || format!("{log} bytes"));
}
