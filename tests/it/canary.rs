//! Secrets and conversations show up nowhere but where they belong: every way through the relay and
//! the admin API is walked at the most talkative log level, and every output is searched.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use baton_cloud::settings::LogFormat;
use baton_cloud::telemetry;
use baton_tests::answer::Answer;
use baton_tests::collector::Collector;
use baton_tests::house::{House, Key, Launch, MODEL, message};
use baton_tests::lambda::{Cloud, WITHOUT_HURRY, event};
use baton_tests::program::Program;
use baton_tests::token_endpoint::{TokenEndpoint, Trouble};
use serde_json::{Value, json};
use tracing::Instrument as _;

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
const PANICKED: &str = "panic-canary-13m";
const BAD_CREDENTIAL: &str = "mistyped-canary-14n";

/// What no output may hold, whoever asks.
const EVERYWHERE: [&str; 13] = [
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
];

#[track_caller]
fn clean(place: &str, bytes: &[u8], hidden: &[&str]) {
    for canary in hidden {
        let found = bytes.windows(canary.len()).position(|window| window == canary.as_bytes());
        if let Some(at) = found {
            let around = &bytes[at.saturating_sub(300)..bytes.len().min(at + 100)];
            panic!("{canary} in {place}: …{}…", String::from_utf8_lossy(around));
        }
    }
}

fn clean_files(folder: &Path, hidden: &[&str]) {
    let files = walkdir::WalkDir::new(folder).into_iter().filter_map(Result::ok);
    for file in files.filter(|file| file.file_type().is_file()) {
        let bytes = std::fs::read(file.path()).unwrap_or_default();
        clean(&file.path().display().to_string(), &bytes, hidden);
    }
}

/// Every way that a model call can go, well and badly.
async fn ask_in_every_way(house: &House, key: &Key, account: &str) {
    let well_again = async || {
        house.admin().post(&format!("/accounts/{account}/reset"), &json!({})).await.ok();
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
        well_again().await;
        house.upstream.next(scenario);
        key.ask(PROMPT).await;
        assert!(house.upstream.last().request.mentions(PROMPT), "{scenario} was asked for");
    }
    for status in [400, 403, 404, 413, 429, 500, 529] {
        well_again().await;
        house.upstream.next(&format!("status:{status};say={UPSTREAM_SAID}"));
        key.ask_whole(PROMPT).await;
    }
    // A client that leaves in the middle.
    well_again().await;
    let gate = house.upstream.gate("left");
    gate.release(2);
    house.upstream.next("fixture:text;size=300;gate=left");
    drop(key.open(PROMPT).await);
    gate.open();
    let torn = format!("{{\"model\": \"{PROMPT}\", \"messages\": [{PROMPT}");
    Answer::to(key.message(torn)).await.status(400);
    let count = message(MODEL, PROMPT, false).to_string();
    Answer::to(key.request("POST", "/v1/messages/count_tokens").body(count)).await;
    for wrong in [BAD_CREDENTIAL.to_owned(), format!("{}x", key.secret)] {
        Key::found(&wrong, &house.relay_url()).ask(PROMPT).await.status(401);
    }
    key.get("/v1/usage").await.ok();
    key.get("/v1/models").await.ok();
}

/// The operator's calls, good and bad; answers what was answered.
async fn operate_in_every_way(house: &House, endpoint: &TokenEndpoint) -> Vec<Answer> {
    let (admin, url) = (house.admin(), house.upstream.url());
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
            endpoint.next(Trouble::Refuses);
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
    answers.push(Answer::to(admin.with_token(METRICS_TOKEN).beside("GET", "/metrics")).await.ok());
    answers
}

#[tokio::test]
async fn no_output_of_the_program_holds_a_secret_or_a_conversation() {
    let (collector, endpoint) = (Collector::start(), TokenEndpoint::start());
    let launch = Launch::new()
        .env("BATON_LOG", "trace")
        .env("BATON_LOG_FORMAT", "json")
        .env("BATON_ADMIN_TOKEN", ADMIN_TOKEN)
        .env("BATON_KEY_PEPPER", PEPPER)
        .env("BATON_METRICS_TOKEN", METRICS_TOKEN)
        .env("BATON_TOKEN_SECONDS", "0.1")
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", AWS_SECRET)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
        .env("OTEL_EXPORTER_OTLP_HEADERS", &format!("x-key={COLLECTOR_KEY}"));
    let home = launch.home().to_owned();
    let mut house = House::launched(launch).await;
    house.process().admin_token = ADMIN_TOKEN.to_owned();
    let credential = json!({"type": "api_key", "value": UPSTREAM_KEY});
    let fields = json!({"credential": credential});
    let main = house.account_with("main", &house.upstream.url(), fields).await;
    let key = house.key("ci").limit_usd_daily("100").create().await;
    ask_in_every_way(&house, &key, &main).await;
    let answers = operate_in_every_way(&house, &endpoint).await;
    ask_in_every_way(&house, &key, &main).await;
    let said = key.ask("hi").await;

    house.process().terminate();
    let ended = house.process().ended();
    // The part of the key that proves it; its id may be read by anybody.
    let proof = key.secret.rsplit('_').next().expect("the last part");
    let mut hidden = EVERYWHERE.to_vec();
    hidden.push(proof);
    clean("stdout", ended.stdout.as_bytes(), &hidden);
    clean("stderr", ended.stderr.as_bytes(), &hidden);
    assert!(ended.stderr.contains("\"TRACE\""), "the log is as talkative as it can be");
    clean_files(&home, &hidden);
    for answer in answers {
        clean("an answer of the admin API", answer.text().as_bytes(), &hidden);
    }
    // The collector's own key is in the headers, where it belongs.
    let bodies = collector.each(|it| it.body.clone());
    assert!(!bodies.is_empty());
    for body in bodies {
        clean("what the collector gets", &body, &hidden);
    }
    if said.status == 200 {
        clean("stderr", ended.stderr.as_bytes(), &[said.said().as_str()]);
    }
}

#[tokio::test]
async fn no_output_of_a_function_holds_one() {
    let cloud = Cloud::open().await;
    let talkative = |name| cloud.function_with(name, "BATON_LOG", "trace");
    let admin = talkative("admin").await;
    let key = cloud.furnish(&admin).await;
    let relay = talkative("relay").await;
    for scenario in ["text", "cut:2", "error:overloaded", "error:authentication"] {
        cloud.upstream.next(scenario);
        Cloud::ask(&relay, &key, PROMPT, WITHOUT_HURRY).await.finish().await;
    }
    let (stats, refresh) = (talkative("stats").await, talkative("refresh").await);
    let messages = cloud.stores.receive().await;
    clean("the queue", Value::from(messages.clone()).to_string().as_bytes(), &[PROMPT]);
    stats.invoke(&event::batch(&messages), WITHOUT_HURRY).await;
    refresh.invoke(&event::tick(), WITHOUT_HURRY).await;
    let proof = key.rsplit('_').next().expect("the last part");
    let secrets = [PROMPT, proof, "sk-upstream-main", "test-admin-token", "test-pepper"];
    for (name, function) in
        [("relay", relay), ("admin", admin), ("stats", stats), ("refresh", refresh)]
    {
        clean(name, function.stdout().as_bytes(), &secrets);
        clean(name, function.stderr().as_bytes(), &secrets);
    }
}

/// Not a test of its own: the other one runs it in a process of its own.
#[tokio::test]
#[ignore = "run by the next one"]
async fn something_panics() {
    telemetry::init(LogFormat::Json, "info");
    let span = tracing::error_span!("request", request_id = "req_inside");
    let task = tokio::spawn(async { panic!("{PANICKED}") }.instrument(span));
    assert!(task.await.is_err());
}

#[test]
fn a_panic_says_where_and_in_which_request_and_no_more() {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--exact", "canary::something_panics", "--ignored", "--nocapture"]);
    let ended = Program::run(&mut command, Duration::from_mins(1));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    clean("stdout", ended.stdout.as_bytes(), &[PANICKED]);
    clean("stderr", ended.stderr.as_bytes(), &[PANICKED]);
    let line = ended.stderr.lines().find(|line| line.contains("panicked")).expect("a line");
    let line: Value = serde_json::from_str(line).expect("JSON");
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["span"]["request_id"], "req_inside");
    assert!(line["place"].as_str().is_some_and(|place| place.contains("canary.rs:")), "{line}");
}
