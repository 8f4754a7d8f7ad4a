//! Pages of the visitor's own keys and usage.

use crate::ConsoleState;
use crate::api_call::ConsoleResult;
use crate::chart;
use crate::daily_usage::{daily_usage_block, day_of};
use crate::keys::own_table;
use crate::page_blocks::PageBlock;
use crate::page_request::PageRequest;
use crate::table_cells::PageLink;
use axum::Router;
use axum::routing::get;
use baton_api::usage::UsageSummaryRow;
use baton_domain::actor::Actor;

pub(crate) fn routes() -> Router<ConsoleState> {
    Router::new().route("/mine", get(show_my_keys)).route("/mine/usage", get(usage))
}

/// The visitor's user id, or `None` for the admin token.
fn visitor_user_id(page_request: &PageRequest) -> Option<String> {
    match &page_request.visitor.actor {
        Actor::User { id, .. } => Some(id.to_string()),
        Actor::Baton | Actor::Token => None,
    }
}

fn show_no_user(page_request: &PageRequest, title: &str) -> axum::response::Response {
    let message = "You are signed in with the admin token, which has no keys.";
    let next = PageLink::new("/console/keys", "All keys");
    page_request.render_page(title, vec![PageBlock::Empty(message.into(), Some(next))])
}

async fn show_my_keys(page_request: PageRequest) -> ConsoleResult {
    let Some(id) = visitor_user_id(&page_request) else {
        return Ok(show_no_user(&page_request, "My keys"));
    };
    let keys = page_request.get_list(format!("/api/v1/keys?limit=1000&user_id={id}")).await?;
    let mut blocks = Vec::new();
    if keys.is_empty() {
        let message = "You have no key yet. An administrator can create one for you.";
        blocks.push(PageBlock::Empty(message.into(), None));
    } else {
        blocks.push(PageBlock::Table(own_table(
            &keys,
            "Your keys",
            page_request.console.clock.now(),
        )));
        blocks.push(PageBlock::Text(
            "Open a key to rename it, to disable it or to rotate it.".into(),
        ));
    }
    Ok(page_request.render_page("My keys", blocks))
}

async fn usage(page_request: PageRequest) -> ConsoleResult {
    let Some(id) = visitor_user_id(&page_request) else {
        return Ok(show_no_user(&page_request, "My usage"));
    };
    let from = page_request.day_before(29);
    let rows: Vec<UsageSummaryRow> = page_request
        .get_list(format!("/api/v1/usage/summary?by=day&user={id}&from={from}"))
        .await?;
    let mut blocks = Vec::new();
    if rows.is_empty() {
        let next = PageLink::new("/console/connect", "Connect a client");
        blocks.push(PageBlock::Empty("No requests in the last 30 days.".into(), Some(next)));
        return Ok(page_request.render_page("My usage", blocks));
    }
    let of = |day: &str| {
        let row = rows.iter().find(|row| day_of(row) == day);
        row.and_then(|row| row.measures.cost_usd.to_string().parse().ok()).unwrap_or(0.0)
    };
    let days = (0..30).rev().map(|ago| page_request.day_before(ago));
    let points: Vec<(String, f64)> = days.map(|day| (day.clone(), of(&day))).collect();
    let svg =
        chart::daily_cost_chart(&points, "Your spend by day in US dollars", "One bar per day.");
    blocks.push(PageBlock::Heading("Spend in the last 30 days".into()));
    blocks.push(PageBlock::Chart(svg));
    blocks.push(daily_usage_block(&rows));
    Ok(page_request.render_page("My usage", blocks))
}
