//! Usage records as items (events), and lists of them, newest first.

use crate::StoreError;
use crate::connection::Table;
use crate::item::{StoreItem, inconsistent, key_of, text};
use crate::item_names::{self, ACCOUNT_DAY, AT, BY_ACCOUNT, BY_DAY, DAY, PK, SK, TTL};
use crate::list::{ListPage, read_cursor, write_cursor};
use crate::permissions::{ANY, Action, Permission, Resource, store_handle};
use aws_sdk_dynamodb::types::AttributeValue;
use baton_domain::id::{AccountId, GroupId, KeyId, RequestId, UserId, is_base62};
use baton_domain::money::PicoUsd;
use baton_domain::record::{RequestOutcome, TriedAccount, UsageRecord};
use baton_domain::usage::{TokenCounts, UsageIteration};
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// A usage record as an item. Its fields have short names because every event repeats them. Fields
/// that the item's key contains, and zeros, are omitted. (Items of an earlier version have them.)
#[derive(Serialize, Deserialize)]
pub(crate) struct EventRow {
    v: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    u: Option<UserId>,
    g: GroupId,
    a: AccountId,
    p: String,
    pr: String,
    m: String,
    /// The model at the upstream, only if it differs from the requested model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    um: Option<String>,
    st: bool,
    s: u16,
    o: RequestOutcome,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    es: bool,
    ti: u64,
    to: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    tr: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    t5: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    t1: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    w: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tier: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    geo: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sp: Option<String>,
    c: PicoUsd,
    pv: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    f: Option<u64>,
    d: u64,
    n: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    l: Vec<TriedAccount>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    se: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ag: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    it: Vec<UsageIteration>,
    /// Whether the cost was reduced to the maximum that the request permitted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    cp: bool,
    /// The reserved amount, only if the record was settled at it. Re-rating leaves such a record.
    /// (Items of an earlier version do not have it.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rs: Option<PicoUsd>,
}

impl EventRow {
    /// Builds the item of `record`, which expires after `days` days.
    pub(crate) fn item(record: &UsageRecord, days: u32) -> Result<StoreItem, StoreError> {
        let key = item_names::event(record);
        let mut item: StoreItem = serde_dynamo::to_item(Self::from(record))
            .map_err(|error| inconsistent(&key.pk, &key.sk, &error))?;
        item.extend(key_of(key));
        let day = item_names::day(record.started_at);
        let account_day = item_names::account_day(&record.account_id, &day);
        item.insert(DAY.to_owned(), AttributeValue::S(day));
        item.insert(ACCOUNT_DAY.to_owned(), AttributeValue::S(account_day));
        let expires = record.started_at.as_second() + i64::from(days) * 24 * 3600;
        item.insert(TTL.to_owned(), AttributeValue::N(expires.to_string()));
        Ok(item)
    }

    fn record(self, started_at: Timestamp, id: RequestId, key_id: KeyId) -> UsageRecord {
        UsageRecord {
            v: self.v,
            id,
            started_at,
            key_id,
            user_id: self.u,
            group_id: self.g,
            account_id: self.a,
            provider: self.p,
            protocol: self.pr,
            upstream_model: self.um.unwrap_or_else(|| self.m.clone()),
            model: self.m,
            stream: self.st,
            status: self.s,
            outcome: self.o,
            estimated: self.es,
            tokens: TokenCounts {
                input: self.ti,
                output: self.to,
                cache_read: self.tr,
                cache_write_5m: self.t5,
                cache_write_1h: self.t1,
            },
            web_searches: self.w,
            service_tier: self.tier,
            inference_geo: self.geo,
            speed: self.sp,
            cost_usd: self.c,
            price_version: self.pv,
            ttft_ms: self.f,
            duration_ms: self.d,
            attempts: self.n,
            tried: self.l,
            session_id: self.se,
            agent_id: self.ag,
            iterations: self.it,
            is_capped: self.cp,
            is_highest_cost: false,
            reserved_usd: self.rs,
            reserved_shared_limits: Vec::new(),
        }
    }
}

impl From<&UsageRecord> for EventRow {
    fn from(record: &UsageRecord) -> Self {
        let tokens = &record.tokens;
        Self {
            v: record.v,
            u: record.user_id.clone(),
            g: record.group_id.clone(),
            a: record.account_id.clone(),
            p: record.provider.clone(),
            pr: record.protocol.clone(),
            m: record.model.clone(),
            um: Some(record.upstream_model.clone()).filter(|served| *served != record.model),
            st: record.stream,
            s: record.status,
            o: record.outcome,
            es: record.estimated,
            ti: tokens.input,
            to: tokens.output,
            tr: tokens.cache_read,
            t5: tokens.cache_write_5m,
            t1: tokens.cache_write_1h,
            w: record.web_searches,
            tier: record.service_tier.clone(),
            geo: record.inference_geo.clone(),
            sp: record.speed.clone(),
            c: record.cost_usd,
            pv: record.price_version.clone(),
            f: record.ttft_ms,
            d: record.duration_ms,
            n: record.attempts,
            l: record.tried.clone(),
            se: record.session_id.clone(),
            ag: record.agent_id.clone(),
            it: record.iterations.clone(),
            cp: record.is_capped,
            rs: record.amount_without_usage(),
        }
    }
}

/// Selects events from `from` (inclusive) to `to` (exclusive) that match all other conditions.
#[derive(Debug, Clone)]
pub struct EventFilter {
    /// Start of the time range, inclusive.
    pub from: Timestamp,
    /// End of the time range, exclusive.
    pub to: Timestamp,
    /// Only events of this key.
    pub key: Option<KeyId>,
    /// Only events of this account.
    pub account: Option<AccountId>,
    /// Only events of this user's keys.
    pub user: Option<UserId>,
    /// Only events for this model.
    pub model: Option<String>,
    /// Only events with this outcome.
    pub outcome: Option<RequestOutcome>,
    /// Only events of these keys. Each key is read in its own partition, so that events of other
    /// keys are not read at all.
    pub keys: Option<Vec<KeyId>>,
}

/// The most queries, and the most events read, for one page. A page that finds too little within
/// these bounds is short and has a cursor.
const QUERIES_MAX: usize = 40;
const EVENTS_READ_MAX: usize = 10_000;
/// The events of one query if most of them can be filtered out.
const EVENTS_OF_QUERY: usize = 1000;

/// Where a page starts.
enum PageStart {
    /// After this event.
    Event(StoreItem),
    /// At this day.
    Day(String),
}

/// The items of the table, or of an index, whose partition key `attribute` has this value.
struct EventPartition {
    index: Option<&'static str>,
    attribute: &'static str,
    value: String,
}

impl EventPartition {
    fn of_key(key: &KeyId, day: &str) -> Self {
        Self { index: None, attribute: PK, value: item_names::event_partition(key, day) }
    }
}

impl EventFilter {
    /// How many events a query asks for. With additional conditions it asks for many, since most
    /// can be filtered out.
    fn query_limit(&self, limit: usize) -> usize {
        let is_sure = self.user.is_none() && self.model.is_none() && self.outcome.is_none();
        let is_sure = is_sure && (self.key.is_none() || self.account.is_none());
        if is_sure { limit } else { limit.max(EVENTS_OF_QUERY) }
    }

    /// Parses a cursor.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`] if no page of this filter can have ended with this cursor.
    fn parse_cursor(&self, cursor: &str) -> Result<PageStart, StoreError> {
        if let Ok(key) = read_cursor(cursor, &[DAY]) {
            let day = text(&key, DAY)?;
            let fits = is_day(&day) && day <= item_names::day(self.to);
            return if fits { Ok(PageStart::Day(day)) } else { Err(StoreError::BadCursor) };
        }
        let key = read_cursor(cursor, &CURSOR_KEY)?;
        let [pk, sk, day, account_day] = [PK, SK, DAY, ACCOUNT_DAY].map(|name| text(&key, name));
        let (pk, sk, day, account_day) = (pk?, sk?, day?, account_day?);
        let (at, id) = sk.split_once('#').ok_or(StoreError::BadCursor)?;
        let key_id = item_names::event_key(&pk).ok_or(StoreError::BadCursor)?;
        let is_whole = is_day(&day)
            && at.parse::<Timestamp>().is_ok_and(|read| item_names::sortable_time(read) == at)
            && at.starts_with(&day)
            && id.parse::<RequestId>().is_ok()
            && pk == item_names::event_partition(&key_id, &day)
            && account_day.strip_suffix(&format!("#{day}")).is_some_and(is_base62);
        // DynamoDB rejects a start key that lies outside of the query's key range.
        let partition = self.partition(&day);
        let is_of_these = text(&key, partition.attribute)? == partition.value
            && sk < item_names::sortable_time(self.to);
        if is_whole && is_of_these { Ok(PageStart::Event(key)) } else { Err(StoreError::BadCursor) }
    }

    fn matches_record(&self, record: &UsageRecord) -> bool {
        self.key.as_ref().is_none_or(|key| *key == record.key_id)
            && self.account.as_ref().is_none_or(|account| *account == record.account_id)
            && self.user.as_ref().is_none_or(|user| Some(user) == record.user_id.as_ref())
            && self.model.as_ref().is_none_or(|model| *model == record.model)
            && self.outcome.is_none_or(|outcome| outcome == record.outcome)
    }

    /// The partition to query for a day's events.
    fn partition(&self, day: &str) -> EventPartition {
        match (&self.key, &self.account) {
            (Some(key), _) => EventPartition::of_key(key, day),
            (None, Some(account)) => EventPartition {
                index: Some(BY_ACCOUNT),
                attribute: ACCOUNT_DAY,
                value: item_names::account_day(account, day),
            },
            (None, None) => {
                EventPartition { index: Some(BY_DAY), attribute: DAY, value: day.to_owned() }
            }
        }
    }

    /// The days from newest to oldest, starting with `first` if it is given.
    fn days(&self, first: Option<&str>) -> impl Iterator<Item = String> {
        let day = SignedDuration::from_hours(24);
        let last = item_names::day(self.from);
        let start =
            first.and_then(|day| format!("{day}T00:00:00Z").parse().ok()).unwrap_or_else(|| {
                self.to.saturating_sub(SignedDuration::from_nanos(1)).unwrap_or(self.to)
            });
        std::iter::successors(Some(start), move |at: &Timestamp| at.checked_sub(day).ok())
            .map(item_names::day)
            .take_while(move |day| *day >= last)
    }
}

store_handle! {
    /// Reads events, and when accounts were last used.
    UsageReader,
    Permission::on_usage(&[Action::Query], &["event#*"]),
    Permission::on(Resource::UsageIndexes, &[Action::Query], ANY),
    Permission::on_usage(&[Action::BatchGetItem], &["used#*"])
}

impl UsageReader {
    /// One page of events, newest first.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`] if `cursor` is not from an earlier page of this list.
    pub async fn events(
        &self,
        filter: &EventFilter,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<ListPage<UsageRecord>, StoreError> {
        if let Some(keys) = &filter.keys {
            return self.events_of_keys(filter, keys, limit, cursor).await;
        }
        let mut page = ListPage { data: Vec::new(), next_cursor: None };
        let (mut start, first) =
            match cursor.map(|cursor| filter.parse_cursor(cursor)).transpose()? {
                Some(PageStart::Event(key))
                    if text(&key, SK)? < item_names::sortable_time(filter.from) =>
                {
                    return Ok(page);
                }
                Some(PageStart::Event(key)) => (Some(key.clone()), Some(text(&key, DAY)?)),
                Some(PageStart::Day(day)) => (None, Some(day)),
                None => (None, None),
            };
        let at_once = filter.query_limit(limit);
        let (mut queries, mut read) = (0, 0);
        for day in filter.days(first.as_deref()) {
            loop {
                if queries >= QUERIES_MAX || read >= EVENTS_READ_MAX {
                    let next = start.take().unwrap_or_else(|| day_key(&day));
                    page.next_cursor = Some(write_cursor(&next));
                    return Ok(page);
                }
                let to = item_names::sortable_time(filter.to);
                let (items, is_all) = self
                    .events_in(filter.partition(&day), filter.from, to, at_once, start.take())
                    .await?;
                (queries, read) = (queries + 1, read + items.len());
                let last = items.last().map(|item| attributes(item, &CURSOR_KEY));
                if page.add_items(filter, items, limit, &CURSOR_KEY)? {
                    return Ok(page);
                }
                start = last.filter(|_| !is_all);
                if start.is_none() {
                    break;
                }
            }
        }
        Ok(page)
    }

    /// One page of the events of some keys. It merges the keys' partitions of each day. The cursor
    /// holds a sort key: all further events have smaller sort keys.
    async fn events_of_keys(
        &self,
        filter: &EventFilter,
        keys: &[KeyId],
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<ListPage<UsageRecord>, StoreError> {
        let mut page = ListPage { data: Vec::new(), next_cursor: None };
        let mut below = item_names::sortable_time(filter.to);
        if let Some(cursor) = cursor {
            let given = text(&read_cursor(cursor, &[SK])?, SK)?;
            if given.len() > SORT_KEY_BYTES_MAX || !given.get(..10).is_some_and(is_day) {
                return Err(StoreError::BadCursor);
            }
            below = below.min(given);
        }
        if keys.is_empty() || below < item_names::sortable_time(filter.from) {
            return Ok(page);
        }
        let first = below.get(..10).unwrap_or_default().to_owned();
        let mut queries = 0;
        for day in filter.days(Some(&first)) {
            loop {
                if queries >= QUERIES_MAX {
                    page.next_cursor = Some(sort_key_cursor(&below));
                    return Ok(page);
                }
                let (items, horizon) = self.events_below(filter, keys, &day, &below).await?;
                queries += keys.len();
                if page.add_items(filter, items, limit, &[SK])? {
                    return Ok(page);
                }
                match horizon {
                    Some(horizon) => below = horizon,
                    None => break,
                }
            }
            // This value is smaller than all sort keys of the day and larger than all of the day
            // before.
            below = below.min(day);
        }
        Ok(page)
    }

    /// Events of a day with sort keys below the given one, newest first, of all keys. It returns
    /// them only down to the horizon: below it, the query of at least one key has more events to
    /// read.
    async fn events_below(
        &self,
        filter: &EventFilter,
        keys: &[KeyId],
        day: &str,
        below: &str,
    ) -> Result<(Vec<StoreItem>, Option<String>), StoreError> {
        let (mut found, mut horizon) = (Vec::new(), None::<String>);
        for key in keys {
            let (partition, to) = (EventPartition::of_key(key, day), below.to_owned());
            let (items, is_all) =
                self.events_in(partition, filter.from, to, EVENTS_OF_QUERY, None).await?;
            let last = items.last().map(|item| text(item, SK)).transpose()?;
            horizon = horizon.max(last.filter(|_| !is_all));
            for item in items {
                found.push((text(&item, SK)?, item));
            }
        }
        let is_shown = |sk: &str| sk < below && horizon.as_deref().is_none_or(|least| sk >= least);
        found.retain(|(sk, _)| is_shown(sk));
        found.sort_unstable_by(|(left, _), (right, _)| right.cmp(left));
        Ok((found.into_iter().map(|(_, item)| item).collect(), horizon))
    }

    /// Runs one query: the events of a partition between two sort keys, newest first, and whether
    /// these are all.
    async fn events_in(
        &self,
        EventPartition { index, attribute, value }: EventPartition,
        from: Timestamp,
        to: String,
        limit: usize,
        start: Option<StoreItem>,
    ) -> Result<(Vec<StoreItem>, bool), StoreError> {
        let start = start.map(|mut key| {
            key.retain(|name, _| [PK, SK, attribute].contains(&name.as_str()));
            key
        });
        let response = self
            .connection
            .query(Table::Usage)
            .set_index_name(index.map(str::to_owned))
            .key_condition_expression("#p = :p AND #sk BETWEEN :from AND :to")
            .expression_attribute_names("#p", attribute)
            .expression_attribute_names("#sk", SK)
            .expression_attribute_values(":p", AttributeValue::S(value))
            .expression_attribute_values(
                ":from",
                AttributeValue::S(item_names::sortable_time(from)),
            )
            .expression_attribute_values(":to", AttributeValue::S(to))
            .scan_index_forward(false)
            .limit(i32::try_from(limit).unwrap_or(1000))
            .set_exclusive_start_key(start)
            .send()
            .await?;
        Ok((response.items.unwrap_or_default(), response.last_evaluated_key.is_none()))
    }

    /// When these accounts were last used. Accounts that were never used are left out.
    pub async fn last_used(
        &self,
        accounts: &[AccountId],
    ) -> Result<HashMap<AccountId, Timestamp>, StoreError> {
        let places = accounts.iter().map(|id| (Table::Usage, item_names::last_use(id))).collect();
        let read = |(_, item): (Table, StoreItem)| {
            let (pk, at) = (text(&item, PK)?, text(&item, AT)?);
            let bad = |error: &dyn std::fmt::Display| inconsistent(&pk, item_names::USED, error);
            let id = pk.strip_prefix(item_names::USED_PREFIX).unwrap_or_default();
            let id = id.parse().map_err(|error| bad(&error))?;
            Ok((id, at.parse().map_err(|error: jiff::Error| bad(&error))?))
        };
        self.connection.batch_get(places, false).await?.into_iter().map(read).collect()
    }
}

/// The longest sort key that DynamoDB allows, in bytes.
const SORT_KEY_BYTES_MAX: usize = 1024;

fn sort_key_cursor(sk: &str) -> String {
    write_cursor(&StoreItem::from([(SK.to_owned(), AttributeValue::S(sk.to_owned()))]))
}

/// Whether the text is a day in the form that item keys use.
fn is_day(text: &str) -> bool {
    text.len() == 10 && text.parse::<Date>().is_ok()
}

/// The key to start from for a page that starts at this day.
fn day_key(day: &str) -> StoreItem {
    StoreItem::from([(DAY.to_owned(), AttributeValue::S(day.to_owned()))])
}

impl ListPage<UsageRecord> {
    /// Adds those of `items` that match, and returns whether the page is full. If it is full, the
    /// cursor is made from these attributes of the last item.
    fn add_items(
        &mut self,
        filter: &EventFilter,
        items: Vec<StoreItem>,
        limit: usize,
        cursor: &[&str],
    ) -> Result<bool, StoreError> {
        for item in items {
            let key = attributes(&item, cursor);
            let record = read_event(item)?;
            if filter.matches_record(&record) {
                self.data.push(record);
            }
            if self.data.len() == limit {
                self.next_cursor = Some(write_cursor(&key));
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The attributes of a cursor, which fit the table and both indexes.
const CURSOR_KEY: [&str; 4] = [PK, SK, DAY, ACCOUNT_DAY];

/// The given attributes of an item.
fn attributes(item: &StoreItem, names: &[&str]) -> StoreItem {
    item.iter()
        .filter(|(name, _)| names.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

pub(crate) fn read_event(item: StoreItem) -> Result<UsageRecord, StoreError> {
    let (pk, sk) = (text(&item, PK)?, text(&item, SK)?);
    let is_invalid_char = |item_name: &dyn std::fmt::Display| inconsistent(&pk, &sk, item_name);
    let (at, id) = sk.split_once('#').ok_or_else(|| is_invalid_char(&"no id in its key"))?;
    let at = at.parse().map_err(|error: jiff::Error| is_invalid_char(&error))?;
    let id = id.parse().map_err(|error| is_invalid_char(&error))?;
    let key = item_names::event_key(&pk).ok_or_else(|| is_invalid_char(&"no key in its key"))?;
    let row: EventRow = serde_dynamo::from_item(item).map_err(|error| is_invalid_char(&error))?;
    Ok(row.record(at, id, key))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
