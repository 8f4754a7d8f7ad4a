//! The fake upstream as a program: prints its base URL and serves until the process ends.
//!
//! `fake-upstream [--listen ADDR] [--workers N] [--no-record]`. Other processes use `/_ledger`,
//! `/_requests`, `/_gate/NAME`, `/_next` and `/_always` in place of the methods that tests call.

use std::io::Write;

use baton_test_harness::upstream::{FakeUpstream, Options};

fn main() -> Result<(), String> {
    let mut options = Options { workers: 2, ..Options::default() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--listen" => {
                options.listen = value()?.parse().map_err(|e| format!("--listen: {e}"))?;
            }

            "--workers" => {
                options.workers = value()?.parse().map_err(|e| format!("--workers: {e}"))?;
            }
            "--no-record" => options.record = false,
            other => return Err(format!("unknown argument {other}")),
        }
    }
    let upstream = FakeUpstream::start_with(options);
    writeln!(std::io::stdout(), "{}", upstream.url()).map_err(|e| e.to_string())?;
    upstream.join();
    Ok(())
}
