//! The page of alerts: channels, format, thresholds and undelivered alerts.

use super::Desk;
use super::ask::{Outcome, Trouble};
use super::block::{Block, Piece, Table, Tone, maybe, number, text};
use super::form::{Form, Kind, Spec, Typed, in_labels};
use super::guest::{Guest, see};
use super::show::{cut, said};
use super::thing::{self, Tried};
use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use http::Method;
use serde_json::{Value, json};

const API: &str = "/api/v1/alerts";
const HERE: &str = "/console/alerts";
/// The checkbox that removes the webhook. The API has no field for it.
const NO_WEBHOOK: &str = "no_webhook";
/// The field with the thresholds as text.
const PERCENTS: &str = "percents";

pub(super) fn routes() -> Router<Desk> {
    Router::new().route("/alerts", get(read).post(save)).route("/alerts/test", post(test))
}

fn specs() -> Vec<Spec> {
    let forms = [("json", "JSON, signed"), ("slack", "Slack")];
    let forms = forms.map(|(value, name)| (value.to_owned(), name.to_owned())).to_vec();
    vec![
        Spec::new(
            "url",
            "Webhook address",
            "Stored encrypted; only the host is shown. Empty keeps the current address.",
            Kind::Secret,
        ),
        Spec::new(NO_WEBHOOK, "Remove the webhook", "Deletes the stored address.", Kind::Flag),
        Spec::new("form", "Message format", "", Kind::Choice(forms)),
        Spec::new(
            "signing_secret",
            "Signing secret",
            "16 characters or more. Empty keeps the current secret, or creates one and shows it once.",
            Kind::Secret,
        ),
        Spec::new(
            PERCENTS,
            "Thresholds",
            "Percentages of a limit, separated by commas.",
            Kind::Text,
        ),
        Spec::new("sns_topic_arn", "SNS topic", "ARN of the topic. Empty means none.", Kind::Maybe),
    ]
}

/// Converts a submitted form to JSON for the API.
fn body(typed: &Typed) -> Value {
    let mut body = json!({ "form": typed.get("form") });
    let mut say = |name: &str, value: Value| body[name] = value;
    // The field shows the stored topic, so an empty field means that there is none.
    let topic = typed.get("sns_topic_arn").trim();
    say("sns_topic_arn", if topic.is_empty() { Value::Null } else { json!(topic) });
    for name in ["url", "signing_secret"] {
        match typed.get(name).trim() {
            "" => {}
            text => say(name, json!(text)),
        }
    }
    if typed.has(NO_WEBHOOK) {
        say("url", Value::Null);
    }
    let percents = typed.get(PERCENTS).split([',', ' ', '\n']).map(str::trim);
    // Text that is not a number is sent as it is, so that the API reports it.
    let percent = |text: &str| text.parse::<u32>().map_or_else(|_| json!(text), |n| json!(n));
    say("thresholds", percents.filter(|text| !text.is_empty()).map(percent).collect());
    body
}

async fn page(guest: &Guest, tried: Option<&Tried>) -> Outcome<Vec<Block>> {
    let mut view = guest.get(API).await?;
    let percents = view["thresholds"].as_array().into_iter().flatten().map(Value::to_string);
    view[PERCENTS] = json!(percents.collect::<Vec<_>>().join(", "));
    let mut blocks: Vec<Block> = thing::done(guest).into_iter().collect();
    blocks.push(Block::Facts(vec![
        ("Webhook host".into(), maybe(view["url_host"].as_str())),
        ("SNS topic".into(), maybe(view["sns_topic_arn"].as_str())),
    ]));
    let send = Form::post("test", format!("{HERE}/test"), "Send a test").inline();
    blocks.push(Block::Row(vec![Piece::Button(send)]));
    blocks.push(Block::Form(thing::edit_form(HERE, &view, &specs(), tried)));
    blocks.push(Block::Heading("Undelivered alerts".into()));
    blocks.push(waiting(&view["waiting"]));
    Ok(blocks)
}

fn waiting(list: &Value) -> Block {
    let rows: Vec<_> = list.as_array().into_iter().flatten().map(row).collect();
    if rows.is_empty() {
        return Block::Text("No alert is waiting to be delivered.".into());
    }
    let columns = ["Alert", "Channel", "#Attempts", "Last error"];
    Block::Table(Table {
        rows,
        ..Table::new("waiting", "Undelivered alerts, oldest first", &columns)
    })
}

fn row(one: &Value) -> Vec<super::block::Cell> {
    let tries = said(&one["tries"]);
    vec![
        text(cut(&said(&one["text"]), 200)),
        text(said(&one["channel"])),
        number(tries.clone(), tries),
        maybe(Some(&cut(&said(&one["last_error"]), 200))),
    ]
}

async fn read(guest: Guest) -> Outcome {
    guest.admins_only()?;
    let blocks = page(&guest, None).await?;
    Ok(guest.show("Alerts", blocks))
}

async fn save(guest: Guest, bytes: Bytes) -> Outcome {
    let typed = Typed::parse(&bytes);
    let ask = guest.ask(Method::PUT, API).body(body(&typed)).version(typed.get("version"));
    match ask.send().await {
        Ok(made) if made["signing_secret"].is_string() => {
            let secret = said(&made["signing_secret"]);
            let says = "Signing secret of alerts.".to_owned();
            let shown = Block::Secret("secret".into(), says, secret);
            let back = super::block::Link::new(HERE, "Go to the alerts");
            Ok(guest.show("Alerts saved", vec![shown, Block::Row(vec![Piece::Link(back)])]))
        }
        Ok(_) => see(&format!("{HERE}?done=saved")),
        Err(why) if why.is_of_form() => {
            let message = why.message.replace("`thresholds", &format!("`{PERCENTS}"));
            let tried = Tried { typed, why: Trouble { message, ..why } };
            let blocks = page(&guest, Some(&tried)).await?;
            Ok(guest.show_refused("Alerts", blocks, &tried.why))
        }
        Err(why) => Err(why),
    }
}

async fn test(guest: Guest) -> Outcome {
    let said = match guest.ask(Method::POST, format!("{API}/test")).send().await {
        Ok(told) => Block::Notice(Tone::Good, said(&told["message"])),
        Err(Trouble { message, .. }) => Block::Notice(Tone::Bad, in_labels(&message, &specs())),
    };
    let mut blocks = vec![said];
    blocks.extend(page(&guest, None).await?);
    Ok(guest.show("Alerts", blocks))
}
