//! Accounts on Amazon Bedrock: clients of the Messages API get the same from them as from
//! Anthropic, and every token is counted.

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::fixtures;
use baton_test_harness::system::{MODEL, TestKey, TestSystem, message};
use baton_test_harness::upstream::{ACCESS_KEY, BEDROCK_KEY, FakeUpstream, ROLE, SECRET_KEY};
use serde_json::{Value, json};

/// Bedrock's name of the model.
pub(crate) const PROFILE: &str = "us.anthropic.claude-opus-5-5-v1:0";

/// A system whose environment has AWS credentials.
pub(crate) async fn system_with_role() -> TestSystem {
    let launch = TestSystem::builder()
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .env("AWS_REGION", "eu-central-1");
    launch.start().await
}

/// The fields of a Bedrock account at `url`.
pub(crate) fn signed(url: &str) -> Value {
    json!({
        "name": "bedrock", "provider": "bedrock", "base_url": url,
        "credential": {"type": "aws", "region": "us-west-2"}, "model_map": {MODEL: PROFILE},
    })
}

/// A system with one Bedrock account, and its key.
async fn bedrock() -> (TestSystem, TestKey) {
    let system = system_with_role().await;
    system.admin().create("/accounts", &signed(&system.upstream.url())).await;
    let key = system.key("ci").create().await;
    (system, key)
}

/// The events of a stream without pings and without fields that differ between requests.
pub(crate) fn comparable_events(answer: &ClientResponse) -> Vec<Value> {
    let mut events = answer.events();
    events.retain(|event| event["type"] != "ping");
    for event in &mut events {
        for field in ["id", "usage"] {
            if event["message"].is_object() {
                event["message"][field] = Value::Null;
            }
        }
        if event["type"] == "message_delta" {
            event["usage"] = Value::Null;
        }
    }
    events
}

#[tokio::test]
async fn stream_equals_anthropic_stream() {
    let (system, key) = bedrock().await;
    let direct = TestSystem::open().await;
    let direct_key = direct.key("ci").create().await;
    for prompt in ["hi", "[[thinking]]", "[[tool:echo hi]]", "[[text;events=300]]"] {
        let answer = key.ask(prompt).await.ok();
        assert_eq!(
            comparable_events(&answer),
            comparable_events(&direct_key.ask(prompt).await.ok()),
            "{prompt}"
        );
        let content_type = answer.header("content-type").unwrap_or_default();
        assert!(content_type.starts_with("text/event-stream"), "{content_type}");
        assert!(answer.header("request-id").unwrap_or_default().starts_with("amzn-"));
        assert!(!answer.text().contains("amazon-bedrock"), "{}", answer.text());
    }
    system.summary_equals(&system.upstream.ledger().total()).await;
}

#[tokio::test]
async fn recorded_streams_keep_their_events() {
    let (system, key) = bedrock().await;
    let whole = ["text", "thinking_text", "cache_usage", "context_management"];
    for stream in fixtures::streams("anthropic").iter().filter(|one| whole.contains(&&*one.name)) {
        system.upstream.next(&format!("fixture:{}", stream.name));
        let answer = key.ask("hi").await.ok();
        let body = ClientResponse { body: stream.body.clone(), ..answer.clone() };
        let without_pings = |answer: &ClientResponse| {
            let mut events = answer.events();
            events.retain(|event| event["type"] != "ping");
            events
        };
        assert_eq!(without_pings(&answer), without_pings(&body), "{}", stream.name);
    }
}

#[tokio::test]
async fn requests_to_bedrock_have_bedrock_form() {
    let (system, key) = bedrock().await;
    let mut body = message(MODEL, "hi", true);
    body["speed"] = json!("fast");
    body["service_tier"] = json!("auto");
    let betas = "claude-code-20250219,interleaved-thinking-2025-05-14,advanced-tool-use-2025-11-20,fast-mode-2026-02-01";
    let request = key.message(body.to_string()).header("anthropic-beta", betas);
    ClientResponse::to(request.header("x-custom", "kept")).await.ok();
    let sent = system.upstream.last().request;
    assert_eq!(
        sent.target,
        "/model/us.anthropic.claude-opus-5-5-v1%3A0/invoke-with-response-stream"
    );
    assert_eq!(
        sent.json(),
        json!({
            "anthropic_version": "bedrock-2023-05-31",
            "anthropic_beta": ["interleaved-thinking-2025-05-14", "tool-search-tool-2025-10-19"],
            "max_tokens": 1024, "messages": [{"role": "user", "content": "hi"}],
        })
    );
    assert_eq!(sent.header("x-custom"), Some("kept"));
    for gone in ["anthropic-beta", "anthropic-version", "x-api-key"] {
        assert_eq!(sent.header(gone), None, "{gone}");
    }
}

#[tokio::test]
async fn whole_response_and_token_count_work() {
    let (system, key) = bedrock().await;
    let answer = key.ask_whole("hi").await.ok();
    assert_eq!(answer.json()["model"], MODEL);
    assert_eq!(answer.body, system.upstream.last().sent, "the body was changed");
    let body = json!({"model": MODEL, "messages": [{"role": "user", "content": "hi"}]});
    let count = key.request("POST", "/v1/messages/count_tokens").body(body.to_string());
    let count = ClientResponse::to(count).await.ok().json();
    assert!(count["input_tokens"].is_u64(), "{count}");
    assert_eq!(
        system.upstream.last().request.target,
        "/model/anthropic.claude-opus-5-5-v1%3A0/count-tokens"
    );
    assert_eq!(system.upstream.ledger().count_tokens, 1);
    let event = system.events_of(&key, 1).await.remove(0);
    assert_eq!((&event["model"], &event["provider"]), (&json!(MODEL), &json!("bedrock")));
    system.summary_equals(&system.upstream.ledger().total()).await;
}

#[tokio::test]
async fn errors_have_messages_api_form() {
    let (system, key) = bedrock().await;
    let check = async |scenario: &str, status: u16, kind: &str, message: &str| {
        system.upstream.next(scenario);
        let answer = key.ask("hi").await;
        let error = &answer.json()["error"];
        assert_eq!(answer.status, status, "{error}");
        assert_eq!((&error["type"], &error["message"]), (&json!(kind), &json!(message)));
        assert_eq!(answer.header("x-amzn-errortype"), None);
    };
    let long = "prompt is too long: 210000 tokens > 200000 maximum";
    let scenario = format!("status:400;say=The model returned the following errors: {long}");
    check(&scenario, 400, "invalid_request_error", long).await;
    let scenario = "status:400;say=Input is too long for requested model.";
    let words = "prompt is too long: Input is too long for requested model.";
    check(scenario, 400, "invalid_request_error", words).await;
    check("status:404;say=no such model", 404, "not_found_error", "no such model").await;
    check("status:429;say=Too many tokens", 429, "rate_limit_error", "Too many tokens").await;
}

#[tokio::test]
async fn stream_exception_becomes_error_event() {
    let (system, key) = bedrock().await;
    system.upstream.next("fixture:error_midstream");
    let answer = key.ask("hi").await.ok();
    let last = answer.events().pop().expect("an event");
    assert_eq!(last["type"], "error", "{}", answer.text());
    assert_eq!(last["error"]["type"], "overloaded_error", "{}", answer.text());
    assert!(answer.text().contains("event: error\n"));
    system.upstream.next("cut:5");
    let answer = key.ask("hi").await.ok();
    assert_eq!(answer.events().pop().expect("an event")["error"]["type"], "api_error");
}

#[tokio::test]
async fn failover_between_bedrock_and_anthropic() {
    let system = system_with_role().await;
    let anthropic = FakeUpstream::start();
    let mut account = signed(&system.upstream.url());
    account["priority"] = json!(1);
    system.admin().create("/accounts", &account).await;
    system.account_with("anthropic", &anthropic.url(), json!({"priority": 2})).await;
    let key = system.key("ci").create().await;
    system.upstream.next("status:429");
    let answer = key.ask("hi").await.ok();
    assert_eq!(answer.said(), key.ask("hi").await.ok().said());
    assert_eq!((system.upstream.exchanges().len(), anthropic.exchanges().len()), (1, 2));
    // An exception in the first frame counts like an error status.
    let key = {
        let group = system.group("other").await;
        account["groups"] = json!([group]);
        account["name"] = json!("first");
        system.admin().create("/accounts", &account).await;
        let second = json!({"priority": 2, "groups": [group]});
        system.account_with("second", &anthropic.url(), second).await;
        system.key("other").group(&group).create().await
    };
    system.upstream.next("fixture:error_first");
    key.ask("hi").await.ok();
    assert_eq!((system.upstream.exchanges().len(), anthropic.exchanges().len()), (2, 3));
}

#[tokio::test]
async fn unmapped_model_uses_another_account() {
    let (system, key) = bedrock().await;
    key.ask_model("claude-sonnet-4-5", "hi").await.refused(404, "not_found_error");
    let anthropic = FakeUpstream::start();
    system.account_with("anthropic", &anthropic.url(), json!({"priority": 200})).await;
    key.ask_model("claude-sonnet-4-5", "hi").await.ok();
    key.ask("hi").await.ok();
    assert_eq!((system.upstream.exchanges().len(), anthropic.exchanges().len()), (1, 1));
    let models = key.get("/v1/models").await.ok().text();
    assert!(models.contains(MODEL), "{models}");
}

#[tokio::test]
async fn api_key_and_assumed_role_work() {
    let sts = FakeUpstream::start();
    let launch = TestSystem::builder()
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .env("AWS_ENDPOINT_URL_STS", &sts.url());
    let system = launch.start().await;
    let arn = "arn:aws:iam::123456789012:role/bedrock";
    let ways = [
        json!({"type": "api_key", "header": "authorization", "value": BEDROCK_KEY}),
        json!({"type": "aws", "region": "us-west-2", "role_arn": arn, "external_id": "tenant-7"}),
    ];
    for (index, credential) in ways.into_iter().enumerate() {
        let group = system.group(&format!("group-{index}")).await;
        let mut account = signed(&system.upstream.url());
        account["credential"] = credential;
        account["groups"] = json!([group]);
        let id = system.admin().create("/accounts", &account).await;
        let key = system.key("ci").group(&group).create().await;
        key.ask("hi").await.ok();
        key.ask("hi").await.ok();
        let shown = system.admin().get(&format!("/accounts/{id}")).await.ok().text();
        assert!(!shown.contains("tenant-7") && !shown.contains(BEDROCK_KEY), "{shown}");
    }
    let sent = system.upstream.last().request;
    assert_eq!(sent.header("x-amz-security-token"), Some(ROLE.2));
    assert_eq!(sts.exchanges().len(), 1, "the role is assumed once");
}

#[tokio::test]
async fn bedrock_messages_api_gets_signed_pass_through() {
    let system = system_with_role().await;
    let base = format!("{}/anthropic", system.upstream.url());
    let mut account = signed(&base);
    let name = "anthropic.claude-opus-5-5";
    account["model_map"] = json!({MODEL: name});
    system.admin().create("/accounts", &account).await;
    let key = system.key("ci").create().await;
    let answer = key.ask("[[thinking]]").await.ok();
    let seen = system.upstream.last();
    assert_eq!(answer.body, seen.sent);
    assert_eq!(seen.request.body, message(name, "[[thinking]]", true).to_string());
    assert_eq!(seen.request.header("anthropic-version"), Some("2023-06-01"));
}

#[tokio::test]
async fn account_test_uses_free_token_count() {
    let system = system_with_role().await;
    let id = system.admin().create("/accounts", &signed(&system.upstream.url())).await;
    let path = format!("/accounts/{id}/test");
    let result = system.admin().post(&path, &json!({})).await.ok().json();
    assert_eq!(
        (&result["ok"], &result["upstream_status"]),
        (&json!(true), &json!(200)),
        "{result}"
    );
    assert_eq!(system.upstream.ledger().count_tokens, 1);
    let group = system.group("other").await;
    let mut other = signed(&system.upstream.url());
    let wrong = json!({"type": "api_key", "header": "authorization", "value": "wrong"});
    (other["credential"], other["groups"]) = (wrong, json!([group]));
    let id = system.admin().create("/accounts", &other).await;
    let result = system.admin().post(&format!("/accounts/{id}/test"), &json!({})).await.ok().json();
    assert_eq!(
        (&result["ok"], &result["upstream_status"]),
        (&json!(false), &json!(403)),
        "{result}"
    );
    let key = system.key("other").group(&group).create().await;
    let refused = key.ask("hi").await.refused(503, "api_error");
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    let tested = system.admin().get(&format!("/accounts/{id}")).await.ok().json();
    assert_eq!(tested["status"], "auth_failed", "the test stores its result: {tested}");
}

#[tokio::test]
async fn unnamed_profile_is_priced_by_requested_model() {
    let system = system_with_role().await;
    let mut account = signed(&system.upstream.url());
    let arn = "arn:aws:bedrock:us-west-2:1:application-inference-profile/anthropic.x";
    account["model_map"] = json!({MODEL: arn});
    system.admin().create("/accounts", &account).await;
    let key = system.key("ci").create().await;
    system.upstream.next("status:400");
    key.ask("hi").await.status(400);
    let event = system.events_of(&key, 1).await.remove(0);
    assert_eq!(event["upstream_model"], arn);
    let version = event["price_version"].as_str().expect("a version");
    assert!(!version.ends_with('?'), "the price is a guess: {version}");
    assert!(system.upstream.last().request.target.contains("profile%2Fanthropic.x/"));
}

#[tokio::test]
async fn invalid_bedrock_accounts_are_refused() {
    let system = TestSystem::empty().await;
    let check = async |field: &str, value: Value, part: &str| {
        let mut account = signed("https://bedrock-runtime.us-west-2.amazonaws.com");
        account[field] = value;
        let answer = system.admin().post("/accounts", &account).await;
        let message = answer.refused(400, "invalid_request_error").message();
        assert!(message.contains(part), "{message}");
    };
    check("provider", json!("anthropic"), "bedrock").await;
    let key = json!({"type": "api_key", "value": "k", "header": "x-api-key"});
    check("credential", key, "authorization").await;
    check("credential", json!({"type": "aws", "region": "a/b"}), "region").await;
    let role = json!({"type": "aws", "region": "us-west-2", "role_arn": "x"});
    check("credential", role, "role_arn").await;
    let mut account = signed("");
    account.as_object_mut().expect("an object").remove("base_url");
    let mut keyed = account.clone();
    keyed["credential"] = json!({"type": "api_key", "value": "k"});
    let message = system.admin().post("/accounts", &keyed).await.message();
    assert!(message.contains("bedrock-runtime.REGION"), "{message}");
    let created = system.admin().post("/accounts", &account).await.json();
    assert_eq!(created["base_url"], "https://bedrock-runtime.us-west-2.amazonaws.com");
    assert_eq!(created["credential_type"], "aws");
}

#[tokio::test]
async fn account_from_cli_is_signed_and_wrong_signature_gets_503() {
    let launch = TestSystem::builder()
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", "another+secret");
    let mut system = launch.start().await;
    let url = system.upstream.url();
    let map = format!("{MODEL}={PROFILE}");
    let words =
        ["account", "add", "--name", "aws", "--provider", "bedrock", "--region", "us-west-2"];
    let words = [&words[..], &["--base-url", &url, "--map", &map]].concat();
    let ended = system.process().command(&words);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let key = system.key("ci").create().await;
    let refused = key.ask("hi").await.refused(503, "api_error");
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    assert!(refused.message().contains("credential"), "{}", refused.message());
}

#[tokio::test]
async fn missing_credentials_error_names_operator() {
    let launch = TestSystem::builder().env("AWS_EC2_METADATA_DISABLED", "true");
    let system = launch.start().await;
    system.admin().create("/accounts", &signed(&system.upstream.url())).await;
    let key = system.key("ci").create().await;
    let message = key.ask("hi").await.refused(502, "api_error").message();
    assert!(message.contains("operator"), "{message}");
    assert_eq!(system.upstream.exchanges().len(), 0);
}
