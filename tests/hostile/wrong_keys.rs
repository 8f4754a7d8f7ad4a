//! Well-formed keys that do not exist: the load that they cause in the store, and the service for
//! valid keys at the same address meanwhile.

use std::time::{Duration, Instant};

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::system::{TestSystem, message};

use crate::class::AttackClass;
use crate::process::unknown_key;

pub(crate) async fn run(class: AttackClass) {
    let launch = TestSystem::builder()
        .env("BATON_WRONG_KEYS_PER_MINUTE", "20")
        .env("BATON_TRUSTED_PROXIES", "127.0.0.0/8");
    let system = launch.with_account("main").start().await;
    let known = system.key("known").create().await;
    known.ask("hi").await.ok();
    let new = system.key("new").create().await;

    // One head with many keys.
    let begun = Instant::now();
    for round in 0..5 {
        let mut request = system.request("POST", "/v1/messages").body("{}");
        for number in 0..60 {
            request = request.header("x-api-key", unknown_key(round * 100 + number));
        }
        let answer = ClientResponse::to(request).await;
        class.check("60 keys in one head", answer.status == 401, || answer.text());
    }
    // Two keys of each head are looked up, so 10 failures are counted. No client has to wait.
    class.check("heads with many keys", begun.elapsed() < Duration::from_secs(10), || {
        format!("{:?}", begun.elapsed())
    });
    let request = system
        .request("POST", "/v1/messages")
        .body(message("claude-opus-5-5", "hi", true).to_string());
    let request = request.header("x-api-key", unknown_key(9_000)).bearer_auth(&known.secret);
    let answer = ClientResponse::to(request).await;
    class.check("a wrong key beside a right one", answer.status == 200, || answer.text());

    // Many heads with one key each, at the same time.
    let asking = (0..400).map(|number| {
        let request =
            system.request("GET", "/v1/models").header("x-api-key", unknown_key(10_000 + number));
        ClientResponse::to(request)
    });
    let begun = Instant::now();
    let flood = async { (futures_util::future::join_all(asking).await, begun.elapsed()) };
    let meanwhile = async {
        let mut answers = Vec::new();
        for _ in 0..5 {
            answers.push(known.ask("hi").await);
        }
        (answers, begun.elapsed())
    };
    let ((answers, _), (served, took)) = tokio::join!(flood, meanwhile);
    for answer in &answers {
        let is_refused = matches!(answer.status, 401 | 429);
        class.check("one of many heads", is_refused, || answer.text());
    }
    let looked_up = answers.iter().filter(|answer| answer.status == 401).count();
    class.check("look-ups of one address", looked_up <= 160, || looked_up.to_string());
    for answer in &served {
        class.check("a known key meanwhile", answer.status == 200, || answer.text());
    }
    class
        .check("a known key does not wait", took < Duration::from_secs(15), || format!("{took:?}"));
    let answer = new.ask("hi").await;
    class.check("a key that is new to the process", answer.status == 200, || answer.text());

    // Requests from another address are not slowed down.
    let request = system.request("GET", "/v1/models").header("x-api-key", unknown_key(77_777));
    let begun = Instant::now();
    let answer = ClientResponse::to(request.header("x-forwarded-for", "198.51.100.7")).await;
    let is_quick = answer.status == 401 && begun.elapsed() < Duration::from_secs(2);
    class.check("a wrong key from elsewhere", is_quick, || answer.text());
}
