//! `/settings`: settings that operators change at run time.

use crate::admin_request::{AdminRequest, AuditNote};
use crate::api_response::{ApiResponse, ApiResult, body};
use crate::{AdminState, SharedAdminState};
use axum::body::Bytes;
use axum::extract::State;
use baton_domain::runtime_settings::RuntimeSettings;
use baton_store::{ConfigEdit, StoredEntity};
use serde::Deserialize;
use serde_json::{Value, json};

const TARGET: &str = "settings";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuntimeChange {
    member_access: Option<bool>,
}

fn settings_json(stored: &StoredEntity<RuntimeSettings>) -> Value {
    let updated_at = (stored.version > 0).then_some(stored.updated_at);
    json!({
        "member_access": stored.value.member_access, "updated_at": updated_at,
        "version": stored.version,
    })
}

pub(crate) async fn get_settings(State(office): SharedAdminState) -> ApiResult {
    Ok(ApiResponse::ok(settings_json(&office.load_settings().await?)))
}

pub(crate) async fn update_settings(
    State(office): SharedAdminState,
    visit: AdminRequest,
    bytes: Bytes,
) -> ApiResult {
    let RuntimeChange { member_access } = body(&bytes)?;
    let before = office.load_settings().await?;
    visit.check_version(&before)?;
    let mut stored = office.store.next_version(&before);
    stored.value.member_access = member_access.unwrap_or(stored.value.member_access);
    let (mut edit, after) = (ConfigEdit::default(), settings_json(&stored));
    office.store.save(&mut edit, &stored)?;
    let note = AuditNote::updated(&TARGET, settings_json(&before), &after);
    office.commit_change(&visit, edit, note, ApiResponse::ok(after)).await
}

impl AdminState {
    /// Reads the settings. Their version is 0 until the first change.
    pub(crate) async fn load_settings(&self) -> ApiResult<StoredEntity<RuntimeSettings>> {
        let blank = || StoredEntity {
            version: 0,
            ..self.store.new_stored(RuntimeSettings::default(), None)
        };
        Ok(self.store.read::<RuntimeSettings>(&"runtime").await?.unwrap_or_else(blank))
    }
}
