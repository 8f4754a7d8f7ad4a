//! What one answer has shown so far, event by event.

use super::answer::{Answer, Envelope, RawUsage};
use super::failure::is_empty_chunk;
use super::tally::Tally;
use super::{Ended, Failure, First, Reading, text};
use crate::json::is_json;
use crate::sse::{Decoder, Event, Kind};
use baton_domain::usage::Usage;
use memchr::memmem;

/// The keys of a chat chunk whose texts are output.
const CHAT_OUTPUT: [&str; 4] =
    ["\"content\"", "\"arguments\"", "\"reasoning_content\"", "\"reasoning\""];

/// What has been seen.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Sight {
    tally: Tally,
    model: Option<String>,
    pub(super) ended: Ended,
    pub(super) started: bool,
    told: bool,
    /// Whether the events are Anthropic's, whose SDKs overlook an error without a name.
    is_anthropic: bool,
    /// Whether the usage seen last is the final one if the end comes next.
    nearly_settled: bool,
    /// Whether the usage seen is the final one.
    settled: bool,
    pub(super) first: First,
    /// Whether any event came, however empty.
    pub(super) begun: bool,
    /// Whether a whole answer could not be read, though a model may have made it.
    is_unread: bool,
    stop_reason: Option<String>,
    pub(super) output_chars: u64,
}

impl Sight {
    pub(super) fn see(&mut self, event: &Event<'_>) {
        let kind = event.kind();
        match kind {
            Kind::ContentDelta => {
                self.output_chars += text::in_content_delta(event.data);
                self.output_chars += u64::try_from(event.dropped).unwrap_or(0);
                self.started = true;
            }
            Kind::MessageStart => self.see_start(event.data),
            Kind::MessageDelta => self.see_delta(event.data),
            Kind::MessageStop => self.complete(),
            Kind::Error => {
                self.fail(Failure::read(event.data));
                self.told = true;
            }
            Kind::ResponseEnd => self.see_response_end(event.data),
            Kind::ResponseDelta => {
                self.output_chars += text::in_strings(event.data, &["\"delta\""]);
                self.started = true;
            }
            Kind::Unnamed => self.see_chunk(event.data),
            Kind::Other => self.started |= event.name.starts_with(b"response.output"),
            Kind::Ping => {}
        }
        if self.first == First::Nothing {
            self.first = match &self.ended {
                Ended::Error(failure) => First::Error(failure.clone()),
                Ended::Cut if is_empty(event, kind) => First::Nothing,
                Ended::Complete | Ended::Cut => First::Event,
            };
        }
        self.begun = true;
    }

    fn see_start(&mut self, data: &[u8]) {
        (self.started, self.is_anthropic) = (true, true);
        if let Some(message) = Answer::read(data).and_then(|answer| answer.message) {
            self.take(message);
        }
    }

    fn see_delta(&mut self, data: &[u8]) {
        let Some(answer) = Answer::read(data) else { return };
        self.started = true;
        let reason = answer.delta.and_then(|delta| delta.stop_reason);
        let is_last = reason.is_some();
        self.stop_reason = reason.or(self.stop_reason.take());
        if let Some(usage) = answer.usage {
            self.settle(usage, is_last);
        }
    }

    /// Takes in usage that is final if `is_last`, or if the end is told after it. No output after
    /// text has passed is nobody's final word.
    fn settle(&mut self, usage: RawUsage, is_last: bool) {
        let output = usage.output_tokens;
        self.nearly_settled = output.is_some_and(|count| count > 0 || self.output_chars == 0);
        self.settled |= is_last && self.nearly_settled;
        self.tally.set(usage);
    }

    fn see_response_end(&mut self, data: &[u8]) {
        let Some(response) = Answer::read(data).and_then(|answer| answer.response) else { return };
        let failed = response.status.as_deref() == Some("failed");
        self.started |= !failed || response.usage.is_some();
        self.take_final(response);
        if failed {
            self.fail(Failure::read(data));
            self.told = true;
        } else {
            self.complete();
        }
    }

    /// An event without a name: a chat chunk, OpenAI's end mark, or an error object.
    fn see_chunk(&mut self, data: &[u8]) {
        if data.trim_ascii() == b"[DONE]" {
            if self.begun {
                return self.complete();
            }
            let message = "the stream was done before it began".to_owned();
            return self.fail(Failure { message, ..Failure::default() });
        }
        let has = |key: &str| has_value(data, key);
        // Until something good has come, whatever is no chunk may be an error.
        let may_begin_badly = self.first == First::Nothing && !data.trim_ascii().is_empty();
        if may_begin_badly && !(data.trim_ascii().starts_with(b"{") && is_json(data)) {
            return self.fail(Failure::object(data).unwrap_or_else(|| Failure::read(data)));
        }
        if (has("\"error\"") || (may_begin_badly && !has("\"choices\"")))
            && let Some(failure) = Failure::object(data)
        {
            self.told |= !self.is_anthropic;
            return self.fail(failure);
        }
        self.output_chars += text::in_strings(data, &CHAT_OUTPUT);
        let told = has("\"usage\"") || has("\"finish_reason\"") || has("\"type\"");
        if self.started && self.model.is_some() && !told {
            return;
        }
        let Some(answer) = Answer::read(data) else { return };
        // Anthropic's events from an upstream that drops their names and reorders their keys.
        match answer.kind.as_deref() {
            Some("message_start") => return self.see_start(data),
            Some("message_delta") => return self.see_delta(data),
            Some("message_stop") => return self.complete(),
            _ => {}
        }
        self.started |= answer.choices.is_some();
        if answer.finished() {
            self.complete();
        }
        self.model = self.model.take().or(answer.model);
        if let Some(usage) = answer.usage {
            self.settle(usage, true);
        }
    }

    /// A whole body: a message, a completion, a response or an error. Another object (a token
    /// count, a list of models) is complete and costs nothing.
    pub(super) fn see_whole(&mut self, body: &[u8]) {
        let Some(answer) = Answer::read(body) else { return self.see_broken(body) };
        let failed = [&answer.kind, &answer.status]
            .into_iter()
            .any(|word| matches!(word.as_deref(), Some("error" | "failed")));
        if (failed || answer.usage.is_none())
            && let Some(failure) = Failure::object(body)
        {
            self.fail(failure);
        }
        let is_message = answer.kind.as_deref() == Some("message");
        let is_answer = is_message || answer.choices.is_some() || answer.status.is_some();
        let is_error = matches!(self.ended, Ended::Error(_));
        self.started = answer.usage.is_some() || (is_answer && !is_error);
        let told = answer.usage.as_ref().and_then(|usage| usage.output_tokens).unwrap_or(0);
        if self.started && told == 0 && (answer.usage.is_none() || text::has_any(body)) {
            self.output_chars = text::in_utf8(body);
        }
        self.stop_reason = answer.stop_reason;
        self.take_final(Envelope { model: answer.model, usage: answer.usage, status: None });
        self.complete();
    }

    /// A body that is no JSON object: one that begins like one was cut short and is billed,
    /// anything else is no model's.
    fn see_broken(&mut self, body: &[u8]) {
        let is_page = body.trim_ascii_start().starts_with(b"<");
        self.is_unread = !is_page && memchr::memchr(b'{', body).is_some();
        if body.is_empty() || body.trim_ascii_start().starts_with(b"{") {
            self.started = !body.is_empty();
            self.output_chars = text::in_utf8(body);
        } else {
            self.fail(Failure::read(body));
        }
    }

    /// An unfinished last event counts if its data is whole: Python's SDK keeps it too (fixture
    /// `no_trailing_newline`). Bytes that are no event stream at all are told as an error.
    pub(super) fn end_stream(&mut self, decoder: Decoder) {
        let rest = decoder.rest();
        if self.first == First::Nothing && !rest.is_empty() && !begins_like_a_stream(rest) {
            let failure = Failure::read(rest);
            self.first = First::Error(failure.clone());
            return self.fail(failure);
        }
        decoder.finish(|event| {
            let is_whole = is_json(event.data);
            if is_whole || event.data == b"[DONE]" {
                self.see(&event);
            }
        });
    }

    fn take(&mut self, message: Envelope) {
        self.model = message.model.or(self.model.take());
        if let Some(usage) = message.usage {
            self.tally.set(usage);
        }
    }

    fn take_final(&mut self, message: Envelope) {
        self.model = message.model.or(self.model.take());
        if let Some(usage) = message.usage {
            self.settle(usage, true);
        }
    }

    fn complete(&mut self) {
        self.settled |= self.nearly_settled;
        self.told = true;
        if self.ended == Ended::Cut {
            self.ended = Ended::Complete;
        }
    }

    fn fail(&mut self, failure: Failure) {
        if !matches!(self.ended, Ended::Error(_)) {
            self.ended = Ended::Error(failure);
        }
    }

    pub(super) fn into_reading(self, request_bytes: u64) -> Reading {
        let Self { mut tally, model, ended, told, started, settled, first, is_unread, .. } = self;
        let (stop_reason, output_chars) = (self.stop_reason, self.output_chars);
        // A stream that stopped before its first word may well have been billed.
        let was_billed = started || ended == Ended::Cut;
        let estimated = was_billed && !settled;
        if estimated {
            let seen = text::tokens(output_chars);
            tally.output = Some(tally.output.unwrap_or(0).max(seen));
            tally.input = tally.input.or(Some(text::tokens(request_bytes)));
        }
        let hides_usage = is_unread || (estimated && ended == Ended::Complete);
        let usage = Usage { estimated, ..tally.into_usage() };
        Reading {
            usage,
            model,
            ended,
            told,
            started,
            first,
            hides_usage,
            stop_reason,
            output_chars,
        }
    }
}

/// Whether an event says nothing that a model has made, so that an error may still follow.
fn is_empty(event: &Event<'_>, kind: Kind) -> bool {
    let has_data = !event.data.trim_ascii().is_empty() || event.dropped > 0;
    match kind {
        Kind::Ping => true,
        Kind::Other => !has_data,
        Kind::Unnamed => event.dropped == 0 && (!has_data || is_empty_chunk(event.data)),
        _ => false,
    }
}

/// Whether `key` (in its quotes) has a value other than null.
fn has_value(data: &[u8], key: &str) -> bool {
    memmem::find_iter(data, key.as_bytes()).any(|at| {
        let value = data[at + key.len()..].trim_ascii_start().strip_prefix(b":");
        value.is_some_and(|value| !value.trim_ascii_start().starts_with(b"null"))
    })
}

/// Whether bytes may be the beginning of an event.
fn begins_like_a_stream(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    ["event", "data", "id", "retry", ":"].iter().any(|field| {
        let field = field.as_bytes();
        bytes.starts_with(field) || field.starts_with(bytes)
    })
}
