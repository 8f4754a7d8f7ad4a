//! The tool calls of an answer of Chat, and the call that a fragment belongs to.
//!
//! Some servers leave out the index, repeat the id, or give several calls one index. Others send a call
//! again when it is whole. A client runs each call that it gets, so what repeats a call does not count.
//!
//! Behind a whole call, an object begins a new call. It repeats the call before if it comes in a later
//! chunk and says the same, apart from white space between its values.

use crate::translate::neutral_response::PartStart;

/// A call that has begun to arrive. It cannot open before its name has arrived.
#[derive(Debug, Default)]
pub(super) struct PendingToolCall {
    index: Option<u64>,
    /// The id as the upstream sent it.
    id: String,
    /// The id in the translation, which no other call of the answer has.
    pub(super) unique_id: String,
    /// The name so far. Some servers send it in pieces, so it can grow until the arguments begin.
    pub(super) name: String,
    /// The text of the arguments so far. It is compact from when something came behind it.
    pub(super) arguments: String,
    is_compact: bool,
    /// The bytes of the arguments that are in the sequence of parts.
    sent_bytes: usize,
    /// The bytes of the compact arguments that fragments behind them have repeated, and the scan of
    /// these fragments.
    repeated_bytes: usize,
    repetition: CompactScan,
    /// Whether the call is in the sequence of parts.
    pub(super) is_open: bool,
}

/// The bytes that a call counts for, however short it is.
const CALL_BYTES: usize = 256;

impl PendingToolCall {
    pub(super) fn part_start(&self) -> PartStart {
        PartStart::Call { id: self.unique_id.clone(), name: self.name.clone() }
    }

    /// Takes the name of a fragment. Some servers repeat the whole name, or send it as far as it is
    /// known.
    pub(super) fn add_name(&mut self, name: &str) {
        if self.is_open || self.name == name {
            return;
        }
        if name.starts_with(&self.name) {
            name.clone_into(&mut self.name);
        } else {
            self.name.push_str(name);
        }
    }

    /// Takes the arguments that are not yet in the sequence of parts.
    pub(super) fn take_unsent(&mut self) -> String {
        let unsent = self.arguments.get(self.sent_bytes..).unwrap_or_default().to_owned();
        self.sent_bytes = self.arguments.len();
        unsent
    }

    /// Takes what came for this call when it was whole. Returns the arguments of the next call if it
    /// begins one: it has another name, or no id and an object that does not repeat this call. Google's
    /// layer gives every call the index 0, some bridges without an id (NousResearch/hermes-agent #62940,
    /// su-kaka/gcli2api #406).
    fn take_next_arguments(
        &mut self,
        label: &mut CallLabel,
        text: &str,
        can_repeat: bool,
    ) -> Option<String> {
        if !label.name.is_empty() && label.name != self.name {
            return Some(text.to_owned());
        }
        if !label.id.is_empty() || text.trim().is_empty() {
            return None;
        }
        label.name.clone_from(&self.name);
        let next = if can_repeat { self.take_text_behind(text)? } else { text.to_owned() };
        next.trim_start().starts_with('{').then_some(next)
    }

    /// The text behind this call, with what was taken for a repetition before. `None` as long as all of
    /// it repeats the arguments.
    fn take_text_behind(&mut self, text: &str) -> Option<String> {
        if !std::mem::replace(&mut self.is_compact, true) {
            self.arguments = CompactScan::default().compact(&self.arguments);
            self.sent_bytes = self.arguments.len();
        }
        let (repeated, rest) = self.arguments.split_at_checked(self.repeated_bytes)?;
        let compact = self.repetition.compact(text);
        if rest.starts_with(&compact) {
            let is_end = rest.len() == compact.len();
            self.repeated_bytes = if is_end { 0 } else { repeated.len() + compact.len() };
            return None;
        }
        let next = [repeated, text].concat();
        (self.repeated_bytes, self.repetition) = (0, CompactScan::default());
        Some(next)
    }

    fn held_bytes(&self) -> usize {
        let names = self.id.len() + self.unique_id.len() + self.name.len();
        CALL_BYTES + names + self.arguments.len()
    }
}

/// Leaves out the white space of JSON that comes in pieces, except for that in strings.
#[derive(Debug, Default)]
struct CompactScan {
    in_string: bool,
    after_backslash: bool,
}

impl CompactScan {
    fn compact(&mut self, text: &str) -> String {
        let mut compact = text.to_owned();
        compact.retain(|letter| {
            let is_kept = self.in_string || !letter.is_ascii_whitespace();
            let is_quote = letter == '"' && !self.after_backslash;
            self.after_backslash = self.in_string && letter == '\\' && !self.after_backslash;
            self.in_string ^= is_quote;
            is_kept
        });
        compact
    }
}

/// How a fragment names its call.
#[derive(Debug)]
pub(super) struct CallLabel {
    pub(super) index: Option<u64>,
    pub(super) id: String,
    pub(super) name: String,
}

/// The calls of one answer.
#[derive(Debug, Default)]
pub(super) struct CallList {
    pub(super) calls: Vec<PendingToolCall>,
    /// The bytes of all calls.
    held_bytes: usize,
    /// The number of calls before the list that is read.
    calls_before: usize,
    /// The number of the call behind the last one of the `message` that is read.
    next_in_message: usize,
}

impl CallList {
    /// The bytes of memory that the calls take.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Begins to read a list of calls.
    pub(super) fn begin_list(&mut self) {
        self.calls_before = self.calls.len();
        self.next_in_message = 0;
    }

    /// The call that a fragment of a delta continues. A new id with a name is a new call. Without an
    /// index and an id, a fragment with the name of the last call continues that one, if it is of an
    /// earlier list.
    pub(super) fn find(&self, label: &CallLabel) -> Option<usize> {
        let CallLabel { index, id, name } = label;
        let last = self.calls.last().filter(|call| id.is_empty() && call.name == *name);
        let is_earlier = self.calls_before == self.calls.len();
        let has_last_name =
            is_earlier && index.is_none() && last.is_some_and(|call| call.index.is_none());
        let continued = has_last_name.then(|| self.calls.len() - 1);
        continued.or_else(|| {
            self.calls.iter().rposition(|call| {
                let is_same = || !id.is_empty() && call.id == *id;
                let is_other = || !id.is_empty() && !name.is_empty() && call.id != *id;
                call.index == *index
                    && !is_other()
                    && (index.is_some() || name.is_empty() || is_same())
            })
        })
    }

    /// The call that an element of a `message` repeats or continues. Messages can repeat all calls
    /// before, or only go on with the last one.
    pub(super) fn find_in_message(&mut self, label: &CallLabel, arguments: &str) -> Option<usize> {
        let has_id = !label.id.is_empty();
        let compact = CompactScan::default().compact(arguments);
        let repeats = |call: &PendingToolCall| {
            if has_id {
                return call.id == label.id;
            }
            let known = call.arguments.as_str();
            call.name == label.name && (arguments.starts_with(known) || compact.starts_with(known))
        };
        let next = if has_id { 0 } else { self.next_in_message.min(self.calls.len()) };
        let repeated = self.calls[next..].iter().position(repeats).map(|number| next + number);
        let found = repeated.or_else(|| self.find(label));
        self.next_in_message = found.unwrap_or(self.calls.len()) + 1;
        found
    }

    /// Adds a call. `answer_id` becomes a part of an id that is made.
    pub(super) fn push(&mut self, label: &CallLabel, answer_id: &str) {
        let unique_id = self.unique_id(&label.id, answer_id);
        let call = PendingToolCall {
            index: label.index,
            id: label.id.clone(),
            unique_id,
            ..PendingToolCall::default()
        };
        self.held_bytes += call.held_bytes();
        self.calls.push(call);
    }

    /// Changes a call with `change`. Returns what that returns, and `None` if there is no such call.
    pub(super) fn change<T>(
        &mut self,
        number: usize,
        change: impl FnOnce(&mut PendingToolCall) -> T,
    ) -> Option<T> {
        let call = self.calls.get_mut(number)?;
        let before = call.held_bytes();
        let changed = change(call);
        self.held_bytes = self.held_bytes - before + call.held_bytes();
        Some(changed)
    }

    /// Whether a call began in an earlier list than the one that is read, so that an element can repeat
    /// it.
    pub(super) fn can_be_repeated(&self, number: usize) -> bool {
        number < self.calls_before
    }

    /// Takes what came for a whole call, and returns the arguments of the next call if it begins one.
    pub(super) fn take_next_arguments(
        &mut self,
        number: usize,
        label: &mut CallLabel,
        text: &str,
    ) -> Option<String> {
        let can_repeat = self.can_be_repeated(number);
        self.change(number, |call| call.take_next_arguments(label, text, can_repeat)).flatten()
    }

    /// The id of the next call in the translation: the received one, or a made one if it is empty or
    /// another call has it. A client matches results with calls by their ids.
    fn unique_id(&self, received: &str, answer_id: &str) -> String {
        let is_free = |id: &String| self.calls.iter().all(|call| call.unique_id != *id);
        let mut id = received.to_owned();
        if id.is_empty() || !is_free(&id) {
            id = format!("call_{answer_id}_{}", self.calls.len());
        }
        while !is_free(&id) {
            id.push('_');
        }
        id
    }
}
