//! The life of an instance: it ends after so many steps, and a dead one reaches nothing.
//!
//! Whatever Baton does to the world goes through a door (the stores' line, the upstream's), so a
//! process whose doors never open again is as dead as one that was killed at that await.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio_util::sync::CancellationToken;

/// Shared by everything of one instance.
#[derive(Clone)]
pub(crate) struct InstanceLife {
    left: Arc<AtomicU32>,
    over: CancellationToken,
}

impl InstanceLife {
    /// One that ends after so many steps, or with [`InstanceLife::end`].
    pub(crate) fn of(steps: Option<u32>) -> Self {
        let left = Arc::new(AtomicU32::new(steps.unwrap_or(u32::MAX)));
        Self { left, over: CancellationToken::new() }
    }

    /// A door is reached; answers whether it opens.
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
