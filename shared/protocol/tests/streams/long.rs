//! Long streams as the relay processes them: one event in each chunk, metered and translated to
//! another protocol or form. The callers decide what to measure.

use baton_protocol::bedrock::{FramesToSse, SseToFrames};
use baton_protocol::meter::UsageMeter;
use baton_protocol::translate::{
    ClientProtocol, ProtocolPair, ResponseContext, StreamTranslator, TranslationOptions,
    UpstreamProtocol,
};

/// The text of a chunk.
pub(crate) const WORD: &str = "word ";

/// A client and an upstream.
pub(crate) struct Pair {
    /// The name in tables.
    pub(crate) name: &'static str,
    context: Option<ResponseContext>,
    upstream: UpstreamProtocol,
    /// Whether the upstream sends frames.
    deframes: bool,
    /// Whether the client receives frames.
    frames: bool,
}

impl Pair {
    /// Pass-through first, then all conversions.
    pub(crate) fn all() -> Vec<Self> {
        use ClientProtocol::{
            AnthropicMessages as Messages, OpenaiChat as Chat, OpenaiResponses as Responses,
        };
        let pair = |name, client, upstream| Self::new(name, client, upstream);
        vec![
            pair("Messages as they are", Messages, UpstreamProtocol::Messages),
            pair("Chat as it is", Chat, UpstreamProtocol::Chat),
            pair("Messages from Chat", Messages, UpstreamProtocol::Chat),
            pair("Chat from Messages", Chat, UpstreamProtocol::Messages),
            pair("Responses from Messages", Responses, UpstreamProtocol::Messages),
            pair("Responses from Chat", Responses, UpstreamProtocol::Chat),
            pair("Messages from Responses", Messages, UpstreamProtocol::Responses),
            pair("Chat from Responses", Chat, UpstreamProtocol::Responses),
            Self {
                deframes: true,
                ..pair("Messages from Bedrock", Messages, UpstreamProtocol::Messages)
            },
            Self { deframes: true, ..pair("Chat from Bedrock", Chat, UpstreamProtocol::Messages) },
            Self {
                frames: true,
                ..pair("Bedrock from Messages", Messages, UpstreamProtocol::Messages)
            },
            Self { frames: true, ..pair("Bedrock from Chat", Messages, UpstreamProtocol::Chat) },
        ]
    }

    fn new(name: &'static str, client: ClientProtocol, upstream: UpstreamProtocol) -> Self {
        let body = match client {
            ClientProtocol::OpenaiResponses => r#"{"model":"m","input":"hi","stream":true}"#,
            ClientProtocol::AnthropicMessages
            | ClientProtocol::OpenaiChat
            | ClientProtocol::BedrockInvokeModel => {
                r#"{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"hi"}]}"#
            }
        };
        let translation = ProtocolPair::between(client, upstream);
        let context = translation.map(|translation| {
            translation
                .translate_request(body.as_bytes(), &TranslationOptions::new("m", "req_1"))
                .unwrap()
                .context
        });
        Self { name, context, upstream, deframes: false, frames: false }
    }

    /// The upstream's events: those at the beginning, and the one that is repeated.
    fn events(&self) -> (Vec<Vec<u8>>, Vec<u8>) {
        let sse = |json: &str| format!("data: {json}\n\n").into_bytes();
        let (begin, delta) = match self.upstream {
            UpstreamProtocol::Messages => (
                vec![
                    sse(
                        r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"usage":{"input_tokens":9,"output_tokens":1}}}"#,
                    ),
                    sse(
                        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
                    ),
                ],
                sse(&format!(
                    r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{WORD}"}}}}"#
                )),
            ),
            UpstreamProtocol::Chat => (
                vec![sse(
                    r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
                )],
                sse(&format!(
                    r#"{{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{{"content":"{WORD}"}},"finish_reason":null}}]}}"#
                )),
            ),
            UpstreamProtocol::Responses => (
                vec![
                    sse(
                        r#"{"type":"response.created","sequence_number":0,"response":{"id":"resp_1","object":"response","status":"in_progress","model":"m","output":[]}}"#,
                    ),
                    sse(
                        r#"{"type":"response.output_item.added","sequence_number":1,"output_index":0,"item":{"id":"msg_1","type":"message","status":"in_progress","role":"assistant","content":[]}}"#,
                    ),
                ],
                sse(&format!(
                    r#"{{"type":"response.output_text.delta","sequence_number":2,"item_id":"msg_1","output_index":0,"content_index":0,"delta":"{WORD}","logprobs":[],"obfuscation":"abcdefgh"}}"#
                )),
            ),
        };
        if !self.deframes {
            return (begin, delta);
        }
        let framed = |event: &Vec<u8>| SseToFrames::default().push(event).to_vec();
        (begin.iter().map(framed).collect(), framed(&delta))
    }

    /// Processes `events` events of text. Returns the number of bytes for the client.
    pub(crate) fn run(&self, events: usize) -> usize {
        let (begin, delta) = self.events();
        let mut line = Line {
            meter: UsageMeter::for_stream(),
            deframer: self.deframes.then(FramesToSse::default),
            stream: self.context.as_ref().map(ResponseContext::stream_translator),
            frame: self.frames.then(SseToFrames::default),
        };
        let first: usize = begin.iter().map(|event| line.take(event)).sum();
        first + (0..events).map(|_| line.take(&delta)).sum::<usize>()
    }
}

/// The steps that a chunk passes through.
struct Line {
    meter: UsageMeter,
    deframer: Option<FramesToSse>,
    stream: Option<StreamTranslator>,
    frame: Option<SseToFrames>,
}

impl Line {
    fn take(&mut self, chunk: &[u8]) -> usize {
        let unframed = self.deframer.as_mut().map(|frames| frames.push(chunk).unwrap());
        let chunk = unframed.as_deref().unwrap_or(chunk);
        self.meter.observe(chunk);
        let mut texts = Vec::new();
        let chunk = match &mut self.stream {
            Some(stream) => {
                stream.push(chunk, &mut texts);
                &texts
            }
            None => chunk,
        };
        self.frame.as_mut().map_or(chunk.len(), |frame| frame.push(chunk).len())
    }
}
