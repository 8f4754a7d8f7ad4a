//! What an upstream's headers say of its limits: when to come back, for which models, how much is
//! used (rate-limit page, 2026-08-22; unified headers as answers carried them in September 2026).

use baton_domain::health::{Utilisation, Window};
use http::HeaderMap;
use http::header::RETRY_AFTER;
use jiff::Timestamp;

const UNIFIED: &str = "anthropic-ratelimit-unified";

/// `retry-after` in seconds; the form with a date counts as absent, as clients have it.
pub fn retry_after_of(headers: &HeaderMap) -> Option<u64> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

/// The latest reset of a limit that the answer says is exhausted (rate-limit page, 2026-08-22):
/// `anthropic-ratelimit-unified-reset` in unix seconds, when its status is `rejected`, and
/// `…-reset` as RFC 3339, beside a `…-remaining` of 0.
pub fn reset_of(headers: &HeaderMap) -> Option<Timestamp> {
    let text = |name: &str| text(headers, name);
    let rejected = text(&format!("{UNIFIED}-status")) == Some("rejected");
    headers
        .keys()
        .filter_map(|name| {
            let limit = name.as_str().strip_suffix("-reset")?;
            let is_unified = limit.starts_with(UNIFIED);
            let is_ours = limit.starts_with("anthropic-");
            let spent = is_ours && text(&format!("{limit}-remaining")) == Some("0");
            if spent || (is_unified && rejected) { moment(text(name.as_str())?) } else { None }
        })
        .max()
}

/// Unix seconds or RFC 3339; both occur.
fn moment(text: &str) -> Option<Timestamp> {
    let seconds = text.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    seconds.or_else(|| text.parse().ok())
}

/// The one model family that a refused request's limit is about (`seven_day_opus`: `opus`), if it
/// is not the whole account's.
pub fn family_of(headers: &HeaderMap) -> Option<&str> {
    let claim = text(headers, &format!("{UNIFIED}-representative-claim"))?;
    let family = claim.strip_prefix("seven_day_").or_else(|| claim.strip_prefix("five_hour_"))?;
    let is_model = !family.is_empty() && family.bytes().all(|byte| byte.is_ascii_lowercase());
    (is_model && family != "overage").then_some(family)
}

/// How much of the unified limits is used.
pub fn utilisation_of(headers: &HeaderMap) -> Utilisation {
    let window = |name: &str| {
        let percent = percent(text(headers, &format!("{UNIFIED}-{name}-utilization"))?)?;
        let resets_at = text(headers, &format!("{UNIFIED}-{name}-reset")).and_then(moment);
        Some(Window { percent, resets_at })
    };
    Utilisation { five_hour: window("5h"), seven_day: window("7d") }
}

/// A share such as `0.42`, in whole percent, cut.
fn percent(share: &str) -> Option<u32> {
    let (whole, fraction) = share.trim().split_once('.').unwrap_or((share.trim(), ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let hundredths: String = fraction.chars().chain("00".chars()).take(2).collect();
    let whole: u32 = whole.parse().ok()?;
    whole.checked_mul(100)?.checked_add(hundredths.parse().ok()?)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn when_to_come_back() {
        let check = |pairs: &[(&str, &str)], seconds, reset: Option<&str>| {
            let headers = headers(pairs);
            assert_eq!(retry_after_of(&headers), seconds, "{pairs:?}");
            assert_eq!(reset_of(&headers), reset.map(|text| text.parse().unwrap()), "{pairs:?}");
        };
        check(&[("retry-after", "7")], Some(7), None);
        check(&[("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")], None, None);
        let day = "2026-11-22T20:00:00Z";
        let spent = ("anthropic-ratelimit-requests-remaining", "0");
        check(&[spent, ("anthropic-ratelimit-requests-reset", day)], None, Some(day));
        let left = ("anthropic-ratelimit-requests-remaining", "1");
        check(&[left, ("anthropic-ratelimit-requests-reset", day)], None, None);
        let tokens = ("anthropic-ratelimit-tokens-remaining", "0");
        let later = ("anthropic-ratelimit-tokens-reset", "2026-11-22T21:00:00Z");
        let both = [spent, ("anthropic-ratelimit-requests-reset", day), tokens, later];
        check(&both, None, Some("2026-11-22T21:00:00Z"));
        let unified = ("anthropic-ratelimit-unified-reset", "1796000000");
        check(
            &[("anthropic-ratelimit-unified-status", "rejected"), unified],
            None,
            Some("2026-11-30T00:53:20Z"),
        );
        check(&[("anthropic-ratelimit-unified-status", "allowed"), unified], None, None);
        check(&[("x-ratelimit-reset", "1796000000"), ("x-ratelimit-remaining", "0")], None, None);
    }
    #[test]
    fn whom_a_limit_is_about() {
        let check = |claim, family| {
            let headers = headers(&[("anthropic-ratelimit-unified-representative-claim", claim)]);
            assert_eq!(family_of(&headers), family, "{claim}");
        };
        check("five_hour", None);
        check("seven_day", None);
        check("seven_day_opus", Some("opus"));
        check("seven_day_", None);
        check("overage", None);
        assert_eq!(family_of(&HeaderMap::new()), None);
    }

    #[test]
    fn how_much_is_used() {
        let headers = headers(&[
            ("anthropic-ratelimit-unified-5h-utilization", "0.42"),
            ("anthropic-ratelimit-unified-5h-reset", "1796000000"),
            ("anthropic-ratelimit-unified-7d-utilization", "1.049"),
        ]);
        let resets_at = Some("2026-11-30T00:53:20Z".parse().unwrap());
        let five_hour = Some(Window { percent: 42, resets_at });
        let seven_day = Some(Window { percent: 104, resets_at: None });
        assert_eq!(utilisation_of(&headers), Utilisation { five_hour, seven_day });
        for (share, expect) in [("1", Some(100)), ("0.5", Some(50)), ("0", Some(0)), ("x", None)] {
            assert_eq!(percent(share), expect, "{share}");
        }
        assert_eq!(percent("0.x"), None);
        assert_eq!(percent("-1"), None);
    }
}
