//! The only source of time in this crate.
//!
//! Waiting uses tokio's clock, which tests can pause.

use std::{
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// Returns the time in milliseconds since 1970. Tests provide their own.
#[derive(Clone)]
pub struct MillisecondClock(Arc<dyn Fn() -> i64 + Send + Sync>);

impl MillisecondClock {
    /// A clock that returns the values of `now` (milliseconds since 1970).
    pub fn new(now: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The machine's clock.
    pub fn system() -> Self {
        Self::new(|| {
            #[expect(
                clippy::disallowed_methods,
                reason = "the local stack stands where AWS does, behind cloud::clock's door; \
                          tests inject another clock"
            )]
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
        })
    }

    pub(crate) fn now_ms(&self) -> i64 {
        (self.0)()
    }
}

impl fmt::Debug for MillisecondClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
