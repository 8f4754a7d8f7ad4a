//! How an upstream call failed, and the verdict about it: what the failure means for the request
//! and for the account. A failure can have no effect on the account, affect the account with one
//! model, or affect the whole account.
//!
//! The crate `baton-providers` reaches the [`Verdict`], and the relay acts on it.

mod error_fields;

pub use error_fields::{ErrorFields, MESSAGE_FIELDS, base_resp_name, error_text};

use crate::account::{CredentialKind, Provider};
use crate::cooldown_reason::CooldownReason;
use crate::request_tier::RequestTier;
use jiff::{SignedDuration, Timestamp};
use std::fmt;

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
    InvalidResponse,
    /// The upstream answered with success and a model's answer that cannot be passed on: it is too
    /// long, damaged, or cannot be translated. Another call would be billed once more.
    UnusableResponse,
    /// The connection broke inside a model's answer, which the upstream can bill.
    IncompleteResponse,
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
    /// Whether the upstream bills something with its error: it reported usage or sent output of a
    /// model. Another call would be billed once more.
    pub is_billed: bool,
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
    /// The limits of tokens of which nothing or little is used, in the words of messages: `input
    /// tokens per minute`.
    pub unused_limits: Vec<&'static str>,
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
    /// The length of the request's body.
    pub body_bytes: u64,
    /// Whether the request asks for fast speed.
    pub is_fast: bool,
    /// The tier that the request asks for.
    pub tier: RequestTier,
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
        is_estimated: bool,
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
    /// The failure is counted. Three of them within a minute open the circuit.
    CountFailure {
        /// The reason.
        reason: CooldownReason,
    },
}

impl fmt::Display for RetryDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReturnToClient => "the error goes to the client",
            Self::TryAnother => "another account is tried if there is one",
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
            Self::CountFailure { reason } => {
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
