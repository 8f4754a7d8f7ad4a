//! Reads the arguments, runs the command, and turns a failure into one line and an exit code.

use baton::args::Args;
use clap::Parser as _;
use std::process::ExitCode;
use std::time::Duration;

/// Streams start and end on many threads, and bodies can be large. A background thread of jemalloc
/// returns the freed memory, also while no requests arrive. This was only measured on Linux with
/// glibc.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    let result = baton::runtime().and_then(|runtime| {
        let result = runtime.block_on(baton::run_command(args));
        // Work that a thread still waits for (such as a DNS lookup) must not delay the exit.
        runtime.shutdown_timeout(Duration::from_millis(500));
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            baton::print_error(&error);
            ExitCode::from(error.code())
        }
    }
}
