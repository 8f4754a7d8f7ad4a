//! The platform's deadline of a request: the time at which the platform ends it.

use jiff::{SignedDuration, Timestamp};

/// The longest time that a Lambda function can run (AWS Lambda Developer Guide, "Lambda quotas",
/// November 2026).
const LONGEST: SignedDuration = SignedDuration::from_mins(15);

/// How far the platform's clock can be ahead of this process's clock.
const CLOCK_MARGIN: SignedDuration = SignedDuration::from_mins(1);

/// The time at which the platform ends this request. The server that knows it (the Lambda runtime)
/// puts it into the request's extensions. The relay ends the request five seconds earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlatformDeadline(pub Timestamp);

impl PlatformDeadline {
    /// Reads the deadline that the Lambda runtime reports (`told`), in Unix milliseconds.
    ///
    /// Returns `None` if the value cannot be a deadline: the time has passed, or it is later than
    /// any function can run. Emulators of the platform send such values; cargo-lambda 1.9 always
    /// sends 600,000, a time in January 1970. A request without a deadline gets the relay's own
    /// time limit.
    pub fn from_unix_millis(unix_millis: u64, now: Timestamp) -> Option<Self> {
        let deadline = Timestamp::from_millisecond(i64::try_from(unix_millis).ok()?).ok()?;
        let remaining = deadline.duration_since(now);
        let is_possible = remaining.is_positive() && remaining <= LONGEST + CLOCK_MARGIN;
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
        for (told, is_believed, reason) in [
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
            assert_eq!(deadline.is_some(), is_believed, "{told}: {reason}");
            let at = deadline.map(|PlatformDeadline(at)| at.as_millisecond());
            assert!(at.is_none_or(|at| u64::try_from(at) == Ok(told)), "{told}: {reason}");
        }
    }
}
