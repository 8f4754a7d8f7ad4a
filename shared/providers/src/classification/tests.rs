//! The table of the meanings of upstream failures, with the bodies that vendors send.

mod accounts;
mod cooldowns;
mod missing_credit;

use super::*;
use Provider::{Anthropic, Bedrock, OpenaiCompatible};
use baton_domain::account::CredentialKind;
use baton_domain::request_tier::RequestTier;
use baton_domain::verdict::AnnouncedLimit;

fn now() -> Timestamp {
    "2026-11-22T21:00:00Z".parse().unwrap()
}

const MODEL: &str = "claude-opus-5-5";

fn facts(provider: Provider) -> RequestFacts<'static> {
    RequestFacts {
        provider,
        credential: CredentialKind::ApiKey,
        token_version: None,
        model: MODEL,
        body_bytes: 1_000,
        is_fast: false,
        tier: RequestTier::Standard,
    }
}

fn judged(
    facts: &RequestFacts<'_>,
    status: u16,
    announced: &AnnouncedLimit,
    body: &str,
) -> Verdict {
    let error = ErrorFields::from_body(body.as_bytes());
    let answer = UpstreamError { status, announced, error: &error, is_billed: false };
    classify(&CallFailure::Status(answer), facts, now(), 0)
}

fn of(provider: Provider, status: u16, body: &str) -> Verdict {
    judged(&facts(provider), status, &AnnouncedLimit::default(), body)
}

/// A short form of the verdict: the scope, the seconds and the reason of a cooldown.
fn short(verdict: &Verdict) -> String {
    let request = match verdict.request {
        RetryDecision::ReturnToClient => "pass on",
        RetryDecision::TryAnother => "try another",
    };
    let account = match &verdict.account {
        AccountEffect::Nothing => "nothing".to_owned(),
        AccountEffect::Cooldown { scope, until, reason, is_estimated, .. } => {
            let scope = match scope {
                CooldownScope::Account => "account".to_owned(),
                CooldownScope::Family(family) => format!("family {family}"),
                CooldownScope::Model(model) => {
                    let tier = model.strip_prefix(MODEL).unwrap();
                    format!("model{tier}")
                }
                CooldownScope::Fast => "fast".to_owned(),
            };
            let seconds = until.duration_since(now()).as_secs();
            let guess = if *is_estimated { " guess" } else { "" };
            format!("{scope} {seconds} {reason:?}{guess}")
        }
        AccountEffect::Suspect { reason } => format!("suspect {reason:?}"),
        AccountEffect::CountFailure { reason } => format!("failure {reason:?}"),
        AccountEffect::NotPermitted => "not permitted".to_owned(),
    };
    format!("{request}, {account}")
}

#[test]
fn invalid_requests_are_passed_on() {
    let bodies = [
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 250000 tokens > 200000 maximum"}}"#,
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: 128000 > 64000, which is the maximum allowed number of output tokens for claude-opus-5-5"}}"#,
        r#"{"error":{"message":"Unsupported parameter: 'max_tokens' is not supported with this model.","type":"invalid_request_error","param":"max_tokens","code":"unsupported_parameter"}}"#,
        r#"{"error":{"message":"This model's maximum context length is 128000 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
        r#"[{"error":{"code":400,"message":"The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}]"#,
        r#"{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy.","type":null,"param":"prompt","code":"content_filter","status":400}}"#,
        // Text of the client that an upstream repeats must not decide anything.
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"messages.0: Your credit balance is too low to access the Anthropic API is not a role"}}"#,
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"You have reached your specified API usage limits. You will regain access on 2026-12-30 at 00:00 UTC.: Extra inputs are not permitted"}}"#,
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API: Extra inputs are not permitted"}}"#,
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"This organization has been disabled.x: Field required"}}"#,
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"This organization has been disabled `x` is not a tool"}}"#,
        r#"{"error":{"message":"You have reached your specified API usage limits. You will regain access on 2036-12-01 at 00:00 UTC. None","type":"BadRequestError","param":null,"code":400}}"#,
        r#"{"object":"error","message":"This organization has been disabled. None","type":"BadRequestError","param":null,"code":400}"#,
        r#"{"error":{"message":"insufficient balance (1008) None","type":"BadRequestError","code":400}}"#,
        r#"{"error":{"message":"insufficient balance (1008)","type":"BadRequestError","code":400}}"#,
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"unknown tool `This organization has been disabled.` billing insufficient_quota"}}"#,
        "",
        "[]",
        "null",
        "[[[",
        "{\"error\":5}",
        "disabled revoked billing",
    ];
    for provider in [Anthropic, OpenaiCompatible, Bedrock] {
        for body in bodies {
            for status in [400, 409, 413, 422] {
                let verdict = of(provider, status, body);
                assert_eq!(short(&verdict), "pass on, nothing", "{provider:?} {status} {body}");
                assert!(!verdict.is_private && !verdict.is_refusal);
            }
        }
    }
    let missing =
        r#"{"type":"error","error":{"type":"not_found_error","message":"File not found"}}"#;
    assert_eq!(short(&of(Anthropic, 404, missing)), "pass on, nothing");
}

#[test]
fn too_large_request_does_not_affect_the_account() {
    let rows = [
        (
            Anthropic,
            429,
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"Extra usage is required for long context requests."}}"#,
        ),
        (
            OpenaiCompatible,
            429,
            r#"{"error":{"message":"Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Requested 51228.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#,
        ),
        (
            OpenaiCompatible,
            402,
            r#"{"error":{"message":"This request requires more credits, or fewer max_tokens. You requested up to 225702 tokens, but can only afford 92985.","code":402}}"#,
        ),
    ];
    for (provider, status, body) in rows {
        assert_eq!(short(&of(provider, status, body)), "try another, nothing", "{body}");
    }
    // Groq ("Rate limits", 2026-11), and a flex request without capacity (OpenAI, "Flex processing").
    let groq = r#"{"error":{"message":"Request too large for model `llama` in organization `org_x` service tier `on_demand` on tokens per minute (TPM): Limit 6000, Requested 9000, please reduce your message size and try again.","type":"tokens","code":"rate_limit_exceeded"}}"#;
    let flex = r#"{"error":{"message":"Resource unavailable","type":"resource_unavailable","param":null,"code":"resource_unavailable"}}"#;
    let wait = Some(SignedDuration::from_secs(600));
    let announced = AnnouncedLimit { retry_after: wait, ..AnnouncedLimit::default() };
    for (status, body) in [(413, groq), (429, flex)] {
        let verdict = judged(&facts(OpenaiCompatible), status, &announced, body);
        assert_eq!(short(&verdict), "try another, nothing", "{body}");
    }
    // A tier that the client chose.
    let limited = r#"{"error":{"message":"Rate limit reached for gpt-x","type":"requests","code":"rate_limit_exceeded"}}"#;
    let flex = RequestFacts { tier: RequestTier::Flex, ..facts(OpenaiCompatible) };
    let verdict = judged(&flex, 429, &announced, limited);
    assert_eq!(short(&verdict), "try another, model (flex) 600 RateLimited");
    // The limit that the message names is unused, so the request alone exceeds it.
    let rate = r#"{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed the rate limit for your organization of 20,000 input tokens per minute. For details, refer to: https://docs.anthropic.com/en/api/rate-limits."}}"#;
    for (unused_limits, expect) in [
        (vec!["input tokens per minute"], "try another, nothing"),
        (vec!["input tokens per minute", "output tokens per minute"], "try another, nothing"),
        (vec!["output tokens per minute"], "try another, model 600 RateLimited"),
        (vec![], "try another, model 600 RateLimited"),
    ] {
        let announced = AnnouncedLimit { unused_limits, ..announced.clone() };
        let verdict = judged(&facts(Anthropic), 429, &announced, rate);
        assert_eq!(short(&verdict), expect, "{announced:?}");
    }
    let azure = r#"{"error":{"code":"429","message":"Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-10-21 have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after 60 seconds."}}"#;
    let unused = AnnouncedLimit { unused_limits: vec!["token rate limit"], ..announced.clone() };
    let verdict = judged(&facts(OpenaiCompatible), 429, &unused, azure);
    assert_eq!(short(&verdict), "try another, nothing");
    let tpm = |used: u64, asked: u64| {
        let message = format!(
            "Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Used {used}, Requested {asked}. Please try again in 2s."
        );
        let error = serde_json::json!({"message": message, "type": "tokens", "code": "rate_limit_exceeded"});
        let body = serde_json::json!({ "error": error }).to_string();
        short(&judged(&facts(OpenaiCompatible), 429, &announced, &body))
    };
    assert_eq!(tpm(0, 100_010), "try another, nothing");
    assert_eq!(tpm(29_000, 2_000), "try another, model 600 RateLimited");
    let google = r#"[{"error":{"code":429,"message":"You exceeded your current quota.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaMetric":"generativelanguage.googleapis.com/generate_content_paid_tier_input_token_count","quotaValue":"250000"}]},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"600s"}]}}]"#;
    for (body_bytes, expect) in
        [(2_000_000, "try another, nothing"), (900_000, "try another, model 600 RateLimited")]
    {
        let facts = RequestFacts { body_bytes, ..facts(OpenaiCompatible) };
        let announced = AnnouncedLimit::default();
        assert_eq!(short(&judged(&facts, 429, &announced, google)), expect, "{body_bytes}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of bodies")]
fn missing_model_or_feature_affects_only_that_model() {
    let expect = "try another, model 300 ModelUnavailable guess";
    let rows = [
        (
            Anthropic,
            404,
            r#"{"type":"error","error":{"type":"not_found_error","message":"model: claude-none"}}"#,
        ),
        (
            Anthropic,
            403,
            r#"{"type":"error","error":{"type":"permission_error","message":"Your API key does not have permission to use the model claude-mythos-5."}}"#,
        ),
        (
            Anthropic,
            403,
            r#"{"type":"error","error":{"type":"permission_error","message":"Fast mode is disabled for this organization."}}"#,
        ),
        (
            OpenaiCompatible,
            403,
            r#"{"error":{"message":"Project `proj_lab` does not have access to model `gpt-lab`","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
        ),
        (
            OpenaiCompatible,
            404,
            r#"{"error":{"message":"The model `gpt-9` does not exist or you do not have access to it.","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
        ),
        (
            OpenaiCompatible,
            404,
            r#"{"object":"error","message":"The model `claude-opus-5-5` does not exist.","type":"NotFoundError","param":null,"code":404}"#,
        ),
        (
            OpenaiCompatible,
            404,
            r#"{"error":{"message":"model \"claude-opus-5-5\" not found, try pulling it first","type":"api_error","param":null,"code":null}}"#,
        ),
        (
            OpenaiCompatible,
            404,
            r#"{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}"#,
        ),
        (
            OpenaiCompatible,
            404,
            r#"[{"error":{"code":404,"message":"models/gemini-9 is not found for API version v1main, or is not supported for generateContent.","status":"NOT_FOUND"}}]"#,
        ),
        (
            OpenaiCompatible,
            404,
            r#"{"error":{"message":"No endpoints found for x/y.","code":404}}"#,
        ),
        (
            OpenaiCompatible,
            400,
            r#"{"error":{"message":"Model Not Exist","type":"invalid_request_error","param":null,"code":"invalid_request_error"}}"#,
        ),
        (
            OpenaiCompatible,
            400,
            r#"{"error":{"message":"claude-opus-5-5 is not a valid model ID","code":400},"user_id":"user_1"}"#,
        ),
        (
            OpenaiCompatible,
            404,
            r#"{"error":{"message":"Model not found, inaccessible, and/or not deployed","param":"model","code":"NOT_FOUND","type":"error"}}"#,
        ),
        (
            OpenaiCompatible,
            400,
            r#"{"error":{"message":"400: {'error': '/chat/completions: Invalid model name passed in model=claude-opus-5-5. Call `/v1/models` to view available models for your key.'}","type":"None","param":"None","code":"400"}}"#,
        ),
        (
            OpenaiCompatible,
            403,
            r#"[{"error":{"code":403,"message":"The caller does not have permission","status":"PERMISSION_DENIED"}}]"#,
        ),
        (
            Bedrock,
            403,
            r#"{"type":"error","error":{"type":"permission_error","message":"You don't have access to the model with the specified model ID."}}"#,
        ),
        (
            Bedrock,
            404,
            r#"{"type":"error","error":{"type":"not_found_error","message":"This model version has reached the end of its life."}}"#,
        ),
        (
            Bedrock,
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"The provided model identifier is invalid."}}"#,
        ),
    ];
    for (provider, status, body) in rows {
        let verdict = of(provider, status, body);
        assert_eq!(short(&verdict), expect, "{body}");
        assert!(!verdict.is_private, "the client may read it: {body}");
    }
    let fast = RequestFacts { is_fast: true, ..facts(Anthropic) };
    let verdict = judged(&fast, 403, &AnnouncedLimit::default(), rows[2].2);
    assert_eq!(short(&verdict), "try another, fast 300 ModelUnavailable guess");
}

#[test]
fn refused_credential_is_only_suspected() {
    let rows = [
        (
            Anthropic,
            401,
            r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#,
        ),
        (
            OpenaiCompatible,
            401,
            r#"{"error":{"message":"Incorrect API key provided: sk-up**9.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
        ),
        (OpenaiCompatible, 401, r#"{"error":{"message":"No auth credentials found","code":401}}"#),
        (
            OpenaiCompatible,
            401,
            r#"{"error":{"message":"Authentication Fails, Your api key: ****9 is invalid","type":"authentication_error","param":null,"code":"invalid_request_error"}}"#,
        ),
        (
            OpenaiCompatible,
            401,
            r#"{"error":{"code":"401","message":"Access denied due to invalid subscription key or wrong API endpoint."}}"#,
        ),
        (
            OpenaiCompatible,
            400,
            r#"[{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}]"#,
        ),
        (
            OpenaiCompatible,
            401,
            r#"{"error":{"message":"OpenAI-Organization header should match organization for API key","type":"invalid_request_error","param":null,"code":"mismatched_organization"}}"#,
        ),
        (
            Bedrock,
            401,
            r#"{"type":"error","error":{"type":"authentication_error","message":"The security token included in the request is invalid."}}"#,
        ),
    ];
    for (provider, status, body) in rows {
        let verdict = of(provider, status, body);
        assert_eq!(short(&verdict), "try another, suspect CredentialRefused", "{body}");
        assert!(verdict.is_private && !verdict.needs_token_renewal, "{body}");
    }
    for body in ["Forbidden", r#"{"Message":"Forbidden"}"#, "<html>blocked: disabled</html>", ""] {
        assert_eq!(short(&of(Anthropic, 403, body)), "try another, suspect Forbidden", "{body}");
    }
    assert!(matches!(
        confirm_suspicion(CooldownReason::Forbidden, now()),
        Some(AccountEffect::Cooldown { scope: CooldownScope::Account, .. })
    ));
    assert_eq!(confirm_suspicion(CooldownReason::CredentialRefused, now()), None);
}

#[test]
fn refused_token_is_renewed() {
    for credential in [CredentialKind::Oauth2, CredentialKind::WorkloadIdentity] {
        let facts = RequestFacts { credential, token_version: Some(3), ..facts(Anthropic) };
        let body = r#"{"type":"error","error":{"type":"authentication_error","message":"OAuth token has expired"}}"#;
        let verdict = judged(&facts, 401, &AnnouncedLimit::default(), body);
        assert_eq!(short(&verdict), "try another, account 60 TokenRefused");
        assert!(verdict.needs_token_renewal && verdict.is_private);
        assert!(matches!(verdict.account, AccountEffect::Cooldown { token_version: Some(3), .. }));
    }
}

#[test]
fn rate_limits_affect_one_model_unless_a_header_names_more() {
    let rate = r#"{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your organization's rate limit of 30,000 input tokens per minute (model: claude-opus-5-5)."}}"#;
    let secs = SignedDuration::from_secs;
    let check = |announced: AnnouncedLimit, is_fast, expect: &str| {
        let facts = RequestFacts { is_fast, ..facts(Anthropic) };
        let verdict = judged(&facts, 429, &announced, rate);
        assert_eq!(short(&verdict), format!("try another, {expect}"), "{announced:?}");
        assert!(!verdict.is_private);
    };
    let plain = AnnouncedLimit::default;
    let reset = Some("2026-11-22T22:00:00Z".parse().unwrap());
    check(plain(), false, "model 30 RateLimited guess");
    check(AnnouncedLimit { retry_after: Some(secs(40)), ..plain() }, false, "model 40 RateLimited");
    check(AnnouncedLimit { reset, ..plain() }, false, "model 3601 RateLimited");
    let both = AnnouncedLimit { retry_after: Some(secs(40)), reset, ..plain() };
    check(both, false, "model 40 RateLimited");
    let past = Some("2026-11-22T20:00:00Z".parse().unwrap());
    check(AnnouncedLimit { reset: past, ..plain() }, false, "model 30 RateLimited guess");
    let never = AnnouncedLimit { retry_after: Some(secs(i64::MAX)), ..plain() };
    check(never, false, "model 86400 RateLimited");
    let whole = AnnouncedLimit { reset, is_whole_account: true, ..plain() };
    check(whole, false, "account 3601 RateLimited");
    let family = AnnouncedLimit { reset, family: Some("opus".into()), ..plain() };
    check(family, false, "family opus 3601 RateLimited");
    let fast = AnnouncedLimit { fast_reset: reset, is_fast_spent: true, ..plain() };
    check(fast.clone(), true, "fast 3601 RateLimited");
    check(fast, false, "model 30 RateLimited guess");
    let openai = r#"{"error":{"message":"Rate limit reached for gpt-lab in organization org-lab on requests per min. Limit: 3 / min. Please try again in 20s. Visit https://platform.openai.com/account/billing to add a payment method.","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#;
    let verdict = of(OpenaiCompatible, 429, openai);
    assert_eq!(short(&verdict), "try another, model 30 RateLimited guess", "`billing` is no cap");
    let gemini = r#"[{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"GenerateRequestsPerMinutePerProjectPerModel"}]},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.074824224s"}]}}]"#;
    assert_eq!(short(&of(OpenaiCompatible, 429, gemini)), "try another, model 34 RateLimited");
}

#[test]
fn overload_is_short_and_server_errors_are_strikes() {
    let overloaded =
        r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let day = AnnouncedLimit {
        retry_after: Some(SignedDuration::from_secs(86_400)),
        ..AnnouncedLimit::default()
    };
    for (status, body) in [(529, overloaded), (529, ""), (503, overloaded), (500, overloaded)] {
        let verdict = judged(&facts(Anthropic), status, &day, body);
        assert_eq!(short(&verdict), "try another, account 5 Overloaded guess", "{status}");
    }
    for status in [500, 502, 503, 504, 520, 522, 524] {
        for body in ["", "<html>502 Bad Gateway</html>", "Internal Server Error"] {
            let verdict = of(OpenaiCompatible, status, body);
            assert_eq!(short(&verdict), "try another, failure ServerError", "{status} {body}");
        }
    }
    for (failure, reason) in [
        (CallFailure::Unreachable, CooldownReason::Unreachable),
        (CallFailure::Timeout, CooldownReason::TimedOut),
    ] {
        let verdict = classify(&failure, &facts(Bedrock), now(), 0);
        assert_eq!(verdict.account, AccountEffect::CountFailure { reason });
    }
    for failure in [CallFailure::NotAsked, CallFailure::InvalidResponse] {
        let told = classify(&failure, &facts(Bedrock), now(), 0);
        assert_eq!(short(&told), "try another, nothing");
    }
    // The upstream can bill these answers, so no second call is made for the same request.
    for (failure, expect) in [
        (CallFailure::UnusableResponse, "pass on, nothing"),
        (CallFailure::IncompleteResponse, "pass on, failure Unreachable"),
    ] {
        let verdict = classify(&failure, &facts(Bedrock), now(), 0);
        assert_eq!(short(&verdict), expect);
    }
}

#[test]
fn error_event_at_stream_start_counts_like_its_status() {
    let rows = [
        (
            Anthropic,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
            "try another, account 10 Overloaded guess",
        ),
        (
            Anthropic,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"m"}}"#,
            "pass on, nothing",
        ),
        (
            Anthropic,
            r#"{"type":"error","error":{"type":"api_error","message":"m"}}"#,
            "try another, failure StreamError",
        ),
        (
            Anthropic,
            r#"{"type":"error","error":{"type":"permission_error","message":"m"}}"#,
            "try another, model 300 ModelUnavailable guess",
        ),
        (
            Anthropic,
            r#"{"type":"error","error":{"type":"authentication_error","message":"m"}}"#,
            "try another, suspect CredentialRefused",
        ),
        (
            OpenaiCompatible,
            r#"{"error":{"code":"server_error","message":"m"}}"#,
            "try another, failure StreamError",
        ),
        (
            OpenaiCompatible,
            r#"{"error":{"code":"rate_limit_exceeded","message":"m"}}"#,
            "try another, model 30 RateLimited guess",
        ),
        (
            OpenaiCompatible,
            r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"insufficient_quota","message":"m"}}}"#,
            "try another, account 600 SpendCapReached",
        ),
        (
            OpenaiCompatible,
            r#"{"error":{"code":502,"message":"Provider disconnected"}}"#,
            "try another, failure StreamError",
        ),
        (OpenaiCompatible, r#"{"error":{"message":"odd"}}"#, "try another, failure StreamError"),
        (
            OpenaiCompatible,
            r#"{"error":{"message":"odd","code":"context_length_exceeded"}}"#,
            "pass on, nothing",
        ),
    ];
    let announced = AnnouncedLimit::default();
    for (provider, body, expect) in rows {
        let error = ErrorFields::from_body(body.as_bytes());
        let status = error.implied_status();
        let answer =
            UpstreamError { status, announced: &announced, error: &error, is_billed: false };
        let verdict = classify(&CallFailure::FirstEvent(answer), &facts(provider), now(), 255);
        assert_eq!(short(&verdict), expect, "{body}");
        let billed = UpstreamError { is_billed: true, ..answer };
        for failure in [CallFailure::FirstEvent(billed), CallFailure::Status(billed)] {
            let verdict = classify(&failure, &facts(provider), now(), 255);
            assert_eq!(verdict.request, RetryDecision::ReturnToClient, "{body}");
        }
        let effect = classify(&CallFailure::FirstEvent(billed), &facts(provider), now(), 255);
        assert_eq!(effect.account, verdict.account, "{body}");
    }
}

#[test]
fn deep_and_malformed_bodies_have_no_error_fields() {
    for body in ["[".repeat(100_000), "{\"error\":".repeat(50_000), "\u{0}".to_owned()] {
        assert_eq!(ErrorFields::from_body(body.as_bytes()), ErrorFields::default());
    }
}

/// A tier that is slow by design says nothing about the others.
#[test]
fn silence_rests_only_the_tier_of_the_request() {
    let scope = |facts: RequestFacts<'_>| match rest_after_silence(&facts, now()) {
        AccountEffect::Cooldown { scope, .. } => scope,
        effect => panic!("{effect:?}"),
    };
    let usual = || facts(OpenaiCompatible);
    assert_eq!(scope(usual()), CooldownScope::Model(MODEL.to_owned()));
    let flex = RequestFacts { tier: RequestTier::Flex, ..usual() };
    assert_eq!(scope(flex), CooldownScope::Model(format!("{MODEL} (flex)")));
    assert_eq!(scope(RequestFacts { is_fast: true, ..usual() }), CooldownScope::Fast);
}
