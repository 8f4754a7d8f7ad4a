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
use crate::usage::EventQuery;
use async_stream::try_stream;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use baton_domain::record::UsageRecord;
use baton_store::{EventFilter, Store, StoreError};
use bytes::Bytes;
use futures_util::Stream;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use parquet::errors::ParquetError;
use parquet_file::ParquetFile;
use serde::Deserialize;

/// Records that are read at a time.
const PAGE: usize = 1000;

/// Records in a row group: large enough to compress repeated texts, small enough for 128 MB of
/// memory.
const ROW_GROUP: usize = 10_000;

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExportFormat {
    #[default]
    Csv,
    Jsonl,
    Parquet,
}

impl ExportFormat {
    fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::Jsonl => "application/jsonl",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
        }
    }

    /// The number of records that are written at once.
    fn batch(self) -> usize {
        match self {
            Self::Csv | Self::Jsonl => PAGE,
            Self::Parquet => ROW_GROUP,
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct ExportQuery {
    #[serde(default)]
    format: ExportFormat,
    #[serde(flatten)]
    events: EventQuery,
}

pub(crate) async fn export(
    State(office): SharedAdminState,
    visit: AdminRequest,
    Query(query): Query<ExportQuery>,
) -> ApiResult<Response> {
    let format = query.format;
    let filter = query.events.filter(&visit, &office.store).await?;
    let day = |at: jiff::Timestamp| at.strftime("%Y-%m-%d").to_string();
    let (from, to, extension) = (day(filter.from), day(filter.to), format.extension());
    let name = format!("attachment; filename=\"usage-{from}-{to}.{extension}\"");
    let head = [(CONTENT_TYPE, format.media_type().to_owned()), (CONTENT_DISPOSITION, name)];
    let body = Body::from_stream(file(office.store.clone(), filter, format));
    Ok((head, body).into_response())
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
    store: Store,
    filter: EventFilter,
    format: ExportFormat,
) -> impl Stream<Item = Result<Bytes, ExportError>> {
    try_stream! {
        let mut writer = ExportWriter::new(format)?;
        yield writer.head()?.into();
        let (mut records, mut cursor) = (Vec::new(), None);
        loop {
            let page = store.events(&filter, PAGE, cursor.as_deref()).await.inspect_err(|error| {
                tracing::error!("an export was cut off: {error}");
            })?;
            records.extend(page.data);
            cursor = page.next_cursor;
            let is_last = cursor.is_none();
            if !records.is_empty() && (is_last || records.len() >= format.batch()) {
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
