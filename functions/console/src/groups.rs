//! Pages of groups.

use crate::ConsoleState;
use crate::api_call::ConsoleResult;
use crate::formatting::{enabled_cell, field_text, limits, truncate_text};
use crate::html_form::{FieldKind, FieldSpec, FormValues};
use crate::page_blocks::{CellPart, PageBlock, PageLink, PageTable, link, optional_text_cell};
use crate::page_request::{PageRequest, PathId, redirect_to};
use crate::resource_pages::{self, LimitsPrefix, RejectedInput};
use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use serde_json::{Value, json};

const API: &str = "/api/v1/groups";
const HERE: &str = "/console/groups";

pub(crate) fn routes() -> Router<ConsoleState> {
    Router::new()
        .route("/groups", get(list_groups).post(create_group))
        .route("/groups/new", get(show_new_group))
        .route("/groups/{id}", get(show_group).post(update_group))
        .route("/groups/{id}/delete", post(delete_group))
}

fn group_fields() -> Vec<FieldSpec> {
    let mut specs = vec![
        FieldSpec::new("name", "Name", "", FieldKind::Text),
        FieldSpec::new("description", "Description", "", FieldKind::Text),
        FieldSpec::new(
            "enabled",
            "On",
            "Keys of a group that is off are refused.",
            FieldKind::Flag,
        ),
    ];
    let message = "One per line: requested = served. Clients can use both names.";
    specs.push(FieldSpec::new("model_aliases", "Model aliases", message, FieldKind::Pairs));
    specs.extend(resource_pages::limit_specs(LimitsPrefix::Limits));
    specs
}

async fn list_groups(page_request: PageRequest) -> ConsoleResult {
    let query = page_request.query.query(&["q", "enabled", "cursor"]);
    let answer = page_request.get(format!("{API}?{query}")).await?;
    let rows = answer["data"].as_array().cloned().unwrap_or_default();
    let mut blocks: Vec<PageBlock> = resource_pages::done(&page_request).into_iter().collect();
    blocks.push(PageBlock::Row(vec![CellPart::Link(PageLink::new(
        format!("{HERE}/new"),
        "New group",
    ))]));
    blocks.push(resource_pages::filter(&page_request, HERE, Vec::new()));
    if rows.is_empty() {
        let next = PageLink::new(format!("{HERE}/new"), "Create a group");
        blocks.push(PageBlock::Empty(
            "No groups found. A key uses the accounts of its group.".into(),
            Some(next),
        ));
    } else {
        let mut table = PageTable::new(
            "groups",
            "Groups, oldest first",
            &["Name", "Description", "State", "Limits of all its keys together"],
        );
        table.rows = rows
            .iter()
            .map(|row| {
                let href = format!("{HERE}/{}", field_text(&row["id"]));
                vec![
                    link(href, truncate_text(&field_text(&row["name"]), 80)),
                    optional_text_cell(Some(&truncate_text(&field_text(&row["description"]), 120))),
                    enabled_cell(row),
                    optional_text_cell(Some(&limits(&row["limits"]))),
                ]
            })
            .collect();
        (table.next, table.first) =
            resource_pages::page_links(&page_request, &answer, "next_cursor");
        blocks.push(PageBlock::Table(table));
    }
    Ok(page_request.render_page("Groups", blocks))
}

async fn show_new_group(page_request: PageRequest) -> ConsoleResult {
    page_request.require_admin()?;
    Ok(page_request.render_page("New group", vec![new_form(&page_request, None)]))
}

fn new_form(page_request: &PageRequest, rejected: Option<&RejectedInput>) -> PageBlock {
    let start = json!({ "enabled": true });
    PageBlock::Form(resource_pages::create_form(
        page_request,
        HERE,
        "Create group",
        (&group_fields(), &start),
        rejected,
    ))
}

async fn create_group(page_request: PageRequest, body: Bytes) -> ConsoleResult {
    let values = FormValues::parse(&body);
    match resource_pages::create_resource(&page_request, API, &group_fields(), &values).await {
        Ok(view) => redirect_to(&format!("{HERE}/{}?done=created", field_text(&view["id"]))),
        Err(error) if error.is_form_error() => {
            let rejected = RejectedInput { values, error };
            let form = new_form(&page_request, Some(&rejected));
            Ok(page_request.render_rejected_page("New group", vec![form], &rejected.error))
        }
        Err(error) => Err(error),
    }
}

async fn group_page(
    page_request: &PageRequest,
    id: &str,
    rejected: Option<&RejectedInput>,
) -> ConsoleResult<(String, Vec<PageBlock>)> {
    let view = page_request.get(format!("{API}/{id}")).await?;
    let accounts: Vec<Value> =
        page_request.get_list(format!("/api/v1/accounts?limit=1000&group_id={id}")).await?;
    let mut blocks: Vec<PageBlock> = resource_pages::done(page_request).into_iter().collect();
    blocks.push(PageBlock::Facts(vec![
        ("Id".into(), crate::page_blocks::code(field_text(&view["id"]))),
        ("State".into(), enabled_cell(&view)),
        ("Changed".into(), crate::formatting::time(&view["updated_at"])),
        ("Keys".into(), link(format!("/console/keys?group_id={id}"), "Keys of this group")),
    ]));
    blocks.push(PageBlock::Heading("Accounts".into()));
    if accounts.is_empty() {
        let next = PageLink::new("/console/accounts/new", "Add an account");
        let message = "This group has no accounts, so requests with its keys fail with 503.";
        blocks.push(PageBlock::Empty(message.into(), Some(next)));
    } else {
        blocks.push(PageBlock::Table(crate::accounts::brief(&accounts)));
    }
    blocks.push(PageBlock::Heading("Change".into()));
    let action = format!("{HERE}/{id}");
    blocks.push(PageBlock::Form(resource_pages::edit_form(
        &action,
        &view,
        &group_fields(),
        rejected,
    )));
    let means = "it must have no accounts and no keys";
    blocks.push(resource_pages::remove_fold(&format!("{action}/delete"), &view, "group", means));
    Ok((truncate_text(&field_text(&view["name"]), 200), blocks))
}

async fn show_group(page_request: PageRequest, PathId(id): PathId) -> ConsoleResult {
    let (title, blocks) = group_page(&page_request, &id, None).await?;
    Ok(page_request.render_page(&title, blocks))
}

async fn update_group(page_request: PageRequest, PathId(id): PathId, body: Bytes) -> ConsoleResult {
    let values = FormValues::parse(&body);
    match resource_pages::save_resource(
        &page_request,
        &format!("{API}/{id}"),
        &group_fields(),
        &values,
    )
    .await
    {
        Ok(_) => redirect_to(&format!("{HERE}/{id}?done=saved")),
        Err(error) if error.is_form_error() => {
            let rejected = RejectedInput { values, error };
            let (title, blocks) = group_page(&page_request, &id, Some(&rejected)).await?;
            Ok(page_request.render_rejected_page(&title, blocks, &rejected.error))
        }
        Err(error) => Err(error),
    }
}

async fn delete_group(page_request: PageRequest, PathId(id): PathId, body: Bytes) -> ConsoleResult {
    resource_pages::remove_resource(
        &page_request,
        &format!("{API}/{id}"),
        &FormValues::parse(&body),
        HERE,
    )
    .await
}
