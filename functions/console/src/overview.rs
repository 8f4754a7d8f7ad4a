//! The first page: today's numbers, the last month, and the health of accounts.

use crate::api_call::ConsoleResult;
use crate::page_blocks::{
    CellPart, PageBlock, PageLink, PageTable, PageTile, Severity, TableCell, badge, link, number,
    text,
};
use crate::page_request::PageRequest;
use crate::{accounts, chart, formatting};
use serde_json::Value;

pub(crate) async fn show_overview(page_request: PageRequest) -> ConsoleResult {
    if page_request.is_member() {
        return crate::page_request::redirect_to("/console/mine");
    }
    let view = page_request.get("/api/v1/overview").await?;
    let mut blocks = Vec::new();
    let rows = |name: &str| view[name].as_array().cloned().unwrap_or_default();
    let (days, all) = (rows("days"), rows("accounts"));
    if all.is_empty() {
        blocks.push(PageBlock::Empty(
            "No accounts yet. An account is a credential for an upstream; requests need at least one.".into(),
            Some(PageLink::new("/console/accounts/new", "Add the first account")),
        ));
    } else if days.iter().all(|day| day["requests"] == 0) {
        blocks.push(PageBlock::Empty(
            "No requests in the last 30 days. Connect a client to see its requests here.".into(),
            Some(PageLink::new("/console/connect", "Connect a client")),
        ));
    }
    let mut latest = days.iter().rev();
    let (today, before) = (latest.next(), latest.next());
    blocks.push(PageBlock::Tiles(tiles(
        today.unwrap_or(&Value::Null),
        before.unwrap_or(&Value::Null),
    )));
    blocks.push(PageBlock::Heading("Spend in the last 30 days".into()));
    blocks.push(PageBlock::Chart(daily_cost_svg(&days)));
    blocks.push(PageBlock::FoldedTable("Exact numbers by day".into(), by_day(&days)));
    blocks.push(PageBlock::Heading("Today by model".into()));
    blocks.push(by_model(&rows("models")));
    let active = formatting::count(&view["keys_active"]);
    let active = active.first().map_or(String::new(), |piece| match piece {
        CellPart::Number(shown, _) => shown.clone(),
        _ => String::new(),
    });
    blocks.push(PageBlock::Heading(format!("Today's top keys ({active} in use)")));
    blocks.push(by_key(&rows("keys")));
    blocks.push(PageBlock::Heading("Account health".into()));
    blocks.extend(health(&all));
    let at = formatting::format_time(&formatting::field_text(&view["as_of"]));
    blocks.push(PageBlock::Text(format!("As of {at} UTC. Days are UTC days.")));
    Ok(page_request.render_live_page("Overview", blocks))
}

fn tiles(today: &Value, before: &Value) -> Vec<PageTile> {
    let tokens = |day: &Value| formatting::total_tokens(&day["tokens"]);
    let usd = |day: &Value| day["cost_usd"].as_str().unwrap_or("0").to_owned();
    let requests = |day: &Value| day["requests"].as_u64().unwrap_or_default();
    let tile = |id, label, value, exact, before| PageTile { id, label, value, exact, before };
    vec![
        tile(
            "spend",
            "Spend today",
            formatting::usd(&usd(today)),
            format!("{} USD", usd(today)),
            formatting::usd(&usd(before)),
        ),
        tile(
            "requests",
            "Requests",
            formatting::abbreviate_number(requests(today)),
            formatting::group_digits(requests(today)),
            formatting::abbreviate_number(requests(before)),
        ),
        tile(
            "tokens",
            "Tokens",
            formatting::abbreviate_number(tokens(today)),
            formatting::group_digits(tokens(today)),
            formatting::abbreviate_number(tokens(before)),
        ),
        tile("errors", "Error rate", error_rate(today), failed(today), error_rate(before)),
        tile(
            "cache",
            "Cache hit rate",
            formatting::percent(&today["cache_hit_rate"]),
            "of prompt tokens were read from the cache".into(),
            formatting::percent(&before["cache_hit_rate"]),
        ),
        tile(
            "ttft",
            "Time to first token",
            formatting::millis(&today["ttft_ms_avg"]),
            "mean".into(),
            formatting::millis(&before["ttft_ms_avg"]),
        ),
    ]
}

/// The share of failed requests in percent.
#[expect(clippy::cast_precision_loss, reason = "a rate for people, to one place")]
fn error_rate(row: &Value) -> String {
    let count = |name: &str| row[name].as_u64().unwrap_or_default();
    let (errors, requests) = (count("errors"), count("requests").max(1));
    format!("{:.1} %", errors as f64 / requests as f64 * 100.0)
}

fn failed(row: &Value) -> String {
    let count = |name: &str| formatting::group_digits(row[name].as_u64().unwrap_or_default());
    format!("{} of {} failed", count("errors"), count("requests"))
}

fn daily_cost_svg(days: &[Value]) -> String {
    let points: Vec<(String, f64)> = days
        .iter()
        .map(|day| {
            (
                formatting::field_text(&day["day"]),
                formatting::field_text(&day["cost_usd"]).parse().unwrap_or(0.0),
            )
        })
        .collect();
    let most_expensive = days.iter().max_by(|a, b| {
        let usd =
            |day: &Value| formatting::field_text(&day["cost_usd"]).parse::<f64>().unwrap_or(0.0);
        usd(a).total_cmp(&usd(b))
    });
    let description = most_expensive.map_or_else(String::new, |day| {
        let usd = formatting::usd(day["cost_usd"].as_str().unwrap_or("0"));
        format!(
            "One bar per day. The most expensive day was {} with {usd}.",
            formatting::field_text(&day["day"])
        )
    });
    chart::daily_cost_chart(&points, "Spend by day in US dollars", &description)
}

fn usage_cells(row: &Value) -> Vec<TableCell> {
    let tokens = |name: &str| formatting::tokens(row["tokens"][name].as_u64().unwrap_or_default());
    vec![
        formatting::money(&row["cost_usd"]),
        formatting::count(&row["requests"]),
        number(error_rate(row), failed(row)),
        tokens("input"),
        tokens("output"),
        tokens("cache_read"),
        number(formatting::percent(&row["cache_hit_rate"]), ""),
        number(formatting::millis(&row["ttft_ms_avg"]), ""),
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

fn table(
    id: &'static str,
    caption: &str,
    first: &'static str,
    rows: &[Value],
    name: impl Fn(&Value) -> TableCell,
) -> PageTable {
    let columns: Vec<&'static str> = std::iter::once(first).chain(COLUMNS).collect();
    let mut table = PageTable::new(id, caption, &columns);
    table.rows = rows
        .iter()
        .map(|row| std::iter::once(name(row)).chain(usage_cells(row)).collect())
        .collect();
    table
}

fn by_day(days: &[Value]) -> PageTable {
    let latest: Vec<Value> = days.iter().rev().cloned().collect();
    table("days", "The last 30 days, latest first", "Day", &latest, |row| {
        text(formatting::field_text(&row["day"]))
    })
}

fn by_model(rows: &[Value]) -> PageBlock {
    if rows.is_empty() {
        return PageBlock::Text("No request today.".into());
    }
    PageBlock::Table(table(
        "models",
        "Today's models, most expensive first",
        "Model",
        rows,
        |row| {
            let model = formatting::field_text(&row["model"]);
            let mut query = form_urlencoded::Serializer::new(String::from("/console/requests?"));
            query.append_pair("model", &model);
            link(query.finish(), formatting::truncate_text(&model, 60))
        },
    ))
}

fn by_key(rows: &[Value]) -> PageBlock {
    if rows.is_empty() {
        return PageBlock::Text("No request today.".into());
    }
    PageBlock::Table(table("top-keys", "Today's keys, most expensive first", "Key", rows, |row| {
        let id = formatting::field_text(&row["key_id"]);
        match row["name"].as_str() {
            Some(name) => link(format!("/console/keys/{id}"), formatting::truncate_text(name, 60)),
            None => vec![CellPart::Code(id), CellPart::Muted("deleted".into())],
        }
    }))
}

/// The number of accounts by state, and the accounts that need attention.
fn health(all: &[Value]) -> Vec<PageBlock> {
    let with = |status: &str| all.iter().filter(|one| one["status"] == status).count();
    let counts = [
        (Severity::Success, "ready"),
        (Severity::Warning, "unproven"),
        (Severity::Warning, "cooling"),
        (Severity::Error, "auth_failed"),
        (Severity::Neutral, "disabled"),
    ];
    let counters = counts.into_iter().filter(|(_, status)| with(status) > 0);
    let row: Vec<CellPart> = counters
        .flat_map(|(tone, status)| {
            badge(tone, format!("{} {}", with(status), accounts::status_label(status)))
        })
        .collect();
    let mut blocks = vec![PageBlock::Row(row)];
    let mut unhealthy: Vec<&Value> = all
        .iter()
        .filter(|one| {
            matches!(one["status"].as_str(), Some("unproven" | "cooling" | "auth_failed"))
        })
        .collect();
    unhealthy.truncate(20);
    if !unhealthy.is_empty() {
        let mut table = PageTable::new(
            "trouble",
            "Accounts that get no requests now",
            &["Account", "State", "Until"],
        );
        table.rows = unhealthy
            .into_iter()
            .map(|one| {
                let href = format!("/console/accounts/{}", formatting::field_text(&one["id"]));
                let name = formatting::truncate_text(&formatting::field_text(&one["name"]), 60);
                vec![
                    link(href, name),
                    accounts::state(one),
                    formatting::time(&one["cooling_until"]),
                ]
            })
            .collect();
        blocks.push(PageBlock::Table(table));
    }
    blocks
}
