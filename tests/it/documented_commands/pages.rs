//! The blocks of shell commands in README.md and in the pages of `docs/`.

use std::path::Path;

use crate::repository_shape::{files, read};

/// A document.
pub(super) struct Page {
    /// Path relative to the root of the repository.
    pub(super) path: String,
    pub(super) blocks: Vec<Block>,
    /// Errors in its fences.
    pub(super) wrong: Vec<String>,
}

/// A fenced block of the language `sh`.
pub(super) struct Block {
    pub(super) line: usize,
    pub(super) is_run: bool,
    pub(super) text: String,
}

/// The documents with commands.
pub(super) fn pages() -> Vec<Page> {
    let is_page = |path: &Path| {
        let at_top = ["README.md", "CONTRIBUTING.md"];
        let is_of_docs =
            path.starts_with("docs") && path.extension().is_some_and(|end| end == "md");
        is_of_docs || at_top.iter().any(|name| path == Path::new(name))
    };
    let mut paths: Vec<_> = files().into_iter().filter(|path| is_page(path)).collect();
    paths.sort();
    paths.iter().map(|path| Page::parse(path.display().to_string(), &read(path))).collect()
}

/// Start of a hidden command, which prepares what a page takes for granted.
const HIDDEN: &str = "<!-- sh run: ";

impl Page {
    fn parse(path: String, text: &str) -> Self {
        let mut page = Self { path, blocks: Vec::new(), wrong: Vec::new() };
        let mut lines = text.lines().enumerate();
        while let Some((at, line)) = lines.next() {
            let trimmed = line.trim_start();
            let hidden = trimmed.strip_prefix(HIDDEN).and_then(|rest| rest.strip_suffix(" -->"));
            if let Some(command) = hidden {
                page.blocks.push(Block { line: at + 1, is_run: true, text: command.to_owned() });
            }
            let Some(info) = trimmed.strip_prefix("```") else { continue };
            let indent = line.len() - trimmed.len();
            let inside = lines.by_ref().map(|(_, line)| line);
            let inside = inside.take_while(|line| !line.trim_start().starts_with("```"));
            let text = inside.map(|line| line.get(indent..).unwrap_or_default().to_owned() + "\n");
            let text: String = text.collect();
            let language = info.split([' ', ',']).next().unwrap_or_default();
            match (info.trim(), language) {
                ("sh", _) => page.blocks.push(Block { line: at + 1, is_run: false, text }),
                ("sh run", _) => page.blocks.push(Block { line: at + 1, is_run: true, text }),
                (_, "sh" | "bash" | "shell" | "console" | "zsh") => {
                    let what =
                        format!("{}:{}: write `sh` or `sh run`, not `{info}`", page.path, at + 1);
                    page.wrong.push(what);
                }
                _ => {}
            }
        }
        page
    }

    /// Whether the page must be in the list if its commands are not executed.
    pub(super) fn is_of_readers(&self) -> bool {
        self.path == "README.md" || self.path.starts_with("docs/")
    }

    /// The commands to execute, with `from` replaced by `to` in each. The shell prints the command
    /// that fails.
    pub(super) fn script(&self, replaced: &[(&str, String)]) -> String {
        let mut script =
            "set -euo pipefail\ntrap 'echo \"this failed: $BASH_COMMAND\" >&2' ERR\n".to_owned();
        for block in self.blocks.iter().filter(|block| block.is_run) {
            script.push_str(&block.text);
            script.push('\n');
        }
        replaced.iter().fold(script, |script, (from, to)| script.replace(from, to))
    }
}

#[test]
fn fences_and_hidden_commands_are_parsed() {
    let text = "a\n```sh\nb\n```\n* c\n  ```sh run\n  d\n    e\n  ```\n<!-- sh run: f -->\n```bash\ng\n```\n";
    let page = Page::parse("p.md".to_owned(), text);
    let blocks: Vec<(usize, bool, &str)> =
        page.blocks.iter().map(|block| (block.line, block.is_run, block.text.as_str())).collect();
    assert_eq!(blocks, [(2, false, "b\n"), (6, true, "d\n  e\n"), (10, true, "f")]);
    assert_eq!(page.wrong.len(), 1);
    assert!(page.script(&[("d", "x".to_owned())]).contains("x\n  e\n\nf\n"));
}
