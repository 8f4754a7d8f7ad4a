//! The platform's deadline of a request: when the platform will end it, whatever we do.

use jiff::{SignedDuration, Timestamp};

/// The longest that a Lambda function may run: AWS Lambda Developer Guide, "Lambda quotas"
/// (November 2026).
const LONGEST: SignedDuration = SignedDuration::from_mins(15);

/// By how much the platform's clock may be ahead of ours.
const CLOCK_MARGIN: SignedDuration = SignedDuration::from_mins(1);

/// When the platform will end this request. Put into the request's extensions by whoever knows
/// (the Lambda runtime); the relay keeps five seconds clear of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlatformDeadline(pub Timestamp);

impl PlatformDeadline {
    /// The deadline of which the Lambda runtime `told`, in unix milliseconds.
    ///
    /// `None` where that cannot be one: a time that has passed, or one that is later than any
    /// function may run. Emulators of the platform send such (cargo-lambda 1.9 always sends
    /// 600,000, which was in January 1970); a request without a deadline has the relay's own time.
    pub fn from_unix_millis(told: u64, now: Timestamp) -> Option<Self> {
        let deadline = Timestamp::from_millisecond(i64::try_from(told).ok()?).ok()?;
        let left = deadline.duration_since(now);
        let is_possible = left.is_positive() && left <= LONGEST + CLOCK_MARGIN;
        is_possible.then_some(Self(deadline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn implausible_deadlines_are_ignored() {
        let now: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        let millis = u64::try_from(now.as_millisecond()).unwrap();
        for (told, is_believed, why) in [
            (millis + 1, true, "it ends at once"),
            (millis + 3_000, true, "Lambda's default of three seconds"),
            (millis + 900_000, true, "the longest that a function may have"),
            (millis + 960_000, true, "the same by a clock that is a minute ahead"),
            (0, false, "none was told"),
            (600_000, false, "cargo-lambda's constant"),
            (millis, false, "now"),
            (millis - 1, false, "just passed"),
            (millis - 86_400_000, false, "yesterday"),
            (millis + 960_001, false, "longer than a function may run"),
            (millis + 86_400_000, false, "tomorrow"),
            (millis * 1_000, false, "microseconds"),
            (millis / 1_000, false, "seconds"),
            (253_402_207_200_000, false, "the last time that there is"),
            (253_402_300_800_000, false, "the year 10000"),
            (u64::MAX, false, "no time"),
            (u64::MAX / 2, false, "no time that fits"),
        ] {
            let deadline = PlatformDeadline::from_unix_millis(told, now);
            assert_eq!(deadline.is_some(), is_believed, "{told}: {why}");
            let at = deadline.map(|PlatformDeadline(at)| at.as_millisecond());
            assert!(at.is_none_or(|at| u64::try_from(at) == Ok(told)), "{told}: {why}");
        }
    }
}
