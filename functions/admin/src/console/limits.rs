//! The page of limits: spend limits per person, spend per person, and the limits of the whole
//! organization.

use super::Desk;
use super::ask::{Outcome, Trouble};
use super::block::{Block, Cell, Piece, Table, link, maybe, none, number, text};
use super::form::{Form, Kind, Spec, Typed};
use super::guest::{Guest, Id, see};
use super::lookup::Names;
use super::show::{cut, said, usd};
use super::thing::{self, Prefix, Tried};
use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use http::Method;
use serde_json::{Value, json};

const POOL: &str = "/api/v1/limits/organization";
const MESSAGE: &str = "/api/v1/limits/message";
const CAPS: &str = "/api/v1/organizations/spend_limits";
const HERE: &str = "/console/limits";

pub(super) fn routes() -> Router<Desk> {
    Router::new()
        .route("/limits", get(read).post(set))
        .route("/limits/organization", post(set_pool))
        .route("/limits/message", post(set_message))
        .route("/limits/{id}/delete", post(remove))
}

/// The refused form of this page.
enum Refused {
    Cap(Tried),
    Pool(Tried),
    Message(Tried),
}

async fn page(guest: &Guest, refused: Option<&Refused>) -> Outcome<Vec<Block>> {
    guest.admins_only()?;
    let page = guest.query.query(&["page"]);
    let (caps, spent, pool, message) = futures_util::try_join!(
        guest.list(format!("{CAPS}?limit=1000")),
        guest.get(format!("{CAPS}/effective?limit=100&{page}")),
        guest.get(POOL),
        guest.get(MESSAGE),
    )?;
    let (groups, users) =
        futures_util::try_join!(Names::of(guest, "groups"), Names::of(guest, "users"))?;
    let mut blocks: Vec<Block> = thing::done(guest).into_iter().collect();
    blocks.push(Block::Heading("Spend limits per person".into()));
    if caps.is_empty() {
        let says = "No spend limits. A limit of the organization or of a group applies to each person; \
                    a limit of a user replaces it.";
        blocks.push(Block::Empty(says.into(), None));
    } else {
        blocks.push(Block::Table(caps_table(&caps, &groups, &users)));
    }
    let cap = refused
        .and_then(|refused| if let Refused::Cap(tried) = refused { Some(tried) } else { None });
    blocks.push(Block::Form(cap_form(&groups, &users, cap)));
    blocks.push(Block::Heading("Spend per person".into()));
    blocks.push(spent_block(guest, &spent));
    blocks.push(Block::Heading("Limits of the whole organization".into()));
    blocks.push(Block::Text(
        "These limits apply to all requests of everybody together. Keys, users and groups can have such limits, too.".into(),
    ));
    let tried = refused
        .and_then(|refused| if let Refused::Pool(tried) = refused { Some(tried) } else { None });
    let specs = thing::limit_specs(Prefix::None);
    let form = Form::post("pool", format!("{HERE}/organization"), "Save")
        .fields(thing::fields(&specs, &pool, tried))
        .error(thing::error(&specs, tried));
    blocks.push(Block::Form(form.main()));
    blocks.push(Block::Heading("Text added to spend limit errors".into()));
    let tried = refused
        .and_then(|refused| if let Refused::Message(tried) = refused { Some(tried) } else { None });
    let specs = [message_spec()];
    let form = Form::post("message", format!("{HERE}/message"), "Save")
        .fields(thing::fields(&specs, &message, tried))
        .error(thing::error(&specs, tried));
    blocks.push(Block::Form(form.main()));
    Ok(blocks)
}

fn message_spec() -> Spec {
    Spec::new("message", "Text", "For example, whom to ask for a higher limit.", Kind::Maybe)
}

/// Converts cents of the API to dollars.
fn dollars(cents: &Value) -> Cell {
    let Some(cents) = cents.as_str() else { return text("unlimited") };
    let (whole, part) = cents.split_once('.').unwrap_or((cents, ""));
    let whole = format!("{whole:0>3}");
    let (dollars, rest) = whole.split_at(whole.len().saturating_sub(2));
    let exact = format!("{dollars}.{rest}{part}");
    number(usd(&exact), format!("{exact} USD"))
}

fn of_whom(scope: &Value, groups: &Names, users: &Names) -> Cell {
    match scope["type"].as_str().unwrap_or_default() {
        "user" => users.link(&scope["user_id"]),
        "rbac_group" => {
            let mut cell = groups.link(&scope["rbac_group_id"]);
            cell.push(Piece::Faint("each person in the group".to_owned()));
            cell
        }
        _ => text("Each person in the organization"),
    }
}

fn caps_table(caps: &[Value], groups: &Names, users: &Names) -> Table {
    let mut table = Table::new("caps", "Spend limits", &["Who", "Period", "#Limit", "Delete"]);
    table.rows = caps
        .iter()
        .map(|cap| {
            let id = said(&cap["id"]);
            let form = Form::post(format!("delete-{id}"), format!("{HERE}/{id}/delete"), "Delete")
                .danger("Delete this spend limit?");
            vec![
                of_whom(&cap["scope"], groups, users),
                text(said(&cap["period"])),
                dollars(&cap["amount"]),
                vec![Piece::Button(form)],
            ]
        })
        .collect();
    table
}

fn cap_form(groups: &Names, users: &Names, tried: Option<&Tried>) -> Form {
    let mut scopes =
        vec![("organization".to_owned(), "Each person in the organization".to_owned())];
    scopes.extend(
        groups.some().into_iter().map(|(id, name)| (id, format!("Each person in group {name}"))),
    );
    scopes.extend(users.some().into_iter().map(|(id, name)| (id, format!("User {name}"))));
    let periods = ["monthly", "weekly", "daily"].map(|one| (one.to_owned(), one.to_owned()));
    let specs = vec![
        Spec::new("who", "Applies to", "", Kind::Choice(scopes)),
        Spec::new("period", "Period", "", Kind::Choice(periods.to_vec())),
        Spec::new(
            "usd",
            "Amount per person",
            "US dollars and whole cents. 0 blocks all requests. Empty means unlimited, even if a wider limit applies.",
            Kind::Usd,
        ),
    ];
    Form::post("cap", HERE, "Set spend limit")
        .fields(thing::fields(&specs, &Value::Null, tried))
        .error(thing::error(&specs, tried))
        .main()
}

fn spent_block(guest: &Guest, answer: &Value) -> Block {
    let rows = answer["data"].as_array().cloned().unwrap_or_default();
    if rows.is_empty() {
        return Block::Text("Nobody has a spend limit.".into());
    }
    let columns = ["Who", "Period", "#Spent", "#Limit", "Used", "Set for"];
    let mut table = Table::new("spent", "Spend in the current period", &columns);
    table.rows = rows
        .iter()
        .map(|row| {
            let actor = &row["actor"];
            let name = actor["name"].as_str().map_or_else(String::new, |name| cut(name, 60));
            let who = match (actor["user_id"].as_str(), actor["api_key_id"].as_str()) {
                (Some(id), _) => link(format!("/console/users/{id}"), name),
                (None, Some(id)) => link(format!("/console/keys/{id}"), name),
                (None, None) => none(),
            };
            vec![
                who,
                text(said(&row["period"])),
                dollars(&row["period_to_date_spend"]),
                dollars(&row["amount"]),
                used(row),
                maybe(
                    row["source"]["type"]
                        .as_str()
                        .map(|kind| if kind == "rbac_group" { "group" } else { kind }),
                ),
            ]
        })
        .collect();
    table.next = answer["next_page"].as_str().map(|page| guest.query_with("page", page));
    Block::Table(table)
}

/// A cell with the used share of a limit.
fn used(row: &Value) -> Cell {
    let cents = |name: &str| row[name].as_str().and_then(|text| text.parse::<f64>().ok());
    match (cents("period_to_date_spend"), cents("amount")) {
        (Some(spent), Some(amount)) if amount > 0.0 => {
            let percent = (spent / amount * 100.0).clamp(0.0, 100.0).round();
            let percent = format!("{percent:.0}").parse().unwrap_or(100);
            vec![Piece::Meter(percent, "Used".to_owned())]
        }
        _ => none(),
    }
}

async fn read(guest: Guest) -> Outcome {
    let blocks = page(&guest, None).await?;
    Ok(guest.show("Spend limits", blocks))
}

async fn told(
    guest: &Guest,
    asked: Outcome<Value>,
    tried: impl FnOnce(Trouble) -> Refused,
) -> Outcome {
    match asked {
        Ok(_) => see(&format!("{HERE}?done=saved")),
        Err(why) if why.is_of_form() => {
            let blocks = page(guest, Some(&tried(why.clone()))).await?;
            Ok(guest.show_refused("Spend limits", blocks, &why))
        }
        Err(why) => Err(why),
    }
}

async fn set(guest: Guest, body: Bytes) -> Outcome {
    let typed = Typed::parse(&body);
    let who = typed.get("who");
    let scope = match who.get(..4) {
        Some("usr_") => json!({ "type": "user", "user_id": who }),
        Some("grp_") => json!({ "type": "rbac_group", "rbac_group_id": who }),
        _ => json!({ "type": "organization" }),
    };
    let usd = typed.get("usd").trim();
    let amount = if usd.is_empty() { Value::Null } else { json!(cents(usd)) };
    let body = json!({ "scope": scope, "period": typed.get("period"), "amount": amount });
    let asked = guest.ask(Method::POST, CAPS).body(body).send().await;
    let is_of_amount = |why: &Trouble| why.message.starts_with("`amount`");
    let refused = |why: Trouble| {
        // The form has dollars, and the API cents.
        let message = "`usd`: expected US dollars and whole cents, such as 12.50".to_owned();
        if is_of_amount(&why) { Trouble { message, ..why } } else { why }
    };
    told(&guest, asked.map_err(refused), |why| Refused::Cap(Tried { typed, why })).await
}

/// Converts dollars to cents. Text that is not an amount stays as it is, so that the API reports
/// it.
fn cents(usd: &str) -> String {
    let (whole, part) = usd.split_once('.').unwrap_or((usd, ""));
    let text = match part.len() {
        0..=2 => format!("{whole}{part:0<2}"),
        _ => return usd.to_owned(),
    };
    let digits = text.trim_start_matches('0');
    if digits.is_empty() && !text.is_empty() { "0".to_owned() } else { digits.to_owned() }
}

async fn set_pool(guest: Guest, body: Bytes) -> Outcome {
    let typed = Typed::parse(&body);
    let limits = super::form::created(&thing::limit_specs(Prefix::None), &typed);
    let asked = guest.ask(Method::PUT, POOL).body(limits).send().await;
    told(&guest, asked, |why| Refused::Pool(Tried { typed, why })).await
}

async fn set_message(guest: Guest, body: Bytes) -> Outcome {
    let typed = Typed::parse(&body);
    let message = typed.get("message").trim();
    let body = json!({ "message": (!message.is_empty()).then_some(message) });
    let asked = guest.ask(Method::PUT, MESSAGE).body(body).send().await;
    told(&guest, asked, |why| Refused::Message(Tried { typed, why })).await
}

async fn remove(guest: Guest, Id(id): Id) -> Outcome {
    guest.ask(Method::DELETE, format!("{CAPS}/{id}")).send().await?;
    see(&format!("{HERE}?done=deleted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_become_cents_and_nonsense_stays() {
        for (usd, expected) in [
            ("5", "500"),
            ("0.5", "50"),
            ("12.34", "1234"),
            ("0", "0"),
            ("0.001", "0.001"),
            ("x", "x00"),
        ] {
            assert_eq!(cents(usd), expected, "{usd}");
        }
    }
}
