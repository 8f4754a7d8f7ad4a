//! The benchmark runs: its quick form measures every load on every road.

use std::process::Command;
use std::time::Duration;

use baton_tests::house::bench_binary;
use baton_tests::program::Program;

/// A debug build on a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);

#[test]
fn the_benchmark_measures_every_road() {
    let ended = Program::run(Command::new(bench_binary()).arg("--quick"), PATIENCE);
    let (code, out) = (ended.code, &ended.stdout);
    assert_eq!(code, Some(0), "{out}\n{}", ended.stderr);
    let lines = |begins: &str| out.lines().filter(|line| line.starts_with(begins)).count();
    // Loads: slow streams, two small calls, three streams, two large bodies.
    for (road, loads) in [("  direct ", 8), ("  baton  ", 8), ("  baton up, limited key ", 2)] {
        assert_eq!(lines(road), loads, "{road}: {out}");
    }
    let baton = out.lines().filter(|line| line.starts_with("  baton  "));
    for line in baton {
        let requests: f64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap();
        assert!(requests > 0.0, "{line}");
    }
}
