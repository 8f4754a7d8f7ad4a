//! Pages of accounts: list, state, settings and actions.

use super::Desk;
use super::account_form::{Credential, credential_form, new_blocks, read_credential, specs};
use super::account_sign_in::{again_fold, new_fold};
use super::ask::Outcome;
use super::block::{Block, Cell, Link, Piece, Table, Tone, code, link, maybe, none, text};
use super::form::{Form, Kind, Spec, Typed};
use super::guest::{Guest, Id, see};
use super::lookup::Names;
use super::show::{cut, said, time};
use super::thing::{self, Tried};
use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use http::Method;
use serde_json::{Value, json};

pub(super) const API: &str = "/api/v1/accounts";
pub(super) const HERE: &str = "/console/accounts";

pub(super) fn routes() -> Router<Desk> {
    Router::new()
        .route("/accounts", get(list).post(create))
        .route("/accounts/new", get(new))
        .route("/accounts/{id}", get(read).post(save))
        .route("/accounts/{id}/credential", post(replace))
        .route("/accounts/{id}/test", post(test))
        .route("/accounts/{id}/reset", post(reset))
        .route("/accounts/{id}/refresh", post(refresh))
        .route("/accounts/{id}/delete", post(remove))
}

/// The word for an account status of the API.
pub(super) fn named(status: &str) -> &str {
    match status {
        "auth_failed" => "credential refused",
        "disabled" => "off",
        other => other,
    }
}

/// A cell with an account's state and its reason.
pub(super) fn state(view: &Value) -> Cell {
    let status = view["status"].as_str().unwrap_or_default();
    let tone = match status {
        "ready" => Tone::Good,
        "unproven" | "cooling" => Tone::Warn,
        "auth_failed" => Tone::Bad,
        _ => Tone::Plain,
    };
    let mut cell = vec![Piece::Badge(tone, named(status).to_owned())];
    cell.extend(view["status_reason"].as_str().map(|why| Piece::Faint(cut(why, 120))));
    for (model, rest) in view["cooling_models"].as_object().into_iter().flatten() {
        let until = super::show::moment(&said(&rest["until"]));
        cell.push(Piece::Faint(format!("{}: until {until}", cut(model, 40))));
    }
    cell
}

/// A cell with the used share of the upstream's own limits.
fn utilisation(view: &Value) -> Cell {
    let used = view["utilisation"].as_object();
    let meters = used.into_iter().flatten().filter_map(|(name, value)| {
        let percent = value["percent"].as_u64().or_else(|| value.as_u64())?;
        let percent = u8::try_from(percent.min(100)).unwrap_or(100);
        Some(Piece::Meter(percent, window(name)))
    });
    let meters: Cell = meters.collect();
    if meters.is_empty() { none() } else { meters }
}

fn window(name: &str) -> String {
    match name {
        "five_hour" | "5h" => "5 h".to_owned(),
        "seven_day" | "7d" => "7 d".to_owned(),
        other => cut(other, 20),
    }
}

/// A short table of accounts, for the page of a group.
pub(super) fn brief(accounts: &[Value]) -> Table {
    let mut table =
        Table::new("accounts", "Accounts", &["Name", "State", "Until", "Utilization", "#Priority"]);
    let row = |one: &Value| {
        vec![
            link(format!("{HERE}/{}", said(&one["id"])), cut(&said(&one["name"]), 80)),
            state(one),
            time(&one["cooling_until"]),
            utilisation(one),
            text(said(&one["priority"])),
        ]
    };
    table.rows = accounts.iter().map(row).collect();
    table
}

async fn list(guest: Guest) -> Outcome {
    guest.admins_only()?;
    let query = guest.query.query(&["q", "enabled", "group_id", "cursor"]);
    let (answer, groups) =
        futures_util::try_join!(guest.get(format!("{API}?{query}")), Names::of(&guest, "groups"),)?;
    let rows = answer["data"].as_array().cloned().unwrap_or_default();
    let mut blocks: Vec<Block> = thing::done(&guest).into_iter().collect();
    blocks.push(Block::Row(vec![Piece::Link(Link::new(format!("{HERE}/new"), "New account"))]));
    let group = Spec::new("group_id", "Group", "", Kind::Choice(groups.choices("All")));
    blocks.push(thing::filter(&guest, HERE, vec![group]));
    if rows.is_empty() {
        let next = Link::new(format!("{HERE}/new"), "Add an account");
        let says = "No accounts found. An account is the address of an upstream with your credential for it.";
        blocks.push(Block::Empty(says.into(), Some(next)));
        return Ok(guest.show("Accounts", blocks));
    }
    let columns =
        ["Name", "State", "Until", "Utilization", "Groups", "#Priority", "Last used", "Test"];
    let mut table = Table::new(
        "accounts",
        "Accounts, oldest first. Smaller priority numbers are used first.",
        &columns,
    );
    table.rows = rows
        .iter()
        .map(|one| {
            let id = said(&one["id"]);
            let of = one["groups"].as_array().into_iter().flatten();
            vec![
                link(format!("{HERE}/{id}"), cut(&said(&one["name"]), 80)),
                state(one),
                time(&one["cooling_until"]),
                utilisation(one),
                of.flat_map(|group| groups.link(group)).collect(),
                text(said(&one["priority"])),
                time(&one["last_used_at"]),
                vec![Piece::Button(test_button(&id))],
            ]
        })
        .collect();
    (table.next, table.first) = thing::pages(&guest, &answer, "next_cursor");
    blocks.push(Block::Table(table));
    Ok(guest.show("Accounts", blocks))
}

fn test_button(id: &str) -> Form {
    Form::post(format!("test-{id}"), format!("{HERE}/{id}/test"), "Test").inline()
}

async fn new(guest: Guest) -> Outcome {
    guest.admins_only()?;
    let groups = Names::of(&guest, "groups").await?;
    Ok(guest.show("New account", new_page(&guest, &groups, (None, None))))
}

/// The forms of a new account. `made` and `signed_in` are refused attempts, with a credential or
/// with a sign-in.
pub(super) fn new_page(
    guest: &Guest,
    groups: &Names,
    (made, signed_in): (Option<&Tried>, Option<&Tried>),
) -> Vec<Block> {
    let mut blocks = new_blocks(guest, groups, made);
    blocks.push(new_fold(groups, signed_in));
    blocks
}

async fn create(guest: Guest, body: Bytes) -> Outcome {
    let typed = Typed::parse(&body);
    let groups = Names::of(&guest, "groups").await?;
    let mut body = super::form::created(&specs(&groups), &typed);
    body["credential"] = read_credential(&typed);
    let asked = guest.ask(Method::POST, API).body(body).once(typed.get("once")).send().await;
    match asked {
        Ok(view) => see(&format!("{HERE}/{}?done=created", said(&view["id"]))),
        Err(why) if why.is_of_form() => {
            let tried = Tried { typed, why };
            let blocks = new_page(&guest, &groups, (Some(&tried), None));
            Ok(guest.show_refused("New account", blocks, &tried.why))
        }
        Err(why) => Err(why),
    }
}

/// The refused forms and the message to show on the page of an account.
#[derive(Default)]
pub(super) struct Told {
    pub(super) edit: Option<Tried>,
    pub(super) credential: Option<Tried>,
    pub(super) sign_in: Option<Tried>,
    pub(super) said: Option<(Tone, String)>,
}

/// The title and the blocks of the page of an account.
pub(super) async fn page(guest: &Guest, id: &str, told: &Told) -> Outcome<(String, Vec<Block>)> {
    let path = format!("{API}/{id}");
    let (view, groups) = futures_util::try_join!(guest.get(path), Names::of(guest, "groups"))?;
    let mut blocks: Vec<Block> = thing::done(guest).into_iter().collect();
    blocks.extend(told.said.clone().map(|(tone, said)| Block::Notice(tone, said)));
    blocks.push(facts(&view, &groups));
    let here = format!("{HERE}/{id}");
    let mut buttons = vec![Piece::Button(test_button(id))];
    let act = |name: &str, says: &str| Form::post(name, format!("{here}/{name}"), says);
    buttons.push(Piece::Button(act("reset", "Reset health")));
    if !matches!(view["credential_type"].as_str(), Some("api_key" | "bearer" | "aws")) {
        buttons.push(Piece::Button(act("refresh", "Renew token now")));
    }
    blocks.push(Block::Row(buttons));
    blocks.push(Block::Heading("Change".into()));
    let edit = thing::edit_form(&here, &view, &specs(&groups), told.edit.as_ref());
    blocks.push(Block::Form(edit));
    for kind in Credential::ALL {
        let tried = told.credential.as_ref().filter(|tried| kind.is_of(&tried.typed));
        let form = credential_form(kind, &format!("{here}/credential"), &view, tried);
        let title = format!("Replace the credential: {}", kind.title());
        blocks.push(Block::Fold(format!("credential-{}", kind.name()), title, form));
    }
    blocks.push(again_fold(id, told.sign_in.as_ref()));
    let means = "requests go to the other accounts of its groups";
    blocks.push(thing::remove_fold(&format!("{here}/delete"), &view, "account", means));
    Ok((cut(&said(&view["name"]), 200), blocks))
}

fn facts(view: &Value, groups: &Names) -> Block {
    let of = view["groups"].as_array().into_iter().flatten();
    let mut facts = vec![
        ("State".to_owned(), state(view)),
        ("Until".to_owned(), time(&view["cooling_until"])),
        ("Utilization".to_owned(), utilisation(view)),
        ("Groups".to_owned(), of.flat_map(|group| groups.link(group)).collect()),
        ("Id".to_owned(), code(said(&view["id"]))),
        ("Provider".to_owned(), text(said(&view["provider"]))),
        ("Upstream".to_owned(), code(cut(&said(&view["base_url"]), 300))),
        ("Credential".to_owned(), text(said(&view["credential_type"]))),
        ("Last used".to_owned(), time(&view["last_used_at"])),
        ("Changed".to_owned(), time(&view["updated_at"])),
    ];
    if let Some(proxy) = view["proxy_url"].as_str() {
        facts.push(("Proxy".to_owned(), maybe(Some(&cut(proxy, 300)))));
    }
    let used = format!("/console/requests?account_id={}", said(&view["id"]));
    facts.push(("Requests".to_owned(), link(used, "Requests by this account")));
    Block::Facts(facts)
}

async fn read(guest: Guest, Id(id): Id) -> Outcome {
    let (title, blocks) = page(&guest, &id, &Told::default()).await?;
    Ok(guest.show(&title, blocks))
}

async fn save(guest: Guest, Id(id): Id, body: Bytes) -> Outcome {
    let typed = Typed::parse(&body);
    let groups = Names::of(&guest, "groups").await?;
    match thing::save(&guest, &format!("{API}/{id}"), &specs(&groups), &typed).await {
        Ok(_) => see(&format!("{HERE}/{id}?done=saved")),
        Err(why) if why.is_of_form() => {
            let told = Told { edit: Some(Tried { typed, why: why.clone() }), ..Told::default() };
            let (title, blocks) = page(&guest, &id, &told).await?;
            Ok(guest.show_refused(&title, blocks, &why))
        }
        Err(why) => Err(why),
    }
}

async fn replace(guest: Guest, Id(id): Id, body: Bytes) -> Outcome {
    let typed = Typed::parse(&body);
    let body = json!({ "credential": read_credential(&typed) });
    let ask = guest.ask(Method::PATCH, format!("{API}/{id}")).body(body);
    match ask.version(typed.get("version")).send().await {
        Ok(_) => see(&format!("{HERE}/{id}?done=saved")),
        Err(why) if why.is_of_form() => {
            let tried = Tried { typed, why: why.clone() };
            let told = Told { credential: Some(tried), ..Told::default() };
            let (title, blocks) = page(&guest, &id, &told).await?;
            Ok(guest.show_refused(&title, blocks, &why))
        }
        Err(why) => Err(why),
    }
}

async fn test(guest: Guest, Id(id): Id) -> Outcome {
    let result = guest.ask(Method::POST, format!("{API}/{id}/test")).send().await?;
    let took = super::show::millis(&result["duration_ms"]);
    let message = cut(&said(&result["message"]), 300);
    let (tone, said) = match (result["ok"].as_bool(), result["upstream_status"].as_u64()) {
        (Some(true), _) => (Tone::Good, format!("The upstream answered in {took}.")),
        (None, _) => (Tone::Warn, format!("Unproven: {message}")),
        (Some(false), Some(status)) => {
            (Tone::Bad, format!("The upstream answered {status}: {message}"))
        }
        (Some(false), None) => (Tone::Bad, format!("The upstream did not answer: {message}")),
    };
    let told = Told { said: Some((tone, said)), ..Told::default() };
    let (title, blocks) = page(&guest, &id, &told).await?;
    Ok(guest.show(&title, blocks))
}

async fn act(guest: &Guest, id: &str, what: &str, done: &str) -> Outcome {
    match guest.ask(Method::POST, format!("{API}/{id}/{what}")).send().await {
        Ok(_) => see(&format!("{HERE}/{id}?done={done}")),
        Err(why) if why.is_of_form() => {
            let told = Told { said: Some((Tone::Bad, why.sentence())), ..Told::default() };
            let (title, blocks) = page(guest, id, &told).await?;
            Ok(guest.show_refused(&title, blocks, &why))
        }
        Err(why) => Err(why),
    }
}

async fn reset(guest: Guest, Id(id): Id) -> Outcome {
    act(&guest, &id, "reset", "reset").await
}

async fn refresh(guest: Guest, Id(id): Id) -> Outcome {
    act(&guest, &id, "refresh", "refreshed").await
}

async fn remove(guest: Guest, Id(id): Id, body: Bytes) -> Outcome {
    thing::remove(&guest, &format!("{API}/{id}"), &Typed::parse(&body), HERE).await
}
