//! Pages of requests: the list, and the details of one.

use super::Desk;
use super::ask::{Outcome, Trouble};
use super::block::{
    Block, Cell, Link, Piece, Table, Tone, badge, code, link, maybe, none, number, text,
};
use super::form::{Form, Kind, Spec};
use super::guest::{Guest, Id};
use super::lookup::Names;
use super::show::{cut, millis, moment, money, said, tokens};
use super::thing;
use axum::Router;
use axum::routing::get;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

const API: &str = "/api/v1/usage/events";
const HERE: &str = "/console/requests";
const ASKED: [&str; 8] =
    ["from", "to", "key_id", "account_id", "user_id", "model", "outcome", "cursor"];

pub(super) fn routes() -> Router<Desk> {
    Router::new().route("/requests", get(list)).route("/requests/{id}", get(read))
}

/// The names of keys, accounts and users for the filter.
struct Around {
    keys: Names,
    accounts: Names,
    users: Names,
}

impl Around {
    async fn of(guest: &Guest) -> Outcome<Self> {
        let (keys, accounts, users) = futures_util::try_join!(
            Names::of(guest, "keys"),
            Names::of(guest, "accounts"),
            Names::of(guest, "users"),
        )?;
        Ok(Self { keys, accounts, users })
    }
}

fn filter(guest: &Guest, around: &Around) -> Block {
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
        Spec::new("from", "From", "", Kind::Text),
        Spec::new("to", "To", "", Kind::Text),
        Spec::new("key_id", "Key", "", Kind::Choice(around.keys.choices("All"))),
    ];
    if !guest.is_member() {
        specs.push(Spec::new("user_id", "User", "", Kind::Choice(around.users.choices("All"))));
        let accounts = around.accounts.choices("All");
        specs.push(Spec::new("account_id", "Account", "", Kind::Choice(accounts)));
    }
    specs.push(Spec::new("model", "Model", "", Kind::Text));
    specs.push(Spec::new("outcome", "Outcome", "", Kind::Choice(outcomes)));
    let mut form = Form::get("filter", HERE, "Filter");
    form.fields = specs.iter().map(|spec| spec.typed(&guest.query)).collect();
    for field in &mut form.fields {
        if matches!(field.name, "from" | "to") {
            field.shape = super::form::Shape::Line("date", "text");
            // Only the day of a time, because a date input shows nothing else.
            field.value = field.value.get(..10).unwrap_or_default().to_owned();
        }
    }
    Block::Form(form)
}

async fn list(guest: Guest) -> Outcome {
    let mut query = guest.query.query(&ASKED);
    query.push_str("&limit=50");
    let (answer, around) =
        futures_util::try_join!(guest.get(format!("{API}?{query}")), Around::of(&guest))?;
    let rows = answer["data"].as_array().cloned().unwrap_or_default();
    let title = if guest.is_member() { "My requests" } else { "Requests" };
    let mut blocks = vec![filter(&guest, &around)];
    if rows.is_empty() {
        let next = Link::new("/console/connect", "Connect a client");
        let says = "No requests found in this period (by default, the last 30 days).";
        blocks.push(Block::Empty(says.into(), Some(next)));
        return Ok(guest.show(title, blocks));
    }
    let mut columns = vec!["Time (UTC)", "Model", "Key", "Account", "Outcome"];
    if guest.is_member() {
        columns.remove(3);
    }
    columns.extend(["#Input", "#Output", "#Cache read", "#Cost", "#First token", "#Duration"]);
    let mut table = Table::new("requests", "Requests, latest first", &columns);
    table.rows = rows.iter().map(|row| line(&guest, row, &around)).collect();
    (table.next, table.first) = thing::pages(&guest, &answer, "next_cursor");
    blocks.push(Block::Table(table));
    Ok(guest.show(title, blocks))
}

fn line(guest: &Guest, row: &Value, around: &Around) -> Vec<Cell> {
    let at = said(&row["started_at"]);
    let mut href = form_urlencoded::Serializer::new(format!("{HERE}/{}?", said(&row["id"])));
    href.append_pair("key_id", &said(&row["key_id"])).append_pair("at", &at);
    let of = |name: &str| tokens(row["tokens"][name].as_u64().unwrap_or_default());
    let mut cells = vec![
        link(href.finish(), moment(&at)),
        text(cut(&said(&row["model"]), 60)),
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

fn outcome(row: &Value) -> Cell {
    let status = said(&row["status"]);
    let mut cell = match row["outcome"].as_str().unwrap_or_default() {
        "complete" => badge(Tone::Good, "complete"),
        "client_disconnected" => badge(Tone::Plain, "client disconnected"),
        "deadline" => badge(Tone::Bad, "deadline exceeded"),
        "stopped" => badge(Tone::Bad, "relay stopped"),
        _ => badge(Tone::Bad, format!("error {status}")),
    };
    if row["estimated"] == true {
        cell.push(Piece::Faint("estimated".to_owned()));
    }
    cell
}

/// The API query that finds one request: those of its key within one millisecond.
fn place(guest: &Guest) -> Outcome<String> {
    let at: Timestamp = guest.query.get("at").parse().map_err(|_| Trouble::nowhere())?;
    let moment = SignedDuration::from_millis(1);
    let start = at.saturating_sub(moment).unwrap_or(at);
    let end = at.saturating_add(moment).unwrap_or(at);
    let mut query = form_urlencoded::Serializer::new(format!("{API}?limit=1000"));
    query.append_pair("from", &start.to_string()).append_pair("to", &end.to_string());
    query.append_pair("key_id", guest.query.get("key_id"));
    Ok(query.finish())
}

async fn read(guest: Guest, Id(id): Id) -> Outcome {
    let path = place(&guest)?;
    let (rows, around) = futures_util::try_join!(guest.list(path), Around::of(&guest))?;
    let row = rows.into_iter().find(|row| row["id"] == id.as_str());
    let row = row.ok_or_else(|| {
        Trouble::new(
            http::StatusCode::NOT_FOUND,
            "This request was not found. Single requests are deleted after BATON_EVENT_DAYS days; sums are kept.",
        )
    })?;
    let mut blocks = vec![Block::Facts(facts(&guest, &row, &around))];
    blocks.push(Block::Heading("Tokens and cost".into()));
    blocks.push(Block::Table(cost(&row)));
    if !guest.is_member() {
        blocks.push(Block::Heading("Failed attempts".into()));
        blocks.push(tried(&row, &around));
    }
    Ok(guest.show("Request", blocks))
}

fn facts(guest: &Guest, row: &Value, around: &Around) -> Vec<(String, Cell)> {
    let model = (said(&row["model"]), said(&row["upstream_model"]));
    let served = if model.0 == model.1 {
        Vec::new()
    } else {
        vec![Piece::Faint(format!("served as {}", cut(&model.1, 100)))]
    };
    let optional = |name: &str| match &row[name] {
        Value::Null => none(),
        value => code(cut(&said(value), 200)),
    };
    let mut facts: Vec<(String, Cell)> = vec![
        ("Outcome".into(), outcome(row)),
        ("Status".into(), text(said(&row["status"]))),
        ("Started".into(), super::show::time(&row["started_at"])),
        ("Time to first token".into(), text(millis(&row["ttft_ms"]))),
        ("Duration".into(), text(millis(&row["duration_ms"]))),
        ("Model".into(), std::iter::once(Piece::Text(cut(&model.0, 100))).chain(served).collect()),
        ("Key".into(), around.keys.link(&row["key_id"])),
    ];
    if !guest.is_member() {
        facts.push(("User".into(), around.users.link(&row["user_id"])));
        facts.push(("Account".into(), around.accounts.link(&row["account_id"])));
        facts.push(("Accounts tried".into(), text(said(&row["attempts"]))));
    }
    let streamed = if row["stream"] == true { "yes" } else { "no" };
    facts.extend([
        ("Protocol".into(), text(said(&row["protocol"]))),
        ("Streamed".into(), text(streamed)),
        ("Service tier".into(), maybe(row["service_tier"].as_str())),
        ("Session".into(), optional("session_id")),
        ("Agent".into(), optional("agent_id")),
        ("Id".into(), code(said(&row["id"]))),
    ]);
    facts
}

fn cost(row: &Value) -> Table {
    let mut table = Table::new("cost", "Recorded usage", &["Item", "#Amount"]);
    let count = |name: &str| super::show::count(&row["tokens"][name]);
    table.rows = vec![
        vec![text("Input tokens"), count("input")],
        vec![text("Output tokens"), count("output")],
        vec![text("Tokens read from the cache"), count("cache_read")],
        vec![text("Tokens written to the cache for 5 minutes"), count("cache_write_5m")],
        vec![text("Tokens written to the cache for an hour"), count("cache_write_1h")],
        vec![text("Web searches"), super::show::count(&row["web_searches"])],
        vec![text("Price version"), text(said(&row["price_version"]))],
        vec![text("Cost in US dollars, exact"), number(said(&row["cost_usd"]), "")],
    ];
    table
}

/// The failed attempts before the account that answered, with their reasons.
fn tried(row: &Value, around: &Around) -> Block {
    let left = row["tried"].as_array().cloned().unwrap_or_default();
    if left.is_empty() {
        return Block::Text("None: the first account answered.".into());
    }
    let mut table = Table::new("tried", "Failed attempts, in order", &["Account", "Reason"]);
    table.rows = left
        .iter()
        .map(|one| {
            let reason = text(cut(&said(&one["reason"]), 300));
            vec![around.accounts.link(&one["account_id"]), reason]
        })
        .collect();
    Block::Table(table)
}
