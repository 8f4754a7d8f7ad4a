//! The most that a request can cost on any of the accounts that may get it.
//!
//! It is read from the body as each account would be sent it, translated where that account speaks
//! another dialect: what counts is what the upstream reads. Prices are `domain::demand`'s business.

use crate::apart::run_apart;
use crate::authenticate::Caller;
use crate::reply::Refusal;
use crate::speak::{Sent, Speech};
use crate::{Asked, Means};
use baton_cloud::store::PoolMember;
use baton_domain::demand::{Demand, Unbounded};
use baton_domain::key::Estimate;
use baton_domain::model::map;
use baton_domain::money::PicoUsd;
use baton_domain::price::PriceTable;
use baton_domain::protocol::Want;
use baton_domain::reduction::ReducedCosts;
use baton_domain::reservation::Blocked;
use baton_wire::bedrock::unpriced_header;
use baton_wire::demand::{Unreadable, read};
use baton_wire::envelope::Envelope;
use bytes::Bytes;
use jiff::Timestamp;

/// What a request may cost.
#[derive(Debug, Default)]
pub(crate) struct Bound {
    /// What is reserved for it.
    pub(crate) estimate: PicoUsd,
    /// The most that it can cost, unless a field has no bound.
    pub(crate) most: PicoUsd,
    /// The first field that has none.
    pub(crate) unbounded: Option<Unbounded>,
}

impl Means {
    /// What the request may cost on any of the accounts that may get it: they may map its model to
    /// a dearer one, or read other fields of it. Where none can be read, no account gets it.
    pub(crate) async fn bound(
        &self,
        asked: &Asked,
        caller: &Caller,
        envelope: &Envelope<'_>,
        (body, own): (&Bytes, &Demand),
    ) -> Result<Bound, Refusal> {
        let prices = self.store.prices().await;
        let pricing = Pricing { prices: &prices, estimate: caller.key().estimate, at: asked.at };
        let mut bound = Bound::default();
        let add = |demand: &Demand, models: &[&str], is_own| {
            pricing.add(&mut bound, demand, models);
            if is_own {
                bound.unbounded = None;
            }
        };
        let unpriced = self.each_demand(asked, caller, envelope, (body, own), add).await?;
        bound.unbounded = bound.unbounded.or(unpriced);
        Ok(bound)
    }

    /// What would make the request fit where it is `blocked`: only changes that do. The body is read once
    /// more, and by no request that is served.
    pub(crate) async fn advice(
        &self,
        asked: &Asked,
        caller: &Caller,
        envelope: &Envelope<'_>,
        (body, own): (&Bytes, &Demand),
        blocked: &Blocked,
    ) -> Option<String> {
        let amounts = blocked.needed_and_room()?;
        let prices = self.store.prices().await;
        let pricing = Pricing { prices: &prices, estimate: caller.key().estimate, at: asked.at };
        let mut costs = ReducedCosts::default();
        let add = |demand: &Demand, models: &[&str], _| {
            costs.add(demand, |demand| {
                let each = models.iter().map(|model| pricing.estimate(demand, model));
                each.max().unwrap_or_default()
            });
        };
        self.each_demand(asked, caller, envelope, (body, own), add).await.ok()?;
        costs.advice(amounts, asked.protocol, own)
    }

    /// Shows `add` the client's own demand, then what each account would be sent, with the models that
    /// may run. Returns the header, if one of the accounts would be sent one that has no price.
    async fn each_demand(
        &self,
        asked: &Asked,
        caller: &Caller,
        envelope: &Envelope<'_>,
        (body, own): (&Bytes, &Demand),
        mut add: impl FnMut(&Demand, &[&str], bool) + Send,
    ) -> Result<Option<Unbounded>, Refusal> {
        let pool = self.store.pool(&caller.key().group_id).await.ok().flatten();
        let model = envelope.model.as_ref();
        let alias = pool.as_ref().and_then(|pool| map(&pool.group.model_aliases, model));
        let named = alias.unwrap_or(model);
        add(own, &[model, named], true);
        let mut seen: Vec<Sent> = Vec::new();
        let mut unpriced = None;
        let want = Want::Answer(asked.protocol);
        let may_get = |member: &&PoolMember| {
            let account = &member.account;
            let is_kind = baton_domain::protocol::serves(account.provider, want);
            account.enabled && is_kind && account.serves(named)
        };
        let members = pool.iter().flat_map(|pool| &pool.members).filter(may_get);
        for member in members {
            let speech = Speech::between(asked, envelope.stream, &member.account);
            if speech == Speech::Bedrock {
                unpriced = unpriced.or_else(|| unpriced_header(&asked.head.headers));
            }
            let sent = speech.sent(asked, member, named);
            if seen.contains(&sent) {
                continue;
            }
            match sent.translation(asked, &member.account, body, envelope) {
                // Sent as it came: it reads what the client wrote.
                None => add(own, &[&sent.model], false),
                Some(translate) => {
                    let reads = sent.reads;
                    let read = move || translate().map(|translated| read(&translated, reads));
                    // An account whose protocol cannot express the request is not asked.
                    if let Ok(demand) = Box::pin(run_apart(body.len(), read)).await? {
                        add(&demand.map_err(unreadable)?, &[&sent.model], false);
                    }
                }
            }
            seen.push(sent);
        }
        Ok(unpriced)
    }
}

/// The client's own words, read for what they may cost.
pub(crate) async fn own_demand(asked: &Asked, body: &Bytes) -> Result<Demand, Refusal> {
    let (reads, body) = (Speech::reads_of(asked.protocol), body.clone());
    run_apart(body.len(), move || read(&body, reads)).await?.map_err(unreadable)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unreadable(error: Unreadable) -> Refusal {
    Refusal::bad_request(&error.to_string())
}

struct Pricing<'a> {
    prices: &'a PriceTable,
    estimate: Estimate,
    at: Timestamp,
}

impl Pricing<'_> {
    /// What is reserved for a demand.
    fn estimate(&self, demand: &Demand, model: &str) -> PicoUsd {
        match self.estimate {
            Estimate::Most => self.prices.estimate(demand, model, self.at).amount,
            Estimate::Expected => self.prices.expected(demand, model, self.at),
        }
    }

    /// Adds what a demand costs at the price of any of these models.
    fn add(&self, bound: &mut Bound, demand: &Demand, models: &[&str]) {
        for model in models {
            let most = self.prices.estimate(demand, model, self.at).amount;
            let estimate = self.estimate(demand, model);
            bound.most = bound.most.max(most);
            bound.estimate = bound.estimate.max(estimate);
            let unbounded = || self.prices.unbounded(demand, model, self.at);
            bound.unbounded = bound.unbounded.take().or_else(unbounded);
        }
    }
}
