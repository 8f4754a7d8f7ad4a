//! The only place where a test lets time pass: it polls a condition until a deadline.
//!
//! No test sleeps to give something time to happen. Each test names its condition and how long it
//! waits.

use std::fmt::Debug;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(15);

/// Calls `probe` until it returns `Ok`. After `patience` it fails with the last `Err`.
///
/// # Panics
///
/// If the deadline passes first. The message names `what` and the last result.
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
