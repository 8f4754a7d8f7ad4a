//! Divides a batch into transactions. The functions are pure, so that property tests can cover
//! them.

use baton_domain::record::UsageRecord;
use baton_domain::reservation::Settlement;
use baton_domain::rollup::{Rollup, UsageSums, rollups_of};
use baton_domain::scope::LimitScope;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Records that are stored together, the sums that they add and the reservations that they settle.
#[derive(Default)]
pub(crate) struct UsageTransaction<'a> {
    pub(crate) records: Vec<&'a UsageRecord>,
    pub(crate) sums: HashMap<Rollup, UsageSums>,
    /// Settlements by scope, because a transaction can touch an item only once.
    pub(crate) settlements: BTreeMap<LimitScope, Settlement>,
}

impl<'a> UsageTransaction<'a> {
    /// Makes one transaction of `records`.
    pub(crate) fn from_records(records: Vec<&'a UsageRecord>) -> Self {
        let mut transaction = Self::default();
        for record in records {
            transaction.add(record);
        }
        transaction
    }

    fn add(&mut self, record: &'a UsageRecord) {
        let sums = UsageSums::from_record(record);
        for rollup in rollups_of(record) {
            self.sums.entry(rollup).or_default().add_sums(&sums);
        }
        for scope in Settlement::settled_scopes(record) {
            self.settlements.entry(scope).or_default().add_record(record);
        }
        self.records.push(record);
    }

    /// The number of actions: one put per record, one update per rollup and one per limit item.
    fn action_count(&self) -> usize {
        self.records.len() + self.sums.len() + self.settlements.len()
    }

    /// The number of actions with `record` added.
    fn action_count_with(&self, record: &UsageRecord) -> usize {
        let new =
            rollups_of(record).iter().filter(|rollup| !self.sums.contains_key(rollup)).count();
        let items = Settlement::settled_scopes(record);
        let settles = items.filter(|scope| !self.settlements.contains_key(scope)).count();
        self.action_count() + 1 + new + settles
    }
}

/// Divides `records` into transactions of at most `actions_max` actions. A record that occurs more
/// than once is stored once. Records of expired reservations come last and separately: if the real
/// record is in the same batch, the real one is stored, and the other one still settles the
/// reservation.
pub(crate) fn transactions(
    records: &[UsageRecord],
    actions_max: usize,
) -> Vec<UsageTransaction<'_>> {
    let mut seen = HashSet::new();
    let distinct =
        records.iter().filter(|record| seen.insert((&record.id, record.is_expired_reservation())));
    let (expired, real_records) = distinct.partition(|record| record.is_expired_reservation());
    let mut plan = split_records(real_records, actions_max);
    plan.append(&mut split_records(expired, actions_max));
    plan
}

fn split_records(records: Vec<&UsageRecord>, actions_max: usize) -> Vec<UsageTransaction<'_>> {
    let mut plan: Vec<UsageTransaction<'_>> = Vec::new();
    for record in records {
        match plan.last_mut() {
            Some(last) if last.action_count_with(record) <= actions_max => last.add(record),
            _ => plan.push(UsageTransaction::from_records(vec![record])),
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_domain::id::{AccountId, GroupId, KeyId, RequestId};
    use baton_domain::money::PicoUsd;
    use baton_domain::record::RequestOutcome;
    use baton_domain::usage::TokenCounts;
    use proptest::prelude::*;

    fn record(id: u8, key: u8, hour: u8) -> UsageRecord {
        UsageRecord {
            v: 1,
            id: RequestId::from_bits(u128::from(id)),
            started_at: jiff::Timestamp::from_second(i64::from(hour) * 3600).unwrap(),
            key_id: KeyId::from_bits(u128::from(key)),
            user_id: None,
            group_id: GroupId::from_bits(1),
            account_id: AccountId::from_bits(1),
            provider: "anthropic".into(),
            protocol: "anthropic_messages".into(),
            model: "claude-opus-5-5".into(),
            upstream_model: "claude-opus-5-5".into(),
            stream: true,
            status: 200,
            outcome: RequestOutcome::Complete,
            estimated: false,
            tokens: TokenCounts { input: u64::from(id), output: 1, ..TokenCounts::default() },
            web_searches: 0,
            service_tier: None,
            inference_geo: None,
            speed: None,
            cost_usd: PicoUsd::new(i128::from(id)),
            price_version: "t".into(),
            ttft_ms: Some(1),
            duration_ms: 2,
            attempts: 1,
            tried: Vec::new(),
            session_id: None,
            agent_id: None,
            iterations: Vec::new(),
            is_capped: false,
            is_highest_cost: false,
            reserved_usd: key.is_multiple_of(2).then(|| PicoUsd::new(300)),
            reserved_shared_limits: vec![
                LimitScope::Organization,
                LimitScope::Group(GroupId::from_bits(1)),
            ],
        }
    }

    #[test]
    fn actual_record_is_stored_before_its_estimate() {
        let expired = UsageRecord { attempts: 0, estimated: true, ..record(2, 2, 0) };
        let unreserved = UsageRecord { reserved_usd: None, ..record(2, 2, 0) };
        let records = [expired.clone(), record(4, 2, 0), unreserved.clone(), expired.clone()];
        let plan = transactions(&records, 100);
        let planned: Vec<_> = plan.into_iter().map(|part| part.records).collect();
        assert_eq!(planned, [vec![&record(4, 2, 0), &unreserved], vec![&expired]]);
    }

    proptest! {
        #[test]
        fn each_record_is_planned_once_and_sums_match(
            drawn in prop::collection::vec((any::<u8>(), 0_u8..5, 0_u8..3), 0..200),
            actions_max in 9_usize..100,
        ) {
            // The content of a record follows from its id, as for a message that is delivered
            // twice.
            let records: Vec<_> = drawn.iter().map(|&(id, ..)| record(id, id % 5, id % 3)).collect();
            let plan = transactions(&records, actions_max);

            let mut planned: Vec<_> =
                plan.iter().flat_map(|part| &part.records).map(|record| &record.id).collect();
            planned.sort();
            let mut distinct: Vec<_> = records.iter().map(|record| &record.id).collect();
            distinct.sort();
            distinct.dedup();
            prop_assert_eq!(planned, distinct);

            for part in &plan {
                prop_assert!(part.action_count() <= actions_max);
                let cost: i128 = part.records.iter().map(|record| record.cost_usd.pico()).sum();
                let summed: i128 = part.sums.values().map(|sums| sums.cost.pico()).sum();
                prop_assert_eq!(summed, cost * 5, "each of five rollups has it all");

                let reserved: Vec<_> =
                    part.records.iter().filter(|record| record.reserved_usd.is_some()).collect();
                let closed: usize = part.settlements.values().map(|one| one.closed.len()).sum();
                prop_assert_eq!(closed, reserved.len() * 3, "each is closed once in each item");
                let change: i128 = part
                    .settlements
                    .values()
                    .flat_map(|one| one.changes.values())
                    .map(|change| change.pico())
                    .sum();
                let owed: i128 = reserved.iter().map(|record| record.cost_usd.pico() - 300).sum();
                prop_assert_eq!(change, owed * 4 * 3, "each of four windows of each item has it all");
            }
        }
    }
}
