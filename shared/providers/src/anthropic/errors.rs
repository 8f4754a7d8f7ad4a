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
    if let Some((reason, until)) = unavailable_account(upstream_error) {
        return Some(ErrorMeaning::AccountUnavailable(reason, until));
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

/// The meaning of an error that an upstream other than Anthropic can have forwarded. Its texts are
/// less certain there, because some servers begin the message of an error with a client's text
/// (vLLM with the exception that a chat template raises, "Extra parameters", 2026-11).
pub(crate) fn forwarded_error_meaning(upstream_error: &ErrorFacts<'_>) -> Option<ErrorMeaning> {
    if let Some((reason, _)) = unavailable_account(upstream_error) {
        return Some(ErrorMeaning::AccountPossiblyUnavailable(reason));
    }
    error_meaning(upstream_error)
}

/// Why the account cannot be used, and until when, if only the message says so.
fn unavailable_account(
    upstream_error: &ErrorFacts<'_>,
) -> Option<(CooldownReason, Option<Timestamp>)> {
    const TEXTS: [(&str, CooldownReason); 4] = [
        (
            "Your credit balance is too low to access the Anthropic API",
            CooldownReason::CreditUsedUp,
        ),
        ("You have reached your specified API usage limits", CooldownReason::SpendCapReached),
        (
            "You have reached your specified workspace API usage limits",
            CooldownReason::SpendCapReached,
        ),
        ("This organization has been disabled", CooldownReason::OrganizationDisabled),
    ];
    let error = upstream_error.error;
    let has_type = error.has_name_in(&["invalid_request_error", "permission_error"]);
    if !matches!(upstream_error.status, 400 | 403) || !has_type || repeats_client(&error.message) {
        return None;
    }
    let (_, reason) = TEXTS.into_iter().find(|(text, _)| error.message_starts_with(text))?;
    Some((reason, parse_regained_access(&error.message)))
}

/// Whether a message can contain a text of the client. Anthropic begins the errors of a field with
/// its name, also with one that the client invented (`x: Extra inputs are not permitted`,
/// anthropics/claude-code #14135), and puts other texts in quotes. A time and an address have a colon
/// too.
fn repeats_client(message: &str) -> bool {
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    let bytes = message.as_bytes();
    bytes.iter().enumerate().any(|(index, byte)| match byte {
        b':' => {
            let before = index.checked_sub(1).and_then(|before| bytes.get(before));
            let after = &bytes[index + 1..];
            !(is_digit(before) && is_digit(after.first()) || after.starts_with(b"//"))
        }
        b'"' | b'`' => true,
        _ => false,
    })
}

/// "You will regain access on 2026-12-01 at 00:00 UTC."
fn parse_regained_access(message: &str) -> Option<Timestamp> {
    let (_, rest) = message.split_once("You will regain access on ")?;
    let day = DateTime::strptime("%Y-%m-%d at %H:%M", rest.get(..19)?).ok()?;
    day.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}
