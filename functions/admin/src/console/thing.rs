//! What the pages of all things have in common: showing a form with what is there or what was typed,
//! creating, saving only what was changed, removing, and saying what was done.

use super::ask::{Outcome, Trouble};
use super::block::{Block, Tone};
use super::form::{Field, Form, Kind, Spec, Typed, changed, created, in_labels};
use super::guest::{Guest, see};
use http::Method;
use serde_json::{Value, json};

/// What was typed, and why it was refused.
pub(super) struct Tried {
    pub(super) typed: Typed,
    pub(super) why: Trouble,
}

/// The fields, with what was typed if something was, else with what is there.
pub(super) fn fields(specs: &[Spec], view: &Value, tried: Option<&Tried>) -> Vec<Field> {
    let field = |spec: &Spec| match tried {
        Some(tried) => spec.typed(&tried.typed),
        None => spec.field(view),
    };
    specs.iter().map(field).collect()
}

/// What a form says when it was refused.
pub(super) fn error(specs: &[Spec], tried: Option<&Tried>) -> Option<String> {
    tried.map(|tried| in_labels(&tried.why.sentence(), specs))
}

/// The form that creates something; a second sending of it creates nothing more.
pub(super) fn create_form(
    guest: &Guest,
    action: &str,
    submit: &str,
    (specs, start): (&[Spec], &Value),
    tried: Option<&Tried>,
) -> Form {
    // What was refused did nothing, so the next try is a new request.
    Form::post("create", action, submit)
        .hidden("once", guest.once())
        .fields(fields(specs, start, tried))
        .error(error(specs, tried))
        .main()
}

/// The form that changes something.
pub(super) fn edit_form(action: &str, view: &Value, specs: &[Spec], tried: Option<&Tried>) -> Form {
    let version = tried.map_or_else(
        || super::show::said(&view["version"]),
        |tried| tried.typed.get("version").to_owned(),
    );
    Form::post("edit", action, "Save")
        .hidden("version", version)
        .fields(fields(specs, view, tried))
        .error(error(specs, tried))
        .main()
}

/// Creates what was typed.
pub(super) async fn create(
    guest: &Guest,
    path: &str,
    specs: &[Spec],
    typed: &Typed,
) -> Outcome<Value> {
    let body = created(specs, typed);
    guest.ask(Method::POST, path).body(body).once(typed.get("once")).send().await
}

/// Saves what was changed.
pub(super) async fn save(
    guest: &Guest,
    path: &str,
    specs: &[Spec],
    typed: &Typed,
) -> Outcome<Value> {
    let before = guest.get(path).await?;
    let body = changed(specs, typed, &before);
    if body == json!({}) {
        return Ok(before);
    }
    guest.ask(Method::PATCH, path).body(body).version(typed.get("version")).send().await
}

/// The folded form that removes something.
pub(super) fn remove_fold(action: &str, view: &Value, what: &str, means: &str) -> Block {
    let form = Form::post("remove", action, &format!("Delete this {what}"))
        .hidden("version", super::show::said(&view["version"]))
        .danger(format!("Delete this {what}? {means}"));
    let title = format!("Delete this {what} ({means})");
    Block::Fold("remove-fold".into(), title, form)
}

/// Removes it and goes to the list; where that is refused, goes back with the reason.
pub(super) async fn remove(guest: &Guest, path: &str, typed: &Typed, list: &str) -> Outcome {
    guest.ask(Method::DELETE, path).version(typed.get("version")).send().await?;
    see(&format!("{list}?done=deleted"))
}

/// What has just been done, if anything.
pub(super) fn done(guest: &Guest) -> Option<Block> {
    let said = match guest.query.get("done") {
        "saved" => "Saved.",
        "created" => "Created.",
        "deleted" => "Deleted.",
        "reset" => "Health reset.",
        "signed_in" => "Signed in.",
        "refreshed" => "Token renewed.",
        _ => return None,
    };
    Some(Block::Notice(Tone::Good, said.to_owned()))
}

/// The form over a list: a part of the name, and whether it is on.
pub(super) fn filter(guest: &Guest, action: &str, more: Vec<Spec>) -> Block {
    let state = vec![
        (String::new(), "All".to_owned()),
        ("true".to_owned(), "On".to_owned()),
        ("false".to_owned(), "Off".to_owned()),
    ];
    let mut specs = vec![Spec::new("q", "Name contains", "", Kind::Text)];
    specs.extend(more);
    specs.push(Spec::new("enabled", "State", "", Kind::Choice(state)));
    let fields = specs.iter().map(|spec| spec.typed(&guest.query)).collect();
    Block::Form(Form::get("filter", action, "Filter").fields(fields))
}

/// The limits that a key, a user, a group and the organisation may have.
pub(super) fn limit_specs(prefix: Prefix) -> Vec<Spec> {
    let paths: [&'static str; 6] = match prefix {
        Prefix::Limits => [
            "limits.usd_daily",
            "limits.usd_weekly",
            "limits.usd_monthly",
            "limits.usd_total",
            "limits.requests_per_minute",
            "limits.concurrency",
        ],
        Prefix::None => [
            "usd_daily",
            "usd_weekly",
            "usd_monthly",
            "usd_total",
            "requests_per_minute",
            "concurrency",
        ],
    };
    let [daily, weekly, monthly, total, rate, concurrency] = paths;
    vec![
        Spec::new(daily, "Daily budget", "US dollars. Empty means no limit.", Kind::Usd),
        Spec::new(weekly, "Weekly budget", "US dollars, from Monday (UTC).", Kind::Usd),
        Spec::new(monthly, "Monthly budget", "US dollars.", Kind::Usd),
        Spec::new(total, "Total budget", "US dollars, never reset.", Kind::Usd),
        Spec::new(rate, "Requests per minute", "", Kind::Count),
        Spec::new(concurrency, "Concurrent requests", "", Kind::Count),
    ]
}

/// Where limits are in what they belong to.
#[derive(Clone, Copy)]
pub(super) enum Prefix {
    /// In a field of it.
    Limits,
    /// They are all of it.
    None,
}

/// The rest of a list, for its table.
pub(super) fn pages(guest: &Guest, answer: &Value, name: &str) -> (Option<String>, Option<String>) {
    let next = answer[name].as_str().map(|cursor| guest.query_with("cursor", cursor));
    let first = (!guest.query.get("cursor").is_empty()).then(|| guest.query_with("cursor", ""));
    (next, first)
}
