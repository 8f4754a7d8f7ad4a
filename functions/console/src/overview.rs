//! The first page: today's numbers, the last month, and the health of accounts.

use crate::api_call::ConsoleResult;
use crate::page_blocks::{PageBlock, PageTable, PageTile};
use crate::page_request::PageRequest;
use crate::table_cells::{CellPart, PageLink, TableCell, badge, link, number, text};
use crate::{accounts, chart, formatting, table_cells};
use baton_api::accounts::{AccountResource, AccountStatus};
use baton_api::overview::{DayMeasures, KeyMeasures, ModelMeasures, Overview};
use baton_api::usage::UsageMeasures;

pub(crate) async fn show_overview(page_request: PageRequest) -> ConsoleResult {
    if page_request.is_member() {
        return crate::page_request::redirect_to("/console/mine");
    }
    let overview: Overview = page_request.get("/api/v1/overview").await?;
    let at = formatting::format_time(overview.as_of);
    let mut blocks = vec![PageBlock::Text(format!("As of {at} UTC. Days are UTC days."))];
    let Overview { days, accounts, .. } = &overview;
    if accounts.is_empty() {
        blocks.push(PageBlock::Empty(
            "No accounts yet. An account is a credential for an upstream; requests need at least one.".into(),
            Some(PageLink::new("/console/accounts/new", "Add the first account")),
        ));
    } else if days.iter().all(|day| day.measures.requests == 0) {
        blocks.push(PageBlock::Empty(
            "No requests in the last 30 days. Connect a client to see its requests here.".into(),
            Some(PageLink::new("/console/connect", "Connect a client")),
        ));
    }
    let mut latest = days.iter().rev();
    if let (Some(today), Some(before)) = (latest.next(), latest.next()) {
        blocks.push(PageBlock::Tiles(tiles(&today.measures, &before.measures)));
    }
    blocks.push(PageBlock::Heading("Spend in the last 30 days".into()));
    blocks.extend(unpriced_block(days));
    blocks.push(PageBlock::Chart(daily_cost_svg(days)));
    blocks.push(PageBlock::FoldedTable("Exact numbers by day".into(), by_day(days)));
    blocks.push(PageBlock::Heading("Today by model".into()));
    blocks.push(by_model(&overview.models));
    let active = u64::try_from(overview.keys_active).unwrap_or(u64::MAX);
    let active = formatting::group_digits(active);
    blocks.push(PageBlock::Heading(format!("Today's top keys ({active} in use)")));
    blocks.push(by_key(&overview.keys));
    blocks.push(PageBlock::Heading("Account health".into()));
    blocks.extend(health(accounts));
    Ok(page_request.render_live_page("Overview", blocks))
}

fn tiles(today: &UsageMeasures, before: &UsageMeasures) -> Vec<PageTile> {
    let tile = |id, label, value, exact, before| PageTile { id, label, value, exact, before };
    vec![
        tile(
            "spend",
            "Spend today",
            formatting::usd(today.cost_usd),
            spend_text(today),
            formatting::usd(before.cost_usd),
        ),
        tile(
            "requests",
            "Requests",
            formatting::abbreviate_number(today.requests),
            formatting::group_digits(today.requests),
            formatting::abbreviate_number(before.requests),
        ),
        tile(
            "tokens",
            "Tokens",
            formatting::abbreviate_number(today.tokens.total()),
            formatting::group_digits(today.tokens.total()),
            formatting::abbreviate_number(before.tokens.total()),
        ),
        tile("errors", "Error rate", error_rate(today), failed(today), error_rate(before)),
        tile(
            "cache",
            "Cache hit rate",
            formatting::percent(today.cache_hit_rate),
            "of prompt tokens were read from the cache".into(),
            formatting::percent(before.cache_hit_rate),
        ),
        tile(
            "ttft",
            "Time to first token",
            formatting::millis(today.ttft_ms_avg),
            "mean".into(),
            formatting::millis(before.ttft_ms_avg),
        ),
    ]
}

/// The exact amount, with a mark if a part of it is an estimate.
fn spend_text(sums: &UsageMeasures) -> String {
    let note = formatting::unpriced_note(sums).map(|note| format!("; {note}"));
    format!("{} USD{}", sums.cost_usd, note.unwrap_or_default())
}

/// What to do about models without a price, if there are any in the last month.
fn unpriced_block(days: &[DayMeasures]) -> Option<PageBlock> {
    let count: u64 = days.iter().map(|day| day.measures.unpriced_requests).sum();
    let text =
        "requests of the last 30 days used a model without a price. Their cost is an estimate.";
    (count > 0).then(|| {
        PageBlock::Row(vec![
            CellPart::Text(format!("{} {text}", formatting::group_digits(count))),
            CellPart::Link(PageLink::new("/console/prices/new", "Set a price")),
        ])
    })
}

/// The share of failed requests in percent.
#[expect(clippy::cast_precision_loss, reason = "a rate for people, to one place")]
fn error_rate(sums: &UsageMeasures) -> String {
    formatting::percent(sums.errors as f64 / sums.requests.max(1) as f64)
}

fn failed(sums: &UsageMeasures) -> String {
    let count = formatting::group_digits;
    format!("{} of {} failed", count(sums.errors), count(sums.requests))
}

fn daily_cost_svg(days: &[DayMeasures]) -> String {
    let dollars = |day: &DayMeasures| day.measures.cost_usd.to_string().parse().unwrap_or(0.0);
    let points: Vec<(String, f64)> =
        days.iter().map(|day| (day.day.clone(), dollars(day))).collect();
    let most_expensive = days.iter().max_by_key(|day| day.measures.cost_usd);
    let description = most_expensive.map_or_else(String::new, |day| {
        let usd = formatting::usd(day.measures.cost_usd);
        format!("One bar per day. The most expensive day was {} with {usd}.", day.day)
    });
    chart::daily_cost_chart(&points, "Spend by day in US dollars", &description)
}

fn usage_cells(sums: &UsageMeasures) -> Vec<TableCell> {
    vec![
        table_cells::summed_cost(sums),
        table_cells::count(sums.requests),
        number(error_rate(sums), failed(sums)),
        table_cells::tokens(sums.tokens.input),
        table_cells::tokens(sums.tokens.output),
        table_cells::tokens(sums.tokens.cache_read),
        number(formatting::percent(sums.cache_hit_rate), ""),
        number(formatting::millis(sums.ttft_ms_avg), ""),
    ]
}

const COLUMNS: [&str; 8] = [
    "#Spend",
    "#Requests",
    "#Errors",
    "#Input",
    "#Output",
    "#Cache read",
    "#Hit rate",
    "#First token",
];

/// A table of sums. Each row is its first cell and its sums.
fn table<'a>(
    id: &'static str,
    caption: &str,
    first: &'static str,
    rows: impl Iterator<Item = (TableCell, &'a UsageMeasures)>,
) -> PageTable {
    let columns: Vec<&'static str> = std::iter::once(first).chain(COLUMNS).collect();
    let mut table = PageTable::new(id, caption, &columns);
    table.rows =
        rows.map(|(name, sums)| std::iter::once(name).chain(usage_cells(sums)).collect()).collect();
    table
}

fn by_day(days: &[DayMeasures]) -> PageTable {
    let rows = days.iter().rev().map(|day| (text(day.day.clone()), &day.measures));
    table("days", "The last 30 days, latest first", "Day", rows)
}

fn by_model(models: &[ModelMeasures]) -> PageBlock {
    if models.is_empty() {
        return PageBlock::Text("No request today.".into());
    }
    let rows = models.iter().map(|row| {
        let mut query = form_urlencoded::Serializer::new(String::from("/console/requests?"));
        query.append_pair("model", &row.model);
        (link(query.finish(), formatting::truncate_text(&row.model, 60)), &row.measures)
    });
    PageBlock::Table(table("models", "Today's models, most expensive first", "Model", rows))
}

fn by_key(keys: &[KeyMeasures]) -> PageBlock {
    if keys.is_empty() {
        return PageBlock::Text("No request today.".into());
    }
    let rows = keys.iter().map(|row| {
        let id = &row.key_id;
        let name = match &row.name {
            Some(name) => link(format!("/console/keys/{id}"), formatting::truncate_text(name, 60)),
            None => vec![CellPart::Code(id.to_string()), CellPart::Muted("deleted".into())],
        };
        (name, &row.measures)
    });
    PageBlock::Table(table("top-keys", "Today's keys, most expensive first", "Key", rows))
}

/// The number of accounts by state, and the accounts that need attention.
fn health(all: &[AccountResource]) -> Vec<PageBlock> {
    let states: Vec<_> = all.iter().map(accounts::state_label).collect();
    let badges = accounts::STATE_LABELS.into_iter().filter_map(|label| {
        let same: Vec<_> = states.iter().filter(|(_, own)| *own == label).collect();
        let (severity, _) = same.first()?;
        Some(badge(*severity, format!("{} {label}", same.len())))
    });
    let mut blocks = vec![PageBlock::Row(badges.flatten().collect())];
    let is_unhealthy = |account: &&AccountResource| match account.status {
        AccountStatus::Unproven | AccountStatus::Cooling | AccountStatus::AuthFailed => true,
        AccountStatus::Ready | AccountStatus::Disabled => false,
    };
    let row = |account: &AccountResource| {
        let href = format!("/console/accounts/{}", account.id);
        vec![
            link(href, formatting::truncate_text(&account.name, 60)),
            accounts::state_cell(account),
            table_cells::time(account.cooling_until),
        ]
    };
    let rows: Vec<_> = all.iter().filter(is_unhealthy).take(20).map(row).collect();
    if !rows.is_empty() {
        let columns = ["Account", "State", "Until"];
        let table = PageTable::new("trouble", "Accounts that get no requests now", &columns);
        blocks.push(PageBlock::Table(PageTable { rows, ..table }));
    }
    blocks
}
