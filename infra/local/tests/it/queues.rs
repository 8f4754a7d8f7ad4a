//! The template's queues: order, visibility, dead letters, long polls, limits.

use std::time::Duration;

use aws_sdk_sqs::{
    operation::receive_message::ReceiveMessageError,
    types::{
        DeleteMessageBatchRequestEntry, Message, SendMessageBatchRequestEntry,
        SendMessageBatchResultEntry,
    },
};

use crate::fixture::{LocalAwsFixture, bodies};

const VISIBILITY_SECONDS: i64 = 360;

fn entry(id: &str, body: &str) -> SendMessageBatchRequestEntry {
    SendMessageBatchRequestEntry::builder().id(id).message_body(body).build().unwrap()
}

async fn delete(fixture: &LocalAwsFixture, message: &Message) {
    let handle = message.receipt_handle().unwrap();
    let request = fixture.sqs.delete_message().queue_url(fixture.queue()).receipt_handle(handle);
    request.send().await.unwrap();
}

#[tokio::test]
async fn received_message_is_hidden_until_its_timeout() {
    let fixture = LocalAwsFixture::new().await;
    fixture.send("one").await;
    fixture.send("two").await;
    let queue = fixture.queue();
    let first = fixture.receive(&queue).await;
    assert_eq!(bodies(&first), ["one", "two"]);
    assert!(fixture.receive(&queue).await.is_empty());
    assert_eq!(fixture.attribute(&queue, "ApproximateNumberOfMessagesNotVisible").await, "2");
    delete(&fixture, &first[0]).await;

    fixture.pass_seconds(VISIBILITY_SECONDS - 1);
    assert!(fixture.receive(&queue).await.is_empty());
    fixture.pass_seconds(1);
    let again = fixture.receive(&queue).await;
    assert_eq!(bodies(&again), ["two"]);
    let count = &again[0].attributes.as_ref().unwrap()[&"ApproximateReceiveCount".into()];
    assert_eq!(count, "2");

    delete(&fixture, &first[1]).await;
    fixture.pass_seconds(VISIBILITY_SECONDS);
    let third = fixture.receive(&queue).await;
    assert_eq!(bodies(&third), ["two"], "a receipt out of date deletes nothing");
    delete(&fixture, &third[0]).await;
    fixture.pass_seconds(VISIBILITY_SECONDS);
    assert!(fixture.receive(&queue).await.is_empty());
}

#[tokio::test]
async fn message_becomes_dead_letter_after_five_failures() {
    let fixture = LocalAwsFixture::new().await;
    fixture.send("poison").await;
    let (queue, dead_letters) = (fixture.queue(), fixture.dead_letters());
    for round in 1..=5 {
        assert_eq!(bodies(&fixture.receive(&queue).await), ["poison"], "round {round}");
        fixture.pass_seconds(VISIBILITY_SECONDS);
    }
    assert!(fixture.receive(&queue).await.is_empty());
    assert_eq!(fixture.attribute(&dead_letters, "ApproximateNumberOfMessages").await, "1");
    assert_eq!(bodies(&fixture.receive(&dead_letters).await), ["poison"]);
}

#[tokio::test]
async fn long_poll_returns_when_a_message_arrives() {
    let fixture = LocalAwsFixture::new().await;
    let poll = fixture.sqs.receive_message().queue_url(fixture.queue()).wait_time_seconds(20);
    let poll = tokio::spawn(poll.send());
    tokio::task::yield_now().await;
    fixture.send("news").await;
    // Without the wake-up it would take 20 s; the limit of 10 s is for busy machines.
    let received = tokio::time::timeout(Duration::from_secs(10), poll).await.unwrap();
    assert_eq!(bodies(received.unwrap().unwrap().messages()), ["news"]);
}

#[tokio::test(start_paused = true)]
async fn long_poll_times_out_empty() {
    let fixture = LocalAwsFixture::new().await;
    let start = tokio::time::Instant::now();
    let poll = fixture.sqs.receive_message().queue_url(fixture.queue()).wait_time_seconds(20);
    assert!(poll.send().await.unwrap().messages().is_empty());
    let waited = start.elapsed();
    assert!((Duration::from_secs(20)..Duration::from_secs(21)).contains(&waited), "{waited:?}");
}

#[tokio::test]
async fn batch_answer_reports_each_entry() {
    let fixture = LocalAwsFixture::new().await;
    let queue = fixture.queue();
    let batch = |entries| {
        fixture.sqs.send_message_batch().queue_url(&queue).set_entries(Some(entries)).send()
    };
    let sent = batch(vec![entry("a", "good"), entry("b", "bad \u{1}"), entry("c", "fine")]).await;
    let sent = sent.unwrap();
    let ids: Vec<_> = sent.successful().iter().map(SendMessageBatchResultEntry::id).collect();
    assert_eq!(ids, ["a", "c"]);
    assert_eq!(sent.failed()[0].code(), "InvalidMessageContents");

    let too_many = (0..11).map(|id| entry(&id.to_string(), "x")).collect();
    let refused = batch(too_many).await.unwrap_err().into_service_error();
    assert!(refused.is_too_many_entries_in_batch_request());
    let refused = batch(vec![entry("a", "x"), entry("a", "y")]).await.unwrap_err();
    assert!(refused.into_service_error().is_batch_entry_ids_not_distinct());

    let received = fixture.receive(&queue).await;
    assert_eq!(bodies(&received), ["good", "fine"]);
    let entries = received.iter().enumerate().map(|(id, message)| {
        let entry = DeleteMessageBatchRequestEntry::builder().id(id.to_string());
        entry.set_receipt_handle(message.receipt_handle.clone()).build().unwrap()
    });
    let delete = fixture.sqs.delete_message_batch().queue_url(&queue);
    let deleted = delete.set_entries(Some(entries.collect())).send().await.unwrap();
    assert_eq!((deleted.successful().len(), deleted.failed().len()), (2, 0));
    fixture.pass_seconds(VISIBILITY_SECONDS);
    assert!(fixture.receive(&queue).await.is_empty());
}

#[tokio::test]
async fn messages_have_the_checksum_of_their_body() {
    let fixture = LocalAwsFixture::new().await;
    fixture.send("hello").await;
    let received = fixture.receive(&fixture.queue()).await;
    assert_eq!(received[0].md5_of_body(), Some("5d41402abc4b2a76b9719d911017c592"));
}

#[tokio::test]
async fn limits_and_unknown_queues_are_refused() {
    let fixture = LocalAwsFixture::new().await;
    let nowhere =
        fixture.sqs.receive_message().queue_url("http://127.0.0.1/0/NoQueue").send().await;
    let refused = nowhere.unwrap_err().into_service_error();
    assert!(matches!(refused, ReceiveMessageError::QueueDoesNotExist(_)), "{refused:?}");

    let receive = || fixture.sqs.receive_message().queue_url(fixture.queue());
    assert!(receive().max_number_of_messages(11).send().await.is_err());
    assert!(receive().wait_time_seconds(21).send().await.is_err());
    let large = fixture.sqs.send_message().queue_url(fixture.queue());
    assert!(large.message_body("x".repeat(1_048_577)).send().await.is_err());
    let handle = fixture.sqs.delete_message().queue_url(fixture.queue()).receipt_handle("nonsense");
    assert!(handle.send().await.unwrap_err().into_service_error().is_receipt_handle_is_invalid());
}

#[tokio::test]
async fn unsupported_operations_are_refused() {
    let fixture = LocalAwsFixture::new().await;
    let made = fixture.sqs.create_queue().queue_name("other").send().await.unwrap_err();
    assert_eq!(made.into_service_error().meta().code(), Some("UnknownOperationException"));
    let purged = fixture.sqs.purge_queue().queue_url(fixture.queue()).send().await.unwrap_err();
    assert_eq!(purged.into_service_error().meta().code(), Some("UnknownOperationException"));
    let later = fixture.sqs.send_message().queue_url(fixture.queue()).message_body("x");
    let later = later.delay_seconds(5).send().await.unwrap_err().into_service_error();
    let why = later.meta().message().unwrap();
    assert!(why.starts_with("unknown field `DelaySeconds`"), "{why}");
}
