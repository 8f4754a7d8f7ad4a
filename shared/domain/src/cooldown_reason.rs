//! The reasons of cooldowns. A reason stays an enum from the upstream's answer to the store; texts
//! for people are made only for display.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why an account, or one of its models, is not used for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", from = "String")]
pub enum CooldownReason {
    /// Too many requests or tokens in a short time.
    RateLimited,
    /// A money limit is reached that was set at the upstream or by the plan.
    SpendCapReached,
    /// The prepaid credit is used up.
    CreditUsedUp,
    /// The organization or its project is disabled at the upstream.
    OrganizationDisabled,
    /// The model, or a feature of it, is not available to this account.
    ModelUnavailable,
    /// The upstream refuses the account without naming a cause.
    Forbidden,
    /// The upstream refuses the short-lived token, and a new one has been requested.
    TokenRefused,
    /// The upstream refuses the credential.
    CredentialRefused,
    /// The token can no longer be renewed.
    TokenEnded,
    /// The upstream is overloaded.
    Overloaded,
    /// The upstream answers with server errors.
    ServerError,
    /// The connection could not be made or was lost.
    Unreachable,
    /// The answer did not arrive in time.
    TimedOut,
    /// The upstream's streams start with an error.
    StreamError,
    /// A stored reason that this version does not know.
    Unknown,
}

/// Every reason with its stored name, the text for people, and the texts that version 0.1.0 stored.
const WORDS: [(CooldownReason, &str, &str, &[&str]); 15] = [
    (
        CooldownReason::RateLimited,
        "rate_limited",
        "rate limited (429)",
        &["rate limited (429)", "rate limited"],
    ),
    (
        CooldownReason::SpendCapReached,
        "spend_cap_reached",
        "spend cap reached",
        &["spend cap reached (402)", "spend cap reached (429)", "spend cap reached"],
    ),
    (CooldownReason::CreditUsedUp, "credit_used_up", "the credit is used up", &[]),
    (
        CooldownReason::OrganizationDisabled,
        "organization_disabled",
        "the upstream has disabled the organization",
        &["the upstream has disabled the account (403)"],
    ),
    (
        CooldownReason::ModelUnavailable,
        "model_unavailable",
        "the model or a feature of it is not available to the account",
        &[],
    ),
    (CooldownReason::Forbidden, "forbidden", "forbidden (403)", &["forbidden (403)"]),
    (
        CooldownReason::TokenRefused,
        "token_refused",
        "the upstream refuses the token (401); a new one has been requested",
        &["the token is refused (401); a new one is asked for"],
    ),
    (
        CooldownReason::CredentialRefused,
        "credential_refused",
        "the upstream refuses the credential (401)",
        &["the upstream refuses the credential (401)"],
    ),
    (CooldownReason::TokenEnded, "token_ended", "the token can no longer be renewed", &[]),
    (CooldownReason::Overloaded, "overloaded", "overloaded (529)", &["overloaded (529)"]),
    (CooldownReason::ServerError, "server_error", "server error", &["server error"]),
    (CooldownReason::Unreachable, "unreachable", "unreachable", &["unreachable"]),
    (CooldownReason::TimedOut, "timed_out", "no answer in time", &["no answer in time"]),
    (
        CooldownReason::StreamError,
        "stream_error",
        "the upstream's stream began with an error",
        &["the upstream's stream began with an error"],
    ),
    (CooldownReason::Unknown, "unknown", "unknown reason", &[]),
];

impl CooldownReason {
    /// Whether an operator must act, by payment or with another credential, because waiting does
    /// not help.
    pub fn needs_operator(self) -> bool {
        self.is_about_money()
            || matches!(
                self,
                Self::OrganizationDisabled | Self::CredentialRefused | Self::TokenEnded
            )
    }

    /// Whether a money limit or missing credit is the cause.
    pub fn is_about_money(self) -> bool {
        matches!(self, Self::SpendCapReached | Self::CreditUsedUp)
    }

    fn table_row(self) -> &'static (Self, &'static str, &'static str, &'static [&'static str]) {
        let last = &WORDS[WORDS.len() - 1];
        WORDS.iter().find(|(reason, ..)| *reason == self).unwrap_or(last)
    }
}

impl From<String> for CooldownReason {
    fn from(text: String) -> Self {
        let is = |row: &&(Self, &str, &str, &[&str])| row.1 == text || row.3.contains(&&*text);
        WORDS.iter().find(is).map_or(Self::Unknown, |(reason, ..)| *reason)
    }
}

impl fmt::Display for CooldownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.table_row().2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_survives_a_round_trip() {
        for (reason, name, ..) in WORDS {
            assert_eq!(serde_json::to_value(reason).unwrap(), name);
            assert_eq!(serde_json::from_value::<CooldownReason>(name.into()).unwrap(), reason);
        }
    }

    #[test]
    fn texts_of_version_0_1_0_are_read() {
        for (reason, _, _, old) in WORDS {
            for text in old {
                assert_eq!(CooldownReason::from((*text).to_owned()), reason, "{text}");
            }
        }
        assert_eq!(CooldownReason::from("invalid_grant: gone".to_owned()), CooldownReason::Unknown);
    }
}
