//! `baton completions`: the script by which a shell completes the commands.

use crate::args::Args;
use clap::CommandFactory as _;
use clap_complete::Shell;
use std::io::Write as _;

/// Prints the script for `shell`.
pub(crate) fn print_completions(shell: Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "baton", &mut script);
    let _closed = std::io::stdout().lock().write_all(&script);
}
