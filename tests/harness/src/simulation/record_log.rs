//! Reads records that were written to the log as a last resort.

use std::cell::RefCell;
use std::fmt::Debug;
use std::sync::Once;

use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

thread_local! {
    static RECORDS: RefCell<Vec<LoggedRecord>> = const { RefCell::new(Vec::new()) };
}

/// Starts listening on all threads of this process. A run reads only the log of its own thread.
pub(crate) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // A developer who wants to see the log has perhaps set another one already.
        drop(tracing::subscriber::set_global_default(RecordLog));
    });
}

/// A record in the log, and when it was written.
pub(crate) struct LoggedRecord {
    pub(crate) at: Instant,
    pub(crate) signed: String,
}

/// The records that were logged in full on this thread since the last call.
pub(crate) fn records() -> Vec<LoggedRecord> {
    RECORDS.take()
}

struct RecordLog;

impl Subscriber for RecordLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR && metadata.fields().field("usage_record").is_some()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::ERROR)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut RecordLogVisitor);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct RecordLogVisitor;

impl Visit for RecordLogVisitor {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "usage_record" {
            let record = LoggedRecord { at: Instant::now(), signed: format!("{value:?}") };
            RECORDS.with_borrow_mut(|records| records.push(record));
        }
    }
}
