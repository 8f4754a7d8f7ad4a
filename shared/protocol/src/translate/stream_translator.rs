//! Translates a stream event by event for the client, however the bytes are cut.

use super::error::NeutralError;
use super::neutral_response::{OutputProgress, PartStart, ReadProgress, ResponseStep};
use super::step_queue::{QueueEntry, StepQueue};
use super::{ResponseContext, UpstreamProtocol, chat, messages, responses};
use crate::json::{is_json, to_strict_json};
use crate::sse::{EventKind, SseDecoder, SseEvent};
use std::borrow::Cow;
use std::ops::ControlFlow;

/// The most bytes kept for one stream, as they are written in JSON: text that the last event repeats,
/// arguments that wait for their end, and some bytes for each part. 128,000 tokens are about half a
/// megabyte.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The bytes that a part counts for, however short it is.
const PART_BYTES: usize = 256;
/// The bytes for the client from which a step ends. The longest single event comes on top.
const STEP_BYTES: usize = 64 * 1024;

/// Translates one stream. It writes whole events only.
#[derive(Debug)]
pub struct StreamTranslator {
    decoder: SseDecoder,
    translator: TranslatorState,
}

/// Reader, writer and their progress.
#[derive(Debug)]
struct TranslatorState {
    context: ResponseContext,
    reader: StreamReader,
    writer: StreamWriter,
    /// The steps behind the writer's pending events, or behind enough bytes for the client.
    queue: StepQueue,
    /// Whether the end of the answer, or an error, was read.
    is_over: bool,
    /// Whether an error ended the client's stream: one of the upstream, or an event that cannot be
    /// translated.
    has_failed: bool,
    has_started: bool,
    output: OutputProgress,
    retained: RetainedBytes,
}

/// The number of bytes that are kept.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct RetainedBytes {
    bytes: usize,
    /// The writer repeats the whole answer at its end.
    keeps_text: bool,
    /// The writer holds thinking that the client did not ask for.
    keeps_thinking: bool,
    is_call: bool,
    is_thinking: bool,
}

impl RetainedBytes {
    /// Whether the writer holds the open part.
    fn holds(&self) -> bool {
        self.keeps_thinking && self.is_thinking
    }

    fn add_step(&mut self, step: &ResponseStep<'_>) {
        self.bytes += match step {
            ResponseStep::Open(part_start) => {
                self.is_call = matches!(part_start, PartStart::Call { .. });
                self.is_thinking = *part_start == PartStart::Thinking;
                PART_BYTES
                    + match part_start {
                        PartStart::Redacted(data) if self.keeps_text => data.len(),
                        PartStart::Call { id, name } => id.len() + name.len(),
                        PartStart::Text
                        | PartStart::Refusal
                        | PartStart::Thinking
                        | PartStart::Redacted(_) => 0,
                    }
            }
            ResponseStep::Delta(text) if self.keeps_text || self.is_call || self.holds() => {
                escaped_length(text)
            }
            ResponseStep::Signature(text) if self.keeps_text || self.holds() => {
                escaped_length(text)
            }
            _ => 0,
        };
    }
}

/// The length of a text in JSON, in which it is written again.
fn escaped_length(text: &str) -> usize {
    let longer = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 1,
        0..0x20 => 5,
        _ => 0,
    });
    text.len() + longer.sum::<usize>()
}

#[derive(Debug)]
enum StreamReader {
    Messages(Box<messages::read_response::MessagesReader>),
    Chat(Box<chat::read_response::ChatReader>),
    Responses(Box<responses::read_events::ResponsesReader>),
}

impl StreamReader {
    fn held_bytes(&self) -> usize {
        match self {
            Self::Messages(_) => 0,
            Self::Chat(reader) => reader.held_bytes(),
            Self::Responses(reader) => reader.held_bytes(),
        }
    }
}

#[derive(Debug)]
enum StreamWriter {
    Messages(messages::write_response::MessagesWriter),
    Chat(chat::write_response::ChatWriter),
    Responses(responses::write_events::ResponsesWriter),
}

impl StreamWriter {
    fn write_step(
        &mut self,
        context: &ResponseContext,
        step: &ResponseStep<'_>,
        out: &mut Vec<u8>,
    ) {
        match self {
            Self::Messages(writer) => writer.write_step(context, step, out),
            Self::Chat(writer) => writer.write_step(context, step, out),
            Self::Responses(writer) => writer.write_step(context, step, out),
        }
    }

    fn write_end(&mut self, context: &ResponseContext, out: &mut Vec<u8>) {
        match self {
            Self::Messages(writer) => writer.write_end(context, out),
            Self::Chat(writer) => writer.write_end(context, out),
            Self::Responses(writer) => writer.write_end(context, out),
        }
    }

    fn has_pending(&self) -> bool {
        match self {
            Self::Messages(_) | Self::Chat(_) => false,
            Self::Responses(writer) => writer.has_pending(),
        }
    }

    /// Writes the next pending event.
    fn write_pending(&mut self, context: &ResponseContext, out: &mut Vec<u8>) {
        match self {
            Self::Messages(_) | Self::Chat(_) => {}
            Self::Responses(writer) => writer.write_pending(context, out),
        }
    }
}

impl StreamTranslator {
    pub(super) fn new(context: ResponseContext) -> Self {
        let model = &context.upstream_model;
        let reader = match context.translation.upstream() {
            UpstreamProtocol::Messages => StreamReader::Messages(Box::default()),
            UpstreamProtocol::Chat => {
                StreamReader::Chat(Box::new(chat::read_response::ChatReader::new(model)))
            }
            UpstreamProtocol::Responses => StreamReader::Responses(Box::new(
                responses::read_events::ResponsesReader::new(model),
            )),
        };
        let writer = match context.translation.client().body_protocol() {
            UpstreamProtocol::Messages => {
                StreamWriter::Messages(messages::write_response::MessagesWriter::default())
            }
            UpstreamProtocol::Chat => {
                StreamWriter::Chat(chat::write_response::ChatWriter::default())
            }
            UpstreamProtocol::Responses => {
                StreamWriter::Responses(responses::write_events::ResponsesWriter::default())
            }
        };
        let keeps_text = matches!(writer, StreamWriter::Responses(_));
        let keeps_thinking = matches!(writer, StreamWriter::Messages(_)) && !context.shows_thinking;
        let retained = RetainedBytes {
            bytes: 0,
            keeps_text,
            keeps_thinking,
            is_call: false,
            is_thinking: false,
        };
        let translator = TranslatorState {
            context,
            reader,
            writer,
            queue: StepQueue::default(),
            is_over: false,
            has_failed: false,
            has_started: false,
            output: OutputProgress::default(),
            retained,
        };
        Self { decoder: SseDecoder::new(), translator }
    }

    /// Takes the upstream's next bytes, without a content encoding, and appends the translated
    /// events to `out`. An error of the upstream is passed on and ends the stream.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let mut rest = chunk;
        while !rest.is_empty() || self.has_pending() {
            rest = self.push_step(rest, out);
        }
    }

    /// As [`Self::push`], but ends after many bytes for the client, because the last events of some
    /// APIs repeat the whole answer. Returns the rest of `chunk`. Call it again with that rest, even
    /// with an empty one while [`Self::has_pending`].
    pub fn push_step<'a>(&mut self, chunk: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        let end = out.len() + STEP_BYTES;
        let Self { decoder, translator } = self;
        translator.write_pending_within(end, out);
        let mut rest = chunk;
        while !rest.is_empty() && out.len() < end {
            rest = decoder.push_until(rest, |event| {
                translator.translate_event(&event, end, out);
                let stops = out.len() >= end || translator.has_pending();
                if stops { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            translator.write_pending_within(end, out);
        }
        rest
    }

    /// Whether events for the client can be written without more bytes of the upstream.
    pub fn has_pending(&self) -> bool {
        self.translator.has_pending()
    }

    /// The bytes of memory that are kept: the unfinished event, texts that the last event repeats,
    /// calls, the state of the model, and what the translation needs of the request.
    pub fn held_bytes(&self) -> usize {
        self.decoder.held_bytes()
            + self.translator.context.held_bytes()
            + self.translator.kept_bytes()
            + self.translator.queue.held_bytes()
    }

    /// Whether the client has received the end of its answer, either a normal one or an error.
    pub fn is_over(&self) -> bool {
        self.translator.is_over && !self.has_pending()
    }

    /// Whether an event of the upstream ended the client's stream with an error.
    pub fn has_failed(&self) -> bool {
        self.translator.has_failed
    }

    /// Must be called when the upstream's bytes have ended. Returns whether the client has received
    /// the end of its answer. If the stream broke off, it has not, and the caller must call
    /// [`Self::fail`]. A last event without its blank line counts.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> bool {
        let decoder = std::mem::take(&mut self.decoder);
        decoder.finish(|event| {
            let data = event.data.trim_ascii();
            let is_whole = is_json(&to_strict_json(data));
            if is_whole || data == b"[DONE]" {
                self.translator.translate_event(&event, usize::MAX, out);
            }
        });
        self.translator.finish_unterminated();
        self.translator.write_all_pending(out);
        self.translator.is_over
    }

    /// Writes all events of an answer that came as a whole. `read` produces its steps and returns
    /// whether it was an answer.
    pub(super) fn translate_whole(
        &mut self,
        read: impl FnOnce(&mut dyn FnMut(ResponseStep<'_>)) -> bool,
        out: &mut Vec<u8>,
    ) -> bool {
        let TranslatorState { context, writer, .. } = &mut self.translator;
        let is_answer = read(&mut |step| writer.write_step(context, &step, out));
        if is_answer {
            writer.write_end(context, out);
            self.translator.write_all_pending(out);
        }
        is_answer
    }

    /// Ends the stream with an error of the relay: `kind` is a documented error type, `message` a
    /// whole sentence. Does nothing if the stream is over.
    pub fn fail(&mut self, kind: &str, message: &str, out: &mut Vec<u8>) {
        self.translator.write_all_pending(out);
        if !self.translator.is_over {
            self.translator.write_failure(&NeutralError::new(kind, message), out);
        }
    }
}

impl TranslatorState {
    /// Translates an event. From `end` bytes in `out` on, its steps wait.
    fn translate_event(&mut self, event: &SseEvent<'_>, end: usize, out: &mut Vec<u8>) {
        if self.is_over {
            return;
        }
        // The end of a response repeats what has been translated, so it need not be read.
        let is_unread_end =
            event.kind() == EventKind::ResponseEnd && self.output == OutputProgress::Translated;
        let data = match event.dropped {
            0 => to_strict_json(event.data),
            _ if is_unread_end => Cow::Borrowed(b"{}".as_slice()),
            _ => {
                let message =
                    "The upstream sent an event that is too long. Send the request again.";
                return self.finish_with_error(NeutralError::new("api_error", message));
            }
        };
        let event = &SseEvent { data: &data, ..*event };
        let Self { context, reader, writer, queue, has_started, output, retained, .. } = self;
        let mut write_field = |step: ResponseStep<'_>| {
            output.note_step(&step);
            retained.add_step(&step);
            // Nothing is kept beyond the bound. The stream ends below.
            if retained.bytes > KEPT_BYTES_MAX {
                return;
            }
            *has_started |= matches!(step, ResponseStep::Start { .. });
            // Only a ping can come before the start.
            if *has_started || step == ResponseStep::Ping {
                if queue.is_empty() && !writer.has_pending() && out.len() < end {
                    writer.write_step(context, &step, out);
                } else {
                    queue.push(step);
                }
            }
        };
        let progress = match reader {
            StreamReader::Messages(reader) => reader.read_event(event, &mut write_field),
            StreamReader::Chat(reader) => reader.read_event(event, &mut write_field),
            StreamReader::Responses(reader) => reader.read_event(event, &mut write_field),
        };
        // Of these events, the meter reads only the usage.
        if !matches!(event.kind(), EventKind::MessageStart | EventKind::MessageDelta) {
            self.output.note_data(event.data);
        }
        if self.kept_bytes() > KEPT_BYTES_MAX {
            let message =
                "The answer is too long to be translated into this API. Ask for a shorter answer.";
            return self.finish_with_error(NeutralError::new("api_error", message));
        }
        match progress {
            ReadProgress::Open => {}
            ReadProgress::Done => self.finish_answer(),
            ReadProgress::Failed(data) => {
                self.finish_with_error(NeutralError::from_body(None, &data));
            }
        }
    }

    /// The bytes that the reader and the writer keep.
    fn kept_bytes(&self) -> usize {
        self.retained.bytes + self.reader.held_bytes()
    }

    fn has_pending(&self) -> bool {
        self.writer.has_pending() || !self.queue.is_empty()
    }

    fn write_all_pending(&mut self, out: &mut Vec<u8>) {
        self.write_pending_within(usize::MAX, out);
    }

    /// Writes pending events and steps until `out` has `end` bytes.
    fn write_pending_within(&mut self, end: usize, out: &mut Vec<u8>) {
        while out.len() < end {
            if self.writer.has_pending() {
                self.writer.write_pending(&self.context, out);
            } else if let Some(entry) = self.queue.pop() {
                self.write_entry(&entry, out);
            } else {
                return;
            }
        }
    }

    fn write_entry(&mut self, entry: &QueueEntry, out: &mut Vec<u8>) {
        let step = match entry {
            QueueEntry::Delta(text) => &ResponseStep::Delta(text),
            QueueEntry::Signature(text) => &ResponseStep::Signature(text),
            QueueEntry::Step(step) => step,
            QueueEntry::End => return self.writer.write_end(&self.context, out),
            QueueEntry::Failure(error) => return self.write_failure(error, out),
        };
        self.writer.write_step(&self.context, step, out);
    }

    fn finish_unterminated(&mut self) {
        if let (false, StreamReader::Chat(reader)) = (self.is_over, &mut self.reader) {
            let finished = reader.finish_unterminated(&mut |step| {
                self.output.note_step(&step);
                self.queue.push(step);
            });
            if finished {
                self.finish_answer();
            }
        }
    }

    fn finish_answer(&mut self) {
        let message = if !self.has_started {
            "The upstream ended the stream without an answer. Send the request again."
        } else if self.output == OutputProgress::Untranslated {
            "The upstream's answer has output only in a form that this API does not have. Ask for \
             text, or use another model."
        } else {
            self.is_over = true;
            self.queue.push(QueueEntry::End);
            return;
        };
        self.finish_with_error(NeutralError::new("api_error", message));
    }

    fn finish_with_error(&mut self, error: NeutralError) {
        (self.has_failed, self.is_over) = (true, true);
        self.queue.push(QueueEntry::Failure(error));
    }

    fn write_failure(&mut self, error: &NeutralError, out: &mut Vec<u8>) {
        match &mut self.writer {
            StreamWriter::Responses(writer) => writer.write_failure(&self.context, error, out),
            StreamWriter::Messages(_) | StreamWriter::Chat(_) => {
                error.write_event(self.context.translation.client(), &self.context.id, out);
            }
        }
        self.is_over = true;
    }
}

#[cfg(test)]
mod tests;
