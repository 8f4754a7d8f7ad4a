//! A session pin as this process caches it.

use std::sync::Arc;

/// The cache domain that a session went to, and until when it stays there.
#[derive(Clone)]
pub(crate) struct SessionPin {
    pub(crate) to: Arc<str>,
    /// Unix time in seconds.
    pub(crate) expires: i64,
}
