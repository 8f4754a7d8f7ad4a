//! `/settings`: settings that operators change at run time.

use crate::admin_request::{AdminRequest, AuditNote};
use crate::api_response::{ApiResult, TypedResponse};
use crate::request_parts::JsonBody;
use crate::{AdminState, SharedAdminState};
use axum::extract::State;
use baton_api::settings::{SettingsChange, SettingsResource};
use baton_domain::runtime_settings::RuntimeSettings;
use baton_store::{ConfigEdit, StoredEntity};

const TARGET: &str = "settings";

fn settings_resource(stored: &StoredEntity<RuntimeSettings>) -> SettingsResource {
    SettingsResource {
        member_access: stored.value.member_access,
        updated_at: (stored.version > 0).then_some(stored.updated_at),
        version: stored.version,
    }
}

pub(crate) async fn get_settings(
    State(state): SharedAdminState,
) -> ApiResult<TypedResponse<SettingsResource>> {
    TypedResponse::new(&settings_resource(&state.load_settings().await?))
}

pub(crate) async fn update_settings(
    State(state): SharedAdminState,
    request: AdminRequest,
    JsonBody(SettingsChange { member_access }): JsonBody<SettingsChange>,
) -> ApiResult<TypedResponse<SettingsResource>> {
    let before = state.load_settings().await?;
    request.check_version(&before)?;
    let mut stored = state.store.editor.next_version(&before);
    stored.value.member_access = member_access.unwrap_or(stored.value.member_access);
    let (mut edit, after) = (ConfigEdit::default(), settings_resource(&stored));
    state.store.editor.save(&mut edit, &stored)?;
    let note = AuditNote::updated(&TARGET, &settings_resource(&before), &after);
    state.commit_change(&request, edit, note, TypedResponse::new(&after)?).await
}

impl AdminState {
    /// Reads the settings. Their version is 0 until the first change.
    pub(crate) async fn load_settings(&self) -> ApiResult<StoredEntity<RuntimeSettings>> {
        let blank = || StoredEntity {
            version: 0,
            ..self.store.editor.new_stored(RuntimeSettings::default(), None)
        };
        Ok(self.store.config.read::<RuntimeSettings>(&"runtime").await?.unwrap_or_else(blank))
    }
}
