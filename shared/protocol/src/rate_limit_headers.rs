//! Reads what an upstream's headers say about its limits: when to retry, for which models, and how
//! much is used (rate-limit page, 2026-08-22; unified headers as answers carried them in September
//! 2026).

use baton_domain::health::{UpstreamUtilization, UtilizationWindow};
use baton_domain::verdict::AnnouncedLimit;
use http::HeaderMap;
use http::header::RETRY_AFTER;
use jiff::civil::DateTime;
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

const UNIFIED: &str = "anthropic-ratelimit-unified";

/// The limit that a request has reached, read from the headers of the error.
pub fn read_announced_limit(headers: &HeaderMap, now: Timestamp) -> AnnouncedLimit {
    let family = read_model_family(headers).map(str::to_owned);
    let is_rejected = header_text(headers, &format!("{UNIFIED}-status")) == Some("rejected");
    let mut announced = AnnouncedLimit {
        retry_after: read_retry_after(headers, now),
        is_whole_account: is_rejected && family.is_none(),
        family,
        unused_limits: read_unused_limits(headers),
        ..AnnouncedLimit::default()
    };
    for name in headers.keys() {
        let Some(limit) = read_spent_limit(headers, name.as_str(), is_rejected) else { continue };
        let reset = header_text(headers, name.as_str()).and_then(|text| parse_moment(text, now));
        if limit == SpentLimit::Fast {
            announced.is_fast_spent = true;
            announced.fast_reset = announced.fast_reset.max(reset);
        } else {
            announced.reset = announced.reset.max(reset);
        }
    }
    announced
}

/// The limits of tokens that are not the cause of an error, because all or nearly all is left, in the
/// words of the vendors' messages: Anthropic's (rate-limit page, 2026-08-22:
/// `anthropic-ratelimit-input-tokens-limit` and `…-remaining`, which is rounded to thousands), and
/// those of OpenAI and Azure (`x-ratelimit-limit-tokens`; "Rate limits", 2026-11).
fn read_unused_limits(headers: &HeaderMap) -> Vec<&'static str> {
    let count = |name: &str| header_text(headers, name)?.trim().parse::<u64>().ok();
    // `percent` of the limit can be used.
    let is_unused = |limit: &str, remaining: &str, percent: u64| {
        let counts = count(limit).zip(count(remaining));
        counts.is_some_and(|(limit, remaining)| {
            limit > 0 && remaining >= limit - limit / 100 * percent
        })
    };
    let mut unused = Vec::new();
    for (limit, phrase) in
        [("input", "input tokens per minute"), ("output", "output tokens per minute")]
    {
        let name = |end: &str| format!("anthropic-ratelimit-{limit}-tokens-{end}");
        if is_unused(&name("limit"), &name("remaining"), 0) {
            unused.push(phrase);
        }
    }
    if is_unused("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", 10) {
        unused.extend(["tokens per min", "token rate limit"]);
    }
    unused
}

/// The limit that is used up.
#[derive(PartialEq, Eq)]
enum SpentLimit {
    Fast,
    Other,
}

/// Whether the header `name` contains the reset time of a limit that is used up, and which limit
/// that is. These are `anthropic-…-reset` if `…-remaining` is 0 (rate-limit page, 2026-08-22), the
/// unified header if its status is `rejected`, and OpenAI's `x-ratelimit-reset-tokens` if
/// `x-ratelimit-remaining-tokens` is 0 (platform.openai.com, "Rate limits", 2026-11).
fn read_spent_limit(headers: &HeaderMap, name: &str, is_rejected: bool) -> Option<SpentLimit> {
    let is_spent = |remaining: &str| header_text(headers, remaining).map(str::trim) == Some("0");
    if let Some(name_tail) = name.strip_prefix("x-ratelimit-reset") {
        return is_spent(&format!("x-ratelimit-remaining{name_tail}")).then_some(SpentLimit::Other);
    }
    let limit = name.strip_suffix("-reset").filter(|limit| limit.starts_with("anthropic-"))?;
    let is_spent = is_spent(&format!("{limit}-remaining"));
    if limit.starts_with("anthropic-fast-") {
        return is_spent.then_some(SpentLimit::Fast);
    }
    (is_spent || (is_rejected && limit.starts_with(UNIFIED))).then_some(SpentLimit::Other)
}

/// The wait time in `retry-after-ms` or `retry-after`: whole seconds or a date (RFC 9110, 10.2.3),
/// or decimals, which some vendors send. Of several headers the shortest time counts, because a
/// proxy can add one, and a request that is sent too early only fails over.
fn read_retry_after(headers: &HeaderMap, now: Timestamp) -> Option<SignedDuration> {
    let values = |name: &str| headers.get_all(name).into_iter().filter_map(|it| it.to_str().ok());
    let until =
        |date: &str| Some(parse_http_date(date)?.duration_since(now).max(SignedDuration::ZERO));
    let wait = |text: &str| parse_decimal(text, 1_000).or_else(|| until(text.trim()));
    let millis = values("retry-after-ms").filter_map(|text| parse_decimal(text, 1)).min();
    millis.or_else(|| values(RETRY_AFTER.as_str()).filter_map(wait).min())
}

/// A number that is not negative, times `unit` milliseconds. Numbers that are too large become the
/// largest duration.
fn parse_decimal(text: &str, unit: i64) -> Option<SignedDuration> {
    let (integer_part, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if integer_part.is_empty() || !is_digits(integer_part) || !is_digits(fraction) {
        return None;
    }
    let integer_part: i64 = integer_part.parse().unwrap_or(i64::MAX / 1_000);
    let thousandths: String = fraction.chars().chain("000".chars()).take(3).collect();
    let part = thousandths.parse::<i64>().ok()? * unit / 1_000;
    Some(SignedDuration::from_millis(integer_part.saturating_mul(unit).saturating_add(part)))
}

/// Parses the three date formats of RFC 9110, 5.6.7.
fn parse_http_date(text: &str) -> Option<Timestamp> {
    let utc = |time: DateTime| Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp());
    let old = |format| DateTime::strptime(format, text).ok().and_then(utc);
    let new = rfc2822::parse(text).ok().map(|zoned| zoned.timestamp());
    new.or_else(|| old("%A, %d-%b-%y %H:%M:%S GMT")).or_else(|| old("%a %b %e %H:%M:%S %Y"))
}

/// Parses a time: RFC 3339, Unix time in seconds or milliseconds, or a duration from now, either in
/// seconds or as Go writes it (`6m0s`, `1h2m3.5s`, `17ms`). All of these occur.
fn parse_moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    const UNIX_SECONDS_MIN: i64 = 1_000_000_000;
    const UNIX_MILLIS_MIN: i64 = 1_000_000_000_000;
    let text = text.trim();
    let later = |span: SignedDuration| now.saturating_add(span).ok();
    match text.parse::<i64>() {
        Ok(number) if number >= UNIX_MILLIS_MIN => Timestamp::from_millisecond(number).ok(),
        Ok(number) if number >= UNIX_SECONDS_MIN => Timestamp::from_second(number).ok(),
        _ => match parse_decimal(text, 1_000).or_else(|| parse_go_duration(text)) {
            Some(span) => later(span),
            None => text.parse().ok(),
        },
    }
}

/// Parses `6m0s`, `1h2m3.5s`, `17ms`, `7.66s`.
fn parse_go_duration(text: &str) -> Option<SignedDuration> {
    let (mut rest, mut sum) = (text, SignedDuration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, after) = tail.split_at(end);
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        sum = sum.checked_add(parse_decimal(number, millis)?)?;
        rest = after;
    }
    Some(sum).filter(|_| !text.is_empty())
}

/// The longest name of a model family. The name is logged and stored.
const FAMILY_BYTES_MAX: usize = 32;

/// The model family of the limit that refused a request (`seven_day_opus`: `opus`), or `None` if
/// the limit is for the whole account.
pub fn read_model_family(headers: &HeaderMap) -> Option<&str> {
    let claim = header_text(headers, &format!("{UNIFIED}-representative-claim"))?;
    let family = claim.strip_prefix("seven_day_").or_else(|| claim.strip_prefix("five_hour_"))?;
    let is_model = (1..=FAMILY_BYTES_MAX).contains(&family.len());
    let is_model = is_model && family.bytes().all(|byte| byte.is_ascii_lowercase());
    (is_model && family != "overage").then_some(family)
}

/// The utilization of the unified limits.
pub fn read_utilization(headers: &HeaderMap) -> UpstreamUtilization {
    let window = |name: &str| {
        let percent =
            parse_percent(header_text(headers, &format!("{UNIFIED}-{name}-utilization"))?)?;
        let resets_at = header_text(headers, &format!("{UNIFIED}-{name}-reset"))
            .and_then(parse_unix_or_rfc3339);
        Some(UtilizationWindow { percent, resets_at })
    };
    UpstreamUtilization { five_hour: window("5h"), seven_day: window("7d") }
}

/// Parses Unix seconds or RFC 3339. Both occur.
fn parse_unix_or_rfc3339(text: &str) -> Option<Timestamp> {
    let seconds = text.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    seconds.or_else(|| text.parse().ok())
}

/// A share such as `0.42` in whole percent, rounded down.
fn parse_percent(share: &str) -> Option<u32> {
    let (integer_part, fraction) = share.trim().split_once('.').unwrap_or((share.trim(), ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let hundredths: String = fraction.chars().chain("00".chars()).take(2).collect();
    let integer_part: u32 = integer_part.parse().ok()?;
    integer_part.checked_mul(100)?.checked_add(hundredths.parse().ok()?)
}

fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
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

    fn now() -> Timestamp {
        "2026-11-22T19:00:00Z".parse().unwrap()
    }

    #[test]
    fn unused_limits_are_read() {
        let check = |pairs: &[(&str, &str)], expect: &[&str]| {
            let pairs: Vec<_> = pairs
                .iter()
                .map(|(name, value)| (format!("anthropic-ratelimit-{name}"), *value))
                .collect();
            let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), *value)).collect();
            let announced = read_announced_limit(&headers(&pairs), now());
            assert_eq!(announced.unused_limits, expect, "{pairs:?}");
        };
        let input = ("input-tokens-limit", "20000");
        check(&[input, ("input-tokens-remaining", "20000")], &["input tokens per minute"]);
        check(&[input, ("input-tokens-remaining", "19000")], &[]);
        check(&[input, ("input-tokens-remaining", "0")], &[]);
        check(&[input], &[]);
        check(&[("input-tokens-limit", "0"), ("input-tokens-remaining", "0")], &[]);
        let output = [("output-tokens-limit", "8000"), ("output-tokens-remaining", "8000")];
        check(&output, &["output tokens per minute"]);
        check(&[("requests-limit", "50"), ("requests-remaining", "50")], &[]);
        for (remaining, is_unused) in
            [("9990", true), ("9000", true), ("8990", false), ("0", false)]
        {
            let pairs = [
                ("x-ratelimit-limit-tokens", "10000"),
                ("x-ratelimit-remaining-tokens", remaining),
            ];
            let announced = read_announced_limit(&headers(&pairs), now());
            assert_eq!(!announced.unused_limits.is_empty(), is_unused, "{remaining}");
        }
    }

    #[test]
    fn retry_after_is_read_in_every_format() {
        let check = |name, value, millis: Option<i64>| {
            let wait = read_announced_limit(&headers(&[(name, value)]), now()).retry_after;
            assert_eq!(wait, millis.map(SignedDuration::from_millis), "{name}: {value}");
        };
        check("retry-after", "7", Some(7_000));
        check("retry-after", " 1.5 ", Some(1_500));
        check("retry-after", "0", Some(0));
        check("retry-after", "0.25", Some(250));
        check("retry-after", "Sun, 22 Nov 2026 19:03:20 GMT", Some(200_000));
        check("retry-after", "Sunday, 22-Nov-26 19:03:20 GMT", Some(200_000));
        check("retry-after", "Sun Nov 22 19:03:20 2026", Some(200_000));
        check("retry-after", "Sun, 22 Nov 2026 18:00:00 GMT", Some(0));
        check("retry-after-ms", "900", Some(900));
        check("retry-after-ms", "12.5", Some(12));
        for odd in ["", "-1", "soon", "1e3", "1.5.2", "0x10", "1,5", "\u{e9}"] {
            check("retry-after", odd, None);
        }
        let most = read_announced_limit(&headers(&[("retry-after", &"9".repeat(30))]), now());
        assert!(most.retry_after.is_some_and(|wait| wait.as_hours() > 1_000_000));
        let both = [("retry-after", "1"), ("retry-after-ms", "900")];
        let wait = read_announced_limit(&headers(&both), now()).retry_after;
        assert_eq!(wait, Some(SignedDuration::from_millis(900)), "the finer one");
        for (values, seconds) in [
            (["86400", "5"], Some(5)),
            (["5", "86400"], Some(5)),
            (["soon", "5"], Some(5)),
            (["-1", "Sun, 22 Nov 2026 19:03:20 GMT"], Some(200)),
            (["5, 7", "inf"], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(RETRY_AFTER, HeaderValue::from_static(value));
            }
            let wait = read_announced_limit(&headers, now()).retry_after;
            assert_eq!(wait, seconds.map(SignedDuration::from_secs), "{values:?}");
        }
    }

    #[test]
    fn reset_times_of_spent_limits_are_read() {
        let check = |pairs: &[(&str, &str)], reset: Option<&str>| {
            let announced = read_announced_limit(&headers(pairs), now());
            assert_eq!(announced.reset, reset.map(|text| text.parse().unwrap()), "{pairs:?}");
            assert!(!announced.is_fast_spent);
        };
        let day = "2026-11-22T20:00:00Z";
        let spent = ("anthropic-ratelimit-requests-remaining", "0");
        check(&[spent, ("anthropic-ratelimit-requests-reset", day)], Some(day));
        let left = ("anthropic-ratelimit-requests-remaining", "1");
        check(&[left, ("anthropic-ratelimit-requests-reset", day)], None);
        let tokens = ("anthropic-ratelimit-tokens-remaining", "0");
        let later = ("anthropic-ratelimit-tokens-reset", "2026-11-22T21:00:00Z");
        let both = [spent, ("anthropic-ratelimit-requests-reset", day), tokens, later];
        check(&both, Some("2026-11-22T21:00:00Z"));
        let unified = ("anthropic-ratelimit-unified-reset", "1796000000");
        let rejected = ("anthropic-ratelimit-unified-status", "rejected");
        check(&[rejected, unified], Some("2026-11-30T00:53:20Z"));
        check(&[("anthropic-ratelimit-unified-status", "allowed"), unified], None);
        for (value, reset) in [
            ("6m0s", Some("2026-11-22T19:06:00Z")),
            ("20s", Some("2026-11-22T19:00:20Z")),
            ("1h2m3.5s", Some("2026-11-22T20:02:03.5Z")),
            ("17ms", Some("2026-11-22T19:00:00.017Z")),
            ("1", Some("2026-11-22T19:00:01Z")),
            ("1796000000", Some("2026-11-30T00:53:20Z")),
            ("1796000000000", Some("2026-11-30T00:53:20Z")),
            (day, Some(day)),
            ("6 minutes", None),
            ("", None),
            ("99999999999999999999h", None),
        ] {
            let reset_header = ("x-ratelimit-reset-tokens", value);
            if value != "99999999999999999999h" {
                check(&[("x-ratelimit-remaining-tokens", "0"), reset_header], reset);
            }
            check(&[("x-ratelimit-remaining-tokens", "1"), reset_header], None);
            check(&[("x-ratelimit-remaining-requests", "0"), reset_header], None);
        }
        check(
            &[("x-ratelimit-reset", "1796000000"), ("x-ratelimit-remaining", "0")],
            Some("2026-11-30T00:53:20Z"),
        );
    }

    #[test]
    fn spent_limits_of_fast_mode_and_models_are_separate() {
        let of = |pairs: &[(&str, &str)]| read_announced_limit(&headers(pairs), now());
        let day = "2026-11-22T20:00:00Z";
        let fast = [
            ("anthropic-fast-input-tokens-remaining", "0"),
            ("anthropic-fast-input-tokens-reset", day),
        ];
        let announced = of(&fast);
        assert!(announced.is_fast_spent && announced.reset.is_none());
        assert_eq!(announced.fast_reset, Some(day.parse().unwrap()));
        let rejected = ("anthropic-ratelimit-unified-status", "rejected");
        let claim = "anthropic-ratelimit-unified-representative-claim";
        assert!(of(&[rejected, (claim, "five_hour")]).is_whole_account);
        let opus = of(&[rejected, (claim, "seven_day_opus")]);
        assert!(!opus.is_whole_account && opus.family.as_deref() == Some("opus"));
        assert_eq!(of(&[]), AnnouncedLimit::default());
    }

    #[test]
    fn limit_claim_names_the_model_family() {
        let check = |claim: &str, family: Option<&str>| {
            let headers = headers(&[("anthropic-ratelimit-unified-representative-claim", claim)]);
            assert_eq!(read_model_family(&headers), family, "{claim}");
        };
        check("five_hour", None);
        check("seven_day", None);
        check("seven_day_opus", Some("opus"));
        check("seven_day_", None);
        let (most, more) = ("a".repeat(32), "a".repeat(33));
        check(&format!("seven_day_{most}"), Some(&most));
        check(&format!("seven_day_{more}"), None);
        check("overage", None);
        assert_eq!(read_model_family(&HeaderMap::new()), None);
    }

    #[test]
    fn utilization_is_read_from_headers() {
        let headers = headers(&[
            ("anthropic-ratelimit-unified-5h-utilization", "0.42"),
            ("anthropic-ratelimit-unified-5h-reset", "1796000000"),
            ("anthropic-ratelimit-unified-7d-utilization", "1.049"),
        ]);
        let resets_at = Some("2026-11-30T00:53:20Z".parse().unwrap());
        let five_hour = Some(UtilizationWindow { percent: 42, resets_at });
        let seven_day = Some(UtilizationWindow { percent: 104, resets_at: None });
        assert_eq!(read_utilization(&headers), UpstreamUtilization { five_hour, seven_day });
        for (share, expect) in [("1", Some(100)), ("0.5", Some(50)), ("0", Some(0)), ("x", None)] {
            assert_eq!(parse_percent(share), expect, "{share}");
        }
        assert_eq!(parse_percent("0.x"), None);
        assert_eq!(parse_percent("-1"), None);
    }
}
