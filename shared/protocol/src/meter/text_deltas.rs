//! Counts the text that a model generated, to estimate an answer whose final usage never arrived.
//!
//! The rule names what does not count, so that a field that a vendor adds counts without a change
//! here. All strings count inside the parts that hold a model's output: `delta` and `content_block`
//! of Anthropic's events, `content` of its messages, `delta`, `message` and `text` of a chat choice,
//! `delta`, `item` and `output` of OpenAI's Responses. The vendors do not bill the rest as output
//! (API references of Anthropic, OpenAI, OpenRouter and Amazon Bedrock, read 2026-11):
//!
//! * names, ids, kinds and states;
//! * signatures and encrypted copies of thinking, because they repeat it. The `data` of redacted
//!   thinking counts, because nothing else shows that thinking;
//! * cited passages and annotations, log probabilities, and padding;
//! * results of tools that ran at the vendor, which are part of the prompt;
//! * the bytes of images and sound. The transcript of sound counts, and an image counts as
//!   some tokens ([`OutputCount::estimate_tokens`]).

use super::chat_output::{CHOICES_MAX, ChoiceMessage, ChunkOutput, OutputByKind};
use super::output_count::{OutputCount, TextLength};
use crate::json::DEPTH_MAX;
use memchr::memchr2;

/// Counts the output in a `content_block_delta`: its text, thinking or partial JSON. A signature
/// does not count.
pub(super) fn count_content_delta(data: &[u8]) -> OutputCount {
    text_in_usual_delta(data).map_or_else(|| count_output(data), OutputCount::from_text)
}

/// Counts what a model generated in an event or a whole answer. The time is linear in the length.
/// Text that is cut or is not valid JSON counts as far as it can be read. Of the fields of a choice
/// (`delta`, `message`, `text`) the first one with thinking, the first one with text and the first one
/// with calls counts, because the others can repeat it.
pub(super) fn count_output(json: &[u8]) -> OutputCount {
    count_part(json, Part::Envelope).count
}

/// Counts as [`count_output`], and says where in the choices the output is.
pub(super) fn count_chunk(json: &[u8]) -> ChunkOutput {
    count_part(json, Part::Envelope)
}

/// Whether the beginning of a chunk of Chat contains output of a model. The chunk then is not an
/// error, however it goes on.
pub(super) fn begins_with_output(chunk: &[u8]) -> bool {
    count_part(chunk, Part::Chunk).count.has_output
}

/// Whether an event or a whole answer contains output for the user: text, calls, images or sound, and
/// not only thinking. In a message of Chat only fields with a name of such output count, because
/// servers add others of their own.
pub(super) fn has_answer(json: &[u8]) -> bool {
    let mut scan = OutputScan::new(json);
    scan.count_value(Part::Envelope, DEPTH_MAX);
    scan.has_answer_text || scan.images > 0 || scan.has_sound
}

fn count_part(json: &[u8], part: Part) -> ChunkOutput {
    let mut scan = OutputScan::new(json);
    let text = scan.count_value(part, DEPTH_MAX);
    let has_output = text.bytes > 0 || scan.images > 0 || scan.has_sound;
    let count = OutputCount { text, images: scan.images, has_output };
    ChunkOutput { count, pieces: scan.pieces, messages: scan.messages }
}

/// Counts in a delta with the usual order of keys, without a search:
/// `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"…"}}`.
fn text_in_usual_delta(data: &[u8]) -> Option<TextLength> {
    let after_index = data.strip_prefix(b"{\"type\":\"content_block_delta\",\"index\":")?;
    let digits = after_index.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let kind = after_index[digits..].strip_prefix(b",\"delta\":{\"type\":\"")?;
    let tail = kind[memchr::memchr(b'"', kind)?..].strip_prefix(b"\",\"")?;
    let key_end = memchr::memchr(b'"', tail)?;
    let counts = match &tail[..key_end] {
        b"text" | b"thinking" | b"partial_json" | b"content" => true,
        b"signature" => false,
        _ => return None,
    };
    let (text, rest) = count_string(tail[key_end + 1..].strip_prefix(b":\"")?);
    // More fields need the full scan.
    rest.starts_with(b"}}").then_some(if counts { text } else { TextLength::default() })
}

/// What a value belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// An event or an answer, whose fields can hold output.
    Envelope,
    /// A chunk of Chat, of which only the choices hold output.
    Chunk,
    /// A choice of a chat completion.
    Choice,
    /// The message of a choice, or what has been added to it.
    Message,
    /// Output of a model.
    Output,
    /// The input of a call. A model generated all of it, whatever the names are.
    Input,
    /// Sound with a transcript.
    Audio,
    /// The bytes of sound.
    Sound,
    /// One or several images.
    Image,
    /// Nothing that a model generated.
    Other,
}

impl Part {
    /// What the field `name` of this part is.
    fn field(self, name: &[u8]) -> Self {
        match self {
            Self::Envelope => match name {
                b"choices" => Self::Choice,
                b"response" => Self::Envelope,
                b"delta" | b"content_block" | b"content" | b"item" | b"output" => Self::Output,
                _ => Self::Other,
            },
            Self::Chunk if name == b"choices" => Self::Choice,
            Self::Choice => match name {
                b"delta" | b"message" => Self::Message,
                b"text" => Self::Output,
                _ => Self::Other,
            },
            // The name of the one who speaks. A call has its name further inside.
            Self::Message if name == b"name" => Self::Other,
            Self::Message | Self::Output => match name {
                b"input" | b"arguments" => Self::Input,
                b"audio" => Self::Audio,
                b"images" | b"image_url" | b"b64_json" => Self::Image,
                _ if is_not_output(name) => Self::Other,
                _ => Self::Output,
            },
            Self::Audio if name == b"transcript" => Self::Output,
            Self::Audio if name == b"data" => Self::Sound,
            Self::Image if matches!(name, b"image_url" | b"url" | b"b64_json" | b"data") => {
                Self::Image
            }
            Self::Chunk | Self::Audio | Self::Sound | Self::Image | Self::Other | Self::Input => {
                Self::Other
            }
        }
    }
}

/// Whether a field inside of output is not billed as output.
fn is_not_output(name: &[u8]) -> bool {
    let is_id = name == b"id" || name.ends_with(b"_id") || name.ends_with(b"Id");
    let is_encrypted = has_end(name, b"signature") || name.starts_with(b"encrypted_");
    let is_result = matches!(
        name,
        b"output" | b"outputs" | b"result" | b"results" | b"sources" | b"tools" | b"error"
    );
    let is_cited = matches!(
        name,
        b"annotations" | b"citation" | b"citations" | b"cited_text" | b"logprobs" | b"obfuscation"
    );
    let is_state = matches!(
        name,
        b"type"
            | b"role"
            | b"object"
            | b"model"
            | b"status"
            | b"phase"
            // Of the harmony format of gpt-oss.
            | b"channel"
            | b"format"
            | b"finish_reason"
            | b"stop_reason"
            | b"stop_sequence"
            | b"server_label"
            | b"expires_at"
            | b"caller"
            | b"cache_control"
            | b"usage"
            // LiteLLM repeats fields here, and Google sends the state of its thinking.
            | b"provider_specific_fields"
            | b"extra_content"
    );
    is_id || is_encrypted || is_result || is_cited || is_state
}

/// Whether a name ends with `end`, in any case.
fn has_end(name: &[u8], end: &[u8]) -> bool {
    let start = name.len().saturating_sub(end.len());
    name[start..].eq_ignore_ascii_case(end)
}

/// Whether an object of this `type` holds nothing that a model generated: results of tools that ran
/// at the vendor, and their list.
fn is_not_output_type(kind: &[u8]) -> bool {
    kind == b"mcp_list_tools"
        || [b"_result".as_slice(), b"_output"].iter().any(|end| kind.ends_with(end))
}

/// The `type` of an item of Responses whose `result` is an image.
const IMAGE_CALL: &[u8] = b"image_generation_call";

/// The fields of a message of Chat with output for the user.
const ANSWER_FIELDS: [&[u8]; 11] = [
    b"content",
    b"text",
    b"refusal",
    b"tool_calls",
    b"function_call",
    b"audio",
    b"images",
    b"image_url",
    b"b64_json",
    b"video",
    b"videos",
];

/// Whether a field or a `type` of this name is thinking.
fn is_thinking(name: &[u8]) -> bool {
    let name = name.strip_prefix(b"response.").unwrap_or(name);
    name.starts_with(b"reasoning") || name.starts_with(b"thinking")
}

/// A walk over JSON text that counts the text of output.
struct OutputScan<'a> {
    rest: &'a [u8],
    images: u64,
    has_sound: bool,
    /// Whether text for the user was found.
    has_answer_text: bool,
    /// Whether what is read is not for the user.
    is_hidden: bool,
    /// The thinking and the calls in the parts of a choice that were read.
    thinking: TextLength,
    calls: TextLength,
    /// The output in the choices, for [`ChunkOutput`].
    pieces: OutputByKind,
    messages: Vec<ChoiceMessage>,
}

/// The output of a choice, by its fields.
#[derive(Default)]
struct ChoiceOutput {
    index: u64,
    delta: OutputByKind,
    message: OutputByKind,
    text: OutputByKind,
}

/// Whether a field of a message of Chat has calls.
fn has_calls(name: &[u8]) -> bool {
    matches!(name, b"tool_calls" | b"function_call")
}

impl<'a> OutputScan<'a> {
    fn new(json: &'a [u8]) -> Self {
        Self {
            rest: json,
            images: 0,
            has_sound: false,
            has_answer_text: false,
            is_hidden: false,
            thinking: TextLength::default(),
            calls: TextLength::default(),
            pieces: OutputByKind::default(),
            messages: Vec::new(),
        }
    }

    /// Notes text of output.
    fn note_text(&mut self, text: TextLength) -> TextLength {
        self.has_answer_text |= text.bytes > 0 && !self.is_hidden;
        text
    }

    /// Reads a value. Returns the text of output in it.
    fn count_value(&mut self, part: Part, levels: usize) -> TextLength {
        let first = self.peek();
        let start = self.rest;
        let none = TextLength::default();
        let text = match first {
            Some(b'"') => {
                let text = self.take_string();
                self.images += u64::from(part == Part::Image && text.bytes > 0);
                self.has_sound |= part == Part::Sound && text.bytes > 0;
                let is_text = matches!(part, Part::Message | Part::Output | Part::Input);
                return if is_text { self.note_text(text) } else { none };
            }
            Some(b'{' | b'[') if levels == 0 => {
                self.rest = &[];
                let is_text = matches!(
                    part,
                    Part::Envelope | Part::Choice | Part::Message | Part::Output | Part::Input
                );
                return if is_text { self.note_text(TextLength::of_utf8(start)) } else { none };
            }
            Some(b'{') => self.count_object(part, levels - 1),
            // All of an input counts, so its lists are not counted again.
            Some(b'[') if part == Part::Input => self.count_list(Part::Other, levels - 1),
            Some(b'[') => self.count_list(part, levels - 1),
            _ => {
                let is_end = |byte: &u8| b",]}: \t\r\n\"".contains(byte);
                let end = self.rest.iter().position(is_end).unwrap_or(self.rest.len());
                self.rest = &self.rest[end..];
                none
            }
        };
        let is_container = matches!(start.first(), Some(b'{' | b'['));
        if part == Part::Input && is_container {
            // The first event of a call has an empty input.
            let input = &start[..start.len() - self.rest.len()];
            return if input.len() > 2 { self.note_text(TextLength::of_utf8(input)) } else { none };
        }
        text
    }

    fn count_object(&mut self, part: Part, levels: usize) -> TextLength {
        self.rest = &self.rest[1..];
        // Vendors and gateways repeat the same thinking under several names.
        let none = TextLength::default();
        let (mut text, mut thinking, mut calls) = (none, none, none);
        let (mut kind, mut has_result): (&[u8], _) = (b"", false);
        let (images, had_answer_text) = (self.images, self.has_answer_text);
        let mut choice = (part == Part::Choice).then(ChoiceOutput::default);
        while let Some(byte) = self.peek() {
            if byte != b'"' {
                self.rest = &self.rest[1..];
                if byte == b'}' {
                    break;
                }
                continue;
            }
            let name = self.take_raw_string();
            if self.peek() != Some(b':') {
                continue;
            }
            self.rest = &self.rest[1..];
            if name == b"type" && part != Part::Input && self.peek() == Some(b'"') {
                kind = self.take_raw_string();
                continue;
            }
            has_result |= name == b"result"
                && self.rest.starts_with(b"\"")
                && !self.rest.starts_with(b"\"\"");
            let was_hidden = self.is_hidden;
            self.is_hidden |=
                is_thinking(name) || (part == Part::Message && !ANSWER_FIELDS.contains(&name));
            if let Some(choice) = &mut choice {
                self.count_choice_field(choice, name, levels);
            } else {
                let counted = self.count_value(part.field(name), levels);
                if is_thinking(name) {
                    thinking = counted.max(thinking);
                } else if part == Part::Message && has_calls(name) {
                    calls.add(counted);
                } else {
                    text.add(counted);
                }
            }
            self.is_hidden = was_hidden;
        }
        if is_thinking(kind) || is_not_output_type(kind) {
            self.has_answer_text = had_answer_text;
        }
        if let Some(choice) = choice {
            let counted = self.add_choice(&choice);
            self.images = images + counted.images;
            return counted.text;
        }
        if kind.ends_with(b"audio.delta") {
            self.has_sound |= text.bytes > 0;
            return TextLength::default();
        }
        if part != Part::Input && is_not_output_type(kind) {
            self.images = images;
            return TextLength::default();
        }
        self.images += u64::from(kind == IMAGE_CALL && has_result && part == Part::Output);
        if part == Part::Message {
            self.thinking.add(thinking);
            self.calls.add(calls);
        }
        text.add(thinking);
        text.add(calls);
        text
    }

    /// Reads the value of a choice's field.
    fn count_choice_field(&mut self, choice: &mut ChoiceOutput, name: &[u8], levels: usize) {
        let field = match name {
            b"delta" => &mut choice.delta,
            b"message" => &mut choice.message,
            b"text" => &mut choice.text,
            b"index" => {
                let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                let digits = std::str::from_utf8(&self.rest[..digits]).unwrap_or_default();
                choice.index = digits.parse().unwrap_or(0);
                return;
            }
            _ => {
                self.count_value(Part::Other, levels);
                return;
            }
        };
        let images = self.images;
        (self.thinking, self.calls) = (TextLength::default(), TextLength::default());
        let all = self.count_value(Part::Choice.field(name), levels);
        let (thinking, calls) = (self.thinking, self.calls);
        let mut text = OutputCount::from_text(all.minus(thinking).minus(calls));
        text.images = self.images - images;
        text.has_output |= text.images > 0;
        let (thinking, calls) = (OutputCount::from_text(thinking), OutputCount::from_text(calls));
        *field = OutputByKind { thinking, text, calls };
    }

    /// Adds the output of a choice, whose fields can repeat each other. Returns that of all kinds.
    fn add_choice(&mut self, choice: &ChoiceOutput) -> OutputCount {
        let pieces = choice.delta.or(choice.text);
        self.pieces = self.pieces.plus(pieces);
        if choice.message.has_output() && self.messages.len() < CHOICES_MAX {
            self.messages.push(ChoiceMessage { index: choice.index, output: choice.message });
        }
        choice.delta.or(choice.message).or(choice.text).total()
    }

    fn count_list(&mut self, part: Part, levels: usize) -> TextLength {
        self.rest = &self.rest[1..];
        let mut text = TextLength::default();
        while let Some(byte) = self.peek() {
            if !b",]}:".contains(&byte) {
                text.add(self.count_value(part, levels));
                continue;
            }
            self.rest = &self.rest[1..];
            if byte == b']' {
                break;
            }
        }
        text
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        self.rest = self.rest.trim_ascii_start();
        self.rest.first().copied()
    }

    /// Reads the string that begins here. Returns its length.
    fn take_string(&mut self) -> TextLength {
        let (text, rest) = count_string(&self.rest[1..]);
        self.rest = rest.get(1..).unwrap_or_default();
        text
    }

    /// Reads the string that begins here, without its quotes and with its escapes.
    fn take_raw_string(&mut self) -> &'a [u8] {
        let start = &self.rest[1..];
        let mut end = 0;
        while let Some(offset) = memchr2(b'"', b'\\', &start[end..]) {
            end += offset;
            if start[end] == b'"' {
                break;
            }
            end = (end + 2).min(start.len());
        }
        let is_whole = start.get(end) == Some(&b'"');
        let text = if is_whole { &start[..end] } else { start };
        self.rest = start.get(text.len() + 1..).unwrap_or_default();
        text
    }
}

/// The length of a JSON string up to its quote, and the rest from the quote on. An escape counts as
/// one character. An unfinished string counts as far as it has arrived.
fn count_string(json: &[u8]) -> (TextLength, &[u8]) {
    let (mut rest, mut text) = (json, TextLength::default());
    while let Some(index) = memchr2(b'"', b'\\', rest) {
        text.add(TextLength::of_utf8(&rest[..index]));
        if rest[index] == b'"' {
            return (text, &rest[index..]);
        }
        let escape = &rest[index + 1..];
        let (length, bytes) = match escape.strip_prefix(b"u") {
            Some(digits) => (6, utf8_bytes(digits)),
            None => (2, 1),
        };
        text.add(TextLength { chars: 1, bytes });
        rest = rest.get(index + length..).unwrap_or_default();
    }
    text.add(TextLength::of_utf8(rest));
    (text, &[])
}

/// The bytes in UTF-8 of the escape with these four hexadecimal digits: at most three, also for each
/// half of a character outside of the basic plane.
fn utf8_bytes(digits: &[u8]) -> u64 {
    match digits {
        [b'0', b'0', b'0'..=b'7', ..] => 1,
        [b'0', b'0'..=b'7', ..] => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests;
