//! Records that are sent at the same time share calls, and each sender gets its own result.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use baton_local::LocalAws;
use baton_runtime::{aws::AwsClients, usage_queue::UsageQueue};
use baton_test_harness::injected_faults::{InjectedFault, WithFaults as _};
use serde_json::json;
use tokio::task::JoinSet;

/// A queue that counts its calls and answers batches with `fault` if there is one.
async fn queue(fault: Option<InjectedFault>) -> (UsageQueue, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let local = LocalAws::open(None).await.expect("stores").with_faults(move |target, _| {
        let is_batch = target.ends_with(".SendMessageBatch");
        counted.fetch_add(usize::from(target.contains(".SendMessage")), Ordering::SeqCst);
        fault.clone().filter(|_| is_batch)
    });
    let aws = AwsClients::new(&local.sdk_config());
    (UsageQueue::new(&aws, &local.resources().usage_queue_url), calls)
}

/// Sends `count` records at once. Returns how many sends failed.
async fn send(queue: &UsageQueue, count: usize) -> usize {
    let mut senders = JoinSet::new();
    for number in 0..count {
        let queue = queue.clone();
        senders.spawn(async move { queue.send_raw(format!("record {number}")).await });
    }
    senders.join_all().await.iter().filter(|sent| sent.is_err()).count()
}

#[tokio::test]
async fn a_hundred_at_once_take_few_calls_and_all_arrive() {
    let (queue, calls) = queue(None).await;
    assert_eq!(send(&queue, 100).await, 0);
    assert_eq!(queue.count_messages().await.expect("a count"), 100);
    let calls = calls.load(Ordering::SeqCst);
    assert!(calls <= 15, "{calls} calls");
}

#[tokio::test]
async fn sequential_records_are_sent_immediately() {
    let (queue, calls) = queue(None).await;
    for number in 1..=3 {
        assert_eq!(send(&queue, 1).await, 0);
        assert_eq!(calls.load(Ordering::SeqCst), number);
    }
}

#[tokio::test]
async fn hanging_call_does_not_delay_other_records() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let local = LocalAws::open(None).await.expect("stores").with_faults(move |target, _| {
        let is_send = target.contains(".SendMessage");
        let before = counted.fetch_add(usize::from(is_send), Ordering::SeqCst);
        (is_send && before == 0).then(InjectedFault::no_answer)
    });
    let aws = AwsClients::new(&local.sdk_config());
    let queue = UsageQueue::new(&aws, &local.resources().usage_queue_url);
    let hangs = tokio::spawn({
        let queue = queue.clone();
        async move { queue.send_raw("record 0".to_owned()).await }
    });
    while calls.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(send(&queue, 3).await, 0);
    assert_eq!(calls.load(Ordering::SeqCst), 2, "one call for those who waited");
    hangs.abort();
}

#[tokio::test]
async fn records_missing_from_a_batch_answer_count_as_failed() {
    let stored = json!({ "Id": "0", "MessageId": "m", "MD5OfMessageBody": "" });
    let refused = json!({ "Id": "1", "Code": "InternalError", "SenderFault": false });
    let answer = json!({ "Successful": [stored], "Failed": [refused] });
    let (queue, calls) = queue(Some(InjectedFault::error_answer(200, &answer))).await;
    let failed = send(&queue, 32).await;
    let calls = calls.load(Ordering::SeqCst);
    // Each call stored exactly one record, alone or as the first of its batch.
    assert_eq!(32 - failed, calls, "{failed} failed");
}
