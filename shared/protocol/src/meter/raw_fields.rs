//! The fields of an upstream's JSON object, read without trust in their types.
//!
//! Of a field that is given twice the last value counts, as in most JSON parsers. A count that is
//! not a plain number is noted, because the cost then depends on a guess.

use crate::json::{ArrayItems, JsonValue, to_strict_json};
use baton_domain::usage::{MODEL_CHARS_MAX, clean_text};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// The largest count of tokens or searches of one class that is believed. No model has a context
/// window of more than a few million tokens (vendors' model pages, 2026-11).
pub const REPORTED_COUNT_MAX: u64 = 100_000_000;

/// The most characters that are kept of an id. `LiteLLM` puts several ids into one of some hundred
/// (2026-11).
const ID_CHARS_MAX: usize = 1_000;

/// The defects of the counts of a usage object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct UsageFaults {
    /// A count is not a whole number of at least 0, or a field is given twice with different
    /// values.
    pub(super) has_unreadable_count: bool,
    /// A count exceeds [`REPORTED_COUNT_MAX`].
    pub(super) has_excessive_count: bool,
    /// Counts contradict each other: a part is larger than its whole, or a count that grows during
    /// an answer has fallen.
    pub(super) has_contradiction: bool,
    /// The tokens of a total that belong neither to its answer nor to its prompt of 0. They count as
    /// output, and a part of them is the prompt.
    pub(super) prompt_in_output: u64,
}

impl UsageFaults {
    pub(super) fn add(&mut self, other: Self) {
        self.has_unreadable_count |= other.has_unreadable_count;
        self.has_excessive_count |= other.has_excessive_count;
        self.has_contradiction |= other.has_contradiction;
        self.prompt_in_output = self.prompt_in_output.max(other.prompt_in_output);
    }
}

/// The fields of one object that metering reads, by name. Other fields are skipped.
#[derive(Debug, Default)]
pub(super) struct RawFields<'a> {
    values: BTreeMap<&'static str, &'a str>,
    /// The fields that were given twice with different values.
    twice: Vec<&'static str>,
    pub(super) faults: UsageFaults,
}

/// All names that metering reads, in any object.
const NAMES: [&str; 47] = [
    "action",
    "cache_creation",
    "cache_creation_input_tokens",
    "cache_creation_token_details",
    "cache_creation_tokens",
    "cache_read_input_tokens",
    "cache_write_tokens",
    "cached_creation_tokens",
    "cached_tokens",
    "choices",
    "claude_cache_creation_1_h_tokens",
    "claude_cache_creation_5_m_tokens",
    "completion_tokens",
    "completion_tokens_details",
    "content",
    "delta",
    "ephemeral_1h_input_tokens",
    "ephemeral_5m_input_tokens",
    "error",
    "finish_reason",
    "id",
    "index",
    "inference_geo",
    "input_tokens",
    "input_tokens_details",
    "iterations",
    "message",
    "model",
    "output",
    "output_tokens",
    "output_tokens_details",
    "prompt_cache_hit_tokens",
    "prompt_tokens",
    "prompt_tokens_details",
    "reasoning_tokens",
    "response",
    "server_tool_use",
    "service_tier",
    "speed",
    "status",
    "stop_reason",
    "thinking_tokens",
    "total_tokens",
    "type",
    "usage",
    "web_search_requests",
    "x_groq",
];

/// Reads the fields of an object, also of one with numbers that are not finite or with bytes that are
/// not UTF-8. `None` if the bytes are not exactly one object.
pub(super) fn read_object<T>(json: &[u8], read: impl FnOnce(RawFields<'_>) -> T) -> Option<T> {
    if let Ok(fields) = serde_json::from_slice(json) {
        return Some(read(fields));
    }
    match to_strict_json(json) {
        Cow::Borrowed(_) => None,
        Cow::Owned(strict) => serde_json::from_slice(&strict).ok().map(read),
    }
}

impl<'a> RawFields<'a> {
    /// The field as a value of the expected type; `None` for any other type.
    pub(super) fn value<T: Deserialize<'a>>(&self, name: &str) -> Option<T> {
        self.values.get(name).and_then(|raw| serde_json::from_str(raw).ok())
    }

    /// The field as an object; `None` for any other type.
    pub(super) fn object(&self, name: &str) -> Option<Self> {
        self.value(name)
    }

    /// The field as a part of the usage. Any other value than an object or `null` is noted as an
    /// unreadable count.
    pub(super) fn read_usage_part(&mut self, name: &str) -> Option<Self> {
        self.note_twice(name);
        let raw = self.values.get(name).filter(|raw| **raw != "null")?;
        let part = serde_json::from_str(raw).ok();
        self.faults.has_unreadable_count |= part.is_none();
        part
    }

    /// The field as a list of at most `most` objects. Any other value than such a list or `null` is
    /// noted as an unreadable count.
    pub(super) fn read_usage_list(&mut self, name: &str, most: usize) -> Option<Vec<Self>> {
        self.note_twice(name);
        self.values.get(name).filter(|raw| **raw != "null")?;
        let items = self.items(name);
        let is_long = items.clone().is_some_and(|mut items| items.nth(most).is_some());
        let objects = items.map(|items| items.take(most).map(Self::from_item));
        let list = objects.and_then(Iterator::collect::<Option<Vec<_>>>);
        self.faults.has_unreadable_count |= is_long || list.is_none();
        list
    }

    /// The values of a list, one after the other. `None` if the field is not a list.
    pub(super) fn items(&self, name: &str) -> Option<ArrayItems<'a>> {
        JsonValue::from_checked(self.raw(name)?.as_bytes()).items()
    }

    /// The fields of an object in a list.
    pub(super) fn from_item(item: JsonValue<'a>) -> Option<Self> {
        serde_json::from_str(item.raw()).ok()
    }

    /// A name or an id, which is cut if it is longer than any vendor's; `None` for any other type.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let most = if name == "id" { ID_CHARS_MAX } else { MODEL_CHARS_MAX };
        self.value::<Cow<'a, str>>(name).map(|text| clean_text(&text, most))
    }

    /// The field as a count. A count that cannot be read is noted and missing, except `null`, which
    /// is only missing.
    pub(super) fn count(&mut self, name: &str) -> Option<u64> {
        self.note_twice(name);
        let raw = self.values.get(name).filter(|raw| **raw != "null")?;
        match parse_count(raw) {
            ParsedCount::Plain(count) => return Some(count),
            ParsedCount::Odd => self.faults.has_unreadable_count = true,
            ParsedCount::Absurd => self.faults.has_excessive_count = true,
        }
        None
    }

    /// The first of several fields for one count that is above 0, or else the first that is given.
    /// Gateways fill the names of another protocol with zeros.
    pub(super) fn first_count(&mut self, names: &[&str]) -> Option<u64> {
        let counts: Vec<_> = names.iter().map(|name| self.count(name)).collect();
        first_above_zero(counts)
    }

    /// The field as it was written.
    pub(super) fn raw(&self, name: &str) -> Option<&'a str> {
        self.values.get(name).copied()
    }

    /// Whether the object has the field twice, with different values.
    pub(super) fn is_given_twice(&self, name: &str) -> bool {
        self.twice.contains(&name)
    }

    fn note_twice(&mut self, name: &str) {
        self.faults.has_unreadable_count |= self.is_given_twice(name);
    }
}

impl<'de> Deserialize<'de> for RawFields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = RawFields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawFields<'de>, A::Error> {
        let mut fields = RawFields::default();
        while let Some(RawFieldName(name)) = map.next_key()? {
            let Some(name) = NAMES.iter().find(|known| **known == name) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let raw = map.next_value::<&'de RawValue>()?.get();
            let is_other = fields.values.insert(name, raw).is_some_and(|old| old != raw);
            if is_other && !fields.twice.contains(name) {
                fields.twice.push(name);
            }
        }
        Ok(fields)
    }
}

/// A field name, borrowed unless it has escapes.
#[derive(Deserialize)]
struct RawFieldName<'a>(#[serde(borrow)] Cow<'a, str>);

/// The first count that is above 0, or else the first that is given.
pub(super) fn first_above_zero(counts: impl IntoIterator<Item = Option<u64>>) -> Option<u64> {
    let given: Vec<u64> = counts.into_iter().flatten().collect();
    given.iter().find(|count| **count > 0).or(given.first()).copied()
}

/// How a count was written.
#[derive(Debug, PartialEq, Eq)]
enum ParsedCount {
    /// A whole number that can be true.
    Plain(u64),
    /// Not a whole number, or below 0.
    Odd,
    /// A number above [`REPORTED_COUNT_MAX`].
    Absurd,
}

/// Reads a whole number, also if it is in quotes, has a decimal point or an exponent.
fn parse_count(raw: &str) -> ParsedCount {
    let text = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw);
    if let Ok(count) = text.parse::<u64>() {
        return if count > REPORTED_COUNT_MAX {
            ParsedCount::Absurd
        } else {
            ParsedCount::Plain(count)
        };
    }
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    match text.parse::<f64>() {
        Ok(number) if is_number && number > 1e8 => ParsedCount::Absurd,
        Ok(number) if is_number && number >= 0.0 && number.fract() == 0.0 => format!("{number:.0}")
            .trim_start_matches('-')
            .parse()
            .map_or(ParsedCount::Odd, ParsedCount::Plain),
        _ => ParsedCount::Odd,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readable_counts_are_parsed() {
        let check = |raw: &str, expect| assert_eq!(parse_count(raw), expect, "{raw}");
        for (raw, count) in [
            ("0", 0),
            ("12", 12),
            ("\"12\"", 12),
            ("12.0", 12),
            ("1.2e1", 12),
            ("100000000", 100_000_000),
        ] {
            check(raw, ParsedCount::Plain(count));
        }
        for raw in ["-1", "12.5", "\"\"", "\"x\"", "true", "[]", "{}", "\"inf\"", "\"NaN\"", "[1"] {
            check(raw, ParsedCount::Odd);
        }
        for raw in ["100000001", "1e18", "1e309", "18446744073709551616", "60000000000"] {
            check(raw, ParsedCount::Absurd);
        }
    }

    #[test]
    fn last_of_two_values_wins() {
        let read = |json| serde_json::from_str::<RawFields<'_>>(json).unwrap();
        let mut fields = read(r#"{"input_tokens":1,"input_tokens":2,"x":3,"x":4}"#);
        assert_eq!(fields.count("input_tokens"), Some(2));
        assert!(fields.faults.has_unreadable_count);
        let mut fields = read(r#"{"input_tokens":2,"input_tokens":2}"#);
        assert_eq!(fields.count("input_tokens"), Some(2));
        assert!(!fields.faults.has_unreadable_count);
    }
}
