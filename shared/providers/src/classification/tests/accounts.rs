//! The meaning of failures of an account, of its proxy and of servers in front of an upstream, with
//! the bodies that they send.

use super::*;

const ALL: [Provider; 3] = [Anthropic, Bedrock, OpenaiCompatible];

#[test]
fn forbidden_operation_does_not_affect_the_account() {
    let rows = [
        // continuedev/continue #10059, 2026-01-31.
        (
            401,
            r#"{"error":{"message":"You have insufficient permissions for this operation. Missing scopes: api.responses.write. Check that you have the correct role in your organization (Reader, Writer, Owner) and project (Member, Owner), and if you're using a restricted API key, that it has the necessary scopes.","type":"invalid_request_error","param":null,"code":null}}"#,
        ),
        (
            403,
            r#"{"error":"You have insufficient permissions for this operation. Missing scopes: api.model.read."}"#,
        ),
        (403, r#"{"error":{"message":"Missing scopes: api.model.read"}}"#),
        (
            403,
            r#"{"error":{"message":"You have insufficient permissions for this operation. Missing scopes: model.request.","type":"invalid_request_error","param":null,"code":"missing_scope"}}"#,
        ),
        // Azure-Samples/azure-search-openai-demo #1870; davrous/AzureAgentToM365 #3.
        (
            401,
            r#"{"error":{"code":"PermissionDenied","message":"Principal does not have access to API/Operation."}}"#,
        ),
        (
            401,
            r#"{"error":{"code":"PermissionDenied","message":"The principal `377025c5` lacks the required data action `Microsoft.CognitiveServices/accounts/OpenAI/responses/write` to perform `POST /openai/responses` operation."}}"#,
        ),
    ];
    for (status, body) in rows {
        let verdict = of(OpenaiCompatible, status, body);
        assert_eq!(short(&verdict), "try another, not permitted", "{body}");
        assert!(verdict.is_private && !verdict.is_refusal && !verdict.names_credential, "{body}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn credential_refused_with_403_or_400_is_recognized() {
    let anthropic = |kind: &str, message: &str| {
        let error = serde_json::json!({"type": kind, "message": message});
        serde_json::json!({"type": "error", "error": error}).to_string()
    };
    // anthropics/claude-code #9635, #6752; can1357/oh-my-pi #38.
    let token_phrases = [
        anthropic("permission_error", "OAuth token has been revoked. Please obtain a new token."),
        anthropic(
            "permission_error",
            "OAuth authentication is currently not allowed for this organization.",
        ),
        anthropic(
            "permission_error",
            "OAuth token does not meet scope requirement any_of(user:inference, org:service_key_inference)",
        ),
    ];
    let blocked = anthropic("forbidden", "Request not allowed");
    for body in token_phrases.iter().chain([&blocked]) {
        for credential in [CredentialKind::Oauth2, CredentialKind::WorkloadIdentity] {
            let facts = RequestFacts { credential, token_version: Some(3), ..facts(Anthropic) };
            let verdict = judged(&facts, 403, &AnnouncedLimit::default(), body);
            assert_eq!(short(&verdict), "try another, account 60 TokenRefused", "{body}");
            assert!(
                verdict.needs_token_renewal && verdict.is_private && verdict.names_credential,
                "{body}"
            );
        }
    }
    let refused = "try another, suspect CredentialRefused";
    let mut rows: Vec<(Provider, u16, &str, &str)> =
        token_phrases.iter().map(|body| (Anthropic, 403, body.as_str(), refused)).collect();
    rows.push((Anthropic, 403, &blocked, "try another, suspect Forbidden"));
    rows.extend([
        // continuedev/continue #11412, 2026-03-14.
        (
            OpenaiCompatible,
            400,
            r#"{"code":"Client specified an invalid argument","error":"Incorrect API key provided: sk***YA. You can obtain an API key from https://console.x.ai."}"#,
            refused,
        ),
        // continuedev/continue #11541, 2026-03-17.
        (
            OpenaiCompatible,
            403,
            r#"[{"error":{"code":403,"message":"Your API key was reported as leaked. Please use another API key.","status":"PERMISSION_DENIED"}}]"#,
            refused,
        ),
        (
            OpenaiCompatible,
            403,
            r#"{"error":{"code":403,"message":"Request had insufficient authentication scopes.","status":"PERMISSION_DENIED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"ACCESS_TOKEN_SCOPE_INSUFFICIENT"}]}}"#,
            refused,
        ),
        (
            OpenaiCompatible,
            401,
            r#"{"error":{"code":401,"message":"Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.","status":"UNAUTHENTICATED"}}"#,
            refused,
        ),
        // A proxy of LiteLLM.
        (
            OpenaiCompatible,
            401,
            r#"{"error":{"message":"Authentication Error, Invalid proxy server token passed. Received API Key = sk-...x9","type":"token_not_found_in_db","param":"key","code":"401"}}"#,
            refused,
        ),
        // anomalyco/opencode #47073, 2026-09-03, converted to Anthropic's format.
        (
            Bedrock,
            403,
            r#"{"type":"error","error":{"type":"permission_error","message":"Authentication failed: Please make sure your API Key is valid."}}"#,
            refused,
        ),
    ]);
    for (provider, status, body, expect) in rows {
        let verdict = of(provider, status, body);
        assert_eq!(short(&verdict), expect, "{body}");
        assert!(verdict.is_private && verdict.names_credential, "{body}");
    }
}

#[test]
fn refusal_without_credential_error_is_ambiguous() {
    let rows = [
        (
            401,
            r#"{"error":{"code":"401","message":"Access denied due to invalid subscription key or wrong API endpoint."}}"#,
        ),
        (401, r#"{"detail":"Unauthorized"}"#),
        (401, r#"{"message":"Unauthorized","request_id":"9c1d"}"#),
        (401, "<html><head><title>401 Authorization Required</title></head></html>"),
        (403, r#"{"error":{"message":"Access denied. Please check your network settings."}}"#),
        (
            403,
            r#"{"error":{"code":"403","message":"Traffic is not from an approved private endpoint."}}"#,
        ),
        (403, "error code: 1020"),
        (403, "RBAC: access denied"),
    ];
    for (status, body) in rows {
        let verdict = of(OpenaiCompatible, status, body);
        assert!(short(&verdict).starts_with("try another, suspect"), "{body}: {}", short(&verdict));
        assert!(!verdict.names_credential, "{body}");
    }
}

#[test]
fn missing_credit_with_403_or_400_is_recognized() {
    let spent = "try another, account 600 SpendCapReached";
    let rows = [
        // gptme/gptme #1449, MCPJam/inspector #1287, RooCodeInc/Roo-Code #515.
        (
            403,
            r#"{"error":{"message":"Key limit exceeded (monthly limit). Manage it using https://openrouter.ai/settings/keys","code":403}}"#,
            spent,
        ),
        (
            403,
            r#"{"error":{"message":"Key limit exceeded. Manage it using https://openrouter.ai/keys","code":403}}"#,
            spent,
        ),
        // BerriAI/litellm #14144, #20615.
        (
            400,
            r#"{"error":{"message":"Budget has been exceeded! Current cost: 76.16, Max budget: 10.0","type":"budget_exceeded","param":null,"code":"400"}}"#,
            spent,
        ),
        (
            429,
            r#"{"error":{"message":"Budget has been exceeded! Team=99c74652 Current cost: 9, Max budget: 8","type":"budget_exceeded","param":null,"code":"429"}}"#,
            spent,
        ),
        (
            402,
            r#"{"error":{"message":"Credit limit exceeded, please navigate to https://api.together.xyz/settings/billing","type":"credit_limit","param":null,"code":null}}"#,
            spent,
        ),
        (
            403,
            r#"[{"error":{"code":403,"message":"Your project has been denied access. Please contact support.","status":"PERMISSION_DENIED"}}]"#,
            "try another, account 600 OrganizationDisabled",
        ),
    ];
    for (status, body, expect) in rows {
        let verdict = of(OpenaiCompatible, status, body);
        assert_eq!(short(&verdict), expect, "{body}");
        assert!(verdict.is_private, "{body}");
    }
    // The request names the end user whose budget is used up.
    let own = r#"{"error":{"message":"ExceededBudget: End User=poison over budget. Spend=1, Budget=0","type":"budget_exceeded","param":null,"code":"400"}}"#;
    assert_eq!(short(&of(OpenaiCompatible, 400, own)), "pass on, nothing");
}

#[test]
fn unsupported_region_affects_the_account() {
    let rows = [
        (
            400,
            r#"[{"error":{"code":400,"message":"User location is not supported for the API use.","status":"FAILED_PRECONDITION"}}]"#,
        ),
        (
            400,
            r#"[{"error":{"code":400,"message":"Gemini API free tier is not available in your country. Please enable billing on your project in Google AI Studio.","status":"FAILED_PRECONDITION"}}]"#,
        ),
        (
            403,
            r#"{"error":{"code":"unsupported_country_region_territory","message":"Country, region, or territory not supported","param":null,"type":"request_forbidden"}}"#,
        ),
    ];
    for (status, body) in rows {
        let verdict = of(OpenaiCompatible, status, body);
        assert_eq!(short(&verdict), "try another, account 300 Forbidden guess", "{body}");
        assert!(verdict.is_private, "{body}");
    }
    let other = r#"[{"error":{"code":400,"message":"Precondition check failed.","status":"FAILED_PRECONDITION"}}]"#;
    assert_eq!(short(&of(OpenaiCompatible, 400, other)), "pass on, nothing");
}

#[test]
fn proxy_failures_are_server_errors() {
    const PAGES: [&str; 7] = [
        "",
        "<html>\r\n<head><title>404 Not Found</title></head>\r\n<center>nginx</center></html>",
        "<html><head><title>503 Service Temporarily Unavailable</title></head><center>awselb/2.0</center>",
        "404 page not found",
        "default backend - 404",
        "error code: 1033",
        "upstream connect error or disconnect/reset before headers. reset reason: connection failure",
    ];
    let server = "try another, failure ServerError";
    for provider in ALL {
        for body in PAGES {
            for status in
                [500, 501, 502, 503, 504, 505, 509, 520, 523, 526, 530, 561, 599, 499, 421]
            {
                assert_eq!(
                    short(&of(provider, status, body)),
                    server,
                    "{provider:?} {status} {body}"
                );
            }
            let late = short(&of(provider, 408, body));
            assert_eq!(late, "try another, failure TimedOut", "{provider:?} {body}");
            let proxy = short(&of(provider, 407, body));
            assert_eq!(proxy, "try another, failure Unreachable", "{provider:?} {body}");
            assert_eq!(short(&of(provider, 405, body)), server, "{provider:?} {body}");
            if provider != Bedrock {
                assert_eq!(short(&of(provider, 404, body)), server, "{provider:?} {body}");
            }
        }
    }
    let late = [
        r#"{"error":{"code":408,"message":"Your request timed out"}}"#,
        r#"{"error":{"code":"Timeout","message":"The operation was timeout."}}"#,
        r#"{"message":"Model has timed out in processing the request. Try your request again."}"#,
    ];
    for body in late {
        assert_eq!(short(&of(OpenaiCompatible, 408, body)), "try another, failure TimedOut");
    }
}

#[test]
fn missing_route_is_tried_at_another_account() {
    let nothing = "try another, nothing";
    let rows = [
        // FastAPI, API Gateway, Kong, Azure, llama.cpp.
        (404, r#"{"detail":"Not Found"}"#, nothing),
        (405, r#"{"detail":"Method Not Allowed"}"#, nothing),
        (404, r#"{"message":"Not Found"}"#, nothing),
        (404, r#"{"message":"no Route matched with those values"}"#, nothing),
        (404, r#"{"error":{"code":"404","message":"Resource not found"}}"#, nothing),
        (
            501,
            r#"{"error":{"code":501,"message":"This server does not support embeddings.","type":"not_supported_error"}}"#,
            nothing,
        ),
        // Another account can have the state that the request names.
        (
            404,
            r#"{"error":{"message":"Previous response with id 'resp_1' not found.","type":"invalid_request_error","param":"previous_response_id","code":"previous_response_not_found"}}"#,
            nothing,
        ),
        (
            400,
            r#"{"error":{"message":"Previous response with id 'resp_1' not found.","type":"invalid_request_error","param":"previous_response_id","code":"previous_response_not_found"}}"#,
            nothing,
        ),
        (
            404,
            r#"{"type":"error","error":{"type":"not_found_error","message":"no such thread","details":{"error_code":"thread_not_found"}}}"#,
            nothing,
        ),
        // An error that names what else is missing is about the request.
        (
            404,
            r#"{"error":{"message":"No such file","type":"invalid_request_error","code":"file_not_found"}}"#,
            "pass on, nothing",
        ),
        (
            410,
            r#"{"error":{"code":"ModelDeprecated","message":"The model is deprecated."}}"#,
            "try another, model 300 ModelUnavailable guess",
        ),
        (
            401,
            r#"{"error":{"message":"key not allowed to access model. This key can only access models=['a']","type":"key_model_access_denied","param":"model","code":"401"}}"#,
            "try another, model 300 ModelUnavailable guess",
        ),
    ];
    for (status, body, expect) in rows {
        assert_eq!(short(&of(OpenaiCompatible, status, body)), expect, "{body}");
    }
}

#[test]
fn error_with_status_200_uses_the_named_status() {
    let rows = [
        (r#"{"error":{"message":"Provider returned error","code":429}}"#, 429),
        (
            r#"{"object":"error","message":"engine dead","type":"InternalServerError","param":null,"code":500}"#,
            500,
        ),
        (
            r#"{"error":{"object":"error","message":"EngineCore died","type":"InternalServerError","code":"500"}}"#,
            500,
        ),
        (r#"{"error":"model is loading"}"#, 500),
        (r#"{"error":"Model is overloaded","error_type":"overloaded"}"#, 529),
        (r#"{"error":"Request failed during generation","error_type":"generation"}"#, 500),
        (
            r#"{"error":"`inputs` tokens + `max_new_tokens` must be <= 4096","error_type":"validation"}"#,
            400,
        ),
        (r#"{"choices":[{"index":0,"error":{"code":502,"message":"Upstream error"}}]}"#, 502),
        (r#"{"detail":"Internal Server Error"}"#, 500),
        ("upstream connect error", 500),
        (r#"{"error":{"code":"content_filter","message":"m"}}"#, 400),
        (r#"{"error":{"message":"Insufficient credits","code":402}}"#, 402),
    ];
    for (body, status) in rows {
        assert_eq!(ErrorFields::from_body(body.as_bytes()).implied_status(), status, "{body}");
    }
}

/// `FastAPI` and pydantic send a list of objects, Mistral an object with such a list, Google a
/// list.
#[test]
fn message_of_every_form_is_read() {
    for (body, expect) in [
        (r#"{"detail":[{"loc":["body","n"],"msg":"must be 1","type":"x"}]}"#, "body.n: must be 1"),
        (r#"{"object":"error","message":{"detail":[{"msg":"a"},{"msg":"b"}]}}"#, "a; b"),
        (r#"{"error":{"message":{"message":"inner"}}}"#, "inner"),
        (
            r#"[{"error":{"code":400,"message":"in a list","status":"INVALID_ARGUMENT"}}]"#,
            "in a list",
        ),
        (r#"{"errors":[{"message":"Cloudflare's"}]}"#, "Cloudflare's"),
        (r#"{"message":{"a":1}}"#, ""),
    ] {
        assert_eq!(ErrorFields::from_body(body.as_bytes()).message, expect, "{body}");
    }
}

#[test]
fn missing_credit_is_recognized_whatever_its_status_is() {
    let spent = "try another, account 600 SpendCapReached";
    let credit = "try another, account 600 CreditUsedUp";
    let rows = [
        // pollinations/pollinations #12136.
        (
            412,
            r#"{"error":{"message":"Account x is suspended, possibly due to reaching the monthly spending limit or failure to pay past invoices. Please go to https://fireworks.ai/account/billing for more information.","type":"error","code":"PRECONDITION_FAILED"}}"#,
            spent,
        ),
        (
            412,
            r#"{"error":"Account x is suspended, possibly due to reaching the monthly spending limit"}"#,
            spent,
        ),
        // dyad-sh/dyad #3626.
        (
            429,
            r#"[{"error":{"code":429,"message":"Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects to manage your project and billing.","status":"RESOURCE_EXHAUSTED"}}]"#,
            credit,
        ),
        (
            429,
            r#"[{"error":{"code":429,"message":"Your project has exceeded its monthly spending cap. Please go to AI Studio at https://ai.studio/spend","status":"RESOURCE_EXHAUSTED"}}]"#,
            spent,
        ),
        (429, r#"{"error":{"code":"1113","message":"余额不足或无可用资源包,请充值。"}}"#, credit),
        (
            402,
            r#"{"type":"error","error":{"type":"insufficient_balance_error","message":"insufficient balance (1008)","http_code":"402"}}"#,
            credit,
        ),
        (
            500,
            r#"{"type":"error","error":{"type":"api_error","message":"insufficient balance (1008)"}}"#,
            credit,
        ),
        (
            402,
            r#"{"id":"x","choices":null,"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}"#,
            credit,
        ),
        (
            403,
            r#"{"code":30001,"message":"Sorry, your account balance is insufficient","data":null}"#,
            credit,
        ),
        (
            403,
            r#"{"error":{"code":"AccountOverdueError","message":"The request failed because your account has an overdue balance.","param":"","type":"Forbidden"}}"#,
            credit,
        ),
        (
            403,
            r#"{"code":403,"reason":"NOT_ENOUGH_BALANCE","message":"not enough balance","metadata":{}}"#,
            credit,
        ),
        (
            429,
            r#"{"error":{"message":"You have no credits remaining.","type":"insufficient_quota","param":null,"code":"credit_balance_exhausted"}}"#,
            spent,
        ),
    ];
    for (status, body, expect) in rows {
        let verdict = of(OpenaiCompatible, status, body);
        assert_eq!(short(&verdict), expect, "{body}");
        assert!(verdict.is_private, "{body}");
    }
}

/// What a client writes, and what belongs to one account only, is no reason to rest a model or an
/// account.
#[test]
fn refused_requests_rest_nothing() {
    let rows = [
        (
            403,
            r#"{"code":"The caller does not have permission to execute the specified operation","error":"Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO"}"#,
            "pass on, nothing",
        ),
        (
            429,
            r#"{"error":{"message":"ExceededBudget: End User=poison over budget. Spend=2.0, Budget=1.0","type":"budget_exceeded","param":null,"code":"429"}}"#,
            "pass on, nothing",
        ),
        (
            403,
            r#"[{"error":{"code":403,"message":"You do not have permission to access the File abc or it may not exist.","status":"PERMISSION_DENIED"}}]"#,
            "try another, nothing",
        ),
        (
            404,
            r#"{"error":{"message":"Container with id 'cntr_claude-opus-5-5' not found.","type":"invalid_request_error","param":"tools","code":null}}"#,
            "pass on, nothing",
        ),
        (
            404,
            r#"{"error":{"message":"Container with id 'cntr_model:claude-opus-5-5' not found.","type":"invalid_request_error"}}"#,
            "pass on, nothing",
        ),
        (
            404,
            r#"{"error":{"message":"Container with id 'a model:claude-opus-5-5' not found.","type":"invalid_request_error"}}"#,
            "pass on, nothing",
        ),
        (
            429,
            r#"{"error":{"message":"LiteLLM Virtual Key: 88dc, key_alias: a, exceeded budget for model=gpt-4o","type":"budget_exceeded","param":null,"code":"429"}}"#,
            "try another, account 600 SpendCapReached guess",
        ),
        (
            404,
            r#"{"error":{"message":"The model `claude-opus-5-5-x` does not exist.","type":"invalid_request_error"}}"#,
            "pass on, nothing",
        ),
        (
            404,
            r#"{"error":{"message":"The model: claude-opus-5-5 does not exist.","type":"invalid_request_error"}}"#,
            "try another, model 300 ModelUnavailable guess",
        ),
    ];
    for (status, body, expected) in rows {
        assert_eq!(short(&of(OpenaiCompatible, status, body)), expected, "{body}");
    }
}

#[test]
fn restricted_aws_account_is_left() {
    for message in
        ["Operation not allowed", "Your account is not authorized to invoke this API operation."]
    {
        let body = serde_json::json!({"type": "error", "error": {
            "type": "invalid_request_error", "message": message}});
        let verdict = short(&of(Bedrock, 400, &body.to_string()));
        assert_eq!(verdict, "try another, account 600 Forbidden guess");
    }
}

#[test]
fn vendors_bill_some_refusals() {
    for (status, body, expected) in [
        (400, r#"{"error":{"message":"filtered","code":"content_filter"}}"#, true),
        (400, r#"{"error":{"message":"m","code":"invalid_value"}}"#, false),
        (403, r#"{"code":"c","error":"Content violates usage guidelines."}"#, true),
        (400, r#"{"code":"c","error":"Content violates usage guidelines."}"#, false),
        (429, r#"{"error":{"message":"m","code":"content_filter"}}"#, false),
    ] {
        let error = ErrorFields::from_body(body.as_bytes());
        assert_eq!(bills_refusal(status, &error), expected, "{status} {body}");
    }
}
