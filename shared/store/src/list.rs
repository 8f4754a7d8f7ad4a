//! Pages of lists, and the cursors between them.

use crate::StoreError;
use crate::item::StoreItem;
use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use std::collections::BTreeMap;

/// One page of a list.
pub struct ListPage<T> {
    /// The entries of the page.
    pub data: Vec<T>,
    /// The cursor of the next page, if there is one.
    pub next_cursor: Option<String>,
}

/// Encodes the last key of a page as the cursor: JSON in base64. Clients must treat it as opaque;
/// it is checked when it comes back.
pub(crate) fn write_cursor(key: &StoreItem) -> String {
    let texts: BTreeMap<&str, &str> = key
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.as_s().ok()?.as_str())))
        .collect();
    BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_string(&texts).unwrap_or_default())
}

/// Decodes a cursor and checks that it has exactly these key attributes. DynamoDB would reject the
/// cursor of another list with an error that looks like a failure of the database.
///
/// # Errors
/// [`StoreError::BadCursor`] if the cursor is malformed or has other attributes.
pub(crate) fn read_cursor(cursor: &str, attributes: &[&str]) -> Result<StoreItem, StoreError> {
    let json = BASE64_URL_SAFE_NO_PAD.decode(cursor).map_err(|_| StoreError::BadCursor)?;
    let texts: BTreeMap<String, String> =
        serde_json::from_slice(&json).map_err(|_| StoreError::BadCursor)?;
    let is_whole = attributes.iter().all(|name| texts.contains_key(*name));
    if !is_whole || texts.len() != attributes.len() {
        return Err(StoreError::BadCursor);
    }
    Ok(texts.into_iter().map(|(name, text)| (name, AttributeValue::S(text))).collect())
}
