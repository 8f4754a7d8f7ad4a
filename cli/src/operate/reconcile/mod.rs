//! `baton usage reconcile`: compares Baton's events with a provider's report of the same days.
//! `domain::reconcile` decides what counts as a difference.

mod report;

use super::CliContext;
use super::query_string::QueryString;
use super::resource_names::ACCOUNT;
use crate::CliError;
use crate::output::print_line;
use baton_domain::money::PicoUsd;
use baton_domain::reconcile::{Difference, Tolerance, UsageFigure, UsageStatement, compare};
use baton_domain::record::UsageRecord;
use clap::Args;
use report::ProviderReport;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::PathBuf;

/// The arguments of `baton usage reconcile`.
#[derive(Args)]
pub struct ReconcileArgs {
    /// The report: a token or cost file of the Anthropic Console (CSV), or an answer of Anthropic's
    /// Usage and Cost API (JSON); can be repeated for files of one kind
    #[arg(long, required = true)]
    file: Vec<PathBuf>,
    /// The accepted difference in percent
    #[arg(long, default_value = "0")]
    tolerance: String,
    /// Only requests of this provider
    #[arg(long, default_value = "anthropic")]
    provider: String,
    /// Only requests through this account, by id or name
    #[arg(long)]
    account: Option<String>,
}

const COLUMNS: [(&str, &str); 6] = [
    ("day", "/day"),
    ("model", "/model"),
    ("figure", "/figure"),
    ("baton", "/baton"),
    ("provider", "/provider"),
    ("difference", "/difference"),
];

pub(super) async fn reconcile(context: &CliContext, args: ReconcileArgs) -> Result<(), CliError> {
    let tolerance = Tolerance::of_percent(&args.tolerance).ok_or_else(|| {
        CliError::Usage(
            "--tolerance must be a percentage such as 0.5, with at most four decimal places"
                .to_owned(),
        )
    })?;
    let report = ProviderReport::read(&args.file)?;
    let Some((first, last)) = report.statement.first_and_last_day() else {
        return Err(CliError::Failed("the report contains no figures".to_owned()));
    };
    let query = QueryString::default()
        .and("format", Some("jsonl".to_owned()))
        .and("from", Some(first.to_owned()))
        .and("to", Some(last.to_owned()))
        .and_id(context, "account_id", ACCOUNT, args.account)
        .await?;
    let mut ledger = LedgerReader::for_provider(&args.provider);
    context.admin.download(&["usage", "export"], &query.pairs(), &mut ledger).await?;
    let ours = ledger.into_statement()?;
    let differences = compare(&ours, &report.statement, report.reported, tolerance);
    let rows: Vec<Value> = differences.iter().map(row).collect();
    let response = json!({ "data": rows });
    if differences.is_empty() {
        context.printer.show(&response, || {
            print_line(format!("no figures differ between {first} and {last}"));
        });
        return Ok(());
    }
    context.printer.rows(&response, &COLUMNS);
    match differences.len() {
        1 => Err(CliError::Failed(format!("one figure differs between {first} and {last}"))),
        count => {
            Err(CliError::Failed(format!("{count} figures differ between {first} and {last}")))
        }
    }
}

fn row(difference: &Difference) -> Value {
    let figure = |value: i128| match difference.figure {
        UsageFigure::Cost => PicoUsd::new(value).to_string(),
        _ => value.to_string(),
    };
    json!({
        "day": difference.day, "model": difference.model, "figure": difference.figure.as_str(),
        "baton": figure(difference.ours), "provider": figure(difference.theirs),
        "difference": figure(difference.ours.saturating_sub(difference.theirs)),
    })
}

/// A writer that adds up the records of one provider in Baton's export (JSON lines) as they arrive,
/// so that a long period does not need much memory.
struct LedgerReader {
    provider: String,
    statement: UsageStatement,
    /// The start of a line that is not complete yet.
    rest: Vec<u8>,
}

impl LedgerReader {
    fn for_provider(provider: &str) -> Self {
        Self {
            provider: provider.to_owned(),
            statement: UsageStatement::default(),
            rest: Vec::new(),
        }
    }

    /// Returns the sums after the last line.
    fn into_statement(self) -> Result<UsageStatement, CliError> {
        if self.rest.is_empty() {
            return Ok(self.statement);
        }
        Err(CliError::Failed("the export is not complete; try again".to_owned()))
    }

    fn add_line(&mut self, line: &[u8]) -> io::Result<()> {
        let record: UsageRecord = serde_json::from_slice(line).map_err(io::Error::other)?;
        if record.provider == self.provider {
            self.statement.add_record(&record);
        }
        Ok(())
    }
}

impl Write for LedgerReader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.add_line(&line)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
