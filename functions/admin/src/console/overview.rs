//! The first page: today's numbers, the last month, and the health of accounts.

use super::ask::Outcome;
use super::block::{Block, Cell, Link, Piece, Table, Tile, Tone, badge, link, number, text};
use super::guest::Guest;
use super::{accounts, chart, show};
use serde_json::Value;

pub(super) async fn read(guest: Guest) -> Outcome {
    if guest.is_member() {
        return super::guest::see("/console/mine");
    }
    let view = guest.get("/api/v1/overview").await?;
    let mut blocks = Vec::new();
    let rows = |name: &str| view[name].as_array().cloned().unwrap_or_default();
    let (days, all) = (rows("days"), rows("accounts"));
    if all.is_empty() {
        blocks.push(Block::Empty(
            "No accounts yet. An account is a credential for an upstream; requests need at least one.".into(),
            Some(Link::new("/console/accounts/new", "Add the first account")),
        ));
    } else if days.iter().all(|day| day["requests"] == 0) {
        blocks.push(Block::Empty(
            "No requests in the last 30 days. Connect a client to see its requests here.".into(),
            Some(Link::new("/console/connect", "Connect a client")),
        ));
    }
    let mut latest = days.iter().rev();
    let (today, before) = (latest.next(), latest.next());
    blocks.push(Block::Tiles(tiles(today.unwrap_or(&Value::Null), before.unwrap_or(&Value::Null))));
    blocks.push(Block::Heading("Spend in the last 30 days".into()));
    blocks.push(Block::Chart(drawn(&days)));
    blocks.push(Block::FoldedTable("Exact numbers by day".into(), by_day(&days)));
    blocks.push(Block::Heading("Today by model".into()));
    blocks.push(by_model(&rows("models")));
    let active = show::count(&view["keys_active"]);
    let active = active.first().map_or(String::new(), |piece| match piece {
        Piece::Number(shown, _) => shown.clone(),
        _ => String::new(),
    });
    blocks.push(Block::Heading(format!("Today's top keys ({active} in use)")));
    blocks.push(by_key(&rows("keys")));
    blocks.push(Block::Heading("Account health".into()));
    blocks.extend(health(&all));
    let at = show::moment(&show::said(&view["as_of"]));
    blocks.push(Block::Text(format!("As of {at} UTC. Days are UTC days.")));
    Ok(guest.show_live("Overview", blocks))
}

fn tiles(today: &Value, before: &Value) -> Vec<Tile> {
    let tokens = |day: &Value| show::all_tokens(&day["tokens"]);
    let usd = |day: &Value| day["cost_usd"].as_str().unwrap_or("0").to_owned();
    let requests = |day: &Value| day["requests"].as_u64().unwrap_or_default();
    let tile = |id, label, value, exact, before| Tile { id, label, value, exact, before };
    vec![
        tile(
            "spend",
            "Spend today",
            show::usd(&usd(today)),
            format!("{} USD", usd(today)),
            show::usd(&usd(before)),
        ),
        tile(
            "requests",
            "Requests",
            show::short(requests(today)),
            show::grouped(requests(today)),
            show::short(requests(before)),
        ),
        tile(
            "tokens",
            "Tokens",
            show::short(tokens(today)),
            show::grouped(tokens(today)),
            show::short(tokens(before)),
        ),
        tile("errors", "Error rate", error_rate(today), failed(today), error_rate(before)),
        tile(
            "cache",
            "Cache hit rate",
            show::percent(&today["cache_hit_rate"]),
            "of prompt tokens were read from the cache".into(),
            show::percent(&before["cache_hit_rate"]),
        ),
        tile(
            "ttft",
            "Time to first token",
            show::millis(&today["ttft_ms_avg"]),
            "mean".into(),
            show::millis(&before["ttft_ms_avg"]),
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
    let count = |name: &str| show::grouped(row[name].as_u64().unwrap_or_default());
    format!("{} of {} failed", count("errors"), count("requests"))
}

fn drawn(days: &[Value]) -> String {
    let points: Vec<(String, f64)> = days
        .iter()
        .map(|day| (show::said(&day["day"]), show::said(&day["cost_usd"]).parse().unwrap_or(0.0)))
        .collect();
    let dearest = days.iter().max_by(|a, b| {
        let usd = |day: &Value| show::said(&day["cost_usd"]).parse::<f64>().unwrap_or(0.0);
        usd(a).total_cmp(&usd(b))
    });
    let description = dearest.map_or_else(String::new, |day| {
        let usd = show::usd(day["cost_usd"].as_str().unwrap_or("0"));
        format!(
            "One bar per day. The most expensive day was {} with {usd}.",
            show::said(&day["day"])
        )
    });
    chart::of_days(&points, "Spend by day in US dollars", &description)
}

fn measures(row: &Value) -> Vec<Cell> {
    let tokens = |name: &str| show::tokens(row["tokens"][name].as_u64().unwrap_or_default());
    vec![
        show::money(&row["cost_usd"]),
        show::count(&row["requests"]),
        number(error_rate(row), failed(row)),
        tokens("input"),
        tokens("output"),
        tokens("cache_read"),
        number(show::percent(&row["cache_hit_rate"]), ""),
        number(show::millis(&row["ttft_ms_avg"]), ""),
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
    name: impl Fn(&Value) -> Cell,
) -> Table {
    let columns: Vec<&'static str> = std::iter::once(first).chain(COLUMNS).collect();
    let mut table = Table::new(id, caption, &columns);
    table.rows =
        rows.iter().map(|row| std::iter::once(name(row)).chain(measures(row)).collect()).collect();
    table
}

fn by_day(days: &[Value]) -> Table {
    let latest: Vec<Value> = days.iter().rev().cloned().collect();
    table("days", "The last 30 days, latest first", "Day", &latest, |row| {
        text(show::said(&row["day"]))
    })
}

fn by_model(rows: &[Value]) -> Block {
    if rows.is_empty() {
        return Block::Text("No request today.".into());
    }
    Block::Table(table("models", "Today's models, most expensive first", "Model", rows, |row| {
        let model = show::said(&row["model"]);
        let mut query = form_urlencoded::Serializer::new(String::from("/console/requests?"));
        query.append_pair("model", &model);
        link(query.finish(), show::cut(&model, 60))
    }))
}

fn by_key(rows: &[Value]) -> Block {
    if rows.is_empty() {
        return Block::Text("No request today.".into());
    }
    Block::Table(table("top-keys", "Today's keys, most expensive first", "Key", rows, |row| {
        let id = show::said(&row["key_id"]);
        match row["name"].as_str() {
            Some(name) => link(format!("/console/keys/{id}"), show::cut(name, 60)),
            None => vec![Piece::Code(id), Piece::Faint("deleted".into())],
        }
    }))
}

/// The number of accounts by state, and the accounts that need attention.
fn health(all: &[Value]) -> Vec<Block> {
    let with = |status: &str| all.iter().filter(|one| one["status"] == status).count();
    let counts = [
        (Tone::Good, "ready"),
        (Tone::Warn, "unproven"),
        (Tone::Warn, "cooling"),
        (Tone::Bad, "auth_failed"),
        (Tone::Plain, "disabled"),
    ];
    let counted = counts.into_iter().filter(|(_, status)| with(status) > 0);
    let row: Vec<Piece> = counted
        .flat_map(|(tone, status)| {
            badge(tone, format!("{} {}", with(status), accounts::named(status)))
        })
        .collect();
    let mut blocks = vec![Block::Row(row)];
    let mut troubled: Vec<&Value> = all
        .iter()
        .filter(|one| {
            matches!(one["status"].as_str(), Some("unproven" | "cooling" | "auth_failed"))
        })
        .collect();
    troubled.truncate(20);
    if !troubled.is_empty() {
        let mut table = Table::new(
            "trouble",
            "Accounts that get no requests now",
            &["Account", "State", "Until"],
        );
        table.rows = troubled
            .into_iter()
            .map(|one| {
                let href = format!("/console/accounts/{}", show::said(&one["id"]));
                let name = show::cut(&show::said(&one["name"]), 60);
                vec![link(href, name), accounts::state(one), show::time(&one["cooling_until"])]
            })
            .collect();
        blocks.push(Block::Table(table));
    }
    blocks
}
