//! Pages of groups.

use super::Desk;
use super::ask::Outcome;
use super::block::{Block, Link, Piece, Table, link, maybe};
use super::form::{Kind, Spec, Typed};
use super::guest::{Guest, Id, see};
use super::show::{cut, limits, said, switched};
use super::thing::{self, Prefix, Tried};
use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use serde_json::{Value, json};

const API: &str = "/api/v1/groups";
const HERE: &str = "/console/groups";

pub(super) fn routes() -> Router<Desk> {
    Router::new()
        .route("/groups", get(list).post(create))
        .route("/groups/new", get(new))
        .route("/groups/{id}", get(read).post(save))
        .route("/groups/{id}/delete", post(remove))
}

fn specs() -> Vec<Spec> {
    let mut specs = vec![
        Spec::new("name", "Name", "", Kind::Text),
        Spec::new("description", "Description", "", Kind::Text),
        Spec::new("enabled", "On", "Keys of a group that is off are refused.", Kind::Flag),
    ];
    let says = "One per line: requested = served. Clients can use both names.";
    specs.push(Spec::new("model_aliases", "Model aliases", says, Kind::Pairs));
    specs.extend(thing::limit_specs(Prefix::Limits));
    specs
}

async fn list(guest: Guest) -> Outcome {
    let query = guest.query.query(&["q", "enabled", "cursor"]);
    let answer = guest.get(format!("{API}?{query}")).await?;
    let rows = answer["data"].as_array().cloned().unwrap_or_default();
    let mut blocks: Vec<Block> = thing::done(&guest).into_iter().collect();
    blocks.push(Block::Row(vec![Piece::Link(Link::new(format!("{HERE}/new"), "New group"))]));
    blocks.push(thing::filter(&guest, HERE, Vec::new()));
    if rows.is_empty() {
        let next = Link::new(format!("{HERE}/new"), "Create a group");
        blocks.push(Block::Empty(
            "No groups found. A key uses the accounts of its group.".into(),
            Some(next),
        ));
    } else {
        let mut table = Table::new(
            "groups",
            "Groups, oldest first",
            &["Name", "Description", "State", "Limits of all its keys together"],
        );
        table.rows = rows
            .iter()
            .map(|row| {
                let href = format!("{HERE}/{}", said(&row["id"]));
                vec![
                    link(href, cut(&said(&row["name"]), 80)),
                    maybe(Some(&cut(&said(&row["description"]), 120))),
                    switched(row),
                    maybe(Some(&limits(&row["limits"]))),
                ]
            })
            .collect();
        (table.next, table.first) = thing::pages(&guest, &answer, "next_cursor");
        blocks.push(Block::Table(table));
    }
    Ok(guest.show("Groups", blocks))
}

async fn new(guest: Guest) -> Outcome {
    guest.admins_only()?;
    Ok(guest.show("New group", vec![new_form(&guest, None)]))
}

fn new_form(guest: &Guest, tried: Option<&Tried>) -> Block {
    let start = json!({ "enabled": true });
    Block::Form(thing::create_form(guest, HERE, "Create group", (&specs(), &start), tried))
}

async fn create(guest: Guest, body: Bytes) -> Outcome {
    let typed = Typed::parse(&body);
    match thing::create(&guest, API, &specs(), &typed).await {
        Ok(view) => see(&format!("{HERE}/{}?done=created", said(&view["id"]))),
        Err(why) if why.is_of_form() => {
            let tried = Tried { typed, why };
            let form = new_form(&guest, Some(&tried));
            Ok(guest.show_refused("New group", vec![form], &tried.why))
        }
        Err(why) => Err(why),
    }
}

async fn page(guest: &Guest, id: &str, tried: Option<&Tried>) -> Outcome<(String, Vec<Block>)> {
    let view = guest.get(format!("{API}/{id}")).await?;
    let accounts: Vec<Value> =
        guest.list(format!("/api/v1/accounts?limit=1000&group_id={id}")).await?;
    let mut blocks: Vec<Block> = thing::done(guest).into_iter().collect();
    blocks.push(Block::Facts(vec![
        ("Id".into(), super::block::code(said(&view["id"]))),
        ("State".into(), switched(&view)),
        ("Changed".into(), super::show::time(&view["updated_at"])),
        ("Keys".into(), link(format!("/console/keys?group_id={id}"), "Keys of this group")),
    ]));
    blocks.push(Block::Heading("Accounts".into()));
    if accounts.is_empty() {
        let next = Link::new("/console/accounts/new", "Add an account");
        let says = "This group has no accounts, so requests with its keys fail with 503.";
        blocks.push(Block::Empty(says.into(), Some(next)));
    } else {
        blocks.push(Block::Table(super::accounts::brief(&accounts)));
    }
    blocks.push(Block::Heading("Change".into()));
    let action = format!("{HERE}/{id}");
    blocks.push(Block::Form(thing::edit_form(&action, &view, &specs(), tried)));
    let means = "it must have no accounts and no keys";
    blocks.push(thing::remove_fold(&format!("{action}/delete"), &view, "group", means));
    Ok((cut(&said(&view["name"]), 200), blocks))
}

async fn read(guest: Guest, Id(id): Id) -> Outcome {
    let (title, blocks) = page(&guest, &id, None).await?;
    Ok(guest.show(&title, blocks))
}

async fn save(guest: Guest, Id(id): Id, body: Bytes) -> Outcome {
    let typed = Typed::parse(&body);
    match thing::save(&guest, &format!("{API}/{id}"), &specs(), &typed).await {
        Ok(_) => see(&format!("{HERE}/{id}?done=saved")),
        Err(why) if why.is_of_form() => {
            let tried = Tried { typed, why };
            let (title, blocks) = page(&guest, &id, Some(&tried)).await?;
            Ok(guest.show_refused(&title, blocks, &tried.why))
        }
        Err(why) => Err(why),
    }
}

async fn remove(guest: Guest, Id(id): Id, body: Bytes) -> Outcome {
    thing::remove(&guest, &format!("{API}/{id}"), &Typed::parse(&body), HERE).await
}
