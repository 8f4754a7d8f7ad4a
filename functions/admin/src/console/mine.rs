//! Pages of the visitor's own keys and usage.

use super::Desk;
use super::ask::Outcome;
use super::block::{Block, Cell, Link, Table, text};
use super::guest::Guest;
use super::show::{count, millis, money, percent, said};
use super::{chart, keys};
use crate::actor::Actor;
use axum::Router;
use axum::routing::get;
use serde_json::Value;

pub(super) fn routes() -> Router<Desk> {
    Router::new().route("/mine", get(read)).route("/mine/usage", get(usage))
}

/// The visitor's user id, or `None` for the admin token.
fn own(guest: &Guest) -> Option<String> {
    match &guest.visitor.actor {
        Actor::User { id, .. } => Some(id.to_string()),
        Actor::Baton | Actor::Token => None,
    }
}

fn nobody(guest: &Guest, title: &str) -> axum::response::Response {
    let says = "You are signed in with the admin token, which has no keys.";
    let next = Link::new("/console/keys", "All keys");
    guest.show(title, vec![Block::Empty(says.into(), Some(next))])
}

async fn read(guest: Guest) -> Outcome {
    let Some(id) = own(&guest) else { return Ok(nobody(&guest, "My keys")) };
    let rows = guest.list(format!("/api/v1/keys?limit=1000&user_id={id}")).await?;
    let mut blocks = Vec::new();
    if rows.is_empty() {
        let says = "You have no key yet. An administrator can create one for you.";
        blocks.push(Block::Empty(says.into(), None));
    } else {
        blocks.push(Block::Table(keys::own_table(&rows)));
        blocks
            .push(Block::Text("Open a key to rename it, to switch it off or to rotate it.".into()));
    }
    Ok(guest.show("My keys", blocks))
}

async fn usage(guest: Guest) -> Outcome {
    let Some(id) = own(&guest) else { return Ok(nobody(&guest, "My usage")) };
    let from = guest.day_ago(29);
    let rows = guest.list(format!("/api/v1/usage/summary?by=day&user={id}&from={from}")).await?;
    let mut blocks = Vec::new();
    if rows.is_empty() {
        let next = Link::new("/console/connect", "Connect a client");
        blocks.push(Block::Empty("No requests in the last 30 days.".into(), Some(next)));
        return Ok(guest.show("My usage", blocks));
    }
    let of = |day: &str| {
        let row = rows.iter().find(|row| row["group"]["day"] == day);
        row.and_then(|row| said(&row["cost_usd"]).parse().ok()).unwrap_or(0.0)
    };
    let days = (0..30).rev().map(|ago| guest.day_ago(ago));
    let points: Vec<(String, f64)> = days.map(|day| (day.clone(), of(&day))).collect();
    let svg = chart::of_days(&points, "Your spend by day in US dollars", "One bar per day.");
    blocks.push(Block::Heading("Spend in the last 30 days".into()));
    blocks.push(Block::Chart(svg));
    blocks.push(by_day(&rows));
    Ok(guest.show("My usage", blocks))
}

/// Sums by day, latest first.
pub(super) fn by_day(rows: &[Value]) -> Block {
    if rows.is_empty() {
        return Block::Text("No requests.".into());
    }
    let columns = ["Day", "#Spend", "#Requests", "#Errors", "#Tokens", "#Hit rate", "#First token"];
    let mut table = Table::new("by-day", "By day, latest first", &columns);
    let line = |row: &Value| -> Vec<Cell> {
        vec![
            text(said(&row["group"]["day"])),
            money(&row["cost_usd"]),
            count(&row["requests"]),
            count(&row["errors"]),
            super::show::tokens(super::show::all_tokens(&row["tokens"])),
            super::block::number(percent(&row["cache_hit_rate"]), ""),
            super::block::number(millis(&row["ttft_ms_avg"]), ""),
        ]
    };
    table.rows = rows.iter().rev().map(line).collect();
    Block::Table(table)
}
