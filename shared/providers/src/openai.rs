//! OpenAI's API, and other upstreams that speak Chat Completions and possibly Responses.

pub(crate) mod compatible_vendors;

use crate::ProviderRules;
use crate::anthropic;
use crate::classification::{DAY_SECONDS, ErrorMeaning, MONEY_SECONDS_MAX, SeenError};
use crate::conversion::RequestFit;
use crate::probe::{Probe, ProbeRequest};
use baton_domain::account::{Account, CredentialKind};
use baton_domain::cooldown_reason::CooldownReason;
use baton_domain::health::ProbeCall;
use baton_domain::model::base_id;
use baton_domain::protocol::{ClientProtocol, UpstreamProtocol};
use baton_domain::verdict::{CooldownScope, ErrorFields};
use baton_protocol::error::ApiFamily;
use baton_protocol::translate::MaxTokensField;

pub(crate) const RULES: ProviderRules = ProviderRules {
    label: "OpenAI-compatible",
    default_base_url: Some("https://api.openai.com"),
    base_url_form: "https://api.openai.com",
    api_key_kind: CredentialKind::Bearer,
    check_credential: anthropic::refuse_aws_role,
    token_beta: None,
    foreign_header_prefix: "anthropic-",
    upstream_protocol,
    framing: anthropic::use_server_sent_events,
    fit_request,
    error_rules: &[
        error_meaning,
        compatible_vendors::azure,
        compatible_vendors::google,
        compatible_vendors::openrouter,
        compatible_vendors::xai,
        compatible_vendors::groq,
        compatible_vendors::alibaba,
        compatible_vendors::litellm,
        anthropic::error_meaning,
    ],
    names_error,
    rate_reset_seconds_max,
    spend_reset_seconds_max: MONEY_SECONDS_MAX,
    probes: &[
        Probe { call: ProbeCall::ListModels, request: list_models },
        Probe { call: ProbeCall::EmptyChat, request: create_empty_chat },
    ],
    probes_prove_credential: false,
    model_list_form: Some(ApiFamily::OpenAi),
};

/// Responses if the client speaks it and the account has it, else Chat Completions.
fn upstream_protocol(account: &Account, client: ClientProtocol) -> UpstreamProtocol {
    match client {
        ClientProtocol::OpenaiResponses if account.speaks_responses => UpstreamProtocol::Responses,
        ClientProtocol::AnthropicMessages
        | ClientProtocol::OpenaiChat
        | ClientProtocol::OpenaiResponses
        | ClientProtocol::BedrockInvokeModel => UpstreamProtocol::Chat,
    }
}

/// OpenAI's reasoning models refuse `max_tokens` (platform.openai.com, "Reasoning models", 2026-11),
/// and many other vendors support nothing else.
fn fit_request(account: &Account, model: &str) -> RequestFit {
    let name = base_id(model);
    let reasons = ["gpt-5", "gpt-6", "o1", "o3", "o4"].iter().any(|start| name.starts_with(start));
    let is_openai = account.base_url.contains("//api.openai.com");
    let max_tokens =
        if reasons || is_openai { MaxTokensField::Completion } else { MaxTokensField::Plain };
    RequestFit { max_tokens, caches_prompts: true }
}

/// Whether the error has a type, a code or a status (OpenAI, OpenRouter and Google, 2026-11).
fn names_error(error: &ErrorFields) -> bool {
    error.kind.is_some() || error.code.is_some() || error.status.is_some()
}

/// OpenAI ("Rate limits", 2026-11), Groq and Google count requests and tokens by minute and by day.
fn rate_reset_seconds_max(_: &CooldownScope) -> i64 {
    DAY_SECONDS
}

fn list_models(_: &Account) -> ProbeRequest {
    ProbeRequest::get("/v1/models?limit=1")
}

/// Everybody gets a refusal for an empty chat completion, but most upstreams check the credential
/// first.
fn create_empty_chat(_: &Account) -> ProbeRequest {
    ProbeRequest::post("/v1/chat/completions", "{}")
}

/// "Error codes", 2026-11; `billing_not_active` with 429: RamiAwar/dataline #175. An account's
/// limit that one request exceeds ("Request too large for gpt-4o … on tokens per min"): the same
/// page, `rate_limit_exceeded`. Others have adopted the codes (Moonshot, DeepSeek, vLLM). A
/// restricted key gets 401 (continuedev/continue #10059, 2026-01-31), or 403 with the error as
/// text. A location that is not served: songquanpeng/one-api #1692.
pub(crate) fn error_meaning(upstream_error: &SeenError<'_>) -> Option<ErrorMeaning> {
    const MONEY: [&str; 8] = [
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_limit_reached",
        "insufficient_credits",
        "insufficient_balance",
        "exceeded_current_quota_error",
        "quota_exceeded_error",
        "billing_limit_user_error",
    ];
    const DISABLED: [&str; 3] =
        ["billing_not_active", "access_terminated", "organization_disabled"];
    const MODEL: [&str; 5] = [
        "model_not_found",
        "model_not_available",
        "model_not_supported",
        "unsupported_model",
        "invalid_model",
    ];
    let error = upstream_error.error;
    if error.has_name_in(&MONEY) {
        return Some(ErrorMeaning::AccountUnavailable(CooldownReason::SpendCapReached, None));
    }
    if error.has_name_in(&DISABLED) {
        return Some(ErrorMeaning::AccountUnavailable(CooldownReason::OrganizationDisabled, None));
    }
    let is_scope = error
        .message_starts_with("You have insufficient permissions for this operation")
        || error.message_starts_with("Missing scopes:");
    if matches!(upstream_error.status, 401 | 403)
        && (is_scope || error.has_name_in(&["missing_scope"]))
    {
        return Some(ErrorMeaning::NotPermitted);
    }
    if upstream_error.status == 403 && error.has_name_in(&["unsupported_country_region_territory"])
    {
        return Some(ErrorMeaning::WrongPlace);
    }
    if error.has_name_in(&["account_deactivated", "invalid_api_key"]) {
        return Some(ErrorMeaning::Refused);
    }
    if upstream_error.status == 429 && error.message_starts_with("Request too large for ") {
        return Some(ErrorMeaning::RequestTooLarge);
    }
    if error.has_name_in(&MODEL) {
        return Some(ErrorMeaning::Unavailable);
    }
    // vLLM, Ollama and others have no code for it: "The model `x` does not exist."
    let is_missing = upstream_error.status == 404 && !upstream_error.model.is_empty();
    let names_model = || {
        let after = error.message.split_once(upstream_error.model).map(|(_, after)| after);
        after.is_some_and(|after| {
            ["not found", "does not exist", "is not supported"].iter().any(|it| after.contains(it))
        })
    };
    (is_missing && names_model()).then_some(ErrorMeaning::Unavailable)
}
