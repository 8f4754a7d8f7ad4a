//! The threads of the process: one for each core, or the number that the environment gives.

use crate::CliError;
use crate::environment::requested_threads;
use std::num::NonZero;
use std::thread::available_parallelism;
use tokio::runtime::{Builder, Runtime};

/// A runtime with `TOKIO_WORKER_THREADS` threads, or one for each core that this process can use.
///
/// A single thread needs no synchronization with others: a small call then costs a fifth less CPU.
///
/// # Errors
/// The variable is not a number of threads, or the system cannot start them.
pub fn runtime() -> Result<Runtime, CliError> {
    let threads = threads(requested_threads().as_deref())?;
    let mut builder =
        if threads == 1 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.worker_threads(threads).enable_all().build().map_err(CliError::from_cause)
}

/// Raises this process's limit of open files (including connections) as far as the system allows,
/// and returns it.
pub(crate) fn open_files() -> u64 {
    const OPEN_FILES_MAX: u64 = 1 << 20;
    const OPEN_FILES_DEFAULT: u64 = 1024;
    rlimit::increase_nofile_limit(OPEN_FILES_MAX).unwrap_or(OPEN_FILES_DEFAULT)
}

fn threads(requested: Option<&str>) -> Result<usize, CliError> {
    let Some(requested) = requested else {
        return Ok(available_parallelism().map_or(1, NonZero::get));
    };
    let invalid = |_| {
        let text = "TOKIO_WORKER_THREADS must be a whole number of at least 1";
        CliError::Usage(format!("{text}, not `{requested}`"))
    };
    requested.parse::<NonZero<usize>>().map(NonZero::get).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_count_defaults_to_cores() {
        assert_eq!(threads(Some("1")).unwrap(), 1);
        assert_eq!(threads(Some("12")).unwrap(), 12);
        assert!(threads(None).unwrap() > 0);
        for bad in ["0", "-1", "two", "1.5"] {
            let error = threads(Some(bad)).unwrap_err();
            assert_eq!(error.code(), 2);
            assert!(error.to_string().contains(bad), "{error}");
        }
    }
}
