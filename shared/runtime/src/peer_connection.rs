//! The connection that a request came by, shared between the code that accepts connections and the
//! code that answers requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The connection that a request came by. The code that accepts connections puts it into the
/// extensions of each request. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct PeerConnection {
    is_authenticated: Arc<AtomicBool>,
}

impl PeerConnection {
    /// Records that a request of this connection had a valid credential. Such connections are kept
    /// when others have to be closed.
    pub fn mark_authenticated(&self) {
        self.is_authenticated.store(true, Ordering::Relaxed);
    }

    /// Whether a request of this connection had a valid credential.
    pub fn is_authenticated(&self) -> bool {
        self.is_authenticated.load(Ordering::Relaxed)
    }
}
