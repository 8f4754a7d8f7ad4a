//! Secrets and conversations appear only where they belong. The test takes every path through the
//! relay and the admin API at the log level `trace` and searches every output.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::collector::FakeCollector;
use baton_test_harness::eventually::eventually;
use baton_test_harness::lambda::{LambdaDeployment, WITHOUT_HURRY, event};
use baton_test_harness::signing_in::{FakeProvider, TestBrowser};
use baton_test_harness::system::{MODEL, TestKey, TestSystem, message};
use baton_test_harness::token_endpoint::{EndpointFault, FakeTokenEndpoint};
use baton_test_harness::upstream::FakeUpstream;
use serde_json::{Value, json};

const UPSTREAM_KEY: &str = "sk-upstream-canary-1a";
const CLIENT_SECRET: &str = "oauth-client-canary-2b";
const REFRESH_TOKEN: &str = "rt-0";
const PROXY_PASSWORD: &str = "proxy-canary-3c";
const USER_INFO: &str = "userinfo-canary-4d";
const QUERY: &str = "query-canary-5e";
const AWS_SECRET: &str = "aws-secret-canary-6f";
const PEPPER: &str = "pepper-canary-7g-0123456789abcdef0123456789";
const ADMIN_TOKEN: &str = "admin-canary-8h-0123456789abcdef";
const METRICS_TOKEN: &str = "metrics-canary-9i";
const COLLECTOR_KEY: &str = "collector-canary-10j";
const PROMPT: &str = "prompt-canary-11k";
const UPSTREAM_SAID: &str = "upstream-error-canary-12l";
const BAD_CREDENTIAL: &str = "mistyped-canary-14n";
const SIGNING_SECRET: &str = "signing-canary-15o-0123456789";
const HOOK_PATH: &str = "hook-canary-16p";
const OPENID_SECRET: &str = "openid-canary-17q";

/// Values that no output can contain, whoever receives it.
const EVERYWHERE: [&str; 16] = [
    UPSTREAM_KEY,
    CLIENT_SECRET,
    PROXY_PASSWORD,
    USER_INFO,
    QUERY,
    AWS_SECRET,
    PEPPER,
    ADMIN_TOKEN,
    METRICS_TOKEN,
    COLLECTOR_KEY,
    PROMPT,
    UPSTREAM_SAID,
    BAD_CREDENTIAL,
    SIGNING_SECRET,
    HOOK_PATH,
    OPENID_SECRET,
];

#[track_caller]
pub(crate) fn assert_absent(place: &str, bytes: &[u8], hidden: &[&str]) {
    for canary in hidden {
        let found = bytes.windows(canary.len()).position(|window| window == canary.as_bytes());
        if let Some(at) = found {
            let around = &bytes[at.saturating_sub(300)..bytes.len().min(at + 100)];
            panic!("{canary} in {place}: …{}…", String::from_utf8_lossy(around));
        }
    }
}

fn assert_absent_in_files(folder: &Path, hidden: &[&str]) {
    let files = walkdir::WalkDir::new(folder).into_iter().filter_map(Result::ok);
    for file in files.filter(|file| file.file_type().is_file()) {
        let bytes = std::fs::read(file.path()).unwrap_or_default();
        assert_absent(&file.path().display().to_string(), &bytes, hidden);
    }
}

/// Sends model calls with every kind of outcome.
async fn send_every_outcome(system: &TestSystem, key: &TestKey, account: &str) {
    let reset = async || {
        system.admin().post(&format!("/accounts/{account}/reset"), &json!({})).await.ok();
    };
    for scenario in [
        "text",
        "thinking",
        "pings",
        "cut:2",
        "error:overloaded",
        "error:invalid_request",
        "error:authentication",
    ] {
        reset().await;
        system.upstream.next(scenario);
        key.ask(PROMPT).await;
        // Baton checks a refused credential with calls without the prompt.
        let call = system.upstream.exchanges_on("/v1/messages").pop().expect("a model call");
        assert!(call.request.mentions(PROMPT), "{scenario}: the prompt was not sent");
    }
    for status in [400, 403, 404, 413, 429, 500, 529] {
        reset().await;
        system.upstream.next(&format!("status:{status};say={UPSTREAM_SAID}"));
        key.ask_whole(PROMPT).await;
    }
    // A client disconnects during the answer.
    reset().await;
    let gate = system.upstream.gate("left");
    gate.release(2);
    system.upstream.next("fixture:text;size=300;gate=left");
    drop(key.open(PROMPT).await);
    gate.open();
    let torn = format!("{{\"model\": \"{PROMPT}\", \"messages\": [{PROMPT}");
    ClientResponse::to(key.message(torn)).await.status(400);
    let count = message(MODEL, PROMPT, false).to_string();
    ClientResponse::to(key.request("POST", "/v1/messages/count_tokens").body(count)).await;
    for wrong in [BAD_CREDENTIAL.to_owned(), format!("{}x", key.secret)] {
        TestKey::found(&wrong, &system.relay_url()).ask(PROMPT).await.status(401);
    }
    key.get("/v1/usage").await.ok();
    key.get("/v1/models").await.ok();
}

/// Sends the key in places where it does not belong, in addition to its header and instead of it.
/// Returns the other forms that the key has had.
async fn send_key_in_wrong_places(system: &TestSystem, key: &TestKey) -> String {
    let (secret, secret_part) = (&key.secret, secret_part(&key.secret));
    let body = message(MODEL, "hi", false).to_string();
    for query in [format!("key={secret}"), format!("beta=true&api_key={secret}&x=1")] {
        let request = key.request("POST", &format!("/v1/messages?{query}"));
        let request = request.header("x-custom", secret).header("x-other", format!("b {secret}"));
        let request = request.header("cookie", format!("key={secret}"));
        ClientResponse::to(request.body(body.clone())).await.ok();
        let seen = system.upstream.last().request;
        assert!(!seen.mentions(secret_part), "the client's key went upstream: {seen:?}");
        assert_eq!(seen.target.contains("beta=true"), query.contains("beta"), "{}", seen.target);
        assert!(!seen.target.contains("x=1"), "{}", seen.target);
    }
    let basic = BASE64_STANDARD.encode(format!("user:{secret}"));
    for (name, value) in [
        ("x-custom", secret.clone()),
        ("authorization", secret.clone()),
        ("authorization", format!("Basic {basic}")),
        ("proxy-authorization", format!("Bearer {secret}")),
        ("cookie", format!("key={secret}")),
        ("x-baton-request-id", secret.clone()),
    ] {
        let request = system.request("POST", "/v1/messages").header(name, value);
        ClientResponse::to(request.body(body.clone())).await.status(401);
    }
    let keyless = system.request("POST", &format!("/v1/messages?key={secret}")).body(body);
    ClientResponse::to(keyless).await.status(401);
    ClientResponse::to(system.request("GET", &format!("/v1/{secret}"))).await.status(404);
    ClientResponse::to(key.request("GET", &format!("/v1/models/{secret}"))).await.status(400);
    key.ask_model(secret, "hi").await.status(400);
    basic
}

/// The secret part of a key. Everybody can read its id.
fn secret_part(key: &str) -> &str {
    key.rsplit('_').next().expect("the last part")
}

/// Uses the console with its form and with the identity provider. Returns the session and the CSRF
/// token.
async fn use_console(system: &mut TestSystem, provider: &FakeProvider) -> [String; 2] {
    let mut visitor = TestBrowser::at(system.process().admin);
    assert_eq!(visitor.sign_in(BAD_CREDENTIAL).await.answer.status, 403);
    visitor.sign_in(ADMIN_TOKEN).await.leads_to("/console");
    let session = visitor.cookie("baton").and_then(|it| it.rsplit('.').next());
    let session = session.expect("a session").to_owned();
    let csrf = visitor.open("/console/connect").await.field("csrf");
    for path in ["/console", "/console/accounts", "/console/alerts", "/console/audit"] {
        let page = visitor.open(path).await.answer.ok();
        assert_absent(path, page.text().as_bytes(), &EVERYWHERE);
    }
    let group = |csrf: &str| [("csrf", csrf.to_owned()), ("name", "by the console".to_owned())];
    for (csrf, status) in [(csrf.as_str(), 303), (BAD_CREDENTIAL, 403)] {
        let fields = group(csrf);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(k, v)| (*k, v.as_str())).collect();
        assert_eq!(visitor.submit("/console/groups", &fields).await.answer.status, status);
    }
    // The provider does not accept this secret, so the sign-in fails. Failures write the most log
    // text.
    let mut other = TestBrowser::at(system.process().admin);
    let page = other.sign_in_at_provider().await;
    assert!(page.location().contains("why="), "{}", page.location());
    assert_eq!(provider.request_count("/token"), 1);
    [session, csrf]
}

/// Sends an alert to a receiver that refuses it.
async fn send_alert(system: &TestSystem, receiver: &FakeUpstream) {
    let admin = system.admin();
    let url = format!("{}/{HOOK_PATH}", receiver.url());
    let hook = json!({"url": url, "signing_secret": SIGNING_SECRET});
    let set = admin.send("PUT", "/alerts", &hook).await.ok();
    let trial = admin.post("/alerts/test", &json!({})).await;
    let shown = admin.get("/alerts").await.ok();
    let bad = json!({"url": BAD_CREDENTIAL, "signing_secret": "short"});
    let refused = admin.send("PUT", "/alerts", &bad).await;
    for answer in [set, trial, shown, refused] {
        assert_absent("an answer about alerts", answer.text().as_bytes(), &EVERYWHERE);
    }
}

/// Waits until the alert has arrived. Alerts are sent once a minute.
async fn wait_for_alert(receiver: &FakeUpstream) {
    eventually("the alert", Duration::from_secs(90), async || {
        let seen = receiver.exchanges();
        let signed = seen.iter().find(|it| it.request.header("baton-signature").is_some());
        signed.map(|it| assert!(it.request.target.contains(HOOK_PATH))).ok_or(seen.len())
    })
    .await;
}

/// Makes the operator's calls, valid and invalid. Returns the answers.
async fn call_admin_api(system: &TestSystem, endpoint: &FakeTokenEndpoint) -> Vec<ClientResponse> {
    let (admin, url) = (system.admin(), system.upstream.url());
    let mut answers = Vec::new();
    let oauth = json!({
        "type": "oauth2", "token_url": endpoint.url(), "client_id": "baton",
        "client_secret": CLIENT_SECRET, "refresh_token": REFRESH_TOKEN,
    });
    let static_key = json!({"type": "api_key", "value": UPSTREAM_KEY});
    let address = url.replace("http://", "");
    for account in [
        json!({"name": "signed in", "base_url": url, "credential": oauth}),
        json!({"name": "by proxy", "base_url": url, "credential": static_key,
               "proxy_url": format!("http://me:{PROXY_PASSWORD}@127.0.0.1:9"), "priority": 9}),
        json!({"name": "odd", "credential": static_key, "priority": 9,
               "base_url": format!("http://me:{USER_INFO}@{address}/?token={QUERY}")}),
        json!({"name": "bad", "base_url": url, "credential": {"type": BAD_CREDENTIAL}}),
        json!({"name": "bad", "base_url": url, "credential": BAD_CREDENTIAL}),
        json!({"name": "aws", "provider": "bedrock", "credential": {"type": "aws", "region": "us-east-1"},
               "base_url": url, "priority": 9}),
    ] {
        let answer = admin.post("/accounts", &account).await;
        if let Some(id) = answer.json()["id"].as_str() {
            endpoint.next(EndpointFault::Refuses);
            for path in ["test", "refresh", "reset"] {
                answers.push(admin.post(&format!("/accounts/{id}/{path}"), &json!({})).await);
            }
        }
        answers.push(answer);
    }
    for path in ["/accounts", "/keys", "/groups", "/usage/summary", "/usage/dead-letters"] {
        answers.push(admin.get(path).await);
    }
    answers.push(admin.with_token(BAD_CREDENTIAL).get("/accounts").await);
    answers.push(
        ClientResponse::to(admin.with_token(METRICS_TOKEN).request_at_root("GET", "/metrics"))
            .await
            .ok(),
    );
    answers
}

#[tokio::test]
async fn baton_up_outputs_contain_no_secret() {
    let (collector, endpoint) = (FakeCollector::start(), FakeTokenEndpoint::start());
    let (provider, receiver) = (FakeProvider::start(), FakeUpstream::start());
    let launch = TestSystem::builder()
        .env("BATON_LOG", "trace")
        .env("BATON_LOG_FORMAT", "json")
        .env("BATON_ADMIN_TOKEN", ADMIN_TOKEN)
        .env("BATON_KEY_PEPPER", PEPPER)
        .env("BATON_METRICS_TOKEN", METRICS_TOKEN)
        .env("BATON_TOKEN_SECONDS", "0.1")
        .env("BATON_OIDC_ISSUER", &provider.issuer())
        .env("BATON_OIDC_CLIENT_ID", "baton console")
        .env("BATON_OIDC_CLIENT_SECRET", OPENID_SECRET)
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", AWS_SECRET)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
        .env("OTEL_EXPORTER_OTLP_HEADERS", &format!("x-key={COLLECTOR_KEY}"));
    let home = launch.home().to_owned();
    let mut system = launch.start().await;
    let credential = json!({"type": "api_key", "value": UPSTREAM_KEY});
    let fields = json!({"credential": credential});
    let main = system.account_with("main", &system.upstream.url(), fields).await;
    let key = system.key("ci").limit_usd_daily("100").create().await;
    send_alert(&system, &receiver).await;
    send_every_outcome(&system, &key, &main).await;
    let basic = send_key_in_wrong_places(&system, &key).await;
    let [session, csrf] = use_console(&mut system, &provider).await;
    let answers = call_admin_api(&system, &endpoint).await;
    send_every_outcome(&system, &key, &main).await;
    let said = key.ask("hi").await;
    wait_for_alert(&receiver).await;

    system.process().terminate();
    let ended = system.process().ended();
    let mut hidden = EVERYWHERE.to_vec();
    hidden.extend([secret_part(&key.secret), &basic, &session, &csrf]);
    assert_absent("stdout", ended.stdout.as_bytes(), &hidden);
    assert_absent("stderr", ended.stderr.as_bytes(), &hidden);
    // The log level is the highest one. At `trace`, libraries write whole requests and answers.
    for library in ["Plaintext", "\"TRACE\""] {
        assert!(!ended.stderr.contains(library), "{library} is in the log");
    }
    assert_absent_in_files(&home, &hidden);
    for answer in answers {
        assert_absent("an answer of the admin API", answer.text().as_bytes(), &hidden);
    }
    // The collector's own key belongs into the headers.
    let bodies = collector.each(|it| it.body.clone());
    assert!(!bodies.is_empty());
    for body in bodies {
        assert_absent("the collector's requests", &body, &hidden);
    }
    if said.status == 200 {
        assert_absent("stderr", ended.stderr.as_bytes(), &[said.said().as_str()]);
    }
}

#[tokio::test]
async fn lambda_outputs_contain_no_secret() {
    let cloud = LambdaDeployment::open().await;
    let with_trace_log = |name| cloud.function_with(name, "BATON_LOG", "trace");
    let admin = with_trace_log("admin").await;
    let key = cloud.create_account_and_key(&admin).await;
    let relay = with_trace_log("relay").await;
    for scenario in ["text", "cut:2", "error:overloaded", "error:authentication"] {
        cloud.upstream.next(scenario);
        LambdaDeployment::ask(&relay, &key, PROMPT, WITHOUT_HURRY).await.finish().await;
    }
    let (stats, refresh) = (with_trace_log("stats").await, with_trace_log("refresh").await);
    let messages = cloud.stores.receive().await;
    assert_absent("the queue", Value::from(messages.clone()).to_string().as_bytes(), &[PROMPT]);
    stats.invoke(&event::batch(&messages), WITHOUT_HURRY).await;
    refresh.invoke(&event::tick(), WITHOUT_HURRY).await;
    let secrets =
        [PROMPT, secret_part(&key), "sk-upstream-main", "test-admin-token", "test-pepper"];
    for (name, function) in
        [("relay", relay), ("admin", admin), ("stats", stats), ("refresh", refresh)]
    {
        assert_absent(name, function.stdout().as_bytes(), &secrets);
        assert_absent(name, function.stderr().as_bytes(), &secrets);
    }
}
