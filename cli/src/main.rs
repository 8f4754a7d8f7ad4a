//! Reads the arguments, runs, and turns a failure into one line and an exit code.

use baton::args::Args;
use clap::Parser as _;
use std::process::ExitCode;
use std::time::Duration;

/// Streams come and go on many threads, and bodies may be large: a thread of jemalloc's own gives
/// back what they leave behind, also while nobody asks. Measured on this system only.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    let ended = baton::runtime().and_then(|runtime| {
        let ended = runtime.block_on(baton::run_command(args));
        // What a thread still waits for (a name to be resolved) must not hold up the end.
        runtime.shutdown_timeout(Duration::from_millis(500));
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(fail) => {
            baton::print_error(&fail);
            ExitCode::from(fail.code())
        }
    }
}
