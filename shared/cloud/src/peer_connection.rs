//! The connection that a request came by, as whoever accepted it and whoever answers see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The connection that a request came by. Whoever accepts connections puts it into the extensions
/// of each request; cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct PeerConnection {
    is_authenticated: Arc<AtomicBool>,
}

impl PeerConnection {
    /// Notes that a request of this connection had a valid credential. Such a connection is kept
    /// where others have to go.
    pub fn mark_authenticated(&self) {
        self.is_authenticated.store(true, Ordering::Relaxed);
    }

    /// Whether a request of this connection had a valid credential.
    pub fn is_authenticated(&self) -> bool {
        self.is_authenticated.load(Ordering::Relaxed)
    }
}
