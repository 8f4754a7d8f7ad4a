//! The only place where a test lets time pass: polling a condition until a deadline.
//!
//! No test sleeps to give something time to happen; it says what it waits for and for how long.

use std::fmt::Debug;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(15);

/// Calls `probe` until it answers `Ok`, and fails with its last `Err` after `patience`.
///
/// # Panics
///
/// When the deadline passes first; the message names `what` and the last thing seen.
pub async fn eventually<T, E: Debug>(
    what: &str,
    patience: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let start = Instant::now();
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(seen) if start.elapsed() > patience => {
                panic!("{what}: not within {patience:?}; last seen: {seen:#?}")
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// The same for code without a runtime, such as waiting for a child process to end.
///
/// # Panics
///
/// As [`eventually`].
pub fn eventually_blocking<T, E: Debug>(
    what: &str,
    patience: Duration,
    mut probe: impl FnMut() -> Result<T, E>,
) -> T {
    let start = Instant::now();
    loop {
        match probe() {
            Ok(value) => return value,
            Err(seen) if start.elapsed() > patience => {
                panic!("{what}: not within {patience:?}; last seen: {seen:#?}")
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}
