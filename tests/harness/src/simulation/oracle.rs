//! The rules that must hold at the end of a run. Pure, over what was requested, served and stored.

use std::collections::BTreeMap;

use baton_domain::cost_factors::CostFactors;
use baton_domain::id::KeyId;
use baton_domain::key::Limits;
use baton_domain::limit::LimitPeriod;
use baton_domain::money::PicoUsd;
use baton_domain::price::PriceTable;
use baton_domain::record::UsageRecord;
use baton_domain::reservation::LimitCounters;
use baton_domain::rollup::{RollupCell, UsageSums};
use baton_domain::usage::BilledUsage;
use jiff::Timestamp;
use tokio::time::Instant;

use super::upstream::MODEL;
pub use super::upstream::ServedCall;

/// All facts at the end of a run.
#[derive(Debug, Clone)]
pub struct RunFacts {
    /// The stored records.
    pub events: Vec<UsageRecord>,
    /// The totals by hour; an hour occurs once for each shard.
    pub hours: Vec<(String, UsageSums)>,
    /// The totals by day.
    pub days: Vec<(String, UsageSums)>,
    /// The cells of the usage cube.
    pub cells: Vec<(RollupCell, UsageSums)>,
    /// The amounts that count against limits.
    pub limits: Vec<LimitedKey>,
    /// The requests of the clients.
    pub client_requests: Vec<ClientRequest>,
    /// The calls that reached an upstream, from its ledger.
    pub calls: Vec<ServedCall>,
    /// Records that still wait for the queue.
    pub pending: usize,
    /// Messages among the dead letters.
    pub dead: u64,
    /// Whether nothing happened that would excuse a wrong number.
    pub is_calm: bool,
}

/// A key's limits, and the amounts that count against them.
#[derive(Debug, Clone)]
pub struct LimitedKey {
    /// The key.
    pub key: KeyId,
    /// The limits.
    pub limits: Limits,
    /// The counted amounts.
    pub counted: LimitCounters,
}

/// A request as its client knows it.
#[derive(Debug, Clone)]
pub struct ClientRequest {
    /// Its number.
    pub number: usize,
    /// The key that sent it.
    pub key: KeyId,
    /// When it was accepted; unique in a run.
    pub at: Timestamp,
    /// The size of its body.
    pub body_bytes: u64,
    /// The most output tokens that the answer can have.
    pub max_tokens: u64,
    /// Whether its instance died, possibly before the request ended.
    pub died: Option<Instant>,
    /// Whether its client received a complete, successful answer.
    pub heard_whole: bool,
}

impl ClientRequest {
    /// The most that the request can cost.
    fn estimate(&self) -> PicoUsd {
        let demand = CostFactors {
            prompt_bytes: self.body_bytes,
            output_tokens: Some(self.max_tokens),
            choices: 1,
            iterations: 1,
            ..CostFactors::default()
        };
        PriceTable::builtin().highest_cost(&demand, MODEL, self.at).amount
    }
}

/// All violations of the rules.
pub fn findings(account: &RunFacts) -> Vec<String> {
    let mut found = Vec::new();
    if account.pending > 0 || account.dead > 0 {
        found.push(format!("left: {} pending, {} dead", account.pending, account.dead));
    }
    sums(account, &mut found);
    for client_request in &account.client_requests {
        request(account, client_request, &mut found);
    }
    for event in &account.events {
        let known = |client_request: &&ClientRequest| {
            client_request.key == event.key_id && client_request.at == event.started_at
        };
        if account.client_requests.iter().filter(known).count() != 1 {
            found.push(format!("no client sent {}", event.id));
        }
    }
    for limited in &account.limits {
        limit(account, limited, &mut found);
    }
    found
}

/// In each family of rollups, the sums must equal the events.
fn sums(account: &RunFacts, found: &mut Vec<String>) {
    let mut check =
        |what: &str, by: &dyn Fn(&UsageRecord) -> String, rollups: Vec<(String, UsageSums)>| {
            let (mut events, mut stored) = (BTreeMap::new(), BTreeMap::new());
            for event in &account.events {
                events
                    .entry(by(event))
                    .or_insert_with(UsageSums::default)
                    .add_sums(&UsageSums::from_record(event));
            }
            for (name, sums) in rollups {
                stored.entry(name).or_insert_with(UsageSums::default).add_sums(&sums);
            }
            if events != stored {
                found.push(format!("{what}: events say {events:?}, rollups {stored:?}"));
            }
        };
    let time = |format: &'static str| {
        move |event: &UsageRecord| event.started_at.strftime(format).to_string()
    };
    check("hours", &time("%Y-%m-%dT%H"), account.hours.clone());
    check("days", &time("%Y-%m-%d"), account.days.clone());
    let cell = |event: &UsageRecord| {
        let hour = event.started_at.strftime("%Y-%m-%dT%H");
        let UsageRecord { key_id, user_id, group_id, account_id, model, .. } = event;
        format!("{hour} {key_id} {user_id:?} {group_id} {account_id} {model}")
    };
    let name = |cell: &RollupCell| {
        let RollupCell { hour, key, user, group, account, model } = cell;
        format!("{} {key} {user:?} {group} {account} {model}", hour.as_str())
    };
    check("cells", &cell, account.cells.iter().map(|(cell, sums)| (name(cell), *sums)).collect());
}

/// Each request must have one record, with the numbers of the upstream.
fn request(account: &RunFacts, client_request: &ClientRequest, found: &mut Vec<String>) {
    let mut wrong = |what: String| found.push(format!("request {}: {what}", client_request.number));
    let mine = |event: &&UsageRecord| {
        event.key_id == client_request.key && event.started_at == client_request.at
    };
    let events: Vec<&UsageRecord> = account.events.iter().filter(mine).collect();
    let limited = account.limits.iter().find(|limited| limited.key == client_request.key);
    let limits = limited.map(|limited| limited.limits.clone()).unwrap_or_default();
    let last = account.calls.iter().rfind(|call| call.ask == client_request.number);
    // Without a reservation, only the process knows about a request until its record is sent.
    let may_be_lost =
        client_request.died.is_some() && !limits.has_money() && !client_request.heard_whole;
    if events.len() > 1 || (last.is_some() && events.is_empty() && !may_be_lost) {
        wrong(format!(
            "{} records, died: {}, calls: {last:?}",
            events.len(),
            client_request.died.is_some()
        ));
    }
    let Some(event) = events.first() else { return };
    let estimate = client_request.estimate();
    if event.cost_usd > estimate {
        wrong(format!("costs {}, more than {estimate}", event.cost_usd));
    }
    if event.attempts == 0 {
        let may_be = limits.has_any() && !account.is_calm;
        if !may_be || !event.estimated || event.cost_usd != estimate {
            wrong(format!("given up without need, or wrongly: {event:?}"));
        }
        return;
    }
    match last.map(|call| call.whole) {
        None => wrong(format!("a record, but no upstream was reached: {event:?}")),
        Some(None) => {}
        Some(Some(tokens)) => {
            let usage = BilledUsage { tokens, ..BilledUsage::default() };
            let cost = PriceTable::builtin().cost(&usage, MODEL, client_request.at).amount;
            if event.tokens != tokens || event.cost_usd != cost || event.estimated {
                wrong(format!("served {tokens:?} for {cost}, recorded {event:?}"));
            }
        }
    }
}

/// `committed` must be settled cost plus open reservations, and never above the limit.
fn limit(account: &RunFacts, limited: &LimitedKey, found: &mut Vec<String>) {
    let LimitedKey { key, limits, counted } = limited;
    if !counted.open_reservations.is_empty() {
        found.push(format!("{key}: still open: {:?}", counted.open_reservations));
    }
    let own = || account.events.iter().filter(|event| event.key_id == *key);
    let mut windows: BTreeMap<String, PicoUsd> = BTreeMap::new();
    for event in own() {
        for period in LimitPeriod::ALL {
            *windows.entry(period.window(event.started_at).name).or_default() += event.cost_usd;
        }
    }
    for (name, count) in counted.windows.iter().filter(|(name, _)| !name.starts_with("r#")) {
        let (committed, cost) =
            (PicoUsd::new(*count), windows.get(name).copied().unwrap_or_default());
        // With only rate limits, requests continue uncounted while the store is unavailable.
        let is_right = if limits.has_money() { committed == cost } else { committed <= cost };
        if !is_right {
            found.push(format!("{key} {name}: committed {committed}, events cost {cost}"));
        }
        let period = LimitPeriod::ALL.into_iter().find(|period| name.starts_with(&letter(*period)));
        let most = period.and_then(|period| limits.money(period));
        if most.is_some_and(|most| committed > most) {
            found.push(format!("{key} {name}: {committed} is above its limit"));
        }
    }
    let is_missing = |name: &&String| !counted.windows.contains_key(*name);
    if limits.has_money() && windows.keys().any(|name| is_missing(&name)) {
        found.push(format!("{key}: a window is missing in {:?}", counted.windows));
    }
}

/// The prefix of the names of a period's windows.
fn letter(period: LimitPeriod) -> String {
    period.as_str().chars().take(1).collect()
}
