//! The pages of resources: one implementation of list, creation, details, change and removal. The
//! file of each kind says what is special about it: its texts, its fields, its columns and its
//! details.

use crate::ConsoleState;
use crate::api_call::{ConsoleApiError, ConsoleResult};
use crate::formatting::truncate_text;
use crate::html_form::{
    FieldKind, FieldSpec, FormField, FormValues, HtmlForm, check_values, collect_changes,
    collect_new_values, in_labels,
};
use crate::list_filter::ListFilter;
use crate::page_blocks::{PageBlock, PageTable};
use crate::page_request::{PageRequest, PathId, redirect_to};
use crate::severity::Severity;
use crate::table_cells::{CellPart, PageLink, TableCell, link};
use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use baton_api::list::ResourceList;
use http::Method;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Value, json};
use std::future::Future;

/// The texts of one kind of resource.
pub(crate) struct PageTexts {
    /// The kind in paths of the API and of the console, such as `keys`.
    pub(crate) path: &'static str,
    /// The word for one of them.
    pub(crate) noun: &'static str,
    /// The title of the list.
    pub(crate) title: &'static str,
    /// The caption of the list's table.
    pub(crate) caption: &'static str,
    /// The columns of the list after the name.
    pub(crate) columns: &'static [&'static str],
    /// The text of an empty list.
    pub(crate) empty: &'static str,
    /// The link of an empty list.
    pub(crate) first_step: &'static str,
    /// The button that creates one.
    pub(crate) submit: &'static str,
    /// What the removal means or needs.
    pub(crate) removal: &'static str,
}

/// A kind of resource that has pages.
pub(crate) trait ResourcePages:
    Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The answer to POST.
    type Created: DeserializeOwned + Send;
    /// The names of other resources that pages show and forms offer.
    type Choices: Send + Sync;

    /// The texts.
    const TEXTS: PageTexts;

    /// Id and name.
    fn id_and_name(&self) -> (String, &str);

    /// The version for `if-match`.
    fn version(&self) -> u64;

    /// Loads the choices.
    fn load_choices(
        page_request: &PageRequest,
    ) -> impl Future<Output = ConsoleResult<Self::Choices>> + Send;

    /// The fields that the visitor can set.
    fn fields(is_member: bool, choices: &Self::Choices) -> Vec<FieldSpec>;

    /// The filters of the list besides name and state.
    fn filters(_choices: &Self::Choices) -> Vec<FieldSpec> {
        Vec::new()
    }

    /// The values in the form of a new one, for this query.
    fn start_values(query: &FormValues) -> Value;

    /// The cells of the list after the name.
    fn cells(&self, choices: &Self::Choices) -> Vec<TableCell>;

    /// The blocks of the page of one of them, above its forms.
    fn details(
        &self,
        page_request: &PageRequest,
        choices: &Self::Choices,
    ) -> impl Future<Output = ConsoleResult<Vec<PageBlock>>> + Send;

    /// The forms of the page between the fields and the removal.
    fn more_forms(&self, _page_request: &PageRequest, _outcome: &PageOutcome) -> Vec<PageBlock> {
        Vec::new()
    }

    /// The blocks of the page for a new one.
    fn new_blocks(
        page_request: &PageRequest,
        choices: &Self::Choices,
        rejected: Option<&RejectedInput>,
    ) -> Vec<PageBlock> {
        let specs = Self::fields(page_request.is_member(), choices);
        let start = Self::start_values(&page_request.query);
        vec![PageBlock::Form(create_form::<Self>(page_request, &specs, &start, rejected))]
    }

    /// The body of POST from a submitted form.
    fn new_body(is_member: bool, choices: &Self::Choices, values: &FormValues) -> Value {
        collect_new_values(&Self::fields(is_member, choices), values)
    }

    /// The answer to the form that has created one.
    fn show_created(page_request: &PageRequest, created: Self::Created) -> ConsoleResult;
}

/// What happened before the page of a resource is shown.
#[derive(Default)]
pub(crate) struct PageOutcome {
    /// The message to show.
    pub(crate) notice: Option<(Severity, String)>,
    /// The form that the API has refused.
    pub(crate) rejected: Option<(PageForm, RejectedInput)>,
}

/// A form on the page of a resource.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageForm {
    Fields,
    Credential,
    SignIn,
}

impl PageOutcome {
    /// The API has refused this form.
    pub(crate) fn rejected(form: PageForm, input: RejectedInput) -> Self {
        Self { rejected: Some((form, input)), notice: None }
    }

    /// A message for the visitor.
    pub(crate) fn notice(severity: Severity, text: String) -> Self {
        Self { notice: Some((severity, text)), rejected: None }
    }

    /// The refused input of this form.
    pub(crate) fn input_of(&self, form: PageForm) -> Option<&RejectedInput> {
        self.rejected.as_ref().filter(|(of, _)| *of == form).map(|(_, input)| input)
    }
}

/// A submitted form and the error of the API.
pub(crate) struct RejectedInput {
    pub(crate) values: FormValues,
    pub(crate) error: ConsoleApiError,
}

/// The path of one resource in the API.
pub(crate) fn api_path<R: ResourcePages>(id: &str) -> String {
    format!("/api/v1/{}/{id}", R::TEXTS.path)
}

/// The path of one resource in the console.
pub(crate) fn page_path<R: ResourcePages>(id: &str) -> String {
    format!("/console/{}/{id}", R::TEXTS.path)
}

/// Redirects to the page of a resource, which shows the message for `done`.
pub(crate) fn redirect_to_page<R: ResourcePages>(id: &str, done: &str) -> ConsoleResult {
    redirect_to(&format!("{}?done={done}", page_path::<R>(id)))
}

/// A cell with the name of a resource, which links to its page.
pub(crate) fn name_cell<R: ResourcePages>(resource: &R) -> TableCell {
    let (id, name) = resource.id_and_name();
    link(page_path::<R>(&id), truncate_text(name, 80))
}

/// The routes of the pages of a kind.
pub(crate) fn routes<R: ResourcePages>() -> Router<ConsoleState> {
    let path = R::TEXTS.path;
    Router::new()
        .route(&format!("/{path}"), get(show_list::<R>).post(create::<R>))
        .route(&format!("/{path}/new"), get(show_new::<R>))
        .route(&format!("/{path}/{{id}}"), get(show::<R>).post(update::<R>))
        .route(&format!("/{path}/{{id}}/delete"), post(delete::<R>))
}

async fn show_list<R: ResourcePages>(page_request: PageRequest) -> ConsoleResult {
    page_request.require_admin()?;
    let texts = R::TEXTS;
    let choices = R::load_choices(&page_request).await?;
    let filters = R::filters(&choices);
    let mut names = vec!["q", "enabled", "cursor"];
    names.extend(filters.iter().map(|filter| filter.path));
    let query = page_request.query.query(&names);
    let list: ResourceList<R> = page_request.get(format!("/api/v1/{}?{query}", texts.path)).await?;
    let new = format!("/console/{}/new", texts.path);
    let mut blocks: Vec<PageBlock> = done(&page_request).into_iter().collect();
    let link = PageLink::new(new.clone(), format!("New {}", texts.noun));
    blocks.push(PageBlock::Row(vec![CellPart::Link(link)]));
    blocks.push(list_filter(format!("/console/{}", texts.path), filters).form(&page_request));
    if list.data.is_empty() {
        let next = PageLink::new(new, texts.first_step);
        blocks.push(PageBlock::Empty(texts.empty.into(), Some(next)));
    } else {
        let columns: Vec<&str> =
            std::iter::once("Name").chain(texts.columns.iter().copied()).collect();
        let mut table = PageTable::new(texts.path, texts.caption, &columns);
        let row = |one: &R| std::iter::once(name_cell(one)).chain(one.cells(&choices)).collect();
        table.rows = list.data.iter().map(row).collect();
        add_page_links(&mut table, &page_request, list.next_cursor.as_deref());
        blocks.push(PageBlock::Table(table));
    }
    Ok(page_request.render_page(texts.title, blocks))
}

async fn show_new<R: ResourcePages>(page_request: PageRequest) -> ConsoleResult {
    page_request.require_admin()?;
    let choices = R::load_choices(&page_request).await?;
    let blocks = R::new_blocks(&page_request, &choices, None);
    Ok(page_request.render_page(&format!("New {}", R::TEXTS.noun), blocks))
}

async fn create<R: ResourcePages>(page_request: PageRequest, body: Bytes) -> ConsoleResult {
    page_request.require_admin()?;
    let values = FormValues::parse(&body);
    let choices = R::load_choices(&page_request).await?;
    let specs = R::fields(page_request.is_member(), &choices);
    let created: ConsoleResult<R::Created> = async {
        check_values(&specs, &values).map_err(ConsoleApiError::invalid_input)?;
        let body = R::new_body(page_request.is_member(), &choices, &values);
        let call = page_request.call(Method::POST, format!("/api/v1/{}", R::TEXTS.path)).body(body);
        call.with_idempotency_key(values.get("once")).send().await
    }
    .await;
    match created {
        Ok(created) => R::show_created(&page_request, created),
        Err(error) if error.is_form_error() => {
            let rejected = RejectedInput { values, error };
            let blocks = R::new_blocks(&page_request, &choices, Some(&rejected));
            let title = format!("New {}", R::TEXTS.noun);
            Ok(page_request.render_rejected_page(&title, blocks, &rejected.error))
        }
        Err(error) => Err(error),
    }
}

async fn show<R: ResourcePages>(page_request: PageRequest, PathId(id): PathId) -> ConsoleResult {
    show_outcome::<R>(&page_request, &id, PageOutcome::default(), None).await
}

async fn update<R: ResourcePages>(
    page_request: PageRequest,
    PathId(id): PathId,
    body: Bytes,
) -> ConsoleResult {
    let values = FormValues::parse(&body);
    let choices = R::load_choices(&page_request).await?;
    let specs = R::fields(page_request.is_member(), &choices);
    let saved = save_resource::<R>(&page_request, &api_path::<R>(&id), &specs, &values).await;
    finish_action::<R>(&page_request, &id, saved, "saved", |error| {
        PageOutcome::rejected(PageForm::Fields, RejectedInput { values, error })
    })
    .await
}

async fn delete<R: ResourcePages>(
    page_request: PageRequest,
    PathId(id): PathId,
    body: Bytes,
) -> ConsoleResult {
    let values = FormValues::parse(&body);
    let call = page_request.call(Method::DELETE, api_path::<R>(&id));
    call.version(values.get("version")).send::<IgnoredAny>().await?;
    redirect_to(&format!("/console/{}?done=deleted", R::TEXTS.path))
}

/// Ends an action on a resource: redirects to its page with the message `done`, or shows the page
/// with the error of the API.
pub(crate) async fn finish_action<R: ResourcePages>(
    page_request: &PageRequest,
    id: &str,
    result: ConsoleResult<impl Sized>,
    done: &str,
    into_outcome: impl FnOnce(ConsoleApiError) -> PageOutcome,
) -> ConsoleResult {
    match result {
        Ok(_) => redirect_to_page::<R>(id, done),
        Err(error) if error.is_form_error() => {
            show_outcome::<R>(page_request, id, into_outcome(error.clone()), Some(&error)).await
        }
        Err(error) => Err(error),
    }
}

/// The page of a resource after an action.
pub(crate) async fn show_outcome<R: ResourcePages>(
    page_request: &PageRequest,
    id: &str,
    outcome: PageOutcome,
    error: Option<&ConsoleApiError>,
) -> ConsoleResult {
    let (resource, choices) = futures_util::try_join!(
        page_request.get::<R>(api_path::<R>(id)),
        R::load_choices(page_request)
    )?;
    let mut blocks: Vec<PageBlock> = done(page_request).into_iter().collect();
    let notice = outcome.notice.clone();
    blocks.extend(notice.map(|(severity, text)| PageBlock::Notice(severity, text)));
    blocks.extend(resource.details(page_request, &choices).await?);
    blocks.push(PageBlock::Heading("Change".into()));
    let specs = R::fields(page_request.is_member(), &choices);
    let input = outcome.input_of(PageForm::Fields);
    let (here, view) = (page_path::<R>(id), json!(resource));
    blocks.push(PageBlock::Form(edit_form(&here, &view, &specs, input)));
    blocks.extend(resource.more_forms(page_request, &outcome));
    if !page_request.is_member() {
        blocks.push(remove_fold(&resource, &here));
    }
    let title = truncate_text(resource.id_and_name().1, 200);
    Ok(match error {
        Some(error) => page_request.render_rejected_page(&title, blocks, error),
        None => page_request.render_page(&title, blocks),
    })
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
pub(crate) fn create_form<R: ResourcePages>(
    page_request: &PageRequest,
    specs: &[FieldSpec],
    start: &Value,
    rejected: Option<&RejectedInput>,
) -> HtmlForm {
    new_form(page_request, &format!("/console/{}", R::TEXTS.path), R::TEXTS.submit)
        .fields(fields(specs, start, rejected))
        .error(rejection_text(specs, rejected))
}

/// A form without fields that creates something.
pub(crate) fn new_form(page_request: &PageRequest, action: &str, submit: &str) -> HtmlForm {
    // A refused request has changed nothing, so the next attempt gets a new idempotency key.
    HtmlForm::post("create", action, submit)
        .hidden("once", page_request.new_idempotency_key())
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
        || view["version"].to_string(),
        |rejected| rejected.values.get("version").to_owned(),
    );
    HtmlForm::post("edit", action, "Save")
        .hidden("version", version)
        .fields(fields(specs, view, rejected))
        .error(rejection_text(specs, rejected))
        .main()
}

/// Saves the changed fields of a submitted form.
pub(crate) async fn save_resource<T: Serialize + DeserializeOwned>(
    page_request: &PageRequest,
    path: &str,
    specs: &[FieldSpec],
    values: &FormValues,
) -> ConsoleResult<T> {
    check_values(specs, values).map_err(ConsoleApiError::invalid_input)?;
    let before: T = page_request.get(path).await?;
    let body = collect_changes(specs, values, &json!(before));
    if body == json!({}) {
        return Ok(before);
    }
    page_request.call(Method::PATCH, path).body(body).version(values.get("version")).send().await
}

/// The collapsed form that deletes a resource.
fn remove_fold<R: ResourcePages>(resource: &R, here: &str) -> PageBlock {
    let PageTexts { noun, removal, .. } = R::TEXTS;
    let form = HtmlForm::post("remove", format!("{here}/delete"), &format!("Delete this {noun}"))
        .hidden("version", resource.version().to_string())
        .with_confirmation(format!("Delete this {noun}? {removal}"));
    PageBlock::Fold("remove-fold".into(), format!("Delete this {noun} ({removal})"), form)
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
fn list_filter(action: String, more: Vec<FieldSpec>) -> ListFilter {
    let state = vec![
        (String::new(), "All".to_owned()),
        ("true".to_owned(), "Enabled".to_owned()),
        ("false".to_owned(), "Disabled".to_owned()),
    ];
    let mut specs = vec![FieldSpec::new("q", "Name contains", "", FieldKind::Text)];
    specs.extend(more);
    specs.push(FieldSpec::new("enabled", "State", "", FieldKind::Choice(state)));
    ListFilter { action, specs }
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
        FieldSpec::new(rate, "Requests per minute", "0 refuses every request.", FieldKind::Count),
        FieldSpec::new(
            concurrency,
            "Concurrent requests",
            "0 refuses every request.",
            FieldKind::Count,
        ),
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

/// Adds the links to the next page, which starts at `cursor`, and to the first page.
pub(crate) fn add_page_links(
    table: &mut PageTable,
    page_request: &PageRequest,
    cursor: Option<&str>,
) {
    table.next = cursor.map(|cursor| page_request.query_with("cursor", cursor));
    table.first = (!page_request.query.get("cursor").is_empty())
        .then(|| page_request.query_with("cursor", ""));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name_lookup::NameLookup;
    use baton_api::accounts::{AccountChange, AccountResource};
    use baton_api::groups::{GroupChange, GroupResource};
    use baton_api::keys::{KeyChange, KeyResource};
    use baton_api::users::{UserChange, UserResource};
    use schemars::{JsonSchema, SchemaGenerator};

    /// The schema of the field at `path`, behind references and optional values.
    fn has_field(root: &Value, path: &str) -> bool {
        let mut node = root;
        for name in path.split('.') {
            let choices = node["anyOf"].as_array();
            node = choices.and_then(|choices| choices.first()).unwrap_or(node);
            if let Some(target) = node["$ref"].as_str() {
                node = root.pointer(target.trim_start_matches('#')).unwrap();
            }
            node = &node["properties"][name];
        }
        !node.is_null()
    }

    fn check_fields<C: JsonSchema>(specs: &[FieldSpec]) {
        let schema = json!(SchemaGenerator::default().into_root_schema_for::<C>());
        for FieldSpec { path, .. } in specs {
            assert!(has_field(&schema, path), "{} has no field {path}", C::schema_name());
        }
    }

    #[test]
    fn form_fields_are_fields_of_the_api() {
        for is_member in [false, true] {
            let choices = crate::keys::KeyFormChoices::default();
            check_fields::<KeyChange>(&KeyResource::fields(is_member, &choices));
        }
        check_fields::<UserChange>(&UserResource::fields(false, &()));
        check_fields::<GroupChange>(&GroupResource::fields(false, &()));
        check_fields::<AccountChange>(&AccountResource::fields(false, &NameLookup::default()));
    }
}
