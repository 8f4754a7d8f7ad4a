//! A text that was checked in one pass, walked level by level: values are views of it.

use super::{BadJson, CONTAINERS_MAX, Cursor, Events, decoded, scan};
use std::borrow::Cow;

/// Where a container ends, and how many containers it holds: the next one beside it follows those.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    bytes: usize,
    inside: usize,
}

/// A text that was checked, with the ends of its containers: 16 bytes for each of them.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    text: &'a [u8],
    spans: Vec<Span>,
}

struct Ends {
    spans: Vec<Span>,
    open: Vec<usize>,
}

impl Events<'_> for Ends {
    fn open(&mut self, _: usize, at: usize) -> Result<(), BadJson> {
        if self.spans.len() == CONTAINERS_MAX {
            return Err(BadJson::ManyContainers);
        }
        self.open.push(self.spans.len());
        self.spans.push(Span { bytes: at, inside: 0 });
        Ok(())
    }

    fn close(&mut self, _: usize, end: usize) -> Result<(), BadJson> {
        let count = self.spans.len();
        if let Some(at) = self.open.pop()
            && let Some(span) = self.spans.get_mut(at)
        {
            *span = Span { bytes: end - span.bytes, inside: count - at - 1 };
        }
        Ok(())
    }
}

impl<'a> Document<'a> {
    /// Checks a text in one pass.
    ///
    /// # Errors
    /// It is not JSON, or nested deeper than `depth_max`.
    pub(crate) fn read(text: &'a [u8], depth_max: usize) -> Result<Self, BadJson> {
        let mut ends = Ends { spans: Vec::new(), open: Vec::new() };
        scan(text, depth_max, &mut ends)?;
        Ok(Self { text, spans: ends.spans })
    }

    /// The whole.
    pub(crate) fn root(&self) -> Value<'_> {
        Value { text: self.text.trim_ascii(), spans: &self.spans }
    }
}

/// A value inside a text that was checked before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value<'a> {
    text: &'a [u8],
    /// Those of the value itself and of all that it holds. None are known of a value that was not
    /// made by a [`Document`]: its containers are then walked over to find their ends.
    spans: &'a [Span],
}

impl<'a> Value<'a> {
    /// A value whose text has been checked, of which only the outermost level is wanted.
    pub(crate) fn of_checked(text: &'a [u8]) -> Self {
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

    /// The text of a string. One that is no Unicode (half a surrogate pair) is mended, not lost.
    pub(crate) fn text(self) -> Option<Cow<'a, str>> {
        let inner = self.text.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        if memchr::memchr(b'\\', inner).is_none() {
            return Some(String::from_utf8_lossy(inner));
        }
        let mended: Mended = serde_json::from_slice(self.text).ok()?;
        Some(Cow::Owned(mended.0))
    }

    /// The values of an array.
    pub(crate) fn items(self) -> Option<Items<'a>> {
        self.text.starts_with(b"[").then(|| Items(Walk::of(self)))
    }

    /// The names and values of an object.
    pub(crate) fn fields(self) -> Option<Fields<'a>> {
        self.text.starts_with(b"{").then(|| Fields(Walk::of(self)))
    }
}

/// A way over the values of one container; what they hold is stepped over.
#[derive(Debug, Clone)]
struct Walk<'a> {
    cursor: Cursor<'a>,
    spans: &'a [Span],
}

impl<'a> Walk<'a> {
    fn of(value: Value<'a>) -> Self {
        let spans = value.spans.get(1..).unwrap_or_default();
        Self { cursor: Cursor { text: value.text, at: 1 }, spans }
    }

    /// The byte that the next entry begins with; `None` at the container's end.
    fn begin(&mut self) -> Option<u8> {
        if self.cursor.token() == Some(b',') {
            self.cursor.at += 1;
        }
        self.cursor.token().filter(|byte| !matches!(byte, b']' | b'}'))
    }

    fn value(&mut self) -> Option<Value<'a>> {
        let first = self.cursor.token()?;
        let start = self.cursor.at;
        if !matches!(first, b'{' | b'[') {
            self.cursor.scalar(Some(first)).ok()?;
            let text = self.cursor.text.get(start..self.cursor.at)?;
            return Some(Value { text, spans: &[] });
        }
        let Some(span) = self.spans.first() else {
            self.step_over()?;
            let text = self.cursor.text.get(start..self.cursor.at)?;
            return Some(Value { text, spans: &[] });
        };
        let (own, after) = self.spans.split_at_checked(span.inside + 1)?;
        self.spans = after;
        self.cursor.at = start + span.bytes;
        Some(Value { text: self.cursor.text.get(start..self.cursor.at)?, spans: own })
    }

    /// Goes on behind the container that begins here.
    fn step_over(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.cursor.peek()? {
                b'"' => {
                    self.cursor.string().ok()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.cursor.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }
}

/// The values of an array.
#[derive(Debug, Clone)]
pub(crate) struct Items<'a>(Walk<'a>);

impl<'a> Iterator for Items<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        self.0.begin()?;
        self.0.value()
    }
}

/// The names and values of an object. A name that is no Unicode is empty.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a>(Walk<'a>);

impl<'a> Iterator for Fields<'a> {
    type Item = (Cow<'a, str>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.begin()?;
        let span = self.0.cursor.name().ok()?;
        let name = decoded(self.0.cursor.text.get(span)?).unwrap_or_default();
        Some((name, self.0.value()?))
    }
}

struct Mended(String);

impl<'de> serde::Deserialize<'de> for Mended {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl serde::de::Visitor<'_> for Bytes {
            type Value = Mended;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Mended, E> {
                Ok(Mended(String::from_utf8_lossy(bytes).into_owned()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}
