//! Pages of requests: the list, and the details of one.

use super::ConsoleState;
use super::api_call::{ConsoleApiError, ConsoleResult};
use super::formatting::{field_text, format_time, millis, money, tokens, truncate_text};
use super::html_form::{FieldKind, FieldSpec, HtmlForm};
use super::name_lookup::NameLookup;
use super::page_blocks::{
    CellPart, Link, PageBlock, PageTable, TableCell, Tone, badge, code, empty_cell, link, number,
    optional_text_cell, text,
};
use super::page_request::{PageRequest, PathId};
use super::resource_pages;
use axum::Router;
use axum::routing::get;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

const API: &str = "/api/v1/usage/events";
const HERE: &str = "/console/requests";
const ASKED: [&str; 8] =
    ["from", "to", "key_id", "account_id", "user_id", "model", "outcome", "cursor"];

pub(super) fn routes() -> Router<ConsoleState> {
    Router::new().route("/requests", get(list_requests)).route("/requests/{id}", get(show_request))
}

/// The names of keys, accounts and users for the filter.
struct RequestFilterChoices {
    keys: NameLookup,
    accounts: NameLookup,
    users: NameLookup,
}

impl RequestFilterChoices {
    async fn load(guest: &PageRequest) -> ConsoleResult<Self> {
        let (keys, accounts, users) = futures_util::try_join!(
            NameLookup::load(guest, "keys"),
            NameLookup::load(guest, "accounts"),
            NameLookup::load(guest, "users"),
        )?;
        Ok(Self { keys, accounts, users })
    }
}

fn filter(guest: &PageRequest, around: &RequestFilterChoices) -> PageBlock {
    let outcomes = [
        ("", "All"),
        ("complete", "complete"),
        ("client_disconnected", "client disconnected"),
        ("upstream_error", "upstream error"),
        ("deadline", "deadline exceeded"),
        ("stopped", "relay stopped"),
    ];
    let outcomes = outcomes.map(|(value, name)| (value.to_owned(), name.to_owned())).to_vec();
    let mut specs = vec![
        FieldSpec::new("from", "From", "", FieldKind::Text),
        FieldSpec::new("to", "To", "", FieldKind::Text),
        FieldSpec::new("key_id", "Key", "", FieldKind::Choice(around.keys.choices("All"))),
    ];
    if !guest.is_member() {
        specs.push(FieldSpec::new(
            "user_id",
            "User",
            "",
            FieldKind::Choice(around.users.choices("All")),
        ));
        let accounts = around.accounts.choices("All");
        specs.push(FieldSpec::new("account_id", "Account", "", FieldKind::Choice(accounts)));
    }
    specs.push(FieldSpec::new("model", "Model", "", FieldKind::Text));
    specs.push(FieldSpec::new("outcome", "Outcome", "", FieldKind::Choice(outcomes)));
    let mut form = HtmlForm::get("filter", HERE, "Filter");
    form.fields = specs.iter().map(|spec| spec.typed(&guest.query)).collect();
    for field in &mut form.fields {
        if matches!(field.name, "from" | "to") {
            field.shape = super::html_form::FieldControl::Line("date", "text");
            // Only the day of a time, because a date input shows nothing else.
            field.value = field.value.get(..10).unwrap_or_default().to_owned();
        }
    }
    PageBlock::Form(form)
}

async fn list_requests(guest: PageRequest) -> ConsoleResult {
    let mut query = guest.query.query(&ASKED);
    query.push_str("&limit=50");
    let (answer, around) = futures_util::try_join!(
        guest.get(format!("{API}?{query}")),
        RequestFilterChoices::load(&guest)
    )?;
    let rows = answer["data"].as_array().cloned().unwrap_or_default();
    let title = if guest.is_member() { "My requests" } else { "Requests" };
    let mut blocks = vec![filter(&guest, &around)];
    if rows.is_empty() {
        let next = Link::new("/console/connect", "Connect a client");
        let says = "No requests found in this period (by default, the last 30 days).";
        blocks.push(PageBlock::Empty(says.into(), Some(next)));
        return Ok(guest.render_page(title, blocks));
    }
    let mut columns = vec!["Time (UTC)", "Model", "Key", "Account", "Outcome"];
    if guest.is_member() {
        columns.remove(3);
    }
    columns.extend(["#Input", "#Output", "#Cache read", "#Cost", "#First token", "#Duration"]);
    let mut table = PageTable::new("requests", "Requests, latest first", &columns);
    table.rows = rows.iter().map(|row| request_row(&guest, row, &around)).collect();
    (table.next, table.first) = resource_pages::page_links(&guest, &answer, "next_cursor");
    blocks.push(PageBlock::Table(table));
    Ok(guest.render_page(title, blocks))
}

fn request_row(guest: &PageRequest, row: &Value, around: &RequestFilterChoices) -> Vec<TableCell> {
    let at = field_text(&row["started_at"]);
    let mut href = form_urlencoded::Serializer::new(format!("{HERE}/{}?", field_text(&row["id"])));
    href.append_pair("key_id", &field_text(&row["key_id"])).append_pair("at", &at);
    let of = |name: &str| tokens(row["tokens"][name].as_u64().unwrap_or_default());
    let mut cells = vec![
        link(href.finish(), format_time(&at)),
        text(truncate_text(&field_text(&row["model"]), 60)),
        around.keys.link(&row["key_id"]),
    ];
    if !guest.is_member() {
        cells.push(around.accounts.link(&row["account_id"]));
    }
    cells.extend([
        outcome(row),
        of("input"),
        of("output"),
        of("cache_read"),
        money(&row["cost_usd"]),
        number(millis(&row["ttft_ms"]), ""),
        number(millis(&row["duration_ms"]), ""),
    ]);
    cells
}

fn outcome(row: &Value) -> TableCell {
    let status = field_text(&row["status"]);
    let mut cell = match row["outcome"].as_str().unwrap_or_default() {
        "complete" => badge(Tone::Good, "complete"),
        "client_disconnected" => badge(Tone::Plain, "client disconnected"),
        "deadline" => badge(Tone::Bad, "deadline exceeded"),
        "stopped" => badge(Tone::Bad, "relay stopped"),
        _ => badge(Tone::Bad, format!("error {status}")),
    };
    if row["estimated"] == true {
        cell.push(CellPart::Muted("estimated".to_owned()));
    }
    cell
}

/// The API query that finds one request: those of its key within one millisecond.
fn request_query(guest: &PageRequest) -> ConsoleResult<String> {
    let at: Timestamp =
        guest.query.get("at").parse().map_err(|_| ConsoleApiError::page_not_found())?;
    let moment = SignedDuration::from_millis(1);
    let start = at.saturating_sub(moment).unwrap_or(at);
    let end = at.saturating_add(moment).unwrap_or(at);
    let mut query = form_urlencoded::Serializer::new(format!("{API}?limit=1000"));
    query.append_pair("from", &start.to_string()).append_pair("to", &end.to_string());
    query.append_pair("key_id", guest.query.get("key_id"));
    Ok(query.finish())
}

async fn show_request(guest: PageRequest, PathId(id): PathId) -> ConsoleResult {
    let path = request_query(&guest)?;
    let (rows, around) =
        futures_util::try_join!(guest.get_list(path), RequestFilterChoices::load(&guest))?;
    let row = rows.into_iter().find(|row| row["id"] == id.as_str());
    let row = row.ok_or_else(|| {
        ConsoleApiError::new(
            http::StatusCode::NOT_FOUND,
            "This request was not found. Single requests are deleted after BATON_EVENT_DAYS days; sums are kept.",
        )
    })?;
    let mut blocks = vec![PageBlock::Facts(facts(&guest, &row, &around))];
    blocks.push(PageBlock::Heading("Tokens and cost".into()));
    blocks.push(PageBlock::Table(cost(&row)));
    if !guest.is_member() {
        blocks.push(PageBlock::Heading("Failed attempts".into()));
        blocks.push(failed_attempts_block(&row, &around));
    }
    Ok(guest.render_page("Request", blocks))
}

fn facts(
    guest: &PageRequest,
    row: &Value,
    around: &RequestFilterChoices,
) -> Vec<(String, TableCell)> {
    let model = (field_text(&row["model"]), field_text(&row["upstream_model"]));
    let served = if model.0 == model.1 {
        Vec::new()
    } else {
        vec![CellPart::Muted(format!("served as {}", truncate_text(&model.1, 100)))]
    };
    let optional = |name: &str| match &row[name] {
        Value::Null => empty_cell(),
        value => code(truncate_text(&field_text(value), 200)),
    };
    let mut facts: Vec<(String, TableCell)> = vec![
        ("Outcome".into(), outcome(row)),
        ("Status".into(), text(field_text(&row["status"]))),
        ("Started".into(), super::formatting::time(&row["started_at"])),
        ("Time to first token".into(), text(millis(&row["ttft_ms"]))),
        ("Duration".into(), text(millis(&row["duration_ms"]))),
        (
            "Model".into(),
            std::iter::once(CellPart::Text(truncate_text(&model.0, 100))).chain(served).collect(),
        ),
        ("Key".into(), around.keys.link(&row["key_id"])),
    ];
    if !guest.is_member() {
        facts.push(("User".into(), around.users.link(&row["user_id"])));
        facts.push(("Account".into(), around.accounts.link(&row["account_id"])));
        facts.push(("Accounts tried".into(), text(field_text(&row["attempts"]))));
    }
    let streamed = if row["stream"] == true { "yes" } else { "no" };
    facts.extend([
        ("Protocol".into(), text(field_text(&row["protocol"]))),
        ("Streamed".into(), text(streamed)),
        ("Service tier".into(), optional_text_cell(row["service_tier"].as_str())),
        ("Session".into(), optional("session_id")),
        ("Agent".into(), optional("agent_id")),
        ("Id".into(), code(field_text(&row["id"]))),
    ]);
    facts
}

fn cost(row: &Value) -> PageTable {
    let mut table = PageTable::new("cost", "Recorded usage", &["Item", "#Amount"]);
    let count = |name: &str| super::formatting::count(&row["tokens"][name]);
    table.rows = vec![
        vec![text("Input tokens"), count("input")],
        vec![text("Output tokens"), count("output")],
        vec![text("Tokens read from the cache"), count("cache_read")],
        vec![text("Tokens written to the cache for 5 minutes"), count("cache_write_5m")],
        vec![text("Tokens written to the cache for an hour"), count("cache_write_1h")],
        vec![text("Web searches"), super::formatting::count(&row["web_searches"])],
        vec![text("Price version"), text(field_text(&row["price_version"]))],
        vec![text("Cost in US dollars, exact"), number(field_text(&row["cost_usd"]), "")],
    ];
    table
}

/// The failed attempts before the account that answered, with their reasons.
fn failed_attempts_block(row: &Value, around: &RequestFilterChoices) -> PageBlock {
    let left = row["tried"].as_array().cloned().unwrap_or_default();
    if left.is_empty() {
        return PageBlock::Text("None: the first account answered.".into());
    }
    let mut table = PageTable::new("tried", "Failed attempts, in order", &["Account", "Reason"]);
    table.rows = left
        .iter()
        .map(|one| {
            let reason = text(truncate_text(&field_text(&one["reason"]), 300));
            vec![around.accounts.link(&one["account_id"]), reason]
        })
        .collect();
    PageBlock::Table(table)
}
