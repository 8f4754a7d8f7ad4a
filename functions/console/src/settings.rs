//! The page of settings that can be changed at run time.

use crate::ConsoleState;
use crate::api_call::ConsoleResult;
use crate::html_form::{FieldKind, FieldSpec, FormValues};
use crate::page_blocks::PageBlock;
use crate::page_request::{PageRequest, redirect_to};
use crate::resource_pages::{self, RejectedInput};
use axum::Router;
use axum::body::Bytes;
use axum::routing::get;
use baton_api::settings::SettingsResource;
use serde_json::json;

const API: &str = "/api/v1/settings";
const HERE: &str = "/console/settings";

pub(crate) fn routes() -> Router<ConsoleState> {
    Router::new().route("/settings", get(show_settings).post(save_settings))
}

fn settings_fields() -> Vec<FieldSpec> {
    let message = "Users can use the API and this console for their own keys and usage.";
    vec![FieldSpec::new("member_access", "Members have access", message, FieldKind::Flag)]
}

async fn settings_page(
    page_request: &PageRequest,
    rejected: Option<&RejectedInput>,
) -> ConsoleResult<Vec<PageBlock>> {
    let settings: SettingsResource = page_request.get(API).await?;
    let mut blocks: Vec<PageBlock> = resource_pages::done(page_request).into_iter().collect();
    blocks.push(PageBlock::Form(resource_pages::edit_form(
        HERE,
        &json!(settings),
        &settings_fields(),
        rejected,
    )));
    let changed = match settings.updated_at {
        Some(at) => crate::table_cells::time(Some(at)),
        None => crate::table_cells::text("never changed"),
    };
    blocks.push(PageBlock::Facts(vec![("Changed".into(), changed)]));
    blocks.push(PageBlock::Text(
        "Environment variables (BATON_…) set everything else when Baton starts; see \"Settings\" in the documentation.".into(),
    ));
    Ok(blocks)
}

async fn show_settings(page_request: PageRequest) -> ConsoleResult {
    let blocks = settings_page(&page_request, None).await?;
    Ok(page_request.render_page("Settings", blocks))
}

async fn save_settings(page_request: PageRequest, body: Bytes) -> ConsoleResult {
    let values = FormValues::parse(&body);
    match resource_pages::save_resource::<SettingsResource>(
        &page_request,
        API,
        &settings_fields(),
        &values,
    )
    .await
    {
        Ok(_) => redirect_to(&format!("{HERE}?done=saved")),
        Err(error) if error.is_form_error() => {
            let rejected = RejectedInput { values, error };
            let blocks = settings_page(&page_request, Some(&rejected)).await?;
            Ok(page_request.render_rejected_page("Settings", blocks, &rejected.error))
        }
        Err(error) => Err(error),
    }
}
