//! Profiles: addresses and tokens under names, in a file that only its owner can read.

use std::os::unix::fs::PermissionsExt as _;

use baton_test_harness::program::ProgramResult;
use baton_test_harness::system::TestSystem;

fn run(system: &mut TestSystem, variables: &[(&str, &str)], line: &str) -> ProgramResult {
    let arguments: Vec<&str> = line.split_whitespace().collect();
    system.process().command_with(variables, &arguments)
}

#[track_caller]
fn run_ok(system: &mut TestSystem, variables: &[(&str, &str)], line: &str) -> String {
    let ended = run(system, variables, line);
    assert_eq!(ended.code, Some(0), "baton {line}: {}{}", ended.stdout, ended.stderr);
    ended.stdout
}

#[tokio::test]
async fn profile_supplies_url_and_token() {
    let mut system = TestSystem::empty().await;
    let process = system.process();
    let (url, token) = (format!("http://{}", process.admin), process.admin_token.clone());
    let file = process.home().join(".config/baton/config.toml");
    let add = format!("profile add here --url {url} --token {token}");
    run_ok(&mut system, &[], &add);
    run_ok(&mut system, &[], "profile add nowhere --url http://127.0.0.1:1 --token other");
    let mode = std::fs::metadata(&file).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    run_ok(&mut system, &[], "group list");
    let listed = run_ok(&mut system, &[], "profile list");
    assert!(listed.contains("here") && listed.contains(&url), "{listed}");
    assert!(!listed.contains(&token) && !listed.contains("other"), "{listed}");
    run_ok(&mut system, &[], "profile use nowhere");
    assert_eq!(run(&mut system, &[], "group list").code, Some(1));
    run_ok(&mut system, &[], "group list --profile here");
    run_ok(&mut system, &[("BATON_PROFILE", "here")], "group list");
    run_ok(&mut system, &[("BATON_URL", &url), ("BATON_ADMIN_TOKEN", &token)], "group list");
    let variables = [("BATON_URL", "http://127.0.0.1:1"), ("BATON_ADMIN_TOKEN", "x")];
    run_ok(&mut system, &variables, "group list --profile here");

    let ended = run(&mut system, &[], "group list --profile gone");
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("here, nowhere"), "{}", ended.stderr);
    run_ok(&mut system, &[], "profile remove nowhere");
    assert!(!std::fs::read_to_string(&file).expect("the file").contains("nowhere"));
}

#[tokio::test]
async fn token_of_profile_is_not_sent_to_other_url() {
    let mut system = TestSystem::empty().await;
    let upstream = system.upstream.url();
    run_ok(&mut system, &[], "profile add here --url http://127.0.0.1:1 --token tell-nobody");
    let ended = run(&mut system, &[], &format!("group list --url {upstream}"));
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("no admin token"), "{}", ended.stderr);
    assert!(system.upstream.exchanges().is_empty(), "a request was sent");
}

#[tokio::test]
async fn profile_file_readable_by_others_is_refused() {
    let mut system = TestSystem::empty().await;
    run_ok(&mut system, &[], "profile add here --url http://127.0.0.1:1 --token t");
    let file = system.process().home().join(".config/baton/config.toml");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    let ended = run(&mut system, &[], "group list");
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("chmod 600"), "{}", ended.stderr);
}
