//! The relay without a network: its pure functions in the order in which it calls them.

use crate::client::ClientRequest;
use baton_domain::account::{Account, CredentialKind, Provider};
use baton_domain::id::AccountId;
use baton_domain::model_capabilities::OwnCapabilities;
use baton_domain::protocol::{ClientProtocol, Framing};
use baton_protocol::bedrock::FramesToSse;
use baton_protocol::envelope::{Envelope, StatedEffort};
use baton_providers::conversion::{
    ConversionPlan, RequestConversion, RequestIdentity, RequestShape, ResponseHint,
};
use baton_test_vendors::{TwinState, Vendor, VendorError, VendorRequest};
use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

/// An account of a vendor, with the model to which it maps every model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) vendor: Vendor,
    pub(crate) model: &'static str,
    /// Whether it speaks Responses.
    speaks_responses: bool,
    /// Whether conversations of several turns are tried with it.
    pub(crate) talks: bool,
}

const fn target(vendor: Vendor, model: &'static str, talks: bool) -> Target {
    Target { vendor, model, speaks_responses: false, talks }
}

const fn with_responses(model: &'static str, talks: bool) -> Target {
    Target { vendor: Vendor::Openai, model, speaks_responses: true, talks }
}

/// The accounts.
pub(crate) const TARGETS: [Target; 19] = [
    target(Vendor::Anthropic, "claude-3-5-sonnet-20241022", false),
    target(Vendor::Anthropic, "claude-sonnet-4-5", true),
    target(Vendor::Anthropic, "claude-opus-4-6", false),
    target(Vendor::Anthropic, "claude-opus-4-7", false),
    target(Vendor::Anthropic, "claude-opus-5-5", true),
    target(Vendor::Bedrock, "us.anthropic.claude-sonnet-4-5-20250929-v1:0", false),
    target(Vendor::Bedrock, "us.anthropic.claude-opus-4-8-v1:0", true),
    target(Vendor::Openai, "gpt-4o", true),
    target(Vendor::Openai, "o3", false),
    target(Vendor::Openai, "gpt-5", false),
    target(Vendor::Openai, "gpt-5.5", true),
    with_responses("gpt-4.1", false),
    with_responses("gpt-5.5", true),
    target(Vendor::Gemini, "gemini-3-pro", true),
    target(Vendor::DeepSeek, "deepseek-v4-pro", true),
    target(Vendor::Mistral, "mistral-large-latest", true),
    target(Vendor::Mistral, "devstral-medium-latest", false),
    target(Vendor::Qwen, "qwen3.8-27b", true),
    target(Vendor::Qwen, "qwen3-coder-30b", false),
];

impl Target {
    fn account(self) -> Account {
        let (provider, base_url) = match self.vendor {
            Vendor::Anthropic => (Provider::Anthropic, "https://api.anthropic.com"),
            Vendor::Bedrock => {
                (Provider::Bedrock, "https://bedrock-runtime.us-east-1.amazonaws.com")
            }
            Vendor::Openai => (Provider::OpenaiCompatible, "https://api.openai.com"),
            Vendor::Gemini => (
                Provider::OpenaiCompatible,
                "https://generativelanguage.googleapis.com/v1beta/openai",
            ),
            Vendor::DeepSeek => (Provider::OpenaiCompatible, "https://api.deepseek.com"),
            Vendor::Mistral => (Provider::OpenaiCompatible, "https://api.mistral.ai"),
            Vendor::Qwen => (Provider::OpenaiCompatible, "http://localhost:8000"),
        };
        let id = AccountId::from_bits(1);
        Account {
            model_map: vec![("*".parse().unwrap(), self.model.to_owned())],
            speaks_responses: self.speaks_responses,
            ..Account::new(id, provider, base_url, CredentialKind::Bearer)
        }
    }
}

/// What becomes of a request.
pub(crate) enum Outcome {
    /// What the vendor got, and the answer as the client gets it.
    Answered(Value, Vec<u8>),
    RefusedByBaton(String),
    RefusedByVendor(VendorError),
}

/// The request for the account, and how its answer is translated.
struct Sent {
    request: VendorRequest,
    plan: ConversionPlan,
    hint: ResponseHint,
}

/// Converts the request, asks the twin, and converts the answer.
pub(crate) fn relay(request: &ClientRequest, target: Target, state: &mut TwinState) -> Outcome {
    let sent = match convert(request, target) {
        Ok(sent) => sent,
        Err(words) => return Outcome::RefusedByBaton(words),
    };
    let accepted = match target.vendor.judge(&sent.request, state) {
        Ok(accepted) => accepted,
        Err(error) => return Outcome::RefusedByVendor(error),
    };
    let bytes = target.vendor.answer(&accepted, state).bytes();
    let answer = convert_answer(&sent, &bytes, request.is_stream());
    Outcome::Answered(sent.request.body, answer)
}

/// The path as an upstream knows it.
fn route(client: ClientProtocol) -> &'static str {
    match client {
        ClientProtocol::AnthropicMessages => "/v1/messages",
        ClientProtocol::OpenaiChat => "/v1/chat/completions",
        ClientProtocol::OpenaiResponses => "/v1/responses",
        ClientProtocol::BedrockInvokeModel => "/model/any/invoke",
    }
}

/// The plan for the shape of the request, which the relay reads from its envelope.
fn plan_for(request: &ClientRequest, account: &Account) -> ConversionPlan {
    let effort = match request.body["reasoning_effort"].as_str() {
        _ if request.client != ClientProtocol::OpenaiChat => StatedEffort::Unset,
        None => StatedEffort::Unset,
        Some("none") => StatedEffort::Off,
        Some(_) => StatedEffort::On,
    };
    let shape = RequestShape {
        client: request.client,
        is_stream: request.is_stream(),
        has_tools: request.body["tools"].as_array().is_some_and(|tools| !tools.is_empty()),
        effort,
    };
    ConversionPlan::new(shape, account, request.model(), |_| OwnCapabilities::default())
}

fn convert(request: &ClientRequest, target: Target) -> Result<Sent, String> {
    let account = target.account();
    let is_stream = request.is_stream();
    let plan = plan_for(request, &account);
    let body = Bytes::from(request.body.to_string());
    let client_model = match request.client {
        ClientProtocol::BedrockInvokeModel => (request.model().to_owned(), 0..0),
        ClientProtocol::AnthropicMessages
        | ClientProtocol::OpenaiChat
        | ClientProtocol::OpenaiResponses => {
            let envelope = Envelope::parse(&body).map_err(|error| error.to_string())?;
            (envelope.model.into_owned(), envelope.model_span)
        }
    };
    let model = plan.upstream_model(&account, &client_model.0);
    let conversion = RequestConversion {
        plan,
        identity: RequestIdentity { id: "req_1".to_owned(), created: 1_795_000_000 },
        body,
        client_model,
        model,
        is_stream,
        is_token_count: false,
        path: route(request.client).to_owned(),
        betas: request.betas(),
    };
    let converted = conversion.scan().convert().map_err(|error| error.message)?;
    let mut headers = HeaderMap::new();
    if account.provider != Provider::OpenaiCompatible {
        for (name, value) in &request.headers {
            let name = http::HeaderName::try_from(name.as_str()).unwrap();
            headers.append(name, value.parse().unwrap());
        }
    }
    plan.add_protocol_headers(&HeaderMap::new(), is_stream, converted.betas, &mut headers);
    let mut given: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    given.push(("authorization", "Bearer account"));
    let body = serde_json::from_slice(&converted.body).map_err(|error| error.to_string())?;
    let request = VendorRequest::new(&converted.path, &given, body);
    Ok(Sent { request, plan, hint: converted.hint })
}

fn convert_answer(sent: &Sent, bytes: &[u8], is_stream: bool) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let is_framed = sent.plan.upstream_framing == Framing::AwsEventStream;
    // A client of Bedrock is read without its frames, too.
    if is_framed && is_stream {
        bytes = FramesToSse::default().push(&bytes).expect("frames").to_vec();
    }
    let ResponseHint::Translation(context) = &sent.hint else { return bytes };
    if !is_stream {
        return context.translate_response(&bytes).expect("an answer");
    }
    let mut translator = context.stream_translator();
    let mut out = Vec::new();
    for piece in bytes.chunks(37) {
        translator.push(piece, &mut out);
    }
    assert!(translator.is_over() || translator.finish(&mut out), "the stream is whole");
    out
}

/// Whether the vendor refuses the request even if the client sends it itself, where no translation
/// lies between. The model is the account's, and the form is the client's. Settings are fitted to
/// another vendor than the client's, so only the conversation and the tools count there.
pub(crate) fn is_own_fault(request: &ClientRequest, target: Target, state: &TwinState) -> bool {
    let plan = plan_for(request, &target.account());
    let is_own_api = matches!(target.vendor, Vendor::Anthropic | Vendor::Bedrock | Vendor::Openai);
    if plan.translation.is_some() {
        return false;
    }
    let mut body = request.body.clone();
    if !is_own_api {
        let is_kept = |name: &str| matches!(name, "model" | "messages" | "tools");
        body.as_object_mut().unwrap().retain(|name, _| is_kept(name));
    }
    let (vendor, path) = match target.vendor {
        // The Messages API, in whose form the client speaks.
        Vendor::Bedrock | Vendor::Anthropic => (Vendor::Anthropic, "/v1/messages"),
        vendor => (vendor, route(request.client)),
    };
    let mut headers = request.headers.clone();
    if request.client == ClientProtocol::BedrockInvokeModel {
        let map = body.as_object_mut().unwrap();
        map.remove("anthropic_version");
        let betas = map.remove("anthropic_beta").unwrap_or(Value::Null);
        let betas = betas.as_array().into_iter().flatten().filter_map(Value::as_str);
        headers.push(("anthropic-beta".to_owned(), betas.collect::<Vec<_>>().join(",")));
        headers.push(("anthropic-version".to_owned(), "2023-06-01".to_owned()));
    }
    body["model"] = target.model.trim_start_matches("us.anthropic.").into();
    let given: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut direct = VendorRequest::new(path, &given, body);
    direct.headers.push(("authorization".to_owned(), "Bearer account".to_owned()));
    vendor.judge(&direct, state).is_err()
}
