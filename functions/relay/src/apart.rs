//! Work on a long body, apart from the threads that serve others.

use crate::client_response::RelayError;
use tokio::task::spawn_blocking;

/// A body of so many bytes takes milliseconds to read or to translate: other requests do not wait
/// for it.
pub(crate) const LONG_BYTES: usize = 256 * 1024;

/// Does some work on a body of so many bytes: a short one is done at once, a long one on a thread
/// that serves nobody else meanwhile.
///
/// # Errors
/// The process is being stopped.
pub(crate) async fn run_apart<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, RelayError> {
    if bytes < LONG_BYTES {
        return Ok(work());
    }
    spawn_blocking(work).await.map_err(|error| match error.try_into_panic() {
        // A panic is this request's, as if the work had been done here.
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
