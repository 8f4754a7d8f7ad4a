//! What an upstream failure means (design §4): for the request, and for the account.
//!
//! Pure: the relay acts on a [`Verdict`], this module only reaches it.

use crate::account::CredentialKind;
use jiff::{SignedDuration, Timestamp};

/// How an upstream call failed, before anything was sent to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure<'a> {
    /// The upstream answered with an error status.
    Status(Answer<'a>),
    /// The stream's first event was an error, of this type.
    FirstEvent {
        /// The error's type.
        kind: &'a str,
    },
    /// No connection, or it broke before the answer.
    Unreachable,
    /// The first byte took too long.
    Timeout,
    /// It was not called: the request cannot be put in its words.
    NotAsked,
}

/// An upstream's error answer, as far as the decision needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer<'a> {
    /// HTTP status.
    pub status: u16,
    /// `retry-after`, in seconds, if it was told and readable.
    pub retry_after: Option<u64>,
    /// The latest announced reset of an exhausted limit.
    pub reset: Option<Timestamp>,
    /// The one model family that is limited, if it is not the whole account.
    pub family: Option<&'a str>,
    /// The beginning of the body, as text.
    pub body: &'a str,
}

/// What to do about a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What happens to the request.
    pub request: Next,
    /// What happens to the account.
    pub account: Effect,
    /// Whether a new token is to be asked for.
    pub asks_renewal: bool,
}

/// What happens to the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The client caused it or must see it.
    PassOn,
    /// Another account may do better.
    TryAnother,
}

/// What happens to the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Nothing is held against it.
    Nothing,
    /// Not before `until`.
    Cool {
        /// When it may be used again.
        until: Timestamp,
        /// Why.
        reason: &'static str,
        /// The model family that it holds for, if not for all.
        family: Option<String>,
        /// The upstream has named no time and may well answer before.
        is_guess: bool,
    },
    /// Its credential is refused.
    AuthFailed {
        /// Why.
        reason: &'static str,
    },
    /// One more failure of the kind that opens the circuit after three in a minute.
    Strike {
        /// Why.
        reason: &'static str,
    },
}

/// A refused token waits so long for a new one.
const RENEWAL_SECONDS: i64 = 60;

/// Decides what `failure` at `now` means for an account with such a credential. `jitter` is a die
/// of 0..=255 that spreads the return of overloaded accounts.
pub fn classify(
    failure: &Failure<'_>,
    credential: CredentialKind,
    now: Timestamp,
    jitter: u8,
) -> Verdict {
    let asks_renewal =
        credential.is_renewed() && matches!(failure, Failure::Status(Answer { status: 401, .. }));
    if asks_renewal {
        let reason = "the token is refused (401); a new one is asked for";
        let account = cool(now, RENEWAL_SECONDS, reason, false);
        return Verdict { request: Next::TryAnother, account, asks_renewal };
    }
    let (request, account) = match failure {
        Failure::Status(answer) => return of_status(answer, now, jitter),
        Failure::FirstEvent { kind: "overloaded_error" } => {
            (Next::TryAnother, overloaded(now, jitter))
        }
        Failure::FirstEvent { kind: "api_error" | "timeout_error" | "server_error" } => (
            Next::TryAnother,
            Effect::Strike { reason: "the upstream's stream began with an error" },
        ),
        Failure::FirstEvent { kind: "rate_limit_error" | "rate_limit_exceeded" } => {
            (Next::TryAnother, cool(now, 30, "rate limited", true))
        }
        Failure::FirstEvent { kind: "insufficient_quota" } => {
            (Next::TryAnother, cool(now, 600, "spend cap reached", false))
        }
        Failure::FirstEvent { .. } => (Next::PassOn, Effect::Nothing),
        Failure::NotAsked => (Next::TryAnother, Effect::Nothing),
        Failure::Unreachable => (Next::TryAnother, Effect::Strike { reason: "unreachable" }),
        Failure::Timeout => (Next::TryAnother, Effect::Strike { reason: "no answer in time" }),
    };
    Verdict { request, account, asks_renewal: false }
}

fn of_status(answer: &Answer<'_>, now: Timestamp, jitter: u8) -> Verdict {
    let account = match answer.status {
        401 => Effect::AuthFailed { reason: "the upstream refuses the credential (401)" },
        403 if says_disabled(answer.body) => {
            Effect::AuthFailed { reason: "the upstream has disabled the account (403)" }
        }
        403 => cool(now, 300, "forbidden (403)", false),
        402 => until_reset(answer, now, (600, false), "spend cap reached (402)"),
        429 if says_spend_cap(answer.body) => {
            until_reset(answer, now, (600, false), "spend cap reached (429)")
        }
        429 => until_reset(answer, now, (30, true), "rate limited (429)"),
        529 => overloaded(now, jitter),
        500 | 502 | 503 | 504 => Effect::Strike { reason: "server error" },
        _ => return pass_on(),
    };
    Verdict { request: Next::TryAnother, account, asks_renewal: false }
}

fn pass_on() -> Verdict {
    Verdict { request: Next::PassOn, account: Effect::Nothing, asks_renewal: false }
}

/// As long as the answer says, for whom it says; `otherwise` (seconds, and whether that is a mere
/// guess) where it names no time to come.
fn until_reset(
    answer: &Answer<'_>,
    now: Timestamp,
    otherwise: (i64, bool),
    reason: &'static str,
) -> Effect {
    let announced = answer.reset.filter(|reset| *reset > now);
    let (seconds, is_guess) = match (answer.retry_after, announced) {
        (Some(seconds), _) => (i64::try_from(seconds).unwrap_or(i64::MAX), false),
        (None, Some(reset)) => (reset.duration_since(now).as_secs().saturating_add(1), false),
        (None, None) => otherwise,
    };
    let family = answer.family.map(str::to_owned);
    Effect::Cool { until: later(now, seconds), reason, family, is_guess }
}

/// It is the platform, not the account: 5 to 10 seconds.
fn overloaded(now: Timestamp, jitter: u8) -> Effect {
    let millis = 5_000 + i64::from(jitter) * 5_000 / 255;
    let until = now.saturating_add(SignedDuration::from_millis(millis)).unwrap_or(Timestamp::MAX);
    Effect::Cool { until, reason: "overloaded (529)", family: None, is_guess: true }
}

fn cool(now: Timestamp, seconds: i64, reason: &'static str, is_guess: bool) -> Effect {
    Effect::Cool { until: later(now, seconds), reason, family: None, is_guess }
}

/// At most 31 days: a nonsense header must not bury an account.
fn later(now: Timestamp, seconds: i64) -> Timestamp {
    let seconds = seconds.clamp(0, 31 * 24 * 3600);
    now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

fn says_disabled(body: &str) -> bool {
    ["disabled", "revoked", "deactivated"].iter().any(|word| body.contains(word))
}

fn says_spend_cap(body: &str) -> bool {
    ["spend", "billing", "credit balance", "insufficient_quota"]
        .iter()
        .any(|word| body.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-22T21:00:00Z".parse().unwrap()
    }

    fn status(status: u16, retry_after: Option<u64>, body: &str) -> Verdict {
        let answer = Answer { status, retry_after, reset: None, family: None, body };
        classify(&Failure::Status(answer), CredentialKind::ApiKey, now(), 0)
    }

    fn cooled(verdict: &Verdict) -> i64 {
        match verdict.account {
            Effect::Cool { until, .. } => until.duration_since(now()).as_secs(),
            ref other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_refused_token_is_renewed_and_a_refused_key_is_not() {
        let answer = Answer { status: 401, retry_after: None, reset: None, family: None, body: "" };
        let of = |kind| classify(&Failure::Status(answer), kind, now(), 0);
        let token = of(CredentialKind::Oauth2);
        assert_eq!((token.request, token.asks_renewal), (Next::TryAnother, true));
        assert_eq!(cooled(&token), 60);
        let key = of(CredentialKind::Bearer);
        assert!(matches!(key.account, Effect::AuthFailed { .. }) && !key.asks_renewal);
    }

    #[test]
    fn a_request_that_is_wrong_stays_with_its_sender() {
        for code in [400, 404, 405, 409, 413, 422] {
            let verdict = status(code, None, "");
            assert_eq!(verdict, pass_on(), "{code}");
        }
    }

    #[test]
    fn every_other_status_goes_to_another_account() {
        for code in [401, 402, 403, 429, 500, 502, 503, 504, 529] {
            assert_eq!(status(code, None, "").request, Next::TryAnother, "{code}");
        }
    }

    #[test]
    fn cooling_lasts_as_long_as_the_upstream_says() {
        assert_eq!(cooled(&status(429, Some(17), "")), 17);
        assert_eq!(cooled(&status(429, None, "")), 30);
        assert_eq!(cooled(&status(429, None, "credit balance is too low")), 600);
        assert_eq!(cooled(&status(402, None, "")), 600);
        assert_eq!(cooled(&status(403, None, "")), 300);
        assert_eq!(cooled(&status(529, None, "")), 5);
        assert_eq!(cooled(&status(429, Some(u64::MAX), "")), 31 * 24 * 3600);
    }

    #[test]
    fn what_the_upstream_does_not_say_is_a_guess() {
        let is_guess = |code, retry_after, body| match status(code, retry_after, body).account {
            Effect::Cool { is_guess, .. } => is_guess,
            other => panic!("{other:?}"),
        };
        assert!(is_guess(429, None, ""));
        assert!(is_guess(529, None, ""));
        assert!(!is_guess(429, Some(17), ""));
        assert!(!is_guess(429, None, "credit balance is too low"), "money does not come back");
        assert!(!is_guess(402, None, ""));
        assert!(!is_guess(403, None, ""));
    }

    #[test]
    fn a_reset_counts_if_it_is_to_come_and_may_be_of_one_family() {
        let until = |reset: &str, family| {
            let reset = Some(reset.parse().unwrap());
            let answer = Answer { status: 429, retry_after: None, reset, family, body: "" };
            classify(&Failure::Status(answer), CredentialKind::ApiKey, now(), 0)
        };
        assert_eq!(cooled(&until("2026-11-22T22:00:00Z", None)), 3601);
        assert_eq!(cooled(&until("2026-11-22T20:00:00Z", None)), 30, "a reset gone by");
        assert_eq!(cooled(&until("2999-01-01T00:00:00Z", None)), 31 * 24 * 3600);
        let verdict = until("2026-11-22T22:00:00Z", Some("opus"));
        assert!(matches!(verdict.account, Effect::Cool { family: Some(f), .. } if f == "opus"));
    }

    #[test]
    fn a_refused_credential_is_told_from_a_refused_request() {
        assert!(matches!(status(401, None, "").account, Effect::AuthFailed { .. }));
        assert!(matches!(status(403, None, "key was revoked").account, Effect::AuthFailed { .. }));
    }

    #[test]
    fn who_was_not_asked_has_done_nothing_wrong() {
        let expect =
            Verdict { request: Next::TryAnother, account: Effect::Nothing, asks_renewal: false };
        assert_eq!(classify(&Failure::NotAsked, CredentialKind::ApiKey, now(), 0), expect);
    }

    #[test]
    fn a_stream_that_begins_with_an_error_counts_like_the_status() {
        let first =
            |kind| classify(&Failure::FirstEvent { kind }, CredentialKind::ApiKey, now(), 255);
        assert_eq!(cooled(&first("overloaded_error")), 10);
        assert_eq!(first("invalid_request_error").request, Next::PassOn);
        for kind in ["api_error", "server_error"] {
            assert!(matches!(first(kind).account, Effect::Strike { .. }), "{kind}");
        }
        assert_eq!(cooled(&first("rate_limit_exceeded")), 30);
        assert_eq!(cooled(&first("insufficient_quota")), 600);
    }
}
