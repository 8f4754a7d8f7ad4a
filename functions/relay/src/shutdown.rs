//! How far the stop of this process is.

use std::sync::atomic::AtomicBool;
use tokio_util::sync::CancellationToken;

/// The two steps of a stop.
#[derive(Default)]
pub(crate) struct ShutdownSignal {
    /// New requests are refused, and what is under way goes on.
    pub(crate) is_asked: AtomicBool,
    /// What is still under way ends now, and is recorded.
    pub(crate) is_over: CancellationToken,
}
