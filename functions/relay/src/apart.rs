//! Runs work on long bodies on separate threads, so that it does not delay other requests.

use crate::client_response::RelayError;
use tokio::task::spawn_blocking;

/// From this size on, reading or translating a body takes milliseconds, which would delay other
/// requests.
const LONG_BYTES: usize = 256 * 1024;

/// Runs `work` on a body of `bytes` length: at once for a short body, on a blocking thread for a
/// long one.
///
/// # Errors
/// The process is stopping.
pub(crate) async fn run_apart<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, RelayError> {
    if bytes < LONG_BYTES {
        return Ok(work());
    }
    spawn_blocking(work).await.map_err(|error| match error.try_into_panic() {
        // The panic belongs to this request, as if the work had run here.
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => RelayError::shutting_down(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn long_work_is_done_on_another_thread() {
        let thread = || std::thread::current().id();
        let own = thread();
        for (bytes, is_own) in [(LONG_BYTES - 1, true), (LONG_BYTES, false)] {
            let Ok(worker) = run_apart(bytes, thread).await else { panic!("{bytes} bytes") };
            assert_eq!(worker == own, is_own, "{bytes} bytes");
        }
    }
}
