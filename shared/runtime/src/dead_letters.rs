//! The dead-letter queue: messages that could not be stored. Operators can view them and send them
//! back.
//!
//! `domain::record` decides which messages are usage records.

use crate::aws::AwsClients;
use crate::settings::ResourceNames;
use crate::usage_queue::{UsageQueue, depth};
use aws_sdk_sqs::error::{DisplayErrorContext, SdkError};
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use baton_domain::record::UsageRecord;
use jiff::Timestamp;

/// The most messages that one receive returns.
const RECEIVE_MAX: i32 = 10;
/// How long a message is hidden while it is sent back. After a crash in between it reappears then.
const HIDDEN_SECONDS: i32 = 60;

/// The dead-letter queue, and the queue that its messages came from.
#[derive(Clone)]
pub struct DeadLetters {
    sqs: aws_sdk_sqs::Client,
    url: String,
    queue: UsageQueue,
}

/// A message that could not be stored.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// The queue's id of the message.
    pub message_id: String,
    /// When the message was sent.
    pub sent_at: Option<Timestamp>,
    /// The content of the message, which must not be shown.
    pub body: String,
}

/// An operation of the dead-letter queue failed.
#[derive(Debug, thiserror::Error)]
#[error("the dead-letter queue failed: {0}")]
pub struct DeadLetterError(String);

impl DeadLetters {
    /// The queues that `resources` name; `None` if no dead-letter queue is named. No I/O.
    pub fn from_resources(aws: &AwsClients, resources: &ResourceNames) -> Option<Self> {
        let (queue, url) = (&resources.usage_queue_url, &resources.dead_letter_queue_url);
        let queue = UsageQueue::new(aws, queue);
        (!url.is_empty()).then(|| Self { sqs: aws.sqs.clone(), url: url.clone(), queue })
    }

    /// The approximate number of messages.
    pub async fn count(&self) -> Result<u64, DeadLetterError> {
        Ok(depth(&self.sqs, &self.url).await?)
    }

    /// Some of the messages, at most ten. They stay in the queue.
    pub async fn peek(&self) -> Result<Vec<DeadLetter>, DeadLetterError> {
        let messages = self.receive(RECEIVE_MAX, 0).await?;
        Ok(messages.into_iter().map(DeadLetter::from_message).collect())
    }

    /// Sends up to `max` messages back to the queue that they came from. Returns the number sent.
    ///
    /// Each message is deleted here after the queue has accepted it. A crash in between sends it
    /// twice, which is harmless because storing a record is idempotent.
    pub async fn redrive(&self, max: usize) -> Result<usize, DeadLetterError> {
        let mut moved = 0;
        while moved < max {
            let count = i32::try_from(max - moved).unwrap_or(RECEIVE_MAX).min(RECEIVE_MAX);
            let messages = self.receive(count, HIDDEN_SECONDS).await?;
            if messages.is_empty() {
                break;
            }
            for message in messages {
                let body = message.body.unwrap_or_default();
                self.queue.send_raw(body).await.map_err(|error| DeadLetterError(error.0))?;
                let gone = self.sqs.delete_message().queue_url(&self.url);
                gone.set_receipt_handle(message.receipt_handle).send().await?;
                moved += 1;
            }
        }
        Ok(moved)
    }

    /// Sends records to the usage queue. Returns the number that it accepted.
    pub async fn send(&self, records: &[UsageRecord]) -> Result<usize, DeadLetterError> {
        for record in records {
            self.queue.send(record).await.map_err(|error| DeadLetterError(error.0))?;
        }
        Ok(records.len())
    }

    async fn receive(&self, count: i32, hidden: i32) -> Result<Vec<Message>, DeadLetterError> {
        let received = self
            .sqs
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(count)
            .visibility_timeout(hidden)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .send()
            .await?;
        Ok(received.messages.unwrap_or_default())
    }
}

impl DeadLetter {
    fn from_message(message: Message) -> Self {
        let attributes = message.attributes.as_ref();
        let sent_at =
            attributes.and_then(|all| all.get(&MessageSystemAttributeName::SentTimestamp));
        Self {
            message_id: message.message_id.unwrap_or_default(),
            sent_at: sent_at
                .and_then(|millis| Timestamp::from_millisecond(millis.parse().ok()?).ok()),
            body: message.body.unwrap_or_default(),
        }
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<SdkError<E>> for DeadLetterError {
    fn from(error: SdkError<E>) -> Self {
        Self(DisplayErrorContext(&error).to_string())
    }
}
