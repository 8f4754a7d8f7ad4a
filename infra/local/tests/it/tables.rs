//! The template's tables: indexes, conditions, transactions, time to live.

use aws_sdk_dynamodb::{
    operation::{transact_write_items::TransactWriteItemsError, update_item::UpdateItemError},
    types::{
        ConditionCheck, Put, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
        Update,
    },
};

use crate::fixture::{LocalAwsFixture, item, n, s};

fn put(table: &str, pk: &str, condition: Option<&str>) -> TransactWriteItem {
    let put = Put::builder()
        .table_name(table)
        .set_item(Some(item([("pk", s(pk)), ("sk", s("x"))])))
        .set_condition_expression(condition.map(str::to_owned))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    TransactWriteItem::builder().put(put.build().unwrap()).build()
}

#[tokio::test]
async fn every_table_of_the_template_exists() {
    let fixture = LocalAwsFixture::new().await;
    let resources = fixture.local.resources();
    for table in [&resources.config_table, &resources.state_table, &resources.usage_table] {
        fixture.dynamo.describe_table().table_name(table).send().await.unwrap();
    }
    for table in [&resources.state_table, &resources.usage_table] {
        let ttl = fixture.dynamo.describe_time_to_live().table_name(table).send().await.unwrap();
        let ttl = ttl.time_to_live_description.unwrap();
        assert_eq!(ttl.attribute_name.as_deref(), Some("ttl"), "{table}");
        assert_eq!(ttl.time_to_live_status.unwrap().as_str(), "ENABLED", "{table}");
    }
}

#[tokio::test]
async fn index_is_sparse_ordered_and_paged() {
    let fixture = LocalAwsFixture::new().await;
    for (id, at) in [("b", "2026-02"), ("a", "2026-03"), ("c", "2026-01")] {
        let key = [("pk", s(&format!("key#{id}"))), ("sk", s("key"))];
        let listed = [("kind", s("key")), ("created_at", s(at))];
        fixture.put("ConfigTable", item(key).into_iter().chain(item(listed)).collect()).await;
    }
    fixture.put("ConfigTable", item([("pk", s("group#g")), ("sk", s("account#a"))])).await;
    let query = || {
        let query = fixture.dynamo.query().table_name("ConfigTable").index_name("by_kind");
        query.key_condition_expression("kind = :k").expression_attribute_values(":k", s("key"))
    };
    let first = query().limit(2).send().await.unwrap();
    let rest = query().set_exclusive_start_key(first.last_evaluated_key.clone());
    let rest = rest.send().await.unwrap();
    let found: Vec<_> =
        first.items().iter().chain(rest.items()).map(|item| item["pk"].as_s().unwrap()).collect();
    assert_eq!(found, ["key#c", "key#b", "key#a"]);
    assert!(rest.last_evaluated_key.is_none());
}

/// `restore.py` in the documentation reads a table like this.
#[tokio::test]
async fn scan_returns_all_items_in_pages() {
    let fixture = LocalAwsFixture::new().await;
    for id in ["a", "b", "c"] {
        fixture.put("ConfigTable", item([("pk", s(id)), ("sk", s("x"))])).await;
    }
    let scan = fixture.dynamo.scan().table_name("ConfigTable").consistent_read(true).limit(2);
    let pages = scan.into_paginator().items().send();
    let found = pages.collect::<Result<Vec<_>, _>>().await.unwrap();
    assert_eq!(found.len(), 3);
}

#[tokio::test]
async fn failed_condition_returns_the_item() {
    let fixture = LocalAwsFixture::new().await;
    let limit = item([("pk", s("limit#k")), ("sk", s("limit")), ("committed", n(90))]);
    fixture.put("StateTable", limit).await;
    let admit = |estimate: i64| {
        fixture
            .dynamo
            .update_item()
            .table_name("StateTable")
            .key("pk", s("limit#k"))
            .key("sk", s("limit"))
            .update_expression("ADD committed :e")
            .condition_expression("committed <= :room")
            .expression_attribute_values(":e", n(estimate))
            .expression_attribute_values(":room", n(100 - estimate))
            .return_values(ReturnValue::UpdatedNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
    };
    let admitted = admit(10).await.unwrap().attributes.unwrap();
    assert_eq!(admitted["committed"], n(100));
    match admit(10).await.unwrap_err().into_service_error() {
        UpdateItemError::ConditionalCheckFailedException(refused) => {
            assert_eq!(refused.item.unwrap()["committed"], n(100));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn transaction_is_atomic_and_reports_reasons() {
    let fixture = LocalAwsFixture::new().await;
    fixture.put("UsageTable", item([("pk", s("event#1")), ("sk", s("x"))])).await;
    let add = Update::builder()
        .table_name("UsageTable")
        .key("pk", s("rollup"))
        .key("sk", s("day"))
        .update_expression("ADD requests :one")
        .expression_attribute_values(":one", n(1));
    let add = TransactWriteItem::builder().update(add.build().unwrap()).build();
    let check = ConditionCheck::builder()
        .table_name("StateTable")
        .key("pk", s("lease#x"))
        .key("sk", s("lease"))
        .condition_expression("attribute_not_exists(pk)");
    let check = TransactWriteItem::builder().condition_check(check.build().unwrap()).build();
    let store = |event: &str| {
        let once = put("UsageTable", event, Some("attribute_not_exists(pk)"));
        let actions = vec![add.clone(), once, check.clone()];
        fixture.dynamo.transact_write_items().set_transact_items(Some(actions)).send()
    };
    let again = store("event#1").await.unwrap_err().into_service_error();
    let TransactWriteItemsError::TransactionCanceledException(cancelled) = again else {
        panic!("{again:?}")
    };
    let reasons = cancelled.cancellation_reasons();
    let codes: Vec<_> = reasons.iter().map(|reason| reason.code().unwrap()).collect();
    assert_eq!(codes, ["None", "ConditionalCheckFailed", "None"]);
    assert_eq!(reasons[1].item.as_ref().unwrap()["pk"], s("event#1"));
    assert_eq!(fixture.get("UsageTable", "rollup", "day").await, None);

    store("event#2").await.unwrap();
    assert_eq!(fixture.get("UsageTable", "rollup", "day").await.unwrap()["requests"], n(1));
}

#[tokio::test(start_paused = true)]
async fn expired_items_are_deleted_within_two_minutes() {
    let fixture = LocalAwsFixture::new().await;
    for (id, ttl) in [("old", n(1)), ("new", n(4_294_967_295))] {
        fixture.put("StateTable", item([("pk", s(id)), ("sk", s("x")), ("ttl", ttl)])).await;
    }
    tokio::time::sleep(std::time::Duration::from_mins(2)).await;
    assert_eq!(fixture.get("StateTable", "old", "x").await, None);
    assert!(fixture.get("StateTable", "new", "x").await.is_some());
}

#[tokio::test]
async fn invalid_requests_are_refused_like_aws() {
    let fixture = LocalAwsFixture::new().await;
    let unknown = fixture.dynamo.list_tables().send().await.unwrap_err().into_service_error();
    assert_eq!(unknown.meta().code(), Some("UnknownOperationException"));
    let missing =
        fixture.dynamo.get_item().table_name("NoTable").key("pk", s("a")).key("sk", s("b"));
    assert!(
        missing.send().await.unwrap_err().into_service_error().is_resource_not_found_exception()
    );
    let half_a_key =
        fixture.dynamo.get_item().table_name("StateTable").key("pk", s("a")).send().await;
    let refused = half_a_key.unwrap_err().into_service_error();
    assert_eq!(refused.meta().code(), Some("ValidationException"));
}
