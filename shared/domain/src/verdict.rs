//! The meaning of an upstream failure for the request and for the account: it counts against
//! nothing, against an account with one model, or against the account.
//!
//! This module is pure: it reaches a [`Verdict`], and the relay acts on it. The vendors' names for
//! errors are in [`vendors`].

mod fault;
mod vendors;

pub use fault::ErrorFields;

use crate::account::{CredentialKind, Provider};
use crate::reason::RestReason;
use jiff::{SignedDuration, Timestamp};
use std::fmt;
use vendors::{Meaning, Seen, meaning};

/// How an upstream call failed, before anything was sent to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure<'a> {
    /// The upstream answered with an error status.
    Status(UpstreamError<'a>),
    /// The stream's first event was an error. The status is the one that it stands for.
    FirstEvent(UpstreamError<'a>),
    /// No connection, or it broke before the answer.
    Unreachable,
    /// The first byte took too long.
    Timeout,
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
    /// Whether the whole account is said to be limited.
    pub is_whole_account: bool,
    /// The one model family that is limited.
    pub family: Option<String>,
}

/// The facts about the request and the account that the decision needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestFacts<'a> {
    /// The kind of upstream.
    pub provider: Provider,
    /// What the account's credential is made of.
    pub credential: CredentialKind,
    /// The number of the account's token, if it is a renewed one.
    pub token_issue: Option<u64>,
    /// The model, by the name that the upstream knows it by.
    pub model: &'a str,
    /// Whether fast speed was asked for.
    pub is_fast: bool,
}

/// What to do about a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent fact of the answer")]
pub struct Verdict {
    /// What happens to the request.
    pub request: Next,
    /// What happens to the account.
    pub account: Effect,
    /// Whether a new token must be requested.
    pub asks_renewal: bool,
    /// Whether the upstream's message is about the organization's credential or money, which
    /// clients must not see.
    pub is_private: bool,
    /// Whether it is a 401 or 403. If one request gets two of them, the request is the cause.
    pub is_refusal: bool,
    /// Whether the upstream's words are about the credential itself, rather than about what was
    /// asked with it.
    pub names_credential: bool,
}

/// What happens to the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The client caused it or must see it.
    PassOn,
    /// Another account may do better.
    TryAnother,
}

/// For which requests an account rests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestScope {
    /// For all.
    Account,
    /// For models of this family.
    Family(String),
    /// For this model.
    Model(String),
    /// For requests at fast speed.
    Fast,
}

/// What happens to the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Nothing is held against it.
    Nothing,
    /// Not before `until`.
    Rest {
        /// For which requests.
        scope: RestScope,
        /// When it may be used again.
        until: Timestamp,
        /// Why.
        reason: RestReason,
        /// The upstream has named no time and may answer earlier.
        is_guess: bool,
        /// Another token than this one ends it.
        token_issue: Option<u64>,
    },
    /// The credential may be refused, but the request can be the cause as well. It counts against
    /// the account only after a credential probe has failed too.
    Suspect {
        /// What is suspected.
        reason: RestReason,
    },
    /// Nothing is held against it, but its credential does not permit this operation.
    NotPermitted,
    /// One more failure of the kind that opens the circuit after three in a minute.
    Strike {
        /// Why.
        reason: RestReason,
    },
}

impl fmt::Display for Next {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::PassOn => "the client is told",
            Self::TryAnother => "another account may do better",
        })
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scope, until, reason) = match self {
            Self::Nothing => return out.write_str("nothing is held against the account"),
            Self::NotPermitted => {
                return out.write_str("the account's credential does not permit the operation");
            }
            Self::Suspect { reason } => return write!(out, "to be confirmed: {reason}"),
            Self::Strike { reason } => return write!(out, "a strike: {reason}"),
            Self::Rest { scope, until, reason, .. } => (scope, until, reason),
        };
        let until = until.strftime("%Y-%m-%dT%H:%M:%SZ");
        match scope {
            RestScope::Account => write!(out, "the account rests until {until}: {reason}"),
            RestScope::Family(family) => write!(out, "{family} rests until {until}: {reason}"),
            RestScope::Model(_) => write!(out, "the model rests until {until}: {reason}"),
            RestScope::Fast => write!(out, "fast speed rests until {until}: {reason}"),
        }
    }
}

/// How long a refused token waits for a new one.
const RENEWAL_SECONDS: i64 = 60;
/// Cooldowns where the upstream names no time: for money, for something forbidden or missing, for a
/// rate.
const MONEY_SECONDS: i64 = 600;
const FORBIDDEN_SECONDS: i64 = 300;
const RATE_SECONDS: i64 = 30;
/// The longest cooldown, so that a nonsense header does not disable an account for years.
const REST_SECONDS_MAX: i64 = 31 * 24 * 3600;

/// Decides what `failure` at `now` means. `jitter` is a die of 0..=255 that spreads the return of
/// overloaded accounts.
pub fn classify(
    failure: &Failure<'_>,
    facts: &RequestFacts<'_>,
    now: Timestamp,
    jitter: u8,
) -> Verdict {
    match failure {
        Failure::Status(error) => of_error(error, facts, now, jitter),
        Failure::FirstEvent(error) => {
            let verdict = of_error(error, facts, now, jitter);
            match verdict.account {
                Effect::Strike { .. } => strike(RestReason::StreamError),
                _ => verdict,
            }
        }
        Failure::NotAsked => elsewhere(Effect::Nothing),
        Failure::Unreachable => strike(RestReason::Unreachable),
        Failure::Timeout => strike(RestReason::TimedOut),
    }
}

/// The effect of a confirmed suspicion: a free call with the credential has failed with this
/// status.
pub fn confirmed(reason: RestReason, now: Timestamp) -> Option<Effect> {
    let rest = |scope| rest(scope, later(now, FORBIDDEN_SECONDS), reason, false);
    (reason == RestReason::Forbidden).then(|| rest(RestScope::Account))
}

fn of_error(
    answer: &UpstreamError<'_>,
    facts: &RequestFacts<'_>,
    now: Timestamp,
    jitter: u8,
) -> Verdict {
    let UpstreamError { status, error, .. } = *answer;
    let is_refusal = matches!(status, 401 | 403);
    let seen = Seen { status, error, model: facts.model };
    let verdict = match meaning(facts.provider, &seen) {
        Some(Meaning::TooMuch) => elsewhere(Effect::Nothing),
        Some(Meaning::Unavailable) => elsewhere(unavailable(facts, now)),
        // Other accounts of the request may well permit it, however many do not.
        Some(Meaning::NotPermitted) => return private(Effect::NotPermitted),
        Some(Meaning::Out(reason, until)) => private(out(answer, (reason, until), now)),
        Some(Meaning::Refused) => named(refused(facts, RestReason::CredentialRefused, now)),
        Some(Meaning::Blocked) => named(refused(facts, RestReason::Forbidden, now)),
        Some(Meaning::WrongPlace) => {
            let until = later(now, FORBIDDEN_SECONDS);
            private(rest(RestScope::Account, until, RestReason::Forbidden, true))
        }
        None => of_status(answer, facts, now, jitter),
    };
    let names_credential = verdict.names_credential || error.names_credential();
    Verdict { is_refusal, names_credential, ..verdict }
}

/// By the status alone, where no vendor has a name for it.
#[expect(clippy::match_same_arms, reason = "a table: each row has its own reason")]
fn of_status(
    answer: &UpstreamError<'_>,
    facts: &RequestFacts<'_>,
    now: Timestamp,
    jitter: u8,
) -> Verdict {
    let is_overloaded = answer.error.is_any(&[
        "overloaded_error",
        "server_is_overloaded",
        "engine_overloaded",
        "slow_down",
    ]);
    let error = answer.error;
    match answer.status {
        401 => refused(facts, RestReason::CredentialRefused, now),
        402 => private(out(answer, (RestReason::SpendCapReached, None), now)),
        403 if error.is_any(&["authentication_error", "UNAUTHENTICATED"]) => {
            refused(facts, RestReason::CredentialRefused, now)
        }
        403 if error.is_named() => elsewhere(unavailable(facts, now)),
        // A firewall, or a proxy: it may be the request's words, or the account's address.
        403 => elsewhere(Effect::Suspect { reason: RestReason::Forbidden }),
        529 => elsewhere(overloaded(now, jitter)),
        429 | 500 | 503 if is_overloaded => elsewhere(overloaded(now, jitter)),
        429 => elsewhere(rate_limited(answer, facts, now)),
        // A page in the place of an error is a proxy's whose backend is gone. An error that names
        // nothing may be a router's: another account may have the route.
        404 | 405 | 410 | 501 if error.is_silent() => strike(RestReason::ServerError),
        404 | 405 if !error.is_named() => elsewhere(Effect::Nothing),
        501 => elsewhere(Effect::Nothing),
        410 => elsewhere(unavailable(facts, now)),
        // The account's own proxy wants to know who asks.
        407 => strike(RestReason::Unreachable),
        408 => strike(RestReason::TimedOut),
        // Sent to the wrong server, too early, or given up by somebody between: never by this side.
        421 | 425 | 499 => strike(RestReason::ServerError),
        // 520 to 527 and 530 are Cloudflare's, for an origin that is not there; 561 is a balancer's.
        500..=599 => strike(RestReason::ServerError),
        _ => Verdict { request: Next::PassOn, ..elsewhere(Effect::Nothing) },
    }
}

/// Another account is tried. If there is none, the client gets the upstream's message.
fn elsewhere(account: Effect) -> Verdict {
    let request = Next::TryAnother;
    Verdict {
        request,
        account,
        asks_renewal: false,
        is_private: false,
        is_refusal: false,
        names_credential: false,
    }
}

fn strike(reason: RestReason) -> Verdict {
    elsewhere(Effect::Strike { reason })
}

fn named(verdict: Verdict) -> Verdict {
    Verdict { names_credential: true, ..verdict }
}

fn private(account: Effect) -> Verdict {
    Verdict { is_private: true, ..elsewhere(account) }
}

fn refused(facts: &RequestFacts<'_>, reason: RestReason, now: Timestamp) -> Verdict {
    if !facts.credential.is_renewed() {
        return private(Effect::Suspect { reason });
    }
    let until = later(now, RENEWAL_SECONDS);
    let account = Effect::Rest {
        scope: RestScope::Account,
        until,
        reason: RestReason::TokenRefused,
        is_guess: false,
        token_issue: facts.token_issue,
    };
    Verdict { asks_renewal: true, ..private(account) }
}

/// An estimated cooldown, because clients choose models and features: the account still serves if
/// there is no other.
fn unavailable(facts: &RequestFacts<'_>, now: Timestamp) -> Effect {
    let scope =
        if facts.is_fast { RestScope::Fast } else { RestScope::Model(facts.model.to_owned()) };
    rest(scope, later(now, FORBIDDEN_SECONDS), RestReason::ModelUnavailable, true)
}

fn out(
    answer: &UpstreamError<'_>,
    (reason, named): (RestReason, Option<Timestamp>),
    now: Timestamp,
) -> Effect {
    let announced = until_reset(answer, answer.announced.reset, now);
    let named = named.filter(|until| *until > now);
    let until = named.or(announced).unwrap_or_else(|| later(now, MONEY_SECONDS));
    rest(RestScope::Account, bounded(now, until), reason, false)
}

fn rate_limited(answer: &UpstreamError<'_>, facts: &RequestFacts<'_>, now: Timestamp) -> Effect {
    let announced = answer.announced;
    let is_fast = facts.is_fast && announced.is_fast_spent;
    let scope = match &announced.family {
        _ if is_fast => RestScope::Fast,
        Some(family) => RestScope::Family(family.clone()),
        None if announced.is_whole_account => RestScope::Account,
        None => RestScope::Model(facts.model.to_owned()),
    };
    let reset = if is_fast { announced.fast_reset } else { announced.reset };
    let until = until_reset(answer, reset, now);
    let is_guess = until.is_none();
    let until = until.unwrap_or_else(|| later(now, RATE_SECONDS));
    rest(scope, bounded(now, until), RestReason::RateLimited, is_guess)
}

/// The moment that the answer names, if it is in the future.
fn until_reset(
    answer: &UpstreamError<'_>,
    reset: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    let wait = answer.announced.retry_after.or(answer.error.retry_delay);
    if let Some(wait) = wait {
        return Some(now.saturating_add(wait).unwrap_or(Timestamp::MAX));
    }
    let reset = reset.filter(|reset| *reset > now)?;
    // Resets are stated in whole seconds.
    Some(reset.saturating_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX))
}

/// The platform is overloaded, not the account: 5 to 10 seconds, whatever the answer says.
fn overloaded(now: Timestamp, jitter: u8) -> Effect {
    let millis = 5_000 + i64::from(jitter) * 5_000 / 255;
    let until = now.saturating_add(SignedDuration::from_millis(millis)).unwrap_or(Timestamp::MAX);
    rest(RestScope::Account, until, RestReason::Overloaded, true)
}

fn rest(scope: RestScope, until: Timestamp, reason: RestReason, is_guess: bool) -> Effect {
    Effect::Rest { scope, until, reason, is_guess, token_issue: None }
}

fn later(now: Timestamp, seconds: i64) -> Timestamp {
    now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

fn bounded(now: Timestamp, until: Timestamp) -> Timestamp {
    until.clamp(now, later(now, REST_SECONDS_MAX))
}

#[cfg(test)]
#[path = "verdict/account_table.rs"]
mod account_table;
#[cfg(test)]
#[path = "verdict/table.rs"]
mod table;
