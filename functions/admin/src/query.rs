//! Query parameters and values that several resources share: pages, periods, names, limits.

use crate::AdminState;
use crate::api_response::{ApiError, ApiResult, check_limits, field_message, normalize_numbers};
use axum::Json;
use baton_domain::key::Limits;
use baton_store::{ConfigEdit, Entity, ListPage, StoredEntity, UniquelyNamed};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

/// `?limit=&cursor=`
#[derive(Deserialize)]
pub(crate) struct PageQuery {
    pub(crate) limit: Option<u32>,
    pub(crate) cursor: Option<String>,
}

impl PageQuery {
    /// The place to continue at. An empty cursor counts as none.
    pub(crate) fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref().filter(|cursor| !cursor.is_empty())
    }

    /// The page size: 100 by default, at most 1,000.
    pub(crate) fn limit(&self) -> ApiResult<u16> {
        match self.limit.unwrap_or(100) {
            limit @ 1..=1000 => Ok(u16::try_from(limit).unwrap_or(1000)),
            _ => Err(ApiError::bad("`limit`: expected a number from 1 to 1000")),
        }
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
        let (limit, cursor) = (paging.limit()?, paging.cursor());
        Ok(if is_filtered {
            self.store.list_where(limit.into(), cursor, wants).await?
        } else {
            self.store.list(limit.into(), cursor).await?
        })
    }

    /// Reads all items of a kind, oldest first.
    pub(crate) async fn all<T: Entity>(&self) -> ApiResult<Vec<StoredEntity<T>>> {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.store.list(1000, cursor.as_deref()).await?;
            all.extend(page.data);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }

    /// Reads the item with this id. If it does not exist, the error is 404.
    pub(crate) async fn find<T: Entity>(&self, id: &T::Id) -> ApiResult<StoredEntity<T>> {
        let found = self.store.read::<T>(id).await?;
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
        match self.store.holder_of_name::<T>(name).await? {
            Some(holder) if holder != id => {
                return Err(ApiError::conflict(format!(
                    "`name`: {kind} {holder} already has the name `{name}`; choose another name"
                )));
            }
            Some(_) => {}
            None => self.store.claim_name(edit, after),
        }
        match before {
            Some(before) => Ok(self.store.release_name(edit, before).await?),
            None => Ok(()),
        }
    }
}

/// The answer with a page of a list.
pub(crate) fn page_json<T>(
    page: &ListPage<StoredEntity<T>>,
    view: impl Fn(&StoredEntity<T>) -> Value,
) -> Json<Value> {
    let data: Vec<Value> = page.data.iter().map(view).collect();
    Json(json!({ "data": data, "next_cursor": page.next_cursor }))
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

/// A field of a PATCH that can be cleared: absent keeps the value, `null` clears it.
#[derive(Default)]
pub(crate) enum FieldChange<T> {
    /// The field was absent.
    #[default]
    Keep,
    /// The field was present.
    To(Option<T>),
}

impl<T> FieldChange<T> {
    /// The value after the change.
    pub(crate) fn apply_to(self, before: Option<T>) -> Option<T> {
        match self {
            Self::Keep => before,
            Self::To(after) => after,
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for FieldChange<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Option::<T>::deserialize(input).map(Self::To)
    }
}

/// A change of limits: named limits are set, or removed with `null`, and the others stay unchanged.
/// `null` in place of the object removes all limits.
#[derive(Default)]
pub(crate) struct LimitsChange(FieldChange<Map<String, Value>>);

impl LimitsChange {
    /// Whether nothing changes.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.0, FieldChange::Keep)
    }

    /// Returns the limits after the change.
    pub(crate) fn apply_to(self, before: &Limits) -> ApiResult<Limits> {
        let mut named = match self.0 {
            FieldChange::Keep => return Ok(before.clone()),
            FieldChange::To(None) => return Ok(Limits::default()),
            FieldChange::To(Some(named)) => named,
        };
        let Ok(Value::Object(mut all)) = serde_json::to_value(before) else {
            return Err(ApiError::internal_error("limits are not an object"));
        };
        named.values_mut().for_each(normalize_numbers);
        all.extend(named);
        // Unknown names are refused even if their value is `null`.
        let read: Result<Limits, _> = serde_json::from_value(Value::Object(all));
        let refused =
            |error: serde_json::Error| ApiError::bad(field_message("limits", &error.to_string()));
        check_limits("limits.", read.map_err(refused)?)
    }
}

impl<'de> Deserialize<'de> for LimitsChange {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        FieldChange::deserialize(input).map(Self)
    }
}

/// The end of a key's life. Other programs write "never" as the end of the year 9999, which is a
/// day later than the latest time of jiff, so that is read as the latest time.
pub(crate) struct ExpiryInput(pub(crate) Timestamp);

impl<'de> Deserialize<'de> for ExpiryInput {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(input)?;
        let is_last =
            text.get(..10).is_some_and(|day| ("9999-12-30"..="9999-12-31").contains(&day));
        match text.parse::<Timestamp>() {
            Ok(at) => Ok(Self(at)),
            // The text is parsed with another year, so that malformed times are still refused.
            Err(_) if is_last && text.replace("9999-", "9998-").parse::<Timestamp>().is_ok() => {
                Ok(Self(Timestamp::MAX))
            }
            Err(_) => Err(D::Error::custom(
                "expected a time like 2026-12-31T23:59:59Z, or null for never",
            )),
        }
    }
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
