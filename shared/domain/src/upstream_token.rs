//! Short-lived upstream tokens: how Baton gets them, when it renews them, and what follows from the
//! result of an attempt. The functions are pure; others call the token endpoint and store the
//! answer.
//!
//! A rotating refresh token must never be sent again if its answer was possibly lost, because
//! endpoints then revoke the whole token family (RFC 9700 §4.14.2). Baton therefore stores a note
//! before it sends such a token. If the note is still there later, the answer was lost.

use crate::secret::Secret;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// The assumed lifetime of a token if its endpoint does not state one: one hour, the usual default
/// (RFC 6749 §5.1 only recommends `expires_in`).
const LIFETIME_DEFAULT: SignedDuration = SignedDuration::from_hours(1);
/// The pause after the first failed attempt. It doubles up to [`RETRY_PAUSE_MAX`].
const RETRY_PAUSE_MIN: SignedDuration = SignedDuration::from_secs(30);
const RETRY_PAUSE_MAX: SignedDuration = SignedDuration::from_mins(15);

/// How an account gets its token: all settings that are not secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenExchange {
    /// The URL of the token endpoint.
    pub token_url: String,
    /// The grant that is exchanged for a token.
    pub grant: TokenGrant,
    /// How Baton sends its client secret, if it has one.
    #[serde(default)]
    pub client_auth: ClientAuth,
}

/// The secrets of a token.
#[derive(Clone, Default, Deserialize)]
pub struct TokenSecrets {
    /// The token that is sent to the upstream.
    pub access_token: Option<Secret>,
    /// The token that is exchanged for the next access token.
    pub refresh_token: Option<Secret>,
    /// The client secret for the token endpoint, if the endpoint requires one.
    pub client_secret: Option<Secret>,
    /// The upstream and the token endpoint that the secrets were given for. It is encrypted
    /// together with them.
    pub bound_to: Option<String>,
}

impl TokenSecrets {
    /// The secrets as one text to encrypt. They need this because `Secret` itself cannot be
    /// serialized.
    pub fn to_text(&self) -> Secret {
        let part = |secret: &Option<Secret>| secret.as_ref().map(|it| it.expose().to_owned());
        let text = serde_json::json!({
            "access_token": part(&self.access_token), "refresh_token": part(&self.refresh_token),
            "client_secret": part(&self.client_secret), "bound_to": self.bound_to,
        });
        Secret::new(text.to_string())
    }
}

/// How a client secret is sent to a token endpoint (RFC 6749 §2.3.1; the names are from RFC 7591).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// In fields of the body.
    #[default]
    ClientSecretPost,
    /// In the header `authorization`, with the scheme Basic.
    ClientSecretBasic,
}

/// A grant that is exchanged for a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TokenGrant {
    /// A refresh token, which the answer may replace (RFC 6749 §6).
    RefreshToken {
        /// Baton's client id at the endpoint.
        client_id: String,
        /// The requested scope, if the endpoint needs one.
        scope: Option<String>,
    },
    /// Baton's own client id and secret (RFC 6749 §4.4).
    ClientCredentials {
        /// Baton's client id at the endpoint.
        client_id: String,
        /// The requested scope, if the endpoint needs one.
        scope: Option<String>,
    },
    /// A signed statement of identity (RFC 7523), with the fields of Anthropic's workload identity
    /// federation (its documentation of 2026-08-22).
    JwtBearer {
        /// `fdrl_…`
        federation_rule_id: String,
        /// A UUID.
        organization_id: String,
        /// `svac_…`
        service_account_id: String,
        /// `wrkspc_…`
        workspace_id: Option<String>,
        /// The source of the statement.
        assertion: AssertionSource,
    },
}

/// The source of a signed statement of identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum AssertionSource {
    /// A file that another program keeps up to date, such as a projected service account token.
    File {
        /// The path on the machine that renews the token.
        path: String,
    },
    /// AWS STS, `GetWebIdentityToken`.
    AwsSts {
        /// The audience of the statement.
        audience: String,
    },
}

impl TokenGrant {
    /// Whether sending it twice does harm.
    pub(crate) fn is_single_use(&self) -> bool {
        matches!(self, Self::RefreshToken { .. })
    }
}

/// The state of an account's token. Times are from the clock of the machine that renews it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenStatus {
    /// When the current access token expires; `None` if there was none yet.
    pub expires_at: Option<Timestamp>,
    /// When the token is due for renewal; `None` means at once.
    pub renew_at: Option<Timestamp>,
    /// The number of consecutive attempts that ended without an accepted grant or an answer.
    #[serde(default)]
    pub failures: u32,
    /// When a single-use grant was sent, if its answer is not stored yet.
    #[serde(default)]
    pub begun_at: Option<Timestamp>,
    /// Whether the last grant was sent and never answered.
    #[serde(default)]
    pub is_in_doubt: bool,
    /// Why the token can no longer be renewed, as text; only a new sign-in helps.
    #[serde(default)]
    pub ended: Option<String>,
}

/// The occasion on which a renewal is considered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenewalTrigger {
    /// The schedule.
    Schedule,
    /// A process found that the current token does not work.
    Requested,
    /// An operator requested it.
    Operator,
}

/// How an attempt at the token endpoint ended without a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExchangeFailure {
    /// The endpoint refused the grant for good: `invalid_grant` and similar errors.
    Refused {
        /// The endpoint's reason, as text.
        reason: String,
    },
    /// The grant was not accepted, but can be accepted later: the endpoint was unreachable or
    /// reported a problem of the server.
    NotAccepted,
    /// The grant was sent and no answer arrived, so it is possibly used up.
    Unanswered,
}

impl TokenStatus {
    /// Whether the access token can be used at `now`.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end > now)
    }

    /// The number of the access token. Each new access token has another number, whatever else
    /// changes.
    pub fn issue(&self) -> u64 {
        self.expires_at.map_or(0, |end| end.as_millisecond().unsigned_abs())
    }

    /// Whether a renewal must be attempted now.
    pub fn is_due(&self, grant: &TokenGrant, trigger: RenewalTrigger, now: Timestamp) -> bool {
        let is_time = self.renew_at.is_none_or(|at| at <= now);
        match trigger {
            _ if self.ended.is_some() => {
                trigger == RenewalTrigger::Operator && !grant.is_single_use()
            }
            RenewalTrigger::Schedule => is_time,
            RenewalTrigger::Requested => is_time || self.failures == 0,
            // A grant that is possibly used up is not sent again while the access token works.
            RenewalTrigger::Operator => {
                !(self.is_in_doubt && grant.is_single_use() && self.is_usable(now))
            }
        }
    }

    /// The state before a grant is sent. `None` if it must not be sent because the answer to an
    /// earlier one is missing; see [`Self::lost`].
    #[must_use]
    pub fn begin_attempt(&self, grant: &TokenGrant, now: Timestamp) -> Option<Self> {
        if self.begun_at.is_some() {
            return None;
        }
        Some(Self { begun_at: grant.is_single_use().then_some(now), ..self.clone() })
    }

    /// The state after a token with this `lifetime` was received. It is due for renewal at 75 % of
    /// its life, or up to 5 % earlier (by `random`, 0..=255), so that accounts that were added at
    /// the same time are not renewed at the same time.
    #[must_use]
    pub fn after_success(lifetime: Option<SignedDuration>, random: u8, now: Timestamp) -> Self {
        let lifetime = lifetime.unwrap_or(LIFETIME_DEFAULT).max(SignedDuration::ZERO);
        let millis = i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX);
        let thousandths = 750 - i64::from(random) * 50 / 255;
        let wait = SignedDuration::from_millis(millis / 1000 * thousandths);
        let after = |span| now.saturating_add(span).unwrap_or(Timestamp::MAX);
        Self { expires_at: Some(after(lifetime)), renew_at: Some(after(wait)), ..Self::default() }
    }

    /// The state after an attempt that failed.
    #[must_use]
    pub fn after_failure(&self, failure: &ExchangeFailure, now: Timestamp) -> Self {
        let failures = self.failures.saturating_add(1);
        let doubled = RETRY_PAUSE_MIN.saturating_mul(1 << failures.saturating_sub(1).min(10));
        let pause = now.saturating_add(doubled.min(RETRY_PAUSE_MAX)).unwrap_or(Timestamp::MAX);
        let next_status = Self { failures, begun_at: None, renew_at: Some(pause), ..self.clone() };
        match failure {
            ExchangeFailure::Refused { reason } => {
                Self { ended: Some(reason.clone()), ..next_status }
            }
            ExchangeFailure::NotAccepted => next_status,
            // The grant is possibly used up. While the old access token is valid, another attempt could
            // end it. After that there is nothing to lose, and a missing answer must not end the
            // account.
            ExchangeFailure::Unanswered => {
                let renew_at = next_status.renew_at.max(self.expires_at);
                Self { renew_at, is_in_doubt: true, ..next_status }
            }
        }
    }

    /// The state after a process ended between sending a single-use grant and storing the answer.
    /// The grant is not sent again.
    #[must_use]
    pub fn with_lost_answer(&self) -> Self {
        let reason = "the answer to a renewal was lost because the process that requested it ended; \
                      sign in again";
        Self { ended: Some(reason.to_owned()), ..self.clone() }
    }

    /// Why the account cannot be used at `now`, if its token has ended. If the endpoint refused the
    /// grant, that is so at once. If an answer was lost, the account stays in use until the last
    /// access token has expired.
    pub fn failure_reason(&self, now: Timestamp) -> Option<&str> {
        self.ended.as_deref().filter(|_| self.begun_at.is_none() || !self.is_usable(now))
    }
}

#[cfg(test)]
mod tests;
