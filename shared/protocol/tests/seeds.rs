//! Runs the fuzz targets on the fixtures and on all inputs that once broke one, without nightly
//! Rust.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may")]

#[path = "../../../tests/fuzz/src/targets.rs"]
mod targets;

use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};

/// The entries of a dictionary of the fuzzer, with their escapes decoded.
fn dictionary(name: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/dictionaries");
    let text = fs::read_to_string(root.join(name)).unwrap();
    let entries = text.lines().filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
    let entry = |entry: &str| {
        let (mut bytes, mut rest) = (Vec::new(), entry.as_bytes());
        while let [first, tail @ ..] = rest {
            rest = tail;
            if let (b'\\', [b'x', high, low, ..]) = (first, tail) {
                let digits = [*high, *low];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
                rest = &tail[3..];
            } else if let (b'\\', [escaped, ..]) = (first, tail) {
                bytes.push(*escaped);
                rest = &tail[1..];
            } else {
                bytes.push(*first);
            }
        }
        bytes
    };
    entries.map(entry).collect()
}

/// Long enough for each bound on nesting, and short enough for many cases.
const INPUT_BYTES_MAX: usize = 10_000;

/// Words of a dictionary in any order, some of them many times.
fn nested(name: &str) -> impl Strategy<Value = Vec<u8>> {
    let times = prop_oneof![16 => Just(1_usize), 2 => 2..20_usize, 1 => 100..1_000_usize];
    let part = (prop::sample::select(dictionary(name)), times);
    prop::collection::vec(part, 1..12).prop_map(|parts| {
        parts.iter().flat_map(|(word, times)| word.repeat(*times)).take(INPUT_BYTES_MAX).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn repeated_and_nested_seeds_do_not_panic(input in nested("json.dict")) {
        let whole = [&b"{\"model\":\"m\",\"messages\":"[..], &input, b"}"].concat();
        for input in [&input, &whole] {
            targets::envelope(input);
            targets::passed_on(input);
            targets::translate(input);
            targets::meter(input);
            targets::translate_stream(&[b"data: ", &input[..], b"\n\n"].concat());
        }
    }

    #[test]
    fn mutated_paths_do_not_panic(input in nested("path.dict")) {
        targets::route(&input);
        targets::route(&[b"/v1/models/", &input[..]].concat());
        targets::route(&[b"/model/", &input[..], b"/invoke"].concat());
    }
}

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
fn passed_on() {
    for path in files("fixtures/requests") {
        let request: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        targets::passed_on(request["body"].to_string().as_bytes());
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
