//! The requests of the SQS JSON protocol and their limits.
//!
//! They are executed in `operations.rs`.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    checksum::{self, MessageAttributes},
    queue_arn,
    store::ReceivedMessage,
};
use crate::store_reply::StoreRefusal;

pub(super) const MESSAGE_BYTES_MAX: usize = 1_048_576;
const HALF_A_DAY: i64 = 43_200;

/// Any request except `ReceiveMessage`. Fields that an operation does not have stay empty.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SqsRequest {
    #[serde(default)]
    pub(super) queue_url: String,
    #[serde(default)]
    pub(super) queue_name: String,
    #[serde(default)]
    pub(super) attributes: Map<String, Value>,
    #[serde(default)]
    pub(super) attribute_names: Vec<String>,
    #[serde(default)]
    pub(super) source_arn: String,
    pub(super) destination_arn: Option<String>,
    pub(super) entries: Option<Vec<BatchEntry>>,
    #[serde(flatten)]
    pub(super) single: BatchEntry,
}

/// One message of a batch, or a single message.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct BatchEntry {
    #[serde(default)]
    pub(super) id: String,
    #[serde(default)]
    pub(super) message_body: String,
    #[serde(default)]
    pub(super) message_attributes: MessageAttributes,
    pub(super) delay_seconds: Option<i64>,
    #[serde(default)]
    pub(super) receipt_handle: String,
    #[serde(default)]
    pub(super) visibility_timeout: i64,
}

/// A `ReceiveMessage` request.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ReceiveRequest {
    pub(super) queue_url: String,
    pub(super) max_number_of_messages: Option<usize>,
    pub(super) wait_time_seconds: Option<u64>,
    pub(super) visibility_timeout: Option<i64>,
    #[serde(default)]
    pub(super) attribute_names: Vec<String>,
    #[serde(default)]
    pub(super) message_system_attribute_names: Vec<String>,
    #[serde(default)]
    pub(super) message_attribute_names: Vec<String>,
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
        check_visibility(self.visibility_timeout.unwrap_or(0))
    }

    /// The message with the requested attributes.
    pub(super) fn message_json(&self, message: &ReceivedMessage) -> Value {
        let mut shown = json!({
            "MessageId": message.id,
            "ReceiptHandle": message.receipt_handle,
            "Body": message.body,
            "MD5OfBody": checksum::checksum_body(&message.body),
        });
        let mut system = json!({
            "SenderId": "local",
            "SentTimestamp": message.sent_at.to_string(),
            "ApproximateReceiveCount": message.receive_count.to_string(),
            "ApproximateFirstReceiveTimestamp": message.first_received_at.to_string(),
        });
        if let Some(source) = &message.source_queue {
            system["DeadLetterQueueSourceArn"] = json!(queue_arn(source));
        }
        if let Value::Object(system) = &mut system {
            let requested =
                || self.attribute_names.iter().chain(&self.message_system_attribute_names);
            system.retain(|name, _| {
                requested().any(|requested| requested == "All" || requested == name)
            });
            if !system.is_empty() {
                shown["Attributes"] = json!(system);
            }
        }
        let mut attributes: MessageAttributes =
            serde_json::from_str(&message.attributes).unwrap_or_default();
        attributes.retain(|name, _| self.wants_attribute(name));
        if let Some(sum) = checksum::checksum_attributes(&attributes) {
            shown["MessageAttributes"] = json!(attributes);
            shown["MD5OfMessageAttributes"] = json!(sum);
        }
        shown
    }

    fn wants_attribute(&self, name: &str) -> bool {
        self.message_attribute_names.iter().any(|requested| match requested.strip_suffix(".*") {
            Some(prefix) => name.starts_with(prefix),
            None => requested == "All" || requested == name,
        })
    }
}

impl BatchEntry {
    fn size_bytes(&self) -> usize {
        let attributes = self.message_attributes.iter();
        self.message_body.len()
            + attributes.map(|(name, of)| name.len() + of.size_bytes()).sum::<usize>()
    }

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
        if self.size_bytes() > MESSAGE_BYTES_MAX {
            return Err(invalid(format!("a message has at most {MESSAGE_BYTES_MAX} bytes")));
        }
        let is_allowed =
            |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
        if !self.message_body.chars().all(is_allowed) {
            let message = "the body has characters that XML does not allow";
            return Err(sqs("InvalidMessageContents", message.to_owned()));
        }
        if self.message_attributes.len() > 10 {
            return Err(invalid("a message has at most 10 attributes".to_owned()));
        }
        if !(0..=900).contains(&self.delay_seconds.unwrap_or(0)) {
            return Err(invalid("DelaySeconds must be 0 to 900".to_owned()));
        }
        Ok(())
    }
}

/// The entries of a batch: 1 to 10 with distinct ids, together not larger than one message can be.
pub(super) fn batch(entries: Option<Vec<BatchEntry>>) -> Result<Vec<BatchEntry>, StoreRefusal> {
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
    if entries.iter().map(BatchEntry::size_bytes).sum::<usize>() > MESSAGE_BYTES_MAX {
        let message = format!("a batch holds at most {MESSAGE_BYTES_MAX} bytes");
        return Err(sqs("AWS.SimpleQueueService.BatchRequestTooLong", message));
    }
    Ok(entries)
}

/// The queue's name at the end of a URL or an ARN.
pub(super) fn queue_name(address: &str) -> &str {
    address.rsplit(['/', ':']).next().unwrap_or(address)
}

pub(super) fn check_visibility(seconds: i64) -> Result<(), StoreRefusal> {
    if (0..=HALF_A_DAY).contains(&seconds) {
        return Ok(());
    }
    Err(invalid(format!("VisibilityTimeout must be 0 to {HALF_A_DAY}, not {seconds}")))
}

pub(super) fn invalid(message: String) -> StoreRefusal {
    sqs("InvalidParameterValue", message)
}

pub(super) fn sqs(code: &'static str, message: String) -> StoreRefusal {
    StoreRefusal::client(code, message)
}
