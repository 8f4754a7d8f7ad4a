//! Usage records as CSV (RFC 4180) with a header line. Texts that a spreadsheet would run as a
//! formula are escaped.

use super::columns::{COLUMNS, Cell};
use baton_domain::record::UsageRecord;
use baton_domain::spreadsheet;
use std::borrow::Cow;

/// The header line.
pub(super) fn head() -> Result<Vec<u8>, csv::Error> {
    let mut lines = csv::Writer::from_writer(Vec::new());
    lines.write_record(COLUMNS.iter().map(|column| column.name))?;
    whole(lines)
}

/// One line per record; an empty cell is an empty field.
pub(super) fn lines(records: &[UsageRecord]) -> Result<Vec<u8>, csv::Error> {
    let mut lines = csv::Writer::from_writer(Vec::new());
    for record in records {
        for column in &COLUMNS {
            lines.write_field(column.cell(record).map(text).unwrap_or_default().as_ref())?;
        }
        lines.write_record(None::<&[u8]>)?;
    }
    whole(lines)
}

fn whole(lines: csv::Writer<Vec<u8>>) -> Result<Vec<u8>, csv::Error> {
    lines.into_inner().map_err(|error| csv::Error::from(error.into_error()))
}

fn text(cell: Cell<'_>) -> Cow<'_, str> {
    match cell {
        Cell::Text(text) => spreadsheet::cell(text),
        Cell::Count(count) => count.to_string().into(),
        Cell::Flag(flag) => flag.to_string().into(),
        Cell::Time(at) => at.to_string().into(),
        Cell::Money(amount) => amount.to_string().into(),
    }
}
