//! Each client hears of models in its own form, of all accounts of its group.

use baton_tests::answer::Answer;
use baton_tests::house::House;
use serde_json::{Value, json};

fn ids(list: &Value) -> Vec<&str> {
    let data = list["data"].as_array().expect("a list");
    data.iter().filter_map(|model| model["id"].as_str()).collect()
}

#[tokio::test]
async fn an_openai_client_hears_openais_form_of_any_account() {
    let house = House::open().await;
    let key = house.key("ci").create().await;
    let ask = async |path: &str| {
        let request = house.request("GET", path).bearer_auth(&key.secret);
        Answer::to(request).await.ok().json()
    };
    let list = ask("/v1/models").await;
    assert_eq!(list["object"], "list", "{list}");
    assert!(ids(&list).contains(&"claude-opus-5-5"), "{list}");
    assert!(list["data"].as_array().unwrap().iter().all(|model| model["object"] == "model"));
    let one = ask("/v1/models/claude-opus-5-5").await;
    assert_eq!((&one["object"], &one["id"]), (&json!("model"), &json!("claude-opus-5-5")));

    let list = key.get("/v1/models").await.ok().json();
    assert_eq!(list["first_id"], "claude-opus-5-5", "{list}");
}

#[tokio::test]
async fn the_lists_of_both_vendors_are_one() {
    let house = House::open().await;
    let group = house.group("both").await;
    let url = house.upstream.url();
    let claude = json!({"groups": [group], "models": ["claude-opus-*"]});
    house.account_with("claude", &url, claude).await;
    let other = json!({"groups": [group], "models": ["*haiku*"], "provider": "openai_compatible"});
    let other = house.account_with("other", &url, other).await;
    let key = house.key("both").group(&group).create().await;
    let tested = house.admin().post(&format!("/accounts/{other}/test"), &json!({})).await.ok();
    assert_eq!(tested.json()["ok"], true, "{}", tested.text());
    let expect =
        ["claude-haiku-4-5-20251001", "claude-haiku-5-5", "claude-opus-4-8", "claude-opus-5-5"];

    let list = key.get("/v1/models").await.ok().json();
    assert_eq!(ids(&list), expect);
    assert_eq!(list["data"][0]["type"], "model", "{list}");
    let request = house.request("GET", "/v1/models").bearer_auth(&key.secret);
    let list = Answer::to(request).await.ok().json();
    assert_eq!(ids(&list), expect);
    assert_eq!(list["data"][3]["object"], "model", "{list}");
}

#[tokio::test]
async fn a_websocket_is_told_to_fall_back() {
    let house = House::open().await;
    let key = house.key("ci").create().await;
    let request = house.request("GET", "/v1/responses").bearer_auth(&key.secret);
    Answer::to(request).await.status(426);
}
