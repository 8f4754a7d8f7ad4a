//! Usage events as items, and reading them back, newest first.

use super::edit::{Page, read_cursor, write_cursor};
use super::item::{Item, inconsistent, key_of, text};
use super::names::{self, ACCOUNT_DAY, BY_ACCOUNT, BY_DAY, DAY, PK, SK, TTL};
use super::{Store, StoreError};
use aws_sdk_dynamodb::types::AttributeValue;
use baton_domain::id::{AccountId, GroupId, KeyId, RequestId, UserId};
use baton_domain::money::PicoUsd;
use baton_domain::record::{Outcome, Tried, UsageRecord};
use baton_domain::usage::{Iteration, Tokens};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// A record as an item: the record's fields under short names, since every event repeats them, less
/// what its key says and what is zero. (The version before had those, too.)
#[derive(Serialize, Deserialize)]
pub(super) struct EventRow {
    v: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    u: Option<UserId>,
    g: GroupId,
    a: AccountId,
    p: String,
    pr: String,
    m: String,
    /// Only where it differs from the model asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    um: Option<String>,
    st: bool,
    s: u16,
    o: Outcome,
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
    l: Vec<Tried>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    se: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ag: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    it: Vec<Iteration>,
    /// Whether the cost was cut to what the request permitted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    cp: bool,
}

impl EventRow {
    /// The item of `record`, to be deleted after `days` days.
    pub(super) fn item(record: &UsageRecord, days: u32) -> Result<Item, StoreError> {
        let (pk, sk) = names::event(record);
        let mut item: Item = serde_dynamo::to_item(Self::from(record))
            .map_err(|error| inconsistent(&pk, &sk, &error))?;
        item.extend(key_of((pk, sk)));
        let day = names::day(record.started_at);
        let account_day = names::account_day(&record.account_id, &day);
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
            tokens: Tokens {
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
            reserved_usd: None,
            reserved_pools: Vec::new(),
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
        }
    }
}

/// Which events are wanted: those from `from` (included) to `to` (not), and what else.
#[derive(Debug, Clone)]
pub struct EventFilter {
    /// From when, included.
    pub from: Timestamp,
    /// To when, not included.
    pub to: Timestamp,
    /// Of this key only.
    pub key: Option<KeyId>,
    /// By this account only.
    pub account: Option<AccountId>,
    /// By keys of this user only.
    pub user: Option<UserId>,
    /// For this model only.
    pub model: Option<String>,
    /// With this ending only.
    pub outcome: Option<Outcome>,
}

impl EventFilter {
    fn wants(&self, record: &UsageRecord) -> bool {
        self.key.as_ref().is_none_or(|key| *key == record.key_id)
            && self.account.as_ref().is_none_or(|account| *account == record.account_id)
            && self.user.as_ref().is_none_or(|user| Some(user) == record.user_id.as_ref())
            && self.model.as_ref().is_none_or(|model| *model == record.model)
            && self.outcome.is_none_or(|outcome| outcome == record.outcome)
    }

    /// The index and partition that hold a day's events of interest.
    fn partition(&self, day: &str) -> (Option<&'static str>, &'static str, String) {
        match (&self.key, &self.account) {
            (Some(key), _) => (None, PK, names::event_partition(key, day)),
            (None, Some(account)) => {
                (Some(BY_ACCOUNT), ACCOUNT_DAY, names::account_day(account, day))
            }
            (None, None) => (Some(BY_DAY), DAY, day.to_owned()),
        }
    }

    /// The days from newest to oldest, beginning with `first` if given.
    fn days(&self, first: Option<&str>) -> impl Iterator<Item = String> {
        let day = SignedDuration::from_hours(24);
        let last = names::day(self.from);
        let start =
            first.and_then(|day| format!("{day}T00:00:00Z").parse().ok()).unwrap_or_else(|| {
                self.to.saturating_sub(SignedDuration::from_nanos(1)).unwrap_or(self.to)
            });
        std::iter::successors(Some(start), move |at: &Timestamp| at.checked_sub(day).ok())
            .map(names::day)
            .take_while(move |day| *day >= last)
    }
}

impl Store {
    /// A page of events, newest first.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`] when `cursor` is not from an earlier page.
    pub async fn events(
        &self,
        filter: &EventFilter,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Page<UsageRecord>, StoreError> {
        let mut start = cursor.map(|cursor| read_cursor(cursor, &CURSOR_KEY)).transpose()?;
        let first = start.as_ref().map(|key| text(key, SK)).transpose()?;
        let first = first.as_deref().map(|sk| sk.get(..10).unwrap_or_default());
        let mut page = Page { data: Vec::new(), next_cursor: None };
        for day in filter.days(first) {
            loop {
                let (items, next) = self.events_of_day(filter, &day, limit, start.take()).await?;
                if page.fill(filter, items, limit)? {
                    return Ok(page);
                }
                start = next;
                if start.is_none() {
                    break;
                }
            }
        }
        Ok(page)
    }

    async fn events_of_day(
        &self,
        filter: &EventFilter,
        day: &str,
        limit: usize,
        start: Option<Item>,
    ) -> Result<(Vec<Item>, Option<Item>), StoreError> {
        let (index, name, value) = filter.partition(day);
        let start = start.map(|mut key| {
            key.retain(|attribute, _| [PK, SK, name].contains(&attribute.as_str()));
            key
        });
        let answer = self
            .db
            .query()
            .table_name(&self.resources.usage_table)
            .set_index_name(index.map(str::to_owned))
            .key_condition_expression("#p = :p AND #sk BETWEEN :from AND :to")
            .expression_attribute_names("#p", name)
            .expression_attribute_names("#sk", SK)
            .expression_attribute_values(":p", AttributeValue::S(value))
            .expression_attribute_values(":from", AttributeValue::S(names::stamp(filter.from)))
            .expression_attribute_values(":to", AttributeValue::S(names::stamp(filter.to)))
            .scan_index_forward(false)
            .limit(i32::try_from(limit).unwrap_or(1000))
            .set_exclusive_start_key(start)
            .send()
            .await?;
        Ok((answer.items.unwrap_or_default(), answer.last_evaluated_key))
    }
}

impl Page<UsageRecord> {
    /// Adds the wanted ones of `items`; returns whether the page is full.
    fn fill(
        &mut self,
        filter: &EventFilter,
        items: Vec<Item>,
        limit: usize,
    ) -> Result<bool, StoreError> {
        for item in items {
            let key = cursor_key(&item);
            let record = read_event(item)?;
            if filter.wants(&record) {
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

const CURSOR_KEY: [&str; 4] = [PK, SK, DAY, ACCOUNT_DAY];

/// What a page that ends with this item continues from; it fits the table and both indexes.
fn cursor_key(item: &Item) -> Item {
    item.iter()
        .filter(|(name, _)| CURSOR_KEY.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

pub(super) fn read_event(item: Item) -> Result<UsageRecord, StoreError> {
    let (pk, sk) = (text(&item, PK)?, text(&item, SK)?);
    let odd = |what: &dyn std::fmt::Display| inconsistent(&pk, &sk, what);
    let (at, id) = sk.split_once('#').ok_or_else(|| odd(&"no id in its key"))?;
    let at = at.parse().map_err(|error: jiff::Error| odd(&error))?;
    let id = id.parse().map_err(|error| odd(&error))?;
    let key = names::event_key(&pk).ok_or_else(|| odd(&"no key in its key"))?;
    let row: EventRow = serde_dynamo::from_item(item).map_err(|error| odd(&error))?;
    Ok(row.record(at, id, key))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
