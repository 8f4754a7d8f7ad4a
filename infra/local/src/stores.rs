//! All stores of one data directory behind one door: a request goes where its `x-amz-target` says.
//!
//! How requests get here does not belong here: see `connector.rs` and `http.rs`.

use std::{path::Path, sync::Arc};

use bytes::Bytes;

use crate::{
    Clock, LocalError,
    data_dir::DataDir,
    dynamo::Dynamo,
    faults::{Disconnected, Injector},
    kms::Kms,
    queue::Queues,
    reply::{Refusal, Reply},
    template::Plan,
};

/// The stores, shared by all their users.
#[derive(Clone)]
pub(crate) struct Stores {
    inner: Arc<Inner>,
    faults: Option<Injector>,
}

pub(crate) struct Inner {
    dynamo: Dynamo,
    queues: Queues,
    kms: Kms,
    /// Last, so that it is given up after the stores are closed.
    _dir: Option<DataDir>,
}

impl Stores {
    /// Opens or creates what `plan` says, under `dir` or in memory. Blocks.
    pub(crate) fn open(dir: Option<&Path>, plan: &Plan, clock: Clock) -> Result<Self, LocalError> {
        let dir = dir.map(DataDir::open).transpose()?;
        let file = |name| dir.as_ref().map(|dir| dir.join(name));
        let (tables, queue) = (file("dynamodb.sqlite"), file("queue.sqlite"));
        let has_data = tables.as_ref().is_some_and(|path| path.exists());
        let kms = Kms::open(file("master.key").as_deref(), has_data, &plan.keys)?;
        let dynamo = Dynamo::open(tables.as_deref())?;
        dynamo.provision(&plan.tables)?;
        let queues = Queues::open(queue.as_deref(), &plan.queues, clock)?;
        let inner = Inner { dynamo, queues, kms, _dir: dir };
        Ok(Self { inner: Arc::new(inner), faults: None })
    }

    /// The same stores, reached over a line that fails as `faults` says.
    pub(crate) fn behind(&self, faults: Injector) -> Self {
        Self { inner: Arc::clone(&self.inner), faults: Some(faults) }
    }

    pub(crate) fn queues(&self) -> &Queues {
        &self.inner.queues
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// Answers one request.
    pub(crate) async fn call(&self, target: &str, body: Bytes) -> Result<Reply, Disconnected> {
        let fault = self.faults.as_ref().and_then(|faults| faults(target, &body));
        let Some(fault) = fault else { return Ok(self.inner.answer(target, body).await) };
        if fault.is_executed {
            self.inner.answer(target, body).await;
        }
        fault.outcome
    }
}

impl Inner {
    /// Removes what has expired.
    pub(crate) async fn sweep(&self) {
        for (store, swept) in
            [("DynamoDB", self.dynamo.sweep_ttl().await), ("queue", self.queues.sweep().await)]
        {
            match swept {
                Ok(count) => tracing::debug!(store, count, "expired items deleted"),
                Err(refusal) => tracing::warn!(store, cause = refusal.message(), "cannot sweep"),
            }
        }
    }

    async fn answer(&self, target: &str, body: Bytes) -> Reply {
        match target.split_once('.') {
            Some(("DynamoDB_20120810", operation)) => self.dynamo.call(operation, body).await,
            Some(("AmazonSQS", operation)) => self.queues.call(operation, body).await,
            Some(("TrentService", operation)) => self.kms.call(operation, &body),
            _ => Refusal::unknown_operation(target).into(),
        }
    }
}
