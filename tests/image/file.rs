//! Reads `infra/Containerfile`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use baton_test_harness::program::Program;
use baton_test_harness::system::target_folder;

const BUILD_TIMEOUT: Duration = Duration::from_mins(30);
const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The container file, one instruction on each line.
pub(crate) struct Containerfile(String);

impl Containerfile {
    pub(crate) fn read() -> Self {
        let path = Path::new(REPOSITORY).join("infra/Containerfile");
        let text = std::fs::read_to_string(path).expect("the container file");
        Self(text.replace("\\\n", " "))
    }

    /// Whether the file contains this instruction.
    pub(crate) fn has(&self, instruction: &str) -> bool {
        self.0.lines().any(|line| line == instruction)
    }

    /// The words of the list at the end of an instruction.
    pub(crate) fn words(&self, instruction: &str) -> Vec<String> {
        let line = self.0.lines().rfind(|line| line.starts_with(instruction));
        let list = line.and_then(|line| line.find('[').map(|at| &line[at..]));
        serde_json::from_str(list.expect(instruction)).expect("a list of words")
    }

    /// Runs the commands of the build stage without optimization. Returns the binary.
    pub(crate) fn build(&self) -> PathBuf {
        let target = target_folder().join("image");
        let binary = target.join("baton");
        let (stage, _) = self.0.split_once("\nFROM ${BASE}").expect("two stages");
        let instructions = |name: &'static str| {
            stage.lines().filter_map(move |line| line.strip_prefix(name)).collect::<Vec<_>>()
        };
        let mut script = vec!["set -e".to_owned()];
        script.extend(instructions("ENV ").iter().map(|set| format!("export {set}")));
        script
            .push("export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=0".into());
        script.push(format!(
            "export CARGO_PROFILE_RELEASE_CODEGEN_UNITS=256 CARGO_TARGET_DIR='{}'",
            target.display()
        ));
        let runs = instructions("RUN ");
        let steps = runs.iter().map(|run| {
            let words: Vec<_> =
                run.split(' ').filter(|word| !word.starts_with("--mount=")).collect();
            words.join(" ").replace(" /baton", &format!(" '{}'", binary.display()))
        });
        script.extend(steps);
        let mut sh = Command::new("sh");
        sh.args(["-c", &script.join("\n")]).current_dir(REPOSITORY);
        let ended = Program::run(&mut sh, BUILD_TIMEOUT);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        binary
    }
}
