//! The completion scripts for shells.

use std::process::Command;
use std::time::Duration;

use baton_test_harness::program::Program;
use baton_test_harness::system::TestSystem;

fn script(shell: &str) -> String {
    let launch = TestSystem::builder();
    let mut command = Command::new(baton_test_harness::system::baton_binary());
    command.args(["completions", shell]).current_dir(launch.home());
    let ended = Program::run(&mut command, Duration::from_secs(30));
    assert_eq!(ended.code, Some(0), "{shell}: {}", ended.stderr);
    ended.stdout
}

#[test]
fn completion_scripts_list_the_commands() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let text = script(shell);
        for word in ["account", "rotate", "doctor", "import", "completions", "admin-listen"] {
            assert!(text.contains(word), "{shell}: no {word}");
        }
    }
}

#[test]
fn bash_accepts_its_completion_script() {
    let launch = TestSystem::builder();
    let file = launch.home().join("baton.bash");
    std::fs::write(&file, script("bash")).expect("write");
    let ended = Program::run(Command::new("bash").arg("-n").arg(&file), Duration::from_secs(30));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

#[test]
fn unknown_shell_exits_with_2() {
    let mut command = Command::new(baton_test_harness::system::baton_binary());
    let ended = Program::run(command.args(["completions", "csh"]), Duration::from_secs(30));
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
}
