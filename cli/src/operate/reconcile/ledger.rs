//! Baton's side: the export's lines, added up as they come, so that a long period needs no memory.

use crate::CliError;
use baton_domain::reconcile::UsageStatement;
use baton_domain::record::UsageRecord;
use std::io::{Error, Result, Write};

/// Adds up the records of one provider that are written to it as JSON lines.
pub(super) struct LedgerReader {
    provider: String,
    book: UsageStatement,
    /// A line that is not over yet.
    rest: Vec<u8>,
}

impl LedgerReader {
    pub(super) fn for_provider(provider: &str) -> Self {
        Self { provider: provider.to_owned(), book: UsageStatement::default(), rest: Vec::new() }
    }

    /// What was written, once it is over.
    pub(super) fn into_statement(self) -> std::result::Result<UsageStatement, CliError> {
        if self.rest.is_empty() {
            return Ok(self.book);
        }
        Err(CliError::Failed("the export ends in the middle of a line; try again".to_owned()))
    }

    fn add_line(&mut self, line: &[u8]) -> Result<()> {
        let record: UsageRecord = serde_json::from_slice(line).map_err(Error::other)?;
        if record.provider == self.provider {
            self.book.add_record(&record);
        }
        Ok(())
    }
}

impl Write for LedgerReader {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.add_line(&line)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
