//! Pages of users.

use crate::ConsoleState;
use crate::api_call::ConsoleResult;
use crate::formatting::{enabled_cell, field_text, limits, time, truncate_text};
use crate::html_form::{FieldKind, FieldSpec, FormValues};
use crate::page_blocks::{
    CellPart, PageBlock, PageLink, PageTable, code, link, optional_text_cell, text,
};
use crate::page_request::{PageRequest, PathId, redirect_to};
use crate::resource_pages::{self, LimitsPrefix, RejectedInput};
use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use serde_json::json;

const API: &str = "/api/v1/users";
const HERE: &str = "/console/users";

pub(crate) fn routes() -> Router<ConsoleState> {
    Router::new()
        .route("/users", get(list_users).post(create_user))
        .route("/users/new", get(show_new_user))
        .route("/users/{id}", get(show_user).post(update_user))
        .route("/users/{id}/delete", post(delete_user))
}

fn role_choices() -> Vec<(String, String)> {
    vec![
        ("member".to_owned(), "member: its own keys and usage".to_owned()),
        ("admin".to_owned(), "admin: everything".to_owned()),
    ]
}

fn user_fields() -> Vec<FieldSpec> {
    let mut specs = vec![
        FieldSpec::new("name", "Name", "", FieldKind::Text),
        FieldSpec::new("email", "E-mail", "", FieldKind::OptionalText),
        FieldSpec::new("role", "Role", "", FieldKind::Choice(role_choices())),
        FieldSpec::new(
            "enabled",
            "On",
            "A user that is off may not sign in, and its keys are refused.",
            FieldKind::Flag,
        ),
    ];
    specs.extend(resource_pages::limit_specs(LimitsPrefix::Limits));
    specs
}

async fn list_users(page_request: PageRequest) -> ConsoleResult {
    let query = page_request.query.query(&["q", "enabled", "role", "cursor"]);
    let answer = page_request.get(format!("{API}?{query}")).await?;
    let rows = answer["data"].as_array().cloned().unwrap_or_default();
    let mut blocks: Vec<PageBlock> = resource_pages::done(&page_request).into_iter().collect();
    blocks.push(PageBlock::Row(vec![CellPart::Link(PageLink::new(
        format!("{HERE}/new"),
        "New user",
    ))]));
    let all = std::iter::once((String::new(), "All".to_owned()));
    let role =
        FieldSpec::new("role", "Role", "", FieldKind::Choice(all.chain(role_choices()).collect()));
    blocks.push(resource_pages::filter(&page_request, HERE, vec![role]));
    if rows.is_empty() {
        let next = PageLink::new(format!("{HERE}/new"), "Create a user");
        let message =
            "No users found. A user can have keys, limits for all of them together, and a sign-in.";
        blocks.push(PageBlock::Empty(message.into(), Some(next)));
    } else {
        let columns = ["Name", "E-mail", "Role", "State", "Limits of all its keys together"];
        let mut table = PageTable::new("users", "Users, oldest first", &columns);
        table.rows = rows
            .iter()
            .map(|row| {
                vec![
                    link(
                        format!("{HERE}/{}", field_text(&row["id"])),
                        truncate_text(&field_text(&row["name"]), 80),
                    ),
                    optional_text_cell(row["email"].as_str()),
                    text(field_text(&row["role"])),
                    enabled_cell(row),
                    optional_text_cell(Some(&limits(&row["limits"]))),
                ]
            })
            .collect();
        (table.next, table.first) =
            resource_pages::page_links(&page_request, &answer, "next_cursor");
        blocks.push(PageBlock::Table(table));
    }
    Ok(page_request.render_page("Users", blocks))
}

async fn show_new_user(page_request: PageRequest) -> ConsoleResult {
    page_request.require_admin()?;
    Ok(page_request.render_page("New user", vec![new_form(&page_request, None)]))
}

fn new_form(page_request: &PageRequest, rejected: Option<&RejectedInput>) -> PageBlock {
    let start = json!({ "enabled": true, "role": "member" });
    PageBlock::Form(resource_pages::create_form(
        page_request,
        HERE,
        "Create user",
        (&user_fields(), &start),
        rejected,
    ))
}

async fn create_user(page_request: PageRequest, body: Bytes) -> ConsoleResult {
    let values = FormValues::parse(&body);
    match resource_pages::create_resource(&page_request, API, &user_fields(), &values).await {
        Ok(view) => redirect_to(&format!("{HERE}/{}?done=created", field_text(&view["id"]))),
        Err(error) if error.is_form_error() => {
            let rejected = RejectedInput { values, error };
            let form = new_form(&page_request, Some(&rejected));
            Ok(page_request.render_rejected_page("New user", vec![form], &rejected.error))
        }
        Err(error) => Err(error),
    }
}

async fn user_page(
    page_request: &PageRequest,
    id: &str,
    rejected: Option<&RejectedInput>,
) -> ConsoleResult<(String, Vec<PageBlock>)> {
    let (view, keys) = futures_util::try_join!(
        page_request.get(format!("{API}/{id}")),
        page_request.get_list(format!("/api/v1/keys?limit=100&user_id={id}")),
    )?;
    let mut blocks: Vec<PageBlock> = resource_pages::done(page_request).into_iter().collect();
    blocks.push(PageBlock::Facts(vec![
        ("State".into(), enabled_cell(&view)),
        ("Role".into(), text(field_text(&view["role"]))),
        ("E-mail".into(), optional_text_cell(view["email"].as_str())),
        ("Id".into(), code(field_text(&view["id"]))),
        ("Changed".into(), time(&view["updated_at"])),
        (
            "Requests".into(),
            link(format!("/console/requests?user_id={id}"), "Requests by this user"),
        ),
    ]));
    blocks.push(PageBlock::Heading("Keys".into()));
    let another =
        PageLink::new(format!("/console/keys/new?user_id={id}"), "Create a key for this user");
    if keys.is_empty() {
        blocks.push(PageBlock::Empty("This user has no key.".into(), Some(another)));
    } else {
        let mut table = crate::keys::own_table(&keys);
        "Keys of this user".clone_into(&mut table.caption);
        blocks.push(PageBlock::Table(table));
        blocks.push(PageBlock::Row(vec![CellPart::Link(another)]));
    }
    blocks.push(PageBlock::Heading("Change".into()));
    let action = format!("{HERE}/{id}");
    blocks.push(PageBlock::Form(resource_pages::edit_form(
        &action,
        &view,
        &user_fields(),
        rejected,
    )));
    let means = "it must have no keys";
    blocks.push(resource_pages::remove_fold(&format!("{action}/delete"), &view, "user", means));
    Ok((truncate_text(&field_text(&view["name"]), 200), blocks))
}

async fn show_user(page_request: PageRequest, PathId(id): PathId) -> ConsoleResult {
    let (title, blocks) = user_page(&page_request, &id, None).await?;
    Ok(page_request.render_page(&title, blocks))
}

async fn update_user(page_request: PageRequest, PathId(id): PathId, body: Bytes) -> ConsoleResult {
    let values = FormValues::parse(&body);
    match resource_pages::save_resource(
        &page_request,
        &format!("{API}/{id}"),
        &user_fields(),
        &values,
    )
    .await
    {
        Ok(_) => redirect_to(&format!("{HERE}/{id}?done=saved")),
        Err(error) if error.is_form_error() => {
            let rejected = RejectedInput { values, error };
            let (title, blocks) = user_page(&page_request, &id, Some(&rejected)).await?;
            Ok(page_request.render_rejected_page(&title, blocks, &rejected.error))
        }
        Err(error) => Err(error),
    }
}

async fn delete_user(page_request: PageRequest, PathId(id): PathId, body: Bytes) -> ConsoleResult {
    resource_pages::remove_resource(
        &page_request,
        &format!("{API}/{id}"),
        &FormValues::parse(&body),
        HERE,
    )
    .await
}
