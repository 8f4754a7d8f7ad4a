//! Pages of accounts: list, state, settings and actions.

use crate::ConsoleState;
use crate::account_form::{
    CredentialChoice, account_fields, credential_form, new_blocks, read_credential,
};
use crate::account_sign_in::{new_account_block, renew_account_block};
use crate::api_call::ConsoleResult;
use crate::formatting::{field_text, time, truncate_text};
use crate::html_form::{FieldKind, FieldSpec, FormValues, HtmlForm};
use crate::name_lookup::NameLookup;
use crate::page_blocks::{
    CellPart, PageBlock, PageLink, PageTable, Severity, TableCell, code, empty_cell, link,
    optional_text_cell, text,
};
use crate::page_request::{PageRequest, PathId, redirect_to};
use crate::resource_pages::{self, RejectedInput};
use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use http::Method;
use serde_json::{Value, json};

pub(crate) const API: &str = "/api/v1/accounts";
pub(crate) const HERE: &str = "/console/accounts";

pub(crate) fn routes() -> Router<ConsoleState> {
    Router::new()
        .route("/accounts", get(list_accounts).post(create_account))
        .route("/accounts/new", get(show_new_account))
        .route("/accounts/{id}", get(show_account).post(update_account))
        .route("/accounts/{id}/credential", post(replace))
        .route("/accounts/{id}/test", post(test_account))
        .route("/accounts/{id}/reset", post(reset))
        .route("/accounts/{id}/refresh", post(refresh))
        .route("/accounts/{id}/delete", post(delete_account))
}

/// The word for an account status of the API.
pub(crate) fn status_label(status: &str) -> &str {
    match status {
        "auth_failed" => "credential refused",
        "disabled" => "off",
        other => other,
    }
}

/// A cell with an account's state and its reason.
pub(crate) fn state(view: &Value) -> TableCell {
    let status = view["status"].as_str().unwrap_or_default();
    let tone = match status {
        "ready" => Severity::Success,
        "unproven" | "cooling" => Severity::Warning,
        "auth_failed" => Severity::Error,
        _ => Severity::Neutral,
    };
    let mut cell = vec![CellPart::Badge(tone, status_label(status).to_owned())];
    cell.extend(
        view["status_reason"].as_str().map(|error| CellPart::Muted(truncate_text(error, 120))),
    );
    for (model, rest) in view["cooling_models"].as_object().into_iter().flatten() {
        let until = crate::formatting::format_time(&field_text(&rest["until"]));
        cell.push(CellPart::Muted(format!("{}: until {until}", truncate_text(model, 40))));
    }
    cell
}

/// A cell with the used share of the upstream's own limits.
fn utilization_cell(view: &Value) -> TableCell {
    let used = view["utilisation"].as_object();
    let meters = used.into_iter().flatten().filter_map(|(name, value)| {
        let percent = value["percent"].as_u64().or_else(|| value.as_u64())?;
        let percent = u8::try_from(percent.min(100)).unwrap_or(100);
        Some(CellPart::Meter(percent, window(name)))
    });
    let meters: TableCell = meters.collect();
    if meters.is_empty() { empty_cell() } else { meters }
}

fn window(name: &str) -> String {
    match name {
        "five_hour" | "5h" => "5 h".to_owned(),
        "seven_day" | "7d" => "7 d".to_owned(),
        other => truncate_text(other, 20),
    }
}

/// A short table of accounts, for the page of a group.
pub(crate) fn brief(accounts: &[Value]) -> PageTable {
    let mut table = PageTable::new(
        "accounts",
        "Accounts",
        &["Name", "State", "Until", "Utilization", "#Priority"],
    );
    let row = |one: &Value| {
        vec![
            link(
                format!("{HERE}/{}", field_text(&one["id"])),
                truncate_text(&field_text(&one["name"]), 80),
            ),
            state(one),
            time(&one["cooling_until"]),
            utilization_cell(one),
            text(field_text(&one["priority"])),
        ]
    };
    table.rows = accounts.iter().map(row).collect();
    table
}

async fn list_accounts(page_request: PageRequest) -> ConsoleResult {
    page_request.require_admin()?;
    let query = page_request.query.query(&["q", "enabled", "group_id", "cursor"]);
    let (answer, groups) = futures_util::try_join!(
        page_request.get(format!("{API}?{query}")),
        NameLookup::load(&page_request, "groups"),
    )?;
    let rows = answer["data"].as_array().cloned().unwrap_or_default();
    let mut blocks: Vec<PageBlock> = resource_pages::done(&page_request).into_iter().collect();
    blocks.push(PageBlock::Row(vec![CellPart::Link(PageLink::new(
        format!("{HERE}/new"),
        "New account",
    ))]));
    let group = FieldSpec::new("group_id", "Group", "", FieldKind::Choice(groups.choices("All")));
    blocks.push(resource_pages::filter(&page_request, HERE, vec![group]));
    if rows.is_empty() {
        let next = PageLink::new(format!("{HERE}/new"), "Add an account");
        let message = "No accounts found. An account is the address of an upstream with your credential for it.";
        blocks.push(PageBlock::Empty(message.into(), Some(next)));
        return Ok(page_request.render_page("Accounts", blocks));
    }
    let columns =
        ["Name", "State", "Until", "Utilization", "Groups", "#Priority", "Last used", "Test"];
    let mut table = PageTable::new(
        "accounts",
        "Accounts, oldest first. Smaller priority numbers are used first.",
        &columns,
    );
    table.rows = rows
        .iter()
        .map(|one| {
            let id = field_text(&one["id"]);
            let of = one["groups"].as_array().into_iter().flatten();
            vec![
                link(format!("{HERE}/{id}"), truncate_text(&field_text(&one["name"]), 80)),
                state(one),
                time(&one["cooling_until"]),
                utilization_cell(one),
                of.flat_map(|group| groups.link(group)).collect(),
                text(field_text(&one["priority"])),
                time(&one["last_used_at"]),
                vec![CellPart::Button(test_button(&id))],
            ]
        })
        .collect();
    (table.next, table.first) = resource_pages::page_links(&page_request, &answer, "next_cursor");
    blocks.push(PageBlock::Table(table));
    Ok(page_request.render_page("Accounts", blocks))
}

fn test_button(id: &str) -> HtmlForm {
    HtmlForm::post(format!("test-{id}"), format!("{HERE}/{id}/test"), "Test").inline()
}

async fn show_new_account(page_request: PageRequest) -> ConsoleResult {
    page_request.require_admin()?;
    let groups = NameLookup::load(&page_request, "groups").await?;
    Ok(page_request.render_page("New account", new_page(&page_request, &groups, (None, None))))
}

/// The forms of a new account. `made` and `signed_in` are refused attempts, with a credential or
/// with a sign-in.
pub(crate) fn new_page(
    page_request: &PageRequest,
    groups: &NameLookup,
    (made, signed_in): (Option<&RejectedInput>, Option<&RejectedInput>),
) -> Vec<PageBlock> {
    let mut blocks = new_blocks(page_request, groups, made);
    blocks.push(new_account_block(groups, signed_in));
    blocks
}

async fn create_account(page_request: PageRequest, body: Bytes) -> ConsoleResult {
    let values = FormValues::parse(&body);
    let groups = NameLookup::load(&page_request, "groups").await?;
    let mut body = crate::html_form::collect_new_values(&account_fields(&groups), &values);
    body["credential"] = read_credential(&values);
    let requested = page_request
        .call(Method::POST, API)
        .body(body)
        .with_idempotency_key(values.get("once"))
        .send()
        .await;
    match requested {
        Ok(view) => redirect_to(&format!("{HERE}/{}?done=created", field_text(&view["id"]))),
        Err(error) if error.is_form_error() => {
            let rejected = RejectedInput { values, error };
            let blocks = new_page(&page_request, &groups, (Some(&rejected), None));
            Ok(page_request.render_rejected_page("New account", blocks, &rejected.error))
        }
        Err(error) => Err(error),
    }
}

/// The refused forms and the message to show on the page of an account.
#[derive(Default)]
pub(crate) struct AccountPageResult {
    pub(crate) edit: Option<RejectedInput>,
    pub(crate) credential: Option<RejectedInput>,
    pub(crate) sign_in: Option<RejectedInput>,
    pub(crate) notice: Option<(Severity, String)>,
}

/// The title and the blocks of the page of an account.
pub(crate) async fn account_page(
    page_request: &PageRequest,
    id: &str,
    response: &AccountPageResult,
) -> ConsoleResult<(String, Vec<PageBlock>)> {
    let path = format!("{API}/{id}");
    let (view, groups) =
        futures_util::try_join!(page_request.get(path), NameLookup::load(page_request, "groups"))?;
    let mut blocks: Vec<PageBlock> = resource_pages::done(page_request).into_iter().collect();
    blocks.extend(response.notice.clone().map(|(tone, notice)| PageBlock::Notice(tone, notice)));
    blocks.push(facts(&view, &groups));
    let here = format!("{HERE}/{id}");
    let mut buttons = vec![CellPart::Button(test_button(id))];
    let act = |name: &str, message: &str| HtmlForm::post(name, format!("{here}/{name}"), message);
    buttons.push(CellPart::Button(act("reset", "Reset health")));
    if !matches!(view["credential_type"].as_str(), Some("api_key" | "bearer" | "aws")) {
        buttons.push(CellPart::Button(act("refresh", "Renew token now")));
    }
    blocks.push(PageBlock::Row(buttons));
    blocks.push(PageBlock::Heading("Change".into()));
    let edit =
        resource_pages::edit_form(&here, &view, &account_fields(&groups), response.edit.as_ref());
    blocks.push(PageBlock::Form(edit));
    for kind in CredentialChoice::ALL {
        let rejected =
            response.credential.as_ref().filter(|rejected| kind.is_chosen_in(&rejected.values));
        let form = credential_form(kind, &format!("{here}/credential"), &view, rejected);
        let title = format!("Replace the credential: {}", kind.title());
        blocks.push(PageBlock::Fold(format!("credential-{}", kind.name()), title, form));
    }
    blocks.push(renew_account_block(id, response.sign_in.as_ref()));
    let means = "requests go to the other accounts of its groups";
    blocks.push(resource_pages::remove_fold(&format!("{here}/delete"), &view, "account", means));
    Ok((truncate_text(&field_text(&view["name"]), 200), blocks))
}

fn facts(view: &Value, groups: &NameLookup) -> PageBlock {
    let of = view["groups"].as_array().into_iter().flatten();
    let mut facts = vec![
        ("State".to_owned(), state(view)),
        ("Until".to_owned(), time(&view["cooling_until"])),
        ("Utilization".to_owned(), utilization_cell(view)),
        ("Groups".to_owned(), of.flat_map(|group| groups.link(group)).collect()),
        ("Id".to_owned(), code(field_text(&view["id"]))),
        ("Provider".to_owned(), text(field_text(&view["provider"]))),
        ("Upstream".to_owned(), code(truncate_text(&field_text(&view["base_url"]), 300))),
        ("Credential".to_owned(), text(field_text(&view["credential_type"]))),
        ("Last used".to_owned(), time(&view["last_used_at"])),
        ("Changed".to_owned(), time(&view["updated_at"])),
    ];
    if let Some(proxy) = view["proxy_url"].as_str() {
        facts.push(("Proxy".to_owned(), optional_text_cell(Some(&truncate_text(proxy, 300)))));
    }
    let used = format!("/console/requests?account_id={}", field_text(&view["id"]));
    facts.push(("Requests".to_owned(), link(used, "Requests by this account")));
    PageBlock::Facts(facts)
}

async fn show_account(page_request: PageRequest, PathId(id): PathId) -> ConsoleResult {
    let (title, blocks) = account_page(&page_request, &id, &AccountPageResult::default()).await?;
    Ok(page_request.render_page(&title, blocks))
}

async fn update_account(
    page_request: PageRequest,
    PathId(id): PathId,
    body: Bytes,
) -> ConsoleResult {
    let values = FormValues::parse(&body);
    let groups = NameLookup::load(&page_request, "groups").await?;
    match resource_pages::save_resource(
        &page_request,
        &format!("{API}/{id}"),
        &account_fields(&groups),
        &values,
    )
    .await
    {
        Ok(_) => redirect_to(&format!("{HERE}/{id}?done=saved")),
        Err(error) if error.is_form_error() => {
            let response = AccountPageResult {
                edit: Some(RejectedInput { values, error: error.clone() }),
                ..AccountPageResult::default()
            };
            let (title, blocks) = account_page(&page_request, &id, &response).await?;
            Ok(page_request.render_rejected_page(&title, blocks, &error))
        }
        Err(error) => Err(error),
    }
}

async fn replace(page_request: PageRequest, PathId(id): PathId, body: Bytes) -> ConsoleResult {
    let values = FormValues::parse(&body);
    let body = json!({ "credential": read_credential(&values) });
    let api_call = page_request.call(Method::PATCH, format!("{API}/{id}")).body(body);
    match api_call.version(values.get("version")).send().await {
        Ok(_) => redirect_to(&format!("{HERE}/{id}?done=saved")),
        Err(error) if error.is_form_error() => {
            let rejected = RejectedInput { values, error: error.clone() };
            let response =
                AccountPageResult { credential: Some(rejected), ..AccountPageResult::default() };
            let (title, blocks) = account_page(&page_request, &id, &response).await?;
            Ok(page_request.render_rejected_page(&title, blocks, &error))
        }
        Err(error) => Err(error),
    }
}

async fn test_account(page_request: PageRequest, PathId(id): PathId) -> ConsoleResult {
    let result = page_request.call(Method::POST, format!("{API}/{id}/test")).send().await?;
    let elapsed = crate::formatting::millis(&result["duration_ms"]);
    let message = truncate_text(&field_text(&result["message"]), 300);
    let (tone, notice) = match (result["ok"].as_bool(), result["upstream_status"].as_u64()) {
        (Some(true), _) => (Severity::Success, format!("The upstream answered in {elapsed}.")),
        (None, _) => (Severity::Warning, format!("Unproven: {message}")),
        (Some(false), Some(status)) => {
            (Severity::Error, format!("The upstream answered {status}: {message}"))
        }
        (Some(false), None) => (Severity::Error, format!("The upstream did not answer: {message}")),
    };
    let response =
        AccountPageResult { notice: Some((tone, notice)), ..AccountPageResult::default() };
    let (title, blocks) = account_page(&page_request, &id, &response).await?;
    Ok(page_request.render_page(&title, blocks))
}

async fn run_account_action(
    page_request: &PageRequest,
    id: &str,
    what: &str,
    done: &str,
) -> ConsoleResult {
    match page_request.call(Method::POST, format!("{API}/{id}/{what}")).send().await {
        Ok(_) => redirect_to(&format!("{HERE}/{id}?done={done}")),
        Err(error) if error.is_form_error() => {
            let response = AccountPageResult {
                notice: Some((Severity::Error, error.sentence())),
                ..AccountPageResult::default()
            };
            let (title, blocks) = account_page(page_request, id, &response).await?;
            Ok(page_request.render_rejected_page(&title, blocks, &error))
        }
        Err(error) => Err(error),
    }
}

async fn reset(page_request: PageRequest, PathId(id): PathId) -> ConsoleResult {
    run_account_action(&page_request, &id, "reset", "reset").await
}

async fn refresh(page_request: PageRequest, PathId(id): PathId) -> ConsoleResult {
    run_account_action(&page_request, &id, "refresh", "refreshed").await
}

async fn delete_account(
    page_request: PageRequest,
    PathId(id): PathId,
    body: Bytes,
) -> ConsoleResult {
    resource_pages::remove_resource(
        &page_request,
        &format!("{API}/{id}"),
        &FormValues::parse(&body),
        HERE,
    )
    .await
}
