//! `/usage/dead-letters` and `/usage/redrive`: lists usage records that could not be stored, and
//! sends them again.
//!
//! The content of a message is never returned, because it can contain anything. Only its ids and
//! the reason are.

use crate::SharedAdminState;
use crate::admin_request::{AdminRequest, AuditNote};
use crate::api_response::{ApiError, ApiResult};
use crate::request_parts::OptionalJsonBody;
use axum::Json;
use axum::extract::State;
use baton_api::audit::AuditAction;
use baton_api::usage::{
    DeadLetterList, DeadLetterResource, RedriveReport, RedriveRequest, RefusedRecord,
};
use baton_domain::record::UsageRecord;
use baton_runtime::dead_letters::{DeadLetter, DeadLetterError, DeadLetters};
use baton_runtime::signed_record::{self, NotSigned};
use baton_store::ConfigEdit;
use serde_json::{Value, json};

/// The most messages that one call sends again, so that it ends within the function's time limit.
const REDRIVE_MAX: usize = 500;
/// The most records from a log that one call accepts.
const RECORDS_MAX: usize = 500;

pub(crate) async fn list_dead_letters(
    State(state): SharedAdminState,
) -> ApiResult<Json<DeadLetterList>> {
    let dead_letters = state.dead_letters()?;
    let (count, some) = (dead_letters.count().await?, dead_letters.peek().await?);
    Ok(Json(DeadLetterList { count, data: some.iter().map(dead_letter_resource).collect() }))
}

/// Sends dead letters, or records from a log, to the usage queue. It can be repeated at any time,
/// also after a failure, because storing is idempotent.
pub(crate) async fn redrive(
    State(state): SharedAdminState,
    request: AdminRequest,
    OptionalJsonBody(wanted): OptionalJsonBody<RedriveRequest>,
) -> ApiResult<Json<RedriveReport>> {
    let dead_letters = state.dead_letters()?;
    if wanted.records.len() > RECORDS_MAX {
        return Err(ApiError::bad(format!(
            "`records`: expected at most {RECORDS_MAX} records in one request"
        )));
    }
    let requested = json!({ "limit": wanted.limit, "records": wanted.records.len() });
    let mut edit = ConfigEdit::default();
    let note = AuditNote::other_action(AuditAction::Redrive, &"usage", &Value::Null, &requested);
    state.add_audit_row(&request, &mut edit, note)?;
    state.store.editor.apply(edit).await?;
    let (records, refused) = state.verified(&wanted.records);
    let moved = if wanted.records.is_empty() {
        dead_letters.redrive(wanted.limit.unwrap_or(REDRIVE_MAX).min(REDRIVE_MAX)).await?
    } else {
        dead_letters.send(&records).await?
    };
    Ok(Json(RedriveReport { moved, left: dead_letters.count().await?, refused }))
}

impl crate::AdminState {
    /// The records that this deployment has signed, and why others are refused, by their place.
    fn verified(&self, signed: &[String]) -> (Vec<UsageRecord>, Vec<RefusedRecord>) {
        let (mut records, mut refused) = (Vec::new(), Vec::new());
        for (index, text) in signed.iter().enumerate() {
            match signed_record::verify(&self.pepper, text) {
                Ok(record) => records.push(record),
                Err(NotSigned::Unusable(reason)) => {
                    refused.push(RefusedRecord { index, reason: reason.kind_text() });
                }
                Err(reason) => refused.push(RefusedRecord { index, reason: reason.to_string() }),
            }
        }
        (records, refused)
    }

    fn dead_letters(&self) -> ApiResult<&DeadLetters> {
        let none = "no dead-letter queue is configured; set BATON_DEAD_LETTER_QUEUE_URL";
        self.dead_letters.as_ref().ok_or_else(|| ApiError::bad(none))
    }
}

/// The fields of a message that are safe to show: well-formed ids, and why it was not stored.
fn dead_letter_resource(letter: &DeadLetter) -> DeadLetterResource {
    let reason = UsageRecord::parse(&letter.body).err();
    let fields: Value = serde_json::from_str(&letter.body).unwrap_or_default();
    let text = |name: &str| fields[name].as_str().unwrap_or_default();
    DeadLetterResource {
        message_id: letter.message_id.clone(),
        sent_at: letter.sent_at,
        id: text("id").parse().ok(),
        key_id: text("key_id").parse().ok(),
        bytes: letter.body.len(),
        reason: reason.map_or_else(
            || "the message is readable, but storing it failed; the log has the reason".to_owned(),
            |reason| reason.kind_text(),
        ),
    }
}

impl From<DeadLetterError> for ApiError {
    fn from(error: DeadLetterError) -> Self {
        Self::backend_failed(error, "the dead-letter queue")
    }
}
