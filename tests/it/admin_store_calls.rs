//! The admin API in this process with a fixed clock and recorded store calls: what lists cost, what
//! one change writes, and what a lost race returns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use baton_test_harness::injected_faults::InjectedFault;
use baton_test_harness::system::{ADMIN_TOKEN, InProcessSystem, TestSystem};
use http::Request;
use http_body_util::BodyExt as _;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// The admin API over in-memory stores. Every store call is recorded.
struct WatchedAdmin {
    system: InProcessSystem,
    api: Router,
    /// Fault for the next transaction.
    fault: Arc<Mutex<Option<InjectedFault>>>,
}

impl WatchedAdmin {
    async fn start() -> Self {
        let fault: Arc<Mutex<Option<InjectedFault>>> = Arc::default();
        let next_fault = Arc::clone(&fault);
        let system = TestSystem::builder().in_process().store_hook(move |target, _| {
            let is_change = target.ends_with(".TransactWriteItems");
            if is_change { next_fault.lock().expect("the fault").take() } else { None }
        });
        let system = system.start().await;
        Self { api: system.admin_router(), system, fault }
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value, Vec<String>) {
        self.ask_with(("accept", "*/*"), method, path, body).await
    }

    async fn ask_with(
        &self,
        header: (&str, &str),
        method: &str,
        path: &str,
        body: &Value,
    ) -> (u16, Value, Vec<String>) {
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("authorization", format!("Bearer {ADMIN_TOKEN}"))
            .header(header.0, header.1)
            .body(Body::from(body.to_string()))
            .expect("a request");
        self.system.take_calls();
        let answer = self.api.clone().oneshot(request).await.expect("an answer");
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
        let calls = self.system.take_calls();
        (status, serde_json::from_slice(&bytes).unwrap_or_default(), calls)
    }
}

/// The store calls of each list with a hundred rows in it. A list that is missing here fails the
/// test.
fn costs() -> BTreeMap<&'static str, Vec<&'static str>> {
    BTreeMap::from([
        ("/groups", vec!["Query"]),
        ("/accounts", vec!["Query", "BatchGetItem", "BatchGetItem"]),
        ("/users", vec!["Query"]),
        ("/keys", vec!["Query"]),
        // The catalog is in the code; the organization's own prices are read.
        ("/models", vec!["Query"]),
        ("/models/{model}", vec!["Query"]),
        ("/prices", vec!["Query"]),
        ("/prices/{model}", vec!["Query"]),
        ("/organizations/spend_limits", vec!["Query"]),
        // One query for each month that it covers.
        ("/organizations/spend_limits/audit", vec!["Query"; 24]),
        // Keys and users, and the counters of those on the page. The limits themselves are cached.
        ("/organizations/spend_limits/effective", vec!["Query", "Query", "BatchGetItem"]),
        // One query for each month of the period; for events, one for each day.
        ("/audit?from=2026-01-02&to=2026-01-03", vec!["Query"]),
        ("/usage/events?from=2026-01-02&to=2026-01-02", vec!["Query"]),
    ])
}

#[tokio::test]
async fn list_costs_do_not_depend_on_row_count() {
    let watched = WatchedAdmin::start().await;
    let rates = json!({
        "input": "1", "output": "2", "cache_read": "0.1", "cache_write_5m": "1.25", "cache_write_1h": "2",
    });
    for n in 0..100 {
        let name = json!({"name": format!("n{n}")});
        let credential = json!({"type": "api_key", "value": "k"});
        let account = json!({"name": format!("n{n}"), "credential": credential});
        let price = json!({"model": format!("m{n}"), "standard": rates});
        for (path, body) in [
            ("/groups", &name),
            ("/users", &name),
            ("/keys", &name),
            ("/accounts", &account),
            ("/prices", &price),
        ] {
            let (status, body_of_answer, _) = watched.ask("POST", path, body).await;
            assert_eq!(status, 201, "{path}: {body_of_answer}");
        }
    }
    let (_, document, _) = watched.ask("GET", "/openapi.json", &Value::Null).await;
    let is_list = |operation: &Value| {
        let schema = &operation["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        schema["$ref"].as_str().is_some_and(|name| name.ends_with("List"))
    };
    let paths = document["paths"].as_object().expect("paths");
    let lists: BTreeSet<&str> = paths
        .iter()
        .filter(|(_, operation)| is_list(operation))
        .map(|(path, _)| path.trim_start_matches("/api/v1"))
        .collect();
    let costs = costs();
    let known = costs.keys().map(|path| path.split('?').next().unwrap_or(path)).collect();
    assert_eq!(lists, known, "a list has no expected cost");
    for (path, expected) in costs {
        let is_filtered = ["/groups", "/accounts", "/users", "/keys"].contains(&path);
        let filters = if is_filtered { ["", "q=n&enabled=true"].as_slice() } else { &[""] };
        for filter in filters {
            let joint = if path.contains('?') { '&' } else { '?' };
            let path = match path {
                "/prices/{model}" => "/prices/m1".to_owned(),
                "/models/{model}" => "/models/gpt-5.2".to_owned(),
                _ => format!("{path}{joint}{filter}&limit=100"),
            };
            // The first call fills the caches.
            watched.ask("GET", &path, &Value::Null).await;
            let (status, body_of_answer, calls) = watched.ask("GET", &path, &Value::Null).await;
            assert_eq!(
                (status, calls),
                (200, expected.iter().map(|c| (*c).to_owned()).collect()),
                "{path} {filter}: {body_of_answer}"
            );
        }
    }
}

#[tokio::test]
async fn change_and_audit_row_are_one_transaction() {
    let watched = WatchedAdmin::start().await;
    // The first creation of a kind also stores the index of names.
    watched.ask("POST", "/users", &json!({"name": "Grace"})).await;
    // The reads: whether the name index exists, and who has this name.
    let (_, user, calls) = watched.ask("POST", "/users", &json!({"name": "Ada"})).await;
    assert_eq!(calls, ["GetItem", "GetItem", "TransactWriteItems"]);
    let path = format!("/users/{}", user["id"].as_str().expect("an id"));
    let change = json!({"role": "admin"});
    let (_, _, calls) = watched.ask("PATCH", &path, &change).await;
    assert_eq!(calls, ["GetItem", "TransactWriteItems"]);
    let (_, rows, _) = watched.ask("GET", "/audit", &Value::Null).await;
    assert_eq!(rows["data"].as_array().map(Vec::len), Some(3), "{rows}");

    let changed = ["ConditionalCheckFailed", "None"];
    let held = ["TransactionConflict", "None"];
    let (without, with) = (("accept", "*/*"), ("if-match", "\"2\""));
    for (why, header, status) in
        [(changed, without, 409), (changed, with, 412), (held, without, 409), (held, with, 412)]
    {
        *watched.fault.lock().expect("the fault") = Some(InjectedFault::cancelled(&why));
        let (found, body_of_answer, _) =
            watched.ask_with(header, "PATCH", &path, &json!({"name": "B"})).await;
        assert_eq!(
            (found, &body_of_answer["error"]["type"]),
            (status, &json!("conflict_error")),
            "{body_of_answer}"
        );
    }
    let (_, unchanged, _) = watched.ask("GET", &path, &Value::Null).await;
    assert_eq!((&unchanged["name"], &unchanged["version"]), (&json!("Ada"), &json!(2)));
    let (_, after, _) = watched.ask("GET", "/audit", &Value::Null).await;
    assert_eq!(after, rows, "there is an audit row without its change");
}

#[tokio::test]
async fn idempotent_response_is_kept_for_a_day() {
    let watched = WatchedAdmin::start().await;
    let post = async |name: &str| {
        let body = json!({"name": name});
        let (status, user, _) =
            watched.ask_with(("idempotency-key", "k"), "POST", "/users", &body).await;
        assert_eq!(status, 201, "{user}");
        user["id"].clone()
    };
    let first = post("Ada").await;
    watched.system.clock.advance(SignedDuration::from_secs(24 * 3600 - 1));
    assert_eq!(post("Ada").await, first);
    watched.system.clock.advance(SignedDuration::from_secs(1));
    let second = post("Grace").await;
    assert_ne!(second, first);
    assert_eq!(post("Grace").await, second, "the second response is kept, too");
}

#[tokio::test]
async fn retry_after_lost_response_returns_same_key() {
    let watched = WatchedAdmin::start().await;
    let fault = InjectedFault::connection_lost().after();
    *watched.fault.lock().expect("the fault") = Some(fault);
    let post = async || {
        let body = json!({"name": "ci"});
        watched.ask_with(("idempotency-key", "k"), "POST", "/keys", &body).await
    };
    // The transaction was written, its answer was lost, and the SDK has sent it again.
    let (first, second) = (post().await, post().await);
    assert_eq!((first.0, second.0), (201, 201), "{} {}", first.1, second.1);
    assert_eq!(first.1["secret"], second.1["secret"]);
    let (_, keys, _) = watched.ask("GET", "/keys", &Value::Null).await;
    assert_eq!(keys["data"].as_array().map(Vec::len), Some(1), "{keys}");
}
