//! The bodies with which vendors say that an organization has no credit left.

use super::*;

#[test]
#[expect(clippy::too_many_lines, reason = "a table of bodies")]
fn vendor_errors_for_missing_credit() {
    let anthropic = |message: &str| {
        let error = serde_json::json!({"type": "invalid_request_error", "message": message});
        of(Anthropic, 400, &serde_json::json!({"type": "error", "error": error}).to_string())
    };
    let credit = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.";
    assert_eq!(short(&anthropic(credit)), "try another, account 600 CreditUsedUp");
    let nine_days = (9 - 1) * 86_400 + 3 * 3_600;
    let until = format!("try another, account {nine_days} SpendCapReached");
    for whose in ["API", "workspace API"] {
        let limit = format!(
            "You have reached your specified {whose} usage limits. You will regain access on 2026-12-01 at 00:00 UTC."
        );
        assert_eq!(short(&anthropic(&limit)), until);
    }
    for (limit, seconds) in [
        (
            "You have reached your specified API usage limits. You will regain access on 2026-11-01 at 00:00 UTC.",
            600,
        ),
        ("You have reached your specified API usage limits. You will regain access on soon", 600),
        ("You have reached your specified API usage limits.", 600),
        (
            "You have reached your specified API usage limits. You will regain access on 2999-01-01 at 00:00 UTC.",
            2_678_400,
        ),
    ] {
        let expect = format!("try another, account {seconds} SpendCapReached");
        assert_eq!(short(&anthropic(limit)), expect, "{limit}");
    }
    let disabled = "This organization has been disabled.";
    assert_eq!(short(&anthropic(disabled)), "try another, account 600 OrganizationDisabled");
    // A gateway can have forwarded it, so the account is still tried if no other is left.
    let forwarded = r#"{"error":{"type":"invalid_request_error","message":"You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."}}"#;
    let estimated = "try another, account 600 SpendCapReached guess";
    assert_eq!(short(&of(OpenaiCompatible, 400, forwarded)), estimated);
    let spent = "try another, account 600 SpendCapReached";
    let credit = "try another, account 600 CreditUsedUp";
    let disabled = "try another, account 600 OrganizationDisabled";
    let rows = [
        (
            Anthropic,
            402,
            r#"{"type":"error","error":{"type":"billing_error","message":"No credit left."}}"#,
            spent,
        ),
        (
            Anthropic,
            429,
            r#"{"type":"error","error":{"type":"billing_error","message":"spend limit reached; resets Nov 30"}}"#,
            spent,
        ),
        (
            OpenaiCompatible,
            429,
            r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
            spent,
        ),
        (
            OpenaiCompatible,
            429,
            r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","param":null,"code":null}}"#,
            spent,
        ),
        (
            OpenaiCompatible,
            400,
            r#"{"error":{"code":"billing_hard_limit_reached","message":"Billing hard limit has been reached","param":null,"type":"invalid_request_error"}}"#,
            spent,
        ),
        (
            OpenaiCompatible,
            429,
            r#"{"error":{"message":"Your account is not active, please check your billing details on our website.","type":"billing_not_active","param":null,"code":"billing_not_active"}}"#,
            disabled,
        ),
        (
            OpenaiCompatible,
            402,
            r#"{"error":{"message":"Insufficient Balance","type":"unknown_error","param":null,"code":"invalid_request_error"}}"#,
            spent,
        ),
        (
            OpenaiCompatible,
            402,
            r#"{"error":{"message":"Insufficient credits. Add more using https://openrouter.ai/settings/credits","code":402}}"#,
            spent,
        ),
        (
            OpenaiCompatible,
            429,
            r#"{"error":{"message":"Your account has exceeded its quota","type":"exceeded_current_quota_error"}}"#,
            spent,
        ),
        (
            OpenaiCompatible,
            429,
            r#"{"code":"Some resource has been exhausted","error":"Your team 16f2151a has either used all available credits or reached its monthly spending limit. To continue making API requests, please purchase more credits or raise your spending limit."}"#,
            credit,
        ),
        (
            OpenaiCompatible,
            403,
            r#"{"code":"The caller does not have permission to execute the specified operation","error":"Your newly created team doesn't have any credits or licenses yet. You can purchase those on https://console.x.ai/team/481c7584."}"#,
            credit,
        ),
        (
            OpenaiCompatible,
            400,
            r#"{"error":{"message":"Organization has been restricted. Please reach out to support if you believe this was in error.","type":"invalid_request_error","code":"organization_restricted"}}"#,
            disabled,
        ),
        (
            OpenaiCompatible,
            400,
            r#"{"error":{"code":"Arrearage","param":null,"message":"Access denied, please make sure your account is in good standing.","type":"Arrearage"}}"#,
            credit,
        ),
        (
            OpenaiCompatible,
            403,
            r#"[{"error":{"code":403,"message":"Permission denied: Consumer 'api_key:x' has been suspended.","status":"PERMISSION_DENIED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"CONSUMER_SUSPENDED"}]}}]"#,
            disabled,
        ),
    ];
    for (provider, status, body, expect) in rows {
        let verdict = of(provider, status, body);
        assert_eq!(short(&verdict), expect, "{body}");
        assert!(verdict.is_private, "{body}");
    }
}
