//! Lambda's side of a queue: receives messages, passes them to a function as one event, and deletes
//! those that the function did not report as failed.
//!
//! Unlike Lambda it does not wait for a batch to fill up but takes the messages that are there, so
//! that a message is handled within milliseconds.

use std::{collections::HashSet, future::Future, pin::pin, time::Duration};

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use aws_sdk_sqs::{
    Client,
    error::DisplayErrorContext,
    types::{DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName},
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::queue::{self, QueueService};

/// The longest time of a drain.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_SECONDS: i32 = 20;
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(200);

/// A queue that feeds a function.
pub(crate) struct QueuePoller {
    pub(crate) client: Client,
    pub(crate) queue: &'static str,
    pub(crate) batch_size: usize,
    /// Used to end a long poll early at shutdown.
    pub(crate) queues: QueueService,
}

/// The data of a message that is needed after the function has taken it.
struct InFlightMessage {
    id: String,
    receipt: String,
}

impl QueuePoller {
    /// Feeds `handler` until `shutdown`, and then until the queue is empty or the time for that is
    /// over. If a handler panics or reports an unknown id, its whole batch has failed. Failed
    /// messages come again after the queue's visibility timeout.
    pub(crate) async fn consume<F, Fut>(&self, shutdown: CancellationToken, handler: F)
    where
        F: Fn(SqsEvent) -> Fut,
        Fut: Future<Output = SqsBatchResponse> + Send + 'static,
    {
        let too_late = async {
            shutdown.cancelled().await;
            sleep(DRAIN_TIMEOUT).await;
        };
        tokio::select! {
            () = self.feed(&shutdown, &handler) => {}
            () = too_late => {
                tracing::warn!(queue = self.queue, "stopped before the queue was empty; its messages are kept");
            }
        }
    }

    async fn feed<F, Fut>(&self, shutdown: &CancellationToken, handler: &F)
    where
        F: Fn(SqsEvent) -> Fut,
        Fut: Future<Output = SqsBatchResponse> + Send + 'static,
    {
        while !shutdown.is_cancelled() {
            let batch = self.receive_batch_until(shutdown).await;
            self.handle(batch, handler).await;
        }
        loop {
            let batch = self.receive_batch(0).await;
            if batch.is_empty() {
                return;
            }
            self.handle(batch, handler).await;
        }
    }

    /// Receives one batch. At shutdown it returns at once, possibly without messages. The receive
    /// is ended early but never dropped, because messages that a dropped one had taken would be
    /// hidden for minutes.
    async fn receive_batch_until(&self, shutdown: &CancellationToken) -> Vec<Message> {
        let mut batch = pin!(self.receive_batch(POLL_SECONDS));
        tokio::select! {
            batch = &mut batch => return batch,
            () = shutdown.cancelled() => {}
        }
        loop {
            self.queues.interrupt();
            tokio::select! {
                batch = &mut batch => return batch,
                // Repeated in case the poll began only after the interruption.
                () = sleep(Duration::from_millis(10)) => {}
            }
        }
    }

    /// Receives up to one batch: the first messages to arrive, and others that are there at that
    /// time.
    async fn receive_batch(&self, wait_seconds: i32) -> Vec<Message> {
        let mut messages = self.receive_messages(wait_seconds, self.batch_size).await;
        let mut is_full = messages.len() >= 10;
        while is_full && messages.len() < self.batch_size {
            let more = self.receive_messages(0, self.batch_size - messages.len()).await;
            is_full = more.len() >= 10;
            messages.extend(more);
        }
        messages
    }

    async fn receive_messages(&self, wait_seconds: i32, count: usize) -> Vec<Message> {
        let received = self
            .client
            .receive_message()
            .queue_url(queue::url(self.queue))
            .max_number_of_messages(i32::try_from(count.min(10)).unwrap_or(10))
            .wait_time_seconds(wait_seconds)
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .send()
            .await;
        match received {
            Ok(received) => received.messages.unwrap_or_default(),
            Err(cause) => {
                let cause = DisplayErrorContext(&cause);
                tracing::warn!(queue = self.queue, %cause, "cannot receive messages");
                sleep(PAUSE_AFTER_FAILURE).await;
                Vec::new()
            }
        }
    }

    async fn handle<F, Fut>(&self, messages: Vec<Message>, handler: &F)
    where
        F: Fn(SqsEvent) -> Fut,
        Fut: Future<Output = SqsBatchResponse> + Send + 'static,
    {
        if messages.is_empty() {
            return;
        }
        let delivered: Vec<_> = messages.iter().map(InFlightMessage::from_message).collect();
        let mut event = SqsEvent::default();
        event.records = messages.into_iter().map(|message| self.record(message)).collect();
        // A separate task, so that a panic ends the handler but not the consumer.
        let done = if let Ok(response) = tokio::spawn(handler(event)).await {
            successful_messages(delivered, &response)
        } else {
            // The panic hook has logged the place. The panic's message is left out because it can
            // quote the batch.
            tracing::error!(queue = self.queue, "the batch failed: its handler panicked");
            Vec::new()
        };
        for chunk in done.chunks(10) {
            self.delete_messages(chunk).await;
        }
    }

    fn record(&self, message: Message) -> SqsMessage {
        let mut record = SqsMessage::default();
        record.message_id = message.message_id;
        record.receipt_handle = message.receipt_handle;
        record.body = message.body;
        record.md5_of_body = message.md5_of_body;
        let attributes = message.attributes.into_iter().flatten();
        record.attributes = attributes.map(|(name, value)| (name.to_string(), value)).collect();
        record.event_source = Some("aws:sqs".to_owned());
        record.event_source_arn = Some(queue::queue_arn(self.queue));
        record.aws_region = Some("us-east-1".to_owned());
        record
    }

    async fn delete_messages(&self, done: &[InFlightMessage]) {
        let entries = done.iter().enumerate().filter_map(|(index, delivery)| {
            DeleteMessageBatchRequestEntry::builder()
                .id(index.to_string())
                .receipt_handle(&delivery.receipt)
                .build()
                .ok()
        });
        let deleted = self
            .client
            .delete_message_batch()
            .queue_url(queue::url(self.queue))
            .set_entries(Some(entries.collect()))
            .send()
            .await;
        if let Err(cause) = deleted {
            let cause = DisplayErrorContext(&cause);
            tracing::warn!(queue = self.queue, %cause, "cannot delete handled messages, they will be delivered again");
        }
    }
}

impl InFlightMessage {
    fn from_message(message: &Message) -> Self {
        Self {
            id: message.message_id.clone().unwrap_or_default(),
            receipt: message.receipt_handle.clone().unwrap_or_default(),
        }
    }
}

/// The messages that were not reported as failed; none if an unknown id was reported, as in Lambda.
fn successful_messages(
    delivered: Vec<InFlightMessage>,
    response: &SqsBatchResponse,
) -> Vec<InFlightMessage> {
    let failed: HashSet<_> =
        response.batch_item_failures.iter().map(|failure| &failure.item_identifier).collect();
    let (failed_here, done): (Vec<_>, Vec<_>) =
        delivered.into_iter().partition(|delivery| failed.contains(&delivery.id));
    if failed_here.len() < failed.len() { Vec::new() } else { done }
}
