//! The shape of the repository: its rules are checked here, on the files as they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

const LINES_MAX: usize = 600;
/// What the repository's root may hold.
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
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 7] = ["util", "utils", "helper", "helpers", "manager", "common", "misc"];
pub(crate) fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    root.to_owned()
}

/// Every file of the repository but what is built or installed, relative to its root.
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

/// Fails with every finding at once.
#[track_caller]
pub(crate) fn none(rule: &str, findings: impl IntoIterator<Item = String>) {
    let findings: Vec<String> = findings.into_iter().collect();
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}

#[test]
fn a_file_fits_into_a_head() {
    let long = sources().filter_map(|(path, text)| {
        let lines = text.lines().count();
        (lines > LINES_MAX).then(|| format!("{}: {lines} lines", path.display()))
    });
    none("at most 600 lines a file", long);
}

#[test]
fn a_file_begins_by_saying_its_job() {
    let silent = sources()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| path.display().to_string());
    none("a //! head in each file", silent);
}

#[test]
fn a_name_says_what_is_inside() {
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
    none("no util, helper, manager, common", empty);
}

#[test]
fn the_cloud_has_one_door() {
    let needle = concat!("aws_", "sdk_");
    let elsewhere = sources()
        .filter(|(path, _)| !path.starts_with("shared/cloud") && !path.starts_with("infra/local"))
        .filter(|(_, text)| text.contains(needle))
        .map(|(path, _)| path.display().to_string());
    none("the AWS SDK is used in shared/cloud and infra/local only", elsewhere);
}

#[test]
fn an_exception_has_a_reason() {
    let starts = [concat!("#[", "allow("), concat!("#![", "allow(")];
    let bare = sources().filter(|(_, text)| {
        let attributes = starts.iter().flat_map(|start| text.split(start).skip(1));
        let mut attributes = attributes.filter_map(|rest| rest.split(")]").next());
        attributes.any(|attribute| !attribute.contains("reason"))
    });
    none(
        "no lint is switched off without a reason",
        bare.map(|(path, _)| path.display().to_string()),
    );
}

#[test]
fn a_test_waits_for_something() {
    let sleep = concat!("sleep", "(");
    let sleeping = sources()
        .filter(|(path, _)| path.starts_with("tests/it") || path.starts_with("tests/clients"))
        .filter(|(_, text)| text.contains(sleep))
        .map(|(path, _)| path.display().to_string());
    none("no sleep in a test", sleeping);
}

/// The workspace crates that each crate's `[dependencies]` name.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let manifests = files().into_iter().filter(|path| path.ends_with("Cargo.toml"));
    let mut all = BTreeMap::new();
    for path in manifests.filter(|path| path.parent() != Some(Path::new(""))) {
        let text = read(&path);
        let mut section = "";
        let mut name = String::new();
        let mut wants = Vec::new();
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                section = line;
            }
            let key = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if section == "[package]" && key == "name" {
                line.split('"').nth(1).unwrap_or_default().clone_into(&mut name);
            }
            let ours = key == "baton" || key.starts_with("baton-");
            if section.ends_with("dependencies]") && ours {
                wants.push(key.to_owned());
            }
        }
        if !path.starts_with("tests/fuzz") {
            all.insert(name, wants);
        }
    }
    all
}

#[test]
fn dependencies_point_one_way() {
    let shared = ["baton-domain", "baton-wire", "baton-api", "baton-cloud"];
    let functions = ["baton-relay", "baton-stats", "baton-refresh", "baton-admin"];
    let may = |from: &str, to: &str| match from {
        "baton-domain" => false,
        "baton-wire" | "baton-api" | "baton-cloud" => to == "baton-domain",
        "baton-local" => shared.contains(&to) || functions.contains(&to),
        "baton" => to != "baton-tests",
        "baton-tests" => true,
        _ if functions.contains(&from) => shared.contains(&to),
        _ => false,
    };
    let all = dependencies();
    assert!(all.len() >= 10, "every crate is seen: {all:?}");
    let wrong = all.iter().flat_map(|(from, wants)| {
        wants.iter().filter(move |to| !may(from, to)).map(move |to| format!("{from} -> {to}"))
    });
    none("the direction of the rooms", wrong);
}

#[test]
fn the_top_holds_only_what_belongs_there() {
    let entries = std::fs::read_dir(root())
        .expect("the root")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let built = ["target", ".baton", ".aws-sam", "samconfig.toml"];
    let strange = entries.filter(|name| !TOP.contains(&&**name) && !built.contains(&&**name));
    none("prescribed entries at the top only", strange);
}

#[test]
fn nothing_generated_is_committed() {
    let listed = std::process::Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output()
        .expect("run git");
    assert!(listed.status.success(), "git ls-files works in the repository");
    let generated = |path: &&str| {
        let endings = [".zip", ".so", ".rlib", ".pyc", ".log", ".orig", ".rej", ".profraw"];
        path.split('/')
            .any(|part| matches!(part, "target" | "node_modules" | ".baton" | ".aws-sam"))
            || path.contains(".snap.new")
            || endings.iter().any(|ending| path.ends_with(ending))
    };
    let names = String::from_utf8_lossy(&listed.stdout).into_owned();
    let found: Vec<String> = names.split('\0').filter(generated).map(str::to_owned).collect();
    none("nothing generated", found);
}

/// What a heading is called in an address: `Rotate secrets` is `rotate-secrets`.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter_map(|c| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        c if c.is_alphanumeric() => Some(c),
        _ => None,
    });
    kept.collect::<String>().to_lowercase()
}

/// The text of a document without what is shown as code.
fn prose(text: &str) -> String {
    let mut is_code = false;
    let lines = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What is wrong with a link of the document at `page`.
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
fn links_in_documents_lead_somewhere() {
    let pages = files().into_iter().filter(|path| path.extension().is_some_and(|end| end == "md"));
    let broken = pages.filter(|path| !path.starts_with("tests/fixtures")).flat_map(|path| {
        let text = prose(&read(&path));
        let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
        let local = links.filter(|link| !link.contains("://") && !link.starts_with("mailto:"));
        local.filter_map(|link| link_complaint(&path, link)).collect::<Vec<_>>()
    });
    none("links in the documents", broken);
}

#[test]
fn the_summary_of_the_book_lists_every_page() {
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
    none("docs/SUMMARY.md lists each page once", wrong.map(|path| path.display().to_string()));
    assert!(pages.len() > 30, "the pages of the book: {pages:?}");
}
