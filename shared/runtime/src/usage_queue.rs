//! The usage queue: a record goes there when its request has ended.
//!
//! Each sender waits until its own record is stored. Records that arrive during a call go together
//! in the next call. A second call runs in parallel once they fill one or have waited for long. So
//! a busy process makes fewer calls, an idle one does not wait, and a call that hangs does not
//! delay other records.

use crate::aws::AwsClients;
use aws_sdk_sqs::error::{DisplayErrorContext, SdkError};
use aws_sdk_sqs::operation::get_queue_attributes::GetQueueAttributesError;
use aws_sdk_sqs::types::{QueueAttributeName, SendMessageBatchRequestEntry};
use baton_domain::record::UsageRecord;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot::{self, error::RecvError};

/// The most messages that SQS takes in one call (quotas page of the SQS guide, 2026-08).
const BATCH_MAX: usize = 10;
/// The most bytes of message bodies in one call. SQS takes 1 MiB in total, for one message or ten
/// (same page); the rest is for what is not body.
const BATCH_BYTES_MAX: usize = 1_000_000;
/// How long a record waits for the current call to end.
const BATCH_WAIT: Duration = Duration::from_millis(20);

/// Sends usage records to stats. Clones share the calls.
#[derive(Clone)]
pub struct UsageQueue {
    sqs: aws_sdk_sqs::Client,
    url: Arc<str>,
    line: Arc<Mutex<SendQueue>>,
}

/// Records that wait to be sent.
#[derive(Default)]
struct SendQueue {
    queued: Vec<QueuedRecord>,
    /// The number of open calls.
    calls: usize,
    /// The number of those that have not taken a batch yet.
    log_prefix: usize,
}

struct QueuedRecord {
    body: String,
    result_sender: oneshot::Sender<Result<(), QueueError>>,
}

/// The queue did not accept the record, and the retries of the SDK are used up.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the usage queue did not accept the record: {0}")]
pub struct QueueError(pub(crate) String);

/// Counts an open call, and ends the call if it panics. Otherwise nothing would be sent any more
/// after a few panics. Senders that wait for that call get an error.
struct SendSlot<'a>(&'a UsageQueue);

impl Drop for SendSlot<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            while self.0.lock_queue().take_next_batch().is_some() {}
        }
    }
}

impl UsageQueue {
    /// Creates a client for the queue at `url`. No I/O.
    pub fn new(aws: &AwsClients, url: &str) -> Self {
        Self { sqs: aws.sqs.clone(), url: url.into(), line: Arc::default() }
    }

    /// Sends one record, and returns when the queue has stored it.
    pub async fn send(&self, record: &UsageRecord) -> Result<(), QueueError> {
        let body = serde_json::to_string(record).map_err(|error| QueueError(error.to_string()))?;
        self.send_raw(body).await
    }

    /// The approximate number of messages in the queue, including those that stats is storing.
    pub async fn count_messages(&self) -> Result<u64, QueueError> {
        depth(&self.sqs, &self.url).await.map_err(|error| QueueError::from_sdk_error(&error))
    }

    /// Sends a message as it is. Dropping the future does not cancel the message.
    pub async fn send_raw(&self, body: String) -> Result<(), QueueError> {
        let (result_sender, mut receiver) = oneshot::channel();
        if self.lock_queue().add_record(QueuedRecord { body, result_sender }) {
            self.spawn_call();
        } else if let Ok(receiver) = tokio::time::timeout(BATCH_WAIT, &mut receiver).await {
            return flatten_result(receiver);
        } else if self.lock_queue().should_begin_late_call() {
            self.spawn_call();
        }
        flatten_result(receiver.await)
    }

    /// Starts a call in a separate task, because it carries the records of other senders and must
    /// not end with this one.
    fn spawn_call(&self) {
        tokio::spawn(self.clone().send_batches());
    }

    fn lock_queue(&self) -> std::sync::MutexGuard<'_, SendQueue> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a batch, then the records that have arrived in the meantime.
    async fn send_batches(self) {
        // Lets senders that are about to add a record join this batch.
        tokio::task::yield_now().await;
        let _place = SendSlot(&self);
        let mut next = self.lock_queue().take_first_batch();
        while let Some(batch) = next {
            self.send_batch(batch).await;
            next = self.lock_queue().take_next_batch();
        }
    }

    async fn send_batch(&self, mut batch: Vec<QueuedRecord>) {
        if batch.len() > 1 {
            return self.send_several(batch).await;
        }
        let Some(queued) = batch.pop() else { return };
        let result =
            self.sqs.send_message().queue_url(&*self.url).message_body(queued.body).send().await;
        let sent = result.map(drop).map_err(|error| QueueError::from_sdk_error(&error));
        let _gone = queued.result_sender.send(sent);
    }

    async fn send_several(&self, batch: Vec<QueuedRecord>) {
        let (bodies, waiting): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|queued| (queued.body, queued.result_sender)).unzip();
        let entries = bodies.into_iter().enumerate().map(|(index, body)| {
            let entry = SendMessageBatchRequestEntry::builder().id(index.to_string());
            entry.message_body(body).build()
        });
        let sent = match entries.collect::<Result<Vec<_>, _>>() {
            Ok(entries) => {
                let call = self.sqs.send_message_batch().queue_url(&*self.url);
                let response = call.set_entries(Some(entries)).send().await;
                response.map_err(|error| QueueError::from_sdk_error(&error))
            }
            Err(error) => Err(QueueError(error.to_string())),
        };
        for (index, done) in waiting.into_iter().enumerate() {
            let outcome = match &sent {
                Err(error) => Err(error.clone()),
                // A record counts as stored only if the answer lists it.
                Ok(response) if response.successful().iter().any(|one| is(one.id(), index)) => {
                    Ok(())
                }
                Ok(response) => {
                    let entry = response.failed().iter().find(|one| is(one.id(), index));
                    let why = entry.and_then(|one| one.message()).unwrap_or("no reason was given");
                    Err(QueueError(why.to_owned()))
                }
            };
            let _gone = done.send(outcome);
        }
    }
}

/// The approximate number of messages in the queue at `url`.
pub(crate) async fn depth(
    sqs: &aws_sdk_sqs::Client,
    url: &str,
) -> Result<u64, SdkError<GetQueueAttributesError>> {
    let attribute_names = [
        QueueAttributeName::ApproximateNumberOfMessages,
        QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
    ];
    let request = sqs.get_queue_attributes().queue_url(url);
    let response = request.set_attribute_names(Some(attribute_names.to_vec())).send().await?;
    let found = response.attributes.unwrap_or_default();
    Ok(attribute_names.iter().filter_map(|name| found.get(name)?.parse::<u64>().ok()).sum())
}

/// The result of a call.
fn flatten_result(received: Result<Result<(), QueueError>, RecvError>) -> Result<(), QueueError> {
    received.unwrap_or_else(|_| Err(QueueError("the process is shutting down".to_owned())))
}

/// Whether an entry's id is that of the message at this place of its batch.
fn is(id: &str, index: usize) -> bool {
    id.parse() == Ok(index)
}

impl QueueError {
    fn from_sdk_error(error: &impl std::error::Error) -> Self {
        Self(DisplayErrorContext(error).to_string())
    }
}

impl SendQueue {
    /// Adds a record to the queue. Returns whether another call has to start.
    fn add_record(&mut self, queued: QueuedRecord) -> bool {
        self.queued.push(queued);
        let now = self.calls == 0 || self.queued.len() >= BATCH_MAX * (self.log_prefix + 1);
        now && self.count_new_call()
    }

    /// Called by a sender that has waited too long. Returns whether another call has to start.
    fn should_begin_late_call(&mut self) -> bool {
        let now = !self.queued.is_empty() && self.log_prefix == 0;
        now && self.count_new_call()
    }

    fn count_new_call(&mut self) -> bool {
        self.calls += 1;
        self.log_prefix += 1;
        true
    }

    /// The first batch of a call. Without one, the call ends.
    fn take_first_batch(&mut self) -> Option<Vec<QueuedRecord>> {
        self.log_prefix -= 1;
        let batch = self.take();
        self.calls -= usize::from(batch.is_none());
        batch
    }

    /// The next batch of a call. Without one, the call ends. If several calls are open, an
    /// incomplete batch is left to the last of them.
    fn take_next_batch(&mut self) -> Option<Vec<QueuedRecord>> {
        let now = self.calls == 1 || self.queued.len() >= BATCH_MAX;
        let batch = if now { self.take() } else { None };
        self.calls -= usize::from(batch.is_none());
        batch
    }

    /// As many records as fit into one call, longest waiting first.
    fn take(&mut self) -> Option<Vec<QueuedRecord>> {
        let mut bytes = 0;
        let fits = |queued: &&QueuedRecord| {
            bytes += queued.body.len();
            bytes <= BATCH_BYTES_MAX
        };
        let count = self.queued.iter().take(BATCH_MAX).take_while(fits).count();
        // A record that is too large for any call is sent anyway, so that SQS reports the reason.
        let count = count.max(1).min(self.queued.len());
        (count > 0).then(|| self.queued.drain(..count).collect())
    }
}
