//! Pages of users.

use super::Desk;
use super::ask::Outcome;
use super::block::{Block, Link, Piece, Table, code, link, maybe, text};
use super::form::{Kind, Spec, Typed};
use super::guest::{Guest, Id, see};
use super::show::{cut, limits, said, switched, time};
use super::thing::{self, Prefix, Tried};
use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use serde_json::json;

const API: &str = "/api/v1/users";
const HERE: &str = "/console/users";

pub(super) fn routes() -> Router<Desk> {
    Router::new()
        .route("/users", get(list).post(create))
        .route("/users/new", get(new))
        .route("/users/{id}", get(read).post(save))
        .route("/users/{id}/delete", post(remove))
}

fn roles() -> Vec<(String, String)> {
    vec![
        ("member".to_owned(), "member: its own keys and usage".to_owned()),
        ("admin".to_owned(), "admin: everything".to_owned()),
    ]
}

fn specs() -> Vec<Spec> {
    let mut specs = vec![
        Spec::new("name", "Name", "", Kind::Text),
        Spec::new("email", "E-mail", "", Kind::Maybe),
        Spec::new("role", "Role", "", Kind::Choice(roles())),
        Spec::new(
            "enabled",
            "On",
            "A user that is off may not sign in, and its keys are refused.",
            Kind::Flag,
        ),
    ];
    specs.extend(thing::limit_specs(Prefix::Limits));
    specs
}

async fn list(guest: Guest) -> Outcome {
    let query = guest.query.query(&["q", "enabled", "role", "cursor"]);
    let answer = guest.get(format!("{API}?{query}")).await?;
    let rows = answer["data"].as_array().cloned().unwrap_or_default();
    let mut blocks: Vec<Block> = thing::done(&guest).into_iter().collect();
    blocks.push(Block::Row(vec![Piece::Link(Link::new(format!("{HERE}/new"), "New user"))]));
    let all = std::iter::once((String::new(), "All".to_owned()));
    let role = Spec::new("role", "Role", "", Kind::Choice(all.chain(roles()).collect()));
    blocks.push(thing::filter(&guest, HERE, vec![role]));
    if rows.is_empty() {
        let next = Link::new(format!("{HERE}/new"), "Create a user");
        let says =
            "No users found. A user can have keys, limits for all of them together, and a sign-in.";
        blocks.push(Block::Empty(says.into(), Some(next)));
    } else {
        let columns = ["Name", "E-mail", "Role", "State", "Limits of all its keys together"];
        let mut table = Table::new("users", "Users, oldest first", &columns);
        table.rows = rows
            .iter()
            .map(|row| {
                vec![
                    link(format!("{HERE}/{}", said(&row["id"])), cut(&said(&row["name"]), 80)),
                    maybe(row["email"].as_str()),
                    text(said(&row["role"])),
                    switched(row),
                    maybe(Some(&limits(&row["limits"]))),
                ]
            })
            .collect();
        (table.next, table.first) = thing::pages(&guest, &answer, "next_cursor");
        blocks.push(Block::Table(table));
    }
    Ok(guest.show("Users", blocks))
}

async fn new(guest: Guest) -> Outcome {
    guest.admins_only()?;
    Ok(guest.show("New user", vec![new_form(&guest, None)]))
}

fn new_form(guest: &Guest, tried: Option<&Tried>) -> Block {
    let start = json!({ "enabled": true, "role": "member" });
    Block::Form(thing::create_form(guest, HERE, "Create user", (&specs(), &start), tried))
}

async fn create(guest: Guest, body: Bytes) -> Outcome {
    let typed = Typed::parse(&body);
    match thing::create(&guest, API, &specs(), &typed).await {
        Ok(view) => see(&format!("{HERE}/{}?done=created", said(&view["id"]))),
        Err(why) if why.is_of_form() => {
            let tried = Tried { typed, why };
            let form = new_form(&guest, Some(&tried));
            Ok(guest.show_refused("New user", vec![form], &tried.why))
        }
        Err(why) => Err(why),
    }
}

async fn page(guest: &Guest, id: &str, tried: Option<&Tried>) -> Outcome<(String, Vec<Block>)> {
    let (view, keys) = futures_util::try_join!(
        guest.get(format!("{API}/{id}")),
        guest.list(format!("/api/v1/keys?limit=100&user_id={id}")),
    )?;
    let mut blocks: Vec<Block> = thing::done(guest).into_iter().collect();
    blocks.push(Block::Facts(vec![
        ("State".into(), switched(&view)),
        ("Role".into(), text(said(&view["role"]))),
        ("E-mail".into(), maybe(view["email"].as_str())),
        ("Id".into(), code(said(&view["id"]))),
        ("Changed".into(), time(&view["updated_at"])),
        (
            "Requests".into(),
            link(format!("/console/requests?user_id={id}"), "Requests by this user"),
        ),
    ]));
    blocks.push(Block::Heading("Keys".into()));
    let another =
        Link::new(format!("/console/keys/new?user_id={id}"), "Create a key for this user");
    if keys.is_empty() {
        blocks.push(Block::Empty("This user has no key.".into(), Some(another)));
    } else {
        let mut table = super::keys::own_table(&keys);
        "Keys of this user".clone_into(&mut table.caption);
        blocks.push(Block::Table(table));
        blocks.push(Block::Row(vec![Piece::Link(another)]));
    }
    blocks.push(Block::Heading("Change".into()));
    let action = format!("{HERE}/{id}");
    blocks.push(Block::Form(thing::edit_form(&action, &view, &specs(), tried)));
    let means = "it must have no keys";
    blocks.push(thing::remove_fold(&format!("{action}/delete"), &view, "user", means));
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
