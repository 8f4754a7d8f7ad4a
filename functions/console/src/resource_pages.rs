//! Shared parts of the pages of resources: forms with current or submitted values, creating, saving
//! changes, deleting, and messages.

use crate::api_call::{ConsoleApiError, ConsoleResult};
use crate::html_form::{
    FieldKind, FieldSpec, FormField, FormValues, HtmlForm, collect_changes, collect_new_values,
    in_labels,
};
use crate::page_blocks::{PageBlock, Severity};
use crate::page_request::{PageRequest, redirect_to};
use http::Method;
use serde_json::{Value, json};

/// A submitted form and the error of the API.
pub(crate) struct RejectedInput {
    pub(crate) values: FormValues,
    pub(crate) error: ConsoleApiError,
}

/// The fields with the submitted values, or else with the current ones.
pub(crate) fn fields(
    specs: &[FieldSpec],
    view: &Value,
    rejected: Option<&RejectedInput>,
) -> Vec<FormField> {
    let field = |spec: &FieldSpec| match rejected {
        Some(rejected) => spec.submitted_field(&rejected.values),
        None => spec.field(view),
    };
    specs.iter().map(field).collect()
}

/// The error of a refused form, with labels in the place of JSON paths.
pub(crate) fn rejection_text(
    specs: &[FieldSpec],
    rejected: Option<&RejectedInput>,
) -> Option<String> {
    rejected.map(|rejected| in_labels(&rejected.error.sentence(), specs))
}

/// The form that creates a resource. Sending it twice creates only one.
pub(crate) fn create_form(
    page_request: &PageRequest,
    action: &str,
    submit: &str,
    (specs, start): (&[FieldSpec], &Value),
    rejected: Option<&RejectedInput>,
) -> HtmlForm {
    // A refused request has changed nothing, so the next attempt gets a new idempotency key.
    HtmlForm::post("create", action, submit)
        .hidden("once", page_request.new_idempotency_key())
        .fields(fields(specs, start, rejected))
        .error(rejection_text(specs, rejected))
        .main()
}

/// The form that changes a resource.
pub(crate) fn edit_form(
    action: &str,
    view: &Value,
    specs: &[FieldSpec],
    rejected: Option<&RejectedInput>,
) -> HtmlForm {
    let version = rejected.map_or_else(
        || crate::formatting::field_text(&view["version"]),
        |rejected| rejected.values.get("version").to_owned(),
    );
    HtmlForm::post("edit", action, "Save")
        .hidden("version", version)
        .fields(fields(specs, view, rejected))
        .error(rejection_text(specs, rejected))
        .main()
}

/// Creates a resource from a submitted form.
pub(crate) async fn create_resource(
    page_request: &PageRequest,
    path: &str,
    specs: &[FieldSpec],
    values: &FormValues,
) -> ConsoleResult<Value> {
    let body = collect_new_values(specs, values);
    page_request
        .call(Method::POST, path)
        .body(body)
        .with_idempotency_key(values.get("once"))
        .send()
        .await
}

/// Saves the changed fields of a submitted form.
pub(crate) async fn save_resource(
    page_request: &PageRequest,
    path: &str,
    specs: &[FieldSpec],
    values: &FormValues,
) -> ConsoleResult<Value> {
    let before = page_request.get(path).await?;
    let body = collect_changes(specs, values, &before);
    if body == json!({}) {
        return Ok(before);
    }
    page_request.call(Method::PATCH, path).body(body).version(values.get("version")).send().await
}

/// The collapsed form that deletes a resource.
pub(crate) fn remove_fold(action: &str, view: &Value, what: &str, consequence: &str) -> PageBlock {
    let form = HtmlForm::post("remove", action, &format!("Delete this {what}"))
        .hidden("version", crate::formatting::field_text(&view["version"]))
        .with_confirmation(format!("Delete this {what}? {consequence}"));
    let title = format!("Delete this {what} ({consequence})");
    PageBlock::Fold("remove-fold".into(), title, form)
}

/// Deletes a resource and redirects to its list.
pub(crate) async fn remove_resource(
    page_request: &PageRequest,
    path: &str,
    values: &FormValues,
    list: &str,
) -> ConsoleResult {
    page_request.call(Method::DELETE, path).version(values.get("version")).send().await?;
    redirect_to(&format!("{list}?done=deleted"))
}

/// The message about the last action, if there is one.
pub(crate) fn done(page_request: &PageRequest) -> Option<PageBlock> {
    let message = match page_request.query.get("done") {
        "saved" => "Saved.",
        "created" => "Created.",
        "deleted" => "Deleted.",
        "reset" => "Health reset.",
        "signed_in" => "Signed in.",
        "refreshed" => "Token renewed.",
        _ => return None,
    };
    Some(PageBlock::Notice(Severity::Success, message.to_owned()))
}

/// The filter of a list: by name and state, and by the fields in `more`.
pub(crate) fn filter(page_request: &PageRequest, action: &str, more: Vec<FieldSpec>) -> PageBlock {
    let state = vec![
        (String::new(), "All".to_owned()),
        ("true".to_owned(), "On".to_owned()),
        ("false".to_owned(), "Off".to_owned()),
    ];
    let mut specs = vec![FieldSpec::new("q", "Name contains", "", FieldKind::Text)];
    specs.extend(more);
    specs.push(FieldSpec::new("enabled", "State", "", FieldKind::Choice(state)));
    let fields = specs.iter().map(|spec| spec.submitted_field(&page_request.query)).collect();
    PageBlock::Form(HtmlForm::get("filter", action, "Filter").fields(fields))
}

/// The limits of a key, a user, a group or the organization.
pub(crate) fn limit_specs(prefix: LimitsPrefix) -> Vec<FieldSpec> {
    let paths: [&'static str; 6] = match prefix {
        LimitsPrefix::Limits => [
            "limits.usd_daily",
            "limits.usd_weekly",
            "limits.usd_monthly",
            "limits.usd_total",
            "limits.requests_per_minute",
            "limits.concurrency",
        ],
        LimitsPrefix::None => [
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
        FieldSpec::new(daily, "Daily budget", "US dollars. Empty means no limit.", FieldKind::Usd),
        FieldSpec::new(weekly, "Weekly budget", "US dollars, from Monday (UTC).", FieldKind::Usd),
        FieldSpec::new(monthly, "Monthly budget", "US dollars.", FieldKind::Usd),
        FieldSpec::new(total, "Total budget", "US dollars, never reset.", FieldKind::Usd),
        FieldSpec::new(rate, "Requests per minute", "", FieldKind::Count),
        FieldSpec::new(concurrency, "Concurrent requests", "", FieldKind::Count),
    ]
}

/// Where the limits are in the JSON.
#[derive(Clone, Copy)]
pub(crate) enum LimitsPrefix {
    /// In the field `limits`.
    Limits,
    /// At the top level.
    None,
}

/// The addresses of the next page and of the first page.
pub(crate) fn page_links(
    page_request: &PageRequest,
    answer: &Value,
    name: &str,
) -> (Option<String>, Option<String>) {
    let next = answer[name].as_str().map(|cursor| page_request.query_with("cursor", cursor));
    let first = (!page_request.query.get("cursor").is_empty())
        .then(|| page_request.query_with("cursor", ""));
    (next, first)
}
