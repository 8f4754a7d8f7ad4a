//! Formats numbers, money and times for people.

use baton_api::usage::UsageMeasures;
use baton_domain::key::Limits;
use baton_domain::money::PicoUsd;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

const PICO: i128 = 1_000_000_000_000;

/// `1234567` → `1,234,567`
pub(crate) fn group_digits(number: u64) -> String {
    group_digits_of(&number.to_string())
}

fn group_digits_of(digits: &str) -> String {
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1234567` → `1.23 M`; numbers below ten thousand are not shortened.
pub(crate) fn abbreviate_number(number: u64) -> String {
    let (unit, name) = match number {
        0..10_000 => return group_digits(number),
        10_000..1_000_000 => (1_000, "k"),
        1_000_000..1_000_000_000 => (1_000_000, "M"),
        _ => (1_000_000_000, "G"),
    };
    let hundredths = number / (unit / 100);
    let (whole, part) = (hundredths / 100, hundredths % 100);
    match whole {
        0..10 => format!("{whole}.{part:02} {name}"),
        10..100 => format!("{whole}.{} {name}", part / 10),
        _ => format!("{} {name}", group_digits(whole)),
    }
}

/// Formats an amount with two decimals, or with more if it is less than ten dollars.
pub(crate) fn usd(amount: PicoUsd) -> String {
    let pico = amount.pico();
    if pico > 0 && pico < PICO / 1_000_000 {
        return "<$0.000001".to_owned();
    }
    let places: u32 = match pico {
        0 => 2,
        _ if pico < PICO / 100 => 6,
        _ if pico < PICO * 10 => 4,
        _ => 2,
    };
    let unit = PICO / 10_i128.pow(places);
    let rounded = (pico + unit / 2) / unit;
    let one = 10_i128.pow(places);
    let (whole, part) = (rounded / one, rounded % one);
    let width = usize::try_from(places).unwrap_or_default();
    format!("${}.{part:0width$}", group_digits_of(&whole.to_string()))
}

/// Formats an amount for an input field, without trailing zeros.
pub(crate) fn format_exact_usd(exact: &str) -> String {
    match exact.split_once('.') {
        Some((whole, part)) if !part.trim_end_matches('0').is_empty() => {
            let part = part.trim_end_matches('0');
            format!("{whole}.{part:0<2}")
        }
        Some((whole, _)) => whole.to_owned(),
        None => exact.to_owned(),
    }
}

/// Formats a rate of the API (`0.1234`) as a percentage.
pub(crate) fn percent(rate: f64) -> String {
    format!("{:.1} %", rate * 100.0)
}

/// Formats milliseconds; zero means unknown.
pub(crate) fn millis(milliseconds: u64) -> String {
    match milliseconds {
        0 => "–".to_owned(),
        ms @ 1..10_000 => format!("{} ms", group_digits(ms)),
        ms => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
    }
}

/// The text of a value in the API, such as the name of an enum's variant; empty for null.
pub(crate) fn api_text(value: &impl Serialize) -> String {
    match json!(value) {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// How many requests of a sum have no price, if there are any.
pub(crate) fn unpriced_note(sums: &UsageMeasures) -> Option<String> {
    let count = sums.unpriced_requests;
    (count > 0).then(|| format!("{} without a price", group_digits(count)))
}

/// `2026-11-22T21:05:30.123Z` → `2026-11-22 21:05:30`
pub(crate) fn format_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Formats limits as a short text.
pub(crate) fn limits(limits: &Limits) -> String {
    let Limits { usd_daily, usd_weekly, usd_monthly, usd_total, requests_per_minute, concurrency } =
        limits;
    let money = [
        (usd_daily, "a day"),
        (usd_weekly, "a week"),
        (usd_monthly, "a month"),
        (usd_total, "in total"),
    ];
    let money = money.into_iter().filter_map(|(amount, period)| {
        Some(format!("${} {period}", format_exact_usd(&amount.as_ref()?.to_string())))
    });
    let counts = [(requests_per_minute, "requests a minute"), (concurrency, "concurrent requests")];
    let counts = counts
        .into_iter()
        .filter_map(|(count, noun)| Some(format!("{} {noun}", group_digits((*count)?.into()))));
    money.chain(counts).collect::<Vec<_>>().join(", ")
}

/// Cuts a text after `max` characters.
pub(crate) fn truncate_text(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(max).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_abbreviated() {
        for (number, text) in [
            (0, "0"),
            (9_999, "9,999"),
            (10_000, "10.0 k"),
            (123_456, "123 k"),
            (1_234_567, "1.23 M"),
            (1_234_567_890_123, "1,234 G"),
        ] {
            assert_eq!(abbreviate_number(number), text);
        }
        assert_eq!(group_digits(1_234_567), "1,234,567");
    }

    #[test]
    fn estimated_part_of_a_sum_is_marked() {
        let sums = |unpriced: u64| -> UsageMeasures {
            serde_json::from_value(json!({
                "requests": 9, "errors": 0, "tokens": { "input": 1, "output": 1 },
                "web_searches": 0, "cost_usd": "1", "unpriced_requests": unpriced,
                "cache_hit_rate": 0.0, "ttft_ms_avg": 0, "duration_ms_avg": 0,
            }))
            .unwrap()
        };
        assert_eq!(unpriced_note(&sums(0)), None);
        assert_eq!(unpriced_note(&sums(1_200)).as_deref(), Some("1,200 without a price"));
    }

    #[test]
    fn money_is_rounded_for_display() {
        for (exact, text) in [
            ("0.000000000000", "$0.00"),
            ("0.000001500000", "$0.000002"),
            ("0.000000000001", "<$0.000001"),
            ("0.12345", "$0.1235"),
            ("9.99995", "$10.0000"),
            ("1234.565", "$1,234.57"),
        ] {
            assert_eq!(usd(exact.parse().unwrap()), text, "{exact}");
        }
        for (exact, text) in [("1.500000000000", "1.50"), ("2.000000", "2"), ("0.125", "0.125")] {
            assert_eq!(format_exact_usd(exact), text);
        }
    }
}
