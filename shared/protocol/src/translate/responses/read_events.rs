//! Reads the events of a streamed response (developers.openai.com, "Streaming events", 2026-11).
//!
//! Items come one after the other. If a server interleaves them, the first one is passed on as it
//! arrives, and the others when they end, since the event that ends an item has all of it.

use super::read_response::{OutputReader, ResponseEnd, call_arguments, close_thinking};
use crate::meter::is_void_error;
use crate::sse::SseEvent;
use crate::translate::json_reader::{ObjectReader, parse_document};
use crate::translate::neutral_response::{PartStart, ReadProgress, ResponseStep};
use crate::translate::surrogates::SurrogateJoiner;

/// The bytes that a waiting item counts for, however short it is.
const ITEM_BYTES: usize = 64;

/// Reads one stream.
#[derive(Debug, Default)]
pub(in crate::translate) struct ResponsesReader {
    output: OutputReader,
    is_started: bool,
    open_item: Option<OpenItem>,
    /// Items that ended while another one was open, as JSON.
    waiting_items: Vec<String>,
    held_bytes: usize,
    surrogates: SurrogateJoiner,
}

/// The item that is passed on as it arrives.
#[derive(Debug)]
struct OpenItem {
    index: u64,
    kind: ItemKind,
    /// The open part, and its number in the item. A call has one part.
    open_part: Option<(DeltaKind, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ItemKind {
    Message,
    Reasoning,
    Call,
}

/// What a delta continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeltaKind {
    Text,
    Refusal,
    /// The summary of the reasoning.
    Summary,
    /// The reasoning itself, which only open-weight models send.
    ReasoningText,
    Arguments,
}

impl DeltaKind {
    fn from_event(kind: &str) -> Option<Self> {
        Some(match kind {
            "response.output_text.delta" => Self::Text,
            "response.refusal.delta" => Self::Refusal,
            "response.reasoning_summary_text.delta" => Self::Summary,
            "response.reasoning_text.delta" => Self::ReasoningText,
            "response.function_call_arguments.delta" => Self::Arguments,
            _ => return None,
        })
    }

    fn item_kind(self) -> ItemKind {
        match self {
            Self::Text | Self::Refusal => ItemKind::Message,
            Self::Summary | Self::ReasoningText => ItemKind::Reasoning,
            Self::Arguments => ItemKind::Call,
        }
    }

    /// The field with the number of the part in its item.
    fn number_field(self) -> &'static str {
        match self {
            Self::Summary => "summary_index",
            Self::Text | Self::Refusal | Self::ReasoningText | Self::Arguments => "content_index",
        }
    }
}

impl ResponsesReader {
    /// A reader of an answer of the upstream's model `model`.
    pub(in crate::translate) fn new(model: &str) -> Self {
        Self { output: OutputReader::new(model), ..Self::default() }
    }

    /// The bytes of items that wait for their turn.
    pub(in crate::translate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Reads an event. Events of the upstream's own tools, and those that repeat what deltas said,
    /// are skipped.
    pub(in crate::translate) fn read_event(
        &mut self,
        event: &SseEvent<'_>,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) -> ReadProgress {
        let data = event.data.trim_ascii();
        // Gateways send texts to keep a connection open, and some `[DONE]` after the last event.
        if !data.starts_with(b"{") && !data.starts_with(b"[{") {
            return ReadProgress::Open;
        }
        let document = parse_document(data).ok();
        let fields =
            document.as_ref().and_then(|document| ObjectReader::from_value(document.root()));
        let failed = || ReadProgress::Failed(event.data.to_vec());
        let Some(mut fields) = fields else { return failed() };
        let kind = fields
            .take_text("type")
            .unwrap_or_else(|| String::from_utf8_lossy(event.name).into_owned());
        if let Some(delta) = DeltaKind::from_event(&kind) {
            self.start(None, emit_step);
            self.read_delta(delta, &mut fields, emit_step);
            return ReadProgress::Open;
        }
        let mut response = fields.take_object("response");
        match kind.as_str() {
            "error" | "response.failed" | "response.cancelled" => return failed(),
            "response.completed" | "response.incomplete" => {
                let mut response = response.unwrap_or_default();
                let end = ResponseEnd::take(&mut response);
                if end == ResponseEnd::Failed {
                    return failed();
                }
                let is_incomplete = end == ResponseEnd::Incomplete || kind == "response.incomplete";
                self.start(response.take_id(), emit_step);
                self.finish(&mut response, is_incomplete, emit_step);
                return ReadProgress::Done;
            }
            "response.output_item.added" => {
                self.start(None, emit_step);
                self.open_item(&mut fields, emit_step);
            }
            "response.output_item.done" => {
                self.start(None, emit_step);
                self.close_item(&mut fields, emit_step);
            }
            "keepalive" | "ping" => emit_step(ResponseStep::Ping),
            _ if fields.take_value("error").is_some_and(|error| !is_void_error(error)) => {
                return failed();
            }
            _ => {
                if let Some(response) = &mut response {
                    self.start(response.take_id(), emit_step);
                }
            }
        }
        ReadProgress::Open
    }

    fn start(&mut self, id: Option<String>, emit_step: &mut impl FnMut(ResponseStep<'_>)) {
        if !std::mem::replace(&mut self.is_started, true) {
            emit_step(ResponseStep::Start { id });
        }
    }

    /// Opens an item if no other is open. A call begins at once. Other items begin with their first
    /// text, because reasoning often has none.
    fn open_item(
        &mut self,
        fields: &mut ObjectReader<'_>,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) {
        if self.open_item.is_some() {
            return;
        }
        let index = fields.take_number("output_index").unwrap_or_default();
        let Some(mut item) = fields.take_object("item") else { return };
        let kind = match item.take_text("type").as_deref() {
            Some("message") => ItemKind::Message,
            Some("reasoning") => ItemKind::Reasoning,
            Some("function_call") if self.output.open_call(&mut item, emit_step) => ItemKind::Call,
            _ => return,
        };
        self.open_item = Some(OpenItem { index, kind, open_part: None });
    }

    /// Reads a delta of the open item.
    fn read_delta(
        &mut self,
        delta: DeltaKind,
        fields: &mut ObjectReader<'_>,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) {
        let index = fields.take_number("output_index").unwrap_or_default();
        let number = fields.take_number(delta.number_field()).unwrap_or_default();
        let block = (index, number);
        let Some(text) = fields.take_delta("delta", &mut self.surrogates, block) else { return };
        let Some(item) = &mut self.open_item else { return };
        if item.index != index || item.kind != delta.item_kind() {
            return;
        }
        if item.open_part != Some((delta, number)) {
            match (delta, item.open_part) {
                (DeltaKind::Text | DeltaKind::Refusal, open_part) => {
                    if open_part.is_some() {
                        emit_step(ResponseStep::Close);
                    }
                    self.output.is_refused |= delta == DeltaKind::Refusal;
                    let is_text = delta == DeltaKind::Text;
                    let start = if is_text { PartStart::Text } else { PartStart::Refusal };
                    self.output.open_part(start, emit_step);
                }
                (DeltaKind::Summary | DeltaKind::ReasoningText, None) => {
                    self.output.open_part(PartStart::Thinking, emit_step);
                }
                (DeltaKind::Summary | DeltaKind::ReasoningText, Some((first, _))) => {
                    // The item's other text says the same in other words.
                    if first != delta {
                        return;
                    }
                    emit_step(ResponseStep::Delta("\n\n"));
                }
                (DeltaKind::Arguments, _) => {}
            }
            item.open_part = Some((delta, number));
        }
        emit_step(ResponseStep::Delta(&text));
    }

    /// Ends the item of the event. Another one than the open item waits for it.
    fn close_item(
        &mut self,
        fields: &mut ObjectReader<'_>,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) {
        let index = fields.take_number("output_index").unwrap_or_default();
        let Some(value) = fields.take_value("item") else { return };
        match self.open_item.take_if(|open_item| open_item.index == index) {
            Some(open_item) => {
                let item = ObjectReader::from_value(value).unwrap_or_default();
                self.end_item(&open_item, item, emit_step);
            }
            None if self.open_item.is_some() => {
                self.held_bytes += ITEM_BYTES + value.raw().len();
                self.waiting_items.push(value.raw().to_owned());
            }
            None => {
                if let Some(item) = ObjectReader::from_value(value) {
                    self.output.read_item(item, emit_step);
                }
            }
        }
        if self.open_item.is_none() {
            self.read_waiting_items(emit_step);
        }
    }

    /// Ends the item that was open. `item` is all of it, or empty if the answer was cut.
    fn end_item(
        &mut self,
        open_item: &OpenItem,
        mut item: ObjectReader<'_>,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) {
        match (open_item.kind, open_item.open_part) {
            (ItemKind::Call, open_part) => {
                if open_part.is_none() {
                    emit_step(ResponseStep::Delta(&call_arguments(&mut item)));
                }
                emit_step(ResponseStep::Close);
            }
            // The server sent no deltas.
            (ItemKind::Message | ItemKind::Reasoning, None) => {
                self.output.read_item(item, emit_step);
            }
            (ItemKind::Message, Some(_)) => emit_step(ResponseStep::Close),
            (ItemKind::Reasoning, Some(_)) => {
                close_thinking(self.output.signature(&mut item), emit_step);
            }
        }
    }

    fn read_waiting_items(&mut self, emit_step: &mut impl FnMut(ResponseStep<'_>)) {
        for json in std::mem::take(&mut self.waiting_items) {
            let document = parse_document(json.as_bytes()).ok();
            let item =
                document.as_ref().and_then(|document| ObjectReader::from_value(document.root()));
            if let Some(item) = item {
                self.output.read_item(item, emit_step);
            }
        }
    }

    /// Ends the answer. A server that sent no items has them in its last event.
    fn finish(
        &mut self,
        response: &mut ObjectReader<'_>,
        is_incomplete: bool,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) {
        if let Some(open_item) = self.open_item.take() {
            self.end_item(&open_item, ObjectReader::default(), emit_step);
        }
        self.read_waiting_items(emit_step);
        if !self.output.has_parts {
            self.output.read_items(response, emit_step);
        }
        self.output.finish(response, is_incomplete, emit_step);
    }
}

#[cfg(test)]
mod tests {
    use crate::translate::{ClientProtocol, ProtocolPair, TranslationOptions, UpstreamProtocol};

    #[test]
    fn the_status_decides_how_a_response_has_ended() {
        let body = br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
        let pair =
            ProtocolPair::between(ClientProtocol::AnthropicMessages, UpstreamProtocol::Responses);
        for (name, response, expected) in [
            ("response.completed", r#""status":"completed""#, "end_turn"),
            ("response.completed", r#""status":"completed","error":{}"#, "end_turn"),
            ("response.completed", r#""x":1"#, "end_turn"),
            ("response.completed", r#""status":"incomplete""#, "max_tokens"),
            ("response.incomplete", r#""status":"incomplete""#, "max_tokens"),
            ("response.incomplete", r#""x":1"#, "max_tokens"),
            ("response.completed", r#""status":"failed","error":{"message":"m"}"#, "event: error"),
            ("response.completed", r#""status":"failed""#, "event: error"),
            ("response.completed", r#""status":"cancelled""#, "event: error"),
            ("response.completed", r#""error":{"code":"server_error"}"#, "event: error"),
        ] {
            let options = TranslationOptions::new("m", "req_1");
            let request = pair.unwrap().translate_request(body, &options).unwrap();
            let mut stream = request.context.stream_translator();
            let text = r#"{"type":"message","content":[{"type":"output_text","text":"half"}]}"#;
            let mut out = Vec::new();
            stream.push(
                format!(
                    "event: response.output_item.done\ndata: {{\"type\":\"response.output_item.done\",\"item\":{text}}}\n\n\
                     event: {name}\ndata: {{\"type\":\"{name}\",\"response\":{{{response}}}}}\n\n"
                )
                .as_bytes(),
                &mut out,
            );
            let out = String::from_utf8(out).unwrap();
            assert!(out.contains(expected), "{name} {response}: {out}");
        }
    }

    /// The end repeats what has been translated. One that is too long to be held is known by its name.
    #[test]
    fn end_that_is_too_long_ends_the_translation() {
        let body = br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
        let pair =
            ProtocolPair::between(ClientProtocol::AnthropicMessages, UpstreamProtocol::Responses);
        let item = r#"data: {"type":"response.output_item.done","item":{"type":"message","content":[{"type":"output_text","text":"half"}]}}"#;
        for (kind, item, expected) in [
            ("completed", item, "\"end_turn\""),
            ("incomplete", item, "\"max_tokens\""),
            ("failed", item, "event: error"),
            ("completed", ": nothing", "event: error"),
        ] {
            let options = TranslationOptions::new("m", "req_1");
            let request = pair.unwrap().translate_request(body, &options).unwrap();
            let mut stream = request.context.stream_translator();
            let mut out = Vec::new();
            let start = format!("data: {{\"type\":\"response.{kind}\",\"response\":{{\"x\":\"");
            stream.push(format!("{item}\n\n{start}").as_bytes(), &mut out);
            let text = "x".repeat(9 << 20);
            text.as_bytes().chunks(1 << 20).for_each(|piece| stream.push(piece, &mut out));
            stream.push(b"\"}}\n\n", &mut out);
            let out = String::from_utf8(out).unwrap();
            assert!(out.contains(expected), "{kind}: {out}");
            assert_eq!(out.contains("message_stop"), expected != "event: error", "{kind}: {out}");
        }
    }
}
