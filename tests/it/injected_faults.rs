//! The failures that tests inject are to the AWS clients what AWS itself would answer.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use baton_local::LocalAws;
use baton_runtime::{aws::AwsClients, usage_queue::UsageQueue};
use baton_test_harness::injected_faults::{InjectedFault, WithFaults as _};

/// Stores of which the first `count` requests of `operation` fail.
async fn failing(count: u32, operation: &'static str, fault: InjectedFault) -> LocalAws {
    let seen = AtomicU32::new(0);
    LocalAws::open(None).await.expect("stores").with_faults(move |target, _| {
        let is_meant = target.ends_with(operation);
        (is_meant && seen.fetch_add(1, Ordering::SeqCst) < count).then(|| fault.clone())
    })
}

fn queue(local: &LocalAws) -> UsageQueue {
    let url = local.resources().usage_queue_url;
    UsageQueue::new(&AwsClients::new(&local.sdk_config()), &url)
}

#[tokio::test]
async fn throttling_and_lost_connections_are_retried_by_the_client() {
    for fault in
        [InjectedFault::throttled(), InjectedFault::connection_lost(), InjectedFault::internal()]
    {
        let queue = queue(&failing(2, ".SendMessage", fault).await);
        queue.send_raw("x".to_owned()).await.expect("sent at the third try");
        assert_eq!(queue.count_messages().await.expect("a count"), 1);
    }
    let queue = queue(&failing(u32::MAX, ".SendMessage", InjectedFault::throttled()).await);
    let refused = queue.send_raw("x".to_owned()).await.expect_err("it fails each time");
    assert!(format!("{refused:?}").contains("ThrottlingException"), "{refused:?}");
    assert_eq!(queue.count_messages().await.expect("a count"), 0);
}

#[tokio::test]
async fn answer_can_be_lost_after_the_operation() {
    let fault = InjectedFault::connection_lost().after();
    let queue = queue(&failing(u32::MAX, ".SendMessage", fault).await);
    queue.send_raw("x".to_owned()).await.expect_err("no answer arrives");
    assert_eq!(queue.count_messages().await.expect("a count"), 3, "one of each attempt");
}

#[tokio::test]
async fn faults_are_added_to_earlier_ones() {
    let seen = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&seen);
    let local = failing(1, ".SendMessage", InjectedFault::internal()).await;
    let queue = queue(&local.with_faults(move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        None
    }));
    queue.send_raw("x".to_owned()).await.expect("sent at the second try");
    assert_eq!(seen.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn conflict_errors_match_aws() {
    let fault = InjectedFault::cancelled(&["None", "TransactionConflict"]);
    let local = failing(1, ".TransactWriteItems", fault).await;
    let aws = AwsClients::new(&local.sdk_config());
    let refused = aws.dynamodb.transact_write_items().send().await.expect_err("cancelled");
    let refused = refused.into_service_error();
    assert!(refused.is_transaction_canceled_exception(), "{refused:?}");
    assert!(format!("{refused:?}").contains("code: Some(\"TransactionConflict\")"), "{refused:?}");

    let local = failing(1, ".PutItem", InjectedFault::conflict()).await;
    let aws = AwsClients::new(&local.sdk_config());
    let refused = aws.dynamodb.put_item().table_name("StateTable").send().await;
    let refused = refused.expect_err("a conflict").into_service_error();
    assert!(refused.is_transaction_conflict_exception(), "{refused:?}");
}
