//! The OpenAPI description lists exactly the mounted routes.

use std::collections::BTreeSet;

use baton_test_harness::system::TestSystem;
use serde_json::json;

#[tokio::test]
async fn openapi_lists_all_mounted_methods() {
    let system = TestSystem::empty().await;
    let admin = system.admin();
    let document = admin.get("/openapi.json").await.ok().json();
    assert_eq!(document["openapi"], "3.1.0");
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let described: BTreeSet<String> =
            methods.as_object().expect("methods").keys().map(|name| name.to_uppercase()).collect();
        let path = path.strip_prefix("/api/v1").expect("the base");
        // No route has this method, so the `allow` header lists the mounted methods.
        let answer = admin.send("TRACE", &path.replace(['{', '}'], ""), &json!({})).await;
        let allow = answer.clone().status(405).header("allow").unwrap_or_default().to_owned();
        let mounted: BTreeSet<String> =
            allow.split(',').map(str::to_owned).filter(|name| name != "HEAD").collect();
        assert_eq!(mounted, described, "{path}");
    }
}
