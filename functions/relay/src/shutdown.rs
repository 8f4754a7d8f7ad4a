//! The state of the graceful shutdown of this process.

use std::sync::atomic::AtomicBool;
use tokio_util::sync::CancellationToken;

/// The two steps of a shutdown.
#[derive(Default)]
pub(crate) struct ShutdownSignal {
    /// First step: new requests are refused, and running ones continue.
    pub(crate) is_draining: AtomicBool,
    /// Second step: running requests are ended and recorded.
    pub(crate) cancel_responses: CancellationToken,
}
