//! A stream, put in the client's words event by event, however it is cut.

use super::answer::{Opening, Progress, Step};
use super::error::Fault;
use super::{Asked, Client, Speaks, chat, messages, responses};
use crate::json::is_json;
use crate::sse::{Decoder, Event};

/// The most that is kept of one stream: text that a last event repeats, arguments that wait for
/// their end, and some bytes for each part. 128,000 tokens are about half a megabyte.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What a part counts for, however short it is.
const PART_BYTES: usize = 256;

/// Translates one stream. What it writes is whole events.
#[derive(Debug)]
pub struct Stream {
    decoder: Decoder,
    turn: Turn,
}

/// Reader, writer and how far they are.
#[derive(Debug)]
struct Turn {
    asked: Asked,
    reader: Reader,
    writer: Writer,
    is_over: bool,
    is_begun: bool,
    kept: Kept,
}

/// How much is kept.
#[derive(Debug)]
struct Kept {
    bytes: usize,
    /// The writer repeats all of the answer at its end.
    keeps_text: bool,
    is_call: bool,
}

impl Kept {
    fn add(&mut self, step: &Step<'_>) {
        self.bytes += match step {
            Step::Open(opening) => {
                self.is_call = matches!(opening, Opening::Call { .. });
                PART_BYTES
                    + match opening {
                        Opening::Redacted(data) if self.keeps_text => data.len(),
                        Opening::Call { id, name } => id.len() + name.len(),
                        Opening::Text | Opening::Thinking | Opening::Redacted(_) => 0,
                    }
            }
            Step::Delta(text) if self.keeps_text || self.is_call => text.len(),
            Step::Signature(text) if self.keeps_text => text.len(),
            _ => 0,
        };
    }
}

#[derive(Debug)]
enum Reader {
    Messages(messages::answer_in::Reader),
    Chat(chat::answer_in::Reader),
}

impl Reader {
    fn held_bytes(&self) -> usize {
        match self {
            Self::Messages(_) => 0,
            Self::Chat(reader) => reader.held_bytes(),
        }
    }
}

#[derive(Debug)]
enum Writer {
    Messages(messages::answer_out::Writer),
    Chat(chat::answer_out::Writer),
    Responses(responses::events::Writer),
}

impl Writer {
    fn step(&mut self, asked: &Asked, step: &Step<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Messages(writer) => writer.step(asked, step, out),
            Self::Chat(writer) => writer.step(asked, step, out),
            Self::Responses(writer) => writer.step(asked, step, out),
        }
    }

    fn end(&mut self, asked: &Asked, out: &mut Vec<u8>) {
        match self {
            Self::Messages(writer) => writer.end(asked, out),
            Self::Chat(writer) => writer.end(asked, out),
            Self::Responses(writer) => writer.end(asked, out),
        }
    }
}

impl Stream {
    pub(super) fn new(asked: Asked) -> Self {
        let reader = match asked.translation.upstream {
            Speaks::Messages => Reader::Messages(messages::answer_in::Reader::default()),
            Speaks::Chat => Reader::Chat(chat::answer_in::Reader::default()),
        };
        let writer = match asked.translation.client {
            Client::Messages => Writer::Messages(messages::answer_out::Writer::default()),
            Client::Chat => Writer::Chat(chat::answer_out::Writer::default()),
            Client::Responses => Writer::Responses(responses::events::Writer::default()),
        };
        let keeps_text = matches!(writer, Writer::Responses(_));
        let kept = Kept { bytes: 0, keeps_text, is_call: false };
        let turn = Turn { asked, reader, writer, is_over: false, is_begun: false, kept };
        Self { decoder: Decoder::new(), turn }
    }

    /// Takes the upstream's next bytes, decoded of any content encoding, and appends to `out`
    /// what they say to the client. An error that the upstream tells is told too, and ends it.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        self.decoder.push(chunk, |event| self.turn.event(&event, out));
    }

    /// How much memory is kept: the unfinished event, texts that the last event repeats, arguments of
    /// calls.
    pub fn held_bytes(&self) -> usize {
        self.decoder.held_bytes() + self.turn.kept.bytes.max(self.turn.reader.held_bytes())
    }

    /// Whether the client has been told that its answer is over, well or with an error.
    pub fn is_over(&self) -> bool {
        self.turn.is_over
    }

    /// The upstream's bytes are over. Whether the client knows: if the stream broke off it does
    /// not, and [`Self::fail`] must tell it. A last event whose blank line is missing counts.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> bool {
        let decoder = std::mem::take(&mut self.decoder);
        decoder.finish(|event| {
            let data = event.data.trim_ascii();
            let is_whole = is_json(data);
            if is_whole || data == b"[DONE]" {
                self.turn.event(&event, out);
            }
        });
        self.turn.stopped(out);
        self.turn.is_over
    }

    /// Tells an error of ours as the stream's end: `kind` as the contract lists them, `message` a
    /// whole sentence. Does nothing when the stream is over.
    pub fn fail(&mut self, kind: &str, message: &str, out: &mut Vec<u8>) {
        if !self.turn.is_over {
            self.turn.fail(&Fault::own(kind, message), out);
        }
    }
}

impl Turn {
    fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        if self.is_over {
            return;
        }
        if event.dropped > 0 {
            return self
                .fail(&Fault::own("api_error", "The upstream sent too long an event."), out);
        }
        let Self { asked, reader, writer, is_begun, kept, .. } = self;
        let mut say = |step: Step<'_>| {
            kept.add(&step);
            // Nothing is kept beyond the bound; the stream ends below.
            if kept.bytes > KEPT_BYTES_MAX {
                return;
            }
            *is_begun |= matches!(step, Step::Start { .. });
            // A ping may come first; nothing else may.
            if *is_begun || step == Step::Ping {
                writer.step(asked, &step, out);
            }
        };
        let progress = match reader {
            Reader::Messages(reader) => reader.event(event, &mut say),
            Reader::Chat(reader) => reader.event(event, &mut say),
        };
        if self.kept.bytes.max(self.reader.held_bytes()) > KEPT_BYTES_MAX {
            let message =
                "The answer is too long to be put into the words of this API; ask for less.";
            return self.fail(&Fault::own("api_error", message), out);
        }
        match progress {
            Progress::Open => {}
            Progress::Done => self.end(out),
            Progress::Failed(data) => self.fail(&Fault::read(None, &data), out),
        }
    }

    fn stopped(&mut self, out: &mut Vec<u8>) {
        if let (false, Reader::Chat(reader)) = (self.is_over, &mut self.reader) {
            let finished = reader.stopped(&mut |step| self.writer.step(&self.asked, &step, out));
            if finished {
                self.end(out);
            }
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if self.is_begun {
            self.writer.end(&self.asked, out);
            self.is_over = true;
        } else {
            self.fail(&Fault::own("api_error", "The upstream ended without an answer."), out);
        }
    }

    fn fail(&mut self, fault: &Fault, out: &mut Vec<u8>) {
        match &mut self.writer {
            Writer::Responses(writer) => writer.fail(&self.asked, fault, out),
            Writer::Messages(_) | Writer::Chat(_) => {
                fault.event(self.asked.translation.client, &self.asked.id, out);
            }
        }
        self.is_over = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translate::{Options, Translation};

    fn stream(client: Client, upstream: Speaks, body: &[u8]) -> Stream {
        let translation = Translation::between(client, upstream).unwrap();
        translation.request(body, &Options::new("m", "req_1")).unwrap().asked.stream()
    }

    /// What a client is told of `events` and how much of the upstream was read for it.
    fn told(mut stream: Stream, events: impl Iterator<Item = String>) -> (String, usize) {
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
    fn what_is_kept_of_a_stream_is_bounded_and_ends_with_an_error() {
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
        let (said, read) = told(stream(Client::Responses, Speaks::Messages, RESPONSES), endless);
        assert!(said.contains("response.failed"), "{}", &said[..200]);
        assert!(read < 5_000_000, "{read}");

        let close = event(r#"{"type":"content_block_stop","index":0}"#);
        let part = [open(r#"{"type":"text","text":""}"#), close].concat();
        let parts = std::iter::once(start).chain(std::iter::repeat_n(part, 100_000));
        let (said, _) = told(stream(Client::Responses, Speaks::Messages, RESPONSES), parts);
        assert!(said.contains("response.failed"));

        let call = |index: usize| {
            event(&format!(
                r#"{{"id":"c","choices":[{{"index":0,"delta":{{"tool_calls":[{{"index":{index},"id":"call_{index}","function":{{"name":"f","arguments":"{{ {long}"}}}}]}}}}]}}"#
            ))
        };
        for client in [Client::Messages, Client::Responses] {
            let body = if matches!(client, Client::Messages) { MESSAGES } else { RESPONSES };
            let one = std::iter::repeat_n(call(0), 200);
            let (_, read) = told(stream(client, Speaks::Chat, body), one);
            assert!(read < 6_000_000, "one call: {read}");
            let (_, read) = told(stream(client, Speaks::Chat, body), (0..200).map(call));
            assert!(read < 6_000_000, "many calls: {read}");
        }
    }

    #[test]
    fn text_that_is_not_kept_has_no_end() {
        let chunk = |text: &str| {
            event(&format!(
                r#"{{"id":"c","choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}"#
            ))
        };
        let body = br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
        let mut stream = stream(Client::Messages, Speaks::Chat, body);
        let mut out = Vec::new();
        for _ in 0..200 {
            out.clear();
            stream.push(chunk(&"x".repeat(50_000)).as_bytes(), &mut out);
        }
        assert!(!stream.is_over());
    }
}
