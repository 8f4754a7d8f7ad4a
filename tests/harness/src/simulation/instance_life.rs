//! The life of an instance: it ends after a number of steps, and a dead instance reaches nothing.
//!
//! Every effect of Baton passes a checkpoint (the connection to the stores or to the upstream). A
//! process that never gets past a checkpoint again behaves like one that was killed at that await.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio_util::sync::CancellationToken;

/// Shared by all parts of one instance.
#[derive(Clone)]
pub(crate) struct InstanceLife {
    left: Arc<AtomicU32>,
    over: CancellationToken,
}

impl InstanceLife {
    /// A life that ends after this number of steps, or by [`InstanceLife::end`].
    pub(crate) fn of(steps: Option<u32>) -> Self {
        let left = Arc::new(AtomicU32::new(steps.unwrap_or(u32::MAX)));
        Self { left, over: CancellationToken::new() }
    }

    /// Counts a step at a checkpoint; returns whether the instance can go on.
    pub(crate) fn step(&self) -> bool {
        if self.is_over() {
            return false;
        }
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.end();
        }
        !self.is_over()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    pub(crate) fn end(&self) {
        self.over.cancel();
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) {
        self.over.cancelled().await;
    }
}
