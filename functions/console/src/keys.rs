//! Pages of keys. A secret is shown only on the page that follows its creation.

use crate::api_call::ConsoleResult;
use crate::formatting::{enabled_cell, field_text, limits, time, truncate_text};
use crate::html_form::{FieldKind, FieldSpec, FormValues, HtmlForm};
use crate::name_lookup::NameLookup;
use crate::page_blocks::{
    CellPart, PageBlock, PageLink, PageTable, Severity, code, link, optional_text_cell, text,
};
use crate::page_request::{PageRequest, PathId, redirect_to};
use crate::resource_pages::{self, LimitsPrefix, RejectedInput};
use crate::{ConsoleState, connect};
use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use http::Method;
use serde_json::{Value, json};

const API: &str = "/api/v1/keys";
const HERE: &str = "/console/keys";

pub(crate) fn routes() -> Router<ConsoleState> {
    Router::new()
        .route("/keys", get(list_keys).post(create_key))
        .route("/keys/new", get(show_new_key))
        .route("/keys/{id}", get(show_key).post(update_key))
        .route("/keys/{id}/rotate", post(rotate))
        .route("/keys/{id}/delete", post(delete_key))
}

/// The names of the groups and users that keys can have.
struct KeyFormChoices {
    groups: NameLookup,
    users: NameLookup,
}

impl KeyFormChoices {
    async fn load(page_request: &PageRequest) -> ConsoleResult<Self> {
        let (groups, users) = futures_util::try_join!(
            NameLookup::load(page_request, "groups"),
            NameLookup::load(page_request, "users")
        )?;
        Ok(Self { groups, users })
    }
}

/// The fields that can be set. Members can only rename a key and switch it off.
fn key_fields(page_request: &PageRequest, choices: &KeyFormChoices) -> Vec<FieldSpec> {
    let name = FieldSpec::new("name", "Name", "", FieldKind::Text);
    let on = FieldSpec::new("enabled", "On", "A key that is off is refused.", FieldKind::Flag);
    if page_request.is_member() {
        return vec![name, on];
    }
    let estimates = vec![
        ("most".to_owned(), "the highest possible cost: limits are never exceeded".to_owned()),
        ("expected".to_owned(), "the expected cost: limits can be exceeded".to_owned()),
    ];
    let mut specs = vec![
        name,
        FieldSpec::new(
            "group_id",
            "Group",
            "The key uses the accounts of this group.",
            FieldKind::Choice(choices.groups.choices("Default group")),
        ),
        FieldSpec::new("user_id", "User", "", FieldKind::Choice(choices.users.choices("Nobody"))),
        on,
        FieldSpec::new("expires_at", "Expires (UTC)", "Empty means never.", FieldKind::DateTime),
        FieldSpec::new(
            "models",
            "Allowed models",
            "One per line, * for any characters. Empty means all models.",
            FieldKind::Lines,
        ),
        FieldSpec::new(
            "estimate",
            "Reserved per request",
            "What a request counts against limits before it runs.",
            FieldKind::Choice(estimates),
        ),
    ];
    specs.extend(resource_pages::limit_specs(LimitsPrefix::Limits));
    specs
}

async fn list_keys(page_request: PageRequest) -> ConsoleResult {
    page_request.require_admin()?;
    let query = page_request.query.query(&["q", "enabled", "group_id", "user_id", "cursor"]);
    let (answer, choices) = futures_util::try_join!(
        page_request.get(format!("{API}?{query}")),
        KeyFormChoices::load(&page_request)
    )?;
    let rows = answer["data"].as_array().cloned().unwrap_or_default();
    let mut blocks: Vec<PageBlock> = resource_pages::done(&page_request).into_iter().collect();
    blocks.push(PageBlock::Row(vec![CellPart::Link(PageLink::new(
        format!("{HERE}/new"),
        "New key",
    ))]));
    let more = vec![
        FieldSpec::new("group_id", "Group", "", FieldKind::Choice(choices.groups.choices("All"))),
        FieldSpec::new("user_id", "User", "", FieldKind::Choice(choices.users.choices("All"))),
    ];
    blocks.push(resource_pages::filter(&page_request, HERE, more));
    if rows.is_empty() {
        let next = PageLink::new(format!("{HERE}/new"), "Create a key");
        let message = "No keys found. Clients send a key with each request; create one for each person or pipeline.";
        blocks.push(PageBlock::Empty(message.into(), Some(next)));
    } else {
        let mut table = table(&rows, &choices.groups, &choices.users);
        (table.next, table.first) =
            resource_pages::page_links(&page_request, &answer, "next_cursor");
        blocks.push(PageBlock::Table(table));
    }
    Ok(page_request.render_page("Keys", blocks))
}

/// The table of keys with their limits.
fn table(rows: &[Value], groups: &NameLookup, users: &NameLookup) -> PageTable {
    let columns = ["Name", "State", "User", "Group", "Limits", "Models", "Expires"];
    let mut table = PageTable::new("keys", "Keys, oldest first", &columns);
    table.rows = rows
        .iter()
        .map(|row| {
            vec![
                link(
                    format!("{HERE}/{}", field_text(&row["id"])),
                    truncate_text(&field_text(&row["name"]), 80),
                ),
                enabled_cell(row),
                users.link(&row["user_id"]),
                groups.link(&row["group_id"]),
                optional_text_cell(Some(&limits(&row["limits"]))),
                optional_text_cell(Some(&truncate_text(&models(row), 100))),
                time(&row["expires_at"]),
            ]
        })
        .collect();
    table
}

/// The table of a user's own keys.
pub(crate) fn own_table(rows: &[Value]) -> PageTable {
    let mut table =
        PageTable::new("keys", "Your keys", &["Name", "State", "Limits", "Models", "Expires"]);
    table.rows = rows
        .iter()
        .map(|row| {
            vec![
                link(
                    format!("{HERE}/{}", field_text(&row["id"])),
                    truncate_text(&field_text(&row["name"]), 80),
                ),
                enabled_cell(row),
                optional_text_cell(Some(&limits(&row["limits"]))),
                optional_text_cell(Some(&truncate_text(&models(row), 100))),
                time(&row["expires_at"]),
            ]
        })
        .collect();
    table
}

fn models(row: &Value) -> String {
    let models = row["models"].as_array().into_iter().flatten().filter_map(Value::as_str);
    models.collect::<Vec<_>>().join(", ")
}

async fn show_new_key(page_request: PageRequest) -> ConsoleResult {
    page_request.require_admin()?;
    let choices = KeyFormChoices::load(&page_request).await?;
    Ok(page_request.render_page("New key", vec![new_form(&page_request, &choices, None)]))
}

fn new_form(
    page_request: &PageRequest,
    choices: &KeyFormChoices,
    rejected: Option<&RejectedInput>,
) -> PageBlock {
    let start = json!({
        "enabled": true, "estimate": "most",
        "group_id": page_request.query.get("group_id"), "user_id": page_request.query.get("user_id"),
    });
    let specs = key_fields(page_request, choices);
    PageBlock::Form(resource_pages::create_form(
        page_request,
        HERE,
        "Create key",
        (&specs, &start),
        rejected,
    ))
}

async fn create_key(page_request: PageRequest, body: Bytes) -> ConsoleResult {
    page_request.require_admin()?;
    let values = FormValues::parse(&body);
    let choices = KeyFormChoices::load(&page_request).await?;
    match resource_pages::create_resource(
        &page_request,
        API,
        &key_fields(&page_request, &choices),
        &values,
    )
    .await
    {
        Ok(view) => Ok(show_secret(&page_request, "Key created", &view)),
        Err(error) if error.is_form_error() => {
            let rejected = RejectedInput { values, error };
            let form = new_form(&page_request, &choices, Some(&rejected));
            Ok(page_request.render_rejected_page("New key", vec![form], &rejected.error))
        }
        Err(error) => Err(error),
    }
}

/// The page with a new secret. It answers a POST, so neither history nor cache contains it.
fn show_secret(page_request: &PageRequest, title: &str, view: &Value) -> axum::response::Response {
    let secret = field_text(&view["secret"]);
    let name = truncate_text(&field_text(&view["name"]), 80);
    let mut blocks =
        vec![PageBlock::Secret("secret".into(), format!("Secret of “{name}”."), secret.clone())];
    blocks.push(PageBlock::Row(vec![CellPart::Link(PageLink::new(
        format!("{HERE}/{}", field_text(&view["id"])),
        "Go to the key",
    ))]));
    blocks.push(PageBlock::Heading("Connect a client with it".into()));
    blocks.extend(connect::snippets(&page_request.console.relay_url, &secret));
    page_request.render_page(title, blocks)
}

async fn key_page(
    page_request: &PageRequest,
    id: &str,
    rejected: Option<&RejectedInput>,
) -> ConsoleResult<(String, Vec<PageBlock>)> {
    let (view, choices) = futures_util::try_join!(
        page_request.get(format!("{API}/{id}")),
        KeyFormChoices::load(page_request)
    )?;
    let week = format!("/api/v1/usage/summary?key={id}&by=day&from={}", page_request.day_before(6));
    let days = page_request.get_list(week).await?;
    let mut blocks: Vec<PageBlock> = resource_pages::done(page_request).into_iter().collect();
    let mut facts = vec![
        ("State".to_owned(), enabled_cell(&view)),
        ("Id".to_owned(), code(field_text(&view["id"]))),
        ("Limits".to_owned(), optional_text_cell(Some(&limits(&view["limits"])))),
        ("Possible overrun".to_owned(), text(field_text(&view["overshoot"]))),
        ("Models".to_owned(), optional_text_cell(Some(&truncate_text(&models(&view), 2000)))),
        ("Expires".to_owned(), time(&view["expires_at"])),
        ("Created".to_owned(), time(&view["created_at"])),
    ];
    if !page_request.is_member() {
        facts.insert(2, ("Group".to_owned(), choices.groups.link(&view["group_id"])));
        facts.insert(2, ("User".to_owned(), choices.users.link(&view["user_id"])));
    }
    let used = format!("/console/requests?key_id={id}");
    facts.push(("Requests".to_owned(), link(used, "Requests with this key")));
    blocks.push(PageBlock::Facts(facts));
    blocks.push(PageBlock::Heading("The last seven days".into()));
    blocks.push(crate::my_keys::daily_usage_block(&days));
    let here = format!("{HERE}/{id}");
    blocks.push(PageBlock::Heading("Change".into()));
    let edit =
        resource_pages::edit_form(&here, &view, &key_fields(page_request, &choices), rejected);
    blocks.push(PageBlock::Form(edit));
    let rotate = HtmlForm::post("rotate", format!("{here}/rotate"), "Rotate")
        .hidden("version", field_text(&view["version"]))
        .hidden("once", page_request.new_idempotency_key())
        .with_confirmation("Rotate this key? The old secret stops working at once.");
    let title = "Rotate this key (the old secret stops working at once)";
    blocks.push(PageBlock::Fold("rotate-fold".into(), title.into(), rotate));
    if !page_request.is_member() {
        let means = "clients that use it are refused; its usage stays recorded";
        blocks.push(resource_pages::remove_fold(&format!("{here}/delete"), &view, "key", means));
    }
    Ok((truncate_text(&field_text(&view["name"]), 200), blocks))
}

async fn show_key(page_request: PageRequest, PathId(id): PathId) -> ConsoleResult {
    let (title, blocks) = key_page(&page_request, &id, None).await?;
    Ok(page_request.render_page(&title, blocks))
}

async fn update_key(page_request: PageRequest, PathId(id): PathId, body: Bytes) -> ConsoleResult {
    let values = FormValues::parse(&body);
    let choices = KeyFormChoices::load(&page_request).await?;
    match resource_pages::save_resource(
        &page_request,
        &format!("{API}/{id}"),
        &key_fields(&page_request, &choices),
        &values,
    )
    .await
    {
        Ok(_) => redirect_to(&format!("{HERE}/{id}?done=saved")),
        Err(error) if error.is_form_error() => {
            let rejected = RejectedInput { values, error };
            let (title, blocks) = key_page(&page_request, &id, Some(&rejected)).await?;
            Ok(page_request.render_rejected_page(&title, blocks, &rejected.error))
        }
        Err(error) => Err(error),
    }
}

async fn rotate(page_request: PageRequest, PathId(id): PathId, body: Bytes) -> ConsoleResult {
    let values = FormValues::parse(&body);
    let api_call = page_request.call(Method::POST, format!("{API}/{id}/rotate")).body(json!({}));
    match api_call
        .version(values.get("version"))
        .with_idempotency_key(values.get("once"))
        .send()
        .await
    {
        Ok(view) => Ok(show_secret(&page_request, "Key rotated", &view)),
        Err(error) if error.is_form_error() => {
            let (title, mut blocks) = key_page(&page_request, &id, None).await?;
            blocks.insert(0, PageBlock::Notice(Severity::Error, error.sentence()));
            Ok(page_request.render_rejected_page(&title, blocks, &error))
        }
        Err(error) => Err(error),
    }
}

async fn delete_key(page_request: PageRequest, PathId(id): PathId, body: Bytes) -> ConsoleResult {
    resource_pages::remove_resource(
        &page_request,
        &format!("{API}/{id}"),
        &FormValues::parse(&body),
        HERE,
    )
    .await
}
