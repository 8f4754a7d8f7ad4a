//! Re-rating: the cost of stored records with another price table, and the resulting changes of
//! sums.
//!
//! `store` reads the records of a period and writes the changes.

use crate::money::PicoUsd;
use crate::price::{PriceTable, UsageCost};
use crate::record::UsageRecord;
use crate::rollup::{Rollup, UsageSums, rollups_of};
use std::collections::HashMap;

/// A stored record whose cost changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostRevision {
    /// The record as it was read.
    pub record: UsageRecord,
    /// The new cost.
    pub cost: UsageCost,
}

impl CostRevision {
    /// The revision of `record` by `table`; `None` if its cost stays the same.
    ///
    /// A record without tokens has no usage to price: it is an error, or a reservation that was
    /// given up and costs the reserved amount. It is not changed. The same holds for a record with
    /// more tokens than its request permitted, and for one that was settled at the reserved amount
    /// because its usage is not known.
    pub fn from_record(record: UsageRecord, table: &PriceTable) -> Option<Self> {
        let has_usage = record.tokens.total() > 0 || record.web_searches > 0;
        if !has_usage || record.is_capped || record.amount_without_usage().is_some() {
            return None;
        }
        let cost = table.for_record(&record).cost(
            &record.usage(),
            &record.upstream_model,
            record.started_at,
        );
        let revision = Self { record, cost };
        let is_changed = revision.difference() != PicoUsd::ZERO || revision.unpriced_change() != 0;
        is_changed.then_some(revision)
    }

    /// The change of the cost; negative if the cost falls.
    pub fn difference(&self) -> PicoUsd {
        self.cost.amount - self.record.cost_usd
    }

    /// The change of the number of records without a price.
    fn unpriced_change(&self) -> i64 {
        let is_unpriced = !self.cost.is_priced && self.cost.amount > PicoUsd::ZERO;
        i64::from(is_unpriced) - i64::from(self.record.has_estimated_price())
    }
}

/// Revisions that are written together, with the changes of sums.
#[derive(Debug, Default)]
pub struct RevisionBatch {
    /// The revisions.
    pub revisions: Vec<CostRevision>,
    /// The change of each rollup.
    pub sums: HashMap<Rollup, UsageSums>,
}

impl RevisionBatch {
    /// Makes one batch of `revisions`.
    pub fn from_revisions(revisions: Vec<CostRevision>) -> Self {
        let mut batch = Self::default();
        for revision in revisions {
            batch.add_revision(revision);
        }
        batch
    }

    /// Returns the batch without the revisions at these positions.
    #[must_use]
    pub fn remove_positions(self, positions: &[usize]) -> Self {
        let rest = self.revisions.into_iter().enumerate();
        Self::from_revisions(
            rest.filter(|(index, _)| !positions.contains(index))
                .map(|(_, revision)| revision)
                .collect(),
        )
    }

    /// The change of the total cost.
    pub fn difference(&self) -> PicoUsd {
        self.revisions.iter().map(CostRevision::difference).sum()
    }

    fn add_revision(&mut self, revision: CostRevision) {
        let sums = UsageSums {
            cost: revision.difference(),
            unpriced: revision.unpriced_change(),
            ..UsageSums::default()
        };
        for rollup in rollups_of(&revision.record) {
            self.sums.entry(rollup).or_default().add_sums(&sums);
        }
        self.revisions.push(revision);
    }

    /// The number of actions of the transaction after adding `revision`: one update for each item.
    fn actions_with(&self, revision: &CostRevision) -> usize {
        let touched = rollups_of(&revision.record);
        let new = touched.iter().filter(|rollup| !self.sums.contains_key(rollup)).count();
        self.revisions.len() + self.sums.len() + 1 + new
    }
}

/// Splits `revisions` into batches of at most `actions_max` actions.
pub fn batches(revisions: Vec<CostRevision>, actions_max: usize) -> Vec<RevisionBatch> {
    let mut batches: Vec<RevisionBatch> = Vec::new();
    for revision in revisions {
        match batches.last_mut() {
            Some(last) if last.actions_with(&revision) <= actions_max => {
                last.add_revision(revision);
            }
            _ => batches.push(RevisionBatch::from_revisions(vec![revision])),
        }
    }
    batches
}

impl PriceTable {
    /// A text that changes if any price of a model changes.
    pub fn fingerprint(&self) -> String {
        let models: Vec<_> = self.models().collect();
        // Prices are plain numbers and times, so serialization does not fail.
        let text = serde_json::to_string(&models).unwrap_or_default();
        format!("{}-{:08x}", self.version(), crc32fast::hash(text.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{AccountId, GroupId, KeyId, RequestId};
    use crate::price::ModelPrice;
    use crate::record::RequestOutcome;
    use crate::token_rates::TokenRates;
    use crate::usage::{TokenCounts, UsageIteration};
    use jiff::Timestamp;
    use proptest::prelude::*;

    const MODEL: &str = "claude-opus-5-5";

    fn record(number: u8, key: u8) -> UsageRecord {
        let tokens =
            TokenCounts { input: 100 + u64::from(number), output: 10, ..TokenCounts::default() };
        UsageRecord {
            v: 1,
            id: RequestId::from_bits(u128::from(number)),
            started_at: Timestamp::from_second(1_800_000_000).unwrap(),
            key_id: KeyId::from_bits(u128::from(key)),
            user_id: None,
            group_id: GroupId::from_bits(1),
            account_id: AccountId::from_bits(1),
            provider: "anthropic".into(),
            protocol: "anthropic_messages".into(),
            model: MODEL.into(),
            upstream_model: MODEL.into(),
            stream: true,
            status: 200,
            outcome: RequestOutcome::Complete,
            estimated: false,
            tokens,
            web_searches: 0,
            service_tier: None,
            inference_geo: None,
            speed: None,
            cost_usd: PicoUsd::new(1),
            price_version: "old".into(),
            ttft_ms: None,
            duration_ms: 2,
            attempts: 1,
            tried: Vec::new(),
            session_id: None,
            agent_id: None,
            iterations: Vec::new(),
            is_capped: false,
            is_highest_cost: false,
            reserved_usd: None,
            reserved_shared_limits: Vec::new(),
        }
    }

    fn table(micros: u64) -> PriceTable {
        let rates = TokenRates {
            input: micros,
            output: micros,
            cache_read: micros,
            cache_write_5m: micros,
            cache_write_1h: micros,
        };
        let mut table = PriceTable::builtin().clone();
        let price = ModelPrice {
            from: Timestamp::from_second(1_799_000_000).unwrap(),
            standard: rates,
            version: format!("at-{micros}"),
            ..ModelPrice::default()
        };
        table.set(MODEL, price);
        table
    }

    #[test]
    fn only_changed_costs_are_revised() {
        let revision = CostRevision::from_record(record(0, 1), &table(1000)).unwrap();
        assert_eq!(revision.cost.amount, PicoUsd::new(110_000));
        assert_eq!(revision.cost.version, "at-1000");
        assert_eq!(revision.difference(), PicoUsd::new(109_999));
        let mut done = record(0, 1);
        done.cost_usd = revision.cost.amount;
        assert_eq!(CostRevision::from_record(done, &table(1000)), None);
    }

    #[test]
    fn new_price_ends_the_mark_of_an_estimate() {
        let mut unpriced = record(0, 1);
        (unpriced.model, unpriced.upstream_model) = ("made-up".into(), "made-up".into());
        let table_with = |micros: u64| {
            let mut table = table(micros);
            let prices = table.models[MODEL].clone();
            table.models.insert("made-up".into(), prices);
            table
        };
        let guessed = PriceTable::builtin().cost(&unpriced.usage(), "made-up", unpriced.started_at);
        (unpriced.cost_usd, unpriced.price_version) = (guessed.amount, guessed.version);
        assert_eq!(CostRevision::from_record(unpriced.clone(), PriceTable::builtin()), None);
        let change = |record: UsageRecord, table: &PriceTable| {
            let revision = CostRevision::from_record(record, table)?;
            let batch = RevisionBatch::from_revisions(vec![revision]);
            batch.sums.into_values().next().map(|sums| sums.unpriced)
        };
        assert_eq!(change(unpriced.clone(), &table_with(1_000)), Some(-1));
        let mut priced = unpriced.clone();
        priced.price_version = "own".into();
        assert_eq!(change(priced, PriceTable::builtin()), Some(1));
        // The price can be what was estimated.
        let cost = table_with(1_000).cost(&unpriced.usage(), "made-up", unpriced.started_at);
        unpriced.cost_usd = cost.amount;
        assert_eq!(change(unpriced, &table_with(1_000)), Some(-1));
    }

    #[test]
    fn records_without_usage_keep_their_cost() {
        let mut expired = record(0, 1);
        expired.tokens = TokenCounts::default();
        assert_eq!(CostRevision::from_record(expired.clone(), &table(1000)), None);
        expired.web_searches = 1;
        assert!(CostRevision::from_record(expired, &table(1000)).is_some());
    }

    #[test]
    fn records_settled_without_usage_keep_their_cost() {
        let reserved = |reserved: i128, cost: i128| {
            let mut record = record(0, 1);
            record.estimated = true;
            (record.reserved_usd, record.cost_usd) =
                (Some(PicoUsd::new(reserved)), PicoUsd::new(cost));
            CostRevision::from_record(record, &table(1000)).is_none()
        };
        assert!(reserved(5, 5) && reserved(5, 9));
        assert!(!reserved(5, 4), "its cost was estimated by what was seen");
        assert!(!reserved(0, 0), "its model had no price");
        let highest = UsageRecord { is_highest_cost: true, ..record(0, 1) };
        assert_eq!(highest.amount_without_usage(), Some(highest.cost_usd));
        assert!(CostRevision::from_record(highest, &table(1000)).is_none());
    }

    #[test]
    fn iterations_of_other_models_keep_their_price() {
        let mut advised = record(0, 1);
        let haiku = "claude-haiku-5-5";
        advised.iterations = vec![UsageIteration {
            kind: "advisor_message".into(),
            model: Some(haiku.into()),
            tokens: TokenCounts { input: 40, ..TokenCounts::default() },
        }];
        let cost = CostRevision::from_record(advised.clone(), &table(1000)).unwrap().cost.amount;
        let rate = table(0).price(haiku, advised.started_at).unwrap().standard.input;
        assert_eq!(cost, PicoUsd::from_tokens(1000, 70) + PicoUsd::from_tokens(rate, 40));
    }

    #[test]
    fn fingerprint_changes_with_a_price() {
        assert_eq!(table(1).fingerprint(), table(1).fingerprint());
        assert_ne!(table(1).fingerprint(), table(2).fingerprint());
    }

    proptest! {
        #[test]
        fn batches_contain_every_revision_once(
            drawn in prop::collection::vec((any::<u8>(), 0_u8..6), 0..120),
            actions_max in 6_usize..100,
            dropped in 0_usize..5,
        ) {
            let revise = |(number, key)| CostRevision::from_record(record(number, key), &table(7));
            let revisions: Vec<CostRevision> = drawn.into_iter().filter_map(revise).collect();
            let whole: PicoUsd = revisions.iter().map(CostRevision::difference).sum();
            let count = revisions.len();
            let all = batches(revisions, actions_max);
            prop_assert_eq!(all.iter().map(|batch| batch.revisions.len()).sum::<usize>(), count);
            prop_assert_eq!(all.iter().map(RevisionBatch::difference).sum::<PicoUsd>(), whole);
            for batch in all {
                prop_assert!(batch.revisions.len() + batch.sums.len() <= actions_max);
                let rest = batch.remove_positions(&[dropped]);
                let summed: PicoUsd = rest.sums.values().map(|sums| sums.cost).sum();
                prop_assert_eq!(summed.pico(), rest.difference().pico() * 5, "each of five rollups");
            }
        }
    }
}
