//! Usage records as Apache Parquet. Each batch becomes a row group, so that at most one batch is in
//! memory.
//!
//! Times are `TIMESTAMP(MILLIS, UTC)`, money is `DECIMAL(38, 12)`: whole pico-dollars, exactly.

use super::columns::{COLUMNS, ColumnType, ExportCell, ExportColumn};
use baton_domain::record::UsageRecord;
use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{Type, TypePtr};
use std::sync::Arc;

/// The size of an `i128` in bytes, and the number of decimal digits that always fit.
const MONEY_BYTES: i32 = 16;
const MONEY_DIGITS: i32 = 38;
const MONEY_PLACES: i32 = 12;

/// A file that is being written. The finished bytes are taken out after each batch.
pub(super) struct ParquetFile(SerializedFileWriter<Vec<u8>>);

impl ParquetFile {
    /// Creates an empty file.
    pub(super) fn new() -> Result<Self> {
        let properties = Arc::new(WriterProperties::builder().build());
        Ok(Self(SerializedFileWriter::new(Vec::new(), schema()?, properties)?))
    }

    /// Adds a row group. Returns the bytes that are complete.
    pub(super) fn add(&mut self, records: &[UsageRecord]) -> Result<Vec<u8>> {
        let mut group = self.0.next_row_group()?;
        for column in &COLUMNS {
            let Some(mut writer) = group.next_column()? else { break };
            write(column, records, writer.untyped())?;
            writer.close()?;
        }
        group.close()?;
        self.0.flush()?;
        // The writer counts its offsets itself, so finished bytes can be removed.
        Ok(std::mem::take(self.0.inner_mut()))
    }

    /// Returns the rest: the index at the end of the file.
    pub(super) fn finish(mut self) -> Result<Vec<u8>> {
        self.0.finish()?;
        self.0.flush()?;
        Ok(std::mem::take(self.0.inner_mut()))
    }
}

fn schema() -> Result<TypePtr> {
    let fields = COLUMNS.iter().map(field).collect::<Result<Vec<TypePtr>>>()?;
    Ok(Arc::new(Type::group_type_builder("usage_record").with_fields(fields).build()?))
}

fn field(column: &ExportColumn) -> Result<TypePtr> {
    let (physical, logical) = match column.kind {
        ColumnType::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        ColumnType::Count => (Physical::INT64, None),
        ColumnType::Flag => (Physical::BOOLEAN, None),
        ColumnType::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MILLIS))),
        ColumnType::Money => {
            (Physical::FIXED_LEN_BYTE_ARRAY, Some(LogicalType::decimal(MONEY_PLACES, MONEY_DIGITS)))
        }
    };
    let repetition = if column.is_optional { Repetition::OPTIONAL } else { Repetition::REQUIRED };
    let mut builder = Type::primitive_type_builder(column.name, physical)
        .with_repetition(repetition)
        .with_logical_type(logical);
    if column.kind == ColumnType::Money {
        builder =
            builder.with_length(MONEY_BYTES).with_precision(MONEY_DIGITS).with_scale(MONEY_PLACES);
    }
    builder.build().map(Arc::new)
}

fn write(
    column: &ExportColumn,
    records: &[UsageRecord],
    writer: &mut ColumnWriter<'_>,
) -> Result<()> {
    let cells: Vec<Option<ExportCell<'_>>> =
        records.iter().map(|record| column.cell(record)).collect();
    let levels: Vec<i16> = cells.iter().map(|cell| i16::from(cell.is_some())).collect();
    let levels = column.is_optional.then_some(levels.as_slice());
    let cells = cells.into_iter().flatten();
    match writer {
        ColumnWriter::ByteArrayColumnWriter(out) => {
            let values: Vec<ByteArray> = cells.filter_map(to_bytes).collect();
            out.write_batch(&values, levels, None)
        }
        ColumnWriter::Int64ColumnWriter(out) => {
            let values: Vec<i64> = cells.filter_map(to_integer).collect();
            out.write_batch(&values, levels, None)
        }
        ColumnWriter::BoolColumnWriter(out) => {
            let values: Vec<bool> = cells.filter_map(to_bool).collect();
            out.write_batch(&values, levels, None)
        }
        ColumnWriter::FixedLenByteArrayColumnWriter(out) => {
            let values: Vec<FixedLenByteArray> = cells.filter_map(to_decimal).collect();
            out.write_batch(&values, levels, None)
        }
        _ => {
            return Err(ParquetError::General(format!(
                "column {} has an unsupported type",
                column.name
            )));
        }
    }
    .map(drop)
}

fn to_bytes(cell: ExportCell<'_>) -> Option<ByteArray> {
    match cell {
        ExportCell::Text(text) => Some(text.into()),
        _ => None,
    }
}

fn to_integer(cell: ExportCell<'_>) -> Option<i64> {
    match cell {
        ExportCell::Count(count) => Some(i64::try_from(count).unwrap_or(i64::MAX)),
        ExportCell::Time(at) => Some(at.as_millisecond()),
        _ => None,
    }
}

fn to_bool(cell: ExportCell<'_>) -> Option<bool> {
    match cell {
        ExportCell::Flag(flag) => Some(flag),
        _ => None,
    }
}

fn to_decimal(cell: ExportCell<'_>) -> Option<FixedLenByteArray> {
    match cell {
        ExportCell::Money(amount) => Some(amount.pico().to_be_bytes().to_vec().into()),
        _ => None,
    }
}
