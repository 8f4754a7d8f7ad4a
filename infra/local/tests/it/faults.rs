//! Failures that tests inject.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use aws_sdk_dynamodb::types::{Put, TransactWriteItem};
use baton_local::InjectedFault;

use crate::fixture::{LocalAwsFixture, item, s};

/// A house in which the first `count` requests of `operation` fail.
async fn failing(count: u32, operation: &'static str, fault: InjectedFault) -> LocalAwsFixture {
    let seen = Arc::new(AtomicU32::new(0));
    let fixture = LocalAwsFixture::new().await;
    fixture.with(|local| {
        local.with_faults(move |target, _| {
            let is_meant = target.ends_with(operation);
            (is_meant && seen.fetch_add(1, Ordering::SeqCst) < count).then(|| fault.clone())
        })
    })
}

#[tokio::test]
async fn throttling_and_lost_connections_are_retried_by_the_client() {
    for fault in
        [InjectedFault::throttled(), InjectedFault::connection_lost(), InjectedFault::internal()]
    {
        let fixture = failing(2, ".PutItem", fault).await;
        fixture.put("StateTable", item([("pk", s("a")), ("sk", s("b"))])).await;
        assert!(fixture.get("StateTable", "a", "b").await.is_some());
    }
    let fixture = failing(u32::MAX, ".PutItem", InjectedFault::throttled()).await;
    let put = fixture.dynamo.put_item().table_name("StateTable");
    let put = put.item("pk", s("a")).item("sk", s("b")).send().await;
    let refused = put.unwrap_err().into_service_error();
    assert_eq!(refused.meta().code(), Some("ThrottlingException"));
    assert_eq!(fixture.get("StateTable", "a", "b").await, None);
}

#[tokio::test]
async fn an_answer_can_be_lost_after_the_deed() {
    let fixture = failing(u32::MAX, ".SendMessage", InjectedFault::connection_lost().after()).await;
    let sent = fixture.sqs.send_message().queue_url(fixture.queue()).message_body("x").send().await;
    assert!(matches!(sent.unwrap_err(), aws_sdk_sqs::error::SdkError::DispatchFailure(_)));
    assert_eq!(fixture.receive(&fixture.queue()).await.len(), 3, "one of each attempt");
}

#[tokio::test]
async fn conflict_errors_match_aws() {
    let fixture =
        failing(1, ".TransactWriteItems", InjectedFault::cancelled(&["TransactionConflict"])).await;
    let put = Put::builder().table_name("StateTable").item("pk", s("a")).item("sk", s("b"));
    let action = TransactWriteItem::builder().put(put.build().unwrap()).build();
    let write = || fixture.dynamo.transact_write_items().transact_items(action.clone()).send();
    let refused = write().await.unwrap_err().into_service_error();
    let aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError::TransactionCanceledException(
        cancelled,
    ) = refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!(cancelled.cancellation_reasons()[0].code(), Some("TransactionConflict"));
    write().await.unwrap();

    let fixture = failing(1, ".PutItem", InjectedFault::conflict()).await;
    let put = fixture.dynamo.put_item().table_name("StateTable");
    let put = put.item("pk", s("a")).item("sk", s("b")).send().await;
    assert!(put.unwrap_err().into_service_error().is_transaction_conflict_exception());
}
