//! The meaning of an upstream failure for the request and for the account. A failure can have no
//! effect on the account, affect the account with one model, or affect the whole account.
//!
//! This module is pure: it reaches a [`Verdict`], and the relay acts on it. The vendors' names for
//! errors are in [`vendors`].

mod error_fields;
mod vendors;

pub use error_fields::ErrorFields;

use crate::account::{CredentialKind, Provider};
use crate::cooldown_reason::CooldownReason;
use jiff::{SignedDuration, Timestamp};
use std::fmt;
use vendors::{ErrorMeaning, SeenError, meaning};

/// How an upstream call failed, before anything was sent to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallFailure<'a> {
    /// The upstream answered with an error status.
    Status(UpstreamError<'a>),
    /// The stream's first event was an error. The status is the one that it stands for.
    FirstEvent(UpstreamError<'a>),
    /// No connection, or it broke before the answer.
    Unreachable,
    /// The first byte took too long.
    Timeout,
    /// The upstream answered with success, but not with an answer of its API: a page of a proxy, or
    /// nothing.
    InvalidAnswer,
    /// The upstream answered with success and a model's answer that cannot be passed on: it is too
    /// long, damaged, or cannot be translated. Another call would be billed once more.
    UnusableAnswer,
    /// The connection broke inside a model's answer, which the upstream can bill.
    BrokenAnswer,
    /// The upstream was not called, because the request cannot be converted to its protocol.
    NotAsked,
}

/// An upstream's error, as far as the decision needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamError<'a> {
    /// HTTP status.
    pub status: u16,
    /// The limits that the headers announce.
    pub announced: &'a AnnouncedLimit,
    /// The fields of the body.
    pub error: &'a ErrorFields,
}

/// The limit that the headers of an answer announce.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnnouncedLimit {
    /// `retry-after` or `retry-after-ms`, from now.
    pub retry_after: Option<SignedDuration>,
    /// The latest reset of an exhausted limit.
    pub reset: Option<Timestamp>,
    /// The latest reset of an exhausted limit of fast speed.
    pub fast_reset: Option<Timestamp>,
    /// Whether a limit of fast speed is exhausted.
    pub is_fast_spent: bool,
    /// Whether the headers say that the whole account is limited.
    pub is_whole_account: bool,
    /// The one model family that is limited.
    pub family: Option<String>,
}

/// The facts about the request and the account that the decision needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestFacts<'a> {
    /// The kind of upstream.
    pub provider: Provider,
    /// The kind of the account's credential.
    pub credential: CredentialKind,
    /// The issue number of the account's token, if the token is a renewed one.
    pub token_version: Option<u64>,
    /// The model, by its name at the upstream.
    pub model: &'a str,
    /// Whether the request asks for fast speed.
    pub is_fast: bool,
}

/// The decision about a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent fact of the answer")]
pub struct Verdict {
    /// The decision about the request.
    pub request: RetryDecision,
    /// The effect on the account.
    pub account: AccountEffect,
    /// Whether a new token must be requested.
    pub needs_token_renewal: bool,
    /// Whether the upstream's message is about the organization's credential or money. Clients must
    /// not see such a message.
    pub is_private: bool,
    /// Whether the status is 401 or 403. If one request gets two of these, the request is the
    /// cause.
    pub is_refusal: bool,
    /// Whether the upstream's error blames the credential itself and not the requested operation.
    pub names_credential: bool,
}

/// The decision about the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDecision {
    /// The client caused the failure or must see it.
    ReturnToClient,
    /// Another account can succeed.
    TryAnother,
}

/// The requests for which an account is not used during a cooldown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CooldownScope {
    /// All requests.
    Account,
    /// Requests for models of this family.
    Family(String),
    /// Requests for this model.
    Model(String),
    /// Requests at fast speed.
    Fast,
}

/// The effect on the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountEffect {
    /// The failure does not count against the account.
    Nothing,
    /// The account is not used before `until`.
    Cooldown {
        /// The requests that this affects.
        scope: CooldownScope,
        /// When the account can be used again.
        until: Timestamp,
        /// The reason.
        reason: CooldownReason,
        /// Whether the time is an estimate, because the upstream has not named one.
        is_guess: bool,
        /// A token with another issue number ends the cooldown.
        token_version: Option<u64>,
        /// Whether a repetition after the end of the cooldown doubles its length.
        doubles: bool,
    },
    /// The credential was perhaps refused, but the request can be the cause as well. This counts
    /// against the account only after a credential probe has failed too.
    Suspect {
        /// The suspected reason.
        reason: CooldownReason,
    },
    /// The failure does not count against the account, but its credential does not permit this
    /// operation.
    NotPermitted,
    /// A failure of the kind that opens the circuit after three in a minute.
    Strike {
        /// The reason.
        reason: CooldownReason,
    },
}

impl fmt::Display for RetryDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReturnToClient => "the error goes to the client",
            Self::TryAnother => "another account is tried",
        })
    }
}

impl fmt::Display for AccountEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scope, until, reason) = match self {
            Self::Nothing => return f.write_str("the account's health does not change"),
            Self::NotPermitted => {
                return f.write_str("the account's credential does not permit the operation");
            }
            Self::Suspect { reason } => return write!(f, "a credential check decides: {reason}"),
            Self::Strike { reason } => {
                return write!(f, "counted as a failure of the account: {reason}");
            }
            Self::Cooldown { scope, until, reason, .. } => (scope, until, reason),
        };
        let until = until.strftime("%Y-%m-%dT%H:%M:%SZ");
        match scope {
            CooldownScope::Account => {
                write!(f, "the account is not used until {until}: {reason}")
            }
            CooldownScope::Family(family) => {
                write!(f, "the models {family} are not used until {until}: {reason}")
            }
            CooldownScope::Model(_) => write!(f, "the model is not used until {until}: {reason}"),
            CooldownScope::Fast => write!(f, "fast speed is not used until {until}: {reason}"),
        }
    }
}

/// How long an account with a refused token waits for a new one.
const RENEWAL_SECONDS: i64 = 60;
/// Cooldowns for cases where the upstream names no time: for money, for something forbidden or
/// missing, and for a rate.
const MONEY_SECONDS: i64 = 600;
const FORBIDDEN_SECONDS: i64 = 300;
const RATE_SECONDS: i64 = 30;
/// The longest cooldown that an answer can announce if it does not have the vendor's form of an
/// error. A proxy or a firewall has sent it, and its time says nothing about the account's limits.
const INTERMEDIARY_SECONDS_MAX: i64 = 60;
/// The longest time until the reset of a limit of money: vendors have limits for each month.
const MONEY_SECONDS_MAX: i64 = 31 * DAY_SECONDS;
/// The longest time until the reset of a rate limit of an API. OpenAI ("Rate limits", 2026-11),
/// Groq and Google count requests and tokens by minute and by day, Anthropic by minute.
const RATE_SECONDS_MAX: i64 = DAY_SECONDS;
/// The longest time until the reset of a limit of an Anthropic subscription: these count five hours
/// or seven days (support.claude.com, "Usage limits", 2026-11).
const SUBSCRIPTION_SECONDS_MAX: i64 = 7 * DAY_SECONDS;
/// The longest time that an answer of Bedrock can announce. Bedrock documents no header for it
/// ("Troubleshooting Amazon Bedrock API Error Codes", 2026-11), so another server has sent it.
const BEDROCK_SECONDS_MAX: i64 = INTERMEDIARY_SECONDS_MAX;
const DAY_SECONDS: i64 = 24 * 3600;

/// Decides what `failure` at `now` means. `jitter` is a random number in 0..=255 that spreads the
/// return of overloaded accounts over time.
pub fn classify(
    failure: &CallFailure<'_>,
    facts: &RequestFacts<'_>,
    now: Timestamp,
    jitter: u8,
) -> Verdict {
    match failure {
        CallFailure::Status(error) => of_error(error, facts, now, jitter),
        CallFailure::FirstEvent(error) => {
            let verdict = of_error(error, facts, now, jitter);
            match verdict.account {
                AccountEffect::Strike { .. } => strike(CooldownReason::StreamError),
                _ => verdict,
            }
        }
        CallFailure::NotAsked | CallFailure::InvalidAnswer => {
            try_another_account(AccountEffect::Nothing)
        }
        CallFailure::UnusableAnswer => return_to_client(AccountEffect::Nothing),
        CallFailure::BrokenAnswer => {
            return_to_client(AccountEffect::Strike { reason: CooldownReason::Unreachable })
        }
        CallFailure::Unreachable => strike(CooldownReason::Unreachable),
        CallFailure::Timeout => strike(CooldownReason::TimedOut),
    }
}

/// The effect of a confirmed suspicion: a free call with the credential has failed with this
/// status.
pub fn confirm_suspicion(reason: CooldownReason, now: Timestamp) -> Option<AccountEffect> {
    let rest = |scope| cool_until(scope, later(now, FORBIDDEN_SECONDS), reason, false);
    (reason == CooldownReason::Forbidden).then(|| rest(CooldownScope::Account))
}

fn of_error(
    upstream_error: &UpstreamError<'_>,
    facts: &RequestFacts<'_>,
    now: Timestamp,
    jitter: u8,
) -> Verdict {
    let UpstreamError { status, error, .. } = *upstream_error;
    let is_refusal = matches!(status, 401 | 403);
    let recognized_error = SeenError { status, error, model: facts.model };
    let verdict = match meaning(facts.provider, &recognized_error) {
        Some(ErrorMeaning::RequestTooLarge) => try_another_account(AccountEffect::Nothing),
        Some(ErrorMeaning::Unavailable) => try_another_account(unavailable(facts, now)),
        // Other accounts can permit the operation, even if several do not.
        Some(ErrorMeaning::NotPermitted) => {
            return try_another_privately(AccountEffect::NotPermitted);
        }
        Some(ErrorMeaning::AccountUnavailable(reason, until)) => {
            try_another_privately(account_unavailable(upstream_error, facts, (reason, until), now))
        }
        Some(ErrorMeaning::Refused) => {
            named(credential_refused(facts, CooldownReason::CredentialRefused, now))
        }
        Some(ErrorMeaning::Blocked) => {
            named(credential_refused(facts, CooldownReason::Forbidden, now))
        }
        Some(ErrorMeaning::WrongPlace) => {
            let until = later(now, FORBIDDEN_SECONDS);
            try_another_privately(cool_until(
                CooldownScope::Account,
                until,
                CooldownReason::Forbidden,
                true,
            ))
        }
        None => of_status(upstream_error, facts, now, jitter),
    };
    let names_credential = verdict.names_credential || error.blames_credential();
    Verdict { is_refusal, names_credential, ..verdict }
}

/// The verdict by the status alone, if no vendor has a name for the error.
#[expect(clippy::match_same_arms, reason = "a table: each row has its own reason")]
fn of_status(
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
        402 => try_another_privately(unpaid(upstream_error, facts, now)),
        403 if error.has_name_in(&["authentication_error", "UNAUTHENTICATED"]) => {
            credential_refused(facts, CooldownReason::CredentialRefused, now)
        }
        403 if error.has_name() => try_another_account(unavailable(facts, now)),
        // A firewall or a proxy answered. The cause is either the text of the request or the
        // account's address.
        403 => try_another_account(AccountEffect::Suspect { reason: CooldownReason::Forbidden }),
        529 => try_another_account(overloaded(now, jitter)),
        429 | 500 | 503 if is_overloaded => try_another_account(overloaded(now, jitter)),
        429 => try_another_account(rate_limited(upstream_error, facts, now)),
        // A page in place of an error comes from a proxy whose backend is down. An error without a
        // name can come from a router, and another account can have the route.
        404 | 405 | 410 | 501 if error.is_silent() => strike(CooldownReason::ServerError),
        404 | 405 if !error.has_name() => try_another_account(AccountEffect::Nothing),
        501 => try_another_account(AccountEffect::Nothing),
        410 => try_another_account(unavailable(facts, now)),
        // The account's own proxy asks for credentials.
        407 => strike(CooldownReason::Unreachable),
        408 => strike(CooldownReason::TimedOut),
        // The request went to the wrong server, came too early, or was abandoned by an
        // intermediary. This side never abandons one.
        421 | 425 | 499 => strike(CooldownReason::ServerError),
        // Cloudflare sends 520 to 527 and 530 if the origin does not answer; a load balancer sends
        // 561.
        500..=599 => strike(CooldownReason::ServerError),
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

fn strike(reason: CooldownReason) -> Verdict {
    try_another_account(AccountEffect::Strike { reason })
}

fn named(verdict: Verdict) -> Verdict {
    Verdict { names_credential: true, ..verdict }
}

fn try_another_privately(account: AccountEffect) -> Verdict {
    Verdict { is_private: true, ..try_another_account(account) }
}

fn credential_refused(facts: &RequestFacts<'_>, reason: CooldownReason, now: Timestamp) -> Verdict {
    if !facts.credential.is_renewed() {
        return try_another_privately(AccountEffect::Suspect { reason });
    }
    let until = later(now, RENEWAL_SECONDS);
    let account = AccountEffect::Cooldown {
        scope: CooldownScope::Account,
        until,
        reason: CooldownReason::TokenRefused,
        is_guess: false,
        token_version: facts.token_version,
        doubles: false,
    };
    Verdict { needs_token_renewal: true, ..try_another_privately(account) }
}

/// An estimated cooldown. Clients choose models and features, so the account is still used if no
/// other is left.
fn unavailable(facts: &RequestFacts<'_>, now: Timestamp) -> AccountEffect {
    let scope = if facts.is_fast {
        CooldownScope::Fast
    } else {
        CooldownScope::Model(facts.model.to_owned())
    };
    cool_until(scope, later(now, FORBIDDEN_SECONDS), CooldownReason::ModelUnavailable, true)
}

fn account_unavailable(
    error: &UpstreamError<'_>,
    facts: &RequestFacts<'_>,
    (reason, announced_end): (CooldownReason, Option<Timestamp>),
    now: Timestamp,
) -> AccountEffect {
    let seconds_max =
        if facts.provider == Provider::Bedrock { BEDROCK_SECONDS_MAX } else { MONEY_SECONDS_MAX };
    let announced = until_reset(error, error.announced.reset, now);
    let announced = announced.map(|until| limit_cooldown(now, until, seconds_max));
    let announced_end = announced_end.filter(|until| *until > now);
    let until = announced_end.or(announced).unwrap_or_else(|| later(now, MONEY_SECONDS));
    let until = limit_cooldown(now, until, MONEY_SECONDS_MAX);
    cool_until(CooldownScope::Account, until, reason, false)
}

/// A 402 without a code. If it is a page, a server in front of the vendor has sent it. If it is JSON
/// in a form that is not the vendor's, its headers do not count.
fn unpaid(answer: &UpstreamError<'_>, facts: &RequestFacts<'_>, now: Timestamp) -> AccountEffect {
    let reason = CooldownReason::SpendCapReached;
    let cool = |until, is_guess| cool_until(CooldownScope::Account, until, reason, is_guess);
    if answer.error.has_form_of(facts.provider) {
        account_unavailable(answer, facts, (reason, None), now)
    } else if answer.error.is_silent() {
        cool(intermediary_cooldown_end(answer, now), true)
    } else {
        cool(later(now, MONEY_SECONDS), false)
    }
}

fn rate_limited(
    error: &UpstreamError<'_>,
    facts: &RequestFacts<'_>,
    now: Timestamp,
) -> AccountEffect {
    if !error.error.has_form_of(facts.provider) {
        return limited_by_intermediary(error, facts, now);
    }
    let announced = error.announced;
    let is_fast = facts.is_fast && announced.is_fast_spent;
    let scope = match &announced.family {
        _ if is_fast => CooldownScope::Fast,
        Some(family) => CooldownScope::Family(family.clone()),
        None if announced.is_whole_account => CooldownScope::Account,
        None => CooldownScope::Model(facts.model.to_owned()),
    };
    let seconds_max = match facts.provider {
        Provider::Bedrock => BEDROCK_SECONDS_MAX,
        Provider::Anthropic
            if matches!(scope, CooldownScope::Account | CooldownScope::Family(_)) =>
        {
            SUBSCRIPTION_SECONDS_MAX
        }
        Provider::Anthropic | Provider::OpenaiCompatible => RATE_SECONDS_MAX,
    };
    let reset = if is_fast { announced.fast_reset } else { announced.reset };
    let until = until_reset(error, reset, now);
    let is_guess = until.is_none();
    let until = until.unwrap_or_else(|| later(now, RATE_SECONDS));
    let until = limit_cooldown(now, until, seconds_max);
    cool_until(scope, until, CooldownReason::RateLimited, is_guess)
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
        scope: CooldownScope::Model(facts.model.to_owned()),
        until: intermediary_cooldown_end(answer, now),
        reason: CooldownReason::RateLimited,
        is_guess: true,
        token_version: None,
        doubles: true,
    }
}

fn intermediary_cooldown_end(answer: &UpstreamError<'_>, now: Timestamp) -> Timestamp {
    let until = until_reset(answer, None, now).unwrap_or_else(|| later(now, RATE_SECONDS));
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
fn overloaded(now: Timestamp, jitter: u8) -> AccountEffect {
    let millis = 5_000 + i64::from(jitter) * 5_000 / 255;
    let until = now.saturating_add(SignedDuration::from_millis(millis)).unwrap_or(Timestamp::MAX);
    cool_until(CooldownScope::Account, until, CooldownReason::Overloaded, true)
}

fn cool_until(
    scope: CooldownScope,
    until: Timestamp,
    reason: CooldownReason,
    is_guess: bool,
) -> AccountEffect {
    AccountEffect::Cooldown { scope, until, reason, is_guess, token_version: None, doubles: false }
}

fn later(now: Timestamp, seconds: i64) -> Timestamp {
    now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

fn limit_cooldown(now: Timestamp, until: Timestamp, seconds_max: i64) -> Timestamp {
    until.clamp(now, later(now, seconds_max))
}

#[cfg(test)]
mod tests;
