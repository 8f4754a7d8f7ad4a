//! Amazon Bedrock: Claude models through `InvokeModel` or through the Messages API.

use crate::ProviderRules;
use crate::address::trim_base_url;
use crate::anthropic;
use crate::classification::{ErrorFacts, ErrorMeaning, INTERMEDIARY_SECONDS_MAX};
use crate::conversion::TargetCapabilities;
use crate::probe::{Probe, ProbeRequest};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use baton_domain::account::{Account, CredentialKind};
use baton_domain::cooldown_reason::CooldownReason;
use baton_domain::health::ProbeCall;
use baton_domain::model::foundation_id;
use baton_domain::model_capabilities::OwnCapabilities;
use baton_domain::protocol::Framing;
use baton_domain::verdict::CooldownScope;
use baton_protocol::translate::PromptCaching;
use serde_json::json;

pub(crate) const RULES: ProviderRules = ProviderRules {
    label: "Amazon Bedrock",
    default_base_url: None,
    base_url_form: "https://bedrock-runtime.REGION.amazonaws.com",
    api_key_kind: CredentialKind::Bearer,
    check_credential,
    token_beta: None,
    foreign_header_prefix: "openai-",
    has_responses: anthropic::has_no_responses,
    upstream_protocol: anthropic::speak_messages,
    framing,
    target_capabilities,
    error_rules: &[error_meaning, anthropic::errors::forwarded_error_meaning],
    // Exceptions have been converted to Anthropic's format before.
    names_error: anthropic::names_error,
    rate_reset_seconds_max,
    spend_reset_seconds_max: ANNOUNCED_SECONDS_MAX,
    probes: &[Probe { call: ProbeCall::CountTokens, request: count_tokens }],
    probes_prove_credential: true,
    model_list_form: None,
};

/// The service name in signatures.
pub const SIGNING_SERVICE: &str = "bedrock";

/// A model that every account can use.
const PROBE_MODEL: &str = "anthropic.claude-haiku-4-5-20251001-v1:0";

/// The longest time that an answer can announce. Bedrock documents no header for it
/// ("Troubleshooting Amazon Bedrock API Error Codes", 2026-11), so another server has sent it.
const ANNOUNCED_SECONDS_MAX: i64 = INTERMEDIARY_SECONDS_MAX;

/// The base URL of Bedrock in a region.
pub fn regional_base_url(region: &str) -> String {
    RULES.base_url_form.replace("REGION", region)
}

fn check_credential(kind: CredentialKind) -> Result<(), &'static str> {
    match kind {
        CredentialKind::ApiKey => {
            Err("`credential.header`: Bedrock takes API keys only in the header `authorization`")
        }
        CredentialKind::Bearer
        | CredentialKind::Oauth2
        | CredentialKind::WorkloadIdentity
        | CredentialKind::Aws => Ok(()),
    }
}

/// An account is called through `InvokeModel` unless its base URL ends with `/anthropic`: for newer
/// models Bedrock also offers the Messages API itself there, with Amazon's signature (Bedrock user
/// guide, "Inference using Anthropic Messages API", 2026-10).
fn framing(account: &Account) -> Framing {
    if trim_base_url(&account.base_url).ends_with("/anthropic") {
        Framing::ServerSentEvents
    } else {
        Framing::AwsEventStream
    }
}

/// The bound of an answer whose client set none. Bedrock takes the whole bound from the account's
/// quota of tokens a minute when the request begins (Bedrock user guide, "How tokens are counted",
/// 2026-11), so the model's maximum would throttle other requests.
const OUTPUT_TOKENS_DEFAULT: u64 = 32_000;

/// `InvokeModel` has no top-level cache control.
fn target_capabilities(account: &Account, model: &str, own: OwnCapabilities) -> TargetCapabilities {
    let target = TargetCapabilities::from_account(account, model, own);
    let default = target.capabilities.default_max_tokens().min(OUTPUT_TOKENS_DEFAULT);
    let prompt_caching = match framing(account) {
        Framing::AwsEventStream if target.capabilities.prompt_caching => PromptCaching::Blocks,
        Framing::ServerSentEvents | Framing::AwsEventStream => target.prompt_caching,
    };
    TargetCapabilities { output_tokens_default: Some(default), prompt_caching, ..target }
}

fn rate_reset_seconds_max(_: &CooldownScope) -> i64 {
    ANNOUNCED_SECONDS_MAX
}

/// A token count of one of the account's models (Bedrock user guide, "`CountTokens`", 2026-10).
fn count_tokens(account: &Account) -> ProbeRequest {
    let mapped = account.model_map.iter().map(|(_, id)| foundation_id(id));
    let model = mapped.into_iter().find(|id| id.starts_with("anthropic."));
    let model = model.unwrap_or(PROBE_MODEL);
    if framing(account) == Framing::ServerSentEvents {
        return anthropic::build_count_request(model);
    }
    let messages = json!([{"role": "user", "content": "hi"}]);
    let inner = json!({
        "anthropic_version": "bedrock-2023-05-31", "max_tokens": 1, "messages": messages,
    });
    let body =
        json!({"input": {"invokeModel": {"body": BASE64_STANDARD.encode(inner.to_string())}}});
    let path = format!("/model/{}/count-tokens", model.replace(':', "%3A"));
    ProbeRequest::post(path, body.to_string()).with_messages_version()
}

/// Amazon Bedrock API reference, `InvokeModel`, 2026-11. Exceptions have been converted to
/// Anthropic's format before. A model that a region does not have gets a `ValidationException`.
pub(crate) fn error_meaning(upstream_error: &ErrorFacts<'_>) -> Option<ErrorMeaning> {
    const REFUSED: [&str; 5] = [
        "UnrecognizedClientException",
        "ExpiredTokenException",
        "InvalidSignatureException",
        "IncompleteSignatureException",
        "MissingAuthenticationTokenException",
    ];
    let error = upstream_error.error;
    // A Bedrock API key has no separate exception (anomalyco/opencode #47073, 2026-09-03).
    let is_key = upstream_error.status == 403
        && error.message_starts_with("Authentication failed: Please make sure your");
    if is_key || error.has_name_in(&REFUSED) {
        return Some(ErrorMeaning::Refused);
    }
    // An AWS account that Amazon has restricted (langchain-ai/langchain#19215, aws/aws-cli#8717,
    // kirodotdev/Kiro#11191, 2026-09).
    let restricted =
        ["Operation not allowed", "Your account is not authorized to invoke this API operation."];
    if upstream_error.status == 400 && restricted.contains(&error.message.as_str()) {
        return Some(ErrorMeaning::AccountPossiblyUnavailable(CooldownReason::Forbidden));
    }
    if error.message_starts_with("Access to Anthropic models is not allowed from unsupported") {
        return Some(ErrorMeaning::UnsupportedLocation);
    }
    let is_unknown = upstream_error.status == 400
        && (error.message_starts_with("The provided model identifier is invalid")
            || (error.message_starts_with("Invocation of model ID ")
                && error.message.contains("with on-demand throughput isn")));
    // `ResourceNotFoundException` is about the model: the path names nothing else.
    (is_unknown || upstream_error.status == 404).then_some(ErrorMeaning::Unavailable)
}
