//! Pages of requests: the list, and the details of one.

use crate::ConsoleState;
use crate::api_call::{ConsoleApiError, ConsoleResult};
use crate::formatting::{field_text, format_time, millis, money, tokens, truncate_text};
use crate::html_form::{FieldKind, FieldSpec, HtmlForm};
use crate::name_lookup::NameLookup;
use crate::page_blocks::{
    CellPart, PageBlock, PageLink, PageTable, Severity, TableCell, badge, code, empty_cell, link,
    number, optional_text_cell, text,
};
use crate::page_request::{PageRequest, PathId};
use crate::resource_pages;
use axum::Router;
use axum::routing::get;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

const API: &str = "/api/v1/usage/events";
const HERE: &str = "/console/requests";
const ASKED: [&str; 8] =
    ["from", "to", "key_id", "account_id", "user_id", "model", "outcome", "cursor"];

pub(crate) fn routes() -> Router<ConsoleState> {
    Router::new().route("/requests", get(list_requests)).route("/requests/{id}", get(show_request))
}

/// The names of keys, accounts and users for the filter.
struct RequestFilterChoices {
    keys: NameLookup,
    accounts: NameLookup,
    users: NameLookup,
}

impl RequestFilterChoices {
    async fn load(page_request: &PageRequest) -> ConsoleResult<Self> {
        let (keys, accounts, users) = futures_util::try_join!(
            NameLookup::load(page_request, "keys"),
            NameLookup::load(page_request, "accounts"),
            NameLookup::load(page_request, "users"),
        )?;
        Ok(Self { keys, accounts, users })
    }
}

fn filter(page_request: &PageRequest, choices: &RequestFilterChoices) -> PageBlock {
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
        FieldSpec::new("key_id", "Key", "", FieldKind::Choice(choices.keys.choices("All"))),
    ];
    if !page_request.is_member() {
        specs.push(FieldSpec::new(
            "user_id",
            "User",
            "",
            FieldKind::Choice(choices.users.choices("All")),
        ));
        let accounts = choices.accounts.choices("All");
        specs.push(FieldSpec::new("account_id", "Account", "", FieldKind::Choice(accounts)));
    }
    specs.push(FieldSpec::new("model", "Model", "", FieldKind::Text));
    specs.push(FieldSpec::new("outcome", "Outcome", "", FieldKind::Choice(outcomes)));
    let mut form = HtmlForm::get("filter", HERE, "Filter");
    form.fields = specs.iter().map(|spec| spec.submitted_field(&page_request.query)).collect();
    for field in &mut form.fields {
        if matches!(field.name, "from" | "to") {
            field.shape = crate::html_form::FieldControl::Line("date", "text");
            // Only the day of a time, because a date input shows nothing else.
            field.value = field.value.get(..10).unwrap_or_default().to_owned();
        }
    }
    PageBlock::Form(form)
}

async fn list_requests(page_request: PageRequest) -> ConsoleResult {
    let mut query = page_request.query.query(&ASKED);
    query.push_str("&limit=50");
    let (answer, choices) = futures_util::try_join!(
        page_request.get(format!("{API}?{query}")),
        RequestFilterChoices::load(&page_request)
    )?;
    let rows = answer["data"].as_array().cloned().unwrap_or_default();
    let title = if page_request.is_member() { "My requests" } else { "Requests" };
    let mut blocks = vec![filter(&page_request, &choices)];
    if rows.is_empty() {
        let next = PageLink::new("/console/connect", "Connect a client");
        let message = "No requests found in this period (by default, the last 30 days).";
        blocks.push(PageBlock::Empty(message.into(), Some(next)));
        return Ok(page_request.render_page(title, blocks));
    }
    let mut columns = vec!["Time (UTC)", "Model", "Key", "Account", "Outcome"];
    if page_request.is_member() {
        columns.remove(3);
    }
    columns.extend(["#Input", "#Output", "#Cache read", "#Cost", "#First token", "#Duration"]);
    let mut table = PageTable::new("requests", "Requests, latest first", &columns);
    table.rows = rows.iter().map(|row| request_row(&page_request, row, &choices)).collect();
    (table.next, table.first) = resource_pages::page_links(&page_request, &answer, "next_cursor");
    blocks.push(PageBlock::Table(table));
    Ok(page_request.render_page(title, blocks))
}

fn request_row(
    page_request: &PageRequest,
    row: &Value,
    choices: &RequestFilterChoices,
) -> Vec<TableCell> {
    let at = field_text(&row["started_at"]);
    let mut href = form_urlencoded::Serializer::new(format!("{HERE}/{}?", field_text(&row["id"])));
    href.append_pair("key_id", &field_text(&row["key_id"])).append_pair("at", &at);
    let of = |name: &str| tokens(row["tokens"][name].as_u64().unwrap_or_default());
    let mut cells = vec![
        link(href.finish(), format_time(&at)),
        text(truncate_text(&field_text(&row["model"]), 60)),
        choices.keys.link(&row["key_id"]),
    ];
    if !page_request.is_member() {
        cells.push(choices.accounts.link(&row["account_id"]));
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
        "complete" => badge(Severity::Success, "complete"),
        "client_disconnected" => badge(Severity::Neutral, "client disconnected"),
        "deadline" => badge(Severity::Error, "deadline exceeded"),
        "stopped" => badge(Severity::Error, "relay stopped"),
        _ => badge(Severity::Error, format!("error {status}")),
    };
    if row["estimated"] == true {
        cell.push(CellPart::Muted("estimated".to_owned()));
    }
    cell
}

/// The API query that finds one request: those of its key within one millisecond.
fn request_query(page_request: &PageRequest) -> ConsoleResult<String> {
    let at: Timestamp =
        page_request.query.get("at").parse().map_err(|_| ConsoleApiError::page_not_found())?;
    let moment = SignedDuration::from_millis(1);
    let start = at.saturating_sub(moment).unwrap_or(at);
    let end = at.saturating_add(moment).unwrap_or(at);
    let mut query = form_urlencoded::Serializer::new(format!("{API}?limit=1000"));
    query.append_pair("from", &start.to_string()).append_pair("to", &end.to_string());
    query.append_pair("key_id", page_request.query.get("key_id"));
    Ok(query.finish())
}

async fn show_request(page_request: PageRequest, PathId(id): PathId) -> ConsoleResult {
    let path = request_query(&page_request)?;
    let (rows, choices) = futures_util::try_join!(
        page_request.get_list(path),
        RequestFilterChoices::load(&page_request)
    )?;
    let row = rows.into_iter().find(|row| row["id"] == id.as_str());
    let row = row.ok_or_else(|| {
        ConsoleApiError::new(
            http::StatusCode::NOT_FOUND,
            "This request was not found. Single requests are deleted after BATON_EVENT_DAYS days; sums are kept.",
        )
    })?;
    let mut blocks = vec![PageBlock::Facts(facts(&page_request, &row, &choices))];
    blocks.push(PageBlock::Heading("Tokens and cost".into()));
    blocks.push(PageBlock::Table(cost(&row)));
    if !page_request.is_member() {
        blocks.push(PageBlock::Heading("Failed attempts".into()));
        blocks.push(failed_attempts_block(&row, &choices));
    }
    Ok(page_request.render_page("Request", blocks))
}

fn facts(
    page_request: &PageRequest,
    row: &Value,
    choices: &RequestFilterChoices,
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
        ("Started".into(), crate::formatting::time(&row["started_at"])),
        ("Time to first token".into(), text(millis(&row["ttft_ms"]))),
        ("Duration".into(), text(millis(&row["duration_ms"]))),
        (
            "Model".into(),
            std::iter::once(CellPart::Text(truncate_text(&model.0, 100))).chain(served).collect(),
        ),
        ("Key".into(), choices.keys.link(&row["key_id"])),
    ];
    if !page_request.is_member() {
        facts.push(("User".into(), choices.users.link(&row["user_id"])));
        facts.push(("Account".into(), choices.accounts.link(&row["account_id"])));
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
    let count = |name: &str| crate::formatting::count(&row["tokens"][name]);
    table.rows = vec![
        vec![text("Input tokens"), count("input")],
        vec![text("Output tokens"), count("output")],
        vec![text("Tokens read from the cache"), count("cache_read")],
        vec![text("Tokens written to the cache for 5 minutes"), count("cache_write_5m")],
        vec![text("Tokens written to the cache for an hour"), count("cache_write_1h")],
        vec![text("Web searches"), crate::formatting::count(&row["web_searches"])],
        vec![text("Price version"), text(field_text(&row["price_version"]))],
        vec![text("Cost in US dollars, exact"), number(field_text(&row["cost_usd"]), "")],
    ];
    table
}

/// The failed attempts before the account that answered, with their reasons.
fn failed_attempts_block(row: &Value, choices: &RequestFilterChoices) -> PageBlock {
    let attempts = row["tried"].as_array().cloned().unwrap_or_default();
    if attempts.is_empty() {
        return PageBlock::Text("None: the first account answered.".into());
    }
    let mut table = PageTable::new("tried", "Failed attempts, in order", &["Account", "Reason"]);
    table.rows = attempts
        .iter()
        .map(|one| {
            let reason = text(truncate_text(&field_text(&one["reason"]), 300));
            vec![choices.accounts.link(&one["account_id"]), reason]
        })
        .collect();
    PageBlock::Table(table)
}
