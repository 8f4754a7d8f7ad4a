//! Prices: what models cost, built in and set by operators.

use super::Desk;
use super::ask::Outcome;
use super::block::{Block, Cell, Link, Piece, Table, Tone, badge, number, text};
use super::form::{Form, Kind, Spec, Typed};
use super::guest::{Guest, see};
use super::show::{cut, plain_usd, said};
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
        Spec::new("model", "Model", "Its id, as clients ask for it.", Kind::Text),
        Spec::new("effective_from", "From (UTC)", "Empty means now.", Kind::When),
        Spec::new("standard.input", "Input", "US dollars per million tokens.", Kind::Usd),
        Spec::new("standard.output", "Output", "", Kind::Usd),
        Spec::new("standard.cache_read", "Read from the cache", "", Kind::Usd),
        Spec::new("standard.cache_write_5m", "Written to the cache, 5 minutes", "", Kind::Usd),
        Spec::new("standard.cache_write_1h", "Written to the cache, an hour", "", Kind::Usd),
        Spec::new(
            "us_geo",
            "Dearer where inference stays in the US",
            "By the list's factor.",
            Kind::Flag,
        ),
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
        "US dollars per million tokens. A model without a price costs the dearest known price of its family.".into(),
    ));
    if rows.is_empty() {
        blocks.push(Block::Empty(
            "No price of such a model.".into(),
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
        number(plain_usd(&exact), exact)
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
    let mut name = text(cut(&model, 80));
    let also = [("fast", "also a fast price"), ("above", "dearer for long prompts")];
    name.extend(
        also.iter()
            .filter(|(field, _)| !view[*field].is_null())
            .map(|(_, says)| Piece::Faint((*says).to_owned())),
    );
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
    Ok(guest.show("New price", new_blocks(&guest, None)))
}

fn new_blocks(guest: &Guest, tried: Option<&Tried>) -> Vec<Block> {
    let form = thing::create_form(guest, HERE, "Set price", (&specs(), &json!({})), tried);
    vec![
        Block::Form(form),
        Block::Text("It holds for requests from then on; what was counted stays. Prices of the fast mode and of long prompts are set through the API.".into()),
    ]
}

async fn create(guest: Guest, body: Bytes) -> Outcome {
    let typed = Typed::parse(&body);
    match thing::create(&guest, API, &specs(), &typed).await {
        Ok(_) => see(&format!("{HERE}?done=saved")),
        Err(why) if why.is_of_form() => {
            let tried = Tried { typed, why };
            let blocks = new_blocks(&guest, Some(&tried));
            Ok(guest.show_refused("New price", blocks, &tried.why))
        }
        Err(why) => Err(why),
    }
}

async fn remove(guest: Guest, body: Bytes) -> Outcome {
    let typed = Typed::parse(&body);
    let model: String = form_urlencoded::byte_serialize(typed.get("model").as_bytes()).collect();
    // In a path a plus is a plus.
    let path = format!("{API}/{}?{}", model.replace('+', "%20"), typed.query(&["effective_from"]));
    guest.ask(Method::DELETE, path).send().await?;
    see(&format!("{HERE}?done=deleted"))
}
