//! The periods of money limits and the names of their windows.
//!
//! All periods are in UTC. Counting in windows and blocking of requests are in `reservation`.

use crate::key::Limits;
use crate::money::PicoUsd;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// The period of a money limit, shortest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitPeriod {
    /// A calendar day.
    Daily,
    /// A week, from Monday.
    Weekly,
    /// A calendar month.
    Monthly,
    /// All time.
    Total,
}

/// The window of one period: the name of its counter and its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitWindow {
    /// `d#2026-11-22`, `w#2026-11-16`, `m#2026-11`, `t`; `r#2026-11-22T21:05` for a minute.
    pub name: String,
    /// The start of the next window; `None` for all time.
    pub resets_at: Option<Timestamp>,
}

impl LimitPeriod {
    /// Every period.
    pub const ALL: [Self; 4] = [Self::Daily, Self::Weekly, Self::Monthly, Self::Total];

    /// `daily`, `weekly`, `monthly`, `total`
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Total => "total",
        }
    }

    /// The window that contains `at`.
    pub fn window(self, at: Timestamp) -> LimitWindow {
        let day = at.to_zoned(TimeZone::UTC).date();
        let (letter, first, next) = match self {
            Self::Daily => ("d", day, day.tomorrow().ok()),
            Self::Weekly => {
                let since_monday = i64::from(day.weekday().to_monday_zero_offset());
                let days = |count: i64| jiff::Span::new().days(count);
                let monday = day.checked_sub(days(since_monday)).unwrap_or(day);
                ("w", monday, monday.checked_add(days(7)).ok())
            }
            Self::Monthly => ("m", day.first_of_month(), day.last_of_month().tomorrow().ok()),
            Self::Total => return LimitWindow { name: "t".to_owned(), resets_at: None },
        };
        let form = if self == Self::Monthly { "%Y-%m" } else { "%Y-%m-%d" };
        LimitWindow {
            name: format!("{letter}#{}", first.strftime(form)),
            resets_at: next.and_then(midnight),
        }
    }
}

/// The minute that contains `at`, for limits of requests per minute.
pub fn minute(at: Timestamp) -> LimitWindow {
    let next = Timestamp::from_second((at.as_second().div_euclid(60) + 1) * 60);
    LimitWindow { name: format!("r#{}", at.strftime("%Y-%m-%dT%H:%M")), resets_at: next.ok() }
}

fn midnight(day: Date) -> Option<Timestamp> {
    Some(day.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// How long a window's counter is kept after its end, because records can be settled late.
const WINDOW_RETENTION_SECONDS: i64 = 35 * 24 * 3600;

/// The same for minutes, in which nothing is settled.
const MINUTE_RETENTION_SECONDS: i64 = 120;

/// Whether the counter of this window can be deleted at `now`, long after the window's end.
pub fn is_long_ended(name: &str, now: Timestamp) -> bool {
    let start = match name.split_once('#') {
        Some(("r", minute)) => format!("{minute}:00Z"),
        Some(("d" | "w", day)) => format!("{day}T00:00:00Z"),
        Some(("m", month)) => format!("{month}-01T00:00:00Z"),
        _ => return false,
    };
    let Ok(start) = start.parse::<Timestamp>() else { return false };
    let (end, kept) = match name.as_bytes().first() {
        Some(b'r') => (minute(start).resets_at, MINUTE_RETENTION_SECONDS),
        Some(b'd') => (LimitPeriod::Daily.window(start).resets_at, WINDOW_RETENTION_SECONDS),
        Some(b'w') => (LimitPeriod::Weekly.window(start).resets_at, WINDOW_RETENTION_SECONDS),
        _ => (LimitPeriod::Monthly.window(start).resets_at, WINDOW_RETENTION_SECONDS),
    };
    end.is_some_and(|end| now.as_second() - end.as_second() > kept)
}

impl Limits {
    /// The money limit of a period.
    pub fn money(&self, period: LimitPeriod) -> Option<PicoUsd> {
        match period {
            LimitPeriod::Daily => self.usd_daily,
            LimitPeriod::Weekly => self.usd_weekly,
            LimitPeriod::Monthly => self.usd_monthly,
            LimitPeriod::Total => self.usd_total,
        }
    }

    /// Every money limit that is set, shortest period first.
    pub(crate) fn money_limits(&self) -> impl Iterator<Item = (LimitPeriod, PicoUsd)> {
        LimitPeriod::ALL.into_iter().filter_map(|period| Some((period, self.money(period)?)))
    }

    /// Whether any limit is set.
    pub fn has_any(&self) -> bool {
        *self != Self::default()
    }

    /// Lowers the limit of a period to `amount`, unless it is lower already.
    pub(crate) fn tighten_limit(&mut self, period: LimitPeriod, amount: PicoUsd) {
        let limit = match period {
            LimitPeriod::Daily => &mut self.usd_daily,
            LimitPeriod::Weekly => &mut self.usd_weekly,
            LimitPeriod::Monthly => &mut self.usd_monthly,
            LimitPeriod::Total => &mut self.usd_total,
        };
        *limit = Some(limit.map_or(amount, |limit| limit.min(amount)));
    }

    /// Whether there is a limit on requests, per minute or at the same time.
    pub fn has_rates(&self) -> bool {
        self.requests_per_minute.is_some() || self.concurrency.is_some()
    }

    /// Whether there is a money limit.
    pub fn has_money(&self) -> bool {
        self.money_limits().next().is_some()
    }
}

/// `amount` as a share of `limit`: a decimal number with four places, rounded down. A limit of 0 is
/// always fully used.
pub fn utilization(amount: PicoUsd, limit: PicoUsd) -> String {
    let (amount, limit) = (amount.pico().max(0), limit.pico());
    let shares = if limit > 0 { amount.saturating_mul(10_000) / limit } else { 10_000 };
    format!("{}.{:04}", shares / 10_000, shares % 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn window_name_and_reset_follow_from_its_start() {
        let check = |at: &str, period: LimitPeriod, name: &str, resets: &str| {
            let window = period.window(at.parse().unwrap());
            let resets_at = window.resets_at.map(|at| at.to_string()).unwrap_or_default();
            assert_eq!((window.name.as_str(), resets_at.as_str()), (name, resets), "{at}");
        };
        let late = "2026-11-22T23:59:59.999Z"; // a Sunday
        check(late, LimitPeriod::Daily, "d#2026-11-22", "2026-11-23T00:00:00Z");
        check(late, LimitPeriod::Weekly, "w#2026-11-16", "2026-11-23T00:00:00Z");
        check(late, LimitPeriod::Monthly, "m#2026-11", "2026-12-01T00:00:00Z");
        check(late, LimitPeriod::Total, "t", "");
        let monday = "2026-11-23T00:00:00Z";
        check(monday, LimitPeriod::Daily, "d#2026-11-23", "2026-11-24T00:00:00Z");
        check(monday, LimitPeriod::Weekly, "w#2026-11-23", "2026-11-30T00:00:00Z");
        check("2028-02-29T12:00:00Z", LimitPeriod::Daily, "d#2028-02-29", "2028-03-01T00:00:00Z");
        check("2026-12-31T12:00:00Z", LimitPeriod::Weekly, "w#2026-12-28", "2027-01-04T00:00:00Z");
        check("2026-12-31T12:00:00Z", LimitPeriod::Monthly, "m#2026-12", "2027-01-01T00:00:00Z");
    }

    #[test]
    fn minute_window_has_name_and_reset() {
        let window = minute("2026-11-22T21:05:59.9Z".parse().unwrap());
        assert_eq!(window.name, "r#2026-11-22T21:05");
        assert_eq!(window.resets_at, "2026-11-22T21:06:00Z".parse().ok());
    }

    #[test]
    fn windows_that_ended_long_ago_are_recognized() {
        let check = |name: &str, expect| {
            let now = "2026-11-22T21:05:30Z".parse().unwrap();
            assert_eq!(is_long_ended(name, now), expect, "{name}");
        };
        check("r#2026-11-22T21:05", false);
        check("r#2026-11-22T21:03", false);
        check("r#2026-11-22T21:02", true);
        check("d#2026-11-22", false);
        check("d#2026-10-20", false);
        check("d#2026-10-17", true);
        check("w#2026-10-12", false);
        check("w#2026-10-05", true);
        check("m#2026-10", false);
        check("m#2026-09", true);
        check("t", false);
        check("open", false);
        check("d#never", false);
    }

    #[test]
    fn utilization_is_an_exact_decimal() {
        let check = |amount, limit, expect: &str| {
            assert_eq!(utilization(PicoUsd::new(amount), PicoUsd::new(limit)), expect);
        };
        check(0, 10, "0.0000");
        check(3, 4, "0.7500");
        check(1, 3, "0.3333");
        check(12, 10, "1.2000");
        check(-1, 10, "0.0000");
        check(5, 0, "1.0000");
    }

    proptest! {
        #[test]
        fn windows_are_contiguous(
            second in 0_i64..4_000_000_000,
        ) {
            let at = Timestamp::from_second(second).unwrap();
            let windows = LimitPeriod::ALL.map(|period| (period.window(at), Some(period)));
            for (window, period) in windows.into_iter().chain([(minute(at), None)]) {
                let again = |at| period.map_or_else(|| minute(at), |period| period.window(at));
                prop_assert!(!is_long_ended(&window.name, at));
                let Some(reset) = window.resets_at else { continue };
                prop_assert!(reset > at);
                let last = Timestamp::from_second(reset.as_second() - 1).unwrap();
                prop_assert_eq!(again(last), window.clone());
                prop_assert_ne!(again(reset).name, window.name);
            }
        }
    }
}
