//! Rows as comma-separated text (RFC 4180), with a head.

use super::columns::{COLUMNS, Cell};
use baton_domain::record::UsageRecord;

/// The line with the names.
pub(super) fn head() -> Result<Vec<u8>, csv::Error> {
    let mut lines = csv::Writer::from_writer(Vec::new());
    lines.write_record(COLUMNS.iter().map(|column| column.name))?;
    whole(lines)
}

/// A line a record; an empty cell is an empty field.
pub(super) fn lines(records: &[UsageRecord]) -> Result<Vec<u8>, csv::Error> {
    let mut lines = csv::Writer::from_writer(Vec::new());
    for record in records {
        for column in &COLUMNS {
            lines.write_field(column.cell(record).map(text).unwrap_or_default())?;
        }
        lines.write_record(None::<&[u8]>)?;
    }
    whole(lines)
}

fn whole(lines: csv::Writer<Vec<u8>>) -> Result<Vec<u8>, csv::Error> {
    lines.into_inner().map_err(|error| csv::Error::from(error.into_error()))
}

fn text(cell: Cell<'_>) -> String {
    match cell {
        Cell::Text(text) => text.to_owned(),
        Cell::Count(count) => count.to_string(),
        Cell::Flag(flag) => flag.to_string(),
        Cell::Time(at) => at.to_string(),
        Cell::Money(amount) => amount.to_string(),
    }
}
