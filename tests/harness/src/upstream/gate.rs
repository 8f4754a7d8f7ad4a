//! A gate that a scripted answer passes once for each chunk. The test releases it, so nothing
//! depends on time.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, Semaphore};

/// One named gate.
pub struct ScriptGate {
    permits: Semaphore,
    arrived: AtomicUsize,
    arrival: Notify,
}

impl ScriptGate {
    pub(crate) fn new() -> Self {
        Self { permits: Semaphore::new(0), arrived: AtomicUsize::new(0), arrival: Notify::new() }
    }

    /// Lets `count` chunks pass.
    pub fn release(&self, count: usize) {
        self.permits.add_permits(count);
    }

    /// Lets everything pass from now on.
    pub fn open(&self) {
        self.permits.close();
    }

    /// How many chunks have reached the gate so far, including those that passed.
    pub fn arrived(&self) -> usize {
        self.arrived.load(Ordering::SeqCst)
    }

    /// Waits until `count` chunks have reached the gate.
    pub async fn reached(&self, count: usize) {
        loop {
            let next = self.arrival.notified();
            tokio::pin!(next);
            next.as_mut().enable();
            if self.arrived() >= count {
                return;
            }
            next.await;
        }
    }

    pub(crate) async fn pass(&self) {
        self.arrived.fetch_add(1, Ordering::SeqCst);
        self.arrival.notify_waiters();
        // A closed semaphore means an open gate.
        if let Ok(permit) = self.permits.acquire().await {
            permit.forget();
        }
    }
}
