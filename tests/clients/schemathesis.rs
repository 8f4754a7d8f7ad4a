//! Schemathesis reads the OpenAPI description of the admin API and tries to break the API with it.
//! There must be no server error and no status, content type or body that the description does not
//! list.

use std::process::Command;
use std::time::Duration;

use baton_test_harness::program::Program;
use baton_test_harness::system::TestSystem;
use tempfile::TempDir;

use crate::install;

const CLIENT_TIMEOUT: Duration = Duration::from_mins(5);
/// It has an environment of its own because it needs many packages.
const PACKAGE: &str = "schemathesis==4.32.5\n";
const TOKEN: &str = "token-of-schemathesis-0123456789";

#[tokio::test]
async fn admin_api_conforms_to_openapi() {
    let mut system = TestSystem::builder().env("BATON_ADMIN_TOKEN", TOKEN).start().await;
    let address = system.process().admin;
    let home = TempDir::with_prefix("schemathesis-").expect("a home");
    let mut command =
        Command::new(install::python_folder("schemathesis", PACKAGE).join("bin/schemathesis"));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.path())
        .current_dir(home.path())
        .args(["--config-file", concat!(env!("CARGO_MANIFEST_DIR"), "/clients/schemathesis.toml")])
        .args(["run", "--no-color", "--continue-on-failure"])
        .args(["--header", &format!("Authorization: Bearer {TOKEN}")])
        .arg(format!("http://{address}/api/v1/openapi.json"));
    let ended = Program::run(&mut command, CLIENT_TIMEOUT);
    assert_eq!(
        ended.code,
        Some(0),
        "{}{}\n{}",
        ended.stdout,
        ended.stderr,
        system.process().stderr()
    );
    assert!(ended.stdout.contains("Stateful"), "not every phase ran: {}", ended.stdout);
}
