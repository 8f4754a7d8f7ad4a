//! How much of an upstream's limits an account has used.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A change of the utilization by fewer percentage points is not stored.
const UTILIZATION_CHANGE_MIN: u32 = 5;

/// How much of the upstream's unified limits is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UpstreamUtilization {
    /// The window of five hours.
    pub five_hour: Option<UtilizationWindow>,
    /// The window of seven days.
    pub seven_day: Option<UtilizationWindow>,
}

/// One window of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UtilizationWindow {
    /// The percentage used; it can be above 100.
    pub percent: u32,
    /// When the window is reset.
    pub resets_at: Option<Timestamp>,
}

impl UpstreamUtilization {
    /// The highest used percentage among the limits that have not been reset since.
    pub fn percent(&self, now: Timestamp) -> u32 {
        let running = |window: &UtilizationWindow| window.resets_at.is_none_or(|reset| reset > now);
        let windows = [self.five_hour, self.seven_day].into_iter().flatten().filter(running);
        windows.map(|window| window.percent).max().unwrap_or_default()
    }

    /// Whether this differs so much from the `current` one that it is stored.
    pub(super) fn is_news_after(self, current: Self) -> bool {
        let moved = |new: Option<UtilizationWindow>, current: Option<UtilizationWindow>| match (
            new, current,
        ) {
            (Some(new), Some(current)) => {
                new.percent.abs_diff(current.percent) >= UTILIZATION_CHANGE_MIN
            }
            (Some(_), None) => true,
            (None, _) => false,
        };
        moved(self.five_hour, current.five_hour) || moved(self.seven_day, current.seven_day)
    }
}
