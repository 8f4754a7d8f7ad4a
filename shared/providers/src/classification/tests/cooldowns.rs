//! The table of the lengths of cooldowns: which times of an answer count, and up to which length.

use super::*;

const DAY: i64 = 86_400;
const ANTHROPIC: &str = r#"{"type":"error","error":{"type":"rate_limit_error","message":"m"}}"#;
const OPENAI: &str =
    r#"{"error":{"message":"m","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#;
const OPENROUTER: &str =
    r#"{"error":{"message":"Rate limit exceeded: free-models-per-day","code":429}}"#;
const GOOGLE: &str =
    r#"[{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[]}}]"#;

fn plain() -> AnnouncedLimit {
    AnnouncedLimit::default()
}

fn wait(seconds: i64) -> AnnouncedLimit {
    AnnouncedLimit { retry_after: Some(SignedDuration::from_secs(seconds)), ..plain() }
}

fn reset(seconds: i64) -> AnnouncedLimit {
    AnnouncedLimit { reset: Some(seconds_after(now(), seconds)), ..plain() }
}

fn check(
    provider: Provider,
    (status, body): (u16, &str),
    announced: &AnnouncedLimit,
    expect: &str,
) {
    let told = judged(&facts(provider), status, announced, body);
    let expect = format!("try another, {expect}");
    assert_eq!(short(&told), expect, "{provider:?} {status} {body} {announced:?}");
}

#[test]
fn intermediary_cooldowns_are_short() {
    // nginx, Cloudflare, Kong, Tyk, Azure API Management, Spring, RFC 9457, Cloudflare AI Gateway.
    let bodies = [
        "",
        "<html><head><title>429 Too Many Requests</title></head></html>",
        "error code: 1015",
        r#"{"message":"API rate limit exceeded"}"#,
        r#"{"error":"API Rate limit exceeded"}"#,
        r#"{"statusCode":429,"message":"Rate limit is exceeded. Try again in 30 seconds."}"#,
        r#"{"timestamp":"2026-11-22T21:00:00Z","status":429,"error":"Too Many Requests"}"#,
        r#"{"type":"about:blank","title":"Too Many Requests","status":429,"detail":"slow down"}"#,
        r#"{"success":false,"error":[{"code":2003,"message":"Rate limited"}]}"#,
        r#"{"code":429,"message":"Too many requests"}"#,
        r#"{"type":"error","error":{"type":"rate_limit_error"}}"#,
        r#"{"error":{"message":"too many"}}"#,
        "null",
        "[]",
        "{",
    ];
    // The vendor's own headers do not make a page the vendor's answer.
    let unified = |family: Option<&str>| AnnouncedLimit {
        is_whole_account: family.is_none(),
        family: family.map(str::to_owned),
        ..reset(6 * DAY)
    };
    for provider in [Anthropic, OpenaiCompatible] {
        for body in bodies {
            let check = |announced: &AnnouncedLimit, seconds: i64| {
                let expect = format!("model {seconds} RateLimited guess");
                check(provider, (429, body), announced, &expect);
            };
            check(&plain(), 30);
            check(&wait(0), 0);
            check(&wait(7), 7);
            check(&wait(60), 60);
            for seconds in [61, DAY, 31 * DAY, i64::MAX] {
                check(&wait(seconds), 60);
            }
            check(&reset(20 * DAY), 30);
            check(&unified(None), 30);
            check(&unified(Some("opus")), 30);
        }
    }
    // Code and message without a type are not Anthropic's form.
    check(Anthropic, (429, OPENROUTER), &wait(DAY), "model 60 RateLimited guess");
    for (status, expect) in [
        (503, "failure ServerError"),
        (500, "failure ServerError"),
        (529, "account 5 Overloaded guess"),
        (408, "failure TimedOut"),
    ] {
        for body in ["", "<html></html>"] {
            check(Anthropic, (status, body), &wait(DAY), expect);
        }
    }
    check(OpenaiCompatible, (402, "<html>"), &wait(DAY), "account 60 SpendCapReached guess");
    check(OpenaiCompatible, (402, ""), &plain(), "account 30 SpendCapReached guess");
    let json = r#"{"message":"Payment required"}"#;
    check(OpenaiCompatible, (402, json), &wait(20 * DAY), "account 600 SpendCapReached");
}

#[test]
fn vendor_cooldowns_are_bounded_by_documentation() {
    for seconds in [40, DAY] {
        for (provider, body) in
            [(Anthropic, ANTHROPIC), (OpenaiCompatible, OPENAI), (OpenaiCompatible, GOOGLE)]
        {
            let expect = format!("model {seconds} RateLimited");
            check(provider, (429, body), &wait(seconds), &expect);
        }
    }
    for seconds in [DAY + 1, 20 * DAY, 31 * DAY, i64::MAX] {
        for (provider, body) in [
            (Anthropic, ANTHROPIC),
            (OpenaiCompatible, OPENAI),
            (OpenaiCompatible, OPENROUTER),
            (OpenaiCompatible, GOOGLE),
            // A gateway that forwards Anthropic's errors.
            (OpenaiCompatible, ANTHROPIC),
        ] {
            check(provider, (429, body), &wait(seconds), "model 86400 RateLimited");
        }
    }
    check(OpenaiCompatible, (429, OPENAI), &reset(20 * DAY), "model 86400 RateLimited");
    check(OpenaiCompatible, (429, OPENAI), &reset(-5), "model 30 RateLimited guess");
    // A subscription of Anthropic counts seven days.
    let whole = |announced| AnnouncedLimit { is_whole_account: true, ..announced };
    let opus = |announced| AnnouncedLimit { family: Some("opus".into()), ..announced };
    check(Anthropic, (429, ANTHROPIC), &whole(reset(6 * DAY)), "account 518401 RateLimited");
    check(Anthropic, (429, ANTHROPIC), &whole(reset(20 * DAY)), "account 604800 RateLimited");
    check(Anthropic, (429, ANTHROPIC), &whole(wait(20 * DAY)), "account 604800 RateLimited");
    check(Anthropic, (429, ANTHROPIC), &opus(wait(20 * DAY)), "family opus 604800 RateLimited");
    let other = whole(wait(20 * DAY));
    check(OpenaiCompatible, (429, ANTHROPIC), &other, "account 86400 RateLimited");
    // Bedrock documents no header.
    check(Bedrock, (429, ANTHROPIC), &plain(), "model 30 RateLimited guess");
    check(Bedrock, (429, ANTHROPIC), &wait(DAY), "model 60 RateLimited");
    check(Bedrock, (429, ANTHROPIC), &whole(reset(DAY)), "account 60 RateLimited");
    // A limit of money can be one of the month.
    let money =
        r#"{"error":{"message":"m","type":"insufficient_quota","code":"insufficient_quota"}}"#;
    let spent = |provider, seconds: i64, expect: &str| {
        check(provider, (429, money), &wait(seconds), expect);
    };
    spent(OpenaiCompatible, 20 * DAY, "account 1728000 SpendCapReached");
    spent(OpenaiCompatible, 40 * DAY, "account 2678400 SpendCapReached");
    let delay = r#"{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[{"retryDelay":"999999999s"}]}}"#;
    check(OpenaiCompatible, (429, delay), &plain(), "model 86400 RateLimited");
}
