//! The part of `template.yaml` that the local stack implements, as constants.
//!
//! The template is the definition. `tests/it/template.rs` compares every constant with it. Physical
//! names are the logical ids of the template.

use std::time::Duration;

use serde_json::{Value, json};

/// The queue that feeds stats.
pub const USAGE_QUEUE: &str = "UsageQueue";
/// The most messages in one batch for stats.
pub const USAGE_BATCH_SIZE: usize = 100;
/// The time between two calls of refresh.
pub const REFRESH_INTERVAL: Duration = Duration::from_mins(1);
/// The only key of KMS.
pub const DATA_KEY: &str = "DataKey";

/// The tables.
pub const TABLES: [TableDefinition; 3] = [
    TableDefinition {
        name: "ConfigTable",
        attributes: &[("pk", "S"), ("sk", "S"), ("kind", "S"), ("created_at", "S")],
        key: ["pk", "sk"],
        indexes: &[IndexDefinition {
            name: "by_kind",
            key: ["kind", "created_at"],
            projection: "ALL",
        }],
        ttl_attribute: None,
    },
    TableDefinition {
        name: "StateTable",
        attributes: &[("pk", "S"), ("sk", "S"), ("due", "S"), ("due_at", "N")],
        key: ["pk", "sk"],
        indexes: &[IndexDefinition {
            name: "by_due",
            key: ["due", "due_at"],
            projection: "KEYS_ONLY",
        }],
        ttl_attribute: Some("ttl"),
    },
    TableDefinition {
        name: "UsageTable",
        attributes: &[("pk", "S"), ("sk", "S"), ("day", "S"), ("account_day", "S")],
        key: ["pk", "sk"],
        indexes: &[
            IndexDefinition { name: "by_day", key: ["day", "sk"], projection: "ALL" },
            IndexDefinition { name: "by_account", key: ["account_day", "sk"], projection: "ALL" },
        ],
        ttl_attribute: Some("ttl"),
    },
];

/// The queues.
pub static QUEUES: [QueueDefinition; 2] = [
    QueueDefinition {
        name: USAGE_QUEUE,
        visibility_seconds: 360,
        retention_seconds: 1_209_600,
        redrive: Some(RedrivePolicy { dead_letter_queue: "UsageDeadLetterQueue", receives_max: 5 }),
    },
    QueueDefinition {
        name: "UsageDeadLetterQueue",
        visibility_seconds: 30,
        retention_seconds: 1_209_600,
        redrive: None,
    },
];

/// A table.
#[derive(Clone, Debug)]
pub struct TableDefinition {
    /// Its name.
    pub name: &'static str,
    /// The attributes of all keys with their types (`S`, `N` or `B`).
    pub attributes: &'static [(&'static str, &'static str)],
    /// Partition key and sort key.
    pub key: [&'static str; 2],
    /// Its global secondary indexes.
    pub indexes: &'static [IndexDefinition],
    /// The attribute that holds the expiry of an item in Unix seconds.
    pub ttl_attribute: Option<&'static str>,
}

/// A global secondary index.
#[derive(Clone, Debug)]
pub struct IndexDefinition {
    /// Its name.
    pub name: &'static str,
    /// Partition key and sort key.
    pub key: [&'static str; 2],
    /// `ALL` or `KEYS_ONLY`.
    pub projection: &'static str,
}

/// A queue.
#[derive(Clone, Debug)]
pub struct QueueDefinition {
    /// Its name.
    pub name: &'static str,
    /// How long a received message is hidden.
    pub visibility_seconds: i64,
    /// How long a message is kept.
    pub retention_seconds: i64,
    /// When a message is moved to another queue, if ever.
    pub redrive: Option<RedrivePolicy>,
}

/// When a message becomes a dead letter.
#[derive(Clone, Debug)]
pub struct RedrivePolicy {
    /// The queue that takes dead letters.
    pub dead_letter_queue: &'static str,
    /// How often a message can be received before it is moved.
    pub receives_max: i64,
}

impl TableDefinition {
    /// The properties that `CreateTable` and `CloudFormation` share.
    pub fn properties(&self) -> Value {
        let attributes = self.attributes.iter();
        let attributes = attributes
            .map(|(name, kind)| json!({ "AttributeName": name, "AttributeType": kind }))
            .collect::<Vec<_>>();
        let indexes = self.indexes.iter();
        let indexes = indexes.map(IndexDefinition::properties).collect::<Vec<_>>();
        json!({
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": attributes,
            "KeySchema": key_schema(self.key),
            "GlobalSecondaryIndexes": indexes,
        })
    }
}

impl IndexDefinition {
    fn properties(&self) -> Value {
        json!({
            "IndexName": self.name,
            "KeySchema": key_schema(self.key),
            "Projection": { "ProjectionType": self.projection },
        })
    }
}

fn key_schema([partition, sort]: [&str; 2]) -> Value {
    json!([
        { "AttributeName": partition, "KeyType": "HASH" },
        { "AttributeName": sort, "KeyType": "RANGE" },
    ])
}
