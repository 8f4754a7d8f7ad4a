//! Message threads, as the SDKs 2.14.0 (Python) and 1.14.0 (TypeScript) use them by default in their
//! tool runners (recorded 2026-11-28): `create`, then `continue` with the id of the last answer and
//! only the new messages. A thread lives on one account.

use super::{error, invalid};
use crate::request::{VendorError, VendorRequest};
use crate::state::TwinState;
use serde_json::Value;

/// The messages of the thread and of the request.
pub(super) fn resolve(
    request: &VendorRequest,
    state: &TwinState,
) -> Result<Vec<Value>, VendorError> {
    let own = request.body["messages"].as_array().cloned().unwrap_or_default();
    let Some(thread) = request.field("thread") else { return Ok(own) };
    match thread["type"].as_str() {
        Some("create") => Ok(own),
        Some("continue") => {
            let id = thread["previous_message_id"].as_str();
            let id =
                id.ok_or_else(|| invalid("thread.continue.previous_message_id: Field required"))?;
            let key = (request.account().to_owned(), id.to_owned());
            let before = state.threads.get(&key).ok_or_else(|| {
                let mut refusal =
                    error(404, "not_found_error", "The message thread was not found.");
                let details = serde_json::json!({"error_code": "thread_not_found"});
                refusal.body["error"]["details"] = details;
                refusal
            })?;
            Ok(before.iter().cloned().chain(own).collect())
        }
        _ => Err(invalid("thread: Input tag does not match 'create' or 'continue'")),
    }
}
