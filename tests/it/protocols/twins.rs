//! Every client protocol with every vendor, as strict as the vendor is: texts, function calls and
//! tokens. The suites `clients` and `all-clients` do the same with real clients.

use baton_test_harness::system::TestSystem;
use baton_test_harness::twin_upstream::{TWIN_UPSTREAMS, summary_equals_twin};
use baton_test_vendors::Twin;
use serde_json::json;

use crate::protocols::CLIENTS;

#[tokio::test]
async fn every_client_protocol_works_with_every_vendor() {
    let (system, mut used) = (TestSystem::empty().await, Vec::new());
    for client in CLIENTS {
        for (index, upstream) in TWIN_UPSTREAMS.iter().enumerate() {
            let pair = format!("{client:?}-{}", upstream.name);
            let twin = Twin::start(upstream.vendor);
            let key = upstream.key(&system, &format!("{client:?}-{index}"), &twin).await;
            for stream in [true, false] {
                let answer = client.ask(&key, "[[say:plums and pears]]", stream).await.ok();
                assert_eq!(client.answer_text(&answer), "plums and pears", "{pair}");
                assert!(!stream || client.is_ended(&answer), "{pair}\n{}", answer.text());
                let called = client.ask_for_function_call(&key, stream).await.ok();
                let expect = ("lookup".to_owned(), json!({"value": "answer"}));
                assert_eq!(client.called(&called), expect, "{pair}\n{}", called.text());
            }
            used.push((key, twin));
        }
    }
    for (key, twin) in &used {
        summary_equals_twin(&system, key, twin).await;
    }
}
