//! The benchmark runs: its quick form measures every load on every path.

use std::process::Command;
use std::time::Duration;

use baton_test_harness::program::Program;
use baton_test_harness::system::bench_binary;

/// A debug build on a busy machine needs this long.
const BENCH_TIMEOUT: Duration = Duration::from_mins(3);

#[test]
fn quick_benchmark_measures_every_path() {
    let ended = Program::run(Command::new(bench_binary()).arg("--quick"), BENCH_TIMEOUT);
    let (code, out) = (ended.code, &ended.stdout);
    assert_eq!(code, Some(0), "{out}\n{}", ended.stderr);
    let lines = |begins: &str| out.lines().filter(|line| line.starts_with(begins)).count();
    // Loads: slow streams, two of small calls, three of streams, two of large bodies.
    let paths = [("  direct  ", 8), ("  baton  ", 8), ("  baton up, limited key  ", 2)];
    for (path, loads) in paths {
        assert_eq!(lines(path), loads, "{path}: {out}");
    }
    let baton = out.lines().filter(|line| line.starts_with("  baton  "));
    for line in baton {
        let requests: f64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap();
        assert!(requests > 0.0, "{line}");
    }
}
