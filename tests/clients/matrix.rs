//! Each real client through Baton against the strict twin of each vendor. The table of what it does,
//! and of what is refused, is `baton_test_harness::client_matrix`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use baton_test_harness::client_matrix::{CLIENTS, MatrixClient, Refusal, RefusedBy};
use baton_test_harness::program::Program;
use baton_test_harness::system::{TestKey, TestSystem};
use baton_test_harness::twin_upstream::{TWIN_UPSTREAMS, TwinUpstream, summary_equals_twin};
use baton_test_vendors::Twin;
use serde_json::Value;
use tempfile::TempDir;

use crate::install;

const CLIENT_TIMEOUT: Duration = Duration::from_mins(2);

/// A test for each of these clients, and one that finds a missing client.
macro_rules! test_clients {
    ($is_fast:literal: $($client:ident)*) => {
        $(
            #[tokio::test]
            async fn $client() {
                $crate::matrix::assert_right_results(stringify!($client)).await;
            }
        )*

        #[test]
        fn every_client_has_a_test() {
            $crate::matrix::assert_all_tested($is_fast, &[$(stringify!($client)),*]);
        }
    };
}
pub(crate) use test_clients;

pub(crate) fn assert_all_tested(is_fast: bool, tested: &[&str]) {
    let wanted = CLIENTS
        .iter()
        .filter(|client| client.packages.is_fast == is_fast)
        .map(|client| client.name);
    assert_eq!(tested, wanted.collect::<Vec<_>>());
}

/// Runs the client against all vendors, and compares every result and all tokens.
pub(crate) async fn assert_right_results(tested: &str) {
    let client = CLIENTS.iter().find(|client| client.name == tested).expect("a client");
    let system = TestSystem::empty().await;
    let (mut faults, mut used) = (Vec::new(), Vec::new());
    for (index, upstream) in TWIN_UPSTREAMS.iter().enumerate() {
        let twin = Twin::start(upstream.vendor);
        let key = upstream.key(&system, &format!("twin-{index}"), &twin).await;
        let results = results(client, &system, &key);
        let found = faults_of(client, upstream, &results, &twin);
        faults.extend(found.into_iter().map(|fault| format!("{}: {fault}", upstream.name)));
        used.push((key, twin));
    }
    // Usage comes later, so all of it is awaited at the end.
    for (key, twin) in &used {
        summary_equals_twin(&system, key, twin).await;
    }
    assert!(faults.is_empty(), "{tested}\n{}", faults.join("\n"));
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/clients.md");
    let page = std::fs::read_to_string(page).expect("the page");
    assert!(page.contains(&client.row()), "docs/reference/clients.md has another row of {tested}");
}

/// What the client's script prints: a result for each scenario.
fn results(client: &MatrixClient, system: &TestSystem, key: &TestKey) -> Value {
    let home = TempDir::with_prefix("client-").expect("a home");
    let packages = client.packages;
    let python = install::python(packages);
    let modules = install::node_folder(packages).join("node_modules");
    let program = if client.is_python() { python } else { PathBuf::from("node") };
    // Scripts find packages of Node.js beside themselves.
    let scripts = home.path().join("scripts");
    copy_scripts(&scripts);
    std::os::unix::fs::symlink(&modules, scripts.join("node_modules")).expect("a link");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(
        std::iter::once(modules.join(".bin")).chain(std::env::split_paths(&path)),
    );
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", path.expect("a path"))
        .env("HOME", home.path())
        .env("BATON_URL", system.relay_url())
        .env("BATON_KEY", &key.secret)
        .env("BATON_API", client.api.name())
        .env("BATON_MODEL", client.api.model())
        .env(
            "BATON_SCENARIOS",
            client.scenarios.iter().map(|it| it.name()).collect::<Vec<_>>().join(","),
        )
        .arg(scripts.join(client.script))
        .current_dir(home.path());
    let ended = Program::run(&mut command, CLIENT_TIMEOUT);
    let last = ended.stdout.lines().last().unwrap_or_default();
    serde_json::from_str(last)
        .unwrap_or_else(|e| panic!("{}: {e}: {}{}", client.name, ended.stdout, ended.stderr))
}

fn copy_scripts(to: &Path) {
    std::fs::create_dir(to).expect("a folder");
    let from = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/matrix");
    for entry in std::fs::read_dir(from).expect("the scripts") {
        let entry = entry.expect("a script");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

/// The results that differ from the table.
fn faults_of(
    client: &MatrixClient,
    upstream: &TwinUpstream,
    results: &Value,
    twin: &Twin,
) -> Vec<String> {
    let (mut faults, mut refused) = (Vec::new(), Vec::new());
    for scenario in client.scenarios {
        let result = &results[scenario.name()];
        let is_right = match client.refusal(upstream.name, *scenario) {
            None => *result == scenario.right_result(upstream),
            // The ledger has the words of the vendor; not every client shows them.
            Some(Refusal { by: RefusedBy::Vendor, words, .. }) => {
                refused.push(*words);
                result["error"].is_string()
            }
            Some(Refusal { by: RefusedBy::Baton, words, .. }) => {
                result["error"].as_str().is_some_and(|error| error.contains(words))
            }
        };
        if !is_right {
            faults.push(format!("{}: {result}", scenario.name()));
        }
    }
    let words: Vec<String> = twin.refusals().into_iter().filter_map(|it| it.refusal).collect();
    let is_listed = |words: &&String| refused.iter().any(|listed| words.contains(listed));
    let others = words.iter().filter(|words| !is_listed(words));
    faults.extend(others.map(|words| format!("the vendor refused: {words}")));
    let missing = refused.iter().filter(|listed| !words.iter().any(|it| it.contains(**listed)));
    faults.extend(missing.map(|listed| format!("the vendor did not say: {listed}")));
    faults
}
