//! A stream, put in the client's words event by event, however it is cut.

use super::answer::{Progress, Step};
use super::error::Fault;
use super::{Asked, Client, Speaks, chat, messages, responses};
use crate::json::is_json;
use crate::sse::{Decoder, Event};

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
}

#[derive(Debug)]
enum Reader {
    Messages(messages::answer_in::Reader),
    Chat(chat::answer_in::Reader),
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
        let turn = Turn { asked, reader, writer, is_over: false, is_begun: false };
        Self { decoder: Decoder::new(), turn }
    }

    /// Takes the upstream's next bytes, decoded of any content encoding, and appends to `out`
    /// what they say to the client. An error that the upstream tells is told too, and ends it.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        self.decoder.push(chunk, |event| self.turn.event(&event, out));
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
        let Self { asked, reader, writer, is_begun, .. } = self;
        let mut say = |step: Step<'_>| {
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
