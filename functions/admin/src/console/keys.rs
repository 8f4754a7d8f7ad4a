//! Pages of keys. A secret is shown only on the page that follows its creation.

use super::ask::Outcome;
use super::block::{Block, Link, Piece, Table, Tone, code, link, maybe, text};
use super::form::{Form, Kind, Spec, Typed};
use super::guest::{Guest, Id, see};
use super::lookup::Names;
use super::show::{cut, limits, said, switched, time};
use super::thing::{self, Prefix, Tried};
use super::{Desk, connect};
use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use http::Method;
use serde_json::{Value, json};

const API: &str = "/api/v1/keys";
const HERE: &str = "/console/keys";

pub(super) fn routes() -> Router<Desk> {
    Router::new()
        .route("/keys", get(list).post(create))
        .route("/keys/new", get(new))
        .route("/keys/{id}", get(read).post(save))
        .route("/keys/{id}/rotate", post(rotate))
        .route("/keys/{id}/delete", post(remove))
}

/// The names of the groups and users that keys can have.
struct Around {
    groups: Names,
    users: Names,
}

impl Around {
    async fn of(guest: &Guest) -> Outcome<Self> {
        let (groups, users) =
            futures_util::try_join!(Names::of(guest, "groups"), Names::of(guest, "users"))?;
        Ok(Self { groups, users })
    }
}

/// The fields that can be set. Members can only rename a key and switch it off.
fn specs(guest: &Guest, around: &Around) -> Vec<Spec> {
    let name = Spec::new("name", "Name", "", Kind::Text);
    let on = Spec::new("enabled", "On", "A key that is off is refused.", Kind::Flag);
    if guest.is_member() {
        return vec![name, on];
    }
    let estimates = vec![
        ("most".to_owned(), "the highest possible cost: limits are never exceeded".to_owned()),
        ("expected".to_owned(), "the expected cost: limits can be exceeded".to_owned()),
    ];
    let mut specs = vec![
        name,
        Spec::new(
            "group_id",
            "Group",
            "The key uses the accounts of this group.",
            Kind::Choice(around.groups.choices("Default group")),
        ),
        Spec::new("user_id", "User", "", Kind::Choice(around.users.choices("Nobody"))),
        on,
        Spec::new("expires_at", "Expires (UTC)", "Empty means never.", Kind::When),
        Spec::new(
            "models",
            "Allowed models",
            "One per line, * for any characters. Empty means all models.",
            Kind::Lines,
        ),
        Spec::new(
            "estimate",
            "Reserved per request",
            "What a request counts against limits before it runs.",
            Kind::Choice(estimates),
        ),
    ];
    specs.extend(thing::limit_specs(Prefix::Limits));
    specs
}

async fn list(guest: Guest) -> Outcome {
    guest.admins_only()?;
    let query = guest.query.query(&["q", "enabled", "group_id", "user_id", "cursor"]);
    let (answer, around) =
        futures_util::try_join!(guest.get(format!("{API}?{query}")), Around::of(&guest))?;
    let rows = answer["data"].as_array().cloned().unwrap_or_default();
    let mut blocks: Vec<Block> = thing::done(&guest).into_iter().collect();
    blocks.push(Block::Row(vec![Piece::Link(Link::new(format!("{HERE}/new"), "New key"))]));
    let more = vec![
        Spec::new("group_id", "Group", "", Kind::Choice(around.groups.choices("All"))),
        Spec::new("user_id", "User", "", Kind::Choice(around.users.choices("All"))),
    ];
    blocks.push(thing::filter(&guest, HERE, more));
    if rows.is_empty() {
        let next = Link::new(format!("{HERE}/new"), "Create a key");
        let says = "No keys found. Clients send a key with each request; create one for each person or pipeline.";
        blocks.push(Block::Empty(says.into(), Some(next)));
    } else {
        let mut table = table(&rows, &around.groups, &around.users);
        (table.next, table.first) = thing::pages(&guest, &answer, "next_cursor");
        blocks.push(Block::Table(table));
    }
    Ok(guest.show("Keys", blocks))
}

/// The table of keys with their limits.
fn table(rows: &[Value], groups: &Names, users: &Names) -> Table {
    let columns = ["Name", "State", "User", "Group", "Limits", "Models", "Expires"];
    let mut table = Table::new("keys", "Keys, oldest first", &columns);
    table.rows = rows
        .iter()
        .map(|row| {
            vec![
                link(format!("{HERE}/{}", said(&row["id"])), cut(&said(&row["name"]), 80)),
                switched(row),
                users.link(&row["user_id"]),
                groups.link(&row["group_id"]),
                maybe(Some(&limits(&row["limits"]))),
                maybe(Some(&cut(&models(row), 100))),
                time(&row["expires_at"]),
            ]
        })
        .collect();
    table
}

/// The table of a user's own keys.
pub(super) fn own_table(rows: &[Value]) -> Table {
    let mut table =
        Table::new("keys", "Your keys", &["Name", "State", "Limits", "Models", "Expires"]);
    table.rows = rows
        .iter()
        .map(|row| {
            vec![
                link(format!("{HERE}/{}", said(&row["id"])), cut(&said(&row["name"]), 80)),
                switched(row),
                maybe(Some(&limits(&row["limits"]))),
                maybe(Some(&cut(&models(row), 100))),
                time(&row["expires_at"]),
            ]
        })
        .collect();
    table
}

fn models(row: &Value) -> String {
    let models = row["models"].as_array().into_iter().flatten().filter_map(Value::as_str);
    models.collect::<Vec<_>>().join(", ")
}

async fn new(guest: Guest) -> Outcome {
    guest.admins_only()?;
    let around = Around::of(&guest).await?;
    Ok(guest.show("New key", vec![new_form(&guest, &around, None)]))
}

fn new_form(guest: &Guest, around: &Around, tried: Option<&Tried>) -> Block {
    let start = json!({
        "enabled": true, "estimate": "most",
        "group_id": guest.query.get("group_id"), "user_id": guest.query.get("user_id"),
    });
    let specs = specs(guest, around);
    Block::Form(thing::create_form(guest, HERE, "Create key", (&specs, &start), tried))
}

async fn create(guest: Guest, body: Bytes) -> Outcome {
    guest.admins_only()?;
    let typed = Typed::parse(&body);
    let around = Around::of(&guest).await?;
    match thing::create(&guest, API, &specs(&guest, &around), &typed).await {
        Ok(view) => Ok(show_secret(&guest, "Key created", &view)),
        Err(why) if why.is_of_form() => {
            let tried = Tried { typed, why };
            let form = new_form(&guest, &around, Some(&tried));
            Ok(guest.show_refused("New key", vec![form], &tried.why))
        }
        Err(why) => Err(why),
    }
}

/// The page with a new secret. It answers a POST, so neither history nor cache contains it.
fn show_secret(guest: &Guest, title: &str, view: &Value) -> axum::response::Response {
    let secret = said(&view["secret"]);
    let name = cut(&said(&view["name"]), 80);
    let mut blocks =
        vec![Block::Secret("secret".into(), format!("Secret of “{name}”."), secret.clone())];
    blocks.push(Block::Row(vec![Piece::Link(Link::new(
        format!("{HERE}/{}", said(&view["id"])),
        "Go to the key",
    ))]));
    blocks.push(Block::Heading("Connect a client with it".into()));
    blocks.extend(connect::snippets(&guest.desk.relay_url, &secret));
    guest.show(title, blocks)
}

async fn page(guest: &Guest, id: &str, tried: Option<&Tried>) -> Outcome<(String, Vec<Block>)> {
    let (view, around) =
        futures_util::try_join!(guest.get(format!("{API}/{id}")), Around::of(guest))?;
    let week = format!("/api/v1/usage/summary?key={id}&by=day&from={}", guest.day_ago(6));
    let days = guest.list(week).await?;
    let mut blocks: Vec<Block> = thing::done(guest).into_iter().collect();
    let mut facts = vec![
        ("State".to_owned(), switched(&view)),
        ("Id".to_owned(), code(said(&view["id"]))),
        ("Limits".to_owned(), maybe(Some(&limits(&view["limits"])))),
        ("Possible overrun".to_owned(), text(said(&view["overshoot"]))),
        ("Models".to_owned(), maybe(Some(&cut(&models(&view), 2000)))),
        ("Expires".to_owned(), time(&view["expires_at"])),
        ("Created".to_owned(), time(&view["created_at"])),
    ];
    if !guest.is_member() {
        facts.insert(2, ("Group".to_owned(), around.groups.link(&view["group_id"])));
        facts.insert(2, ("User".to_owned(), around.users.link(&view["user_id"])));
    }
    let used = format!("/console/requests?key_id={id}");
    facts.push(("Requests".to_owned(), link(used, "Requests with this key")));
    blocks.push(Block::Facts(facts));
    blocks.push(Block::Heading("The last seven days".into()));
    blocks.push(super::mine::by_day(&days));
    let here = format!("{HERE}/{id}");
    blocks.push(Block::Heading("Change".into()));
    let edit = thing::edit_form(&here, &view, &specs(guest, &around), tried);
    blocks.push(Block::Form(edit));
    let rotate = Form::post("rotate", format!("{here}/rotate"), "Rotate")
        .hidden("version", said(&view["version"]))
        .hidden("once", guest.once())
        .danger("Rotate this key? The old secret stops working at once.");
    let title = "Rotate this key (the old secret stops working at once)";
    blocks.push(Block::Fold("rotate-fold".into(), title.into(), rotate));
    if !guest.is_member() {
        let means = "clients that use it are refused; its usage stays recorded";
        blocks.push(thing::remove_fold(&format!("{here}/delete"), &view, "key", means));
    }
    Ok((cut(&said(&view["name"]), 200), blocks))
}

async fn read(guest: Guest, Id(id): Id) -> Outcome {
    let (title, blocks) = page(&guest, &id, None).await?;
    Ok(guest.show(&title, blocks))
}

async fn save(guest: Guest, Id(id): Id, body: Bytes) -> Outcome {
    let typed = Typed::parse(&body);
    let around = Around::of(&guest).await?;
    match thing::save(&guest, &format!("{API}/{id}"), &specs(&guest, &around), &typed).await {
        Ok(_) => see(&format!("{HERE}/{id}?done=saved")),
        Err(why) if why.is_of_form() => {
            let tried = Tried { typed, why };
            let (title, blocks) = page(&guest, &id, Some(&tried)).await?;
            Ok(guest.show_refused(&title, blocks, &tried.why))
        }
        Err(why) => Err(why),
    }
}

async fn rotate(guest: Guest, Id(id): Id, body: Bytes) -> Outcome {
    let typed = Typed::parse(&body);
    let ask = guest.ask(Method::POST, format!("{API}/{id}/rotate")).body(json!({}));
    match ask.version(typed.get("version")).once(typed.get("once")).send().await {
        Ok(view) => Ok(show_secret(&guest, "Key rotated", &view)),
        Err(why) if why.is_of_form() => {
            let (title, mut blocks) = page(&guest, &id, None).await?;
            blocks.insert(0, Block::Notice(Tone::Bad, why.sentence()));
            Ok(guest.show_refused(&title, blocks, &why))
        }
        Err(why) => Err(why),
    }
}

async fn remove(guest: Guest, Id(id): Id, body: Bytes) -> Outcome {
    thing::remove(&guest, &format!("{API}/{id}"), &Typed::parse(&body), HERE).await
}
