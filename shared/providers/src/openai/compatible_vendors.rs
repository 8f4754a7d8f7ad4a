//! The errors of vendors and gateways whose APIs are compatible with OpenAI's. An account can point
//! at a gateway that forwards the messages of other vendors, so their names are looked for too.

use crate::classification::{ErrorFacts, ErrorMeaning};
use baton_domain::cooldown_reason::CooldownReason;
use baton_domain::verdict::ErrorFields;

/// Azure OpenAI, "error codes", 2026-11. A role that lacks an operation gets 401
/// (Azure-Samples/azure-search-openai-demo #1870).
pub(crate) fn azure(upstream_error: &ErrorFacts<'_>) -> Option<ErrorMeaning> {
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
pub(crate) fn google(upstream_error: &ErrorFacts<'_>) -> Option<ErrorMeaning> {
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
        // The client names the file, which belongs to one account.
        if error.message_starts_with("You do not have permission to access the File") {
            return Some(ErrorMeaning::StateElsewhere);
        }
        if error.message_starts_with("Your project has been denied access") {
            return Some(ErrorMeaning::AccountUnavailable(
                CooldownReason::OrganizationDisabled,
                None,
            ));
        }
    }
    // Both texts of a location: "Troubleshooting guide", 2026-11.
    let location = [
        "User location is not supported for the API use",
        "Gemini API free tier is not available in your country",
    ];
    if upstream_error.status == 400
        && error.has_name_in(&["FAILED_PRECONDITION"])
        && location.iter().any(|phrase| error.message_starts_with(phrase))
    {
        return Some(ErrorMeaning::UnsupportedLocation);
    }
    // Both have the status of a rate limit: dyad-sh/dyad #3626, and the spend cap of AI Studio
    // (reports of 2026-09).
    if matches!(upstream_error.status, 402 | 429) {
        if error.message_starts_with("Your prepayment credits are depleted") {
            return Some(ErrorMeaning::AccountUnavailable(CooldownReason::CreditUsedUp, None));
        }
        if error.message_starts_with("Your project has exceeded its monthly spending cap") {
            return Some(ErrorMeaning::AccountUnavailable(CooldownReason::SpendCapReached, None));
        }
    }
    // "models/gemini-x is not found for API version v1main, or is not supported for …"
    let is_missing = upstream_error.status == 404 && error.has_name_in(&["NOT_FOUND"]);
    (is_missing && error.message_starts_with("models/")).then_some(ErrorMeaning::Unavailable)
}

/// OpenRouter, "Errors", 2026-11. A 402 can be about the size of one request (can1357/oh-my-pi
/// #9569, QwenLM/qwen-code #73): "This request requires more credits, or fewer `max_tokens`". A key
/// that has reached its limit gets 403 (gptme/gptme #1449, 2026-02-23).
pub(crate) fn openrouter(upstream_error: &ErrorFacts<'_>) -> Option<ErrorMeaning> {
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
pub(crate) fn xai(upstream_error: &ErrorFacts<'_>) -> Option<ErrorMeaning> {
    let error = upstream_error.error;
    if matches!(upstream_error.status, 400 | 401 | 403)
        && error.message_starts_with("Incorrect API key provided")
    {
        return Some(ErrorMeaning::Refused);
    }
    if upstream_error.status == 403 && error.message_starts_with(XAI_VIOLATION) {
        return Some(ErrorMeaning::RequestRefused);
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

/// What xAI says about a request that violates its rules, with 403 (`UKGovernmentBEIS/inspect_ai#2267`).
/// It bills such a request ("Pricing", usage guidelines violation fee, docs.x.ai, 2026-11).
const XAI_VIOLATION: &str = "Content violates usage guidelines";

/// Whether the vendor bills a request that it refuses with this error. Azure bills prompts that its
/// filter stops ("Content filtering", 2026-11: "there will be a charge for this request as the prompt
/// was evaluated").
pub(crate) fn bills_refusal(status: u16, error: &ErrorFields) -> bool {
    let names = ["content_filter", "ResponsibleAIPolicyViolation"];
    (status == 400 && error.has_name_in(&names))
        || (status == 403 && error.message_starts_with(XAI_VIOLATION))
}

/// Groq answers both cases with 400 (crewAIInc/crewAI #783; "Spend limits", 2026-11).
pub(crate) fn groq(upstream_error: &ErrorFacts<'_>) -> Option<ErrorMeaning> {
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
pub(crate) fn alibaba(upstream_error: &ErrorFacts<'_>) -> Option<ErrorMeaning> {
    let is_overdue = upstream_error.error.has_name_in(&["Arrearage"]);
    is_overdue.then_some(ErrorMeaning::AccountUnavailable(CooldownReason::CreditUsedUp, None))
}

/// A proxy of LiteLLM (`ProxyErrorTypes`, 2026-11). The budget of the account's key, team or owner
/// belongs to the account, and perhaps one of a name that is not known here. The budget of an end user
/// or a tag belongs to the request, which names it.
pub(crate) fn litellm(upstream_error: &ErrorFacts<'_>) -> Option<ErrorMeaning> {
    const MODEL: [&str; 3] =
        ["key_model_access_denied", "team_model_access_denied", "user_model_access_denied"];
    const BUDGETS: [&str; 3] = [
        "Budget has been exceeded! Current cost:",
        "Budget has been exceeded! Team=",
        "ExceededBudget: User=",
    ];
    const REQUESTED: [&str; 4] = ["End User=", "End User:", "Tag=", "Customer="];
    let error = upstream_error.error;
    let is_budget = error.has_name_in(&["budget_exceeded"]);
    if is_budget && BUDGETS.iter().any(|phrase| error.message_starts_with(phrase)) {
        return Some(ErrorMeaning::AccountUnavailable(CooldownReason::SpendCapReached, None));
    }
    if is_budget && REQUESTED.iter().any(|text| error.message.contains(text)) {
        return Some(ErrorMeaning::RequestRefused);
    }
    if is_budget {
        return Some(ErrorMeaning::AccountPossiblyUnavailable(CooldownReason::SpendCapReached));
    }
    if error.has_name_in(&["expired_key", "token_not_found_in_db"]) {
        return Some(ErrorMeaning::Refused);
    }
    error.has_name_in(&MODEL).then_some(ErrorMeaning::Unavailable)
}

/// Fireworks answers 412 with `PRECONDITION_FAILED` (pollinations/pollinations #12136, 2026): "Account
/// x is suspended, possibly due to reaching the monthly spending limit or failure to pay past
/// invoices."
pub(crate) fn fireworks(upstream_error: &ErrorFacts<'_>) -> Option<ErrorMeaning> {
    let error = upstream_error.error;
    let is_suspended = upstream_error.status == 412
        && error.message_starts_with("Account ")
        && error.message.contains(" is suspended");
    is_suspended.then_some(ErrorMeaning::AccountUnavailable(CooldownReason::SpendCapReached, None))
}

/// Zhipu (docs.bigmodel.cn, "API error codes", 2026-11). The codes are numbers of this vendor, so the
/// status counts too. 1113 is a balance without money or packages, and 1309 a plan that has ended.
/// 1112 and 1121 are a locked account.
pub(crate) fn zhipu(upstream_error: &ErrorFacts<'_>) -> Option<ErrorMeaning> {
    let error = upstream_error.error;
    if !matches!(upstream_error.status, 401 | 403 | 429) || !error.is_enveloped {
        return None;
    }
    if error.has_name_in(&["1113", "1309"]) {
        return Some(ErrorMeaning::AccountUnavailable(CooldownReason::CreditUsedUp, None));
    }
    error
        .has_name_in(&["1112", "1121"])
        .then_some(ErrorMeaning::AccountUnavailable(CooldownReason::OrganizationDisabled, None))
}

/// `MiniMax` ("Error codes", 2026-11) names a missing balance with 402, with 500 (reports of 2026), or
/// with 200 and a `base_resp`, which has been read as an error of this name.
pub(crate) fn minimax(upstream_error: &ErrorFacts<'_>) -> Option<ErrorMeaning> {
    let error = upstream_error.error;
    let has_status = matches!(upstream_error.status, 402 | 429 | 500);
    (error.has_name_in(&["insufficient_balance_error"])
        || (has_status && error.message == "insufficient balance (1008)"))
        .then_some(ErrorMeaning::AccountUnavailable(CooldownReason::CreditUsedUp, None))
}

/// Chinese clouds whose errors for a missing balance have the status of a forbidden request:
/// `SiliconFlow` (`{"code":30001,"message":"Sorry, your account balance is insufficient"}`, also with
/// 402), Volcengine (`AccountOverdueError`, "Error codes"), Novita and its sisters
/// (`NOT_ENOUGH_BALANCE`), all read 2026-11.
pub(crate) fn other_clouds(upstream_error: &ErrorFacts<'_>) -> Option<ErrorMeaning> {
    let error = upstream_error.error;
    if !matches!(upstream_error.status, 402 | 403 | 429) {
        return None;
    }
    (error.has_name_in(&["AccountOverdueError", "NOT_ENOUGH_BALANCE"])
        || (error.has_name_in(&["30001"])
            && error.message_starts_with("Sorry, your account balance is insufficient")))
    .then_some(ErrorMeaning::AccountUnavailable(CooldownReason::CreditUsedUp, None))
}
