//! The usage queue: where a record goes when its request is over.
//!
//! Each sender waits until its own record is stored. Records that come up while a call is under way
//! go together in the next one, or in one beside it once they fill it or have waited for long: a
//! busy process makes fewer calls, an idle one waits for nobody, and a call that hangs holds up no
//! other.

use crate::aws::AwsClients;
use aws_sdk_sqs::error::{DisplayErrorContext, SdkError};
use aws_sdk_sqs::operation::get_queue_attributes::GetQueueAttributesError;
use aws_sdk_sqs::types::{QueueAttributeName, SendMessageBatchRequestEntry};
use baton_domain::record::UsageRecord;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot::{self, error::RecvError};

/// SQS takes this many messages in one call. Quotas page of the SQS guide, 2026-08.
const BATCH_MAX: usize = 10;
/// SQS takes this many bytes in one call, of one message or ten: 1 MiB, of the same page, less
/// what is not body.
const BATCH_BYTES_MAX: usize = 1_000_000;
/// How long a record waits for the end of a call under way.
const PATIENCE: Duration = Duration::from_millis(20);

/// Sends usage records to the stats consumer. Cloning shares the calls.
#[derive(Clone)]
pub struct UsageQueue {
    sqs: aws_sdk_sqs::Client,
    url: Arc<str>,
    line: Arc<Mutex<SendQueue>>,
}

/// Who waits to be sent.
#[derive(Default)]
struct SendQueue {
    waiting: Vec<QueuedRecord>,
    /// Calls under way.
    calls: usize,
    /// Those of them that have not taken anything yet.
    beginning: usize,
}

struct QueuedRecord {
    body: String,
    done: oneshot::Sender<Result<(), QueueError>>,
}

/// The queue did not take the record; the SDK's own retries are used up.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the usage queue did not take the record: {0}")]
pub struct QueueError(pub(crate) String);

/// A call's place among those under way. A panic gives it back, or nothing would be sent any more
/// after a few of them; who waits for that call is told that it failed.
struct SendSlot<'a>(&'a UsageQueue);

impl Drop for SendSlot<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            while self.0.lock_queue().take_next_batch().is_some() {}
        }
    }
}

impl UsageQueue {
    /// The queue at `url`.
    pub fn new(aws: &AwsClients, url: &str) -> Self {
        Self { sqs: aws.sqs.clone(), url: url.into(), line: Arc::default() }
    }

    /// Sends one record; returns when the queue has stored it.
    pub async fn send(&self, record: &UsageRecord) -> Result<(), QueueError> {
        let body = serde_json::to_string(record).map_err(|error| QueueError(error.to_string()))?;
        self.send_raw(body).await
    }

    /// About how many messages are in it, those being stored included.
    pub async fn count_messages(&self) -> Result<u64, QueueError> {
        depth(&self.sqs, &self.url).await.map_err(|error| QueueError::from_sdk_error(&error))
    }

    /// Sends a message as it is. Dropping the future does not take the message back.
    pub async fn send_raw(&self, body: String) -> Result<(), QueueError> {
        let (done, mut told) = oneshot::channel();
        if self.lock_queue().add_record(QueuedRecord { body, done }) {
            self.spawn_call();
        } else if let Ok(told) = tokio::time::timeout(PATIENCE, &mut told).await {
            return flatten_result(told);
        } else if self.lock_queue().should_begin_late_call() {
            self.spawn_call();
        }
        flatten_result(told.await)
    }

    /// A call in a task of its own: it carries the records of others, and must not end with ours.
    fn spawn_call(&self) {
        tokio::spawn(self.clone().send_batches());
    }

    fn lock_queue(&self) -> std::sync::MutexGuard<'_, SendQueue> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a batch, then whatever has come up meanwhile.
    async fn send_batches(self) {
        // Who is about to send in this very turn comes along.
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
        let Some(one) = batch.pop() else { return };
        let sent =
            self.sqs.send_message().queue_url(&*self.url).message_body(one.body).send().await;
        let sent = sent.map(drop).map_err(|error| QueueError::from_sdk_error(&error));
        let _gone = one.done.send(sent);
    }

    async fn send_several(&self, batch: Vec<QueuedRecord>) {
        let (bodies, waiting): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|one| (one.body, one.done)).unzip();
        let entries = bodies.into_iter().enumerate().map(|(at, body)| {
            let entry = SendMessageBatchRequestEntry::builder().id(at.to_string());
            entry.message_body(body).build()
        });
        let sent = match entries.collect::<Result<Vec<_>, _>>() {
            Ok(entries) => {
                let call = self.sqs.send_message_batch().queue_url(&*self.url);
                let answer = call.set_entries(Some(entries)).send().await;
                answer.map_err(|error| QueueError::from_sdk_error(&error))
            }
            Err(error) => Err(QueueError(error.to_string())),
        };
        for (at, done) in waiting.into_iter().enumerate() {
            let outcome = match &sent {
                Err(error) => Err(error.clone()),
                // Only what is among the stored is stored.
                Ok(told) if told.successful().iter().any(|one| is(one.id(), at)) => Ok(()),
                Ok(told) => {
                    let entry = told.failed().iter().find(|one| is(one.id(), at));
                    let why = entry.and_then(|one| one.message()).unwrap_or("no reason is told");
                    Err(QueueError(why.to_owned()))
                }
            };
            let _gone = done.send(outcome);
        }
    }
}

/// About how many messages are in the queue at `url`.
pub(crate) async fn depth(
    sqs: &aws_sdk_sqs::Client,
    url: &str,
) -> Result<u64, SdkError<GetQueueAttributesError>> {
    let wanted = [
        QueueAttributeName::ApproximateNumberOfMessages,
        QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
    ];
    let request = sqs.get_queue_attributes().queue_url(url);
    let answer = request.set_attribute_names(Some(wanted.to_vec())).send().await?;
    let found = answer.attributes.unwrap_or_default();
    Ok(wanted.iter().filter_map(|name| found.get(name)?.parse::<u64>().ok()).sum())
}

/// What a call has told.
fn flatten_result(told: Result<Result<(), QueueError>, RecvError>) -> Result<(), QueueError> {
    told.unwrap_or_else(|_| Err(QueueError("the process is ending".to_owned())))
}

/// Whether an entry's id is that of the message at this place of its batch.
fn is(id: &str, at: usize) -> bool {
    id.parse() == Ok(at)
}

impl QueueError {
    fn from_sdk_error(error: &impl std::error::Error) -> Self {
        Self(DisplayErrorContext(error).to_string())
    }
}

impl SendQueue {
    /// Stands in line. Answers whether a further call is to begin.
    fn add_record(&mut self, one: QueuedRecord) -> bool {
        self.waiting.push(one);
        let now = self.calls == 0 || self.waiting.len() >= BATCH_MAX * (self.beginning + 1);
        now && self.count_new_call()
    }

    /// Somebody has waited for long. Answers whether a further call is to begin.
    fn should_begin_late_call(&mut self) -> bool {
        let now = !self.waiting.is_empty() && self.beginning == 0;
        now && self.count_new_call()
    }

    fn count_new_call(&mut self) -> bool {
        self.calls += 1;
        self.beginning += 1;
        true
    }

    /// A call begins. Answers what it is to send; without that, it is over.
    fn take_first_batch(&mut self) -> Option<Vec<QueuedRecord>> {
        self.beginning -= 1;
        let batch = self.take();
        self.calls -= usize::from(batch.is_none());
        batch
    }

    /// A call has ended. Answers what it is to send next; without that, it is over. Less than
    /// fills a call is left to the last of several.
    fn take_next_batch(&mut self) -> Option<Vec<QueuedRecord>> {
        let now = self.calls == 1 || self.waiting.len() >= BATCH_MAX;
        let batch = if now { self.take() } else { None };
        self.calls -= usize::from(batch.is_none());
        batch
    }

    /// As many as go into one call, the longest waiting first.
    fn take(&mut self) -> Option<Vec<QueuedRecord>> {
        let mut bytes = 0;
        let fits = |one: &&QueuedRecord| {
            bytes += one.body.len();
            bytes <= BATCH_BYTES_MAX
        };
        let count = self.waiting.iter().take(BATCH_MAX).take_while(fits).count();
        // One that is too large for any call is refused by the queue itself, with its reason.
        let count = count.max(1).min(self.waiting.len());
        (count > 0).then(|| self.waiting.drain(..count).collect())
    }
}
