//! The fuzz targets, on the fixtures and on every input that once broke one: without nightly.
#![expect(clippy::unwrap_used, reason = "a test may")]

#[path = "../../../tests/fuzz/src/targets.rs"]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};

fn files(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests");
    let Ok(entries) = fs::read_dir(root.join(folder)) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect()
}

fn replay(folders: &[&str], target: fn(&[u8])) {
    let mut count = 0;
    for path in folders.iter().flat_map(|folder| files(folder)) {
        target(&fs::read(path).unwrap());
        count += 1;
    }
    assert!(count > 0, "no seeds in {folders:?}");
}

#[test]
fn sse() {
    replay(&["fuzz/seeds/sse", "fixtures/sse"], targets::sse);
}

#[test]
fn meter() {
    replay(&["fuzz/seeds/meter", "fixtures/sse", "fixtures/errors"], targets::meter);
}

#[test]
fn envelope() {
    replay(&["fuzz/seeds/envelope", "fixtures/requests"], targets::envelope);
    for path in files("fixtures/requests") {
        let request: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        targets::envelope(request["body"].to_string().as_bytes());
    }
}

#[test]
fn translate() {
    replay(&["fixtures/requests", "fixtures/errors", "fixtures/translate"], targets::translate);
    for path in files("fixtures/translate").iter().chain(&files("fixtures/requests")) {
        let Ok(file) = serde_json::from_slice::<serde_json::Value>(&fs::read(path).unwrap()) else {
            continue;
        };
        for field in ["body", "ask", "answer"] {
            targets::translate(file[field].to_string().as_bytes());
        }
    }
}

#[test]
fn translate_stream() {
    replay(&["fixtures/sse"], targets::translate_stream);
}
