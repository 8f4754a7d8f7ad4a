//! `baton usage`: summaries of usage, and single requests. Exports, re-rating and reconciliation
//! have separate files.

use super::export::{ExportArgs, export};
use super::field_flags::FieldFlags;
use super::query_string::QueryString;
use super::reconcile::{ReconcileArgs, reconcile};
use super::rerate::{RerateArgs, rerate};
use super::resource_names::{ACCOUNT, GROUP, KEY, USER};
use super::{CliContext, parse_whole_number};
use crate::CliError;
use crate::output::{remark, rows};
use baton_domain::money::PicoUsd;
use baton_domain::price::is_unpriced_version;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::HashMap;

/// The arguments of `baton usage`. Without a command it shows a summary.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct UsageCommand {
    /// The command
    #[command(subcommand)]
    subcommand: Option<UsageSubcommand>,
    /// The arguments of a summary, for use without a command
    #[command(flatten)]
    summary: SummaryArgs,
}

/// The commands of `baton usage`.
#[derive(Subcommand)]
pub enum UsageSubcommand {
    /// Show sums by day, model, key and more
    Summary(SummaryArgs),
    /// List requests, newest first
    Events(EventsArgs),
    /// Export one row per request to a file
    Export(ExportArgs),
    /// Compute the costs of a period again with the prices in force now
    Rerate(RerateArgs),
    /// Compare usage with a provider's report; fails if figures differ
    Reconcile(ReconcileArgs),
}

/// The arguments of `baton usage summary`.
#[derive(Args)]
pub struct SummaryArgs {
    /// Comma-separated columns to group by: hour, day, month, key, user, group, account, model
    #[arg(long, default_value = "day,model")]
    by: String,
    /// First day or time [default: 30 days ago]
    #[arg(long)]
    from: Option<String>,
    /// Last day or time [default: now]
    #[arg(long)]
    to: Option<String>,
    /// Only requests with this key, by id or name
    #[arg(long)]
    key: Option<String>,
    /// Only requests of this user, by id or name
    #[arg(long)]
    user: Option<String>,
    /// Only requests of this group, by id or name
    #[arg(long)]
    group: Option<String>,
    /// Only requests through this account, by id or name
    #[arg(long)]
    account: Option<String>,
    /// Only requests for this model
    #[arg(long)]
    model: Option<String>,
    /// The order of the rows
    #[arg(long, value_enum, default_value_t = SummaryOrder::Columns)]
    sort: SummaryOrder,
}

/// The order of the rows of a summary.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SummaryOrder {
    /// By the columns of --by
    Columns,
    /// The highest cost first
    Cost,
}

/// The arguments of `baton usage events`.
#[derive(Args)]
pub struct EventsArgs {
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
    /// The most rows to list; 0 means all
    #[arg(long, default_value_t = 100, value_parser = parse_whole_number::<usize>)]
    limit: usize,
}

/// The flags of the fields that this command sets.
pub(crate) const FIELD_FLAGS: FieldFlags = &[
    ("from", "--from"),
    ("to", "--to"),
    ("by", "--by"),
    ("key", "--key"),
    ("key_id", "--key"),
    ("user", "--user"),
    ("group", "--group"),
    ("account", "--account"),
    ("account_id", "--account"),
    ("model", "--model"),
    ("outcome", "--outcome"),
    ("format", "--format"),
    ("limit", "--limit"),
];

const SUMS: [(&str, &str); 9] = [
    ("requests", "/requests"),
    ("errors", "/errors"),
    ("input", "/tokens/input"),
    ("output", "/tokens/output"),
    ("cache read", "/tokens/cache_read"),
    ("cache write 5m", "/tokens/cache_write_5m"),
    ("cache write 1h", "/tokens/cache_write_1h"),
    ("without a price", "/unpriced_requests"),
    ("cost USD", "/cost_usd"),
];

const EVENT_COLUMNS: [(&str, &str); 12] = [
    ("id", "/id"),
    ("started at", "/started_at"),
    ("key", "/key_id"),
    ("account", "/account_id"),
    ("model", "/model"),
    ("status", "/status"),
    ("outcome", "/outcome"),
    ("input", "/tokens/input"),
    ("output", "/tokens/output"),
    ("ms", "/duration_ms"),
    ("cost USD", "/cost_usd"),
    ("price", "/price"),
];

pub(crate) async fn run_usage_command(
    context: &CliContext,
    command: UsageCommand,
) -> Result<(), CliError> {
    let context = &context.with_flags(FIELD_FLAGS);
    match command.subcommand.unwrap_or(UsageSubcommand::Summary(command.summary)) {
        UsageSubcommand::Summary(args) => summary(context, args).await,
        UsageSubcommand::Events(args) => events(context, args).await,
        UsageSubcommand::Export(args) => export(context, args).await,
        UsageSubcommand::Rerate(args) => rerate(context, args).await,
        UsageSubcommand::Reconcile(args) => reconcile(context, args).await,
    }
}

async fn summary(context: &CliContext, args: SummaryArgs) -> Result<(), CliError> {
    let query = QueryString::default()
        .and("by", Some(args.by.clone()))
        .and("from", args.from)
        .and("to", args.to)
        .and("model", args.model)
        .and_id(context, "key", KEY, args.key)
        .await?
        .and_id(context, "user", USER, args.user)
        .await?
        .and_id(context, "group", GROUP, args.group)
        .await?
        .and_id(context, "account", ACCOUNT, args.account)
        .await?;
    let mut response = context.admin.get(&["usage", "summary"], &query.pairs()).await?;
    if args.sort == SummaryOrder::Cost {
        sort_by_cost(&mut response);
    }
    // Scripts get the ids, which do not change.
    if !context.printer.json {
        response = replace_ids_by_names(context, response).await;
    }
    let groups = args.by.split(',').map(str::trim).filter(|name| !name.is_empty());
    let sort_columns: Vec<(&str, String)> =
        groups.map(|name| (name, format!("/group/{name}"))).collect();
    let columns: Vec<(&str, &str)> =
        sort_columns.iter().map(|(name, pointer)| (*name, pointer.as_str())).chain(SUMS).collect();
    context.printer.rows(&response, &columns);
    let unpriced = rows(&response).iter().filter_map(|row| row["unpriced_requests"].as_u64());
    remark_unpriced(unpriced.sum());
    Ok(())
}

/// Says how many requests have an estimated cost, if there are any.
fn remark_unpriced(count: u64) {
    if count > 0 {
        remark(format!(
            "{count} requests used a model without a price; their cost is an estimate. Set prices \
             with `baton price set`, then run `baton usage rerate`"
        ));
    }
}

/// Marks requests whose model has no price. Returns their number.
fn mark_unpriced(rows: &mut [Value]) -> u64 {
    let mut count = 0;
    for row in rows {
        let is_unpriced = row["price_version"].as_str().is_some_and(is_unpriced_version);
        row["price"] = json!(if is_unpriced { "none: estimated" } else { "known" });
        count += u64::from(is_unpriced);
    }
    count
}

/// Puts the row with the highest cost first.
fn sort_by_cost(response: &mut Value) {
    let cost = |row: &Value| {
        let text = row["cost_usd"].as_str().unwrap_or_default();
        text.parse::<PicoUsd>().unwrap_or(PicoUsd::ZERO)
    };
    if let Some(rows) = response["data"].as_array_mut() {
        rows.sort_by_cached_key(|row| Reverse(cost(row)));
    }
}

/// Replaces the ids in the rows of a summary by names. The id of a deleted resource stays, and so
/// do all ids of a kind that the caller cannot list.
async fn replace_ids_by_names(context: &CliContext, mut response: Value) -> Value {
    for kind in [KEY, USER, GROUP, ACCOUNT] {
        if !rows(&response).iter().any(|row| row["group"][kind.noun].is_string()) {
            continue;
        }
        let Ok(names) = context.names(kind).await else { continue };
        let names: HashMap<String, String> =
            names.into_iter().map(|one| (one.id, one.name)).collect();
        for row in response["data"].as_array_mut().into_iter().flatten() {
            let id = row["group"][kind.noun].as_str().unwrap_or_default();
            if let Some(name) = names.get(id) {
                row["group"][kind.noun] = json!(name);
            }
        }
    }
    response
}

async fn events(context: &CliContext, args: EventsArgs) -> Result<(), CliError> {
    let query = QueryString::default()
        .and("from", args.from)
        .and("to", args.to)
        .and("model", args.model)
        .and("outcome", args.outcome)
        .and_id(context, "key_id", KEY, args.key)
        .await?
        .and_id(context, "account_id", ACCOUNT, args.account)
        .await?;
    let max = if args.limit == 0 { usize::MAX } else { args.limit };
    let response = context.admin.get_pages(&["usage", "events"], &query.pairs(), max).await?;
    let mut shown = json!(response);
    if !context.printer.json
        && let Some(rows) = shown["data"].as_array_mut()
    {
        remark_unpriced(mark_unpriced(rows));
    }
    context.printer.rows(&shown, &EVENT_COLUMNS);
    if response.next_cursor.is_some() {
        remark(format!("there are more rows than the {max} that --limit allows"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_without_a_price_are_marked() {
        let mut rows = [json!({ "price_version": "v?" }), json!({ "price_version": "v" })];
        assert_eq!(mark_unpriced(&mut rows), 1);
        assert_eq!(rows[0]["price"], "none: estimated");
        assert_eq!(rows[1]["price"], "known");
    }

    #[test]
    fn most_expensive_row_is_first() {
        let row = |user: &str, cost: &str| json!({ "group": { "user": user }, "cost_usd": cost });
        let mut response = json!({ "data": [row("a", "0.5"), row("b", "10"), row("c", "9.25")] });
        sort_by_cost(&mut response);
        let users: Vec<&str> =
            rows(&response).iter().filter_map(|row| row["group"]["user"].as_str()).collect();
        assert_eq!(users, ["b", "c", "a"]);
    }
}
