//! Secrets appear neither in the output nor in the stored files.

use std::path::Path;

use baton_test_harness::system::{OperatorClient, TestKey, TestSystem};
use baton_test_harness::upstream::FakeUpstream;
use serde_json::json;

const CANARY: &str = "sk-upstream-canary-7f3a9c";

/// The files below `folder` that contain `text`.
fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let files = walkdir::WalkDir::new(folder).into_iter().filter_map(Result::ok);
    let holds = |path: &Path| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    files
        .filter(|entry| entry.file_type().is_file() && holds(entry.path()))
        .map(|entry| entry.path().display().to_string())
        .collect()
}

#[tokio::test]
async fn output_and_files_contain_no_secret() {
    let upstream = FakeUpstream::start();
    let launch = TestSystem::builder().env("BATON_LOG", "trace");
    let mut process = launch.start_process().await;
    let admin = OperatorClient::at(process.admin, &process.admin_token);
    let account = json!({
        "name": "main", "base_url": upstream.url(),
        "credential": {"type": "api_key", "value": CANARY},
    });
    admin.create("/accounts", &account).await;
    let made = admin.post("/keys", &json!({"name": "ci"})).await.json();
    let secret = made["secret"].as_str().expect("a secret").to_owned();
    let key = TestKey::found(&secret, &format!("http://{}", process.relay));
    key.ask("hi").await.ok();
    upstream.next("error:authentication");
    key.ask("hi").await.refused(503, "api_error");

    process.terminate();
    let ended = process.ended();
    // The secret part of the key. Everybody can read its id.
    let secret_part = secret.rsplit('_').next().expect("the last part");
    for hidden in [CANARY, secret_part, process.admin_token.as_str()] {
        assert!(!ended.stdout.contains(hidden) && !ended.stderr.contains(hidden), "{hidden}");
        assert_eq!(files_with(launch.home(), hidden), Vec::<String>::new(), "{hidden}");
    }
}
