//! A complete usage record as text for the log, for records that neither the queue nor the store
//! accepted.
//!
//! The text is ASCII without spaces, quotes and `=`, so every log format repeats it unchanged:
//! `ur1.RECORD.SIGNATURE`, both in base64. The signature is an HMAC-SHA-256 under the deployment's
//! pepper. Clients and upstreams can put any text into a log, but they cannot sign a record.

use crate::vault::Pepper;
use aws_lc_rs::constant_time;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use baton_domain::record::{RecordError, UsageRecord};

/// The name of the log field.
pub const FIELD: &str = "usage_record";
/// The start of the text.
pub const BEGINNING: &str = "ur1.";
/// The longest text, in bytes; the size of a record is bounded.
pub const BYTES_MAX: usize = 256 * 1024;
/// The signed data begins with this, so that no other hash under the pepper can be a signature.
const PURPOSE: &str = "usage record in a log";

/// The text is not a record that this deployment has written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSigned {
    /// The text does not have the form of a signed record.
    #[error(
        "it does not have the form of a signed record, because it was cut, changed or written by \
         version 0.1.0"
    )]
    Form,
    /// The signature does not match.
    #[error(
        "its signature does not match, because another deployment wrote it, somebody forged it, or \
         the pepper was changed more than once since"
    )]
    Signature,
    /// The record cannot be stored.
    #[error(transparent)]
    Unusable(#[from] RecordError),
}

/// The signed record, as one word of ASCII.
///
/// # Errors
/// If the record cannot be written as JSON.
pub fn sign(pepper: &Pepper, record: &UsageRecord) -> Result<String, serde_json::Error> {
    let body = BASE64_STANDARD_NO_PAD.encode(serde_json::to_string(record)?);
    let signature = BASE64_STANDARD_NO_PAD.encode(pepper.hash(&signed_text(&body)));
    Ok(format!("{BEGINNING}{body}.{signature}"))
}

/// The record in the text, if this deployment has signed it.
///
/// # Errors
/// The reason why it is not such a record.
pub fn verify(pepper: &Pepper, text: &str) -> Result<UsageRecord, NotSigned> {
    let parts = text.strip_prefix(BEGINNING).and_then(|rest| rest.split_once('.'));
    let (body, signature) = parts.ok_or(NotSigned::Form)?;
    let decode = |text: &str| BASE64_STANDARD_NO_PAD.decode(text).map_err(|_| NotSigned::Form);
    let (record, signature) = (decode(body)?, decode(signature)?);
    let hashes = pepper.hashes(&signed_text(body));
    let mut signatures = hashes.iter().filter(|hash| !is_placeholder(hash));
    if !signatures.any(|hash| constant_time::verify_slices_are_equal(hash, &signature).is_ok()) {
        return Err(NotSigned::Signature);
    }
    let record = String::from_utf8(record).map_err(|_| NotSigned::Form)?;
    Ok(UsageRecord::parse(&record)?)
}

fn signed_text(body: &str) -> String {
    format!("{PURPOSE}\n{body}")
}

/// Whether this is the hash of a pepper that was never read.
fn is_placeholder(hash: &[u8]) -> bool {
    hash.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_domain::secret::Secret;
    use serde_json::json;

    fn pepper(text: &str) -> Pepper {
        Pepper::new(&Secret::new(text.to_owned()))
    }

    /// A record in which every text has its maximum length, in characters of four bytes.
    fn largest() -> UsageRecord {
        let text = |characters: usize| "𝔵".repeat(characters);
        let number = 1_000_000_000_000_u64;
        let tokens = json!({
            "input": number, "output": number, "cache_read": number, "cache_write_5m": number,
            "cache_write_1h": number,
        });
        let pass = json!({ "kind": text(64), "model": text(200), "tokens": tokens });
        let tried = json!({ "account_id": "acc_0000000000000000000000", "reason": text(100) });
        let record = json!({
            "v": 1, "id": "req_1", "started_at": "2026-11-22T21:00:00Z", "key_id": "key_1",
            "user_id": null, "group_id": "grp_1", "account_id": "acc_1", "provider": "anthropic",
            "protocol": "anthropic_messages", "model": text(50), "upstream_model": text(200),
            "stream": true, "status": 200, "outcome": "complete", "estimated": false,
            "tokens": tokens, "web_searches": number, "service_tier": text(64),
            "inference_geo": text(64), "speed": text(64), "cost_usd": "999999.999999999999",
            "price_version": text(64), "ttft_ms": number, "duration_ms": number, "attempts": 99,
            "tried": vec![tried; 20], "session_id": text(200), "agent_id": text(200),
            "iterations": vec![pass; 64], "reserved_usd": "999999.999999999999",
        });
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn signed_record_is_one_word_and_survives_a_round_trip() {
        let mut record = largest();
        for odd in ["\u{200b}", "\u{202e}", "\u{2028}", "\u{feff}", "\u{ad}", "\"}{", "a b=c\n"] {
            record.session_id = Some(odd.to_owned());
            let text = sign(&pepper("p"), &record).unwrap();
            let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"+/.".contains(&byte);
            assert!(text.bytes().all(is_word), "{text}");
            assert_eq!(verify(&pepper("p"), &text), Ok(record.clone()));
        }
    }

    #[test]
    fn largest_record_fits() {
        let text = sign(&pepper("p"), &largest()).unwrap();
        assert!((64 * 1024..BYTES_MAX).contains(&text.len()), "{}", text.len());
        assert_eq!(verify(&pepper("p"), &text), Ok(largest()));
    }

    #[test]
    fn unsigned_or_changed_record_is_refused() {
        let text = sign(&pepper("p"), &largest()).unwrap();
        let (body, signature) = text.rsplit_once('.').unwrap();
        let other = sign(&pepper("other"), &largest()).unwrap();
        let plain = serde_json::to_string(&largest()).unwrap();
        let zeros = BASE64_STANDARD_NO_PAD.encode([0; 32]);
        for (input, expected) in [
            (other.clone(), NotSigned::Signature),
            (format!("{body}.{}", other.rsplit_once('.').unwrap().1), NotSigned::Signature),
            (format!("{body}."), NotSigned::Signature),
            (format!("{body}.{zeros}"), NotSigned::Signature),
            (
                format!("ur1.{}.{signature}", BASE64_STANDARD_NO_PAD.encode("{}")),
                NotSigned::Signature,
            ),
            (body.to_owned(), NotSigned::Form),
            (text[..8192].to_owned(), NotSigned::Form),
            (format!("{text}…"), NotSigned::Form),
            (plain, NotSigned::Form),
            (String::new(), NotSigned::Form),
        ] {
            let short: String = input.chars().take(40).collect();
            assert_eq!(verify(&pepper("p"), &input), Err(expected), "{short}");
        }
    }
}
