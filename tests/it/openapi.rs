//! The API's description says what is mounted.

use std::collections::BTreeSet;

use baton_tests::house::TestSystem;
use serde_json::json;

#[tokio::test]
async fn the_description_and_the_router_are_one() {
    let house = TestSystem::empty().await;
    let admin = house.admin();
    let document = admin.get("/openapi.json").await.ok().json();
    assert_eq!(document["openapi"], "3.1.0");
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let described: BTreeSet<String> =
            methods.as_object().expect("methods").keys().map(|name| name.to_uppercase()).collect();
        let path = path.strip_prefix("/api/v1").expect("the base");
        // A method that no route takes: `allow` lists what is mounted.
        let answer = admin.send("TRACE", &path.replace(['{', '}'], ""), &json!({})).await;
        let allow = answer.clone().status(405).header("allow").unwrap_or_default().to_owned();
        let mounted: BTreeSet<String> =
            allow.split(',').map(str::to_owned).filter(|name| name != "HEAD").collect();
        assert_eq!(mounted, described, "{path}");
    }
}
