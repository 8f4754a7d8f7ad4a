//! Builds the `baton` binary once per test run, by the cargo that runs the tests.
//!
//! A member crate's tests get no binary of another member from cargo, so it is asked for here: in
//! the same target folder and profile, which makes it a no-op after `cargo build`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The path of the binary; `BATON_TEST_BINARY` names another one.
///
/// # Panics
///
/// When it cannot be built; cargo's own words are in the message.
pub fn baton_binary() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| match std::env::var_os("BATON_TEST_BINARY") {
        Some(path) => path.into(),
        None => build(),
    })
}

fn build() -> PathBuf {
    let profile = profile_folder();
    let target = profile.parent().expect("the target folder");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--workspace", "--bin", "baton", "--locked", "--target-dir"])
        .arg(target)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let output = command.output().expect("run cargo");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo build of the baton binary failed:\n{said}");
    profile.join("baton")
}

/// `target/debug` or `target/release`: where this test binary was built.
fn profile_folder() -> PathBuf {
    let own = std::env::current_exe().expect("the path of this test");
    let folder = own.parent().expect("the folder of this test");
    let profile = if folder.ends_with("deps") { folder.parent() } else { Some(folder) };
    profile.expect("the profile's folder").to_owned()
}
