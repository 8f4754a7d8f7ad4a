//! Shared by the other files of these tests: a stack, its clients, and a clock that tests can set.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::Message;
use baton_local::{LocalAws, MillisecondClock};

pub(crate) type Item = HashMap<String, AttributeValue>;

/// A stack and real AWS clients of it.
pub(crate) struct LocalAwsFixture {
    pub(crate) local: LocalAws,
    pub(crate) dynamo: aws_sdk_dynamodb::Client,
    pub(crate) sqs: aws_sdk_sqs::Client,
    pub(crate) kms: aws_sdk_kms::Client,
    now: Arc<AtomicI64>,
}

impl LocalAwsFixture {
    pub(crate) async fn new() -> Self {
        Self::open(None).await
    }

    pub(crate) async fn open(dir: Option<&Path>) -> Self {
        let now = Arc::new(AtomicI64::new(1_790_000_000_000));
        let clock = MillisecondClock::new({
            let now = Arc::clone(&now);
            move || now.load(Ordering::SeqCst)
        });
        let local = LocalAws::open_with_clock(dir, clock).await.unwrap();
        let config = local.sdk_config();
        Self {
            dynamo: aws_sdk_dynamodb::Client::new(&config),
            sqs: aws_sdk_sqs::Client::new(&config),
            kms: aws_sdk_kms::Client::new(&config),
            local,
            now,
        }
    }

    pub(crate) fn pass_seconds(&self, seconds: i64) {
        self.now.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    pub(crate) fn queue(&self) -> String {
        self.local.resources().usage_queue_url
    }

    pub(crate) fn dead_letters(&self) -> String {
        self.queue().replace("UsageQueue", "UsageDeadLetterQueue")
    }

    pub(crate) async fn send(&self, body: &str) {
        self.sqs.send_message().queue_url(self.queue()).message_body(body).send().await.unwrap();
    }

    /// Up to ten messages of `queue`, without waiting.
    pub(crate) async fn receive(&self, queue: &str) -> Vec<Message> {
        let request = self.sqs.receive_message().queue_url(queue).max_number_of_messages(10);
        let request = request.message_system_attribute_names("All".into());
        request.send().await.unwrap().messages.unwrap_or_default()
    }

    /// One of a queue's attributes, such as how many messages it holds.
    pub(crate) async fn attribute(&self, queue: &str, name: &str) -> String {
        let request =
            self.sqs.get_queue_attributes().queue_url(queue).attribute_names("All".into());
        request.send().await.unwrap().attributes.unwrap()[&name.into()].clone()
    }

    pub(crate) async fn put(&self, table: &str, item: Item) {
        let request = self.dynamo.put_item().table_name(table).set_item(Some(item));
        request.send().await.unwrap();
    }

    pub(crate) async fn get(&self, table: &str, pk: &str, sk: &str) -> Option<Item> {
        let request = self.dynamo.get_item().table_name(table).key("pk", s(pk)).key("sk", s(sk));
        request.send().await.unwrap().item
    }
}

pub(crate) fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

pub(crate) fn n(number: i64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub(crate) fn item<const N: usize>(attributes: [(&str, AttributeValue); N]) -> Item {
    attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

pub(crate) fn bodies(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.body().unwrap()).collect()
}
