//! DynamoDB in this process: runs requests of its JSON protocol on the embedded database.
//!
//! `definitions` has the tables, and `connector` and `http` receive the requests. Only operations
//! that Baton, its tests or its documentation call are answered. Known differences from AWS: no
//! transaction conflicts, no throttling, every read is consistent, and a `ClientRequestToken` is
//! forgotten at exit.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use dynoxide::{Database, DynoxideError, storage_backend};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    LocalError, MillisecondClock,
    definitions::TableDefinition,
    executor::StoreExecutor,
    store_reply::{StoreRefusal, StoreReply},
};

/// The embedded DynamoDB.
#[derive(Clone)]
pub(crate) struct EmbeddedDynamo {
    database: Database,
    executor: StoreExecutor,
}

impl EmbeddedDynamo {
    /// Opens the file, or an empty database in memory. Only the database in memory uses `clock`; a
    /// file uses the machine's time.
    pub(crate) fn open(
        file: Option<&Path>,
        clock: MillisecondClock,
        executor: StoreExecutor,
    ) -> Result<Self, LocalError> {
        let database = match file {
            Some(path) => Database::new(&path.to_string_lossy()),
            None => Database::memory_with_clock(Arc::new(clock)),
        };
        let database = database.map_err(|cause| LocalError::database("DynamoDB", file, &cause))?;
        Ok(Self { database, executor })
    }

    /// Creates the tables that do not exist yet. Indexes are added and removed as their definitions
    /// say.
    pub(crate) fn provision(&self, tables: &[TableDefinition]) -> Result<(), LocalError> {
        for table in tables {
            self.provision_table(table).map_err(|cause| {
                LocalError::store("DynamoDB", format!("{}: {cause}", table.name))
            })?;
        }
        Ok(())
    }

    /// Answers one request.
    pub(crate) async fn call_operation(&self, operation: &str, body: Bytes) -> StoreReply {
        let (this, operation) = (self.clone(), operation.to_owned());
        let reply = self.executor.run_work(move || this.answer_request(&operation, &body)).await;
        reply.unwrap_or_else(StoreReply::from)
    }

    /// Deletes expired items. DynamoDB does that itself, within days.
    pub(crate) async fn sweep_ttl(&self) -> Result<usize, StoreRefusal> {
        let database = self.database.clone();
        self.executor.run_work(move || database.sweep_ttl()).await?.map_err(StoreRefusal::server)
    }

    fn answer_request(&self, operation: &str, body: &[u8]) -> StoreReply {
        match self.dispatch_operation(operation, body) {
            Some(Ok(body)) => StoreReply::new(200, body),
            Some(Err(error)) => StoreReply::new(error.status_code(), error.to_json()),
            None => StoreRefusal::unknown_operation(operation).into(),
        }
    }

    fn dispatch_operation(
        &self,
        operation: &str,
        body: &[u8],
    ) -> Option<Result<Vec<u8>, DynoxideError>> {
        let db = &self.database;
        Some(match operation {
            "GetItem" => run_operation(body, |request| db.get_item(request)),
            "PutItem" => run_operation(body, |request| db.put_item(request)),
            "UpdateItem" => run_operation(body, |request| db.update_item(request)),
            "DeleteItem" => run_operation(body, |request| db.delete_item(request)),
            "Query" => run_operation(body, |request| db.query(request)),
            "Scan" => run_operation(body, |request| db.scan(request)),
            "BatchGetItem" => run_operation(body, |request| db.batch_get_item(request)),
            "TransactWriteItems" => run_operation(body, |request| db.transact_write_items(request)),
            "DescribeTable" => run_operation(body, |request| db.describe_table(request)),
            "DescribeTimeToLive" => {
                run_operation(body, |request| db.describe_time_to_live(request))
            }
            _ => return None,
        })
    }

    fn provision_table(&self, table: &TableDefinition) -> Result<(), DynoxideError> {
        let db = &self.database;
        let name = json!({ "TableName": table.name });
        match run_own(&name, |request| db.describe_table(request)) {
            Ok(found) => self.update_indexes(table, &found["Table"])?,
            Err(DynoxideError::ResourceNotFoundException(_)) => {
                let mut request = table.properties();
                request["TableName"] = json!(table.name);
                run_own(&request, |request| db.create_table(request))?;
            }
            Err(other) => return Err(other),
        }
        let Some(expected) = table.ttl_attribute else { return Ok(()) };
        let found = run_own(&name, |request| db.describe_time_to_live(request))?;
        let found = &found["TimeToLiveDescription"];
        let is_on = found["TimeToLiveStatus"] == "ENABLED";
        if is_on && found["AttributeName"] == expected {
            return Ok(());
        }
        let change = |attribute: &Value, is_enabled: bool| {
            let change = json!({ "AttributeName": attribute, "Enabled": is_enabled });
            let request = json!({ "TableName": table.name, "TimeToLiveSpecification": change });
            run_own(&request, |request| db.update_time_to_live(request))
        };
        if is_on {
            change(&found["AttributeName"], false)?;
        }
        change(&json!(expected), true).map(drop)
    }

    /// Brings the indexes of an existing table to their definitions, as a deployment does.
    fn update_indexes(&self, table: &TableDefinition, found: &Value) -> Result<(), DynoxideError> {
        let expected = table.properties();
        if found["KeySchema"] != expected["KeySchema"] {
            let why = "its key differs from the template's, and a key cannot be changed";
            return Err(DynoxideError::ValidationException(why.to_owned()));
        }
        let indexes = |of: &Value| of["GlobalSecondaryIndexes"].as_array().cloned();
        let (found, new) =
            (indexes(found).unwrap_or_default(), indexes(&expected).unwrap_or_default());
        let has = |all: &[Value], index: &Value| {
            let is_same = |other: &Value| {
                ["IndexName", "KeySchema"].iter().all(|part| other[part] == index[part])
            };
            all.iter().any(is_same)
        };
        let update = |change: Value| {
            let request = json!({
                "TableName": table.name,
                "AttributeDefinitions": expected["AttributeDefinitions"],
                "GlobalSecondaryIndexUpdates": [change],
            });
            run_own(&request, |request| self.database.update_table(request))
        };
        for index in found.iter().filter(|index| !has(&new, index)) {
            update(json!({ "Delete": { "IndexName": index["IndexName"] } }))?;
        }
        for index in new.iter().filter(|index| !has(&found, index)) {
            update(json!({ "Create": index }))?;
        }
        Ok(())
    }
}

impl storage_backend::Clock for MillisecondClock {
    fn now_unix_secs(&self) -> u64 {
        u64::try_from(self.now_ms() / 1000).unwrap_or_default()
    }

    #[expect(clippy::cast_precision_loss, reason = "milliseconds of this age fit into 53 bits")]
    fn now_unix_secs_f64(&self) -> f64 {
        self.now_ms() as f64 / 1000.0
    }
}

/// Reads the request, runs it and writes the response.
fn run_operation<Q: DeserializeOwned, A: Serialize>(
    body: &[u8],
    operation: impl FnOnce(Q) -> Result<A, DynoxideError>,
) -> Result<Vec<u8>, DynoxideError> {
    let request =
        serde_json::from_slice(body).map_err(|cause| request_error(&cause.to_string()))?;
    let response = operation(request)?;
    serde_json::to_vec(&response)
        .map_err(|cause| DynoxideError::InternalServerError(cause.to_string()))
}

/// Runs a request of the local stack itself, in the same way as a client's.
fn run_own<Q: DeserializeOwned, A: Serialize>(
    request: &Value,
    operation: impl FnOnce(Q) -> Result<A, DynoxideError>,
) -> Result<Value, DynoxideError> {
    let response = run_operation(request.to_string().as_bytes(), operation)?;
    serde_json::from_slice(&response)
        .map_err(|cause| DynoxideError::InternalServerError(cause.to_string()))
}

/// Removes the prefix by which the database marks errors of its request types, and the position
/// that the JSON reader adds.
fn request_error(message: &str) -> DynoxideError {
    let message = message.split(" at line ").next().unwrap_or(message);
    match message.split_once(':') {
        Some(("VALIDATION" | "VALIDATION_REQUEST" | "VALIDATION_AS_READ", rest)) => {
            DynoxideError::ValidationException(rest.to_owned())
        }
        Some(("SERIALIZATION" | "SERIALIZATION_AS_READ", rest)) => {
            DynoxideError::SerializationException(rest.to_owned())
        }
        _ if message.contains("missing field") || message.contains("AttributeValue") => {
            DynoxideError::ValidationException(message.to_owned())
        }
        _ => DynoxideError::SerializationException(message.to_owned()),
    }
}
