//! Rules for the shape of the repository, checked on its files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

const LINES_MAX: usize = 600;
/// The entries that the root of the repository can have.
const TOP: [&str; 24] = [
    "Cargo.toml",
    "Cargo.lock",
    "functions",
    "shared",
    "infra",
    "tests",
    "cli",
    "template.yaml",
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "SECURITY.md",
    "book.toml",
    "docs",
    "clippy.toml",
    "rustfmt.toml",
    "deny.toml",
    ".gitignore",
    ".ci",
    ".cargo",
    ".git",
];
/// Names that do not describe the content.
const EMPTY_NAMES: [&str; 7] = ["util", "utils", "helper", "helpers", "manager", "common", "misc"];
pub(crate) fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    root.to_owned()
}

/// All files of the repository except build output and installed packages, relative to the root.
pub(crate) fn files() -> Vec<PathBuf> {
    let root = root();
    let walk = WalkDir::new(&root).into_iter().filter_entry(|entry| {
        let name = entry.file_name().to_string_lossy();
        !matches!(
            &*name,
            "target" | ".git" | ".baton" | "node_modules" | "__pycache__" | ".aws-sam"
        )
    });
    walk.map(|entry| entry.expect("a readable tree"))
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| entry.path().strip_prefix(&root).expect("inside the root").to_owned())
        .collect()
}

fn sources() -> impl Iterator<Item = (PathBuf, String)> {
    files().into_iter().filter(|path| path.extension().is_some_and(|e| e == "rs")).map(|path| {
        let text = read(&path);
        (path, text)
    })
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Fails with a list of all findings.
#[track_caller]
pub(crate) fn none(rule: &str, findings: impl IntoIterator<Item = String>) {
    let findings: Vec<String> = findings.into_iter().collect();
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}

#[test]
fn files_have_at_most_600_lines() {
    let long = sources().filter_map(|(path, text)| {
        let lines = text.lines().count();
        (lines > LINES_MAX).then(|| format!("{}: {lines} lines", path.display()))
    });
    none("a file has more than 600 lines", long);
}

#[test]
fn files_begin_with_module_comment() {
    let without_head = sources()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| path.display().to_string());
    none("a file does not begin with `//!`", without_head);
}

#[test]
fn names_are_not_generic() {
    let empty = sources().filter_map(|(path, text)| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let module = text.lines().find(|line| {
            let line = line.trim().trim_start_matches("pub ").trim_start_matches("pub(crate) ");
            line.strip_prefix("mod ")
                .is_some_and(|rest| EMPTY_NAMES.contains(&rest.trim_end_matches([' ', '{', ';'])))
        });
        let folder = path
            .components()
            .any(|part| EMPTY_NAMES.contains(&part.as_os_str().to_string_lossy().as_ref()));
        let found = folder || EMPTY_NAMES.contains(&stem.as_str()) || module.is_some();
        found.then(|| format!("{}: {}", path.display(), module.unwrap_or_default()))
    });
    none("a name does not describe its content (util, helper, manager, common, …)", empty);
}

#[test]
fn sdk_clients_are_used_in_three_crates_only() {
    let needle = concat!("aws_", "sdk_");
    let elsewhere = sources()
        .filter(|(path, _)| {
            !["shared/runtime", "shared/store", "infra/local"]
                .iter()
                .any(|folder| path.starts_with(folder))
        })
        .filter(|(_, text)| text.contains(needle))
        .map(|(path, _)| path.display().to_string());
    none("the AWS SDK is used outside of shared/runtime, shared/store and infra/local", elsewhere);
}

#[test]
fn allowed_lints_have_a_reason() {
    let starts = [concat!("#[", "allow("), concat!("#![", "allow(")];
    let bare = sources().filter(|(_, text)| {
        let attributes = starts.iter().flat_map(|start| text.split(start).skip(1));
        let mut attributes = attributes.filter_map(|rest| rest.split(")]").next());
        attributes.any(|attribute| !attribute.contains("reason"))
    });
    none("a lint is allowed without a reason", bare.map(|(path, _)| path.display().to_string()));
}

#[test]
fn tests_have_no_fixed_delays() {
    let sleep = concat!("sleep", "(");
    let sleeping = sources()
        .filter(|(path, _)| path.starts_with("tests/it") || path.starts_with("tests/clients"))
        .filter(|(_, text)| text.contains(sleep))
        .map(|(path, _)| path.display().to_string());
    none("a test sleeps", sleeping);
}

/// The workspace crates in the `[dependencies]` of each crate. Tests of a crate may use others.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let manifests = files().into_iter().filter(|path| path.ends_with("Cargo.toml"));
    let mut all = BTreeMap::new();
    for path in manifests.filter(|path| path.parent() != Some(Path::new(""))) {
        let text = read(&path);
        let mut section = "";
        let mut name = String::new();
        let mut needed = Vec::new();
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                section = line;
            }
            let key = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if section == "[package]" && key == "name" {
                line.split('"').nth(1).unwrap_or_default().clone_into(&mut name);
            }
            let ours = key == "baton" || key.starts_with("baton-");
            if section.ends_with("dependencies]") && !section.contains("dev-") && ours {
                needed.push(key.to_owned());
            }
        }
        if !path.starts_with("tests/fuzz") {
            all.insert(name, needed);
        }
    }
    all
}

#[test]
fn dependencies_follow_the_layers() {
    let shared = [
        "baton-domain",
        "baton-protocol",
        "baton-providers",
        "baton-api",
        "baton-runtime",
        "baton-store",
    ];
    let functions = ["baton-relay", "baton-stats", "baton-refresh", "baton-admin"];
    let is_allowed = |from: &str, to: &str| match from {
        "baton-domain" => false,
        "baton-protocol" | "baton-api" => to == "baton-domain",
        "baton-providers" => ["baton-domain", "baton-protocol"].contains(&to),
        "baton-runtime" => ["baton-domain", "baton-providers"].contains(&to),
        "baton-store" => ["baton-domain", "baton-runtime"].contains(&to),
        "baton-local" => shared.contains(&to) || functions.contains(&to),
        "baton" => to != "baton-test-harness",
        "baton-test-harness" | "baton-tests" | "baton-bench" => true,
        "baton-console" => {
            ["baton-domain", "baton-providers", "baton-api", "baton-runtime"].contains(&to)
        }
        "baton-admin" if to == "baton-console" => true,
        _ if functions.contains(&from) => shared.contains(&to),
        _ => false,
    };
    let all = dependencies();
    assert!(all.len() >= 12, "not every crate was read: {all:?}");
    let wrong = all.iter().flat_map(|(from, needed)| {
        needed
            .iter()
            .filter(move |to| !is_allowed(from, to))
            .map(move |to| format!("{from} -> {to}"))
    });
    none("a dependency is not allowed by the layers", wrong);
}

#[test]
fn root_has_only_known_entries() {
    let entries = std::fs::read_dir(root())
        .expect("the root")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let built = ["target", ".baton", ".aws-sam", "samconfig.toml"];
    let strange = entries.filter(|name| !TOP.contains(&&**name) && !built.contains(&&**name));
    none("the root has an unknown entry", strange);
}

#[test]
fn no_generated_file_is_committed() {
    let listed = std::process::Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output()
        .expect("run git");
    assert!(listed.status.success(), "git ls-files failed");
    let generated = |path: &&str| {
        let endings = [".zip", ".so", ".rlib", ".pyc", ".log", ".orig", ".rej", ".profraw"];
        path.split('/')
            .any(|part| matches!(part, "target" | "node_modules" | ".baton" | ".aws-sam"))
            || path.contains(".snap.new")
            || endings.iter().any(|ending| path.ends_with(ending))
    };
    let names = String::from_utf8_lossy(&listed.stdout).into_owned();
    let found: Vec<String> = names.split('\0').filter(generated).map(str::to_owned).collect();
    none("a generated file is committed", found);
}

/// The anchor of a heading: `Rotate secrets` becomes `rotate-secrets`.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter_map(|c| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        c if c.is_alphanumeric() => Some(c),
        _ => None,
    });
    kept.collect::<String>().to_lowercase()
}

/// The text of a document without its code blocks.
fn prose(text: &str) -> String {
    let mut is_code = false;
    let lines = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Describes what is wrong with a link of the document at `page`.
fn link_complaint(page: &Path, link: &str) -> Option<String> {
    let (file, place) = link.split_once('#').unwrap_or((link, ""));
    let target =
        if file.is_empty() { root().join(page) } else { root().join(page.parent()?).join(file) };
    if !target.exists() {
        return Some(format!("{}: there is no {link}", page.display()));
    }
    let is_page = target.extension().is_some_and(|end| end == "md");
    let text = prose(&std::fs::read_to_string(&target).unwrap_or_default());
    let mut headings = text.lines().filter(|line| line.starts_with('#'));
    let is_there = headings.any(|line| anchor(line.trim_start_matches('#')) == place);
    let is_missing = is_page && !place.is_empty() && !is_there;
    is_missing.then(|| format!("{}: there is no heading {link}", page.display()))
}

#[test]
fn links_in_documents_exist() {
    let pages = files().into_iter().filter(|path| path.extension().is_some_and(|end| end == "md"));
    let broken = pages.filter(|path| !path.starts_with("tests/fixtures")).flat_map(|path| {
        let text = prose(&read(&path));
        let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
        let local = links.filter(|link| !link.contains("://") && !link.starts_with("mailto:"));
        local.filter_map(|link| link_complaint(&path, link)).collect::<Vec<_>>()
    });
    none("a link in a document is broken", broken);
}

#[test]
fn summary_lists_every_page() {
    let summary = read(Path::new("docs/SUMMARY.md"));
    let listed = |path: &Path| {
        let name = path.strip_prefix("docs").unwrap_or(path).display().to_string();
        summary.matches(&format!("]({name})")).count()
    };
    let pages = files().into_iter().filter(|path| {
        path.starts_with("docs") && path.extension().is_some_and(|ending| ending == "md")
    });
    let pages: Vec<PathBuf> = pages.filter(|path| !path.ends_with("SUMMARY.md")).collect();
    let wrong = pages.iter().filter(|path| listed(path) != 1);
    none(
        "docs/SUMMARY.md does not list a page exactly once",
        wrong.map(|path| path.display().to_string()),
    );
    assert!(pages.len() > 30, "pages of the book are missing: {pages:?}");
}
