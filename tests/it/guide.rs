//! The documented path to a deployment. Its `baton` commands run here, in their order, against the
//! local stack. `infra/check-guide.py` checks its `sam` and `aws` commands.

use std::path::Path;

use baton_test_harness::system::{TestKey, TestSystem};

use crate::repository_shape::read;

/// The page with the path to a deployment, and the heading where the tested section begins. It ends
/// at the next heading of the same level.
const PAGE: &str = "docs/operate/deploy-aws.md";
const HEADING: &str = "\n## 3. First account and key\n";

/// The API key that the fake upstream accepts.
const API_KEY: &str = "sk-upstream-guide";

/// The commands in the `sh` blocks of that section.
fn commands() -> Vec<String> {
    let page = read(Path::new(PAGE));
    let section = page.split(HEADING).nth(1).expect("the section");
    let level = HEADING.trim_end().split_once(' ').map_or(HEADING, |(level, _)| level);
    let section = section.split(&format!("{level} ")).next().unwrap_or(section);
    let blocks = section.split("```sh\n").skip(1);
    let inside = blocks.map(|block| block.split("```").next().unwrap_or_default());
    inside.flat_map(str::lines).map(str::to_owned).collect()
}

#[tokio::test]
async fn deployment_guide_commands_work() {
    let mut system = TestSystem::empty().await;
    system.upstream.only_takes(&[API_KEY]);
    let mut output = String::new();
    let mut run = 0;
    for line in commands() {
        // The test cannot type a key, and the upstream is the fake one.
        let known = format!("--api-key {API_KEY} --base-url {}", system.upstream.url());
        let line = line.replace("--api-key -", &known);
        let Some(arguments) = line.strip_prefix("baton ") else { continue };
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        let ended = system.process().command(&arguments);
        assert_eq!(ended.code, Some(0), "{line}: {}{}", ended.stdout, ended.stderr);
        output.push_str(&ended.stdout);
        run += 1;
    }
    assert!(run >= 3, "the guide must add an account, show it and create a key");
    let secret = output.split_whitespace().find(|word| word.starts_with("bt_"));
    let key = TestKey::found(secret.expect("a key is made"), &system.relay_url());
    let usage = system.request("GET", "/v1/usage").header("x-api-key", &key.secret);
    baton_test_harness::client_response::ClientResponse::to(usage).await.ok();
}
