//! The page of limits: spend limits per person, spend per person, and the limits of the whole
//! organization.

use crate::ConsoleState;
use crate::api_call::{ConsoleApiError, ConsoleResult};
use crate::formatting::{api_text, truncate_text, usd};
use crate::html_form::{FieldKind, FieldSpec, FormValues, HtmlForm};
use crate::name_lookup::NameLookup;
use crate::page_blocks::{PageBlock, PageTable};
use crate::page_request::{PageRequest, PathId, redirect_to};
use crate::resource_pages::{self, LimitsPrefix, RejectedInput};
use crate::table_cells::{CellPart, TableCell, empty_cell, link, number, optional_text_cell, text};
use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use baton_api::limits::LimitMessage;
use baton_api::spend_limits::{
    SpendActor, SpendLimitResource, SpendLimitScope, SpendSummaryList, SpendSummaryResource,
    UsdCents,
};
use baton_domain::key::Limits;
use http::Method;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

const ORGANIZATION: &str = "/api/v1/limits/organization";
const MESSAGE: &str = "/api/v1/limits/message";
const CAPS: &str = "/api/v1/organizations/spend_limits";
const HERE: &str = "/console/limits";

pub(crate) fn routes() -> Router<ConsoleState> {
    Router::new()
        .route("/limits", get(show_limits).post(set_spend_limit))
        .route("/limits/organization", post(set_organization_limits))
        .route("/limits/message", post(set_message))
        .route("/limits/{id}/delete", post(delete_spend_limit))
}

/// The refused form of this page.
enum RejectedForm {
    Cap(RejectedInput),
    SharedLimit(RejectedInput),
    Message(RejectedInput),
}

async fn limits_page(
    page_request: &PageRequest,
    rejected_form: Option<&RejectedForm>,
) -> ConsoleResult<Vec<PageBlock>> {
    page_request.require_admin()?;
    let page = page_request.query.query(&["page"]);
    let (caps, spent, limits, message): (_, _, Limits, LimitMessage) = futures_util::try_join!(
        page_request.get_list(format!("{CAPS}?limit=1000")),
        page_request.get(format!("{CAPS}/effective?limit=100&{page}")),
        page_request.get(ORGANIZATION),
        page_request.get(MESSAGE),
    )?;
    let (groups, users) = futures_util::try_join!(
        NameLookup::load(page_request, "groups"),
        NameLookup::load(page_request, "users")
    )?;
    let mut blocks: Vec<PageBlock> = resource_pages::done(page_request).into_iter().collect();
    blocks.push(PageBlock::Heading("Spend limits per person".into()));
    if caps.is_empty() {
        let text = "No spend limits. A limit of the organization or of a group applies to each person; \
                    a limit of a user replaces it.";
        blocks.push(PageBlock::Empty(text.into(), None));
    } else {
        blocks.push(PageBlock::Table(caps_table(&caps, &groups, &users)));
    }
    let cap = rejected_form.and_then(|rejected_form| {
        if let RejectedForm::Cap(rejected) = rejected_form { Some(rejected) } else { None }
    });
    blocks.push(PageBlock::Form(cap_form(&groups, &users, cap)));
    blocks.push(PageBlock::Heading("Spend per person".into()));
    blocks.push(spent_block(page_request, &spent));
    blocks.push(PageBlock::Heading("Limits of the whole organization".into()));
    blocks.push(PageBlock::Text(
        "These limits apply to all requests of everybody together. Keys, users and groups can have such limits, too.".into(),
    ));
    let rejected = rejected_form.and_then(|rejected_form| {
        if let RejectedForm::SharedLimit(rejected) = rejected_form { Some(rejected) } else { None }
    });
    let specs = resource_pages::limit_specs(LimitsPrefix::None);
    let form = HtmlForm::post("shared_limit", format!("{HERE}/organization"), "Save")
        .fields(resource_pages::fields(&specs, &json!(limits), rejected))
        .error(resource_pages::rejection_text(&specs, rejected));
    blocks.push(PageBlock::Form(form.main()));
    blocks.push(PageBlock::Heading("Text added to spend limit errors".into()));
    let rejected = rejected_form.and_then(|rejected_form| {
        if let RejectedForm::Message(rejected) = rejected_form { Some(rejected) } else { None }
    });
    let specs = [message_spec()];
    let form = HtmlForm::post("message", format!("{HERE}/message"), "Save")
        .fields(resource_pages::fields(&specs, &json!(message), rejected))
        .error(resource_pages::rejection_text(&specs, rejected));
    blocks.push(PageBlock::Form(form.main()));
    Ok(blocks)
}

fn message_spec() -> FieldSpec {
    FieldSpec::new(
        "message",
        "Text",
        "For example, whom to ask for a higher limit.",
        FieldKind::OptionalText,
    )
}

/// Converts cents of the API to dollars.
fn cents_to_cell(cents: Option<&UsdCents>) -> TableCell {
    let Some(cents) = cents.map(UsdCents::as_str) else { return text("unlimited") };
    let (whole, part) = cents.split_once('.').unwrap_or((cents, ""));
    let whole = format!("{whole:0>3}");
    let (dollars, rest) = whole.split_at(whole.len().saturating_sub(2));
    let exact = format!("{dollars}.{rest}{part}");
    number(exact.parse().map_or_else(|_| exact.clone(), usd), format!("{exact} USD"))
}

fn scope_cell(scope: &SpendLimitScope, groups: &NameLookup, users: &NameLookup) -> TableCell {
    match scope {
        SpendLimitScope::User { user_id } => users.link(Some(user_id)),
        SpendLimitScope::RbacGroup { rbac_group_id } => {
            let mut cell = groups.link(Some(rbac_group_id));
            cell.push(CellPart::Muted("each person in the group".to_owned()));
            cell
        }
        SpendLimitScope::Organization => text("Each person in the organization"),
    }
}

fn caps_table(caps: &[SpendLimitResource], groups: &NameLookup, users: &NameLookup) -> PageTable {
    let mut table = PageTable::new("caps", "Spend limits", &["Who", "Period", "#Limit", "Delete"]);
    table.rows = caps
        .iter()
        .map(|cap| {
            let id = &cap.id;
            let form =
                HtmlForm::post(format!("delete-{id}"), format!("{HERE}/{id}/delete"), "Delete")
                    .with_confirmation("Delete this spend limit?");
            vec![
                scope_cell(&cap.scope, groups, users),
                text(api_text(&cap.period)),
                cents_to_cell(cap.amount.as_ref()),
                vec![CellPart::Button(form)],
            ]
        })
        .collect();
    table
}

fn cap_form(groups: &NameLookup, users: &NameLookup, rejected: Option<&RejectedInput>) -> HtmlForm {
    let mut scopes =
        vec![("organization".to_owned(), "Each person in the organization".to_owned())];
    scopes.extend(
        groups
            .choices_only()
            .into_iter()
            .map(|(id, name)| (id, format!("Each person in group {name}"))),
    );
    scopes.extend(users.choices_only().into_iter().map(|(id, name)| (id, format!("User {name}"))));
    let periods = ["monthly", "weekly", "daily"].map(|one| (one.to_owned(), one.to_owned()));
    let specs = vec![
        FieldSpec::new("who", "Applies to", "", FieldKind::Choice(scopes)),
        FieldSpec::new("period", "Period", "", FieldKind::Choice(periods.to_vec())),
        FieldSpec::new(
            "usd",
            "Amount per person",
            "US dollars and whole cents. 0 blocks all requests. Empty means unlimited, even if a limit of the group or organization exists.",
            FieldKind::Usd,
        ),
    ];
    HtmlForm::post("cap", HERE, "Set spend limit")
        .fields(resource_pages::fields(&specs, &Value::Null, rejected))
        .error(resource_pages::rejection_text(&specs, rejected))
        .main()
}

fn spent_block(page_request: &PageRequest, list: &SpendSummaryList) -> PageBlock {
    if list.data.is_empty() {
        return PageBlock::Text("Nobody has a spend limit.".into());
    }
    let columns = ["Who", "Period", "#Spent", "#Limit", "Used", "Set by"];
    let mut table = PageTable::new("spent", "Spend in the current period", &columns);
    let row = |row: &SpendSummaryResource| {
        let (href, name) = match &row.actor {
            SpendActor::UserActor { user_id, name, .. } => {
                (format!("/console/users/{user_id}"), name)
            }
            SpendActor::ApiKeyActor { api_key_id, name } => {
                (format!("/console/keys/{api_key_id}"), name)
            }
        };
        let source = row.source.as_ref().map(|source| match source {
            SpendLimitScope::User { .. } => "user",
            SpendLimitScope::RbacGroup { .. } => "group",
            SpendLimitScope::Organization => "organization",
        });
        vec![
            link(href, truncate_text(name.as_deref().unwrap_or_default(), 60)),
            text(api_text(&row.period)),
            cents_to_cell(Some(&row.period_to_date_spend)),
            cents_to_cell(row.amount.as_ref()),
            used(row),
            optional_text_cell(source),
        ]
    };
    table.rows = list.data.iter().map(row).collect();
    let next = list.next_page.as_deref();
    table.next = next.map(|page| page_request.query_with("page", page));
    PageBlock::Table(table)
}

/// A cell with the used share of a limit.
fn used(row: &SpendSummaryResource) -> TableCell {
    let cents = |amount: &UsdCents| amount.as_str().parse::<f64>().ok();
    match (cents(&row.period_to_date_spend), row.amount.as_ref().and_then(cents)) {
        (Some(spent), Some(amount)) if amount > 0.0 => {
            let percent = (spent / amount * 100.0).clamp(0.0, 100.0).round();
            let percent = format!("{percent:.0}").parse().unwrap_or(100);
            vec![CellPart::Meter(percent, "Used".to_owned())]
        }
        _ => empty_cell(),
    }
}

async fn show_limits(page_request: PageRequest) -> ConsoleResult {
    let blocks = limits_page(&page_request, None).await?;
    Ok(page_request.render_page("Spend limits", blocks))
}

async fn finish_change(
    page_request: &PageRequest,
    requested: ConsoleResult<IgnoredAny>,
    into_rejected_form: impl FnOnce(ConsoleApiError) -> RejectedForm,
) -> ConsoleResult {
    match requested {
        Ok(_) => redirect_to(&format!("{HERE}?done=saved")),
        Err(error) if error.is_form_error() => {
            let blocks =
                limits_page(page_request, Some(&into_rejected_form(error.clone()))).await?;
            Ok(page_request.render_rejected_page("Spend limits", blocks, &error))
        }
        Err(error) => Err(error),
    }
}

async fn set_spend_limit(page_request: PageRequest, body: Bytes) -> ConsoleResult {
    let values = FormValues::parse(&body);
    let subject = values.get("who");
    let scope = match subject.get(..4) {
        Some("usr_") => json!({ "type": "user", "user_id": subject }),
        Some("grp_") => json!({ "type": "rbac_group", "rbac_group_id": subject }),
        _ => json!({ "type": "organization" }),
    };
    let usd = values.get("usd").trim();
    let amount = if usd.is_empty() { Value::Null } else { json!(cents(usd)) };
    let body = json!({ "scope": scope, "period": values.get("period"), "amount": amount });
    let requested = page_request.call(Method::POST, CAPS).body(body).send().await;
    let is_of_amount = |error: &ConsoleApiError| error.message.starts_with("`amount`");
    let rejected_form = |error: ConsoleApiError| {
        // The form has dollars, and the API cents.
        let message = "`usd`: expected US dollars and whole cents, such as 12.50".to_owned();
        if is_of_amount(&error) { ConsoleApiError { message, ..error } } else { error }
    };
    finish_change(&page_request, requested.map_err(rejected_form), |error| {
        RejectedForm::Cap(RejectedInput { values, error })
    })
    .await
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

async fn set_organization_limits(page_request: PageRequest, body: Bytes) -> ConsoleResult {
    let values = FormValues::parse(&body);
    let limits = crate::html_form::collect_new_values(
        &resource_pages::limit_specs(LimitsPrefix::None),
        &values,
    );
    let requested = page_request.call(Method::PUT, ORGANIZATION).body(limits).send().await;
    finish_change(&page_request, requested, |error| {
        RejectedForm::SharedLimit(RejectedInput { values, error })
    })
    .await
}

async fn set_message(page_request: PageRequest, body: Bytes) -> ConsoleResult {
    let values = FormValues::parse(&body);
    let message = values.get("message").trim();
    let body = json!({ "message": (!message.is_empty()).then_some(message) });
    let requested = page_request.call(Method::PUT, MESSAGE).body(body).send().await;
    finish_change(&page_request, requested, |error| {
        RejectedForm::Message(RejectedInput { values, error })
    })
    .await
}

async fn delete_spend_limit(page_request: PageRequest, PathId(id): PathId) -> ConsoleResult {
    page_request.call(Method::DELETE, format!("{CAPS}/{id}")).send::<IgnoredAny>().await?;
    redirect_to(&format!("{HERE}?done=deleted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_converted_to_cents_and_other_text_is_kept() {
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
