//! The event source: messages are handled at once, failed ones stay, and a drain empties the queue.

use std::{future::ready, time::Duration};

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::fixture::LocalAwsFixture;

/// A generous limit for busy machines; the awaited events take milliseconds.
const SOON: Duration = Duration::from_secs(10);

fn bodies(event: &SqsEvent) -> Vec<String> {
    event.records.iter().map(|record| record.body.clone().unwrap()).collect()
}

/// Starts a consumer whose handler answers `response` and reports what it received.
fn consumer(
    fixture: &LocalAwsFixture,
    shutdown: &CancellationToken,
    response: impl Fn(&SqsEvent) -> SqsBatchResponse + Send + Sync + 'static,
) -> (JoinHandle<()>, mpsc::UnboundedReceiver<Vec<String>>) {
    let (tell, told) = mpsc::unbounded_channel();
    let (local, shutdown) = (fixture.local.clone(), shutdown.clone());
    let running = tokio::spawn(async move {
        let handler = |event: SqsEvent| {
            let _ = tell.send(bodies(&event));
            ready(response(&event))
        };
        local.consume_usage(shutdown, handler).await;
    });
    (running, told)
}

#[tokio::test]
async fn message_is_handled_once_and_deleted() {
    let fixture = LocalAwsFixture::new().await;
    let shutdown = CancellationToken::new();
    let (running, mut told) = consumer(&fixture, &shutdown, |_| SqsBatchResponse::default());
    for body in ["one", "two"] {
        fixture.send(body).await;
        assert_eq!(timeout(SOON, told.recv()).await.unwrap().unwrap(), [body]);
    }
    shutdown.cancel();
    timeout(SOON, running).await.unwrap().unwrap();
    fixture.pass_seconds(3600);
    assert!(fixture.receive(&fixture.queue()).await.is_empty());
}

#[tokio::test]
async fn only_failed_messages_are_redelivered() {
    let fixture = LocalAwsFixture::new().await;
    for body in ["good", "bad", "fine"] {
        fixture.send(body).await;
    }
    let shutdown = CancellationToken::new();
    let (running, mut told) = consumer(&fixture, &shutdown, |event| {
        let mut response = SqsBatchResponse::default();
        let bad = event.records.iter().filter(|record| record.body.as_deref() == Some("bad"));
        bad.for_each(|record| response.add_failure(record.message_id.clone().unwrap()));
        response
    });
    assert_eq!(timeout(SOON, told.recv()).await.unwrap().unwrap(), ["good", "bad", "fine"]);
    shutdown.cancel();
    timeout(SOON, running).await.unwrap().unwrap();
    fixture.pass_seconds(3600);
    let left = fixture.receive(&fixture.queue()).await;
    assert_eq!(crate::fixture::bodies(&left), ["bad"]);
}

#[tokio::test]
async fn panic_or_unknown_id_fails_the_whole_batch() {
    for is_panic in [true, false] {
        let fixture = LocalAwsFixture::new().await;
        fixture.send("one").await;
        fixture.send("two").await;
        let shutdown = CancellationToken::new();
        let (tell, mut told) = mpsc::unbounded_channel();
        let handler = move |event: SqsEvent| {
            let _ = tell.send(event.records.len());
            async move {
                assert!(!is_panic, "as the test wants it");
                let mut response = SqsBatchResponse::default();
                response.add_failure("unknown");
                response
            }
        };
        let local = fixture.local.clone();
        let running = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { local.consume_usage(shutdown, handler).await }
        });
        assert_eq!(timeout(SOON, told.recv()).await.unwrap(), Some(2));
        shutdown.cancel();
        timeout(SOON, running).await.unwrap().unwrap();
        fixture.pass_seconds(3600);
        assert_eq!(fixture.receive(&fixture.queue()).await.len(), 2);
    }
}

#[tokio::test]
async fn drain_handles_all_messages_in_large_batches() {
    let fixture = LocalAwsFixture::new().await;
    for number in 0..250 {
        fixture.send(&number.to_string()).await;
    }
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    let (running, mut told) = consumer(&fixture, &shutdown, |_| SqsBatchResponse::default());
    timeout(SOON, running).await.unwrap().unwrap();
    let mut sizes = Vec::new();
    let mut all = Vec::new();
    while let Ok(batch) = told.try_recv() {
        sizes.push(batch.len());
        all.extend(batch);
    }
    assert_eq!(sizes, [100, 100, 50], "the template's batch size");
    assert_eq!(all, (0..250).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn schedule_runs_each_minute() {
    let fixture = LocalAwsFixture::new().await;
    let shutdown = CancellationToken::new();
    let (tell, mut told) = mpsc::unbounded_channel();
    let running = tokio::spawn({
        let (local, shutdown) = (fixture.local.clone(), shutdown.clone());
        let tick = move || {
            let _ = tell.send(tokio::time::Instant::now());
            ready(())
        };
        async move { local.run_schedule(shutdown, tick).await }
    });
    let (first, second) = (told.recv().await.unwrap(), told.recv().await.unwrap());
    assert_eq!(second - first, Duration::from_mins(1));
    shutdown.cancel();
    running.await.unwrap();
}
