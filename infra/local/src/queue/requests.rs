//! The requests of the SQS JSON protocol and their limits.
//!
//! They are executed in `operations.rs`. A field that is not implemented, such as
//! `MessageAttributes` or `DelaySeconds`, is refused.

use std::collections::HashSet;

use md5::{Digest as _, Md5};
use serde::Deserialize;
use serde_json::{Value, json};

use super::store::ReceivedMessage;
use crate::store_reply::StoreRefusal;

const MESSAGE_BYTES_MAX: usize = 1_048_576;
const VISIBILITY_SECONDS_MAX: i64 = 43_200;

/// Any request except `ReceiveMessage`. Fields that an operation does not have stay empty.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct SqsRequest {
    pub(super) queue_url: String,
    #[serde(default)]
    pub(super) attribute_names: Vec<String>,
    pub(super) entries: Option<Vec<BatchEntry>>,
    #[serde(default)]
    message_body: String,
    #[serde(default)]
    receipt_handle: String,
}

/// One message of a batch, or a single message.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct BatchEntry {
    #[serde(default)]
    pub(super) id: String,
    #[serde(default)]
    pub(super) message_body: String,
    #[serde(default)]
    receipt_handle: String,
}

/// A `ReceiveMessage` request.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct ReceiveRequest {
    pub(super) queue_url: String,
    pub(super) max_number_of_messages: Option<usize>,
    pub(super) wait_time_seconds: Option<u64>,
    pub(super) visibility_timeout: Option<i64>,
    #[serde(default)]
    message_system_attribute_names: Vec<String>,
}

impl SqsRequest {
    pub(super) fn into_single(self) -> BatchEntry {
        let Self { message_body, receipt_handle, .. } = self;
        BatchEntry { id: String::new(), message_body, receipt_handle }
    }
}

impl ReceiveRequest {
    /// Checks the protocol's limits: 1 to 10 messages, a wait of at most 20 s, hidden for at most
    /// 12 h.
    pub(super) fn check(&self) -> Result<(), StoreRefusal> {
        let count = self.max_number_of_messages.unwrap_or(1);
        if !(1..=10).contains(&count) {
            return Err(invalid(format!("MaxNumberOfMessages must be 1 to 10, not {count}")));
        }
        let wait = self.wait_time_seconds.unwrap_or(0);
        if wait > 20 {
            return Err(invalid(format!("WaitTimeSeconds must be 0 to 20, not {wait}")));
        }
        let seconds = self.visibility_timeout.unwrap_or(0);
        if !(0..=VISIBILITY_SECONDS_MAX).contains(&seconds) {
            let message =
                format!("VisibilityTimeout must be 0 to {VISIBILITY_SECONDS_MAX}, not {seconds}");
            return Err(invalid(message));
        }
        Ok(())
    }

    /// The message with the requested system attributes.
    pub(super) fn message_json(&self, message: &ReceivedMessage) -> Value {
        let mut shown = json!({
            "MessageId": message.id,
            "ReceiptHandle": message.receipt,
            "Body": message.body,
            "MD5OfBody": body_checksum(&message.body),
        });
        let mut system = json!({
            "SenderId": "local",
            "SentTimestamp": message.sent_at.to_string(),
            "ApproximateReceiveCount": message.receive_count.to_string(),
            "ApproximateFirstReceiveTimestamp": message.first_received_at.to_string(),
        });
        if let Value::Object(system) = &mut system {
            let requested = &self.message_system_attribute_names;
            system.retain(|name, _| {
                requested.iter().any(|requested| requested == "All" || requested == name)
            });
            if !system.is_empty() {
                shown["Attributes"] = json!(system);
            }
        }
        shown
    }
}

impl BatchEntry {
    /// The message's number and the secret of its last delivery.
    pub(super) fn receipt(&self) -> Result<(i64, &str), StoreRefusal> {
        let parts = self.receipt_handle.split_once('.');
        parts.and_then(|(number, secret)| Some((number.parse().ok()?, secret))).ok_or_else(|| {
            sqs("ReceiptHandleIsInvalid", "this is not a receipt handle of this queue".to_owned())
        })
    }

    pub(super) fn check_message(&self) -> Result<(), StoreRefusal> {
        if self.message_body.is_empty() {
            return Err(sqs("MissingParameter", "MessageBody must not be empty".to_owned()));
        }
        if self.message_body.len() > MESSAGE_BYTES_MAX {
            return Err(invalid(format!("a message has at most {MESSAGE_BYTES_MAX} bytes")));
        }
        let is_allowed =
            |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
        if !self.message_body.chars().all(is_allowed) {
            let message = "the body has characters that XML does not allow";
            return Err(sqs("InvalidMessageContents", message.to_owned()));
        }
        Ok(())
    }
}

/// The entries of a batch: 1 to 10 with distinct ids, together not larger than one message can be.
pub(super) fn check_batch(
    entries: Option<Vec<BatchEntry>>,
) -> Result<Vec<BatchEntry>, StoreRefusal> {
    let entries = entries.unwrap_or_default();
    if entries.is_empty() {
        let message = "a batch has at least one entry".to_owned();
        return Err(sqs("AWS.SimpleQueueService.EmptyBatchRequest", message));
    }
    if entries.len() > 10 {
        let message = format!("a batch has at most 10 entries, not {}", entries.len());
        return Err(sqs("AWS.SimpleQueueService.TooManyEntriesInBatchRequest", message));
    }
    let ids: HashSet<_> = entries.iter().map(|entry| &entry.id).collect();
    if ids.len() < entries.len() {
        let message = "two entries of the batch have the same id".to_owned();
        return Err(sqs("AWS.SimpleQueueService.BatchEntryIdsNotDistinct", message));
    }
    if entries.iter().map(|entry| entry.message_body.len()).sum::<usize>() > MESSAGE_BYTES_MAX {
        let message = format!("a batch holds at most {MESSAGE_BYTES_MAX} bytes");
        return Err(sqs("AWS.SimpleQueueService.BatchRequestTooLong", message));
    }
    Ok(entries)
}

/// The MD5 sum of a message, by which SQS clients notice accidental changes.
pub(super) fn body_checksum(body: &str) -> String {
    hex::encode(Md5::digest(body.as_bytes()))
}

/// The queue's name at the end of a URL.
pub(super) fn queue_name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

fn invalid(message: String) -> StoreRefusal {
    sqs("InvalidParameterValue", message)
}

pub(super) fn sqs(code: &'static str, message: String) -> StoreRefusal {
    StoreRefusal::client(code, message)
}
