//! Builds the workspace's binaries once in each test run, with the cargo that runs the tests.
//!
//! Cargo does not give a crate's tests the binaries of another crate. Therefore they are built
//! here, in the same target folder and profile. After `cargo build` this does nothing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const FUNCTIONS: [&str; 4] = ["relay", "stats", "refresh", "admin"];

/// The path of `baton`; `BATON_TEST_BINARY` names another one.
///
/// # Panics
///
/// If it cannot be built. The message contains cargo's output.
pub fn baton_binary() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| match std::env::var_os("BATON_TEST_BINARY") {
        Some(path) => path.into(),
        None => build("baton"),
    })
}

/// The path of the fake upstream's program.
///
/// # Panics
///
/// As [`baton_binary`].
pub fn fake_upstream_binary() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("fake-upstream"))
}

/// The path of the benchmark.
///
/// # Panics
///
/// As [`baton_binary`].
pub fn bench_binary() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("bench"))
}

/// The path of a Lambda function's program.
///
/// # Panics
///
/// As [`baton_binary`].
pub fn function_binary(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| build_all(&FUNCTIONS));
    assert!(FUNCTIONS.contains(&name), "no function {name}");
    profile_folder().join(name)
}

fn build(binary: &str) -> PathBuf {
    build_all(&[binary]);
    profile_folder().join(binary)
}

fn build_all(binaries: &[&str]) {
    let profile = profile_folder();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let mut command = Command::new(cargo);
    // Features are resolved for the whole workspace, as they were when the tests were built.
    command
        .args(["build", "--workspace", "--locked"])
        .args(binaries.iter().flat_map(|binary| ["--bin", binary]))
        .arg("--target-dir")
        .arg(target_folder())
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let output = command.output().expect("run cargo");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo build of {binaries:?} failed:\n{said}");
}

/// The folder with all build results.
pub fn target_folder() -> PathBuf {
    profile_folder().parent().expect("the target folder").to_owned()
}

/// The folder of this test binary: `target/debug` or `target/release`.
fn profile_folder() -> PathBuf {
    let own = std::env::current_exe().expect("the path of this test");
    let folder = own.parent().expect("the folder of this test");
    let profile = if folder.ends_with("deps") { folder.parent() } else { Some(folder) };
    profile.expect("the profile's folder").to_owned()
}
