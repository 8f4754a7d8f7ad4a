//! OpenRouter's `reasoning_details` of an answer, which are returned to it unchanged. A stream sends the
//! text of one entry in pieces (openrouter.ai, "Preserving reasoning", 2026-11).
//!
//! They are kept as JSON: parsed values take several hundred times the memory of a short text.

use crate::json::JsonValue;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The most fields of an entry that goes on in the next one. Documented entries have seven.
const FIELDS_MAX: usize = 32;

/// The fields whose text a stream sends in pieces.
const TEXT_FIELDS: [&str; 2] = ["text", "summary"];

/// The entries so far. Only the last one can still grow.
#[derive(Debug, Default)]
pub(super) struct ReasoningDetails {
    /// The entries before the last one, each with a comma behind it.
    before: String,
    last: Option<Entry<'static>>,
}

impl ReasoningDetails {
    pub(super) fn add_entry(&mut self, json: JsonValue<'_>) {
        let entry = Entry::read(json);
        if let (Some(last), Some(next)) = (&mut self.last, &entry)
            && last.is_continued_by(next)
        {
            return last.append(next);
        }
        self.end_last_entry();
        match entry.filter(Entry::has_text) {
            Some(entry) => self.last = Some(entry.into_owned()),
            None => self.push_json(json.raw()),
        }
    }

    /// The bytes of memory that the entries take.
    pub(super) fn held_bytes(&self) -> usize {
        self.before.len() + self.last.as_ref().map_or(0, Entry::held_bytes)
    }

    /// All entries as one list. `None` if there are none.
    pub(super) fn into_list(mut self) -> Option<Box<RawValue>> {
        self.end_last_entry();
        let entries = self.before.strip_suffix(',')?;
        RawValue::from_string(format!("[{entries}]")).ok()
    }

    fn end_last_entry(&mut self) {
        if let Some(last) = self.last.take() {
            self.push_json(&last.to_json());
        }
    }

    fn push_json(&mut self, json: &str) {
        self.before.push_str(json);
        self.before.push(',');
    }
}

/// The names of an entry's fields, and their values as JSON.
#[derive(Debug, Default)]
struct Entry<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Entry<'a> {
    /// Reads an object. `None` for anything else, and for more than [`FIELDS_MAX`] fields.
    fn read(json: JsonValue<'a>) -> Option<Self> {
        let fields = json.fields()?.take(FIELDS_MAX + 1);
        let fields: Vec<_> = fields.map(|(name, value)| (name, value.raw().into())).collect();
        (fields.len() <= FIELDS_MAX).then_some(Self(fields))
    }

    /// The value of a field as JSON. `null` counts as absent.
    fn value(&self, name: &str) -> Option<&str> {
        let field = self.0.iter().rev().find(|(known, _)| known == name)?;
        Some(field.1.as_ref()).filter(|value| *value != "null")
    }

    fn has_string(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| value.starts_with('"'))
    }

    fn has_text(&self) -> bool {
        TEXT_FIELDS.iter().any(|name| self.has_string(name))
    }

    /// Whether `next` goes on with the text of this entry.
    fn is_continued_by(&self, next: &Entry<'_>) -> bool {
        !self.has_string("signature")
            && self.0.len() <= FIELDS_MAX
            && (next.has_text() || next.has_string("signature"))
            && ["type", "index"].iter().all(|name| self.value(name) == next.value(name))
    }

    fn into_owned(self) -> Entry<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Entry(self.0.into_iter().map(|(name, value)| (owned(name), owned(value))).collect())
    }

    fn held_bytes(&self) -> usize {
        let each = size_of::<(Cow<'_, str>, Cow<'_, str>)>();
        self.0.iter().map(|(name, value)| name.len() + value.len() + each).sum()
    }

    fn to_json(&self) -> String {
        let mut json = String::from("{");
        for (name, value) in &self.0 {
            let comma = if json.len() > 1 { "," } else { "" };
            json.extend([comma, &serde_json::Value::from(name.as_ref()).to_string(), ":", value]);
        }
        json.push('}');
        json
    }
}

impl Entry<'static> {
    /// Adds the fields of the entry that goes on with this one: texts are joined, other values
    /// replaced.
    fn append(&mut self, next: &Entry<'_>) {
        for (name, more) in &next.0 {
            let known = self.0.iter_mut().rev().find(|(known, _)| known == name);
            let Some((_, value)) = known else {
                self.0.push((name.clone().into_owned().into(), more.clone().into_owned().into()));
                continue;
            };
            let is_text = TEXT_FIELDS.contains(&name.as_ref()) && value.starts_with('"');
            match more.strip_prefix('"') {
                Some(more) if is_text => {
                    // Both are strings of JSON, so the second one goes on before the quote of the first.
                    let value = value.to_mut();
                    value.pop();
                    value.push_str(more);
                }
                _ if more == "null" => {}
                _ => *value = Cow::Owned(more.clone().into_owned()),
            }
        }
    }
}
