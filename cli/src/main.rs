//! Reads the arguments, runs, and turns a failure into one line and an exit code.

use baton::args::Args;
use clap::Parser as _;
use std::process::ExitCode;

/// Streams come and go on many threads; the system's allocator keeps what each has freed.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match baton::run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(fail) => {
            baton::complain(&fail);
            ExitCode::from(fail.code())
        }
    }
}
