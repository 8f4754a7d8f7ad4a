//! The meaning of errors that a vendor names, by vendor. Codes and types come first. A message is
//! compared only if the vendor gives nothing else. The comparison uses its whole beginning, and the
//! comment names where the message was seen.

use super::ErrorFields;
use crate::account::Provider;
use crate::cooldown_reason::CooldownReason;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The meaning of a vendor's error where the status alone is not enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorMeaning {
    /// The request is too large for the account; a smaller request is not.
    RequestTooLarge,
    /// The model, or a feature of it, is not available to the account.
    Unavailable,
    /// The account as a whole cannot be used, in some cases until a known moment.
    AccountUnavailable(CooldownReason, Option<Timestamp>),
    /// The credential is refused.
    Refused,
    /// The credential is accepted, but it does not permit this operation.
    NotPermitted,
    /// The upstream blocks the account or its address.
    Blocked,
    /// The upstream does not serve the location from which the account is used.
    WrongPlace,
}

/// An error answer in the form that the rules use.
pub(super) struct SeenError<'a> {
    pub(super) status: u16,
    pub(super) error: &'a ErrorFields,
    /// The requested model.
    pub(super) model: &'a str,
}

type VendorRule = fn(&SeenError<'_>) -> Option<ErrorMeaning>;

/// The meaning of the error at an upstream of this provider. An account can point at a gateway that
/// forwards other vendors' messages. Therefore the vendors of the account's protocol come first,
/// and other vendors follow.
pub(super) fn meaning(provider: Provider, upstream_error: &SeenError<'_>) -> Option<ErrorMeaning> {
    let rules: &[VendorRule] = match provider {
        Provider::Anthropic => &[anthropic, openai, openrouter],
        Provider::Bedrock => &[bedrock, anthropic],
        Provider::OpenaiCompatible => {
            &[openai, azure, google, openrouter, xai, groq, alibaba, litellm, anthropic]
        }
    };
    rules.iter().find_map(|rule| rule(upstream_error))
}

/// The texts with 400 are the ones that users of Claude Code have reported: credit
/// (anthropics/claude-code #88711, 2026-08-22), limits (#38035, 2026-03-24), organization (#72457,
/// 2026-06-30), long context (#44863, 2026-04-07). None of them has a separate code or type. The
/// texts with 403 were reported too: a revoked token (#9635), OAuth that the organization does not
/// allow (#6752), a token's scopes (can1357/oh-my-pi #38, 2026-02-12), and a blocked address or
/// account.
fn anthropic(upstream_error: &SeenError<'_>) -> Option<ErrorMeaning> {
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

/// "Error codes", 2026-11; `billing_not_active` with 429: RamiAwar/dataline #175. An account's
/// limit that one request exceeds ("Request too large for gpt-4o … on tokens per min"): the same
/// page, `rate_limit_exceeded`. Others have adopted the codes (Moonshot, DeepSeek, vLLM). A
/// restricted key gets 401 (continuedev/continue #10059, 2026-01-31), or 403 with the error as
/// text. A location that is not served: songquanpeng/one-api #1692.
fn openai(upstream_error: &SeenError<'_>) -> Option<ErrorMeaning> {
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

/// Azure OpenAI, "error codes", 2026-11. A role that lacks an operation gets 401
/// (Azure-Samples/azure-search-openai-demo #1870).
fn azure(upstream_error: &SeenError<'_>) -> Option<ErrorMeaning> {
    if matches!(upstream_error.status, 401 | 403)
        && upstream_error.error.has_name_in(&["PermissionDenied"])
    {
        return Some(ErrorMeaning::NotPermitted);
    }
    upstream_error
        .error
        .has_name_in(&["DeploymentNotFound", "deployment_not_found", "OperationNotSupported"])
        .then_some(ErrorMeaning::Unavailable)
}

/// Google's `ErrorInfo` reasons (googleapis `error_reason.proto`, 2026-11). A bad key gets 400. The
/// error for a key that was found in public has no reason (continuedev/continue #11541,
/// 2026-03-17).
fn google(upstream_error: &SeenError<'_>) -> Option<ErrorMeaning> {
    const REFUSED: [&str; 8] = [
        "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
        "API_KEY_INVALID",
        "API_KEY_SERVICE_BLOCKED",
        "API_KEY_HTTP_REFERRER_BLOCKED",
        "API_KEY_IP_ADDRESS_BLOCKED",
        "ACCESS_TOKEN_EXPIRED",
        "ACCESS_TOKEN_TYPE_UNSUPPORTED",
        "CREDENTIALS_MISSING",
    ];
    const DISABLED: [&str; 4] =
        ["CONSUMER_SUSPENDED", "CONSUMER_INVALID", "SERVICE_DISABLED", "BILLING_DISABLED"];
    let error = upstream_error.error;
    if error.has_name_in(&REFUSED) {
        return Some(ErrorMeaning::Refused);
    }
    if error.has_name_in(&DISABLED) {
        return Some(ErrorMeaning::AccountUnavailable(CooldownReason::OrganizationDisabled, None));
    }
    if upstream_error.status == 403 && error.has_name_in(&["PERMISSION_DENIED"]) {
        if error.message_starts_with("Your API key was reported as leaked") {
            return Some(ErrorMeaning::Refused);
        }
        if error.message_starts_with("Your project has been denied access") {
            return Some(ErrorMeaning::AccountUnavailable(
                CooldownReason::OrganizationDisabled,
                None,
            ));
        }
    }
    if upstream_error.status == 400
        && error.has_name_in(&["FAILED_PRECONDITION"])
        && error.message_starts_with("User location is not supported for the API use")
    {
        return Some(ErrorMeaning::WrongPlace);
    }
    // "models/gemini-x is not found for API version v1main, or is not supported for …"
    let is_missing = upstream_error.status == 404 && error.has_name_in(&["NOT_FOUND"]);
    (is_missing && error.message_starts_with("models/")).then_some(ErrorMeaning::Unavailable)
}

/// OpenRouter, "Errors", 2026-11. A 402 can be about the size of one request (can1357/oh-my-pi
/// #9569, QwenLM/qwen-code #73): "This request requires more credits, or fewer `max_tokens`". A key
/// that has reached its limit gets 403 (gptme/gptme #1449, 2026-02-23).
fn openrouter(upstream_error: &SeenError<'_>) -> Option<ErrorMeaning> {
    let error = upstream_error.error;
    let too_much =
        ["This request requires more credits, or fewer max_tokens", "Prompt tokens limit exceeded"];
    if upstream_error.status == 402
        && too_much.iter().any(|phrase| error.message_starts_with(phrase))
    {
        return Some(ErrorMeaning::RequestTooLarge);
    }
    if matches!(upstream_error.status, 402 | 403 | 429)
        && error.message_starts_with("Key limit exceeded")
    {
        return Some(ErrorMeaning::AccountUnavailable(CooldownReason::SpendCapReached, None));
    }
    let is_missing =
        upstream_error.status == 404 && error.message_starts_with("No endpoints found");
    (is_missing
        || error.message_starts_with("No allowed providers are available for the selected model"))
    .then_some(ErrorMeaning::Unavailable)
}

/// xAI has no code for exhausted money: 403 (warpdotdev/warp #14863, 2026-08-09;
/// continuedev/continue #12670, 2026-06-16) and 429 (continuedev/continue #10373, 2026-02-09). A
/// bad key gets 400 (continuedev/continue #11412, 2026-03-14).
fn xai(upstream_error: &SeenError<'_>) -> Option<ErrorMeaning> {
    let error = upstream_error.error;
    if matches!(upstream_error.status, 400 | 401 | 403)
        && error.message_starts_with("Incorrect API key provided")
    {
        return Some(ErrorMeaning::Refused);
    }
    let is_spent = error.message_starts_with("Your team ")
        && error.message.contains(
            " has either used all available credits or reached its monthly spending limit",
        );
    let is_new = error.message_starts_with("Your newly created team doesn't have any credits")
        || error.message_starts_with("You have run out of credits");
    (matches!(upstream_error.status, 402 | 403 | 429) && (is_spent || is_new))
        .then_some(ErrorMeaning::AccountUnavailable(CooldownReason::CreditUsedUp, None))
}

/// Groq answers both cases with 400 (crewAIInc/crewAI #783; "Spend limits", 2026-11).
fn groq(upstream_error: &SeenError<'_>) -> Option<ErrorMeaning> {
    const MODEL: [&str; 3] = [
        "model_permission_blocked_org",
        "model_permission_blocked_project",
        "model_decommissioned",
    ];
    let error = upstream_error.error;
    if error.has_name_in(&["organization_restricted"]) {
        return Some(ErrorMeaning::AccountUnavailable(CooldownReason::OrganizationDisabled, None));
    }
    if error.has_name_in(&["blocked_api_access"]) {
        return Some(ErrorMeaning::AccountUnavailable(CooldownReason::SpendCapReached, None));
    }
    error.has_name_in(&MODEL).then_some(ErrorMeaning::Unavailable)
}

/// Alibaba Cloud Model Studio, "Error codes", 2026-11: an overdue payment gets 400.
fn alibaba(upstream_error: &SeenError<'_>) -> Option<ErrorMeaning> {
    let is_overdue = upstream_error.error.has_name_in(&["Arrearage"]);
    is_overdue.then_some(ErrorMeaning::AccountUnavailable(CooldownReason::CreditUsedUp, None))
}

/// A proxy of LiteLLM (`ProxyErrorTypes`, 2026-11). The budget of the account's key, team or owner
/// belongs to the account. The budget of an end user or a tag belongs to the request, which names
/// it.
fn litellm(upstream_error: &SeenError<'_>) -> Option<ErrorMeaning> {
    const MODEL: [&str; 3] =
        ["key_model_access_denied", "team_model_access_denied", "user_model_access_denied"];
    const BUDGETS: [&str; 3] = [
        "Budget has been exceeded! Current cost:",
        "Budget has been exceeded! Team=",
        "ExceededBudget: User=",
    ];
    let error = upstream_error.error;
    let is_budget = error.has_name_in(&["budget_exceeded"]);
    if is_budget && BUDGETS.iter().any(|phrase| error.message_starts_with(phrase)) {
        return Some(ErrorMeaning::AccountUnavailable(CooldownReason::SpendCapReached, None));
    }
    if error.has_name_in(&["expired_key", "token_not_found_in_db"]) {
        return Some(ErrorMeaning::Refused);
    }
    error.has_name_in(&MODEL).then_some(ErrorMeaning::Unavailable)
}

/// Amazon Bedrock API reference, `InvokeModel`, 2026-11. Exceptions have been converted to
/// Anthropic's format before. A model that a region does not have gets a `ValidationException`.
fn bedrock(upstream_error: &SeenError<'_>) -> Option<ErrorMeaning> {
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
    let is_unknown = upstream_error.status == 400
        && (error.message_starts_with("The provided model identifier is invalid")
            || (error.message_starts_with("Invocation of model ID ")
                && error.message.contains("with on-demand throughput isn")));
    // `ResourceNotFoundException` is about the model: the path names nothing else.
    (is_unknown || upstream_error.status == 404).then_some(ErrorMeaning::Unavailable)
}
