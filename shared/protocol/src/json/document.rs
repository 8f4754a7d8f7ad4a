//! A text that was checked in one pass and is walked level by level. Values are views of it.

use super::{CONTAINERS_MAX, JsonError, JsonVisitor, TextCursor, decode_name, scan_json};
use std::borrow::Cow;

/// Where a container ends, and how many containers it holds. The spans of those come directly after
/// it and before the span of its next sibling.
#[derive(Debug, Clone, Copy, Default)]
struct ContainerSpan {
    bytes: usize,
    inside: usize,
}

/// A checked text with the ends of its containers, which take 16 bytes each.
#[derive(Debug)]
pub(crate) struct JsonDocument<'a> {
    text: &'a [u8],
    spans: Vec<ContainerSpan>,
}

struct SpanRecorder {
    spans: Vec<ContainerSpan>,
    open_containers: Vec<usize>,
}

impl JsonVisitor<'_> for SpanRecorder {
    fn on_open(&mut self, _: usize, index: usize) -> Result<(), JsonError> {
        if self.spans.len() == CONTAINERS_MAX {
            return Err(JsonError::ManyContainers);
        }
        self.open_containers.push(self.spans.len());
        self.spans.push(ContainerSpan { bytes: index, inside: 0 });
        Ok(())
    }

    fn on_close(&mut self, _: usize, end: usize) -> Result<(), JsonError> {
        let count = self.spans.len();
        if let Some(index) = self.open_containers.pop()
            && let Some(span) = self.spans.get_mut(index)
        {
            *span = ContainerSpan { bytes: end - span.bytes, inside: count - index - 1 };
        }
        Ok(())
    }
}

impl<'a> JsonDocument<'a> {
    /// Checks a text in one pass.
    ///
    /// # Errors
    /// The text is not JSON, or is nested deeper than `depth_max`.
    pub(crate) fn parse(text: &'a [u8], depth_max: usize) -> Result<Self, JsonError> {
        let mut ends = SpanRecorder { spans: Vec::new(), open_containers: Vec::new() };
        scan_json(text, depth_max, &mut ends)?;
        Ok(Self { text, spans: ends.spans })
    }

    /// The outermost value.
    pub(crate) fn root(&self) -> JsonValue<'_> {
        JsonValue { text: self.text.trim_ascii(), spans: &self.spans }
    }
}

/// A value inside a checked text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JsonValue<'a> {
    text: &'a [u8],
    /// The spans of the value itself and of all containers in it. A value that was not made by a
    /// [`JsonDocument`] has none, so its containers are walked to find their ends.
    spans: &'a [ContainerSpan],
}

impl<'a> JsonValue<'a> {
    /// A value of a checked text of which only the outermost level is read.
    pub(crate) fn from_checked(text: &'a [u8]) -> Self {
        Self { text: text.trim_ascii(), spans: &[] }
    }

    /// The value as it is written.
    pub(crate) fn raw(self) -> &'a str {
        std::str::from_utf8(self.text).unwrap_or_default()
    }

    /// Whether it is `null`.
    pub(crate) fn is_null(self) -> bool {
        self.text == b"null"
    }

    /// The text of a string. Each half of a surrogate pair without its other half is replaced.
    pub(crate) fn text(self) -> Option<Cow<'a, str>> {
        Some(match self.surrogate_text()? {
            Cow::Borrowed(text) => String::from_utf8_lossy(text),
            Cow::Owned(text) => Cow::Owned(
                String::from_utf8(text)
                    .unwrap_or_else(|error| replace_surrogates(error.as_bytes()).into_owned()),
            ),
        })
    }

    /// The text of a string as UTF-8, in which a half of a surrogate pair without its other half has
    /// three bytes ([`SURROGATE_BYTES`]).
    pub(crate) fn surrogate_text(self) -> Option<Cow<'a, [u8]>> {
        let inner = self.text.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        if memchr::memchr(b'\\', inner).is_none() {
            return Some(Cow::Borrowed(inner));
        }
        let lenient: LenientString = serde_json::from_slice(self.text).ok()?;
        Some(Cow::Owned(lenient.0))
    }

    /// The values of an array.
    pub(crate) fn items(self) -> Option<ArrayItems<'a>> {
        self.text.starts_with(b"[").then(|| ArrayItems(ContainerWalk::new(self)))
    }

    /// The names and values of an object.
    pub(crate) fn fields(self) -> Option<ObjectFields<'a>> {
        self.text.starts_with(b"{").then(|| ObjectFields(ContainerWalk::new(self)))
    }

    /// The value of a field of an object. Of equal names, the last one counts.
    pub(crate) fn field(self, name: &str) -> Option<JsonValue<'a>> {
        self.fields()?.filter(|(known, _)| known == name).last().map(|(_, value)| value)
    }

    /// The text of a field whose value is a string.
    pub(crate) fn field_text(self, name: &str) -> Option<Cow<'a, str>> {
        self.field(name)?.text()
    }
}

/// A walk over the values of one container. It steps over nested values.
#[derive(Debug, Clone)]
struct ContainerWalk<'a> {
    cursor: TextCursor<'a>,
    spans: &'a [ContainerSpan],
}

impl<'a> ContainerWalk<'a> {
    fn new(value: JsonValue<'a>) -> Self {
        let spans = value.spans.get(1..).unwrap_or_default();
        Self { cursor: TextCursor { text: value.text, index: 1 }, spans }
    }

    /// The first byte of the next entry, or `None` at the container's end.
    fn next_entry_start(&mut self) -> Option<u8> {
        if self.cursor.peek_token() == Some(b',') {
            self.cursor.index += 1;
        }
        self.cursor.peek_token().filter(|byte| !matches!(byte, b']' | b'}'))
    }

    fn next_value(&mut self) -> Option<JsonValue<'a>> {
        let first = self.cursor.peek_token()?;
        let start = self.cursor.index;
        if !matches!(first, b'{' | b'[') {
            self.cursor.skip_scalar(Some(first)).ok()?;
            let text = self.cursor.text.get(start..self.cursor.index)?;
            return Some(JsonValue { text, spans: &[] });
        }
        let Some(span) = self.spans.first() else {
            self.skip_container()?;
            let text = self.cursor.text.get(start..self.cursor.index)?;
            return Some(JsonValue { text, spans: &[] });
        };
        let (own, after) = self.spans.split_at_checked(span.inside + 1)?;
        self.spans = after;
        self.cursor.index = start + span.bytes;
        Some(JsonValue { text: self.cursor.text.get(start..self.cursor.index)?, spans: own })
    }

    /// Moves behind the container that begins here.
    fn skip_container(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.cursor.peek()? {
                b'"' => {
                    self.cursor.skip_string().ok()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.cursor.index += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }
}

/// The values of an array.
#[derive(Debug, Clone)]
pub(crate) struct ArrayItems<'a>(ContainerWalk<'a>);

impl<'a> Iterator for ArrayItems<'a> {
    type Item = JsonValue<'a>;

    fn next(&mut self) -> Option<JsonValue<'a>> {
        self.0.next_entry_start()?;
        self.0.next_value()
    }
}

/// The names and values of an object. A name that is not Unicode becomes empty.
#[derive(Debug, Clone)]
pub(crate) struct ObjectFields<'a>(ContainerWalk<'a>);

impl<'a> Iterator for ObjectFields<'a> {
    type Item = (Cow<'a, str>, JsonValue<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_entry_start()?;
        let span = self.0.cursor.read_name().ok()?;
        let name = decode_name(self.0.cursor.text.get(span)?).unwrap_or_default();
        Some((name, self.0.next_value()?))
    }
}

/// The bytes that a surrogate has in the form that UTF-8 would have for it.
pub(crate) const SURROGATE_BYTES: usize = 3;

/// The text with each surrogate replaced by one replacement character, and other invalid bytes too.
pub(crate) fn replace_surrogates(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let (mut replaced, mut rest) = (Vec::with_capacity(bytes.len()), bytes);
    while let Some(index) = memchr::memchr(0xED, rest) {
        let (before, after) = rest.split_at(index);
        replaced.extend_from_slice(before);
        let is_surrogate = after.len() >= SURROGATE_BYTES && after[1] >= 0xA0;
        let (length, text) =
            if is_surrogate { (SURROGATE_BYTES, "\u{FFFD}".as_bytes()) } else { (1, &after[..1]) };
        replaced.extend_from_slice(text);
        rest = &after[length..];
    }
    replaced.extend_from_slice(rest);
    Cow::Owned(String::from_utf8_lossy(&replaced).into_owned())
}

struct LenientString(Vec<u8>);

impl<'de> serde::Deserialize<'de> for LenientString {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LenientStringVisitor;
        impl serde::de::Visitor<'_> for LenientStringVisitor {
            type Value = LenientString;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<LenientString, E> {
                Ok(LenientString(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(LenientStringVisitor)
    }
}
