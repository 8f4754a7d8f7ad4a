//! Error classification: the meaning of an upstream failure for the request and for the account.
//!
//! The names that a vendor has for its errors, and the longest reset of its limits, are in the
//! module of the provider. Statuses mean the same at all providers.

use crate::rules;
use baton_domain::account::Provider;
use baton_domain::cooldown_reason::CooldownReason;
use baton_domain::verdict::{
    AccountEffect, AnnouncedLimit, CallFailure, CooldownScope, ErrorFields, RequestFacts,
    RetryDecision, UpstreamError, Verdict,
};
use baton_protocol::translate::says_context_overflow;
use jiff::{SignedDuration, Timestamp};

/// How long an account with a refused token waits for a new one.
const RENEWAL_SECONDS: i64 = 60;
/// Cooldowns for cases where the upstream names no time: for money, for something forbidden or
/// missing, and for a rate.
const MONEY_SECONDS: i64 = 600;
const FORBIDDEN_SECONDS: i64 = 300;
const RATE_SECONDS: i64 = 30;
/// How long an account is the last choice for a model after it gave no answer for long.
const SILENCE_SECONDS: i64 = 60;
/// The longest cooldown that an answer can announce if it does not have the vendor's form of an
/// error. A proxy or a firewall has sent it, and its time says nothing about the account's limits.
pub(crate) const INTERMEDIARY_SECONDS_MAX: i64 = 60;
/// The longest time until the reset of a limit of money: vendors have limits for each month.
pub(crate) const MONEY_SECONDS_MAX: i64 = 31 * DAY_SECONDS;
pub(crate) const DAY_SECONDS: i64 = 24 * 3600;
/// The usual length of a token of a prompt.
const BYTES_PER_TOKEN: u64 = 4;

/// The meaning of a vendor's error where the status alone is not enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorMeaning {
    /// The request is too large for the account; a smaller request is not.
    RequestTooLarge,
    /// There is no capacity for this kind of request, whatever the account's limits are.
    NoCapacity,
    /// The account does not have the state that the request refers to; another one can have it.
    StateElsewhere,
    /// The vendor refuses what the request says, and would do so with every account.
    RequestRefused,
    /// The model, or a feature of it, is not available to the account.
    Unavailable,
    /// The account as a whole cannot be used, in some cases until a known moment.
    AccountUnavailable(CooldownReason, Option<Timestamp>),
    /// The account as a whole perhaps cannot be used. It is still tried if no other is left.
    AccountPossiblyUnavailable(CooldownReason),
    /// The credential is refused.
    Refused,
    /// The credential is accepted, but it does not permit this operation.
    NotPermitted,
    /// The upstream blocks the account or its address.
    Blocked,
    /// The upstream does not serve the country or region from which the account is used.
    UnsupportedLocation,
}

/// The facts about an error answer that the rules of providers use.
pub(crate) struct ErrorFacts<'a> {
    pub(crate) status: u16,
    pub(crate) error: &'a ErrorFields,
    /// The requested model.
    pub(crate) model: &'a str,
}

/// The meaning of an error if it is one that the vendor names.
///
/// Codes and types come first. A message is compared only if the vendor gives nothing else. The
/// comparison uses its whole beginning, and the comment names where the message was seen.
pub(crate) type ErrorRule = fn(&ErrorFacts<'_>) -> Option<ErrorMeaning>;

/// Whether the vendor bills a request that it refuses with this error, without reporting any usage.
pub fn bills_refusal(status: u16, error: &ErrorFields) -> bool {
    crate::openai::compatible_vendors::bills_refusal(status, error)
}

/// Decides what `failure` at `now` means. `jitter` is a random number in 0..=255 that spreads the
/// return of overloaded accounts over time.
pub fn classify(
    failure: &CallFailure<'_>,
    facts: &RequestFacts<'_>,
    now: Timestamp,
    jitter: u8,
) -> Verdict {
    match failure {
        CallFailure::Status(error) => {
            keep_billed_answer(error, classify_error(error, facts, now, jitter))
        }
        CallFailure::FirstEvent(error) => {
            let verdict = classify_error(error, facts, now, jitter);
            let verdict = match verdict.account {
                AccountEffect::CountFailure { .. } => count_failure(CooldownReason::StreamError),
                _ => verdict,
            };
            keep_billed_answer(error, verdict)
        }
        CallFailure::NotAsked | CallFailure::InvalidResponse => {
            try_another_account(AccountEffect::Nothing)
        }
        CallFailure::UnusableResponse => return_to_client(AccountEffect::Nothing),
        CallFailure::IncompleteResponse => {
            return_to_client(AccountEffect::CountFailure { reason: CooldownReason::Unreachable })
        }
        CallFailure::Unreachable => count_failure(CooldownReason::Unreachable),
        CallFailure::Timeout => count_failure(CooldownReason::TimedOut),
    }
}

/// The effect on the account of an error in the middle of a stream whose start was good. A credential
/// that was accepted before is not suspected.
pub fn classify_late_error(
    error: &ErrorFields,
    facts: &RequestFacts<'_>,
    now: Timestamp,
    jitter: u8,
) -> AccountEffect {
    // The length of a conversation, or something that only this upstream has a word for.
    if !error.has_name() || says_context_overflow(&error.message) {
        return AccountEffect::Nothing;
    }
    let announced = AnnouncedLimit::default();
    let status = error.implied_status();
    let upstream_error = UpstreamError { status, announced: &announced, error, is_billed: true };
    match classify(&CallFailure::FirstEvent(upstream_error), facts, now, jitter).account {
        AccountEffect::Suspect { .. }
        | AccountEffect::NotPermitted
        | AccountEffect::Cooldown { reason: CooldownReason::TokenRefused, .. } => {
            AccountEffect::CountFailure { reason: CooldownReason::StreamError }
        }
        effect => effect,
    }
}

/// The effect of an attempt that ended without an answer after the upstream had worked for long. The
/// client's next try goes to another account, if there is one.
pub fn rest_after_silence(facts: &RequestFacts<'_>, now: Timestamp) -> AccountEffect {
    let until = seconds_after(now, SILENCE_SECONDS);
    cool_until(feature_scope(facts), until, CooldownReason::TimedOut, true)
}

/// The effect of a confirmed suspicion: a free call with the credential has failed with this
/// status.
pub fn confirm_suspicion(reason: CooldownReason, now: Timestamp) -> Option<AccountEffect> {
    let rest = |scope| cool_until(scope, seconds_after(now, FORBIDDEN_SECONDS), reason, false);
    (reason == CooldownReason::Forbidden).then(|| rest(CooldownScope::Account))
}

/// Ends the request where the upstream bills the failed call, so that it is not bought again.
fn keep_billed_answer(error: &UpstreamError<'_>, verdict: Verdict) -> Verdict {
    if error.is_billed {
        return Verdict { request: RetryDecision::ReturnToClient, ..verdict };
    }
    verdict
}

fn classify_error(
    upstream_error: &UpstreamError<'_>,
    facts: &RequestFacts<'_>,
    now: Timestamp,
    jitter: u8,
) -> Verdict {
    let UpstreamError { status, error, .. } = *upstream_error;
    let is_refusal = matches!(status, 401 | 403);
    let recognized_error = ErrorFacts { status, error, model: facts.model };
    let error_rules = rules(facts.provider).error_rules;
    let verdict = match error_rules.iter().find_map(|rule| rule(&recognized_error)) {
        Some(
            ErrorMeaning::RequestTooLarge | ErrorMeaning::NoCapacity | ErrorMeaning::StateElsewhere,
        ) => try_another_account(AccountEffect::Nothing),
        Some(ErrorMeaning::RequestRefused) => return return_to_client(AccountEffect::Nothing),
        Some(ErrorMeaning::Unavailable) => try_another_account(cool_model(facts, now)),
        // Other accounts can permit the operation, even if several do not.
        Some(ErrorMeaning::NotPermitted) => {
            return try_another_privately(AccountEffect::NotPermitted);
        }
        Some(ErrorMeaning::AccountUnavailable(reason, until)) => {
            try_another_privately(account_unavailable(upstream_error, facts, reason, until, now))
        }
        Some(ErrorMeaning::AccountPossiblyUnavailable(reason)) => {
            let until = seconds_after(now, MONEY_SECONDS);
            try_another_privately(cool_until(CooldownScope::Account, until, reason, true))
        }
        Some(ErrorMeaning::Refused) => {
            with_named_credential(credential_refused(facts, CooldownReason::CredentialRefused, now))
        }
        Some(ErrorMeaning::Blocked) => {
            with_named_credential(credential_refused(facts, CooldownReason::Forbidden, now))
        }
        Some(ErrorMeaning::UnsupportedLocation) => {
            let until = seconds_after(now, FORBIDDEN_SECONDS);
            try_another_privately(cool_until(
                CooldownScope::Account,
                until,
                CooldownReason::Forbidden,
                true,
            ))
        }
        None => classify_status(upstream_error, facts, now, jitter),
    };
    let names_credential = verdict.names_credential || error.blames_credential();
    Verdict { is_refusal, names_credential, ..verdict }
}

/// The verdict by the status alone, if no vendor has a name for the error.
#[expect(clippy::match_same_arms, reason = "a table: each row has its own reason")]
fn classify_status(
    upstream_error: &UpstreamError<'_>,
    facts: &RequestFacts<'_>,
    now: Timestamp,
    jitter: u8,
) -> Verdict {
    let is_overloaded = upstream_error.error.has_name_in(&[
        "overloaded_error",
        "server_is_overloaded",
        "engine_overloaded",
        "slow_down",
    ]);
    let error = upstream_error.error;
    match upstream_error.status {
        401 => credential_refused(facts, CooldownReason::CredentialRefused, now),
        402 => try_another_privately(cool_unpaid_account(upstream_error, facts, now)),
        403 if error.has_name_in(&["authentication_error", "UNAUTHENTICATED"]) => {
            credential_refused(facts, CooldownReason::CredentialRefused, now)
        }
        403 if error.has_name() => try_another_account(cool_model(facts, now)),
        // A firewall or a proxy answered. The cause is either the text of the request or the
        // account's address.
        403 => try_another_account(AccountEffect::Suspect { reason: CooldownReason::Forbidden }),
        529 => try_another_account(cool_overloaded_account(now, jitter)),
        429 | 500 | 503 if is_overloaded => {
            try_another_account(cool_overloaded_account(now, jitter))
        }
        // The request alone is larger than the limit, and smaller ones of others are not.
        429 if exceeds_limit_alone(upstream_error, facts) => {
            try_another_account(AccountEffect::Nothing)
        }
        429 => try_another_account(rate_limited(upstream_error, facts, now)),
        // A page in place of an error comes from a proxy whose backend is down. An error without a
        // name can come from a router, and another account can have the route.
        404 | 405 | 410 | 501 if error.is_silent() => count_failure(CooldownReason::ServerError),
        404 | 405 if !error.has_name() => try_another_account(AccountEffect::Nothing),
        501 => try_another_account(AccountEffect::Nothing),
        410 => try_another_account(cool_model(facts, now)),
        // The account's own proxy asks for credentials.
        407 => count_failure(CooldownReason::Unreachable),
        408 => count_failure(CooldownReason::TimedOut),
        // The request went to the wrong server, came too early, or was abandoned by an
        // intermediary. This side never abandons one.
        421 | 425 | 499 => count_failure(CooldownReason::ServerError),
        // Cloudflare sends 520 to 527 and 530 if the origin does not answer; a load balancer sends
        // 561.
        500..=599 => count_failure(CooldownReason::ServerError),
        _ => Verdict {
            request: RetryDecision::ReturnToClient,
            ..try_another_account(AccountEffect::Nothing)
        },
    }
}

/// Tries another account. If there is none, the client gets the upstream's message.
fn try_another_account(account: AccountEffect) -> Verdict {
    let request = RetryDecision::TryAnother;
    Verdict {
        request,
        account,
        needs_token_renewal: false,
        is_private: false,
        is_refusal: false,
        names_credential: false,
    }
}

fn return_to_client(account: AccountEffect) -> Verdict {
    Verdict { request: RetryDecision::ReturnToClient, ..try_another_account(account) }
}

fn count_failure(reason: CooldownReason) -> Verdict {
    try_another_account(AccountEffect::CountFailure { reason })
}

fn with_named_credential(verdict: Verdict) -> Verdict {
    Verdict { names_credential: true, ..verdict }
}

fn try_another_privately(account: AccountEffect) -> Verdict {
    Verdict { is_private: true, ..try_another_account(account) }
}

fn credential_refused(facts: &RequestFacts<'_>, reason: CooldownReason, now: Timestamp) -> Verdict {
    if !facts.credential.is_renewed() {
        return try_another_privately(AccountEffect::Suspect { reason });
    }
    let until = seconds_after(now, RENEWAL_SECONDS);
    let account = AccountEffect::Cooldown {
        scope: CooldownScope::Account,
        until,
        reason: CooldownReason::TokenRefused,
        is_estimated: false,
        token_version: facts.token_version,
        doubles: false,
    };
    Verdict { needs_token_renewal: true, ..try_another_privately(account) }
}

/// An estimated cooldown. Clients choose models and features, so the account is still used if no
/// other is left.
fn cool_model(facts: &RequestFacts<'_>, now: Timestamp) -> AccountEffect {
    let until = seconds_after(now, FORBIDDEN_SECONDS);
    cool_until(feature_scope(facts), until, CooldownReason::ModelUnavailable, true)
}

fn account_unavailable(
    error: &UpstreamError<'_>,
    facts: &RequestFacts<'_>,
    reason: CooldownReason,
    announced_end: Option<Timestamp>,
    now: Timestamp,
) -> AccountEffect {
    let seconds_max = rules(facts.provider).spend_reset_seconds_max;
    let announced = until_reset(error, error.announced.reset, now);
    let announced = announced.map(|until| limit_cooldown(now, until, seconds_max));
    let announced_end = announced_end.filter(|until| *until > now);
    let until = announced_end.or(announced).unwrap_or_else(|| seconds_after(now, MONEY_SECONDS));
    let until = limit_cooldown(now, until, MONEY_SECONDS_MAX);
    cool_until(CooldownScope::Account, until, reason, false)
}

/// Whether the error has the form that vendors of this kind document: an object `error` with a
/// message and a name. Pages, texts and other JSON are from a server in front of the vendor.
fn has_form_of(error: &ErrorFields, provider: Provider) -> bool {
    error.is_enveloped && (rules(provider).names_error)(error) && !error.message.is_empty()
}

/// A 402 without a code. If it is a page, a server in front of the vendor has sent it. If it is
/// JSON in a form that is not the vendor's, its headers do not count.
fn cool_unpaid_account(
    answer: &UpstreamError<'_>,
    facts: &RequestFacts<'_>,
    now: Timestamp,
) -> AccountEffect {
    let reason = CooldownReason::SpendCapReached;
    let cool =
        |until, is_estimated| cool_until(CooldownScope::Account, until, reason, is_estimated);
    if has_form_of(answer.error, facts.provider) {
        account_unavailable(answer, facts, reason, None, now)
    } else if answer.error.is_silent() {
        cool(intermediary_cooldown_end(answer, now), true)
    } else {
        cool(seconds_after(now, MONEY_SECONDS), false)
    }
}

/// The requests for the model in the tier of this request.
fn model_scope(facts: &RequestFacts<'_>) -> CooldownScope {
    CooldownScope::Model(facts.tier.model_key(facts.model).into_owned())
}

/// As [`model_scope`], or all fast requests if this is one.
fn feature_scope(facts: &RequestFacts<'_>) -> CooldownScope {
    if facts.is_fast { CooldownScope::Fast } else { model_scope(facts) }
}

/// Whether the request alone is larger than the limit: the message names a limit of tokens that is
/// unused according to the headers, or Google names a quota below the request's likely length.
/// Anthropic's message is the same for each 429: "This request would exceed the rate limit for your
/// organization of 20,000 input tokens per minute" (reports of 2026). Azure counts `max_tokens` too:
/// "exceeded token rate limit" ("Quota", 2026-11).
fn exceeds_limit_alone(answer: &UpstreamError<'_>, facts: &RequestFacts<'_>) -> bool {
    let names = |limit: &&str| answer.error.message.contains(limit);
    answer.announced.unused_limits.iter().any(names)
        || answer.error.token_quota.is_some_and(|quota| facts.body_bytes / BYTES_PER_TOKEN > quota)
}

fn rate_limited(
    error: &UpstreamError<'_>,
    facts: &RequestFacts<'_>,
    now: Timestamp,
) -> AccountEffect {
    if !has_form_of(error.error, facts.provider) {
        return limited_by_intermediary(error, facts, now);
    }
    let announced = error.announced;
    let is_fast = facts.is_fast && announced.is_fast_spent;
    let scope = match &announced.family {
        _ if is_fast => CooldownScope::Fast,
        Some(family) => CooldownScope::Family(family.clone()),
        None if announced.is_whole_account => CooldownScope::Account,
        None => model_scope(facts),
    };
    let seconds_max = (rules(facts.provider).rate_reset_seconds_max)(&scope);
    let reset = if is_fast { announced.fast_reset } else { announced.reset };
    let until = until_reset(error, reset, now);
    let is_estimated = until.is_none();
    let until = until.unwrap_or_else(|| seconds_after(now, RATE_SECONDS));
    let until = limit_cooldown(now, until, seconds_max);
    cool_until(scope, until, CooldownReason::RateLimited, is_estimated)
}

/// A 429 in a form that is not the vendor's. The limit is not one of the account's own, so the
/// headers do not count beyond a short time. Repetitions double the cooldown, and the next request
/// after it shows whether the limit still holds.
fn limited_by_intermediary(
    answer: &UpstreamError<'_>,
    facts: &RequestFacts<'_>,
    now: Timestamp,
) -> AccountEffect {
    AccountEffect::Cooldown {
        scope: model_scope(facts),
        until: intermediary_cooldown_end(answer, now),
        reason: CooldownReason::RateLimited,
        is_estimated: true,
        token_version: None,
        doubles: true,
    }
}

fn intermediary_cooldown_end(answer: &UpstreamError<'_>, now: Timestamp) -> Timestamp {
    let until = until_reset(answer, None, now).unwrap_or_else(|| seconds_after(now, RATE_SECONDS));
    limit_cooldown(now, until, INTERMEDIARY_SECONDS_MAX)
}

/// The time that the answer names, if it is in the future.
fn until_reset(
    error: &UpstreamError<'_>,
    reset: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    let wait = error.announced.retry_after.or(error.error.retry_delay);
    if let Some(wait) = wait {
        return Some(now.saturating_add(wait).unwrap_or(Timestamp::MAX));
    }
    let reset = reset.filter(|reset| *reset > now)?;
    // Resets are given in whole seconds.
    Some(reset.saturating_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX))
}

/// The platform is overloaded, not the account, so the cooldown is 5 to 10 seconds, whatever the
/// answer says.
fn cool_overloaded_account(now: Timestamp, jitter: u8) -> AccountEffect {
    let millis = 5_000 + i64::from(jitter) * 5_000 / 255;
    let until = now.saturating_add(SignedDuration::from_millis(millis)).unwrap_or(Timestamp::MAX);
    cool_until(CooldownScope::Account, until, CooldownReason::Overloaded, true)
}

fn cool_until(
    scope: CooldownScope,
    until: Timestamp,
    reason: CooldownReason,
    is_estimated: bool,
) -> AccountEffect {
    AccountEffect::Cooldown {
        scope,
        until,
        reason,
        is_estimated,
        token_version: None,
        doubles: false,
    }
}

fn seconds_after(now: Timestamp, seconds: i64) -> Timestamp {
    now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

fn limit_cooldown(now: Timestamp, until: Timestamp, seconds_max: i64) -> Timestamp {
    until.clamp(now, seconds_after(now, seconds_max))
}

#[cfg(test)]
mod tests;
