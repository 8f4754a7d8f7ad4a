//! The error for a request that no account can serve: it says when to try again, or that a retry
//! does not help. It does not describe the accounts, because these concern only the operator; the
//! log has the reasons.

use crate::account_selection::NoEligibleAccount;
use crate::client_response::{RelayError, WAIT_SECONDS_MAX};
use baton_domain::account_selection::{IneligibleReason, ready_at};
use baton_domain::cooldown_reason::CooldownReason;
use baton_domain::protocol::UpstreamOperation;
use baton_protocol::error::ApiFamily;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};

/// The time after which a renewed token should be there.
const RENEWAL: SignedDuration = SignedDuration::from_secs(5);

/// The request that no account can serve.
pub(crate) struct UnservedRequest<'a> {
    pub(crate) model: &'a str,
    pub(crate) operation: UpstreamOperation,
    pub(crate) api_family: ApiFamily,
}

impl NoEligibleAccount {
    /// Returns when the first account can be used again, if waiting helps.
    pub(crate) fn ready_at(&self, now: Timestamp) -> Option<Timestamp> {
        let soon = |wait| now.saturating_add(wait).ok();
        let has = |wanted: &IneligibleReason| self.0.iter().any(|(_, reason)| reason == wanted);
        if has(&IneligibleReason::AtCapacity) {
            return soon(SignedDuration::from_secs(1));
        }
        let renewed = has(&IneligibleReason::TokenExpired).then(|| soon(RENEWAL)).flatten();
        [ready_at(&self.0), renewed].into_iter().flatten().min()
    }

    /// Builds the error for the client and logs the reasons.
    pub(crate) fn to_relay_error(
        &self,
        unserved: &UnservedRequest<'_>,
        now: Timestamp,
    ) -> RelayError {
        let each: Vec<String> =
            self.0.iter().map(|(id, reason)| format!("{id} {reason}")).collect();
        tracing::info!("no account can serve `{}`: {}", unserved.model, each.join(", "));
        match self.ready_at(now) {
            Some(at) => self.retry_later_error(unserved, at, now),
            None => self.final_error(unserved),
        }
    }

    fn retry_later_error(
        &self,
        unserved: &UnservedRequest<'_>,
        at: Timestamp,
        now: Timestamp,
    ) -> RelayError {
        let why = self.0.iter().find_map(|(_, why)| match why {
            IneligibleReason::Cooling { until, reason } if *until == at => Some(reason.to_string()),
            _ => None,
        });
        let is_full = self.0.iter().any(|(_, why)| *why == IneligibleReason::AtCapacity);
        let why = why.unwrap_or_else(|| {
            let words = if is_full {
                "all accounts have reached their number of concurrent requests"
            } else {
                "no account has a valid token yet"
            };
            words.to_owned()
        });
        let seconds = seconds_until(at, now);
        let when = if seconds > WAIT_SECONDS_MAX {
            format!("Try again after {}.", at.strftime("%Y-%m-%d %H:%M:%S UTC"))
        } else {
            format!("Try again in {seconds} s.")
        };
        let message = format!(
            "No upstream account can serve the model `{}` now ({why}). {when}",
            unserved.model
        );
        RelayError::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded_error", message)
            .with_retry_after(seconds)
    }

    /// Waiting does not help. The error says so, because clients would otherwise retry for minutes.
    fn final_error(&self, unserved: &UnservedRequest<'_>) -> RelayError {
        let UnservedRequest { model, operation, api_family } = unserved;
        let reasons = || self.0.iter().filter_map(|(_, why)| cooldown_reason(why));
        let serves_no_account = self.0.iter().all(|(_, why)| {
            matches!(
                why,
                IneligibleReason::Disabled | IneligibleReason::Model | IneligibleReason::Protocol
            )
        });
        let lacks_token_counting = self.0.iter().any(|(_, why)| *why == IneligibleReason::Protocol);
        if serves_no_account && lacks_token_counting && *operation == UpstreamOperation::Count {
            let message = "The upstream accounts of this key cannot count tokens. Estimate the \
                 count in your client.";
            return RelayError::new(StatusCode::NOT_IMPLEMENTED, "api_error", message)
                .without_retry();
        }
        let is_unknown = self.0.iter().any(|(_, why)| *why == IneligibleReason::Model);
        if serves_no_account && is_unknown {
            return RelayError::unknown_model(model);
        }
        let are_disabled =
            !self.0.is_empty() && self.0.iter().all(|(_, why)| *why == IneligibleReason::Disabled);
        let spent = reasons().any(CooldownReason::is_about_money);
        let explanation = if spent {
            "the credit or the spend limit of the organization's upstream account is used up. Ask \
             your operator."
        } else if let [(_, IneligibleReason::Disabled)] = self.0.as_slice() {
            "the account is disabled. Ask your operator."
        } else if are_disabled {
            "all accounts in the group of this key are disabled. Ask your operator."
        } else if serves_no_account {
            "no account in the group of this key offers it. Ask your operator."
        } else if reasons().any(|reason| reason == CooldownReason::OrganizationDisabled) {
            "the upstream has disabled the organization. Ask your operator."
        } else {
            "the upstream refuses the organization's credential. Ask your operator."
        };
        let message = format!("No upstream account can serve the model `{model}`: {explanation}");
        let refusal = if spent && *api_family == ApiFamily::OpenAi {
            RelayError::new(StatusCode::TOO_MANY_REQUESTS, "insufficient_quota", message)
        } else {
            RelayError::new(StatusCode::SERVICE_UNAVAILABLE, "api_error", message)
        };
        refusal.without_retry()
    }
}

fn cooldown_reason(ineligible: &IneligibleReason) -> Option<CooldownReason> {
    match ineligible {
        IneligibleReason::Cooling { reason, .. } | IneligibleReason::AuthFailed(reason) => {
            Some(*reason)
        }
        _ => None,
    }
}

/// Returns the seconds from `now` until `at`, rounded up and at least 1.
pub(crate) fn seconds_until(at: Timestamp, now: Timestamp) -> u64 {
    let millis = u64::try_from(at.duration_since(now).as_millis()).unwrap_or_default();
    millis.div_ceil(1000).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_domain::id::AccountId;
    use baton_domain::protocol::ClientProtocol;

    fn now() -> Timestamp {
        "2026-11-22T21:00:00Z".parse().unwrap()
    }

    fn told(
        reasons: &[IneligibleReason],
        operation: UpstreamOperation,
        api_family: ApiFamily,
    ) -> String {
        let id = |index: usize| AccountId::from_bits(index as u128);
        let reasons =
            reasons.iter().enumerate().map(|(index, reason)| (id(index), reason.clone())).collect();
        let refusal = NoEligibleAccount(reasons)
            .to_relay_error(&UnservedRequest { model: "m", operation, api_family }, now());
        assert!(!refusal.to_string().contains("acc_"), "accounts are not named: {refusal}");
        refusal.summary()
    }

    fn message_for(reasons: Vec<IneligibleReason>) -> String {
        let reasons = reasons.into_iter().map(|reason| (AccountId::from_bits(1), reason)).collect();
        let operation = UpstreamOperation::Answer(ClientProtocol::AnthropicMessages);
        let unserved = UnservedRequest { model: "m", operation, api_family: ApiFamily::Anthropic };
        NoEligibleAccount(reasons).to_relay_error(&unserved, now()).to_string()
    }

    #[test]
    fn missing_token_is_not_reported_as_busy() {
        let refused = IneligibleReason::AuthFailed(CooldownReason::CredentialRefused);
        let no_token = message_for(vec![IneligibleReason::TokenExpired, refused]);
        assert!(no_token.contains("no account has a valid token"), "{no_token}");
        let busy = message_for(vec![IneligibleReason::TokenExpired, IneligibleReason::AtCapacity]);
        assert!(
            busy.contains("all accounts have reached their number of concurrent requests"),
            "{busy}"
        );
    }

    #[test]
    fn disabled_accounts_are_named() {
        let one = message_for(vec![IneligibleReason::Disabled]);
        assert!(one.ends_with("the account is disabled. Ask your operator."), "{one}");
        let two = message_for(vec![IneligibleReason::Disabled, IneligibleReason::Disabled]);
        assert!(two.contains("all accounts in the group of this key are disabled"), "{two}");
    }

    #[test]
    fn errors_without_an_eligible_account() {
        use IneligibleReason::{
            AtCapacity, AuthFailed, Disabled, Model, Protocol as OtherProtocol, TokenExpired,
        };
        let cooling = |seconds, reason| {
            let until = now() + SignedDuration::from_secs(seconds);
            IneligibleReason::Cooling { until, reason }
        };
        let operation = UpstreamOperation::Answer(ClientProtocol::AnthropicMessages);
        let check = |reasons: &[IneligibleReason], expect: &str| {
            assert_eq!(told(reasons, operation, ApiFamily::Anthropic), expect, "{reasons:?}");
        };
        let refused = || AuthFailed(CooldownReason::CredentialRefused);
        check(&[cooling(7, CooldownReason::RateLimited)], "503 overloaded_error after 7");
        check(&[cooling(60, CooldownReason::RateLimited)], "503 overloaded_error after 60");
        check(&[cooling(61, CooldownReason::RateLimited)], "503 overloaded_error final");
        check(
            &[refused(), cooling(7, CooldownReason::RateLimited)],
            "503 overloaded_error after 7",
        );
        check(
            &[cooling(7, CooldownReason::CreditUsedUp), cooling(9, CooldownReason::RateLimited)],
            "503 overloaded_error after 9",
        );
        check(&[AtCapacity, refused()], "503 overloaded_error after 1");
        check(&[TokenExpired, refused()], "503 overloaded_error after 5");
        check(&[refused()], "503 api_error final");
        check(&[cooling(7, CooldownReason::OrganizationDisabled)], "503 api_error final");
        check(&[cooling(7, CooldownReason::SpendCapReached)], "503 api_error final");
        check(&[Model, Disabled], "404 not_found_error final");
        check(&[Disabled], "503 api_error final");
        check(&[], "503 api_error final");
        let spent = [cooling(7, CooldownReason::SpendCapReached), refused()];
        assert_eq!(told(&spent, operation, ApiFamily::OpenAi), "429 insufficient_quota final");
        assert_eq!(told(&[refused()], operation, ApiFamily::OpenAi), "503 api_error final");
        let count = |reasons: &[IneligibleReason]| {
            told(reasons, UpstreamOperation::Count, ApiFamily::Anthropic)
        };
        assert_eq!(count(&[OtherProtocol, Disabled]), "501 api_error final");
        assert_eq!(count(&[OtherProtocol, refused()]), "503 api_error final");
    }
}
