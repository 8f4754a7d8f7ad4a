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
//!   [`IMAGE_TOKENS`] tokens.

use crate::json::DEPTH_MAX;
use memchr::memchr2;

/// The approximate number of characters in a token (Claude apps gateway page, 2026-08-22).
const CHARS_PER_TOKEN: u64 = 4;

/// The estimated number of tokens in `chars` characters.
pub(super) fn estimate_tokens(chars: u64) -> u64 {
    chars.div_ceil(CHARS_PER_TOKEN)
}

/// The estimated number of tokens in a generated image. Google bills 1,290 for one of 1024 by 1024
/// (ai.google.dev, "Pricing", Gemini 2.5 Flash Image, read 2026-11), and OpenAI from 272 to 4,160
/// by quality and size ("Image generation", 2026-11).
pub(super) const IMAGE_TOKENS: u64 = 1_290;

/// The length of a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TextLength {
    /// The characters. An escape of JSON is one.
    pub(super) chars: u64,
    /// The bytes in UTF-8. Escapes are decoded.
    pub(super) bytes: u64,
}

impl TextLength {
    /// The length of text in UTF-8 that can be cut.
    fn of_utf8(text: &[u8]) -> Self {
        Self { chars: chars_in_utf8(text), bytes: to_count(text.len()) }
    }

    fn add(&mut self, other: Self) {
        self.chars += other.chars;
        self.bytes += other.bytes;
    }

    /// The larger one of each count.
    fn max(self, other: Self) -> Self {
        Self { chars: self.chars.max(other.chars), bytes: self.bytes.max(other.bytes) }
    }
}

fn to_count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// The output of a model in an event or in an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct OutputCount {
    /// The text, thinking and tool input.
    pub(super) text: TextLength,
    /// The number of images.
    pub(super) images: u64,
    /// Whether there is any output, of whatever kind. Sound has no characters of its own.
    pub(super) has_output: bool,
}

impl OutputCount {
    fn from_text(text: TextLength) -> Self {
        Self { text, images: 0, has_output: text.bytes > 0 }
    }

    /// The count of an answer of which nothing else is known than its text.
    pub(super) fn from_utf8(text: &[u8]) -> Self {
        Self::from_text(TextLength::of_utf8(text))
    }

    /// The count of `bytes` that are not read. Each counts as a character.
    pub(super) fn from_unread(bytes: usize) -> Self {
        let bytes = to_count(bytes);
        Self::from_text(TextLength { chars: bytes, bytes })
    }

    pub(super) fn add(&mut self, other: Self) {
        self.text.add(other.text);
        self.images += other.images;
        self.has_output |= other.has_output;
    }

    /// The larger one of two counts of the same output.
    pub(super) fn raise_to(&mut self, other: Self) {
        self.text = self.text.max(other.text);
        self.images = self.images.max(other.images);
        self.has_output |= other.has_output;
    }

    /// Whether this has something that an earlier count of the same output did not have.
    pub(super) fn exceeds(&self, earlier: Self) -> bool {
        self.text.chars > earlier.text.chars || self.images > earlier.images
    }

    /// The estimated number of tokens.
    pub(super) fn estimate_tokens(&self) -> u64 {
        estimate_tokens(self.text.chars).saturating_add(self.image_tokens())
    }

    /// The most tokens that the text can have, one for each byte, and the estimate for the images.
    pub(super) fn tokens_max(&self) -> u64 {
        self.text.bytes.saturating_add(self.image_tokens())
    }

    fn image_tokens(&self) -> u64 {
        self.images.saturating_mul(IMAGE_TOKENS)
    }
}

/// Counts the output in a `content_block_delta`: its text, thinking or partial JSON. A signature
/// does not count.
pub(super) fn count_content_delta(data: &[u8]) -> OutputCount {
    text_in_usual_delta(data).map_or_else(|| count_output(data), OutputCount::from_text)
}

/// Counts what a model generated in an event or a whole answer. The time is linear in the length.
/// Text that is cut or is not valid JSON counts as far as it can be read. Of the fields of a choice
/// (`delta`, `message`, `text`) the first one with output counts, because the others can repeat it.
pub(super) fn count_output(json: &[u8]) -> OutputCount {
    count_part(json, Part::Envelope).count
}

/// The output in a chunk of Chat.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChunkOutput {
    pub(super) count: OutputCount,
    /// Whether it comes in `message`, where it can repeat the earlier chunks.
    pub(super) is_in_message: bool,
}

/// Counts as [`count_output`].
pub(super) fn count_chunk(json: &[u8]) -> ChunkOutput {
    count_part(json, Part::Envelope)
}

/// The output of a stream whose chunks have it in `message`. In most streams each one repeats all
/// that came before.
#[derive(Debug, Default)]
pub(super) struct MessageOutput {
    sum: OutputCount,
    longest: OutputCount,
    /// The number of messages that were not longer than those before.
    repetitions: u32,
    /// Whether the messages do not repeat each other.
    is_in_pieces: bool,
}

/// So many messages that are not longer than those before repeat nothing.
const REPETITIONS_MAX: u32 = 2;

impl MessageOutput {
    /// Adds the output of a chunk. Returns that of all.
    pub(super) fn add(&mut self, count: OutputCount) -> OutputCount {
        let is_longer = count.exceeds(self.longest);
        self.repetitions += u32::from(count.has_output && !is_longer);
        let is_shorter = count.has_output && self.longest.exceeds(count);
        self.is_in_pieces |= is_shorter || self.repetitions > REPETITIONS_MAX;
        self.sum.add(count);
        self.longest.raise_to(count);
        if self.is_in_pieces { self.sum } else { self.longest }
    }
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
    ChunkOutput { count, is_in_message: scan.is_in_message }
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
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct OutputScan<'a> {
    rest: &'a [u8],
    images: u64,
    has_sound: bool,
    /// Whether text for the user was found.
    has_answer_text: bool,
    /// Whether what is read is not for the user.
    is_hidden: bool,
    /// Whether the output of a choice is in its `message`.
    is_in_message: bool,
}

/// The fields of a choice that can have its output, in the order in which they count.
const CHOICE_FIELDS: [&[u8]; 3] = [b"delta", b"message", b"text"];

/// What one of these fields has.
#[derive(Debug, Clone, Copy, Default)]
struct FieldOutput {
    text: TextLength,
    images: u64,
}

impl<'a> OutputScan<'a> {
    fn new(json: &'a [u8]) -> Self {
        Self {
            rest: json,
            images: 0,
            has_sound: false,
            has_answer_text: false,
            is_hidden: false,
            is_in_message: false,
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
        let (mut text, mut thinking) = (TextLength::default(), TextLength::default());
        let (mut kind, mut has_result): (&[u8], _) = (b"", false);
        let (images, had_answer_text) = (self.images, self.has_answer_text);
        let mut choice = [FieldOutput::default(); CHOICE_FIELDS.len()];
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
            let (was_hidden, images) = (self.is_hidden, self.images);
            self.is_hidden |=
                is_thinking(name) || (part == Part::Message && !ANSWER_FIELDS.contains(&name));
            let counted = self.count_value(part.field(name), levels);
            self.is_hidden = was_hidden;
            let field = CHOICE_FIELDS.iter().position(|known| *known == name);
            if let (Part::Choice, Some(field)) = (part, field) {
                choice[field] = FieldOutput { text: counted, images: self.images - images };
            } else if is_thinking(name) {
                thinking = counted.max(thinking);
            } else {
                text.add(counted);
            }
        }
        if is_thinking(kind) || is_not_output_type(kind) {
            self.has_answer_text = had_answer_text;
        }
        let has_output = |field: &FieldOutput| field.text.bytes > 0 || field.images > 0;
        if let Some(first) = choice.iter().position(has_output) {
            self.images = images + choice[first].images;
            self.is_in_message |= CHOICE_FIELDS[first] == b"message";
            text.add(choice[first].text);
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
        text.add(thinking);
        text
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

/// Characters in UTF-8 that can be cut: all bytes except continuation bytes.
fn chars_in_utf8(bytes: &[u8]) -> u64 {
    // A count for each chunk lets the compiler use vector instructions.
    bytes
        .chunks(255)
        .map(|part| part.iter().map(|b| u64::from(b & 0xC0 != 0x80)).sum::<u64>())
        .sum()
}

#[cfg(test)]
mod tests;
