//! Reads the arguments, runs, and turns a failure into one line and an exit code.

use baton::args::Args;
use clap::Parser as _;
use std::process::ExitCode;

/// Streams come and go on many threads, and bodies may be large: a thread of jemalloc's own gives
/// back what they leave behind, also while nobody asks. Measured on this system only.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    match baton::runtime().and_then(|runtime| runtime.block_on(baton::run(args))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fail) => {
            baton::complain(&fail);
            ExitCode::from(fail.code())
        }
    }
}
