//! Translates a stream event by event for the client, however the bytes are cut.

use super::error::NeutralError;
use super::neutral_response::{OutputProgress, PartStart, ReadProgress, ResponseStep};
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
                translator.translate_event(&event, out);
                let stops = out.len() >= end || translator.writer.has_pending();
                if stops { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            translator.write_pending_within(end, out);
        }
        rest
    }

    /// Whether events for the client can be written without more bytes of the upstream.
    pub fn has_pending(&self) -> bool {
        self.translator.writer.has_pending()
    }

    /// The bytes of memory that are kept: the unfinished event, texts that the last event repeats,
    /// arguments of calls, and what the translation needs of the request.
    pub fn held_bytes(&self) -> usize {
        self.decoder.held_bytes()
            + self.translator.context.held_bytes()
            + self.translator.retained.bytes.max(self.translator.reader.held_bytes())
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
                self.translator.translate_event(&event, out);
            }
        });
        self.translator.finish_unterminated(out);
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
    fn translate_event(&mut self, event: &SseEvent<'_>, out: &mut Vec<u8>) {
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
                return self.finish_with_error(&NeutralError::new("api_error", message), out);
            }
        };
        let event = &SseEvent { data: &data, ..*event };
        let Self { context, reader, writer, has_started, output, retained, .. } = self;
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
                writer.write_step(context, &step, out);
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
        if self.retained.bytes.max(self.reader.held_bytes()) > KEPT_BYTES_MAX {
            let message =
                "The answer is too long to be translated into this API. Ask for a shorter answer.";
            return self.finish_with_error(&NeutralError::new("api_error", message), out);
        }
        match progress {
            ReadProgress::Open => {}
            ReadProgress::Done => self.finish_answer(out),
            ReadProgress::Failed(data) => {
                self.finish_with_error(&NeutralError::from_body(None, &data), out);
            }
        }
    }

    fn write_all_pending(&mut self, out: &mut Vec<u8>) {
        self.write_pending_within(usize::MAX, out);
    }

    /// Writes pending events until `out` has `end` bytes.
    fn write_pending_within(&mut self, end: usize, out: &mut Vec<u8>) {
        while self.writer.has_pending() && out.len() < end {
            self.writer.write_pending(&self.context, out);
        }
    }

    fn finish_unterminated(&mut self, out: &mut Vec<u8>) {
        if let (false, StreamReader::Chat(reader)) = (self.is_over, &mut self.reader) {
            let finished = reader.finish_unterminated(&mut |step| {
                self.output.note_step(&step);
                self.writer.write_step(&self.context, &step, out);
            });
            if finished {
                self.finish_answer(out);
            }
        }
    }

    fn finish_answer(&mut self, out: &mut Vec<u8>) {
        let message = if !self.has_started {
            "The upstream ended the stream without an answer. Send the request again."
        } else if self.output == OutputProgress::Untranslated {
            "The upstream's answer has output only in a form that this API does not have. Ask for \
             text, or use another model."
        } else {
            self.writer.write_end(&self.context, out);
            self.is_over = true;
            return;
        };
        self.finish_with_error(&NeutralError::new("api_error", message), out);
    }

    fn finish_with_error(&mut self, error: &NeutralError, out: &mut Vec<u8>) {
        self.has_failed = true;
        self.write_failure(error, out);
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
mod tests {
    use super::*;
    use crate::translate::{ClientProtocol, ProtocolPair, TranslationOptions};

    fn stream(client: ClientProtocol, upstream: UpstreamProtocol, body: &[u8]) -> StreamTranslator {
        let translation = ProtocolPair::between(client, upstream).unwrap();
        translation
            .translate_request(body, &TranslationOptions::new("m", "req_1"))
            .unwrap()
            .context
            .stream_translator()
    }

    /// The text that a client receives for `events`, and how many bytes of the upstream were read
    /// for it.
    fn translate_until_end(
        mut stream: StreamTranslator,
        events: impl Iterator<Item = String>,
    ) -> (String, usize) {
        let (mut last, mut read) = (Vec::new(), 0);
        for event in events {
            last.clear();
            read += event.len();
            stream.push(event.as_bytes(), &mut last);
            if stream.is_over() {
                break;
            }
        }
        assert!(stream.is_over(), "after {read} bytes");
        (String::from_utf8(last).unwrap(), read)
    }

    fn event(data: &str) -> String {
        format!("data: {data}\n\n")
    }

    #[test]
    fn kept_bytes_are_bounded_and_end_the_stream_with_an_error() {
        const RESPONSES: &[u8] = br#"{"model":"m","input":"hi"}"#;
        const MESSAGES: &[u8] =
            br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
        let long = "x".repeat(50_000);
        let start = event(r#"{"type":"message_start","message":{"id":"msg_1","usage":{}}}"#);
        let open = |kind: &str| {
            event(&format!(r#"{{"type":"content_block_start","index":0,"content_block":{kind}}}"#))
        };
        let delta = event(&format!(
            r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{long}"}}}}"#
        ));
        let text = [start.clone(), open(r#"{"type":"text","text":""}"#)].into_iter();
        let endless = text.chain(std::iter::repeat_n(delta, 200));
        let (said, read) = translate_until_end(
            stream(ClientProtocol::OpenaiResponses, UpstreamProtocol::Messages, RESPONSES),
            endless,
        );
        assert!(said.contains("response.failed"), "{}", &said[..200]);
        assert!(read < 5_000_000, "{read}");

        let close = event(r#"{"type":"content_block_stop","index":0}"#);
        let part = [open(r#"{"type":"text","text":""}"#), close].concat();
        let parts = std::iter::once(start).chain(std::iter::repeat_n(part, 100_000));
        let (said, _) = translate_until_end(
            stream(ClientProtocol::OpenaiResponses, UpstreamProtocol::Messages, RESPONSES),
            parts,
        );
        assert!(said.contains("response.failed"));

        let call = |index: usize| {
            event(&format!(
                r#"{{"id":"c","choices":[{{"index":0,"delta":{{"tool_calls":[{{"index":{index},"id":"call_{index}","function":{{"name":"f","arguments":"{{ {long}"}}}}]}}}}]}}"#
            ))
        };
        for client in [ClientProtocol::AnthropicMessages, ClientProtocol::OpenaiResponses] {
            let body = if matches!(client, ClientProtocol::AnthropicMessages) {
                MESSAGES
            } else {
                RESPONSES
            };
            let one = std::iter::repeat_n(call(0), 200);
            let (_, read) = translate_until_end(stream(client, UpstreamProtocol::Chat, body), one);
            assert!(read < 6_000_000, "one call: {read}");
            let (_, read) = translate_until_end(
                stream(client, UpstreamProtocol::Chat, body),
                (0..200).map(call),
            );
            assert!(read < 6_000_000, "many calls: {read}");
        }
    }

    #[test]
    fn events_that_repeat_the_answer_are_written_one_at_a_time() {
        let long = "x".repeat(400_000);
        let upstream = [
            event(r#"{"type":"message_start","message":{"id":"msg_1","usage":{}}}"#),
            event(
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
            ),
            event(&format!(
                r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{long}"}}}}"#
            )),
            event(r#"{"type":"content_block_stop","index":0}"#),
            event(r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{}}"#),
            event(r#"{"type":"message_stop"}"#),
        ]
        .concat();
        let begin = || {
            let request = br#"{"model":"m","input":"hi"}"#;
            stream(ClientProtocol::OpenaiResponses, UpstreamProtocol::Messages, request)
        };
        let (mut at_once, mut expected) = (begin(), Vec::new());
        at_once.push(upstream.as_bytes(), &mut expected);
        assert!(at_once.is_over());

        let (mut in_steps, mut out, mut steps) = (begin(), Vec::new(), 0);
        let mut rest = upstream.as_bytes();
        while !rest.is_empty() || in_steps.has_pending() {
            assert!(!in_steps.is_over());
            let mut step = Vec::new();
            rest = in_steps.push_step(rest, &mut step);
            assert!(step.len() < STEP_BYTES + long.len() + 1000, "{}", step.len());
            out.append(&mut step);
            steps += 1;
        }
        assert!(in_steps.is_over());
        assert_eq!(steps, 5, "a delta and four events that repeat its text");
        let without_time =
            |events: Vec<u8>| String::from_utf8(events).unwrap().replace(char::is_numeric, "");
        assert_eq!(without_time(out), without_time(expected));
    }

    #[test]
    fn forwarded_text_is_unbounded() {
        let chunk = |text: &str| {
            event(&format!(
                r#"{{"id":"c","choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}"#
            ))
        };
        let body = br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
        let mut stream = stream(ClientProtocol::AnthropicMessages, UpstreamProtocol::Chat, body);
        let mut out = Vec::new();
        for _ in 0..200 {
            out.clear();
            stream.push(chunk(&"x".repeat(50_000)).as_bytes(), &mut out);
        }
        assert!(!stream.is_over());
    }
}
