//! The README's path to a deployment: its `baton` commands are run here, in their order, against
//! the local stack. Its `sam` and `aws` commands are held by `infra/check-guide.py`.

use baton_tests::house::{House, Key};

const README: &str = include_str!("../../README.md");

/// The commands in the fenced blocks of a section.
fn commands(heading: &str) -> Vec<&'static str> {
    let section = README.split(heading).nth(1).expect("the section");
    let section = section.split("\n## ").next().unwrap_or(section);
    let blocks = section.split("```sh\n").skip(1);
    let inside = blocks.map(|block| block.split("```").next().unwrap_or_default());
    inside.flat_map(str::lines).collect()
}

#[tokio::test]
async fn what_the_readme_tells_a_deployer_to_type_works() {
    let mut house = House::empty().await;
    let mut said = String::new();
    let mut run = 0;
    for line in commands("\n## Deploy\n") {
        // `…` stands for the rest of a secret.
        let line = line.replace('…', "0123456789");
        let Some(arguments) = line.strip_prefix("baton ") else { continue };
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        let ended = house.process().command(&arguments);
        assert_eq!(ended.code, Some(0), "{line}: {}{}", ended.stdout, ended.stderr);
        said.push_str(&ended.stdout);
        run += 1;
    }
    assert!(run >= 3, "an account, a look at it, a key");
    let secret = said.split_whitespace().find(|word| word.starts_with("bt_"));
    let key = Key::found(secret.expect("a key is made"), &house.relay_url());
    let usage = house.request("GET", "/v1/usage").header("x-api-key", &key.secret);
    baton_tests::answer::Answer::to(usage).await.ok();
}
