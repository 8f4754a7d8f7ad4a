//! For every pair of client protocol and account kind, each request is counted once with the
//! upstream's numbers and answered in the client's protocol.

use std::path::Path;

use baton_domain::money::PicoUsd;
use baton_domain::price::PriceTable;
use baton_domain::usage::{BilledUsage, TokenCounts};
use baton_test_harness::system::TestSystem;
use baton_test_harness::upstream::ServedTokens as Served;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::protocols::{AccountKind, CLIENTS, KINDS, MODEL, TestClient, key, pairs};
use crate::repository_shape::read;

/// The documents with the table of clients and accounts.
const PAGES: [&str; 2] = ["README.md", "docs/reference/protocols.md"];
const HELLO: &str = "Hello wörld 你好 🦀 from the fake upstream.";

/// The upstream route of a pair.
fn upstream_route(client: TestClient, kind: AccountKind) -> &'static str {
    match (client, kind) {
        (TestClient::Responses, AccountKind::OpenaiResponses) => "/v1/responses",
        (_, AccountKind::Anthropic) => "/v1/messages",
        (_, AccountKind::Openai | AccountKind::OpenaiResponses) => "/v1/chat/completions",
        (_, AccountKind::Bedrock) => "/model/us.anthropic.claude-sonnet-5-5-v1%3A0/",
    }
}

/// The tokens that an upstream has served since `before`.
fn since(now: Served, before: Served) -> TokenCounts {
    TokenCounts {
        input: now.input - before.input,
        output: now.output - before.output,
        cache_read: now.cache_read - before.cache_read,
        cache_write_5m: now.cache_write_5m - before.cache_write_5m,
        cache_write_1h: now.cache_write_1h - before.cache_write_1h,
    }
}

/// The sums of tokens and cost must equal what the upstream billed.
fn assert_billed(events: &[Value], billed: TokenCounts, pair: &str) {
    let sum = |name: &str| -> u64 {
        events.iter().map(|event| event["tokens"][name].as_u64().expect("a number")).sum()
    };
    let recorded = TokenCounts {
        input: sum("input"),
        output: sum("output"),
        cache_read: sum("cache_read"),
        cache_write_5m: sum("cache_write_5m"),
        cache_write_1h: sum("cache_write_1h"),
    };
    assert_eq!(recorded, billed, "{pair} {events:?}");
    let usage = BilledUsage { tokens: billed, ..BilledUsage::default() };
    let at = events[0]["started_at"].as_str().expect("a time").parse().expect("a time");
    let cost = PriceTable::builtin().cost(&usage, MODEL, at).amount;
    let costs = events.iter().map(|event| event["cost_usd"].as_str().expect("a decimal"));
    let costs = costs.map(|text| text.parse::<PicoUsd>().expect("an amount"));
    assert_eq!(costs.fold(PicoUsd::new(0), |sum, one| sum + one), cost, "{pair}");
}

#[tokio::test]
async fn usage_of_every_pair_equals_the_ledger() {
    let (system, mut keys) = (TestSystem::empty().await, Vec::new());
    for (client, kind) in pairs() {
        let pair = format!("{client:?}-{kind:?}");
        let key = key(&system, &pair, &[(kind, &system.upstream.url())]).await;
        let before = system.upstream.ledger().total();
        for stream in [true, false] {
            let answer = client.ask(&key, "hi", stream).await.ok();
            assert_eq!(client.answer_text(&answer), HELLO, "{pair}\n{}", answer.text());
            assert!(!stream || client.is_ended(&answer), "{pair}\n{}", answer.text());
            let request = system.upstream.last().request;
            assert!(
                request.path().starts_with(upstream_route(client, kind)),
                "{pair} {}",
                request.path()
            );
            let called = client.ask_for_function_call(&key, stream).await.ok();
            let expect = ("lookup".to_owned(), json!({"value": "answer"}));
            assert_eq!(client.called(&called), expect, "{pair}\n{}", called.text());
        }
        let billed = since(system.upstream.ledger().total().usage, before.usage);
        keys.push((client, kind, key, billed));
    }
    join_all(keys.iter().map(async |(client, kind, key, billed)| {
        let events = system.events_of(key, 4).await;
        for event in &events {
            assert_eq!(event["protocol"], client.protocol(), "{event}");
            assert_eq!(event["provider"], kind.provider(), "{event}");
            assert_eq!(event["outcome"], "complete", "{event}");
            assert_eq!(event["estimated"], false, "{event}");
            assert_eq!(event["upstream_model"], MODEL, "{event}");
        }
        assert_billed(&events, *billed, &format!("{client:?}-{kind:?}"));
    }))
    .await;
    system.summary_equals(&system.upstream.ledger().total()).await;
}

#[test]
#[ignore = "it compares the text of documents"]
fn protocol_table_in_documents_is_correct() {
    let pages = PAGES.map(|path| (path, read(Path::new(path))));
    for client in CLIENTS {
        let cell = |kind: AccountKind| match (client, upstream_route(client, kind)) {
            (TestClient::Bedrock, upstream_route) if upstream_route.starts_with("/model/") => {
                "as it is".to_owned()
            }
            (_, upstream_route) if upstream_route.starts_with("/model/") => {
                "as `InvokeModel`".to_owned()
            }
            (_, upstream_route) if upstream_route == client.route(false) => "as it is".to_owned(),
            (_, upstream_route) => format!("as `{upstream_route}`"),
        };
        let name = match client {
            TestClient::Bedrock => "Bedrock's `InvokeModel`".to_owned(),
            _ => format!("`POST {}`", client.route(false)),
        };
        let row = format!("| {name} | {} |", KINDS.map(cell).join(" | "));
        for (path, page) in &pages {
            assert!(page.lines().any(|line| line == row), "{path} lacks this row:\n{row}");
        }
    }
}

#[tokio::test]
async fn chat_stream_is_unchanged_without_unrequested_usage() {
    let system = TestSystem::empty().await;
    let key = key(&system, "chat", &[(AccountKind::Openai, &system.upstream.url())]).await;
    let answer = TestClient::Chat.ask(&key, "hi", true).await.ok();
    let exchange = system.upstream.last();
    assert_eq!(exchange.request.json()["stream_options"], json!({"include_usage": true}));
    let sent = String::from_utf8(exchange.sent.clone()).unwrap();
    let is_usage = |event: &&str| event.contains("\"choices\":[],");
    let kept: Vec<&str> = sent.split_inclusive("\n\n").filter(|event| !is_usage(event)).collect();
    assert_eq!(answer.text(), kept.concat());
    assert!(sent.split_inclusive("\n\n").any(|event| is_usage(&event)), "{sent}");

    let mut body = TestClient::Chat.body("hi", true);
    body["stream_options"] = json!({"include_usage": true});
    let answer = TestClient::Chat.send(&key, &body, true).await.ok();
    let exchange = system.upstream.last();
    assert_eq!(exchange.request.body, body.to_string(), "the request was changed");
    assert_eq!(answer.body, exchange.sent, "the answer was changed");
    system.events_of(&key, 2).await;
}

#[tokio::test]
async fn whole_answers_of_same_protocol_are_unchanged() {
    let system = TestSystem::empty().await;
    for (client, kind) in [
        (TestClient::Messages, AccountKind::Anthropic),
        (TestClient::Chat, AccountKind::Openai),
        (TestClient::Responses, AccountKind::OpenaiResponses),
    ] {
        let key = key(&system, &format!("{client:?}"), &[(kind, &system.upstream.url())]).await;
        let answer = client.ask(&key, "hi", false).await.ok();
        let exchange = system.upstream.last();
        assert_eq!(answer.body, exchange.sent, "{client:?}");
        assert_eq!(exchange.request.body, client.body("hi", false).to_string(), "{client:?}");
    }
}
