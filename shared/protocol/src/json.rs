//! Checks JSON text from others in one pass with a bound on its nesting, and walks it level by
//! level without parsing it again.
//!
//! Nothing here recurses, so no text can exhaust the stack. This module does not know what fields
//! mean.

mod document;
mod lenient;

pub(crate) use document::{
    ArrayItems, JsonDocument, JsonValue, SURROGATE_BYTES, replace_surrogates,
};
pub(crate) use lenient::{BYTE_ORDER_MARK, strip_byte_order_mark, to_strict_json};

use std::borrow::Cow;
use std::ops::Range;

/// The deepest nesting of containers in a text that is only passed on. `serde_json`, which reads the
/// cost of a request, stops at the same depth, and most parsers of the vendors at about the same.
pub const DEPTH_MAX: usize = 127;

/// The highest number of fields in one object of the first [`CHECKED_LEVELS`] levels. No API
/// documents an object with more than a few hundred.
pub const FIELDS_MAX: usize = 4_096;

/// The highest number of arrays and objects in a text that is translated, since each is kept in
/// memory: up to 600 bytes with what is written for it. Conversations that fill a context of a
/// million tokens have about ten thousand.
pub const CONTAINERS_MAX: usize = 200_000;

/// The number of levels whose objects are checked for names that are given twice. These levels
/// contain all fields that a relay or an upstream reads as a setting
/// (`stream_options.include_usage`, `tools[].model`, `messages[].role`). Deeper levels belong to
/// the prompt.
pub const CHECKED_LEVELS: usize = 3;

/// Why a text was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JsonError {
    /// The text is not JSON. The value is the offset of the wrong byte.
    Syntax(usize),
    /// The text is JSON, but not an object.
    NotAnObject,
    /// The containers are nested deeper than the bound.
    TooDeep,
    /// One object has this name twice.
    Twice(String),
    /// The text has more than [`CONTAINERS_MAX`] arrays and objects.
    ManyContainers,
    /// One object has more than [`FIELDS_MAX`] fields.
    ManyFields,
    /// A field of the outermost object has another spelling than the one that is read.
    OtherCase {
        /// The name as it is written.
        name: String,
        /// The name as it should be written.
        known_name: &'static str,
    },
}

/// Receives what a pass over a text finds.
trait JsonVisitor<'a> {
    /// An object or array begins at `at`. `depth` counts the open containers including this one.
    fn on_open(&mut self, _depth: usize, _at: usize) -> Result<(), JsonError> {
        Ok(())
    }

    /// The container at `depth` has ended before `end`.
    fn on_close(&mut self, _depth: usize, _end: usize) -> Result<(), JsonError> {
        Ok(())
    }

    /// A name in the object at `depth`, without its quotes.
    fn on_name(&mut self, _depth: usize, _span: Range<usize>) -> Result<(), JsonError> {
        Ok(())
    }

    /// A value of the outermost container has ended.
    fn on_value(&mut self, _span: Range<usize>) -> Result<(), JsonError> {
        Ok(())
    }
}

/// Checks that `text` is one JSON value with at most `depth_max` (up to [`DEPTH_MAX`]) nested containers, and
/// reports its parts to `events`.
fn scan_json<'a, E: JsonVisitor<'a>>(
    text: &'a [u8],
    depth_max: usize,
    events: &mut E,
) -> Result<(), JsonError> {
    let mut cursor = TextCursor { text, index: 0 };
    // The open containers as bits, the innermost in the lowest bit. 1 is an object.
    let (mut open, mut depth, mut start) = (0_u128, 0, 0);
    loop {
        let first = cursor.peek_token();
        if depth == 1 {
            start = cursor.index;
        }
        if let Some(bracket @ (b'{' | b'[')) = first {
            if depth >= depth_max.min(DEPTH_MAX) {
                return Err(JsonError::TooDeep);
            }
            depth += 1;
            let is_object = bracket == b'{';
            open = open << 1 | u128::from(is_object);
            events.on_open(depth, cursor.index)?;
            cursor.index += 1;
            if cursor.peek_token() != Some(if is_object { b'}' } else { b']' }) {
                if is_object {
                    events.on_name(depth, cursor.read_name()?)?;
                }
                continue;
            }
        } else {
            cursor.skip_scalar(first)?;
            if depth == 1 {
                events.on_value(start..cursor.index)?;
            }
        }
        // A value has ended, or a container is empty. Close all containers that end here.
        loop {
            if depth == 0 {
                return if cursor.peek_token().is_none() {
                    Ok(())
                } else {
                    Err(cursor.syntax_error())
                };
            }
            let is_object = open & 1 == 1;
            match cursor.peek_token() {
                Some(b',') => {
                    cursor.index += 1;
                    if is_object {
                        events.on_name(depth, cursor.read_name()?)?;
                    }
                    break;
                }
                Some(b'}') if is_object => {}
                Some(b']') if !is_object => {}
                _ => return Err(cursor.syntax_error()),
            }
            cursor.index += 1;
            events.on_close(depth, cursor.index)?;
            depth -= 1;
            open >>= 1;
            if depth == 1 {
                events.on_value(start..cursor.index)?;
            }
        }
    }
}

/// A position in a text.
#[derive(Debug, Clone, Copy)]
struct TextCursor<'a> {
    text: &'a [u8],
    index: usize,
}

const ONES: u64 = 0x0101_0101_0101_0101;

/// Whether a byte ends a run of plain characters in a string.
fn is_special(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || byte < b' '
}

impl<'a> TextCursor<'a> {
    fn syntax_error(&self) -> JsonError {
        JsonError::Syntax(self.index)
    }

    fn remaining_bytes(&self) -> &'a [u8] {
        self.text.get(self.index..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.index).copied()
    }

    /// The next byte that is not white space.
    fn peek_token(&mut self) -> Option<u8> {
        while let Some(byte) = self.peek() {
            if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return Some(byte);
            }
            self.index += 1;
        }
        None
    }

    /// Reads a name and its colon. Returns the position of the name without its quotes.
    fn read_name(&mut self) -> Result<Range<usize>, JsonError> {
        if self.peek_token() != Some(b'"') {
            return Err(self.syntax_error());
        }
        let start = self.index + 1;
        self.skip_string()?;
        let end = self.index - 1;
        if self.peek_token() != Some(b':') {
            return Err(self.syntax_error());
        }
        self.index += 1;
        Ok(start..end)
    }

    fn skip_scalar(&mut self, first: Option<u8>) -> Result<(), JsonError> {
        match first {
            Some(b'"') => self.skip_string(),
            Some(b'-' | b'0'..=b'9') => self.skip_number(),
            Some(b't') => self.skip_literal(b"true"),
            Some(b'f') => self.skip_literal(b"false"),
            Some(b'n') => self.skip_literal(b"null"),
            _ => Err(self.syntax_error()),
        }
    }

    fn skip_literal(&mut self, word: &[u8]) -> Result<(), JsonError> {
        for byte in word {
            if self.peek() != Some(*byte) {
                return Err(self.syntax_error());
            }
            self.index += 1;
        }
        Ok(())
    }

    fn skip_digits(&mut self) -> Result<(), JsonError> {
        let count = self.remaining_bytes().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.index += count;
        if count == 0 { Err(self.syntax_error()) } else { Ok(()) }
    }

    fn skip_number(&mut self) -> Result<(), JsonError> {
        self.index += usize::from(self.peek() == Some(b'-'));
        if self.peek() == Some(b'0') {
            self.index += 1;
            if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
                return Err(self.syntax_error());
            }
        } else {
            self.skip_digits()?;
        }
        if self.peek() == Some(b'.') {
            self.index += 1;
            self.skip_digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.index += 1;
            self.index += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.skip_digits()?;
        }
        Ok(())
    }

    /// Skips a string, from quote to quote.
    fn skip_string(&mut self) -> Result<(), JsonError> {
        self.index += 1;
        loop {
            self.skip_plain();
            match self.peek() {
                Some(b'"') => {
                    self.index += 1;
                    return Ok(());
                }
                Some(b'\\') => self.skip_escape()?,
                _ => return Err(self.syntax_error()),
            }
        }
    }

    fn skip_escape(&mut self) -> Result<(), JsonError> {
        self.index += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.index += 1,
            Some(b'u') => {
                self.index += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return Err(self.syntax_error());
                    }
                    self.index += 1;
                }
            }
            _ => return Err(self.syntax_error()),
        }
        Ok(())
    }

    /// Skips to the next quote, backslash or control character: first in steps of 32 bytes, which
    /// the compiler turns into vector instructions, then of eight. Most of a body is plain text.
    fn skip_plain(&mut self) {
        let mut rest = self.remaining_bytes();
        while let Some((chunk, tail)) = rest.split_first_chunk::<32>() {
            if chunk.iter().fold(false, |found, byte| found | is_special(*byte)) {
                break;
            }
            rest = tail;
        }
        while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
            let bytes = u64::from_le_bytes(*chunk);
            let (quote, slash) =
                (bytes ^ (ONES * u64::from(b'"')), bytes ^ (ONES * u64::from(b'\\')));
            // A byte's highest bit is set where the subtraction had to borrow. Bits above the first
            // such byte can be wrong, so only the lowest counts.
            let control = bytes.wrapping_sub(ONES * u64::from(b' ')) & !bytes;
            let quote = quote.wrapping_sub(ONES) & !quote;
            let slash = slash.wrapping_sub(ONES) & !slash;
            let found = (control | quote | slash) & (ONES << 7);
            if found != 0 {
                self.index = self.text.len() - rest.len() + (found.trailing_zeros() / 8) as usize;
                return;
            }
            rest = tail;
        }
        let plain = rest.iter().take_while(|byte| !is_special(**byte)).count();
        self.index = self.text.len() - rest.len() + plain;
    }
}

/// Decodes the escapes of a name. `None` if it is not Unicode.
fn decode_name(name: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(name).ok()?;
    if memchr::memchr(b'\\', name).is_none() {
        return Some(Cow::Borrowed(text));
    }
    serde_json::from_str(&format!("\"{text}\"")).ok().map(Cow::Owned)
}

/// Checks an object and reports the name and the position of the value of each field.
///
/// No object of the first [`CHECKED_LEVELS`] levels can have a name twice. Parsers disagree about
/// which value counts, so the relay could use one and the upstream the other.
pub(crate) fn for_each_field<'a>(
    text: &'a [u8],
    on_field: impl FnMut(&Cow<'a, str>, Range<usize>) -> Result<(), JsonError>,
) -> Result<(), JsonError> {
    let mut cursor = TextCursor { text, index: 0 };
    if cursor.peek_token() != Some(b'{') {
        // Text that is not JSON gets its own error.
        scan_json(text, DEPTH_MAX, &mut NoopVisitor)?;
        return Err(JsonError::NotAnObject);
    }
    scan_json(
        text,
        DEPTH_MAX,
        &mut OpenNames { text, seen_names: Vec::new(), begins: [0; CHECKED_LEVELS], on_field },
    )
}

/// Whether a text is JSON, nested no deeper than the bound.
pub(crate) fn is_json(text: &[u8]) -> bool {
    is_json_within(text, DEPTH_MAX)
}

/// Whether a text is JSON with at most `depth_max` levels.
pub(crate) fn is_json_within(text: &[u8], depth_max: usize) -> bool {
    scan_json(text, depth_max, &mut NoopVisitor).is_ok()
}

/// Whether a text is one JSON object. Values that are nested too deeply are not checked.
pub(crate) fn is_json_object(text: &[u8]) -> bool {
    let mut cursor = TextCursor { text, index: 0 };
    let read = || scan_json(text, DEPTH_MAX, &mut NoopVisitor);
    cursor.peek_token() == Some(b'{') && matches!(read(), Ok(()) | Err(JsonError::TooDeep))
}

struct NoopVisitor;

impl JsonVisitor<'_> for NoopVisitor {}

/// The names of the open objects in the first levels.
struct OpenNames<'a, F> {
    text: &'a [u8],
    seen_names: Vec<Cow<'a, str>>,
    /// The index in `seen_names` at which the names of each level begin.
    begins: [usize; CHECKED_LEVELS],
    on_field: F,
}

impl<'a, F> JsonVisitor<'a> for OpenNames<'a, F>
where
    F: FnMut(&Cow<'a, str>, Range<usize>) -> Result<(), JsonError>,
{
    fn on_open(&mut self, depth: usize, _: usize) -> Result<(), JsonError> {
        if let Some(begin) = self.begins.get_mut(depth - 1) {
            *begin = self.seen_names.len();
        }
        Ok(())
    }

    fn on_close(&mut self, depth: usize, _: usize) -> Result<(), JsonError> {
        let Some(begin) = self.begins.get(depth - 1) else { return Ok(()) };
        let duplicate = find_duplicate(self.seen_names.get_mut(*begin..).unwrap_or_default());
        if let Some(name) = duplicate {
            return Err(JsonError::Twice(name));
        }
        self.seen_names.truncate(*begin);
        Ok(())
    }

    fn on_name(&mut self, depth: usize, span: Range<usize>) -> Result<(), JsonError> {
        let Some(begin) = self.begins.get(depth - 1) else { return Ok(()) };
        if self.seen_names.len() - begin >= FIELDS_MAX {
            return Err(JsonError::ManyFields);
        }
        let start = span.start;
        let name = self.text.get(span).and_then(decode_name).ok_or(JsonError::Syntax(start))?;
        self.seen_names.push(name);
        Ok(())
    }

    fn on_value(&mut self, span: Range<usize>) -> Result<(), JsonError> {
        match self.seen_names.last() {
            Some(name) => (self.on_field)(name, span),
            None => Ok(()),
        }
    }
}

/// A name that occurs twice. Few names are compared with each other; many are sorted first.
fn find_duplicate(names: &mut [Cow<'_, str>]) -> Option<String> {
    const FEW: usize = 24;
    if names.len() > FEW {
        names.sort_unstable();
        return names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0].to_string());
    }
    let mut rest = &*names;
    while let Some((first, tail)) = rest.split_first() {
        if tail.contains(first) {
            return Some(first.to_string());
        }
        rest = tail;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    fn full(value: JsonValue<'_>) -> serde_json::Value {
        if let Some(fields) = value.fields() {
            return fields.map(|(name, value)| (name.into_owned(), full(value))).collect();
        }
        if let Some(items) = value.items() {
            return items.map(full).collect();
        }
        match value.text() {
            Some(text) => text.into_owned().into(),
            None => serde_json::from_str(value.raw()).unwrap(),
        }
    }

    #[test]
    fn depth_bound_is_exact() {
        for (text, depth) in [("7", 0), ("[]", 1), ("{\"a\":[{}]}", 3), ("[[],[[]],[]]", 3)] {
            assert!(JsonDocument::parse(text.as_bytes(), depth).is_ok(), "{text}");
            if depth > 0 {
                let error = JsonDocument::parse(text.as_bytes(), depth - 1).unwrap_err();
                assert_eq!(error, JsonError::TooDeep, "{text}");
            }
        }
    }

    /// Pieces that make up texts that are almost JSON.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "\"a\"",
            "\"a\":",
            "{\"a\":",
            "\\",
            "\\u00e9",
            "\\ud800",
            "\\n",
            "é",
            " ",
            "\n",
            "\u{1}",
            "0",
            "-",
            "1",
            ".5",
            "e9",
            "E+",
            "true",
            "null",
            "fals",
            "plain text of some length that is skipped in steps",
        ]);
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    fn values() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            "[a\"\\\\é\n]{0,40}".prop_map(Into::into),
        ];
        leaf.prop_recursive(5, 60, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::btree_map("[a-c\"é]{0,3}", inner, 0..6)
                    .prop_map(|fields| fields.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn parser_accepts_the_same_texts_as_serde(text in pieces()) {
            let expect = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            prop_assert_eq!(is_json(text.as_bytes()), expect, "{}", text);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(text: Vec<u8>) {
            let expect = serde_json::from_slice::<IgnoredAny>(&text).is_ok();
            prop_assert_eq!(is_json(&text), expect);
            for (_, value) in JsonValue::from_checked(&text).fields().into_iter().flatten() {
                value.items().into_iter().flatten().for_each(|item| { item.text(); });
            }
        }

        #[test]
        fn lazy_walk_agrees_with_full_parse(value in values(), pretty: bool) {
            let text = if pretty {
                serde_json::to_string_pretty(&value)
            } else {
                serde_json::to_string(&value)
            }.unwrap();
            let document = JsonDocument::parse(text.as_bytes(), DEPTH_MAX).unwrap();
            prop_assert_eq!(full(document.root()), value.clone());
            prop_assert_eq!(full(JsonValue::from_checked(text.as_bytes())), value);
        }
    }
}
