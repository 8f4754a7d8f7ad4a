//! The one door to the wall clock.

use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Tells the time: the system's, or one that a test sets.
#[derive(Clone, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands at `at` until [`Clock::advance`] moves it, for every clone of it.
    pub fn standing(at: Timestamp) -> Self {
        Self(Some(Arc::new(AtomicI64::new(at.as_millisecond()))))
    }

    /// Now, in whole milliseconds.
    pub fn now(&self) -> Timestamp {
        let millis = match &self.0 {
            Some(set) => set.load(Ordering::SeqCst),
            #[expect(clippy::disallowed_methods, reason = "this is the door")]
            None => Timestamp::now().as_millisecond(),
        };
        Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Moves a standing clock; the system's clock stays as it is.
    pub fn advance(&self, by: SignedDuration) {
        if let Some(set) = &self.0 {
            set.fetch_add(i64::try_from(by.as_millis()).unwrap_or_default(), Ordering::SeqCst);
        }
    }
}
