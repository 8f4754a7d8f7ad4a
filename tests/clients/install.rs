//! Installs the clients from the registries, once for each list of versions.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use baton_test_harness::client_matrix::ClientPackages;
use baton_test_harness::program::Program;
use baton_test_harness::system::target_folder;

const INSTALL_TIMEOUT: Duration = Duration::from_mins(5);
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The Python interpreter that has the packages.
pub(crate) fn python(packages: &ClientPackages) -> PathBuf {
    python_folder(packages.python_folder, packages.python).join("bin/python")
}

/// A Python environment with the packages of `requirements`.
pub(crate) fn python_folder(name: &str, requirements: &str) -> PathBuf {
    install_once(name, requirements, |folder| {
        let list = folder.join("requirements.txt");
        std::fs::write(&list, requirements).expect("write the list");
        run(Command::new("python3").args(["-m", "venv"]).arg(folder));
        run(Command::new(folder.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check", "-r"])
            .arg(&list));
    })
}

/// The folder whose `node_modules` has the packages.
pub(crate) fn node_folder(packages: &ClientPackages) -> PathBuf {
    install_once(packages.node_folder, packages.node, |folder| {
        std::fs::write(folder.join("package.json"), packages.node).expect("write the list");
        let flags = ["install", "--no-audit", "--no-fund", "--loglevel=error"];
        run(Command::new("npm").args(flags).current_dir(folder));
    })
}

/// The folder that `install` has filled for exactly this list. It is filled again when the list has
/// changed.
fn install_once(name: &str, list: &str, install: impl FnOnce(&Path)) -> PathBuf {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = target_folder().join("clients").join(name);
    let stamp = folder.join("installed");
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == list) {
        return folder;
    }
    if folder.exists() {
        std::fs::remove_dir_all(&folder).expect("remove another list's clients");
    }
    std::fs::create_dir_all(&folder).expect("a folder for the clients");
    install(&folder);
    std::fs::write(&stamp, list).expect("write the stamp");
    folder
}

fn run(command: &mut Command) {
    let ended = Program::run(command, INSTALL_TIMEOUT);
    assert!(
        ended.code == Some(0),
        "The real clients could not be installed: {command:?} ended with {:?}. This test needs \
         python3 with venv, npm, and the registries PyPI and npm.\n{}{}",
        ended.code,
        ended.stdout,
        ended.stderr
    );
}
