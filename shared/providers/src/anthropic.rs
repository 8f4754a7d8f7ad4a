//! Anthropic's API, and other upstreams that speak Anthropic Messages.

use crate::ProviderRules;
use crate::classification::{DAY_SECONDS, ErrorMeaning, MONEY_SECONDS_MAX, SeenError};
use crate::conversion::RequestFit;
use crate::openai::{self, compatible_vendors};
use crate::probe::{Probe, ProbeRequest};
use baton_domain::account::{Account, CredentialKind};
use baton_domain::cooldown_reason::CooldownReason;
use baton_domain::health::ProbeCall;
use baton_domain::protocol::{ClientProtocol, Framing, UpstreamProtocol};
use baton_domain::verdict::{CooldownScope, ErrorFields};
use baton_protocol::error::ApiFamily;
use baton_protocol::translate::MaxTokensField;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
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
    upstream_protocol: speak_messages,
    framing: use_server_sent_events,
    fit_request,
    error_rules: &[error_meaning, openai::error_meaning, compatible_vendors::openrouter],
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

pub(crate) fn speak_messages(_: &Account, _: ClientProtocol) -> UpstreamProtocol {
    UpstreamProtocol::Messages
}

pub(crate) fn use_server_sent_events(_: &Account) -> Framing {
    Framing::ServerSentEvents
}

fn fit_request(_: &Account, _: &str) -> RequestFit {
    RequestFit { max_tokens: MaxTokensField::Plain, caches_prompts: true }
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

/// The texts with 400 are the ones that users of Claude Code have reported: credit
/// (anthropics/claude-code #88711, 2026-08-22), limits (#38035, 2026-03-24), organization (#72457,
/// 2026-06-30), long context (#44863, 2026-04-07). None of them has a separate code or type. The
/// texts with 403 were reported too: a revoked token (#9635), OAuth that the organization does not
/// allow (#6752), a token's scopes (can1357/oh-my-pi #38, 2026-02-12), and a blocked address or
/// account.
pub(crate) fn error_meaning(upstream_error: &SeenError<'_>) -> Option<ErrorMeaning> {
    let error = upstream_error.error;
    if error.has_name_in(&["billing_error"]) {
        return Some(ErrorMeaning::AccountUnavailable(CooldownReason::SpendCapReached, None));
    }
    if matches!(upstream_error.status, 400 | 403) {
        if error.message_starts_with("Your credit balance is too low to access the Anthropic API") {
            return Some(ErrorMeaning::AccountUnavailable(CooldownReason::CreditUsedUp, None));
        }
        let limits = [
            "You have reached your specified API usage limits",
            "You have reached your specified workspace API usage limits",
        ];
        if limits.iter().any(|phrase| error.message_starts_with(phrase)) {
            let until = regained(&error.message);
            return Some(ErrorMeaning::AccountUnavailable(CooldownReason::SpendCapReached, until));
        }
        if error.message_starts_with("This organization has been disabled") {
            return Some(ErrorMeaning::AccountUnavailable(
                CooldownReason::OrganizationDisabled,
                None,
            ));
        }
    }
    if matches!(upstream_error.status, 401 | 403) {
        let token_phrases = [
            "OAuth token has been revoked",
            "OAuth authentication is currently not ",
            "OAuth token does not meet scope requirement",
        ];
        if token_phrases.iter().any(|phrase| error.message_starts_with(phrase)) {
            return Some(ErrorMeaning::Refused);
        }
        if error.has_name_in(&["forbidden"]) && error.message_starts_with("Request not allowed") {
            return Some(ErrorMeaning::Blocked);
        }
    }
    if upstream_error.status == 429
        && error.message_starts_with("Extra usage is required for long context requests")
    {
        return Some(ErrorMeaning::RequestTooLarge);
    }
    // "Errors", 2026-11: `{"type": "not_found_error", "message": "model: claude-none"}`
    let is_missing = error.has_name_in(&["not_found_error"]) && error.message_starts_with("model:");
    (upstream_error.status == 404 && is_missing).then_some(ErrorMeaning::Unavailable)
}

/// "You will regain access on 2026-12-01 at 00:00 UTC."
fn regained(message: &str) -> Option<Timestamp> {
    let (_, rest) = message.split_once("You will regain access on ")?;
    let day = DateTime::strptime("%Y-%m-%d at %H:%M", rest.get(..19)?).ok()?;
    day.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}
