//! `baton usage export`: one row for each request, as a file. The API formats the rows, and this
//! module writes them to the file.

use super::CliContext;
use super::query_string::QueryString;
use super::resource_names::{ACCOUNT, KEY};
use crate::CliError;
use crate::output::remark;
use clap::{Args, ValueEnum};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The arguments of `baton usage export`.
#[derive(Args)]
pub struct ExportArgs {
    /// The file format
    #[arg(long, value_enum, default_value_t = ExportFormatArg::Csv)]
    format: ExportFormatArg,
    /// First day or time [default: 30 days ago]
    #[arg(long)]
    from: Option<String>,
    /// Last day or time [default: now]
    #[arg(long)]
    to: Option<String>,
    /// Only requests with this key, by id or name
    #[arg(long)]
    key: Option<String>,
    /// Only requests through this account, by id or name
    #[arg(long)]
    account: Option<String>,
    /// Only requests for this model
    #[arg(long)]
    model: Option<String>,
    /// Only requests with this outcome: complete, client_disconnected, upstream_error, deadline or
    /// stopped
    #[arg(long)]
    outcome: Option<String>,
    /// The file to write; it appears only when it is complete [default: standard output]
    #[arg(long)]
    out: Option<PathBuf>,
}

/// A file format.
#[derive(Clone, Copy, ValueEnum)]
enum ExportFormatArg {
    /// Comma-separated values with a header line
    Csv,
    /// One JSON object per line
    Jsonl,
    /// Apache Parquet
    Parquet,
}

impl ExportFormatArg {
    fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
        }
    }
}

pub(super) async fn export(context: &CliContext, args: ExportArgs) -> Result<(), CliError> {
    let query = QueryString::default()
        .and("format", Some(args.format.name().to_owned()))
        .and("from", args.from)
        .and("to", args.to)
        .and("model", args.model)
        .and("outcome", args.outcome)
        .and_id(context, "key_id", KEY, args.key)
        .await?
        .and_id(context, "account_id", ACCOUNT, args.account)
        .await?;
    let path = ["usage", "export"];
    let Some(file) = args.out else {
        let mut screen = std::io::stdout().lock();
        context.admin.download(&path, &query.pairs(), &mut screen).await?;
        return screen.flush().map_err(CliError::from_cause);
    };
    // The file has a temporary name until it is complete.
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        return Err(CliError::Failed(format!("the folder {} does not exist", folder.display())));
    }
    let failed = |error| CliError::Failed(format!("{}: {error}", file.display()));
    let mut draft = tempfile::Builder::new()
        .prefix(".baton-export-")
        .tempfile_in(folder.unwrap_or(Path::new(".")))
        .map_err(failed)?;
    let bytes = context.admin.download(&path, &query.pairs(), draft.as_file_mut()).await?;
    draft.persist(&file).map_err(|error| failed(error.error))?;
    remark(format!("wrote {bytes} bytes to {}", file.display()));
    Ok(())
}
