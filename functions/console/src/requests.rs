//! Pages of requests: the list, and the details of one.

use crate::ConsoleState;
use crate::api_call::{ConsoleApiError, ConsoleResult};
use crate::formatting::{format_time, millis, truncate_text};
use crate::html_form::{FieldKind, FieldSpec};
use crate::list_filter::ListFilter;
use crate::name_lookup::NameLookup;
use crate::page_blocks::{PageBlock, PageTable};
use crate::page_request::{PageRequest, PathId};
use crate::resource_pages;
use crate::severity::Severity;
use crate::table_cells::{
    CellPart, PageLink, TableCell, badge, code, count, empty_cell, link, money, number,
    optional_text_cell, text, time, tokens,
};
use axum::Router;
use axum::routing::get;
use baton_api::list::ResourceList;
use baton_domain::protocol::ClientProtocol;
use baton_domain::record::{RequestOutcome, TriedAccount, UsageRecord};
use jiff::{SignedDuration, Timestamp};

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

fn filter_fields(page_request: &PageRequest, choices: &RequestFilterChoices) -> Vec<FieldSpec> {
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
        FieldSpec::new("from", "From", "", FieldKind::Day),
        FieldSpec::new("to", "To", "", FieldKind::Day),
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
    specs
}

async fn list_requests(page_request: PageRequest) -> ConsoleResult {
    let mut query = page_request.query.query(&ASKED);
    query.push_str("&limit=50");
    let (list, choices) = futures_util::join!(
        page_request.get::<ResourceList<UsageRecord>>(format!("{API}?{query}")),
        RequestFilterChoices::load(&page_request)
    );
    let choices = choices?;
    let title = if page_request.is_member() { "My requests" } else { "Requests" };
    let specs = filter_fields(&page_request, &choices);
    let filter = ListFilter { action: HERE.to_owned(), specs };
    let list = match list {
        Ok(list) => list,
        Err(error) => return filter.rejected_page(&page_request, title, error),
    };
    let mut blocks = vec![filter.form(&page_request)];
    if list.data.is_empty() {
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
    table.rows = list.data.iter().map(|row| request_row(&page_request, row, &choices)).collect();
    resource_pages::add_page_links(&mut table, &page_request, list.next_cursor.as_deref());
    blocks.push(PageBlock::Table(table));
    Ok(page_request.render_page(title, blocks))
}

fn request_row(
    page_request: &PageRequest,
    row: &UsageRecord,
    choices: &RequestFilterChoices,
) -> Vec<TableCell> {
    let mut href = form_urlencoded::Serializer::new(format!("{HERE}/{}?", row.id));
    href.append_pair("key_id", row.key_id.as_str());
    href.append_pair("at", &row.started_at.to_string());
    let mut cells = vec![
        link(href.finish(), format_time(row.started_at)),
        text(truncate_text(&row.model, 60)),
        choices.keys.link(Some(&row.key_id)),
    ];
    if !page_request.is_member() {
        cells.push(choices.accounts.link(Some(&row.account_id)));
    }
    cells.extend([
        outcome(row),
        tokens(row.tokens.input),
        tokens(row.tokens.output),
        tokens(row.tokens.cache_read),
        cost_cell(row),
        number(millis(row.ttft_ms.unwrap_or_default()), ""),
        number(millis(row.duration_ms), ""),
    ]);
    cells
}

fn outcome(row: &UsageRecord) -> TableCell {
    let mut cell = match row.outcome {
        RequestOutcome::Complete => badge(Severity::Success, "complete"),
        RequestOutcome::ClientDisconnected => badge(Severity::Neutral, "client disconnected"),
        RequestOutcome::Deadline => badge(Severity::Error, "deadline exceeded"),
        RequestOutcome::Stopped => badge(Severity::Error, "relay stopped"),
        RequestOutcome::UpstreamError => badge(Severity::Error, format!("error {}", row.status)),
    };
    if row.estimated {
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
    let (rows, choices): (Vec<UsageRecord>, _) = futures_util::try_join!(
        page_request.get_list(path),
        RequestFilterChoices::load(&page_request)
    )?;
    let row = rows.into_iter().find(|row| row.id.as_str() == id);
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
    row: &UsageRecord,
    choices: &RequestFilterChoices,
) -> Vec<(String, TableCell)> {
    let mut model = vec![CellPart::Text(truncate_text(&row.model, 100))];
    if row.upstream_model != row.model {
        let served = truncate_text(&row.upstream_model, 100);
        model.push(CellPart::Muted(format!("served as {served}")));
    }
    let optional = |value: Option<&str>| {
        value.map_or_else(empty_cell, |value| code(truncate_text(value, 200)))
    };
    let mut facts: Vec<(String, TableCell)> = vec![
        ("Outcome".into(), outcome(row)),
        ("Status".into(), text(row.status.to_string())),
        ("Started".into(), time(Some(row.started_at))),
        ("Time to first token".into(), text(millis(row.ttft_ms.unwrap_or_default()))),
        ("Duration".into(), text(millis(row.duration_ms))),
        ("Model".into(), model),
        ("Key".into(), choices.keys.link(Some(&row.key_id))),
    ];
    if !page_request.is_member() {
        facts.push(("User".into(), choices.users.link(row.user_id.as_ref())));
        facts.push(("Account".into(), choices.accounts.link(Some(&row.account_id))));
        facts.push(("Accounts tried".into(), text(row.attempts.to_string())));
    }
    facts.extend([
        ("Protocol".into(), text(protocol_label(&row.protocol))),
        ("Streamed".into(), text(if row.stream { "yes" } else { "no" })),
        ("Service tier".into(), optional_text_cell(row.service_tier.as_deref())),
        ("Session".into(), optional(row.session_id.as_deref())),
        ("Agent".into(), optional(row.agent_id.as_deref())),
        ("Id".into(), code(row.id.to_string())),
    ]);
    facts
}

/// The words for a client's protocol.
fn protocol_label(name: &str) -> &str {
    let known = ClientProtocol::ALL.into_iter().find(|protocol| protocol.as_str() == name);
    known.map_or(name, |protocol| match protocol {
        ClientProtocol::AnthropicMessages => "Anthropic Messages",
        ClientProtocol::OpenaiChat => "OpenAI Chat Completions",
        ClientProtocol::OpenaiResponses => "OpenAI Responses",
        ClientProtocol::BedrockInvokeModel => "Bedrock InvokeModel",
    })
}

/// The cost, with a mark if the model has no price.
fn cost_cell(row: &UsageRecord) -> TableCell {
    let mut cell = money(row.cost_usd);
    if row.is_unpriced() {
        cell.push(CellPart::Muted("no price".into()));
    }
    cell
}

/// The version of the price; an estimated one says so.
fn price_version(row: &UsageRecord) -> String {
    let mark = if row.is_unpriced() { " (the model has no price: estimated)" } else { "" };
    format!("{}{mark}", row.price_version)
}

fn cost(row: &UsageRecord) -> PageTable {
    let mut table = PageTable::new("cost", "Recorded usage", &["Item", "#Amount"]);
    let sums = &row.tokens;
    table.rows = vec![
        vec![text("Input tokens"), count(sums.input)],
        vec![text("Output tokens"), count(sums.output)],
        vec![text("Tokens read from the cache"), count(sums.cache_read)],
        vec![text("Tokens written to the cache for 5 minutes"), count(sums.cache_write_5m)],
        vec![text("Tokens written to the cache for an hour"), count(sums.cache_write_1h)],
        vec![text("Web searches"), count(row.web_searches)],
        vec![text("Price version"), text(price_version(row))],
        vec![text("Cost in US dollars, exact"), number(row.cost_usd.to_string(), "")],
    ];
    table
}

/// The failed attempts before the account that answered, with their reasons.
fn failed_attempts_block(row: &UsageRecord, choices: &RequestFilterChoices) -> PageBlock {
    if row.tried.is_empty() {
        return PageBlock::Text("None: the first account answered.".into());
    }
    let mut table = PageTable::new("tried", "Failed attempts, in order", &["Account", "Reason"]);
    let attempt = |tried: &TriedAccount| {
        let reason = text(truncate_text(&tried.reason, 300));
        vec![choices.accounts.link(Some(&tried.account_id)), reason]
    };
    table.rows = row.tried.iter().map(attempt).collect();
    PageBlock::Table(table)
}
