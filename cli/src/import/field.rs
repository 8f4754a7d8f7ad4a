//! Fields of other programs' exports: numbers as text or as numbers, booleans as 0 and 1, and
//! amounts of money that must not pass through a float.

use baton_domain::money::PicoUsd;
use serde_json::{Map, Value};

/// A row of an export.
pub(super) type ExportRow = Map<String, Value>;

/// The rows of a list: the first of `places` that is a list, whatever surrounds it.
pub(super) fn find_rows(value: &Value, places: &[&str]) -> Vec<ExportRow> {
    let list = places.iter().find_map(|pointer| value.pointer(pointer)?.as_array());
    list.into_iter().flatten().filter_map(Value::as_object).cloned().collect()
}

/// A text that is not empty. A number becomes its digits.
pub(super) fn text(row: &ExportRow, name: &str) -> Option<String> {
    match row.get(name)? {
        Value::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A boolean, also in the form of text or of 0 and 1.
pub(super) fn read_bool(row: &ExportRow, name: &str) -> Option<bool> {
    match row.get(name)? {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) => match text.as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
        Value::Number(number) => number.as_i64().map(|number| number != 0),
        _ => None,
    }
}

/// A whole number, also in the form of text.
pub(super) fn read_integer(row: &ExportRow, name: &str) -> Option<i64> {
    text(row, name)?.parse().ok()
}

/// A whole number above zero. In other programs zero means unlimited.
pub(super) fn count(row: &ExportRow, name: &str) -> Option<u32> {
    read_integer(row, name)
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| *number > 0)
}

/// A list of texts: a JSON list, one inside a text, or texts between commas.
pub(super) fn read_list(row: &ExportRow, name: &str) -> Vec<String> {
    let texts = |value: &Value| -> Option<Vec<String>> {
        let items = value.as_array()?.iter().filter_map(Value::as_str);
        Some(items.map(str::to_owned).collect())
    };
    match row.get(name) {
        Some(Value::String(text)) => {
            let inside = serde_json::from_str::<Value>(text).ok();
            inside.as_ref().and_then(texts).unwrap_or_else(|| {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                items.map(str::to_owned).collect()
            })
        }
        Some(value) => texts(value).unwrap_or_default(),
        None => Vec::new(),
    }
}

/// An object, also in the form of JSON inside a text.
pub(super) fn object(row: &ExportRow, name: &str) -> ExportRow {
    match row.get(name) {
        Some(Value::Object(object)) => object.clone(),
        Some(Value::String(text)) => serde_json::from_str::<Value>(text)
            .ok()
            .and_then(|v| v.as_object().cloned())
            .unwrap_or_default(),
        _ => ExportRow::new(),
    }
}

/// An amount of dollars above zero, exactly as its digits say.
///
/// # Errors
/// The digits, if they are not an amount.
pub(super) fn dollars(row: &ExportRow, name: &str) -> Result<Option<PicoUsd>, String> {
    let Some(text) = text(row, name) else { return Ok(None) };
    let amount = parse_money(&text).ok_or(text)?;
    Ok(Some(amount).filter(|amount| *amount > PicoUsd::ZERO))
}

/// Reads an amount, including scientific notation, which JSON writers use for small numbers.
pub(super) fn parse_money(text: &str) -> Option<PicoUsd> {
    let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().ok().filter(|exponent: &i32| exponent.abs() < 30)?;
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let (integer_part, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{integer_part}{fraction}");
    if integer_part.is_empty() || !all.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    // The position of the decimal point in `all` after applying the exponent.
    let point = i32::try_from(integer_part.len()).ok()? + exponent;
    let shifted = match usize::try_from(point) {
        Ok(point) if point > 0 => {
            let (integer_part, fraction) = all.split_at_checked(point).unwrap_or((&all, ""));
            let zeros = "0".repeat(point.saturating_sub(all.len()));
            format!("{integer_part}{zeros}.{fraction}0")
        }
        _ => format!("0.{}{all}", "0".repeat(usize::try_from(-point).ok()?)),
    };
    let (integer_part, fraction) = shifted.split_once('.')?;
    let fraction = fraction.trim_end_matches('0');
    let plain = if fraction.is_empty() {
        integer_part.to_owned()
    } else {
        format!("{integer_part}.{fraction}")
    };
    format!("{sign}{plain}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn money_is_parsed_exactly() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(
                parse_money(text).map(|amount| amount.to_string()).as_deref(),
                expected,
                "{text}"
            );
        };
        check("0.1", Some("0.100000000000"));
        check("12", Some("12.000000000000"));
        check("1e-7", Some("0.000000100000"));
        check("1.25e3", Some("1250.000000000000"));
        check("1.5E+2", Some("150.000000000000"));
        check("-3.5", Some("-3.500000000000"));
        check("0.0000000000010", Some("0.000000000001"));
        check("1e-13", None);
        check("ten", None);
        check("", None);
        check("1e99", None);
    }

    #[test]
    fn json_numbers_keep_their_digits() {
        for digits in ["0.1", "99.95", "1e-7", "100", "33.333333"] {
            let row: ExportRow = serde_json::from_str(&format!("{{\"a\": {digits}}}")).unwrap();
            assert_eq!(dollars(&row, "a").unwrap(), parse_money(digits), "{digits}");
        }
    }

    #[test]
    fn fields_are_read_from_every_json_type() {
        let row = json!({
            "one": "1", "zero": 0, "yes": "true", "no": 0, "csv": "a, b,", "json": "[\"a\",\"b\"]",
            "list": ["a", "b"], "map": "{\"a\":\"b\"}", "empty": " ",
        });
        let row = row.as_object().cloned().unwrap();
        assert_eq!((count(&row, "one"), count(&row, "zero")), (Some(1), None));
        assert_eq!(
            (read_bool(&row, "yes"), read_bool(&row, "no"), read_bool(&row, "gone")),
            (Some(true), Some(false), None)
        );
        for name in ["csv", "json", "list"] {
            assert_eq!(read_list(&row, name), ["a", "b"], "{name}");
        }
        assert_eq!(object(&row, "map")["a"], "b");
        assert_eq!(text(&row, "empty"), None);
    }
}
