//! Query parameters and values that several resources share: pages, periods, names, limits.

use crate::AdminState;
use crate::api_response::{ApiError, ApiResult, check_limits};
use baton_api::fields::{LimitsChange, ModelMap};
use baton_api::list::PageQuery;
use baton_domain::key::Limits;
use baton_domain::model::ModelPattern;
use baton_store::{ConfigEdit, Entity, ListPage, StoredEntity, UniquelyNamed};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// The place at which a page starts. An empty cursor counts as none.
pub(crate) fn page_cursor(paging: &PageQuery) -> Option<&str> {
    paging.cursor.as_deref().filter(|cursor| !cursor.is_empty())
}

/// The page size: 100 by default, at most 1,000.
pub(crate) fn page_limit(paging: &PageQuery) -> ApiResult<u16> {
    match paging.limit.unwrap_or(100) {
        limit @ 1..=1000 => Ok(u16::try_from(limit).unwrap_or(1000)),
        _ => Err(ApiError::bad("`limit`: expected a number from 1 to 1000")),
    }
}

impl AdminState {
    /// Reads a page of a list. If `is_filtered`, only items that `wants` accepts are included.
    pub(crate) async fn list_page<T: Entity>(
        &self,
        paging: &PageQuery,
        is_filtered: bool,
        wants: &(dyn Fn(&T) -> bool + Sync),
    ) -> ApiResult<ListPage<StoredEntity<T>>> {
        let (limit, cursor) = (page_limit(paging)?, page_cursor(paging));
        Ok(if is_filtered {
            self.store.config.list_where(limit.into(), cursor, wants).await?
        } else {
            self.store.config.list(limit.into(), cursor).await?
        })
    }

    /// Reads all items of a kind, oldest first.
    pub(crate) async fn all<T: Entity>(&self) -> ApiResult<Vec<StoredEntity<T>>> {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.store.config.list(1000, cursor.as_deref()).await?;
            all.extend(page.data);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }

    /// Reads the item with this id. If it does not exist, the error is 404.
    pub(crate) async fn find<T: Entity>(&self, id: &T::Id) -> ApiResult<StoredEntity<T>> {
        let found = self.store.config.read::<T>(id).await?;
        found.ok_or_else(|| ApiError::not_found(format!("{} {id}", T::KIND)))
    }
}

impl AdminState {
    /// Reserves the name of `after` in `edit` and releases the name of `before`. If another item of
    /// the same kind has the name, the error is 409.
    pub(crate) async fn claim_name<T: UniquelyNamed>(
        &self,
        edit: &mut ConfigEdit,
        before: Option<&T>,
        after: &T,
    ) -> ApiResult<()> {
        if before.is_some_and(|before| before.name() == after.name()) {
            return Ok(());
        }
        let (kind, name, id) = (T::KIND, after.name(), after.id().to_string());
        match self.store.names.holder_of_name::<T>(name).await? {
            Some(holder) if holder != id => {
                return Err(ApiError::conflict(format!(
                    "`name`: {kind} {holder} already has the name `{name}`; choose another name"
                )));
            }
            Some(_) => {}
            None => self.store.names.claim_name(edit, after),
        }
        match before {
            Some(before) => Ok(self.store.names.release_name(edit, before).await?),
            None => Ok(()),
        }
    }
}

/// Reads one end of a period: an RFC 3339 time or a UTC day. For `from` a day means its start, for
/// `to` its end.
pub(crate) fn bound(text: &str, is_end: bool) -> ApiResult<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let midnight = |day: Date| day.to_zoned(TimeZone::UTC).map(|midnight| midnight.timestamp());
    let day = text.parse::<Date>().and_then(|day| if is_end { day.tomorrow() } else { Ok(day) });
    day.and_then(midnight).map_err(|_| {
        let name = if is_end { "to" } else { "from" };
        ApiError::bad(format!(
            "`{name}`: expected a time like 2026-11-22T21:00:00Z or a day like 2026-11-22"
        ))
    })
}

/// Applies a change of limits and checks the result.
///
/// # Errors
/// 400 that names the limit.
pub(crate) fn change_limits(before: &Limits, change: LimitsChange) -> ApiResult<Limits> {
    check_limits("limits.", change.apply_to(before))
}

/// Checks the pairs of the field `field`: what clients request, and the model that is served.
///
/// # Errors
/// 400 that names the field.
pub(crate) fn model_pairs(field: &str, map: ModelMap) -> ApiResult<Vec<(ModelPattern, String)>> {
    if map.0.values().any(String::is_empty) {
        return Err(ApiError::bad(format!("`{field}`: the name of a served model is empty")));
    }
    map.into_pairs().map_err(|error| ApiError::bad(format!("`{field}`: {error}")))
}

/// Whether `text` contains `part`, which is in lower case.
pub(crate) fn contains_ignoring_case(text: &str, part: &str) -> bool {
    part.is_empty() || text.to_lowercase().contains(part)
}

/// Checks a name for people: trimmed, not empty, at most 200 characters.
pub(crate) fn name(text: &str) -> ApiResult<String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > 200 || text.contains(char::is_control) {
        return Err(ApiError::bad("`name`: expected 1 to 200 printable characters"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_pairs_need_both_names() {
        let check = |name: &str, served: &str| {
            let map = ModelMap([(name.to_owned(), served.to_owned())].into());
            model_pairs("model_map", map).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(check("a", "b"), Ok(()));
        let empty = "`model_map`: the name of a served model is empty";
        assert_eq!(check("a", ""), Err(empty.to_owned()));
        assert!(
            check("", "b").is_err_and(|error| error.starts_with("`model_map`: a model pattern"))
        );
    }
}
