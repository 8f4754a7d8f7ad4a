//! Gemini CLI speaks an API that Baton does not have, and shows an answer that says what it needs.

use std::process::Command;
use std::time::Duration;

use baton_test_harness::client_matrix::SLOW;
use baton_test_harness::program::Program;
use baton_test_harness::system::TestSystem;
use tempfile::TempDir;

use crate::install;

const SETTINGS: &str = r#"{"security": {"auth": {"selectedType": "gemini-api-key"}}}"#;
const CLIENT_TIMEOUT: Duration = Duration::from_mins(2);

#[tokio::test]
async fn gemini_cli_says_which_clients_work() {
    let system = TestSystem::open().await;
    let key = system.key("gemini").create().await;
    let home = TempDir::with_prefix("gemini-").expect("a home");
    let modules = install::node_folder(SLOW).join("node_modules");
    let folder = home.path().join(".gemini");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::write(folder.join("settings.json"), SETTINGS).expect("the settings");
    let mut command = Command::new(modules.join(".bin/gemini"));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.path())
        .env("GOOGLE_GEMINI_BASE_URL", system.relay_url())
        .env("GEMINI_API_KEY", &key.secret)
        .args(["--prompt", "say hi", "--skip-trust"])
        .current_dir(home.path());
    let ended = Program::run(&mut command, CLIENT_TIMEOUT);
    let shown = ended.stdout + &ended.stderr;
    assert_ne!(ended.code, Some(0), "{shown}");
    assert!(shown.contains("Gemini API is not served"), "{shown}");
    assert!(system.upstream.exchanges().is_empty(), "nothing was sent");
}
