//! The errors that OpenAI's API names, and those of upstreams that imitate it.

use crate::classification::{ErrorFacts, ErrorMeaning};
use baton_domain::cooldown_reason::CooldownReason;

/// "Error codes", 2026-11; `billing_not_active` with 429: RamiAwar/dataline #175. An account's
/// limit that one request exceeds ("Request too large for gpt-4o … on tokens per min"): the same
/// page, `rate_limit_exceeded`. Others have adopted the codes (Moonshot, DeepSeek, vLLM). A
/// restricted key gets 401 (continuedev/continue #10059, 2026-01-31), or 403 with the error as
/// text. A location that is not served: songquanpeng/one-api #1692. `credit_balance_exhausted` with
/// 429, "You have no credits remaining": reports of 2026-08. Groq's 413 for a request that is too
/// large has the words of OpenAI's 429 ("Rate limits", 2026-11). A flex request for which there is
/// no capacity gets 429 `resource_unavailable`, which says nothing about the account's limits ("Flex
/// processing", resource unavailable errors, 2026-11).
pub(crate) fn error_meaning(upstream_error: &ErrorFacts<'_>) -> Option<ErrorMeaning> {
    const MONEY: [&str; 9] = [
        "insufficient_quota",
        "credit_balance_exhausted",
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
        return Some(ErrorMeaning::UnsupportedLocation);
    }
    if error.has_name_in(&["account_deactivated", "invalid_api_key"]) {
        return Some(ErrorMeaning::Refused);
    }
    if matches!(upstream_error.status, 413 | 429)
        && (error.message_starts_with("Request too large for ")
            || requests_more_than_limit(&error.message))
    {
        return Some(ErrorMeaning::RequestTooLarge);
    }
    if upstream_error.status == 429 && error.has_name_in(&["resource_unavailable"]) {
        return Some(ErrorMeaning::NoCapacity);
    }
    // The state that the request names can be with another account ("Conversation state").
    if matches!(upstream_error.status, 400 | 404)
        && error.has_name_in(&["previous_response_not_found", "conversation_not_found"])
    {
        return Some(ErrorMeaning::StateElsewhere);
    }
    // The client chose the id in it (anomalyco/opencode#7724, 2026-01).
    if upstream_error.status == 404 && error.message_starts_with("Item with id '") {
        return Some(ErrorMeaning::StateElsewhere);
    }
    if error.has_name_in(&MODEL) || misses_model_by_message(upstream_error) {
        return Some(ErrorMeaning::Unavailable);
    }
    // vLLM, Ollama and others have no code for it: "The model `x` does not exist."
    let is_missing = upstream_error.status == 404 && !upstream_error.model.is_empty();
    (is_missing && misses_named_model(&error.message, upstream_error.model))
        .then_some(ErrorMeaning::Unavailable)
}

/// Whether a message names `model` as a whole, behind the word "model", and says that it is missing.
/// Other names in a message can be a client's own (`Container with id 'cntr_model:gpt-5.5' not found.`).
fn misses_named_model(message: &str, model: &str) -> bool {
    const QUOTES: [char; 3] = ['`', '\'', '"'];
    let Some((before, after)) = message.split_once(model) else { return false };
    let words = before.strip_suffix(QUOTES).unwrap_or(before);
    let is_in_quotes = QUOTES.iter().any(|quote| words.matches(*quote).count() % 2 == 1);
    let words = words.trim_end().trim_end_matches([':', '=', '/']).to_ascii_lowercase();
    let last_word = words.rsplit(|c: char| c != '_' && !c.is_alphanumeric()).next();
    let is_model = last_word.is_some_and(|word| ["", "model", "models"].contains(&word));
    let is_whole = !after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-');
    let says = ["not found", "does not exist", "is not supported"];
    is_model && !is_in_quotes && is_whole && says.iter().any(|text| after.contains(text))
}

/// Whether a message says that the request alone exceeds the limit: "Rate limit reached for gpt-4o …
/// on tokens per min (TPM): Limit 30000, Used 0, Requested 100010."
fn requests_more_than_limit(message: &str) -> bool {
    let number = |label: &str| {
        let (_, after) = message.rsplit_once(label)?;
        let digits = after.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse::<u64>().ok()
    };
    number(": Limit ").zip(number(", Requested ")).is_some_and(|(limit, asked)| asked > limit)
}

/// The message of `LiteLLM`'s proxy without `400: {'error': '` and the route before it. A text of the
/// client stands behind other words.
fn after_route(message: &str) -> &str {
    let message = message.strip_prefix("400: ").unwrap_or(message);
    let message = message.strip_prefix("{'error': '").unwrap_or(message);
    let is_route =
        |start: &str| start.bytes().all(|b| b.is_ascii_lowercase() || b"/_".contains(&b));
    let split = message.split_once(": ").filter(|(start, _)| is_route(start));
    split.map_or(message, |(_, rest)| rest)
}

/// Whether the message of an error without a code of its own says that there is no such model:
/// `DeepSeek` (deepwn/addi#13, 2026-03), `OpenRouter` (OpenRouterTeam/openrouter-examples#74,
/// 2026-05), Fireworks (warpdotdev/warp#15107, 2026-08) and `LiteLLM`'s proxy
/// (jrkropp/open-webui-developer-toolkit#675, 2025-08).
fn misses_model_by_message(upstream_error: &ErrorFacts<'_>) -> bool {
    let ErrorFacts { error, model, status, .. } = upstream_error;
    let names_model = || {
        let (id, name) = (
            format!("{model} is not a valid model ID"),
            format!("Invalid model name passed in model={model}"),
        );
        !model.is_empty() && (error.message == id || after_route(&error.message).starts_with(&name))
    };
    match status {
        400 => error.message == "Model Not Exist" || names_model(),
        404 => error.message_starts_with("Model not found, inaccessible, and/or not deployed"),
        _ => false,
    }
}
