//! Hostile inputs against a running Baton, one module for each class of attack.
//!
//! `cargo test -p baton-tests --test hostile [-- CLASS]` starts the real binary, tries every input of
//! each class, and fails if one of them did what it must not do. It prints a table (class, inputs
//! tried, failures), which must equal the one in `docs/reference/hostile-inputs.md`; with
//! `BATON_WRITE_DOCS=1` the table is written there instead.
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program that prints a table, and stops where it cannot do its work"
)]

mod aws_roles;
mod class;

use class::{Class, Results};
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::process::ExitCode;

type Run = fn(Class) -> Pin<Box<dyn Future<Output = ()>>>;

/// Every class, in the order of its name.
const CLASSES: &[(&str, Run)] = &[("rights of AWS roles", |class| Box::pin(aws_roles::run(class)))];

fn main() -> ExitCode {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let is_wanted = |name: &str| filter.as_deref().is_none_or(|part| name.contains(part));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let mut results = Results::default();
    for (name, run) in CLASSES.iter().filter(|(name, _)| is_wanted(name)) {
        let class = Class::default();
        runtime.block_on(run(class.clone()));
        results.add(name, &class);
    }
    println!("\n{}", results.table());
    let is_fresh = filter.is_some() || results.compare_with(&documentation());
    let failures = results.print_failures();
    let passed = results.tries() - failures;
    println!("\n{passed} passed, {failures} failed");
    if failures == 0 && is_fresh { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn documentation() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/hostile-inputs.md")
}
