//! Pages of prices, built-in and own.

use super::Desk;
use super::ask::{Outcome, Trouble};
use super::block::{Block, Cell, Link, Piece, Table, Tone, badge, link, number};
use super::form::{Form, Kind, Spec, Typed};
use super::guest::{Guest, see};
use super::show::{cut, grouped, plain_usd, said};
use super::thing::{self, Tried};
use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use http::Method;
use serde_json::{Value, json};

const API: &str = "/api/v1/prices";
const HERE: &str = "/console/prices";

pub(super) fn routes() -> Router<Desk> {
    Router::new()
        .route("/prices", get(list).post(create))
        .route("/prices/new", get(new))
        .route("/prices/delete", post(remove))
}

fn specs() -> Vec<Spec> {
    vec![
        Spec::new("model", "Model", "Model id, as clients send it.", Kind::Text),
        Spec::new("effective_from", "From (UTC)", "Empty means now.", Kind::When),
        Spec::new("standard.input", "Input", "US dollars per million tokens.", Kind::Usd),
        Spec::new("standard.output", "Output", "", Kind::Usd),
        Spec::new("standard.cache_read", "Cache read", "", Kind::Usd),
        Spec::new("standard.cache_write_5m", "Cache write, 5 minutes", "", Kind::Usd),
        Spec::new("standard.cache_write_1h", "Cache write, 1 hour", "", Kind::Usd),
        Spec::new(
            "us_geo",
            "Surcharge for US-only inference",
            "Multiplies prices by the factor of the price list.",
            Kind::Flag,
        ),
        Spec::new(
            "fast.input",
            "Fast mode: input",
            "Fill in all five fast mode prices, or none.",
            Kind::Usd,
        ),
        Spec::new("fast.output", "Fast mode: output", "", Kind::Usd),
        Spec::new("fast.cache_read", "Fast mode: cache read", "", Kind::Usd),
        Spec::new("fast.cache_write_5m", "Fast mode: cache write, 5 minutes", "", Kind::Usd),
        Spec::new("fast.cache_write_1h", "Fast mode: cache write, 1 hour", "", Kind::Usd),
        Spec::new(
            "above.prompt_tokens",
            "Long prompts: longer than (tokens)",
            "Fill in this and all five prices below, or none.",
            Kind::Count,
        ),
        Spec::new("above.rates.input", "Long prompts: input", "", Kind::Usd),
        Spec::new("above.rates.output", "Long prompts: output", "", Kind::Usd),
        Spec::new("above.rates.cache_read", "Long prompts: cache read", "", Kind::Usd),
        Spec::new(
            "above.rates.cache_write_5m",
            "Long prompts: cache write, 5 minutes",
            "",
            Kind::Usd,
        ),
        Spec::new("above.rates.cache_write_1h", "Long prompts: cache write, 1 hour", "", Kind::Usd),
    ]
}

async fn list(guest: Guest) -> Outcome {
    guest.admins_only()?;
    let query = guest.query.query(&["q", "cursor"]);
    let answer = guest.get(format!("{API}?{query}")).await?;
    let rows = answer["data"].as_array().cloned().unwrap_or_default();
    let mut blocks: Vec<Block> = thing::done(&guest).into_iter().collect();
    blocks.push(Block::Row(vec![Piece::Link(Link::new(format!("{HERE}/new"), "New price"))]));
    let field = Spec::new("q", "Model contains", "", Kind::Text).typed(&guest.query);
    blocks.push(Block::Form(Form::get("filter", HERE, "Filter").fields(vec![field])));
    blocks.push(Block::Text(
        "US dollars per million tokens. A model without a price is charged at the highest known price of its family.".into(),
    ));
    if rows.is_empty() {
        blocks.push(Block::Empty(
            "No prices found.".into(),
            Some(Link::new(format!("{HERE}/new"), "Set a price")),
        ));
        return Ok(guest.show("Prices", blocks));
    }
    let columns = [
        "Model",
        "From",
        "Source",
        "#Input",
        "#Output",
        "#Cache read",
        "#Cache 5 min",
        "#Cache 1 h",
        "Delete",
    ];
    let mut table = Table::new("prices", "Prices by model and date", &columns);
    table.rows = rows.iter().map(row).collect();
    (table.next, table.first) = thing::pages(&guest, &answer, "next_cursor");
    blocks.push(Block::Table(table));
    Ok(guest.show("Prices", blocks))
}

fn row(view: &Value) -> Vec<Cell> {
    let rate = |name: &str| {
        let exact = said(&view["standard"][name]);
        let mut cell = number(plain_usd(&exact), exact);
        let others = [("fast", &view["fast"][name]), ("long", &view["above"]["rates"][name])];
        let others = others.iter().filter(|(_, rate)| !rate.is_null());
        cell.extend(
            others.map(|(mode, rate)| Piece::Faint(format!("{mode} {}", plain_usd(&said(rate))))),
        );
        cell
    };
    let (model, from) = (said(&view["model"]), said(&view["effective_from"]));
    let is_own = view["source"] == "own";
    let source = if is_own { badge(Tone::Good, "own") } else { badge(Tone::Plain, "built in") };
    let remove = || {
        Form::post(format!("delete-{model}-{from}"), format!("{HERE}/delete"), "Delete")
            .hidden("model", model.clone())
            .hidden("effective_from", from.clone())
            .danger(format!("Delete this price of {}?", cut(&model, 80)))
    };
    let button = if is_own { vec![Piece::Button(remove())] } else { Vec::new() };
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("model", &model).append_pair("from", &from);
    let mut name = link(format!("{HERE}/new?{}", query.finish()), cut(&model, 80));
    let long = view["above"]["prompt_tokens"].as_u64();
    name.extend(long.map(|most| Piece::Faint(format!("long above {} tokens", grouped(most)))));
    vec![
        name,
        vec![Piece::Time(from.clone(), from.get(..10).unwrap_or(&from).to_owned())],
        source,
        rate("input"),
        rate("output"),
        rate("cache_read"),
        rate("cache_write_5m"),
        rate("cache_write_1h"),
        button,
    ]
}

async fn new(guest: Guest) -> Outcome {
    guest.admins_only()?;
    let start = start(&guest).await?;
    Ok(guest.show("New price", new_blocks(&guest, &start, None)))
}

/// The price that the query names, without its date, as the start of a new one; empty if it names
/// none.
async fn start(guest: &Guest) -> Outcome<Value> {
    let (model, from) = (guest.query.get("model"), guest.query.get("from"));
    if model.is_empty() {
        return Ok(json!({}));
    }
    let rows = guest.list(format!("{API}/{}", in_path(model))).await?;
    let found = rows.into_iter().rfind(|row| from.is_empty() || row["effective_from"] == from);
    let mut start = found.ok_or_else(Trouble::nowhere)?;
    start["effective_from"] = Value::Null;
    Ok(start)
}

fn new_blocks(guest: &Guest, start: &Value, tried: Option<&Tried>) -> Vec<Block> {
    let form = thing::create_form(guest, HERE, "Set price", (&specs(), start), tried);
    vec![
        Block::Form(form),
        Block::Text("The price applies to requests from that time on; recorded costs do not change. Fast mode and long prompts without separate prices cost the same as other requests.".into()),
    ]
}

/// A model id for a path, where `+` must stay a plus.
fn in_path(model: &str) -> String {
    let text: String = form_urlencoded::byte_serialize(model.as_bytes()).collect();
    text.replace('+', "%20")
}

async fn create(guest: Guest, body: Bytes) -> Outcome {
    let typed = Typed::parse(&body);
    match thing::create(&guest, API, &specs(), &typed).await {
        Ok(_) => see(&format!("{HERE}?done=saved")),
        Err(why) if why.is_of_form() => {
            let tried = Tried { typed, why };
            let blocks = new_blocks(&guest, &json!({}), Some(&tried));
            Ok(guest.show_refused("New price", blocks, &tried.why))
        }
        Err(why) => Err(why),
    }
}

async fn remove(guest: Guest, body: Bytes) -> Outcome {
    let typed = Typed::parse(&body);
    let model = in_path(typed.get("model"));
    let path = format!("{API}/{model}?{}", typed.query(&["effective_from"]));
    guest.ask(Method::DELETE, path).send().await?;
    see(&format!("{HERE}?done=deleted"))
}
