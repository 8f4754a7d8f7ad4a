//! The usage queue: where a record goes when its request is over.
//!
//! Each sender waits until its own record is stored. Records that come up while calls are under
//! way go together in the next one, so a busy process makes fewer calls and an idle one waits for
//! nobody.

use crate::aws::Aws;
use aws_sdk_sqs::error::{DisplayErrorContext, SdkError};
use aws_sdk_sqs::operation::get_queue_attributes::GetQueueAttributesError;
use aws_sdk_sqs::types::{QueueAttributeName, SendMessageBatchRequestEntry};
use baton_domain::record::UsageRecord;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// SQS takes this many messages in one call. Quotas page of the SQS guide, 2026-08.
const BATCH_MAX: usize = 10;
/// SQS takes this many bytes in one call, of one message or ten: 1 MiB, of the same page, less
/// what is not body.
const BATCH_BYTES_MAX: usize = 1_000_000;
/// With so many calls under way the next record waits for company, or for one of them to end.
const CALLS_BEFORE_WAITING: usize = 2;

/// Sends usage records to the stats consumer. Cloning shares the calls.
#[derive(Clone)]
pub struct UsageQueue {
    sqs: aws_sdk_sqs::Client,
    url: Arc<str>,
    line: Arc<Mutex<Line>>,
}

/// Who waits to be sent.
#[derive(Default)]
struct Line {
    waiting: Vec<Waiting>,
    calls: usize,
}

struct Waiting {
    body: String,
    done: oneshot::Sender<Result<(), QueueError>>,
}

/// The queue did not take the record; the SDK's own retries are used up.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the usage queue did not take the record: {0}")]
pub struct QueueError(pub(crate) String);

/// A call's place among those under way. A panic gives it back, or nothing would be sent any more
/// after a few of them; who waits for that call is told that it failed.
struct Place<'a>(&'a UsageQueue);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            while self.0.line().leave().is_some() {}
        }
    }
}

impl UsageQueue {
    /// The queue at `url`.
    pub fn new(aws: &Aws, url: &str) -> Self {
        Self { sqs: aws.sqs.clone(), url: url.into(), line: Arc::default() }
    }

    /// Sends one record; returns when the queue has stored it.
    pub async fn send(&self, record: &UsageRecord) -> Result<(), QueueError> {
        let body = serde_json::to_string(record).map_err(|error| QueueError(error.to_string()))?;
        self.send_raw(body).await
    }

    /// About how many messages are in it, those being stored included.
    pub async fn depth(&self) -> Result<u64, QueueError> {
        depth(&self.sqs, &self.url).await.map_err(|error| QueueError::of(&error))
    }

    /// Sends a message as it is. Dropping the future does not take the message back.
    pub async fn send_raw(&self, body: String) -> Result<(), QueueError> {
        let (done, told) = oneshot::channel();
        let first = self.line().join(Waiting { body, done });
        if let Some(batch) = first {
            // A task of its own: it carries the records of others, and must not end with ours.
            tokio::spawn(self.clone().call(batch));
        }
        told.await.unwrap_or_else(|_| Err(QueueError("the process is ending".to_owned())))
    }

    fn line(&self) -> std::sync::MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a batch, then whatever has come up meanwhile.
    async fn call(self, mut batch: Vec<Waiting>) {
        let _place = Place(&self);
        loop {
            self.send_batch(batch).await;
            match self.line().leave() {
                Some(next) => batch = next,
                None => return,
            }
        }
    }

    async fn send_batch(&self, mut batch: Vec<Waiting>) {
        if batch.len() > 1 {
            return self.send_several(batch).await;
        }
        let Some(one) = batch.pop() else { return };
        let sent =
            self.sqs.send_message().queue_url(&*self.url).message_body(one.body).send().await;
        let sent = sent.map(drop).map_err(|error| QueueError::of(&error));
        let _gone = one.done.send(sent);
    }

    async fn send_several(&self, batch: Vec<Waiting>) {
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
                answer.map_err(|error| QueueError::of(&error))
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

/// Whether an entry's id is that of the message at this place of its batch.
fn is(id: &str, at: usize) -> bool {
    id.parse() == Ok(at)
}

impl QueueError {
    fn of(error: &impl std::error::Error) -> Self {
        Self(DisplayErrorContext(error).to_string())
    }
}

impl Line {
    /// Stands in line. Answers a batch that is to be sent now, by a further call.
    fn join(&mut self, one: Waiting) -> Option<Vec<Waiting>> {
        self.waiting.push(one);
        let now = self.calls < CALLS_BEFORE_WAITING || self.waiting.len() >= BATCH_MAX;
        let batch = if now { self.take() } else { None };
        self.calls += usize::from(batch.is_some());
        batch
    }

    /// A call has ended. Answers what it is to send next; without that, it is over.
    fn leave(&mut self) -> Option<Vec<Waiting>> {
        let batch = self.take();
        self.calls -= usize::from(batch.is_none());
        batch
    }

    /// As many as go into one call, the longest waiting first.
    fn take(&mut self) -> Option<Vec<Waiting>> {
        let mut bytes = 0;
        let fits = |one: &&Waiting| {
            bytes += one.body.len();
            bytes <= BATCH_BYTES_MAX
        };
        let count = self.waiting.iter().take(BATCH_MAX).take_while(fits).count();
        // One that is too large for any call is refused by the queue itself, with its reason.
        let count = count.max(1).min(self.waiting.len());
        (count > 0).then(|| self.waiting.drain(..count).collect())
    }
}
