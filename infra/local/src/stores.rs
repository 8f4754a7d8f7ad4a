//! All stores of one data directory. A request goes to the store that its `x-amz-target` names.
//!
//! `connector.rs` and `http.rs` receive the requests.

use std::{path::Path, sync::Arc};

use bytes::Bytes;

use crate::{
    LocalError, MillisecondClock,
    data_dir::DataDir,
    definitions::TableDefinition,
    dynamo::EmbeddedDynamo,
    executor::StoreExecutor,
    kms::Kms,
    queue::QueueService,
    store_reply::{StoreRefusal, StoreReply},
};

const TABLES: &str = "dynamodb.sqlite";
const MESSAGES: &str = "queue.sqlite";

/// The stores; clones share them.
#[derive(Clone)]
pub(crate) struct LocalStores {
    inner: Arc<StoresInner>,
}

pub(crate) struct StoresInner {
    dynamo: EmbeddedDynamo,
    queues: QueueService,
    kms: Kms,
    /// The last field, so that the directory is released after the stores are closed.
    _dir: Option<DataDir>,
}

impl LocalStores {
    /// Opens or creates the stores with these tables, under `dir` or in memory. Blocks.
    pub(crate) fn open(
        dir: Option<&Path>,
        tables: &[TableDefinition],
        clock: MillisecondClock,
        executor: StoreExecutor,
    ) -> Result<Self, LocalError> {
        let dir = dir.map(DataDir::open).transpose()?;
        let key = dir.as_ref().map(|dir| dir.join("master.key"));
        let has_data = dir.as_ref().is_some_and(|dir| dir.join(TABLES).exists());
        let kms = Kms::open(key.as_deref(), has_data)?;
        let file = |name| dir.as_ref().map(|dir| dir.private_file(name)).transpose();
        let dynamo = EmbeddedDynamo::open(file(TABLES)?.as_deref(), clock.clone(), executor)?;
        dynamo.provision(tables)?;
        let messages = file(MESSAGES)?;
        let queues = QueueService::open(messages.as_deref(), clock, executor)?;
        let inner = StoresInner { dynamo, queues, kms, _dir: dir };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(crate) fn queues(&self) -> &QueueService {
        &self.inner.queues
    }

    pub(crate) fn inner(&self) -> &Arc<StoresInner> {
        &self.inner
    }

    /// Answers one request.
    pub(crate) async fn call_target(&self, target: &str, body: Bytes) -> StoreReply {
        let stores = &self.inner;
        match target.split_once('.') {
            Some(("DynamoDB_20120810", operation)) => {
                stores.dynamo.call_operation(operation, body).await
            }
            Some(("AmazonSQS", operation)) => stores.queues.call_operation(operation, body).await,
            Some(("TrentService", operation)) => stores.kms.call_operation(operation, &body),
            _ => StoreRefusal::unknown_operation(target).into(),
        }
    }
}

impl StoresInner {
    /// Deletes expired items and messages.
    pub(crate) async fn sweep_expired(&self) {
        for (store, swept) in [
            ("DynamoDB", self.dynamo.sweep_ttl().await),
            ("queue", self.queues.delete_expired().await),
        ] {
            match swept {
                Ok(count) => tracing::debug!(store, count, "expired items deleted"),
                Err(refusal) => {
                    tracing::warn!(store, cause = refusal.message(), "cannot delete expired items");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::definitions::{self, IndexDefinition};

    fn open(dir: &Path, tables: &[TableDefinition]) -> Result<LocalStores, LocalError> {
        let clock = MillisecondClock::system();
        LocalStores::open(Some(dir), tables, clock, StoreExecutor::OffThread)
    }

    async fn ask(stores: &LocalStores, operation: &str, request: Value) -> Value {
        let target = format!("DynamoDB_20120810.{operation}");
        let reply = stores.call_target(&target, request.to_string().into()).await;
        let answer = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(reply.status, 200, "{operation}: {answer}");
        answer
    }

    #[tokio::test]
    async fn changed_definitions_update_indexes_and_keep_data() {
        const OLD: &[IndexDefinition] =
            &[IndexDefinition { name: "by_sort", key: ["kind", "created_at"], projection: "ALL" }];
        let dir = tempfile::tempdir().unwrap();
        let mut before = definitions::TABLES;
        before[0].indexes = OLD;
        before[1].ttl_attribute = Some("expires");
        {
            let stores = open(dir.path(), &before).unwrap();
            let item = json!({
                "pk": { "S": "key#a" }, "sk": { "S": "key" },
                "kind": { "S": "key" }, "created_at": { "S": "2026" },
            });
            ask(&stores, "PutItem", json!({ "TableName": "ConfigTable", "Item": item })).await;
        }
        let stores = open(dir.path(), &definitions::TABLES).unwrap();
        let query = json!({
            "TableName": "ConfigTable", "IndexName": "by_kind",
            "KeyConditionExpression": "kind = :k",
            "ExpressionAttributeValues": { ":k": { "S": "key" } },
        });
        assert_eq!(ask(&stores, "Query", query).await["Count"], 1);
        let table = ask(&stores, "DescribeTable", json!({ "TableName": "ConfigTable" })).await;
        let indexes = table["Table"]["GlobalSecondaryIndexes"].as_array().unwrap();
        assert_eq!(indexes.len(), 1, "the old index is gone");
        let ttl = ask(&stores, "DescribeTimeToLive", json!({ "TableName": "StateTable" })).await;
        assert_eq!(ttl["TimeToLiveDescription"]["AttributeName"], "ttl");
    }

    #[test]
    fn changed_table_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path(), &definitions::TABLES).unwrap());
        let mut other = definitions::TABLES;
        other[0].key = ["pk", "created_at"];
        let line = open(dir.path(), &other).err().unwrap().to_string();
        assert!(line.contains("ConfigTable: its key differs from the template's"), "{line}");
    }

    #[test]
    fn invalid_database_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path(), &definitions::TABLES).unwrap());
        for name in [MESSAGES, TABLES] {
            std::fs::write(dir.path().join(name), "x".repeat(4096)).unwrap();
            let line = open(dir.path(), &definitions::TABLES).err().unwrap().to_string();
            assert!(line.starts_with("cannot open the local ") && line.contains(name), "{line}");
        }
    }
}
