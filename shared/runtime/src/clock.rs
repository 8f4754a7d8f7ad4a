//! The only module that reads the wall clock.

use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::time::Instant;

/// The clock: the system's, or one that a test controls.
#[derive(Clone, Default)]
pub struct Clock(ClockKind);

#[derive(Clone, Default)]
enum ClockKind {
    #[default]
    System,
    Fixed(Arc<AtomicI64>),
    /// Shows the number of milliseconds, and continues as tokio's time does.
    Running(Arc<AtomicI64>, Instant),
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self(ClockKind::System)
    }

    /// A clock that stands at `at` until [`Clock::advance`] moves it, for all clones.
    pub fn fixed_at(at: Timestamp) -> Self {
        Self(ClockKind::Fixed(Arc::new(AtomicI64::new(at.as_millisecond()))))
    }

    /// A clock that shows `at` now and runs with tokio's time, which a test can pause.
    /// [`Clock::advance`] moves it forward.
    pub fn running(at: Timestamp) -> Self {
        Self(ClockKind::Running(Arc::new(AtomicI64::new(at.as_millisecond())), Instant::now()))
    }

    /// The current time, in whole milliseconds.
    pub fn now(&self) -> Timestamp {
        let millis = match &self.0 {
            ClockKind::Fixed(set) => set.load(Ordering::SeqCst),
            ClockKind::Running(set, since) => {
                let passed = i64::try_from(since.elapsed().as_millis()).unwrap_or_default();
                set.load(Ordering::SeqCst).saturating_add(passed)
            }
            #[expect(clippy::disallowed_methods, reason = "this is the door")]
            ClockKind::System => Timestamp::now().as_millisecond(),
        };
        Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Moves a clock that a test controls. It has no effect on the system's clock.
    pub fn advance(&self, by: SignedDuration) {
        if let ClockKind::Fixed(set) | ClockKind::Running(set, _) = &self.0 {
            set.fetch_add(i64::try_from(by.as_millis()).unwrap_or_default(), Ordering::SeqCst);
        }
    }
}
