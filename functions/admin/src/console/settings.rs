//! The page of settings that can be changed at run time.

use super::Desk;
use super::ask::Outcome;
use super::block::Block;
use super::form::{Kind, Spec, Typed};
use super::guest::{Guest, see};
use super::thing::{self, Tried};
use axum::Router;
use axum::body::Bytes;
use axum::routing::get;

const API: &str = "/api/v1/settings";
const HERE: &str = "/console/settings";

pub(super) fn routes() -> Router<Desk> {
    Router::new().route("/settings", get(read).post(save))
}

fn specs() -> Vec<Spec> {
    let says = "Users can use the API and this console for their own keys and usage.";
    vec![Spec::new("member_access", "Members have access", says, Kind::Flag)]
}

async fn page(guest: &Guest, tried: Option<&Tried>) -> Outcome<Vec<Block>> {
    let view = guest.get(API).await?;
    let mut blocks: Vec<Block> = thing::done(guest).into_iter().collect();
    blocks.push(Block::Form(thing::edit_form(HERE, &view, &specs(), tried)));
    let changed = super::show::time(&view["updated_at"]);
    blocks.push(Block::Facts(vec![("Changed".into(), changed)]));
    blocks.push(Block::Text(
        "Environment variables (BATON_…) set everything else where the process starts; see \"Settings\" in the documentation.".into(),
    ));
    Ok(blocks)
}

async fn read(guest: Guest) -> Outcome {
    let blocks = page(&guest, None).await?;
    Ok(guest.show("Settings", blocks))
}

async fn save(guest: Guest, body: Bytes) -> Outcome {
    let typed = Typed::parse(&body);
    match thing::save(&guest, API, &specs(), &typed).await {
        Ok(_) => see(&format!("{HERE}?done=saved")),
        Err(why) if why.is_of_form() => {
            let tried = Tried { typed, why };
            let blocks = page(&guest, Some(&tried)).await?;
            Ok(guest.show_refused("Settings", blocks, &tried.why))
        }
        Err(why) => Err(why),
    }
}
