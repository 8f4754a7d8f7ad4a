//! Decodes event streams as their bytes arrive (HTML Living Standard, "Server-sent events",
//! 2026-08).
//!
//! A decoder reports whole events and keeps the rest. [`crate::meter`] interprets the events. The
//! relay forwards the bytes unchanged.

use crate::json::BYTE_ORDER_MARK;
use memchr::memchr2;
use std::ops::{ControlFlow, Range};

#[cfg(test)]
mod tests;

/// The most bytes that are held of an event that arrives in pieces. Only the name of a longer event
/// is kept, or the `type` at the beginning of its data.
pub const HELD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The most bytes that are kept of the name of a dropped event. Known names are shorter.
const NAME_BYTES_MAX: usize = 256;
/// The most bytes that are kept of a line of a dropped event whose name is not known yet.
const LINE_START_BYTES: usize = 512;
/// A buffer that had to grow beyond this is freed when its event is over.
pub(crate) const KEPT_BUFFER_BYTES: usize = 16 * 1024;

/// One event. It borrows from the chunk that was pushed, or from the bytes that were held before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SseEvent<'a> {
    /// The `event:` line, or empty if there was none. If the event was too long, its `type`.
    pub name: &'a [u8],
    /// The `data:` lines, joined by LF. Empty if there were none or the event was too long.
    pub data: &'a [u8],
    /// The number of bytes that were dropped because the event was longer than [`HELD_BYTES_MAX`].
    pub dropped: usize,
}

/// The kind of an event, as far as metering needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// `message_start`
    MessageStart,
    /// `message_delta`
    MessageDelta,
    /// `message_stop`
    MessageStop,
    /// `content_block_delta`
    ContentDelta,
    /// `error`
    Error,
    /// `response.completed`, `response.incomplete`, `response.failed`
    ResponseEnd,
    /// `response.….delta`
    ResponseDelta,
    /// `ping`
    Ping,
    /// Any other name.
    Other,
    /// An event without a name whose data does not begin with a type: OpenAI chat chunks.
    Unnamed,
}

impl EventKind {
    pub(crate) fn from_name(name: &[u8]) -> Self {
        match name {
            b"message_start" => Self::MessageStart,
            b"message_delta" => Self::MessageDelta,
            b"message_stop" => Self::MessageStop,
            b"content_block_delta" => Self::ContentDelta,
            b"error" => Self::Error,
            b"ping" => Self::Ping,
            b"response.completed" | b"response.incomplete" | b"response.failed" => {
                Self::ResponseEnd
            }
            _ if name.starts_with(b"response.") && name.ends_with(b".delta") => Self::ResponseDelta,
            _ => Self::Other,
        }
    }
}

impl SseEvent<'_> {
    /// The kind by the event's name. Without a name, or with the standard's default `message`, the
    /// kind by the `type` at the beginning of the data.
    pub fn kind(&self) -> EventKind {
        match self.kind_name() {
            b"" => EventKind::Unnamed,
            name => EventKind::from_name(name),
        }
    }

    /// The name that determines the kind, or nothing.
    pub(crate) fn kind_name(&self) -> &[u8] {
        kind_name(self.name, self.data)
    }
}

/// The name that determines the kind of an event with this `event:` line and this data.
fn kind_name<'a>(name: &'a [u8], data: &'a [u8]) -> &'a [u8] {
    match name {
        b"" | b"message" => leading_type(data).unwrap_or_default(),
        name => name,
    }
}

/// The value of `type` if it is the first key of a JSON object.
fn leading_type(data: &[u8]) -> Option<&[u8]> {
    let mut rest = data;
    for part in [&b"{"[..], b"\"type\"", b":", b"\""] {
        rest = rest.trim_ascii_start().strip_prefix(part)?;
    }
    memchr::memchr(b'"', rest).map(|end| &rest[..end])
}

/// The name of an event that the start of one of its lines has, or nothing.
fn line_name(line: &[u8]) -> &[u8] {
    let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
    if let Some(data) = line.strip_prefix(b"data:") {
        return leading_type(data).unwrap_or_default();
    }
    let name = line.strip_prefix(b"event:").unwrap_or_default();
    kind_name(name.strip_prefix(b" ").unwrap_or(name), b"")
}

/// Decodes a stream, however its bytes are cut.
#[derive(Debug, Default)]
pub struct SseDecoder {
    /// The bytes of the unfinished event if it began in an earlier chunk. Line ends can differ from
    /// the original ones.
    buffer: Vec<u8>,
    /// The content of its finished lines. Ranges count from the event's first byte.
    fields: EventFields,
    /// The start of the unfinished line in the event.
    line: usize,
    /// The number of bytes that were dropped from the event. If there are any, `buffer` contains the
    /// name that determines its kind or, as long as that is not known, the start of the line.
    dropped: usize,
    /// Whether a byte of the unfinished line was dropped.
    line_dropped: bool,
    /// Whether the last byte was a CR, so that a following LF belongs to it.
    after_cr: bool,
    /// Whether the stream's first line is over.
    has_started: bool,
}

#[derive(Debug, Default)]
struct EventFields {
    name: Range<usize>,
    data: Option<EventData>,
    /// The data if it had more than one line. The buffer is kept to reuse its allocation.
    joined: Vec<u8>,
}

#[derive(Debug)]
enum EventData {
    Line(Range<usize>),
    Joined,
}

impl EventFields {
    /// Reads the line at `line` of the event's bytes.
    fn take_line(&mut self, event: &[u8], line: Range<usize>) {
        let bytes = &event[line.clone()];
        let value = |name: &[u8]| {
            let rest = bytes.strip_prefix(name)?;
            let skip = match rest {
                [b':', b' ', ..] => 2,
                [b':', ..] => 1,
                [] => 0,
                _ => return None,
            };
            Some(line.start + name.len() + skip..line.end)
        };
        if let Some(value) = value(b"data") {
            self.take_data(event, value);
        } else if let Some(value) = value(b"event") {
            self.name = value;
        }
    }

    fn take_data(&mut self, event: &[u8], value: Range<usize>) {
        match &self.data {
            None => self.data = Some(EventData::Line(value)),
            Some(first) => {
                if let EventData::Line(first) = first {
                    self.joined.clear();
                    self.joined.extend_from_slice(&event[first.clone()]);
                    self.data = Some(EventData::Joined);
                }
                self.joined.push(b'\n');
                self.joined.extend_from_slice(&event[value]);
            }
        }
    }

    /// Reports the event, unless its lines have no content (comments, ids). Unlike in the standard,
    /// an event with a name and no data is reported too, since it shows that the upstream has sent
    /// something.
    fn emit_event(
        &mut self,
        event: &[u8],
        dropped: usize,
        on_event: &mut impl FnMut(SseEvent<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let name = std::mem::take(&mut self.name);
        let data = self.data.take();
        if name.is_empty() && data.is_none() && dropped == 0 {
            return ControlFlow::Continue(());
        }
        let data = match &data {
            None => &[],
            Some(EventData::Line(line)) => &event[line.clone()],
            Some(EventData::Joined) => self.joined.as_slice(),
        };
        let flow = on_event(SseEvent { name: &event[name], data, dropped });
        if self.joined.capacity() > KEPT_BUFFER_BYTES {
            self.joined = Vec::new();
        }
        flow
    }
}

/// The length of the line end at `index`, and whether its LF can still arrive.
fn line_end(chunk: &[u8], index: usize) -> (usize, bool) {
    match (chunk[index], chunk.get(index + 1)) {
        (b'\r', Some(b'\n')) => (2, false),
        (b'\r', None) => (1, true),
        _ => (1, false),
    }
}

impl SseDecoder {
    /// A decoder at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes and reports each event that they complete. An event that lies within
    /// `chunk` is not copied.
    pub fn push(&mut self, chunk: &[u8], mut on_event: impl FnMut(SseEvent<'_>)) {
        let rest = self.push_until(chunk, |event| {
            on_event(event);
            ControlFlow::Continue(())
        });
        debug_assert!(rest.is_empty(), "nothing stopped");
    }

    /// As [`Self::push`], but stops behind an event for which `on_event` returns
    /// [`ControlFlow::Break`]. Returns the bytes behind it, which must be pushed next.
    pub fn push_until<'a>(
        &mut self,
        chunk: &'a [u8],
        mut on_event: impl FnMut(SseEvent<'_>) -> ControlFlow<()>,
    ) -> &'a [u8] {
        let mut rest = chunk;
        if let (true, Some(first)) = (self.after_cr, rest.first()) {
            self.after_cr = false;
            if *first == b'\n' {
                rest = &rest[1..];
            }
        }
        if self.is_mid_event() {
            let (flow, behind) = self.continue_held(rest, &mut on_event);
            if flow.is_break() {
                return behind;
            }
            rest = behind;
        }
        if rest.is_empty() { rest } else { self.decode_events(rest, &mut on_event) }
    }

    /// Ends the stream. An unfinished last event is reported as if its line end and its blank line
    /// had arrived. The standard drops such an event, so callers should check that it is whole.
    pub fn finish(mut self, mut on_event: impl FnMut(SseEvent<'_>)) {
        if self.dropped == 0 {
            let end = self.buffer.len();
            self.fields.take_line(&self.buffer, self.line..end);
        } else {
            self.end_dropped_line();
        }
        let _last = self.fields.emit_event(&self.buffer, self.dropped, &mut |event| {
            on_event(event);
            ControlFlow::Continue(())
        });
    }

    /// The bytes of the unfinished event, unless some were dropped. Its line ends depend on how the
    /// stream was cut.
    pub fn unfinished_bytes(&self) -> &[u8] {
        if self.dropped > 0 { &[] } else { &self.buffer }
    }

    /// The name that determines the kind of the unfinished event, or nothing before it is whole.
    pub(crate) fn unfinished_kind_name(&self) -> &[u8] {
        let name = self.buffer.get(self.fields.name.clone()).unwrap_or_default();
        if self.dropped > 0 && name.is_empty() {
            return line_name(&self.buffer);
        }
        let data = self.unfinished_data();
        kind_name(name, data.get(..NAME_BYTES_MAX).unwrap_or(data))
    }

    /// The data of the unfinished event so far, if it consists of one line.
    pub fn unfinished_data(&self) -> &[u8] {
        if self.dropped > 0 { &[] } else { self.data_in(&self.buffer) }
    }

    /// The data in the bytes of the unfinished event, if it consists of one line so far.
    fn data_in<'a>(&self, event: &'a [u8]) -> &'a [u8] {
        match &self.fields.data {
            Some(EventData::Line(line)) => event.get(line.clone()).unwrap_or_default(),
            Some(EventData::Joined) => &[],
            None => {
                let line = event.get(self.line..).unwrap_or_default();
                let data = line.strip_prefix(b"data:").unwrap_or_default();
                data.strip_prefix(b" ").unwrap_or(data)
            }
        }
    }

    /// The bytes of memory that the unfinished event takes.
    pub fn held_bytes(&self) -> usize {
        self.buffer.capacity() + self.fields.joined.capacity()
    }

    /// Drops the unfinished event except for its name, as if it had grown longer than
    /// [`HELD_BYTES_MAX`].
    pub fn drop_event(&mut self) {
        if self.dropped == 0 && !self.buffer.is_empty() {
            self.line_dropped = self.buffer.len() > self.line;
            let buffer = std::mem::take(&mut self.buffer);
            self.keep_name(&buffer);
        }
    }

    /// Whether the bytes so far end inside an event or a run of comments.
    pub fn is_mid_event(&self) -> bool {
        !self.buffer.is_empty() || self.dropped > 0
    }

    /// Decodes the events of `chunk`. The current event begins in it. Returns the bytes behind an
    /// event for which `on_event` stopped.
    fn decode_events<'a>(
        &mut self,
        chunk: &'a [u8],
        on_event: &mut impl FnMut(SseEvent<'_>) -> ControlFlow<()>,
    ) -> &'a [u8] {
        let (mut begin, mut at) = (0, 0);
        while let Some(offset) = memchr2(b'\n', b'\r', &chunk[at..]) {
            let end = at + offset;
            let (length, may_follow) = line_end(chunk, end);
            self.after_cr = may_follow;
            let start = self.line_start(at - begin, chunk[begin..end].starts_with(BYTE_ORDER_MARK));
            if start == end - begin {
                let flow = self.fields.emit_event(&chunk[begin..], 0, on_event);
                begin = end + length;
                if flow.is_break() {
                    self.line = 0;
                    return &chunk[begin..];
                }
            } else {
                self.fields.take_line(&chunk[begin..], start..end - begin);
            }
            at = end + length;
        }
        self.line = at - begin;
        self.hold_bytes(&chunk[begin..]);
        &[]
    }

    /// Continues the held event. Returns the rest of `chunk` after the event's end, and whether
    /// `on_event` stopped there.
    fn continue_held<'a>(
        &mut self,
        chunk: &'a [u8],
        on_event: &mut impl FnMut(SseEvent<'_>) -> ControlFlow<()>,
    ) -> (ControlFlow<()>, &'a [u8]) {
        let mut rest = chunk;
        while let Some(end) = memchr2(b'\n', b'\r', rest) {
            let (length, may_follow) = line_end(rest, end);
            self.after_cr = may_follow;
            self.hold_bytes(&rest[..end]);
            rest = &rest[end + length..];
            if self.end_held_line() {
                let flow = self.fields.emit_event(&self.buffer, self.dropped, on_event);
                if self.buffer.capacity() > KEPT_BUFFER_BYTES {
                    self.buffer = Vec::new();
                }
                self.buffer.clear();
                (self.line, self.dropped) = (0, 0);
                return (flow, rest);
            }
        }
        self.hold_bytes(rest);
        (ControlFlow::Continue(()), &[])
    }

    /// Ends the held line. Returns whether it was blank.
    fn end_held_line(&mut self) -> bool {
        if self.dropped > 0 {
            self.end_dropped_line();
            return !std::mem::take(&mut self.line_dropped);
        }
        let end = self.buffer.len();
        let start = self.line_start(self.line, self.buffer.starts_with(BYTE_ORDER_MARK));
        if start < end {
            self.fields.take_line(&self.buffer, start..end);
        }
        self.buffer.push(b'\n');
        self.line = self.buffer.len();
        start == end
    }

    /// The position at which the text of a finished line begins: on the first line after the byte
    /// order mark.
    fn line_start(&mut self, line: usize, has_mark: bool) -> usize {
        let is_first = !std::mem::replace(&mut self.has_started, true);
        if is_first && has_mark { BYTE_ORDER_MARK.len() } else { line }
    }

    /// Holds more of the unfinished event, or drops it if it gets too long.
    fn hold_bytes(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.dropped == 0 && self.buffer.len() + bytes.len() <= HELD_BYTES_MAX {
            self.buffer.extend_from_slice(bytes);
            return;
        }
        self.line_dropped = self.dropped > 0 || self.buffer.len() + bytes.len() > self.line;
        if self.dropped == 0 {
            let buffer = std::mem::take(&mut self.buffer);
            self.keep_name(if buffer.is_empty() { bytes } else { &buffer });
            self.dropped = buffer.len();
            if !buffer.is_empty() {
                self.keep_line_start(bytes);
            }
        } else {
            self.keep_line_start(bytes);
        }
        self.dropped += bytes.len();
    }

    /// Keeps the name that determines the kind of a dropped event, as far as its bytes have arrived.
    fn keep_name(&mut self, event: &[u8]) {
        let name = event.get(self.fields.name.clone()).unwrap_or_default();
        let data = match self.fields.data {
            Some(EventData::Joined) => &self.fields.joined,
            _ => self.data_in(event),
        };
        let name = kind_name(name, data);
        let name = name.get(..NAME_BYTES_MAX).unwrap_or(name).to_vec();
        self.dropped = event.len();
        self.fields = EventFields { name: 0..name.len(), ..EventFields::default() };
        self.buffer = name;
        self.keep_line_start(event.get(self.line..).unwrap_or_default());
    }

    /// Keeps the start of a line of a dropped event, in which its name can be.
    fn keep_line_start(&mut self, bytes: &[u8]) {
        if self.fields.name.is_empty() {
            let room = LINE_START_BYTES.saturating_sub(self.buffer.len());
            self.buffer.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        }
    }

    /// Ends a line of a dropped event.
    fn end_dropped_line(&mut self) {
        if self.fields.name.is_empty() {
            let name = line_name(&self.buffer);
            let name = name.get(..NAME_BYTES_MAX).unwrap_or(name).to_vec();
            self.fields.name = 0..name.len();
            self.buffer = name;
        }
    }
}
