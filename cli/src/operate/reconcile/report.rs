//! Reports of Anthropic: the files of the Console and the answers of its Usage and Cost API.
//!
//! Formats: platform.claude.com/docs, "Get Messages Usage Report" and "Get Cost Report" (2026-11),
//! and the headings of the files as the Console has written them since 2026-03.

use crate::CliError;
use baton_domain::money::{ParseMoneyError, PicoUsd};
use baton_domain::reconcile::{ReportedFigures, UsageEntry, UsageStatement};
use baton_domain::usage::TokenCounts;
use csv::StringRecord;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The usage that a provider reports.
#[derive(Default)]
pub(super) struct ProviderReport {
    pub(super) statement: UsageStatement,
    pub(super) reported: ReportedFigures,
}

/// An answer of the Usage API or of the Cost API.
#[derive(Deserialize)]
struct ReportResponse {
    data: Vec<ReportBucket>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Deserialize)]
struct ReportBucket {
    starting_at: String,
    results: Vec<ReportRow>,
}

/// A row of either API. A row with `amount` belongs to the Cost API.
#[derive(Deserialize)]
struct ReportRow {
    model: Option<String>,
    /// In cents.
    amount: Option<String>,
    currency: Option<String>,
    uncached_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation: Option<CacheCreationTokens>,
    server_tool_use: Option<ServerToolCounts>,
}

#[derive(Deserialize, Default)]
struct CacheCreationTokens {
    #[serde(default)]
    ephemeral_5m_input_tokens: u64,
    #[serde(default)]
    ephemeral_1h_input_tokens: u64,
}

#[derive(Deserialize, Default)]
struct ServerToolCounts {
    #[serde(default)]
    web_search_requests: u64,
}

impl ProviderReport {
    /// Reads all of these files as one report.
    pub(super) fn read(files: &[PathBuf]) -> Result<Self, CliError> {
        let mut report = Self::default();
        for file in files {
            let failed = |reason: String| CliError::Failed(format!("{}: {reason}", file.display()));
            let text = std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
            let before = report.reported;
            report.reported = ReportedFigures::default();
            report.add(&text, file).map_err(failed)?;
            if before != ReportedFigures::default() && before != report.reported {
                return Err(failed("it is not of the same kind as the files before".to_owned()));
            }
        }
        Ok(report)
    }

    fn add(&mut self, text: &str, file: &Path) -> Result<(), String> {
        let text = text.trim_start_matches('\u{feff}');
        if text.trim_start().starts_with('{') {
            return self.add_json(text, file);
        }
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let head = reader.headers().map_err(|error| error.to_string())?.clone();
        let names: Vec<&str> = head.iter().map(str::trim).collect();
        let is_cost = names.contains(&"cost_usd");
        if !is_cost && !names.contains(&"usage_input_tokens_no_cache") {
            return Err("it is neither a token nor a cost file of the Anthropic Console".to_owned());
        }
        self.reported = ReportedFigures { tokens: !is_cost, cost: is_cost };
        for (number, row) in (2..).zip(reader.records()) {
            let row = row.map_err(|error| error.to_string())?;
            let cells = CsvRow { names: &names, row: &row };
            let entry = if is_cost { cells.cost() } else { cells.to_token_entry() };
            let entry = entry.map_err(|why| format!("line {number}: {why}"))?;
            let model = cells.first_column(&["model", "model_version"]);
            self.statement.add_entry(day(cells.first_column(&["usage_date_utc"]))?, model, &entry);
        }
        Ok(())
    }

    fn add_json(&mut self, text: &str, file: &Path) -> Result<(), String> {
        let response: ReportResponse = serde_json::from_str(text)
            .map_err(|error| format!("it is not an answer of the Usage or Cost API: {error}"))?;
        if response.has_more {
            crate::output::remark(format!(
                "{} is one of several pages (`has_more`); add the other pages with --file",
                file.display()
            ));
        }
        for bucket in &response.data {
            for row in &bucket.results {
                let is_cost = row.amount.is_some();
                self.reported.tokens |= !is_cost;
                self.reported.cost |= is_cost;
                let model = row.model.as_deref().unwrap_or_default();
                self.statement.add_entry(day(&bucket.starting_at)?, model, &row.entry()?);
            }
        }
        Ok(())
    }
}

impl ReportRow {
    fn entry(&self) -> Result<UsageEntry, String> {
        if let Some(currency) = self.currency.as_deref().filter(|currency| *currency != "USD") {
            return Err(format!("it is in {currency}, not in USD"));
        }
        let cents = self.amount.as_deref().map_or(Ok(PicoUsd::ZERO), money)?;
        let written = self.cache_creation.as_ref();
        Ok(UsageEntry {
            tokens: TokenCounts {
                input: self.uncached_input_tokens.unwrap_or_default(),
                output: self.output_tokens.unwrap_or_default(),
                cache_read: self.cache_read_input_tokens.unwrap_or_default(),
                cache_write_5m: written.map_or(0, |tokens| tokens.ephemeral_5m_input_tokens),
                cache_write_1h: written.map_or(0, |tokens| tokens.ephemeral_1h_input_tokens),
            },
            web_searches: self
                .server_tool_use
                .as_ref()
                .map_or(0, |counts| counts.web_search_requests),
            cost: PicoUsd::new(cents.pico() / 100),
        })
    }
}

/// A line of a CSV file, accessed by column names.
struct CsvRow<'a> {
    names: &'a [&'a str],
    row: &'a StringRecord,
}

impl CsvRow<'_> {
    /// The value of the first of these columns that exists; empty if none does.
    fn first_column(&self, accepted_names: &[&str]) -> &str {
        let index = self.names.iter().position(|name| accepted_names.contains(name));
        index.and_then(|index| self.row.get(index)).unwrap_or_default().trim()
    }

    fn count(&self, name: &str) -> Result<u64, String> {
        match self.first_column(&[name]) {
            "" => Ok(0),
            digits => digits.parse().map_err(|_| format!("`{name}` is not a count: {digits}")),
        }
    }

    fn to_token_entry(&self) -> Result<UsageEntry, String> {
        Ok(UsageEntry {
            tokens: TokenCounts {
                input: self.count("usage_input_tokens_no_cache")?,
                output: self.count("usage_output_tokens")?,
                cache_read: self.count("usage_input_tokens_cache_read")?,
                cache_write_5m: self.count("usage_input_tokens_cache_write_5m")?,
                cache_write_1h: self.count("usage_input_tokens_cache_write_1h")?,
            },
            web_searches: self.count("web_search_count")?,
            cost: PicoUsd::ZERO,
        })
    }

    /// The list price if the file has it, since Baton counts list prices.
    fn cost(&self) -> Result<UsageEntry, String> {
        let list = self.first_column(&["list_price_usd"]);
        let amount = if list.is_empty() { self.first_column(&["cost_usd"]) } else { list };
        Ok(UsageEntry { cost: money(amount)?, ..UsageEntry::default() })
    }
}

/// The UTC day of `2026-11-22`, or of a time on it.
fn day(text: &str) -> Result<&str, String> {
    let day = text.get(..10).unwrap_or_default();
    match day.parse::<jiff::civil::Date>() {
        Ok(_) => Ok(day),
        Err(_) => Err(format!("`{text}` is not a day")),
    }
}

/// An amount. Fractions of a pico-dollar are cut off.
fn money(text: &str) -> Result<PicoUsd, String> {
    let end = text.find('.').map_or(text.len(), |point| text.len().min(point + 13));
    let amount = text.get(..end).unwrap_or(text);
    amount.parse().map_err(|error: ParseMoneyError| format!("`{text}` is not an amount: {error}"))
}
