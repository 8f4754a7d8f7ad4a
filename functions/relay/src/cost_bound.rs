//! Computes the highest cost that a request can have on any account that can serve it.
//!
//! The cost factors are read from the body as each account would receive it, after translation if
//! the account speaks another protocol, because the upstream bills what it reads. The prices come
//! from `baton_domain::price`.

use crate::authenticate::AuthenticatedKey;
use crate::body_facts::BodyFacts;
use crate::body_workers::{JobSize, READ_MEMORY_FACTOR, TRANSLATION_MEMORY_FACTOR};
use crate::client_response::RelayError;
use crate::{RelayState, RequestContext};
use baton_domain::cost_factors::{CostFactors, UnboundedField};
use baton_domain::cost_reduction::ReducedCosts;
use baton_domain::key::ReservationEstimate;
use baton_domain::model::find_mapped_model;
use baton_domain::money::PicoUsd;
use baton_domain::price::PriceTable;
use baton_domain::protocol::UpstreamOperation;
use baton_domain::reservation::BlockReason;
use baton_domain::sold_price::{Seller, SoldPrices};
use baton_protocol::bedrock::unpriced_header;
use baton_protocol::cost_scan::{CostScanError, read_cost_factors};
use baton_providers::conversion::{ConversionPlan, CostVariant};
use baton_store::PoolMember;
use bytes::Bytes;
use jiff::Timestamp;

/// The cost bound of a request.
#[derive(Debug, Default)]
pub(crate) struct CostBound {
    /// The amount to reserve.
    pub(crate) estimate: PicoUsd,
    /// The highest cost, if no field is unbounded.
    pub(crate) max_cost: PicoUsd,
    /// The first field that makes the cost unknown.
    pub(crate) unbounded: Option<UnboundedField>,
}

/// A request whose cost is computed.
#[derive(Clone, Copy)]
pub(crate) struct PricedRequest<'a> {
    pub(crate) context: &'a RequestContext,
    pub(crate) caller: &'a AuthenticatedKey,
    pub(crate) facts: &'a BodyFacts,
    /// The body as the client sent it.
    pub(crate) body: &'a Bytes,
    /// The cost factors in that body.
    pub(crate) client_factors: &'a CostFactors,
}

impl RelayState {
    /// Computes the cost bound over all accounts that can serve the request. An account can map the
    /// model to a more expensive one, or read other fields. The client's own request counts at the
    /// prices of these accounts. If there are none, it counts at the usual price.
    ///
    /// # Errors
    /// A translated body cannot be read.
    pub(crate) async fn bound_request_cost(
        &self,
        request: &PricedRequest<'_>,
    ) -> Result<CostBound, RelayError> {
        let prices = self.store.prices.load().await;
        let pricing = PricingContext::new(request);
        let mut bound = CostBound::default();
        let add = |sold: SoldPrices<'_>, cost_factors: &CostFactors, models: &[&str], is_own| {
            let models = pricing.priced_models(sold, models, is_own);
            pricing.add_cost(sold, &mut bound, cost_factors, models);
            if is_own {
                bound.unbounded = None;
            }
        };
        let unpriced = self.for_each_request_form(&prices, request, add).await?;
        bound.unbounded = bound.unbounded.or(unpriced);
        Ok(bound)
    }

    /// Returns a change that would make the `blocked` request fit, if there is one. It reads the
    /// body again, but only for blocked requests.
    pub(crate) async fn find_cost_reduction(
        &self,
        request: &PricedRequest<'_>,
        blocked: &BlockReason,
    ) -> Option<String> {
        let (needed, available) = blocked.needed_and_room()?;
        let prices = self.store.prices.load().await;
        let pricing = PricingContext::new(request);
        let mut costs = ReducedCosts::default();
        let add = |sold: SoldPrices<'_>, cost_factors: &CostFactors, models: &[&str], is_own| {
            let models = pricing.priced_models(sold, models, is_own);
            costs.add(cost_factors, |reduced| {
                let each = models.iter().map(|model| pricing.estimate(sold, reduced, model));
                each.max().unwrap_or_default()
            });
        };
        self.for_each_request_form(&prices, request, add).await.ok()?;
        costs.advice(needed, available, request.context.protocol, request.client_factors)
    }

    /// Calls `add` with the client's own cost factors for each price list that applies, then with
    /// those of each different form in which accounts would receive the request, each with the model
    /// that it would receive and the model that was requested. Returns a header that has no price if
    /// an account would receive one.
    async fn for_each_request_form(
        &self,
        prices: &PriceTable,
        request: &PricedRequest<'_>,
        mut add: impl FnMut(SoldPrices<'_>, &CostFactors, &[&str], bool) + Send,
    ) -> Result<Option<UnboundedField>, RelayError> {
        let PricedRequest { context, caller, facts, body, client_factors } = *request;
        let pool = self.store.pools.get(&caller.key().group_id).await.ok().flatten();
        let model = facts.model.as_str();
        let alias =
            pool.as_ref().and_then(|pool| find_mapped_model(&pool.group.model_aliases, model));
        let aliased_model = alias.unwrap_or(model);
        let mut seen: Vec<(CostVariant, Seller)> = Vec::new();
        let mut unpriced = None;
        let operation = UpstreamOperation::Answer(context.protocol);
        let is_candidate = |member: &&PoolMember| {
            let account = &member.account;
            account.enabled
                && account.provider.serves(operation)
                && account.serves_model(aliased_model)
        };
        let members = pool.iter().flat_map(|pool| &pool.members).filter(is_candidate);
        for seller in distinct_sellers(prices, members.clone()) {
            add(prices.sold_by(&seller), client_factors, &[model, aliased_model], true);
        }
        for member in members {
            let seller = prices.seller_of(&member.account);
            let own = |model: &str| prices.sold_by(&seller).own_capabilities(model, context.at);
            let plan = ConversionPlan::new(facts.shape, &member.account, aliased_model, own);
            if plan.is_bedrock_pass_through() {
                unpriced = unpriced.or_else(|| unpriced_header(&context.head.headers));
            }
            let variant = plan.cost_variant(&member.account, aliased_model);
            let form = (variant, seller);
            if seen.contains(&form) {
                continue;
            }
            let (variant, sold) = (&form.0, prices.sold_by(&form.1));
            let is_stream = facts.shape.is_stream;
            match variant.translation(context.identity(), body, model, is_stream) {
                // The account receives the body unchanged.
                None => add(sold, client_factors, &[&variant.model, aliased_model], false),
                Some(translate) => {
                    let protocol = variant.upstream_protocol;
                    let read = move || {
                        translate().map(|translated| read_cost_factors(&translated, protocol))
                    };
                    // An account whose protocol cannot express the request is not called.
                    let size = JobSize::new(body.len(), TRANSLATION_MEMORY_FACTOR);
                    let read = self.body_workers.run(&caller.key().id, size, read);
                    if let Ok(cost_factors) = Box::pin(read).await? {
                        add(
                            sold,
                            &cost_factors.map_err(unreadable_body_error)?,
                            &[&variant.model, aliased_model],
                            false,
                        );
                    }
                }
            }
            seen.push(form);
        }
        Ok(unpriced)
    }

    /// Reads the cost factors of the client's body as it was sent.
    pub(crate) async fn read_client_cost_factors(
        &self,
        request: &RequestContext,
        caller: &AuthenticatedKey,
        body: &Bytes,
    ) -> Result<CostFactors, RelayError> {
        let (protocol, body) = (request.protocol.body_protocol(), body.clone());
        let size = JobSize::new(body.len(), READ_MEMORY_FACTOR);
        let read = move || read_cost_factors(&body, protocol);
        self.body_workers.run(&caller.key().id, size, read).await?.map_err(unreadable_body_error)
    }
}

/// The sellers of the accounts, each once. Without an account, the one of usual prices.
fn distinct_sellers<'a>(
    prices: &PriceTable,
    members: impl Iterator<Item = &'a PoolMember>,
) -> Vec<Seller> {
    let mut sellers = Vec::new();
    for member in members {
        let seller = prices.seller_of(&member.account);
        if !sellers.contains(&seller) {
            sellers.push(seller);
        }
    }
    if sellers.is_empty() {
        sellers.push(Seller::default());
    }
    sellers
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unreadable_body_error(error: CostScanError) -> RelayError {
    RelayError::bad_request(&error.to_string())
}

#[derive(Clone, Copy)]
struct PricingContext {
    estimate: ReservationEstimate,
    at: Timestamp,
}

impl PricingContext {
    fn new(request: &PricedRequest<'_>) -> Self {
        Self { estimate: request.caller.key().estimate, at: request.context.at }
    }

    /// Returns the amount to reserve for these cost factors.
    fn estimate(self, sold: SoldPrices<'_>, cost_factors: &CostFactors, model: &str) -> PicoUsd {
        match self.estimate {
            ReservationEstimate::Most => sold.highest_cost(cost_factors, model, self.at).amount,
            ReservationEstimate::Expected => sold.expected(cost_factors, model, self.at),
        }
    }

    /// Chooses the models that set the price: both the requested one and the one it stands for. Of
    /// an account's own name for a model (an inference profile, a deployment) and the model that it
    /// was requested as, the first one whose price has a bound counts, as in the usage record.
    fn priced_models<'m>(
        self,
        sold: SoldPrices<'_>,
        models: &'m [&'m str],
        is_own: bool,
    ) -> &'m [&'m str] {
        let is_bounded = |model: &&str| sold.has_price_bound(model, self.at);
        let at = models.iter().position(is_bounded).unwrap_or_default();
        if is_own { models } else { models.get(at..=at).unwrap_or(models) }
    }

    /// Raises the bound to the cost of these factors for each of the models.
    fn add_cost(
        self,
        sold: SoldPrices<'_>,
        bound: &mut CostBound,
        cost_factors: &CostFactors,
        models: &[&str],
    ) {
        for model in models {
            let max_cost = sold.highest_cost(cost_factors, model, self.at).amount;
            let estimate = self.estimate(sold, cost_factors, model);
            bound.max_cost = bound.max_cost.max(max_cost);
            bound.estimate = bound.estimate.max(estimate);
            let unbounded = || sold.unbounded(cost_factors, model, self.at);
            bound.unbounded = bound.unbounded.take().or_else(unbounded);
        }
    }
}
