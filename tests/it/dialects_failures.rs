//! What fails between two dialects: before the first event another account is tried, after it the
//! client is told in its own words.

use baton_tests::answer::Answer;
use baton_tests::house::{House, Key};
use baton_tests::upstream::FakeUpstream;
use serde_json::{Value, json};

const MODEL: &str = "claude-sonnet-5-5";
const ROUTES: [&str; 3] = ["/v1/messages", "/v1/chat/completions", "/v1/responses"];
const PROVIDERS: [&str; 2] = ["anthropic", "openai_compatible"];

fn body(route: &str, stream: bool) -> Value {
    let turn = json!([{"role": "user", "content": "hi"}]);
    match route {
        "/v1/responses" => json!({"model": MODEL, "input": "hi", "stream": stream}),
        _ => json!({"model": MODEL, "max_tokens": 100, "messages": turn, "stream": stream}),
    }
}

async fn ask(key: &Key, route: &str, stream: bool) -> Answer {
    let request = key.request("POST", route).header("content-type", "application/json");
    Answer::to(request.body(body(route, stream).to_string())).await
}

/// A key whose group has these accounts, the first one first.
async fn key(house: &House, name: &str, accounts: &[(&str, String)]) -> Key {
    let group = house.group(name).await;
    for (priority, (provider, url)) in accounts.iter().enumerate() {
        let fields = json!({"groups": [group], "provider": provider, "priority": priority + 1});
        house.account_with(&format!("{name}-{priority}"), url, fields).await;
    }
    house.key(name).group(&group).create().await
}

/// The error of an answer or of a stream's last event, in the client's words.
fn error(route: &str, told: &Value) -> Value {
    match route {
        "/v1/messages" => {
            assert_eq!(told["type"], "error", "{told}");
            told["error"].clone()
        }
        "/v1/responses" if told["type"] == "response.failed" => told["response"]["error"].clone(),
        _ => {
            assert!(told["error"].get("param").is_some(), "{told}");
            told["error"].clone()
        }
    }
}

#[tokio::test]
async fn another_account_is_tried_whatever_it_speaks() {
    let house = House::empty().await;
    let sick = FakeUpstream::start();
    for (first, then) in [(PROVIDERS[0], PROVIDERS[1]), (PROVIDERS[1], PROVIDERS[0])] {
        for route in ROUTES {
            for (scenario, stream) in [("status:500", false), ("status:429", true), ("cut:0", true)]
            {
                let name = format!("{first}{route}{scenario}").replace(['/', ':'], "-");
                let accounts = [(first, sick.url()), (then, house.upstream.url())];
                let key = key(&house, &name, &accounts).await;
                sick.next(scenario);
                ask(&key, route, stream).await.ok();
                let events = house.events_of(&key, 1).await;
                assert_eq!(events[0]["provider"], then, "{name} {}", events[0]);
                assert_eq!(events[0]["attempts"], 2, "{name} {}", events[0]);
            }
        }
    }
}

#[tokio::test]
async fn a_stream_that_begins_with_an_error_goes_elsewhere() {
    let house = House::empty().await;
    let sick = FakeUpstream::start();
    let kinds = [("anthropic", "overloaded_error"), ("openai_compatible", "server_error")];
    for ((first, kind), then) in kinds.into_iter().zip([PROVIDERS[1], PROVIDERS[0]]) {
        for route in ROUTES {
            let name = format!("first-{first}{route}").replace('/', "-");
            let accounts = [(first, sick.url()), (then, house.upstream.url())];
            let key = key(&house, &name, &accounts).await;
            sick.next(&format!("first_error:{kind}"));
            ask(&key, route, true).await.ok();
            let events = house.events_of(&key, 1).await;
            assert_eq!(events[0]["provider"], then, "{name} {}", events[0]);
            assert_eq!(events[0]["attempts"], 2, "{name} {}", events[0]);
        }
    }
}

#[tokio::test]
async fn a_first_error_that_nobody_else_can_help_is_told_in_the_clients_words() {
    let house = House::empty().await;
    for provider in PROVIDERS {
        for route in ROUTES {
            let name = format!("alone-{provider}{route}").replace('/', "-");
            let key = key(&house, &name, &[(provider, house.upstream.url())]).await;
            house.upstream.next("first_error:server_error;say=out of order");
            let answer = ask(&key, route, true).await.status(200);
            let told = answer.events().pop().expect("an event");
            assert_eq!(error(route, &told)["message"], "out of order", "{name} {told}");
            let events = house.events_of(&key, 1).await;
            assert_eq!(events[0]["outcome"], "upstream_error", "{name} {}", events[0]);
        }
    }
}

#[tokio::test]
async fn an_upstream_error_keeps_its_status_and_words() {
    let house = House::empty().await;
    for provider in PROVIDERS {
        for route in ROUTES {
            let name = format!("{provider}{route}").replace('/', "-");
            let key = key(&house, &name, &[(provider, house.upstream.url())]).await;
            for stream in [false, true] {
                house.upstream.next("status:400;say=prompt is too long: 9 tokens > 8 maximum");
                let answer = ask(&key, route, stream).await.status(400);
                let told = error(route, &answer.json());
                assert_eq!(told["message"], "prompt is too long: 9 tokens > 8 maximum", "{name}");
            }
        }
    }
}

#[tokio::test]
async fn a_break_after_the_first_event_is_told_in_the_clients_words() {
    let house = House::empty().await;
    for provider in PROVIDERS {
        for route in ROUTES {
            let name = format!("{provider}{route}").replace('/', "-");
            let key = key(&house, &name, &[(provider, house.upstream.url())]).await;
            house.upstream.next("cut:5");
            let answer = ask(&key, route, true).await.status(200);
            let told = answer.events().pop().expect("an event");
            let told = error(route, &told);
            assert!(told["message"].as_str().is_some_and(|text| text.len() > 5), "{name} {told}");
            for end in ["message_stop", "[DONE]", "response.completed"] {
                assert!(!answer.text().contains(end), "{name}\n{}", answer.text());
            }
            let events = house.events_of(&key, 1).await;
            assert_eq!(events[0]["outcome"], "upstream_error", "{name} {}", events[0]);
        }
    }
}

#[tokio::test]
async fn what_cannot_be_translated_is_a_400_that_nobody_pays_for() {
    let house = House::empty().await;
    let key = key(&house, "n", &[("anthropic", house.upstream.url())]).await;
    let mut body = body("/v1/chat/completions", false);
    body["n"] = 2.into();
    let request = key.request("POST", "/v1/chat/completions").body(body.to_string());
    let answer = Answer::to(request).await.status(400);
    assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
    assert!(house.upstream.exchanges().is_empty());
    ask(&key, "/v1/chat/completions", false).await.ok();
    house.events_of(&key, 1).await;
}

#[tokio::test]
async fn an_answer_in_no_dialect_is_a_502() {
    let house = House::empty().await;
    let key = key(&house, "html", &[("openai_compatible", house.upstream.url())]).await;
    house.upstream.next("status:200;say=an error that is none");
    ask(&key, "/v1/messages", false).await.refused(502, "api_error");
    let events = house.events_of(&key, 1).await;
    assert_eq!(events[0]["outcome"], "upstream_error", "{}", events[0]);
}

#[tokio::test]
async fn counting_tokens_goes_to_anthropic_accounts_only() {
    let house = House::empty().await;
    let other = FakeUpstream::start();
    let accounts = [("openai_compatible", other.url()), ("anthropic", house.upstream.url())];
    let key = key(&house, "count", &accounts).await;
    let body = body("/v1/messages", false).to_string();
    let request = key.request("POST", "/v1/messages/count_tokens").body(body.clone());
    Answer::to(request).await.ok();
    assert_eq!(house.upstream.ledger().count_tokens, 1);
    let only = self::key(&house, "none", &[("openai_compatible", other.url())]).await;
    let request = only.request("POST", "/v1/messages/count_tokens").body(body);
    let told = Answer::to(request).await.refused(503, "api_error").message();
    assert!(told.contains("does not speak the protocol"), "{told}");
    assert!(other.exchanges().is_empty());
}

#[tokio::test]
async fn each_vendor_gets_its_own_headers_and_no_key_of_ours() {
    let house = House::empty().await;
    for provider in PROVIDERS {
        for route in ROUTES {
            let name = format!("{provider}{route}").replace('/', "-");
            let key = key(&house, &name, &[(provider, house.upstream.url())]).await;
            let request = key
                .request("POST", &format!("{route}?beta=true"))
                .header("anthropic-beta", "some-2026")
                .header("openai-organization", "org")
                .header("x-stainless-lang", "python");
            Answer::to(request.body(body(route, false).to_string())).await.ok();
            let request = house.upstream.last().request;
            let is_openai = provider == "openai_compatible";
            assert_eq!(request.header("anthropic-beta").is_none(), is_openai, "{name}");
            assert_eq!(request.header("anthropic-version").is_none(), is_openai, "{name}");
            assert_eq!(request.header("openai-organization").is_some(), is_openai, "{name}");
            assert_eq!(request.header("x-stainless-lang"), Some("python"));
            let credential = if is_openai { "authorization" } else { "x-api-key" };
            let sent = request.header(credential).unwrap_or_default();
            assert!(sent.contains("sk-upstream-"), "{name} {sent}");
            assert!(!format!("{:?}", request.headers).contains(&key.secret));
        }
    }
}
