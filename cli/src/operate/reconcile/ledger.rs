//! Baton's side of the comparison: adds up the lines of the export as they arrive, so that a long
//! period does not need much memory.

use crate::CliError;
use baton_domain::reconcile::UsageStatement;
use baton_domain::record::UsageRecord;
use std::io::{Error, Result, Write};

/// A writer that adds up the records of one provider from JSON lines.
pub(super) struct LedgerReader {
    provider: String,
    statement: UsageStatement,
    /// The start of a line that is not complete yet.
    rest: Vec<u8>,
}

impl LedgerReader {
    pub(super) fn for_provider(provider: &str) -> Self {
        Self {
            provider: provider.to_owned(),
            statement: UsageStatement::default(),
            rest: Vec::new(),
        }
    }

    /// Returns the sums after the last line.
    pub(super) fn into_statement(self) -> std::result::Result<UsageStatement, CliError> {
        if self.rest.is_empty() {
            return Ok(self.statement);
        }
        Err(CliError::Failed("the export is not complete; try again".to_owned()))
    }

    fn add_line(&mut self, line: &[u8]) -> Result<()> {
        let record: UsageRecord = serde_json::from_slice(line).map_err(Error::other)?;
        if record.provider == self.provider {
            self.statement.add_record(&record);
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
