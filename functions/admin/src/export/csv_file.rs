//! Usage records as CSV (RFC 4180) with a header line. Texts that a spreadsheet would run as a
//! formula are escaped.

use super::columns::{COLUMNS, ExportCell};
use baton_domain::record::UsageRecord;
use baton_domain::spreadsheet;
use std::borrow::Cow;

/// The header line.
pub(super) fn header_line() -> Result<Vec<u8>, csv::Error> {
    let mut lines = csv::Writer::from_writer(Vec::new());
    lines.write_record(COLUMNS.iter().map(|column| column.name))?;
    finish_writer(lines)
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
    finish_writer(lines)
}

fn finish_writer(lines: csv::Writer<Vec<u8>>) -> Result<Vec<u8>, csv::Error> {
    lines.into_inner().map_err(|error| csv::Error::from(error.into_error()))
}

fn text(cell: ExportCell<'_>) -> Cow<'_, str> {
    match cell {
        ExportCell::Text(text) => spreadsheet::cell(text),
        ExportCell::Count(count) => count.to_string().into(),
        ExportCell::Flag(flag) => flag.to_string().into(),
        ExportCell::Time(at) => at.to_string().into(),
        ExportCell::Money(amount) => amount.to_string().into(),
    }
}
