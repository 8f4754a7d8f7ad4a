//! Compares the work for an input with the work for one that is [`GROWTH`] times longer.

use std::time::Duration;

/// How many times longer the longer input is.
pub(crate) const GROWTH: usize = 16;

/// The highest growth of the time. Work that grows with the square takes 256 times as long, and
/// other load on the machine makes a measurement several times as long.
const SLOWER_MAX: u32 = 80;

/// Checks that the work grows in proportion to the input. Each input has some work that does not
/// depend on its length, for which the time of the short one counts as `least` at least.
pub(crate) fn assert_linear(
    label: &str,
    least: Duration,
    time_short: impl Fn() -> Duration,
    time_long: impl Fn() -> Duration,
) {
    // Other load can disturb one measurement, but not each.
    let is_linear = (0..5).any(|_| {
        let (before, after) = (time_short().max(least), time_long());
        println!("{:6.1} {label}", after.as_secs_f64() / before.as_secs_f64());
        after < before * SLOWER_MAX
    });
    assert!(is_linear, "{label}");
}
