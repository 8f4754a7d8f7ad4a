//! `GET /usage/export`: all requests of a period, newest first, as one file.
//!
//! The file is written while the records are read page by page, so its size does not matter. A
//! failure aborts the connection, so that a truncated file cannot be taken for a complete one.

mod columns;
mod csv_file;
mod parquet_file;

use crate::SharedAdminState;
use crate::admin_request::AdminRequest;
use crate::api_response::ApiResult;
use crate::request_parts::QueryParameters;
use crate::route_description::{OperationBuilder, RouteOutput};
use crate::usage::event_filter;
use async_stream::try_stream;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use baton_api::usage::{EventQuery, ExportFormat, ExportQuery};
use baton_domain::record::UsageRecord;
use baton_store::{AdminStores, EventFilter, StoreError};
use bytes::Bytes;
use futures_util::Stream;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use parquet::errors::ParquetError;
use parquet_file::ParquetFile;

/// The number of records that one call reads from the store.
const PAGE: usize = 1000;

/// The number of records in a row group of a Parquet file. A larger group compresses repeated texts
/// better; this size still fits into the 128 MB of memory that the admin function has by default.
const ROW_GROUP: usize = 10_000;

/// The properties of an export format.
struct FileFormat {
    media_type: &'static str,
    extension: &'static str,
    /// The number of records that are collected before they are written.
    batch: usize,
}

impl FileFormat {
    fn of_format(format: ExportFormat) -> Self {
        let (media_type, extension, batch) = match format {
            ExportFormat::Csv => ("text/csv; charset=utf-8", "csv", PAGE),
            ExportFormat::Jsonl => ("application/jsonl", "jsonl", PAGE),
            ExportFormat::Parquet => ("application/vnd.apache.parquet", "parquet", ROW_GROUP),
        };
        Self { media_type, extension, batch }
    }
}

/// The file that an export returns.
pub(crate) struct ExportFile(Response);

impl IntoResponse for ExportFile {
    fn into_response(self) -> Response {
        self.0
    }
}

impl RouteOutput for ExportFile {
    fn describe(operation: &mut OperationBuilder<'_>) {
        operation.set_file(
            "One row per request. The file is complete if the connection ends without an error.",
            &["text/csv", "application/jsonl", "application/vnd.apache.parquet"],
        );
    }
}

pub(crate) async fn export(
    State(state): SharedAdminState,
    request: AdminRequest,
    QueryParameters(ExportQuery { format }): QueryParameters<ExportQuery>,
    QueryParameters(events): QueryParameters<EventQuery>,
) -> ApiResult<ExportFile> {
    let filter = event_filter(events, &request, &state.store).await?;
    let FileFormat { media_type, extension, .. } = FileFormat::of_format(format);
    let day = |at: jiff::Timestamp| at.strftime("%Y-%m-%d").to_string();
    let (from, to) = (day(filter.from), day(filter.to));
    let name = format!("attachment; filename=\"usage-{from}-{to}.{extension}\"");
    let head = [(CONTENT_TYPE, media_type.to_owned()), (CONTENT_DISPOSITION, name)];
    let body = Body::from_stream(file(state.store.clone(), filter, format));
    Ok(ExportFile((head, body).into_response()))
}

/// The reason why a file is incomplete.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a CSV line could not be written: {0}")]
    Csv(#[from] csv::Error),
    #[error("a JSON line could not be written: {0}")]
    Json(#[from] serde_json::Error),
    #[error("a row group could not be written: {0}")]
    Parquet(#[from] ParquetError),
}

/// The file as a stream of bytes.
fn file(
    store: AdminStores,
    filter: EventFilter,
    format: ExportFormat,
) -> impl Stream<Item = Result<Bytes, ExportError>> {
    let FileFormat { batch, .. } = FileFormat::of_format(format);
    try_stream! {
        let mut writer = ExportWriter::new(format)?;
        yield writer.head()?.into();
        let (mut records, mut cursor) = (Vec::new(), None);
        loop {
            let page = store.usage.events(&filter, PAGE, cursor.as_deref()).await.inspect_err(|error| {
                tracing::error!("an export was cut off: {error}");
            })?;
            records.extend(page.data);
            cursor = page.next_cursor;
            let is_last = cursor.is_none();
            if !records.is_empty() && (is_last || records.len() >= batch) {
                yield writer.rows(&records)?.into();
                records.clear();
            }
            if is_last {
                break;
            }
        }
        yield writer.finish()?.into();
    }
}

/// The writer of a format.
enum ExportWriter {
    Csv,
    Jsonl,
    Parquet(Box<ParquetFile>),
}

impl ExportWriter {
    fn new(format: ExportFormat) -> Result<Self, ExportError> {
        Ok(match format {
            ExportFormat::Csv => Self::Csv,
            ExportFormat::Jsonl => Self::Jsonl,
            ExportFormat::Parquet => Self::Parquet(Box::new(ParquetFile::new()?)),
        })
    }

    fn head(&self) -> Result<Vec<u8>, ExportError> {
        match self {
            Self::Csv => Ok(csv_file::header_line()?),
            Self::Jsonl | Self::Parquet(_) => Ok(Vec::new()),
        }
    }

    fn rows(&mut self, records: &[UsageRecord]) -> Result<Vec<u8>, ExportError> {
        match self {
            Self::Csv => Ok(csv_file::lines(records)?),
            Self::Jsonl => write_json_lines(records),
            Self::Parquet(file) => Ok(file.add(records)?),
        }
    }

    fn finish(self) -> Result<Vec<u8>, ExportError> {
        match self {
            Self::Csv | Self::Jsonl => Ok(Vec::new()),
            Self::Parquet(file) => Ok(file.finish()?),
        }
    }
}

fn write_json_lines(records: &[UsageRecord]) -> Result<Vec<u8>, ExportError> {
    let mut lines = Vec::new();
    for record in records {
        serde_json::to_writer(&mut lines, record)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

#[cfg(test)]
mod tests;
