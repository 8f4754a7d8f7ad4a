//! Shared parts of the pages of resources: forms with current or submitted values, creating, saving
//! changes, deleting, and messages.

use super::ask::{Outcome, Trouble};
use super::block::{Block, Tone};
use super::form::{Field, Form, Kind, Spec, Typed, changed, created, in_labels};
use super::guest::{Guest, see};
use http::Method;
use serde_json::{Value, json};

/// A submitted form and the error of the API.
pub(super) struct Tried {
    pub(super) typed: Typed,
    pub(super) why: Trouble,
}

/// The fields with the submitted values, or else with the current ones.
pub(super) fn fields(specs: &[Spec], view: &Value, tried: Option<&Tried>) -> Vec<Field> {
    let field = |spec: &Spec| match tried {
        Some(tried) => spec.typed(&tried.typed),
        None => spec.field(view),
    };
    specs.iter().map(field).collect()
}

/// The error of a refused form, with labels in the place of JSON paths.
pub(super) fn error(specs: &[Spec], tried: Option<&Tried>) -> Option<String> {
    tried.map(|tried| in_labels(&tried.why.sentence(), specs))
}

/// The form that creates a resource. Sending it twice creates only one.
pub(super) fn create_form(
    guest: &Guest,
    action: &str,
    submit: &str,
    (specs, start): (&[Spec], &Value),
    tried: Option<&Tried>,
) -> Form {
    // A refused request has changed nothing, so the next attempt gets a new idempotency key.
    Form::post("create", action, submit)
        .hidden("once", guest.once())
        .fields(fields(specs, start, tried))
        .error(error(specs, tried))
        .main()
}

/// The form that changes a resource.
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

/// Creates a resource from a submitted form.
pub(super) async fn create(
    guest: &Guest,
    path: &str,
    specs: &[Spec],
    typed: &Typed,
) -> Outcome<Value> {
    let body = created(specs, typed);
    guest.ask(Method::POST, path).body(body).once(typed.get("once")).send().await
}

/// Saves the changed fields of a submitted form.
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

/// The collapsed form that deletes a resource.
pub(super) fn remove_fold(action: &str, view: &Value, what: &str, means: &str) -> Block {
    let form = Form::post("remove", action, &format!("Delete this {what}"))
        .hidden("version", super::show::said(&view["version"]))
        .danger(format!("Delete this {what}? {means}"));
    let title = format!("Delete this {what} ({means})");
    Block::Fold("remove-fold".into(), title, form)
}

/// Deletes a resource and redirects to its list.
pub(super) async fn remove(guest: &Guest, path: &str, typed: &Typed, list: &str) -> Outcome {
    guest.ask(Method::DELETE, path).version(typed.get("version")).send().await?;
    see(&format!("{list}?done=deleted"))
}

/// The message about the last action, if there is one.
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

/// The filter of a list: by name and state, and by the fields in `more`.
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

/// The limits of a key, a user, a group or the organization.
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

/// Where the limits are in the JSON.
#[derive(Clone, Copy)]
pub(super) enum Prefix {
    /// In the field `limits`.
    Limits,
    /// At the top level.
    None,
}

/// The addresses of the next page and of the first page.
pub(super) fn pages(guest: &Guest, answer: &Value, name: &str) -> (Option<String>, Option<String>) {
    let next = answer[name].as_str().map(|cursor| guest.query_with("cursor", cursor));
    let first = (!guest.query.get("cursor").is_empty()).then(|| guest.query_with("cursor", ""));
    (next, first)
}
