//! Short-lived upstream tokens: how one is had, when it is renewed, and what the end of an
//! attempt means. Pure: who asks the token endpoint and who stores the answer is decided elsewhere.
//!
//! The one thing that must never happen is that a rotating refresh token is sent again after its
//! answer may have been lost: endpoints revoke the whole family then (RFC 9700 §4.14.2). So what
//! is about to be sent is noted before, and a note that nobody has taken back means that the
//! answer is lost.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// A token that its endpoint gives no time is renewed as if it lived an hour (the usual default;
/// RFC 6749 §5.1 only recommends `expires_in`).
const LIFE_DEFAULT: SignedDuration = SignedDuration::from_hours(1);
/// The first pause after an attempt that failed on the way; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: SignedDuration = SignedDuration::from_secs(30);
const PAUSE_MAX: SignedDuration = SignedDuration::from_mins(15);

/// How an account's token is had: everything about it that is no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// The token endpoint.
    pub token_url: String,
    /// What is exchanged there.
    pub grant: Grant,
    /// How our client secret is shown there, if we have one.
    #[serde(default)]
    pub client_auth: ClientAuth,
}

/// How a client secret is shown to a token endpoint (RFC 6749 §2.3.1; the names are RFC 7591's).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// Among the fields of the body.
    #[default]
    ClientSecretPost,
    /// In the header `authorization`, with the scheme Basic.
    ClientSecretBasic,
}

/// What is exchanged for a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Grant {
    /// A refresh token, which the answer may replace (RFC 6749 §6).
    RefreshToken {
        /// Who we are to the endpoint.
        client_id: String,
        /// What the token may do, if it has to be said.
        scope: Option<String>,
    },
    /// Our own client id and secret (RFC 6749 §4.4).
    ClientCredentials {
        /// Who we are to the endpoint.
        client_id: String,
        /// What the token may do, if it has to be said.
        scope: Option<String>,
    },
    /// A signed statement of who we are (RFC 7523), with the fields of Anthropic's workload
    /// identity federation (its documentation of 2026-08-22).
    JwtBearer {
        /// `fdrl_…`
        federation_rule_id: String,
        /// A UUID.
        organization_id: String,
        /// `svac_…`
        service_account_id: String,
        /// `wrkspc_…`
        workspace_id: Option<String>,
        /// Where the statement comes from.
        assertion: Assertion,
    },
}

/// Where a signed statement of who we are comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Assertion {
    /// A file that somebody else keeps fresh, such as a projected service account token.
    File {
        /// Where it is, on the machine that renews.
        path: String,
    },
    /// AWS STS, `GetWebIdentityToken`.
    AwsSts {
        /// For whom it is made out.
        audience: String,
    },
}

impl Grant {
    /// Whether sending it twice does harm.
    pub fn is_single_use(&self) -> bool {
        matches!(self, Self::RefreshToken { .. })
    }
}

/// Where an account's token stands. Times are of the renewing machine's clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// When the present access token runs out; none was had yet without it.
    pub expires_at: Option<Timestamp>,
    /// When it is to be renewed; at once without it.
    pub renew_at: Option<Timestamp>,
    /// Attempts in a row that failed on the way.
    #[serde(default)]
    pub failures: u32,
    /// A single-use grant is on its way since then.
    #[serde(default)]
    pub begun_at: Option<Timestamp>,
    /// The last grant was sent and never answered.
    #[serde(default)]
    pub is_in_doubt: bool,
    /// Why it will not be renewed any more, in words; only another sign-in helps.
    #[serde(default)]
    pub ended: Option<String>,
}

/// Why an attempt may be due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It may be time.
    Time,
    /// Somebody has found that the present token does not serve.
    Asked,
    /// An operator wants it now.
    Operator,
}

/// How an attempt at the token endpoint ended without a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Miss {
    /// The endpoint does not take the grant, now or ever: `invalid_grant` and its like.
    Refused {
        /// What it said, in words.
        reason: String,
    },
    /// The grant was not taken, but it may be later: the endpoint was not reached, or answered
    /// that it has trouble.
    NotTaken,
    /// The grant was sent and no answer came: it may be used up.
    Unanswered,
}

impl Standing {
    /// Whether the access token can be used at `now`.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end > now)
    }

    /// Which access token it is: another number for each that was had, whatever else changes.
    pub fn issue(&self) -> u64 {
        self.expires_at.map_or(0, |end| end.as_millisecond().unsigned_abs())
    }

    /// Whether there is to be an attempt.
    pub fn is_due(&self, grant: &Grant, why: Why, now: Timestamp) -> bool {
        let is_time = self.renew_at.is_none_or(|at| at <= now);
        match why {
            _ if self.ended.is_some() => why == Why::Operator && !grant.is_single_use(),
            Why::Time => is_time,
            Why::Asked => is_time || self.failures == 0,
            // What may be used up is not sent again while there is something to lose.
            Why::Operator => !(self.is_in_doubt && grant.is_single_use() && self.is_usable(now)),
        }
    }

    /// Before a grant is sent. `None`: it must not be, since one is noted that nobody took back;
    /// see [`Self::lost`].
    #[must_use]
    pub fn begun(&self, grant: &Grant, now: Timestamp) -> Option<Self> {
        if self.begun_at.is_some() {
            return None;
        }
        Some(Self { begun_at: grant.is_single_use().then_some(now), ..self.clone() })
    }

    /// After a token for `life` was had: renewed at 75 % of its life, or up to 5 % sooner (`die`,
    /// 0..=255), so that accounts that were added together part.
    #[must_use]
    pub fn renewed(life: Option<SignedDuration>, die: u8, now: Timestamp) -> Self {
        let life = life.unwrap_or(LIFE_DEFAULT).max(SignedDuration::ZERO);
        let millis = i64::try_from(life.as_millis()).unwrap_or(i64::MAX);
        let thousandths = 750 - i64::from(die) * 50 / 255;
        let wait = SignedDuration::from_millis(millis / 1000 * thousandths);
        let after = |span| now.saturating_add(span).unwrap_or(Timestamp::MAX);
        Self { expires_at: Some(after(life)), renew_at: Some(after(wait)), ..Self::default() }
    }

    /// After an attempt that brought none.
    #[must_use]
    pub fn missed(&self, miss: &Miss, now: Timestamp) -> Self {
        let failures = self.failures.saturating_add(1);
        let doubled = PAUSE_MIN.saturating_mul(1 << failures.saturating_sub(1).min(10));
        let pause = now.saturating_add(doubled.min(PAUSE_MAX)).unwrap_or(Timestamp::MAX);
        let again = Self { failures, begun_at: None, renew_at: Some(pause), ..self.clone() };
        match miss {
            Miss::Refused { reason } => Self { ended: Some(reason.clone()), ..again },
            Miss::NotTaken => again,
            // The token may be used up. While the old access token lives there is something to
            // lose; after that there is not, and silence must not end an account.
            Miss::Unanswered => {
                let renew_at = again.renew_at.max(self.expires_at);
                Self { renew_at, is_in_doubt: true, ..again }
            }
        }
    }

    /// After a process was found to have gone between sending a single-use grant and storing the
    /// answer. It is not sent again.
    #[must_use]
    pub fn lost(&self) -> Self {
        let reason = "a renewal was begun and its answer is lost with the process that asked; \
                      sign in again";
        Self { ended: Some(reason.to_owned()), ..self.clone() }
    }

    /// What holds the account back at `now`, if the token's end does: it stays in use until the
    /// last access token has run out, and where the endpoint has said no, no longer.
    pub fn fault(&self, now: Timestamp) -> Option<&str> {
        self.ended.as_deref().filter(|_| self.begun_at.is_none() || !self.is_usable(now))
    }
}

#[cfg(test)]
#[path = "token_laws.rs"]
mod laws;
