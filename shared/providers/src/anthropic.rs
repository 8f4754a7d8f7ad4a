//! Anthropic's API, and other upstreams that speak Anthropic Messages.

pub(crate) mod errors;

use crate::ProviderRules;
use crate::classification::{DAY_SECONDS, MONEY_SECONDS_MAX};
use crate::conversion::{RequestShape, TargetCapabilities};
use crate::openai;
use crate::probe::{Probe, ProbeRequest};
use baton_domain::account::{Account, CredentialKind};
use baton_domain::health::ProbeCall;
use baton_domain::model_capabilities::ChatSupport;
use baton_domain::protocol::{Framing, UpstreamProtocol};
use baton_domain::verdict::{CooldownScope, ErrorFields};
use baton_protocol::error::ApiFamily;
use serde_json::json;

pub(crate) const RULES: ProviderRules = ProviderRules {
    label: "Anthropic",
    default_base_url: Some("https://api.anthropic.com"),
    base_url_form: "https://api.anthropic.com",
    api_key_kind: CredentialKind::ApiKey,
    check_credential: refuse_aws_role,
    // Upstreams refuse OAuth bearer tokens without it (observed on 2026-11-22).
    token_beta: Some("oauth-2025-04-20"),
    foreign_header_prefix: "openai-",
    has_responses: has_no_responses,
    upstream_protocol: speak_messages,
    framing: use_server_sent_events,
    target_capabilities: TargetCapabilities::from_account,
    error_rules: &[
        errors::error_meaning,
        openai::errors::error_meaning,
        openai::compatible_vendors::openrouter,
    ],
    names_error,
    rate_reset_seconds_max,
    spend_reset_seconds_max: MONEY_SECONDS_MAX,
    probes: &[
        Probe { call: ProbeCall::ListModels, request: list_models },
        Probe { call: ProbeCall::CountTokens, request: count_tokens },
    ],
    probes_prove_credential: false,
    model_list_form: Some(ApiFamily::Anthropic),
};

/// A model that every account can use.
const PROBE_MODEL: &str = "claude-haiku-4-5";

/// Refuses the kind of credential that only Bedrock takes.
pub(crate) fn refuse_aws_role(kind: CredentialKind) -> Result<(), &'static str> {
    match kind {
        CredentialKind::Aws => Err("`credential.type`: `aws` needs the provider `bedrock`"),
        CredentialKind::ApiKey
        | CredentialKind::Bearer
        | CredentialKind::Oauth2
        | CredentialKind::WorkloadIdentity => Ok(()),
    }
}

pub(crate) fn has_no_responses(_: &str) -> bool {
    false
}

pub(crate) fn speak_messages(_: &Account, _: RequestShape, _: ChatSupport) -> UpstreamProtocol {
    UpstreamProtocol::Messages
}

pub(crate) fn use_server_sent_events(_: &Account) -> Framing {
    Framing::ServerSentEvents
}

/// Whether the error has a type ("Errors", 2026-11).
pub(crate) fn names_error(error: &ErrorFields) -> bool {
    error.kind.is_some()
}

/// The limits of a subscription count five hours or seven days (support.claude.com, "Usage limits",
/// 2026-11). They apply to the account or to a family of models. The API's limits count minutes.
fn rate_reset_seconds_max(scope: &CooldownScope) -> i64 {
    match scope {
        CooldownScope::Account | CooldownScope::Family(_) => 7 * DAY_SECONDS,
        CooldownScope::Model(_) | CooldownScope::Fast => DAY_SECONDS,
    }
}

fn list_models(_: &Account) -> ProbeRequest {
    ProbeRequest::get("/v1/models?limit=1").with_messages_version()
}

fn count_tokens(account: &Account) -> ProbeRequest {
    let mapped_model = account.model_map.first().map(|(_, id)| id.as_str());
    build_count_request(mapped_model.unwrap_or(PROBE_MODEL))
}

/// A token count through the Messages API.
pub(crate) fn build_count_request(model: &str) -> ProbeRequest {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
    ProbeRequest::post("/v1/messages/count_tokens", body.to_string()).with_messages_version()
}
