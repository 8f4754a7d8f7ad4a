//! Calls from pages of other origins (CORS): none by default, and those that the settings list.

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::system::{MODEL, TestSystem, message};
use reqwest::RequestBuilder;

const APP: &str = "https://app.example.com";
const OTHER: &str = "https://evil.example";

fn preflight(system: &TestSystem, path: &str, origin: &str) -> RequestBuilder {
    system
        .request("OPTIONS", path)
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "x-api-key,content-type")
}

/// The headers of an answer that permit something to a page.
fn permissions(answer: &ClientResponse) -> Vec<String> {
    let names = answer.headers.keys().map(|name| name.as_str().to_owned());
    names.filter(|name| name.starts_with("access-control-")).collect()
}

#[tokio::test]
async fn no_origin_is_allowed_by_default() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    let answer = ClientResponse::to(preflight(&system, "/v1/messages", APP)).await.status(204);
    assert_eq!(permissions(&answer), Vec::<String>::new());
    let body = message(MODEL, "hi", false).to_string();
    let answer = ClientResponse::to(key.message(body).header("origin", APP)).await.ok();
    assert_eq!(permissions(&answer), Vec::<String>::new());
}

#[tokio::test]
async fn listed_origins_read_answers_and_errors() {
    let settings = TestSystem::builder().env("BATON_CORS_ORIGINS", APP).with_account("main");
    let system = settings.start().await;
    let key = system.key("ci").create().await;
    for path in ["/v1/messages", "/v1/chat/completions", "/v1/responses"] {
        let answer = ClientResponse::to(preflight(&system, path, APP)).await.status(204);
        assert_eq!(answer.header("access-control-allow-origin"), Some(APP), "{path}");
        assert_eq!(answer.header("access-control-allow-headers"), Some("x-api-key,content-type"));
    }
    let body = || message(MODEL, "hi", false).to_string();
    let allowed = ClientResponse::to(key.message(body()).header("origin", APP)).await.ok();
    let refused = system.request("POST", "/v1/messages").header("origin", APP).body(body());
    let refused = ClientResponse::to(refused).await.status(401);
    for answer in [&allowed, &refused] {
        assert_eq!(answer.header("access-control-allow-origin"), Some(APP));
        assert_eq!(answer.header("access-control-expose-headers"), Some("*"));
    }
    let answer = ClientResponse::to(preflight(&system, "/v1/messages", OTHER)).await.status(204);
    assert_eq!(permissions(&answer), Vec::<String>::new());
    let answer = ClientResponse::to(key.message(body()).header("origin", OTHER)).await.ok();
    assert_eq!(permissions(&answer), Vec::<String>::new());
}
