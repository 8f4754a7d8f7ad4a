//! Puts the parts of an answer in order, from deltas that can overlap.
//!
//! A chat stream sends the fragments of parallel tool calls by index, and some vendors interleave
//! them. Here, only one part is open at a time: deltas of a later part wait until the earlier part
//! is known to be whole. A call is whole when its arguments are an object.

use crate::translate::continuation::PendingState;
use crate::translate::neutral_response::{PartStart, ResponseStep};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

/// The part that a delta belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartKey {
    Text,
    Refusal,
    Thinking,
    /// A call, numbered in the order of first appearance.
    Call(usize),
}

#[derive(Debug)]
struct OpenPart {
    key: PartKey,
    /// How far the call's arguments have arrived.
    arguments: ObjectExtent,
}

/// How far a JSON object has arrived in pieces. Each byte is read once and none is kept. The
/// content between the braces is not checked.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct ObjectExtent {
    depth: usize,
    in_string: bool,
    after_backslash: bool,
    /// Whether anything but white space has arrived.
    has_started: bool,
    /// Whether the object has ended.
    is_over: bool,
    /// Whether the text is not an object, or has something after it.
    is_other: bool,
}

impl ObjectExtent {
    fn from_text(text: &str) -> Self {
        let mut extent = Self::default();
        extent.add_text(text);
        extent
    }

    fn add_text(&mut self, text: &str) {
        for byte in text.bytes() {
            if self.in_string {
                self.in_string = self.after_backslash || byte != b'"';
                self.after_backslash = byte == b'\\' && !self.after_backslash;
            } else if !byte.is_ascii_whitespace() {
                self.is_other |= self.is_over || (!self.has_started && byte != b'{');
                self.has_started = true;
                match byte {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' => {
                        self.depth = self.depth.saturating_sub(1);
                        self.is_over |= self.depth == 0;
                    }
                    _ => {}
                }
            }
        }
    }

    /// The text with raw control characters in strings escaped, as local models sometimes write
    /// them. JSON forbids them, and a client could not read the arguments.
    fn escape_text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if !text.bytes().any(|byte| byte < 0x20) {
            return Cow::Borrowed(text);
        }
        let (mut in_string, mut after_backslash) = (self.in_string, self.after_backslash);
        let mut escaped = String::with_capacity(text.len() + 16);
        for letter in text.chars() {
            if in_string && letter.is_ascii_control() && letter != '\u{7f}' {
                let code = match letter {
                    '\n' => "n".to_owned(),
                    '\r' => "r".to_owned(),
                    '\t' => "t".to_owned(),
                    other => format!("u{:04x}", u32::from(other)),
                };
                // A backslash before the character has begun the escape already.
                escaped.push_str(if after_backslash { "" } else { "\\" });
                escaped.push_str(&code);
                after_backslash = false;
                continue;
            }
            if in_string {
                in_string = after_backslash || letter != '"';
                after_backslash = letter == '\\' && !after_backslash;
            } else {
                in_string = letter == '"';
            }
            escaped.push(letter);
        }
        Cow::Owned(escaped)
    }

    fn is_whole_object(&self) -> bool {
        self.is_over && !self.is_other
    }
}

#[derive(Debug)]
struct WaitingPart {
    key: PartKey,
    part_start: PartStart,
    buffered_text: String,
    /// How far the arguments of a call have arrived in `buffered_text`.
    arguments: ObjectExtent,
}

impl WaitingPart {
    fn push_text(&mut self, delta: &str) {
        self.buffered_text.push_str(delta);
        if let PartKey::Call(_) = self.key {
            self.arguments.add_text(delta);
        }
    }
}

/// What an upstream wants back with a call.
#[derive(Debug)]
struct CallState {
    id: String,
    /// The upstream's `extra_content`, as JSON.
    extra: String,
}

impl CallState {
    fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.id.len() + self.extra.len()
    }
}

/// The parts of one answer.
#[derive(Debug, Default)]
pub(super) struct PartSequence {
    open_part: Option<OpenPart>,
    waiting_parts: VecDeque<WaitingPart>,
    /// The number of parts that have waited and have been opened.
    opened_parts: usize,
    /// The calls that wait or have waited, and their numbers in the order in which parts waited.
    call_numbers: BTreeMap<usize, usize>,
    /// The state that comes with thinking.
    pub(super) state: PendingState,
    /// The states of calls. They are sealed when they are written, because a stream can repeat them.
    call_states: BTreeMap<usize, CallState>,
    /// The bytes of waiting parts and of the states of calls.
    held_bytes: usize,
}

impl OpenPart {
    /// Whether no further delta can belong to the part.
    fn is_whole(&self) -> bool {
        !matches!(self.key, PartKey::Call(_)) || self.arguments.is_whole_object()
    }
}

impl PartSequence {
    pub(super) fn new(state: PendingState) -> Self {
        Self { state, ..Self::default() }
    }

    /// Adds the upstream's state of a call. A later state replaces an earlier one.
    pub(super) fn add_call_state(&mut self, call: usize, id: &str, extra: &str) {
        let state = CallState { id: id.to_owned(), extra: extra.to_owned() };
        self.held_bytes += state.held_bytes();
        if let Some(earlier) = self.call_states.insert(call, state) {
            self.held_bytes -= earlier.held_bytes();
        }
    }

    /// The bytes of memory that waiting parts and the states of the model take.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes + self.state.held_bytes()
    }

    /// Adds a delta of the part `key`, which begins with `part_start` if it is new. Nothing can be added
    /// to a call that was closed.
    pub(super) fn push_delta(
        &mut self,
        key: PartKey,
        part_start: impl FnOnce() -> PartStart,
        delta: &str,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) {
        if self.open_part.as_ref().is_some_and(|open_part| open_part.key == key) {
            self.append_delta(delta, emit_step);
            return self.open_next_parts(false, emit_step);
        }
        if matches!(key, PartKey::Call(call) if self.is_closed_call(call)) {
            return;
        }
        self.held_bytes += delta.len();
        if let Some(part) = self.waiting_part(key) {
            part.push_text(delta);
        } else {
            self.held_bytes += size_of::<WaitingPart>();
            let mut part = WaitingPart {
                key,
                part_start: part_start(),
                buffered_text: String::new(),
                arguments: ObjectExtent::default(),
            };
            part.push_text(delta);
            if let PartKey::Call(call) = key {
                self.call_numbers.insert(call, self.opened_parts + self.waiting_parts.len());
            }
            self.waiting_parts.push_back(part);
        }
        self.open_next_parts(false, emit_step);
    }

    /// The waiting part that a delta with this key continues.
    fn waiting_part(&mut self, key: PartKey) -> Option<&mut WaitingPart> {
        let index = match key {
            PartKey::Call(call) => self.waiting_index(call)?,
            PartKey::Text | PartKey::Refusal | PartKey::Thinking => {
                self.waiting_parts.len().checked_sub(1)?
            }
        };
        self.waiting_parts.get_mut(index).filter(|part| part.key == key)
    }

    /// The position of a call among the waiting parts.
    fn waiting_index(&self, call: usize) -> Option<usize> {
        self.call_numbers.get(&call)?.checked_sub(self.opened_parts)
    }

    /// Whether a call that is not the open part has been open: its arguments are whole, or another part
    /// had to open.
    fn is_closed_call(&self, call: usize) -> bool {
        self.call_numbers.get(&call).is_some_and(|number| *number < self.opened_parts)
    }

    /// Whether the arguments of a call are a whole object, so that no more of it can follow.
    pub(super) fn is_whole_call(&self, call: usize) -> bool {
        let key = PartKey::Call(call);
        if let Some(open_part) = self.open_part.as_ref().filter(|open_part| open_part.key == key) {
            return open_part.arguments.is_whole_object();
        }
        let waiting = self.waiting_index(call).and_then(|index| self.waiting_parts.get(index));
        waiting.is_none_or(|part| part.arguments.is_whole_object())
    }

    /// Closes all parts in order.
    pub(super) fn finish(&mut self, emit_step: &mut impl FnMut(ResponseStep<'_>)) {
        self.open_next_parts(true, emit_step);
        self.close_open_part(emit_step);
        let details = self.state.has_details().then(|| self.state.thinking_signature()).flatten();
        let calls = std::mem::take(&mut self.call_states).into_values();
        let calls = calls.filter_map(|call| self.state.call_signature(&call.id, &call.extra));
        for signature in details.into_iter().chain(calls) {
            emit_state(&signature, emit_step);
        }
    }

    fn append_delta(&mut self, delta: &str, emit_step: &mut impl FnMut(ResponseStep<'_>)) {
        let Some(open_part) = &mut self.open_part else { return };
        if let PartKey::Call(_) = open_part.key {
            let escaped = open_part.arguments.escape_text(delta);
            open_part.arguments.add_text(&escaped);
            if !escaped.is_empty() {
                emit_step(ResponseStep::Delta(&escaped));
            }
        } else if !delta.is_empty() {
            emit_step(ResponseStep::Delta(delta));
        }
    }

    /// Opens the waiting parts one after the other while the open part is whole, or all of them if
    /// `is_required`.
    fn open_next_parts(&mut self, is_required: bool, emit_step: &mut impl FnMut(ResponseStep<'_>)) {
        while !self.waiting_parts.is_empty()
            && (is_required || self.open_part.as_ref().is_none_or(OpenPart::is_whole))
        {
            self.close_open_part(emit_step);
            if let Some(part) = self.waiting_parts.pop_front() {
                self.open_waiting_part(part, emit_step);
            }
        }
    }

    fn open_waiting_part(
        &mut self,
        part: WaitingPart,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) {
        let WaitingPart { key, part_start, buffered_text, .. } = part;
        self.opened_parts += 1;
        self.held_bytes -= size_of::<WaitingPart>() + buffered_text.len();
        if let PartKey::Call(call) = key
            && let Some(state) = self.call_states.remove(&call)
        {
            self.held_bytes -= state.held_bytes();
            let signature = self.state.call_signature(&state.id, &state.extra);
            if let Some(signature) = signature {
                emit_state(&signature, emit_step);
            }
        }
        emit_step(ResponseStep::Open(part_start));
        self.open_part = Some(OpenPart { key, arguments: ObjectExtent::default() });
        self.append_delta(&buffered_text, emit_step);
    }

    /// Closes the open part. A call without arguments gets an empty object.
    fn close_open_part(&mut self, emit_step: &mut impl FnMut(ResponseStep<'_>)) {
        if let Some(open_part) = self.open_part.take() {
            if matches!(open_part.key, PartKey::Call(_)) && !open_part.arguments.has_started {
                emit_step(ResponseStep::Delta("{}"));
            }
            if open_part.key == PartKey::Thinking
                && let Some(signature) = self.state.thinking_signature()
            {
                emit_step(ResponseStep::Signature(&signature));
            }
            emit_step(ResponseStep::Close);
        }
    }
}

/// Whether a call's arguments begin an object that does not end, because the answer was cut.
pub(in crate::translate) fn is_cut_object(arguments: &str) -> bool {
    let extent = ObjectExtent::from_text(arguments);
    extent.has_started && !extent.is_over && !extent.is_other
}

/// Emits thinking without text, which carries a state.
fn emit_state(signature: &str, emit_step: &mut impl FnMut(ResponseStep<'_>)) {
    emit_step(ResponseStep::Open(PartStart::Thinking));
    emit_step(ResponseStep::Signature(signature));
    emit_step(ResponseStep::Close);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    /// The steps that deltas produce: `A{"a":` is a call, `t` text, `h` thinking.
    fn write_deltas(deltas: &[&str]) -> String {
        let mut text = String::new();
        let mut on = |step: ResponseStep<'_>| match step {
            ResponseStep::Open(PartStart::Call { name, .. }) => write!(text, "<{name}:").unwrap(),
            ResponseStep::Open(part_start) => write!(text, "<{part_start:?}:").unwrap(),
            ResponseStep::Delta(delta) => text.push_str(delta),
            ResponseStep::Close => text.push('>'),
            other => panic!("{other:?}"),
        };
        let mut sequence = PartSequence::default();
        for delta in deltas {
            let (which, delta) = delta.split_at(1);
            let (key, opening) = match which {
                "t" => (PartKey::Text, PartStart::Text),
                "h" => (PartKey::Thinking, PartStart::Thinking),
                call => {
                    let index = usize::from(call.as_bytes()[0] - b'A');
                    (PartKey::Call(index), PartStart::Call { id: String::new(), name: call.into() })
                }
            };
            sequence.push_delta(key, || opening, delta, &mut on);
        }
        sequence.finish(&mut on);
        text
    }

    #[test]
    fn any_number_of_parts_can_wait() {
        let turns = 50_000;
        let deltas: Vec<_> =
            ["A{"].into_iter().chain(["ta", "hb"].repeat(turns)).chain(["A}"]).collect();
        let expected = "<A:{}>".len() + turns * "<Text:a><Thinking:b>".len();
        assert_eq!(write_deltas(&deltas).len(), expected);
        assert_eq!(write_deltas(&deltas[..deltas.len() - 1]).len(), expected - 1);
    }

    #[test]
    fn only_one_part_is_open_at_a_time() {
        let check =
            |deltas: &[&str], expect: &str| assert_eq!(write_deltas(deltas), expect, "{deltas:?}");
        check(&[], "");
        check(&["ta", "tb"], "<Text:ab>");
        check(&["hm", "ta", "A{}", "tb"], "<Thinking:m><Text:a><A:{}><Text:b>");
        check(&["A{", "A}", "B{\"b\":1", "B}"], "<A:{}><B:{\"b\":1}>");
        check(&["A", "B", "A{", "B{\"b\":", "A}", "B1}"], "<A:{}><B:{\"b\":1}>");
        check(&["A{", "B{}", "C{", "C}", "A\"}\":1}"], "<A:{\"}\":1}><B:{}><C:{}>");
        check(&["A", "B"], "<A:{}><B:{}>");
        check(&["A{", "ta", "B{}", "tb", "tc"], "<A:{><Text:a><B:{}><Text:bc>");
        check(&["A{}", "B{}", "A", "A ", "B"], "<A:{}><B:{}>");
        check(&["A{\"\\", "B{}", "A\"}", "A\":[]}", "C"], "<A:{\"\\\"}\":[]}><B:{}><C:{}>");
    }
}
