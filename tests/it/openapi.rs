//! The API's description says what is mounted, and the lists cost what they should.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use baton_cloud::aws::Aws;
use baton_cloud::clock::Clock;
use baton_cloud::dice::Dice;
use baton_cloud::settings::Settings;
use baton_cloud::store::Store;
use baton_domain::secret::Secret;
use baton_local::Local;
use baton_tests::house::House;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

#[tokio::test]
async fn the_description_and_the_router_are_one() {
    let house = House::empty().await;
    let admin = house.admin();
    let document = admin.get("/openapi.json").await.ok().json();
    assert_eq!(document["openapi"], "3.1.0");
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let described: BTreeSet<String> =
            methods.as_object().expect("methods").keys().map(|name| name.to_uppercase()).collect();
        let path = path.strip_prefix("/api/v1").expect("the base");
        // A method that no route takes: `allow` lists what is mounted.
        let answer = admin.send("PUT", &path.replace(['{', '}'], ""), &json!({})).await;
        let allow = answer.clone().status(405).header("allow").unwrap_or_default().to_owned();
        let mounted: BTreeSet<String> =
            allow.split(',').map(str::to_owned).filter(|name| name != "HEAD").collect();
        assert_eq!(mounted, described, "{path}");
    }
}

/// The admin API in this process, over stores in memory that note each call.
struct Watched {
    api: Router,
    calls: Arc<Mutex<Vec<String>>>,
}

const TOKEN: &str = "token-of-a-test";

impl Watched {
    async fn start() -> Self {
        let calls: Arc<Mutex<Vec<String>>> = Arc::default();
        let notes = Arc::clone(&calls);
        let local = Local::open(None).await.expect("stores").with_faults(move |target, _| {
            let operation = target.split('.').next_back().unwrap_or_default();
            notes.lock().expect("the notes").push(operation.to_owned());
            None
        });
        let mut settings =
            Settings::read(|name| (name == "BATON_ADMIN_TOKEN").then(|| TOKEN.to_owned()))
                .expect("settings");
        settings.resources = local.resources();
        let store =
            Store::new(&Aws::new(&local.sdk_config()), &settings, Clock::system(), Dice::system());
        let api = baton_admin::router(&settings, &Secret::new("pepper".to_owned()), store);
        Self { api, calls }
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value, Vec<String>) {
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("authorization", format!("Bearer {TOKEN}"))
            .body(Body::from(body.to_string()))
            .expect("a request");
        self.calls.lock().expect("the notes").clear();
        let answer = self.api.clone().oneshot(request).await.expect("an answer");
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
        let calls = std::mem::take(&mut *self.calls.lock().expect("the notes"));
        (status, serde_json::from_slice(&bytes).unwrap_or_default(), calls)
    }
}

/// What each list may cost with a hundred things in it. A list that is missing here fails the test.
fn costs() -> BTreeMap<&'static str, Vec<&'static str>> {
    BTreeMap::from([
        ("/groups", vec!["Query"]),
        ("/accounts", vec!["Query", "BatchGetItem"]),
        ("/users", vec!["Query"]),
        ("/keys", vec!["Query"]),
        ("/prices", vec!["Query"]),
        ("/prices/{model}", vec!["Query"]),
        // A query for each month of the period; of events, for each day.
        ("/audit?from=2026-01-02&to=2026-01-03", vec!["Query"]),
        ("/usage/events?from=2026-01-02&to=2026-01-02", vec!["Query"]),
    ])
}

#[tokio::test]
async fn a_list_costs_a_query_however_long_it_is() {
    let watched = Watched::start().await;
    let rates = json!({
        "input": "1", "output": "2", "cache_read": "0.1", "cache_write_5m": "1.25", "cache_write_1h": "2",
    });
    let account = json!({"name": "n", "credential": {"type": "api_key", "value": "k"}});
    for n in 0..100 {
        let name = json!({"name": format!("n{n}")});
        let price = json!({"model": format!("m{n}"), "standard": rates});
        for (path, body) in [
            ("/groups", &name),
            ("/users", &name),
            ("/keys", &name),
            ("/accounts", &account),
            ("/prices", &price),
        ] {
            let (status, said, _) = watched.ask("POST", path, body).await;
            assert_eq!(status, 201, "{path}: {said}");
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
    assert_eq!(lists, known, "a cost for each list");
    for (path, expected) in costs {
        for filter in ["", "q=n&enabled=true"] {
            let path = path.replace("{model}", "m1");
            let joint = if path.contains('?') { '&' } else { '?' };
            let (status, said, calls) =
                watched.ask("GET", &format!("{path}{joint}{filter}&limit=100"), &Value::Null).await;
            assert_eq!(
                (status, calls),
                (200, expected.iter().map(|c| (*c).to_owned()).collect()),
                "{path} {filter}: {said}"
            );
        }
    }
}
