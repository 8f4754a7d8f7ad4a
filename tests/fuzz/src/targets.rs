//! What must hold for any bytes. The fuzzer calls these; so does `shared/protocol/tests/seeds.rs`, on
//! the fixtures and on every input that once broke something.

use baton_domain::price::PriceTable;
use baton_protocol::bedrock;
use baton_protocol::conversation_hash::session_seed;
use baton_protocol::envelope::{Envelope, EnvelopeError, replace_model};
use baton_protocol::meter::{MeterReading, UsageMeter};
use baton_protocol::model_path::{decode_id, filter_models_query};
use baton_protocol::route::{RelayRoute, resolve_route};
use baton_protocol::sse::SseDecoder;
use baton_protocol::translate::{
    ClientProtocol, ProtocolPair, ResponseContext, TranslationOptions, UpstreamProtocol,
};
use baton_protocol::usage_chunk::ask_for_usage;
use bytes::Bytes;
use serde_json::Value;

/// Cuts that the input itself decides, so that the fuzzer can find the bad ones.
fn cut(input: &[u8]) -> Vec<&[u8]> {
    let mut chunks = Vec::new();
    let mut rest = input;
    while let Some(first) = rest.first() {
        let size = usize::from(first % 13) + 1;
        let (chunk, tail) = rest.split_at(size.min(rest.len()));
        chunks.push(chunk);
        rest = tail;
    }
    chunks
}

/// A stream's events do not depend on how it is cut.
pub(crate) fn sse(input: &[u8]) {
    assert_eq!(events(&[input]), events(&cut(input)));
}

fn events(chunks: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>, usize)> {
    let mut events = Vec::new();
    let mut decoder = SseDecoder::new();
    for chunk in chunks {
        decoder.push(chunk, |event| {
            events.push((event.name.to_vec(), event.data.to_vec(), event.dropped));
        });
    }
    let is_mid_event = decoder.is_mid_event();
    decoder.finish(|event| {
        assert!(is_mid_event);
        events.push((event.name.to_vec(), event.data.to_vec(), event.dropped));
    });
    events
}

/// A reading does not depend on how the answer is cut, and what it says can be priced.
pub(crate) fn meter(input: &[u8]) {
    for new in [UsageMeter::for_stream, UsageMeter::for_whole_body] {
        let reading = read(new(), &[input]);
        assert_eq!(reading, read(new(), &cut(input)));
        let mut listed = baton_domain::usage::TokenCounts::default();
        reading.usage.iterations.iter().for_each(|pass| listed.add_counts(&pass.tokens));
        assert_eq!(listed.minus(&reading.usage.tokens).total(), 0, "a pass is not billed");
        let at = jiff::Timestamp::UNIX_EPOCH;
        let model = reading.model.as_deref().unwrap_or("claude-opus-5-5");
        let cost = PriceTable::builtin().cost(&reading.usage, model, at);
        assert_eq!(
            cost.amount.pico() > 0,
            reading.usage.tokens.total() + reading.usage.web_searches > 0
        );
    }
}

fn read(mut meter: UsageMeter, chunks: &[&[u8]]) -> MeterReading {
    for chunk in chunks {
        meter.observe(chunk);
    }
    meter.finish(1_000)
}

/// An envelope agrees with a full parse, and replacing the model changes nothing else.
pub(crate) fn envelope(input: &[u8]) {
    let full = serde_json::from_slice::<Value>(input).ok();
    match Envelope::parse(input) {
        Ok(envelope) => {
            let body = Bytes::copy_from_slice(input);
            let changed = replace_model(&body, envelope.model_span.clone(), "\"x\"");
            let reread = Envelope::parse(&changed).map(|envelope| envelope.model.into_owned());
            assert_eq!(reread, Ok("\"x\"".to_owned()));
            if let Some(mut full) = full {
                assert_eq!(full["model"], *envelope.model);
                assert_eq!(full["stream"] == true, envelope.stream);
                full["model"] = "\"x\"".into();
                assert_eq!(serde_json::from_slice::<Value>(&changed).ok(), Some(full));
            }
        }
        Err(EnvelopeError::NoBody | EnvelopeError::NotJson { .. }) => assert_eq!(full, None),
        Err(EnvelopeError::NotAnObject) => assert!(full.is_none_or(|full| !full.is_object())),
        Err(EnvelopeError::NoModel) => {
            assert!(full.is_none_or(|full| full["model"] == "" || full.get("model").is_none()));
        }
        Err(EnvelopeError::ModelNotAString) => {
            assert!(full.is_none_or(|full| !full["model"].is_string()));
        }
        // Stricter than a full parse.
        Err(
            EnvelopeError::Twice(_)
            | EnvelopeError::OtherCase { .. }
            | EnvelopeError::OtherType { .. }
            | EnvelopeError::TooDeep
            | EnvelopeError::ManyFields
            | EnvelopeError::ManyContainers,
        ) => {}
    }
}

/// Every pair of dialects that differ, with a request that asks for nothing special.
fn pairs() -> Vec<(ProtocolPair, ResponseContext)> {
    let clients = [
        ClientProtocol::AnthropicMessages,
        ClientProtocol::OpenaiChat,
        ClientProtocol::OpenaiResponses,
    ];
    let pairs = clients.into_iter().flat_map(|client| {
        let upstreams = [UpstreamProtocol::Messages, UpstreamProtocol::Chat];
        upstreams.into_iter().filter_map(move |upstream| ProtocolPair::between(client, upstream))
    });
    let ask = br#"{"model":"m","messages":[],"input":[],"tools":[{"type":"custom","name":"f"}]}"#;
    let options = TranslationOptions::new("claude-opus-5-5", "req_1");
    let asked =
        |pair: ProtocolPair| Some((pair, pair.translate_request(ask, &options).ok()?.context));
    pairs.filter_map(asked).collect()
}

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Value>(bytes).is_ok()
}

/// A request, a whole answer or an error becomes JSON, or is refused.
pub(crate) fn translate(input: &[u8]) {
    let options = TranslationOptions::new("claude-opus-5-5", "req_1");
    for (pair, asked) in pairs() {
        if let Ok(translated) = pair.translate_request(input, &options) {
            assert!(is_json(&translated.body));
        }
        assert!(is_json(&asked.translate_error(500, input)));
        if let Ok(answer) = asked.translate_response(input) {
            assert!(is_json(&answer));
        }
    }
}

/// A translated stream does not depend on how its source is cut, and its events hold JSON.
pub(crate) fn translate_stream(input: &[u8]) {
    for (_, asked) in pairs() {
        let whole = translated(&asked, &[input]);
        assert_eq!(whole, translated(&asked, &cut(input)));
        SseDecoder::new().push(&whole.0, |event| {
            assert!(event.data == b"[DONE]" || is_json(event.data));
        });
    }
}

fn translated(asked: &ResponseContext, chunks: &[&[u8]]) -> (Vec<u8>, bool) {
    let (mut stream, mut out) = (asked.stream_translator(), Vec::new());
    for chunk in chunks {
        stream.push(chunk, &mut out);
    }
    let told = stream.finish(&mut out);
    (out, told)
}

/// What the relay does to a request that it passes on: whatever was read stays readable.
pub(crate) fn passed_on(input: &[u8]) {
    let Ok(envelope) = Envelope::parse_with_model(input, "m", true) else { return };
    session_seed(envelope.session.as_deref(), &envelope.prefix);
    session_seed(None, &envelope.prefix);
    if let Some(asking) = ask_for_usage(&Bytes::copy_from_slice(input)) {
        assert!(Envelope::parse_with_model(&asking, "m", true).is_ok());
        assert_eq!(ask_for_usage(&asking), None, "it asks now");
    }
    let changed = [
        bedrock::messages_to_invoke_model(input, ["a,b"].into_iter())
            .map(|made| made.body.to_vec()),
        bedrock::count_tokens_to_bedrock(input, [].into_iter()).map(Vec::from),
        bedrock::invoke_model_to_messages(input, "m", true).map(|message| message.body.to_vec()),
    ];
    for body in changed {
        // Bedrock cannot answer every request.
        let Ok(body) = body else { continue };
        assert!(Envelope::parse_with_model(&body, "m", true).is_ok());
    }
    let _ = bedrock::count_tokens_from_bedrock(input, "m");
}

/// A path names a route or none, and no route's path upstream has a segment of dots.
pub(crate) fn route(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for method in [http::Method::GET, http::Method::POST] {
        let Ok(route) = resolve_route(&method, &text) else { continue };
        let path = route.upstream_path().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(path.is_ascii() && !path.contains(['\\', '?', '#', ';']), "{path}");
        let is_dots = |segment: &str| segment.is_empty() || segment.chars().all(|c| c == '.');
        assert!(path == "/" || !path[1..].split('/').any(is_dots), "{path}");
        if let RelayRoute::Model(id) = route {
            assert_eq!(decode_id(&path["/v1/models/".len()..]), Ok(id));
        }
    }
    let query = filter_models_query(&text);
    assert!(query.is_ascii() && !query.contains(char::is_control));
}
