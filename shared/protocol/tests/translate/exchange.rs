//! The exchanges under `tests/fixtures/translate`, and their translation.

use baton_domain::account::Provider;
use baton_domain::model_capabilities::{EffortLevels, ModelCapabilities};
use baton_protocol::translate::{
    ClientProtocol, ProtocolPair, ResponseContext, TranslatedRequest, TranslationError,
    TranslationOptions, UpstreamProtocol,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// One exchange: a client's request and an upstream's answer.
#[derive(Debug, Deserialize)]
pub(crate) struct Exchange {
    #[serde(skip)]
    pub(crate) name: String,
    client: String,
    upstream: String,
    pub(crate) note: String,
    #[serde(default)]
    options: Overrides,
    ask: Option<Box<RawValue>>,
    ask_fixture: Option<String>,
    /// A whole answer: JSON, or a string with other text.
    pub(crate) answer: Option<Box<RawValue>>,
    /// A stream: the data of each event.
    stream: Option<Vec<Box<RawValue>>>,
    stream_fixture: Option<String>,
    pub(crate) error: Option<UpstreamError>,
}

#[derive(Debug, Default, Deserialize)]
struct Overrides {
    model: Option<String>,
    max_tokens: Option<String>,
    output_tokens_max: Option<u64>,
    takes_effort: Option<bool>,
    takes_reasoning: Option<bool>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct UpstreamError {
    pub(crate) status: u16,
    pub(crate) body: Box<RawValue>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

/// All exchanges, sorted by name.
pub(crate) fn all() -> Vec<Exchange> {
    let files = std::fs::read_dir(fixtures().join("translate")).unwrap();
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|it| it == "json"));
    paths.sort();
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        let mut exchange: Exchange =
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        path.file_stem().unwrap().to_str().unwrap().clone_into(&mut exchange.name);
        exchange
    };
    paths.iter().map(read).collect()
}

/// The text of a JSON string, or other JSON unchanged.
pub(crate) fn plain(raw: &RawValue) -> String {
    serde_json::from_str(raw.get()).unwrap_or_else(|_| raw.get().to_owned())
}

/// JSON on one line, as it is sent.
pub(crate) fn compact(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let keep = |c: &char| {
        if in_string {
            in_string = escaped || *c != '"';
            escaped = !escaped && *c == '\\';
            return true;
        }
        in_string = *c == '"';
        !c.is_whitespace()
    };
    json.chars().filter(keep).collect()
}

impl Exchange {
    fn options(&self) -> TranslationOptions<'_> {
        let model = self.options.model.as_deref().unwrap_or("gpt-upstream");
        let mut options = TranslationOptions {
            created: 1_795_000_000,
            ..TranslationOptions::new(model, "req_1")
        };
        let provider = match self.upstream.as_str() {
            "messages" => Provider::Anthropic,
            _ => Provider::OpenaiCompatible,
        };
        let mut capabilities = ModelCapabilities::of(provider, model, "");
        if self.options.max_tokens.as_deref() == Some("completion") {
            capabilities.names_completion_tokens = true;
        }
        let max = self.options.output_tokens_max;
        capabilities.output_tokens_max = max.or(capabilities.output_tokens_max);
        if self.options.takes_effort == Some(false) {
            capabilities.efforts = EffortLevels::EMPTY;
        }
        options.capabilities = Some(capabilities);
        options.takes_reasoning = self.options.takes_reasoning.unwrap_or(options.takes_reasoning);
        options
    }

    pub(crate) fn request_body(&self) -> String {
        match (&self.ask, &self.ask_fixture) {
            (Some(ask), None) => ask.get().to_owned(),
            (None, Some(file)) => {
                #[derive(Deserialize)]
                struct Recorded {
                    body: Box<RawValue>,
                }
                let text = std::fs::read_to_string(fixtures().join(file)).unwrap();
                serde_json::from_str::<Recorded>(&text).unwrap().body.get().to_owned()
            }
            other => panic!("{}: {other:?}", self.name),
        }
    }

    pub(crate) fn request(&self) -> Result<TranslatedRequest, TranslationError> {
        let client = match self.client.as_str() {
            "messages" => ClientProtocol::AnthropicMessages,
            "chat" => ClientProtocol::OpenaiChat,
            "responses" => ClientProtocol::OpenaiResponses,
            other => panic!("{other}"),
        };
        let speaks = match self.upstream.as_str() {
            "chat" => UpstreamProtocol::Chat,
            "messages" => UpstreamProtocol::Messages,
            "responses" => UpstreamProtocol::Responses,
            other => panic!("{other}"),
        };
        let translation = ProtocolPair::between(client, speaks).unwrap();
        translation.translate_request(self.request_body().as_bytes(), &self.options())
    }

    pub(crate) fn is_to_responses(&self) -> bool {
        self.upstream == "responses"
    }

    /// Whether the upstream's events have names.
    fn has_named_events(&self) -> bool {
        self.upstream != "chat"
    }

    /// The bytes of the upstream's stream.
    pub(crate) fn stream_bytes(&self) -> Option<Vec<u8>> {
        if let Some(file) = &self.stream_fixture {
            return Some(std::fs::read(fixtures().join(file)).unwrap());
        }
        let mut bytes = String::new();
        for data in self.stream.as_ref()? {
            let data = plain(data);
            let data = if data.starts_with('{') { compact(&data) } else { data };
            let kind = serde_json::from_str::<serde_json::Value>(&data).unwrap_or_default();
            if let (true, Some(kind)) = (self.has_named_events(), kind["type"].as_str()) {
                writeln!(bytes, "event: {kind}").unwrap();
            }
            write!(bytes, "data: {data}\n\n").unwrap();
        }
        Some(bytes.into_bytes())
    }
}

/// The translated stream, and whether the client has received its end.
pub(crate) fn streamed(context: &ResponseContext, chunks: &[&[u8]]) -> (String, bool) {
    let (mut stream, mut out) = (context.stream_translator(), Vec::new());
    for chunk in chunks {
        stream.push(chunk, &mut out);
    }
    let has_reported_end = stream.finish(&mut out);
    (String::from_utf8(out).unwrap(), has_reported_end)
}
