//! The usage queue: where a record goes when its request is over.

use crate::aws::Aws;
use aws_sdk_sqs::error::DisplayErrorContext;
use baton_domain::record::UsageRecord;

/// Sends usage records to the stats consumer.
#[derive(Clone)]
pub struct UsageQueue {
    sqs: aws_sdk_sqs::Client,
    url: String,
}

/// The queue did not take the record; the SDK's own retries are used up.
#[derive(Debug, thiserror::Error)]
#[error("the usage queue did not take the record: {0}")]
pub struct QueueError(pub(crate) String);

impl UsageQueue {
    /// The queue at `url`.
    pub fn new(aws: &Aws, url: &str) -> Self {
        Self { sqs: aws.sqs.clone(), url: url.to_owned() }
    }

    /// Sends one record; returns when the queue has stored it.
    pub async fn send(&self, record: &UsageRecord) -> Result<(), QueueError> {
        let body = serde_json::to_string(record).map_err(|error| QueueError(error.to_string()))?;
        self.send_raw(body).await
    }

    /// Sends a message as it is.
    pub async fn send_raw(&self, body: String) -> Result<(), QueueError> {
        self.sqs
            .send_message()
            .queue_url(&self.url)
            .message_body(body)
            .send()
            .await
            .map(drop)
            .map_err(|error| QueueError(DisplayErrorContext(&error).to_string()))
    }
}
