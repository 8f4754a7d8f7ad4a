//! Whatever a client speaks, whatever its account speaks: every request is counted once, with the
//! upstream's own numbers, and answered in the client's words.

use baton_tests::answer::Answer;
use baton_tests::house::{House, Key, tokens};
use serde_json::{Value, json};

/// What a test is about: a client's route and protocol, and an account.
#[derive(Clone, Copy, Debug)]
struct Pair {
    route: &'static str,
    protocol: &'static str,
    provider: &'static str,
    /// Where the upstream must be asked.
    upstream: &'static str,
    /// A setting of the account.
    speaks_responses: bool,
}

const MESSAGES: (&str, &str) = ("/v1/messages", "anthropic_messages");
const CHAT: (&str, &str) = ("/v1/chat/completions", "openai_chat");
const RESPONSES: (&str, &str) = ("/v1/responses", "openai_responses");
const ANTHROPIC: &str = "anthropic";
const OPENAI: &str = "openai_compatible";

const fn pair(
    client: (&'static str, &'static str),
    provider: &'static str,
    to: &'static str,
) -> Pair {
    Pair { route: client.0, protocol: client.1, provider, upstream: to, speaks_responses: false }
}

/// Every way from a client to an account.
const PAIRS: [Pair; 9] = [
    pair(MESSAGES, ANTHROPIC, "/v1/messages"),
    pair(MESSAGES, OPENAI, "/v1/chat/completions"),
    pair(CHAT, ANTHROPIC, "/v1/messages"),
    pair(CHAT, OPENAI, "/v1/chat/completions"),
    pair(RESPONSES, ANTHROPIC, "/v1/messages"),
    pair(RESPONSES, OPENAI, "/v1/chat/completions"),
    Pair { speaks_responses: true, ..pair(RESPONSES, OPENAI, "/v1/responses") },
    Pair { speaks_responses: true, ..pair(MESSAGES, OPENAI, "/v1/chat/completions") },
    Pair { speaks_responses: true, ..pair(CHAT, OPENAI, "/v1/chat/completions") },
];

const MODEL: &str = "claude-sonnet-5-5";

impl Pair {
    async fn key(self, house: &House, base_url: &str) -> Key {
        let name = format!("{}-{}-{}", self.protocol, self.provider, self.speaks_responses);
        let group = house.group(&name).await;
        let mut fields = json!({"groups": [group], "provider": self.provider});
        fields["speaks_responses"] = self.speaks_responses.into();
        house.account_with(&name, base_url, fields).await;
        house.key(&name).group(&group).create().await
    }

    fn body(self, text: &str, stream: bool) -> Value {
        let turn = json!([{"role": "user", "content": text}]);
        match self.route {
            "/v1/responses" => json!({"model": MODEL, "input": text, "stream": stream}),
            "/v1/messages" => {
                json!({"model": MODEL, "max_tokens": 100, "messages": turn, "stream": stream})
            }
            _ => json!({"model": MODEL, "messages": turn, "stream": stream}),
        }
    }

    async fn ask(self, key: &Key, text: &str, stream: bool) -> Answer {
        let request = key.request("POST", self.route).header("content-type", "application/json");
        Answer::to(request.body(self.body(text, stream).to_string())).await
    }

    /// The text of an answer in the client's words.
    fn said(self, answer: &Answer) -> String {
        let is_stream = answer.header("content-type").is_some_and(|kind| kind.contains("event"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let all = if is_stream { answer.events() } else { vec![answer.json()] };
        let piece = |event: &Value| match (self.route, is_stream) {
            ("/v1/messages", false) => text(&event["content"][0]["text"]),
            ("/v1/messages", true) => text(&event["delta"]["text"]),
            ("/v1/responses", false) => text(&event["output"][0]["content"][0]["text"]),
            ("/v1/responses", true) => text(&event["delta"]),
            (_, false) => text(&event["choices"][0]["message"]["content"]),
            (_, true) => text(&event["choices"][0]["delta"]["content"]),
        };
        all.iter().map(piece).collect()
    }

    /// The last thing that a stream says.
    fn end(self) -> &'static str {
        match self.route {
            "/v1/messages" => "message_stop",
            "/v1/responses" => "response.completed",
            _ => "[DONE]",
        }
    }
}

#[tokio::test]
async fn every_pair_adds_up_to_the_ledger_of_its_upstream() {
    let house = House::empty().await;
    for pair in PAIRS {
        let key = pair.key(&house, &house.upstream.url()).await;
        let before = house.upstream.ledger().total();
        let streamed = pair.ask(&key, "hi", true).await.ok();
        let whole = pair.ask(&key, "hello there", false).await.ok();
        for answer in [&streamed, &whole] {
            let said = pair.said(answer);
            assert_eq!(
                said,
                "Hello wörld 你好 🦀 from the fake upstream.",
                "{pair:?}\n{}",
                answer.text()
            );
        }
        assert!(streamed.text().contains(pair.end()), "{pair:?}\n{}", streamed.text());
        assert_eq!(house.upstream.last().request.path(), pair.upstream, "{pair:?}");
        let events = house.events_of(&key, 2).await;
        let served = house.upstream.ledger().total();
        let sum = |name: &str| -> u64 {
            events.iter().map(|e| e["tokens"][name].as_u64().unwrap()).sum()
        };
        assert_eq!(sum("input"), served.usage.input - before.usage.input, "{pair:?} {events:?}");
        assert_eq!(sum("output"), served.usage.output - before.usage.output, "{pair:?}");
        assert_eq!(
            sum("cache_read"),
            served.usage.cache_read - before.usage.cache_read,
            "{pair:?}"
        );
        for event in &events {
            assert_eq!(event["protocol"], pair.protocol, "{pair:?}");
            assert_eq!(event["provider"], pair.provider, "{pair:?}");
            assert_eq!(event["outcome"], "complete", "{pair:?}");
            assert_eq!(event["estimated"], false, "{pair:?} {event}");
            assert!(tokens(event).output > 0);
        }
    }
    house.summary_equals(&house.upstream.ledger().total()).await;
}

#[test]
fn the_readme_says_what_is_served() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md"));
    let readme = readme.expect("the README");
    for client in [MESSAGES, CHAT, RESPONSES] {
        let cell = |account: (&str, bool)| {
            let is_meant = |pair: &&Pair| {
                let of = (pair.provider, pair.speaks_responses);
                pair.route == client.0 && of == account
            };
            match PAIRS.iter().find(is_meant).expect("a pair that is tested") {
                pair if pair.upstream == pair.route => "as it is".to_owned(),
                pair => format!("as `{}`", pair.upstream),
            }
        };
        let cells = [(ANTHROPIC, false), (OPENAI, false), (OPENAI, true)].map(cell);
        let row = format!("| `POST {}` | {} |", client.0, cells.join(" | "));
        assert!(readme.lines().any(|line| line == row), "the README lacks this row:\n{row}");
    }
}

#[tokio::test]
async fn a_chat_stream_passes_byte_for_byte_less_the_usage_nobody_asked_for() {
    let house = House::empty().await;
    let pair = PAIRS[3];
    let key = pair.key(&house, &house.upstream.url()).await;
    let answer = pair.ask(&key, "hi", true).await.ok();
    let exchange = house.upstream.last();
    assert_eq!(exchange.request.json()["stream_options"], json!({"include_usage": true}));
    let sent = String::from_utf8(exchange.sent.clone()).unwrap();
    let is_usage = |event: &&str| event.contains("\"choices\":[],");
    let kept: Vec<&str> = sent.split_inclusive("\n\n").filter(|event| !is_usage(event)).collect();
    assert_eq!(answer.text(), kept.concat());
    assert!(sent.split_inclusive("\n\n").any(|event| is_usage(&event)), "{sent}");

    let mut body = pair.body("hi", true);
    body["stream_options"] = json!({"include_usage": true});
    let request = key.request("POST", pair.route).body(body.to_string());
    let answer = Answer::to(request).await.ok();
    let exchange = house.upstream.last();
    assert_eq!(exchange.request.body, body.to_string(), "the request, byte for byte");
    assert_eq!(answer.body, exchange.sent, "the answer, too");
    house.events_of(&key, 2).await;
}

#[tokio::test]
async fn whole_answers_of_the_same_dialect_pass_byte_for_byte() {
    let house = House::empty().await;
    for pair in [PAIRS[0], PAIRS[3], PAIRS[6]] {
        let key = pair.key(&house, &house.upstream.url()).await;
        let answer = pair.ask(&key, "hi", false).await.ok();
        let exchange = house.upstream.last();
        assert_eq!(answer.body, exchange.sent, "{pair:?}");
        assert_eq!(exchange.request.body, pair.body("hi", false).to_string(), "{pair:?}");
    }
}

#[tokio::test]
async fn a_group_calls_a_model_by_another_name() {
    let house = House::empty().await;
    let pair = PAIRS[2];
    let group = house.group("aliases").await;
    house.account_with("a", &house.upstream.url(), json!({"groups": [group]})).await;
    let key = house.key("a").group(&group).create().await;
    let aliases = json!({"model_aliases": {"gpt-*": "claude-haiku-5-5"}});
    let shown = house.admin().patch(&format!("/groups/{group}"), &aliases).await.ok().json();
    assert_eq!(shown["model_aliases"], aliases["model_aliases"]);
    let mut body = pair.body("hi", false);
    body["model"] = "gpt-5.5".into();
    let asked = async || {
        let request = key.request("POST", pair.route).body(body.to_string());
        Answer::to(request).await
    };
    let answer =
        baton_tests::eventually::eventually("the alias", baton_tests::house::SOON, async || {
            let answer = asked().await.ok();
            if house.upstream.last().request.json()["model"] == "claude-haiku-5-5" {
                Ok(answer)
            } else {
                Err(answer.text())
            }
        })
        .await;
    assert_eq!(answer.json()["model"], "gpt-5.5", "the client hears the name that it asked for");
    baton_tests::eventually::eventually("an event", baton_tests::house::SOON, async || {
        let events = house.events(&key).await;
        let is_meant =
            |e: &&Value| e["model"] == "gpt-5.5" && e["upstream_model"] == "claude-haiku-5-5";
        if events.iter().any(|e| is_meant(&e)) { Ok(()) } else { Err(events) }
    })
    .await;
}
