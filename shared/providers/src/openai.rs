//! OpenAI's API, and other upstreams that speak Chat Completions and possibly Responses.

pub(crate) mod compatible_vendors;
pub(crate) mod errors;

use crate::ProviderRules;
use crate::anthropic;
use crate::classification::{DAY_SECONDS, MONEY_SECONDS_MAX};
use crate::conversion::{RequestShape, TargetCapabilities};
use crate::probe::{Probe, ProbeRequest};
use baton_domain::account::{Account, CredentialKind};
use baton_domain::health::ProbeCall;
use baton_domain::model_capabilities::ChatSupport;
use baton_domain::protocol::{ClientProtocol, UpstreamProtocol};
use baton_domain::verdict::{CooldownScope, ErrorFields};
use baton_protocol::envelope::StatedEffort;
use baton_protocol::error::ApiFamily;

pub(crate) const RULES: ProviderRules = ProviderRules {
    label: "OpenAI-compatible",
    default_base_url: Some("https://api.openai.com"),
    base_url_form: "https://api.openai.com",
    api_key_kind: CredentialKind::Bearer,
    check_credential: anthropic::refuse_aws_role,
    token_beta: None,
    foreign_header_prefix: "anthropic-",
    has_responses: is_openai,
    upstream_protocol,
    framing: anthropic::use_server_sent_events,
    target_capabilities: TargetCapabilities::from_account,
    error_rules: &[
        errors::error_meaning,
        compatible_vendors::azure,
        compatible_vendors::google,
        compatible_vendors::openrouter,
        compatible_vendors::xai,
        compatible_vendors::groq,
        compatible_vendors::alibaba,
        compatible_vendors::litellm,
        compatible_vendors::fireworks,
        compatible_vendors::zhipu,
        compatible_vendors::minimax,
        compatible_vendors::other_clouds,
        anthropic::errors::forwarded_error_meaning,
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

/// Responses if the account has it and the client speaks it or the model needs it, else Chat
/// Completions. Requests of Chat clients are translated only if Chat would refuse them, so that all
/// others pass as they are.
fn upstream_protocol(
    account: &Account,
    shape: RequestShape,
    chat: ChatSupport,
) -> UpstreamProtocol {
    let uses_responses = account.speaks_responses
        && match shape.client {
            ClientProtocol::OpenaiResponses => true,
            ClientProtocol::OpenaiChat => !is_accepted_on_chat(shape, chat),
            ClientProtocol::AnthropicMessages | ClientProtocol::BedrockInvokeModel => {
                chat != ChatSupport::Full
            }
        };
    if uses_responses { UpstreamProtocol::Responses } else { UpstreamProtocol::Chat }
}

/// Whether Chat Completions accepts a request of this shape for a model with this support.
fn is_accepted_on_chat(shape: RequestShape, chat: ChatSupport) -> bool {
    match chat {
        ChatSupport::Full => true,
        ChatSupport::NoToolsWithEffort => !shape.has_tools || shape.effort != StatedEffort::On,
        ChatSupport::NoToolsWithThinking => !shape.has_tools || shape.effort == StatedEffort::Off,
        ChatSupport::Nothing => false,
    }
}

/// Whether the base URL is OpenAI's own, at once or in a region (`eu.api.openai.com`; OpenAI, "Your
/// data", data residency, 2026-11).
fn is_openai(base_url: &str) -> bool {
    let (_, rest) = base_url.split_once("://").unwrap_or_default();
    let host = rest.split(['/', ':', '?', '#']).next().unwrap_or_default();
    host.strip_suffix("api.openai.com").is_some_and(|area| area.is_empty() || area.ends_with('.'))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_openais_own_hosts_are_known_to_have_responses() {
        for (base_url, expected) in [
            ("https://api.openai.com", true),
            ("https://api.openai.com/v1", true),
            ("https://eu.api.openai.com:443/v1", true),
            ("https://api.openai.com.example", false),
            ("https://notapi.openai.com", false),
            ("https://a.example/api.openai.com", false),
            ("api.openai.com", false),
            ("", false),
        ] {
            assert_eq!(is_openai(base_url), expected, "{base_url}");
        }
    }

    #[test]
    fn acceptance_follows_from_tools_and_effort() {
        use StatedEffort::{Off, On, Unset};
        let shape = |has_tools, effort| RequestShape {
            client: ClientProtocol::OpenaiChat,
            is_stream: false,
            has_tools,
            effort,
        };
        for (support, accepted) in [
            (ChatSupport::Full, [true, true, true]),
            (ChatSupport::NoToolsWithEffort, [true, true, false]),
            (ChatSupport::NoToolsWithThinking, [false, true, false]),
            (ChatSupport::Nothing, [false, false, false]),
        ] {
            let with_tools =
                [Unset, Off, On].map(|effort| is_accepted_on_chat(shape(true, effort), support));
            assert_eq!(with_tools, accepted, "{support:?}");
            let without =
                [Unset, Off, On].map(|effort| is_accepted_on_chat(shape(false, effort), support));
            assert_eq!(without, [support != ChatSupport::Nothing; 3], "{support:?}");
        }
    }
}
