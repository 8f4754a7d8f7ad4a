//! The errors that Anthropic's API names, and those of upstreams that imitate it.

use crate::classification::{ErrorFacts, ErrorMeaning};
use baton_domain::cooldown_reason::CooldownReason;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The texts with 400 are the ones that users of Claude Code have reported: credit
/// (anthropics/claude-code #88711, 2026-08-22), limits (#38035, 2026-03-24), organization (#72457,
/// 2026-06-30), long context (#44863, 2026-04-07). None of them has a separate code or type. The
/// texts with 403 were reported too: a revoked token (#9635), OAuth that the organization does not
/// allow (#6752), a token's scopes (can1357/oh-my-pi #38, 2026-02-12), and a blocked address or
/// account.
pub(crate) fn error_meaning(upstream_error: &ErrorFacts<'_>) -> Option<ErrorMeaning> {
    let error = upstream_error.error;
    // Another account can have the thread (anthropic-sdk-python 2.14.0, 2026-11).
    if error.has_name_in(&["thread_not_found"]) {
        return Some(ErrorMeaning::StateElsewhere);
    }
    if error.has_name_in(&["billing_error"]) {
        return Some(ErrorMeaning::AccountUnavailable(CooldownReason::SpendCapReached, None));
    }
    if matches!(upstream_error.status, 400 | 403) {
        if error.message_starts_with("Your credit balance is too low to access the Anthropic API") {
            return Some(ErrorMeaning::AccountUnavailable(CooldownReason::CreditUsedUp, None));
        }
        let limits = [
            "You have reached your specified API usage limits",
            "You have reached your specified workspace API usage limits",
        ];
        if limits.iter().any(|phrase| error.message_starts_with(phrase)) {
            let until = parse_regained_access(&error.message);
            return Some(ErrorMeaning::AccountUnavailable(CooldownReason::SpendCapReached, until));
        }
        if error.message_starts_with("This organization has been disabled") {
            return Some(ErrorMeaning::AccountUnavailable(
                CooldownReason::OrganizationDisabled,
                None,
            ));
        }
    }
    if matches!(upstream_error.status, 401 | 403) {
        let token_phrases = [
            "OAuth token has been revoked",
            "OAuth authentication is currently not ",
            "OAuth token does not meet scope requirement",
        ];
        if token_phrases.iter().any(|phrase| error.message_starts_with(phrase)) {
            return Some(ErrorMeaning::Refused);
        }
        if error.has_name_in(&["forbidden"]) && error.message_starts_with("Request not allowed") {
            return Some(ErrorMeaning::Blocked);
        }
    }
    if upstream_error.status == 429
        && error.message_starts_with("Extra usage is required for long context requests")
    {
        return Some(ErrorMeaning::RequestTooLarge);
    }
    // "Errors", 2026-11: `{"type": "not_found_error", "message": "model: claude-none"}`
    let is_missing = error.has_name_in(&["not_found_error"]) && error.message_starts_with("model:");
    (upstream_error.status == 404 && is_missing).then_some(ErrorMeaning::Unavailable)
}

/// "You will regain access on 2026-12-01 at 00:00 UTC."
fn parse_regained_access(message: &str) -> Option<Timestamp> {
    let (_, rest) = message.split_once("You will regain access on ")?;
    let day = DateTime::strptime("%Y-%m-%d at %H:%M", rest.get(..19)?).ok()?;
    day.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}
