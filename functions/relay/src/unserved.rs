//! What a client is told when no account can serve its request: when to try again, or at once that
//! trying again does not help. Which accounts there are is the operator's business, and in the log.

use crate::choose::Nobody;
use crate::reply::Refusal;
use baton_domain::choose::{Ineligible, ready_at};
use baton_domain::protocol::Want;
use baton_domain::reason::RestReason;
use baton_wire::error::Dialect;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};

/// Clients wait so long and no longer: what takes more is told as final, with its time.
pub(crate) const WAIT_SECONDS_MAX: u64 = 60;
/// A token that is being renewed is there by then.
const RENEWAL: SignedDuration = SignedDuration::from_secs(5);

/// What was asked for.
pub(crate) struct Unserved<'a> {
    pub(crate) model: &'a str,
    pub(crate) want: Want,
    pub(crate) dialect: Dialect,
}

impl Nobody {
    /// When the first account can be used again by waiting.
    pub(crate) fn ready_at(&self, now: Timestamp) -> Option<Timestamp> {
        let soon = |wait| now.saturating_add(wait).ok();
        let has = |why: &Ineligible| self.0.iter().any(|(_, own)| own == why);
        if has(&Ineligible::Full) {
            return soon(SignedDuration::from_secs(1));
        }
        let renewed = has(&Ineligible::SignedOut).then(|| soon(RENEWAL)).flatten();
        [ready_at(&self.0), renewed].into_iter().flatten().min()
    }

    /// What the client is told.
    pub(crate) fn refusal(&self, asked: &Unserved<'_>, now: Timestamp) -> Refusal {
        let each: Vec<String> = self.0.iter().map(|(id, why)| format!("{id} {why}")).collect();
        tracing::info!("no account can serve `{}`: {}", asked.model, each.join(", "));
        match self.ready_at(now) {
            Some(at) => self.later(asked, at, now),
            None => self.never(asked),
        }
    }

    fn later(&self, asked: &Unserved<'_>, at: Timestamp, now: Timestamp) -> Refusal {
        let why = self.0.iter().find_map(|(_, why)| match why {
            Ineligible::Cooling { until, reason } if *until == at => Some(reason.to_string()),
            _ => None,
        });
        let is_full = self.0.iter().any(|(_, why)| *why == Ineligible::Full);
        let why = why.unwrap_or_else(|| {
            let words =
                if is_full { "all are busy" } else { "none has a valid token at the moment" };
            words.to_owned()
        });
        let seconds = whole_seconds(at, now);
        let when = if seconds > WAIT_SECONDS_MAX {
            format!("try again after {}", at.strftime("%Y-%m-%d %H:%M:%S UTC"))
        } else {
            format!("try again in {seconds} s")
        };
        let message =
            format!("no upstream account can serve `{}` now ({why}); {when}", asked.model);
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded_error", message).ready_in(seconds)
    }

    /// Waiting does not help: said at once, since clients would repeat for minutes.
    fn never(&self, asked: &Unserved<'_>) -> Refusal {
        let Unserved { model, want, dialect } = asked;
        let reasons = || self.0.iter().filter_map(|(_, why)| rest_reason(why));
        let serves_none = self.0.iter().all(|(_, why)| {
            matches!(why, Ineligible::Disabled | Ineligible::Model | Ineligible::Protocol)
        });
        let cannot_count = self.0.iter().any(|(_, why)| *why == Ineligible::Protocol);
        if serves_none && cannot_count && *want == Want::Count {
            let message = "the upstream accounts of this key cannot count tokens; estimate them";
            return Refusal::new(StatusCode::NOT_IMPLEMENTED, "api_error", message).finally();
        }
        let spent = reasons().any(RestReason::is_about_money);
        let why = if spent {
            "the credit or the spend limit of the organization's upstream account is used up"
        } else if serves_none {
            "no account of the key's group serves it; GET /v1/models lists what is served"
        } else if reasons().any(|reason| reason == RestReason::OrganizationDisabled) {
            "the upstream has disabled the organization"
        } else {
            "the upstream does not take the organization's credential"
        };
        let message = format!("no upstream account can serve `{model}`: {why}; ask your operator");
        let refusal = if spent && *dialect == Dialect::OpenAi {
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, "insufficient_quota", message)
        } else {
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "api_error", message)
        };
        refusal.finally()
    }
}

fn rest_reason(why: &Ineligible) -> Option<RestReason> {
    match why {
        Ineligible::Cooling { reason, .. } | Ineligible::AuthFailed(reason) => Some(*reason),
        _ => None,
    }
}

/// From now, rounded up, and at least one.
pub(crate) fn whole_seconds(at: Timestamp, now: Timestamp) -> u64 {
    let millis = u64::try_from(at.duration_since(now).as_millis()).unwrap_or_default();
    millis.div_ceil(1000).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_domain::id::AccountId;
    use baton_domain::protocol::Protocol;

    fn now() -> Timestamp {
        "2026-11-22T21:00:00Z".parse().unwrap()
    }

    fn told(reasons: &[Ineligible], want: Want, dialect: Dialect) -> String {
        let id = |at: usize| AccountId::from_bits(at as u128);
        let reasons = reasons.iter().enumerate().map(|(at, why)| (id(at), why.clone())).collect();
        let refusal = Nobody(reasons).refusal(&Unserved { model: "m", want, dialect }, now());
        assert!(!refusal.to_string().contains("acc_"), "accounts are not named: {refusal}");
        refusal.summary()
    }

    #[test]
    fn a_missing_token_is_not_called_busy() {
        let words = |reasons: Vec<Ineligible>| {
            let reasons = reasons.into_iter().map(|why| (AccountId::from_bits(1), why)).collect();
            let want = Want::Answer(Protocol::AnthropicMessages);
            let unserved = Unserved { model: "m", want, dialect: Dialect::Anthropic };
            Nobody(reasons).refusal(&unserved, now()).to_string()
        };
        let refused = Ineligible::AuthFailed(RestReason::CredentialRefused);
        let no_token = words(vec![Ineligible::SignedOut, refused]);
        assert!(no_token.contains("none has a valid token"), "{no_token}");
        let busy = words(vec![Ineligible::SignedOut, Ineligible::Full]);
        assert!(busy.contains("all are busy"), "{busy}");
    }

    #[test]
    fn what_a_client_is_told() {
        use Ineligible::{AuthFailed, Disabled, Full, Model, Protocol as OtherProtocol, SignedOut};
        let cooling = |seconds, reason| {
            let until = now() + SignedDuration::from_secs(seconds);
            Ineligible::Cooling { until, reason }
        };
        let answer = Want::Answer(Protocol::AnthropicMessages);
        let check = |reasons: &[Ineligible], expect: &str| {
            assert_eq!(told(reasons, answer, Dialect::Anthropic), expect, "{reasons:?}");
        };
        let refused = || AuthFailed(RestReason::CredentialRefused);
        check(&[cooling(7, RestReason::RateLimited)], "503 overloaded_error after 7");
        check(&[cooling(60, RestReason::RateLimited)], "503 overloaded_error after 60");
        check(&[cooling(61, RestReason::RateLimited)], "503 overloaded_error final");
        check(&[refused(), cooling(7, RestReason::RateLimited)], "503 overloaded_error after 7");
        check(
            &[cooling(7, RestReason::CreditUsedUp), cooling(9, RestReason::RateLimited)],
            "503 overloaded_error after 9",
        );
        check(&[Full, refused()], "503 overloaded_error after 1");
        check(&[SignedOut, refused()], "503 overloaded_error after 5");
        check(&[refused()], "503 api_error final");
        check(&[cooling(7, RestReason::OrganizationDisabled)], "503 api_error final");
        check(&[cooling(7, RestReason::SpendCapReached)], "503 api_error final");
        check(&[Model, Disabled], "503 api_error final");
        check(&[Disabled], "503 api_error final");
        check(&[], "503 api_error final");
        let spent = [cooling(7, RestReason::SpendCapReached), refused()];
        assert_eq!(told(&spent, answer, Dialect::OpenAi), "429 insufficient_quota final");
        assert_eq!(told(&[refused()], answer, Dialect::OpenAi), "503 api_error final");
        let count = |reasons: &[Ineligible]| told(reasons, Want::Count, Dialect::Anthropic);
        assert_eq!(count(&[OtherProtocol, Disabled]), "501 api_error final");
        assert_eq!(count(&[OtherProtocol, refused()]), "503 api_error final");
    }
}
