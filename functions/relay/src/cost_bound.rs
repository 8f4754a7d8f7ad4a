//! Computes the highest cost that a request can have on any account that can serve it.
//!
//! The cost factors are read from the body as each account would receive it, after translation if
//! the account speaks another protocol, because the upstream bills what it reads. Each different
//! body is read once, however many accounts would receive it. The prices come from
//! `baton_domain::price`.

use crate::authenticate::AuthenticatedKey;
use crate::body_facts::BodyFacts;
use crate::body_workers::{JobSize, READ_MEMORY_FACTOR, TRANSLATION_MEMORY_FACTOR};
use crate::client_response::RelayError;
use crate::request_conversion::plan_conversion;
use crate::{RelayState, RequestContext};
use baton_domain::cost_factors::{CostFactors, UnboundedField};
use baton_domain::cost_reduction::ReducedCosts;
use baton_domain::key::ReservationEstimate;
use baton_domain::model::find_mapped_model;
use baton_domain::model_capabilities::OutputBoundFields;
use baton_domain::money::PicoUsd;
use baton_domain::price::PriceTable;
use baton_domain::protocol::{ClientProtocol, UpstreamOperation, UpstreamProtocol};
use baton_domain::reservation::BlockReason;
use baton_domain::sold_price::{Seller, SoldPrices};
use baton_protocol::bedrock::unpriced_header;
use baton_protocol::cost_scan::{CostScanError, find_call_price, read_cost_factors};
use baton_providers::conversion::{CostVariant, DistinctBody, depends_on_model, distinct_bodies};
use baton_store::AccountPool;
use bytes::Bytes;
use jiff::Timestamp;
use std::sync::Arc;

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

/// The cost factors of a request in each different form in which accounts would receive it.
pub(crate) struct RequestForms {
    prices: Arc<PriceTable>,
    pricing: PricingContext,
    forms: Vec<PricedForm>,
    /// A header that has no price, if an account would receive one.
    unpriced: Option<UnboundedField>,
}

/// One form of a request, with its price.
struct PricedForm {
    /// Whose prices apply.
    seller: Seller,
    /// Whether it is the client's own form.
    is_own: bool,
    cost_factors: CostFactors,
    /// The model that the account would receive, and the model that was requested.
    models: [String; 2],
    /// The fields of a Chat request that bound the answer, if the account would receive the
    /// client's own.
    chat_bound: Option<OutputBoundFields>,
}

impl RequestForms {
    /// Computes the cost bound over all accounts that can serve the request. An account can map the
    /// model to a more expensive one, or read other fields. The client's own request counts at the
    /// prices of these accounts. If there are none, it counts at the usual price.
    pub(crate) fn bound_cost(&self) -> CostBound {
        let mut bound = CostBound::default();
        for form in &self.forms {
            let sold = form.sold(&self.prices);
            self.pricing.add_cost(sold, &mut bound, &form.cost_factors, &self.models(form));
            if form.is_own {
                bound.unbounded = None;
            }
        }
        bound.unbounded = bound.unbounded.or(self.unpriced.clone());
        bound
    }

    /// Returns a change that would make the `blocked` request fit, if there is one.
    pub(crate) fn find_cost_reduction(
        &self,
        protocol: ClientProtocol,
        client_factors: &CostFactors,
        blocked: &BlockReason,
    ) -> Option<String> {
        let (needed, available) = blocked.needed_and_room()?;
        let mut costs = ReducedCosts::default();
        for form in &self.forms {
            let (sold, models) = (form.sold(&self.prices), self.models(form));
            if let Some(bounds) = form.chat_bound {
                costs.note_bound_fields(bounds);
            }
            costs.add(&form.cost_factors, |reduced| {
                let each = models.iter().map(|model| self.pricing.estimate(sold, reduced, model));
                each.max().unwrap_or_default()
            });
        }
        costs.advice(needed, available, protocol, client_factors)
    }

    /// Chooses the models that set the price of a form: of the client's own form both, of another
    /// one the first whose price has a bound, as in the usage record. The account's own name for a
    /// model can be that of an inference profile or a deployment.
    fn models<'f>(&self, form: &'f PricedForm) -> Vec<&'f str> {
        let models = form.models.each_ref().map(String::as_str);
        if form.is_own {
            return models.to_vec();
        }
        let sold = form.sold(&self.prices);
        let is_bounded = |model: &&str| sold.has_price_bound(model, self.pricing.at);
        let [first, _] = models;
        vec![models.into_iter().find(is_bounded).unwrap_or(first)]
    }
}

impl PricedForm {
    fn sold<'p>(&'p self, prices: &'p PriceTable) -> SoldPrices<'p> {
        prices.sold_by(&self.seller)
    }
}

/// The forms of a request before their bodies are read.
#[derive(Default)]
struct UnreadForms {
    variants: Vec<CostVariant>,
    /// The seller of each variant.
    sellers: Vec<Seller>,
    unpriced: Option<UnboundedField>,
}

impl UnreadForms {
    fn add(&mut self, variant: CostVariant, seller: Seller) {
        let mut known = self.variants.iter().zip(&self.sellers);
        if !known.any(|form| form == (&variant, &seller)) {
            self.variants.push(variant);
            self.sellers.push(seller);
        }
    }
}

impl RelayState {
    /// Reads the cost factors of each different form in which accounts would receive the request.
    /// If the accounts cannot be read, only the client's own form counts, because then no account
    /// gets it.
    ///
    /// # Errors
    /// A translated body cannot be read.
    pub(crate) async fn read_request_forms(
        &self,
        request: &PricedRequest<'_>,
    ) -> Result<RequestForms, RelayError> {
        let PricedRequest { context, caller, facts, body, client_factors } = *request;
        let prices = self.store.prices.load().await;
        let pool = self.store.pools.get(&caller.key().group_id).await.ok().flatten();
        let model = facts.model.as_str();
        let alias =
            pool.as_ref().and_then(|pool| find_mapped_model(&pool.group.model_aliases, model));
        let aliased_model = alias.unwrap_or(model);
        let UnreadForms { variants, sellers, unpriced } =
            find_forms(&prices, context, facts, pool.as_deref(), aliased_model);
        let (bodies, indexes) = distinct_bodies(&variants, depends_on_model(body));
        let mut read_bodies = Vec::with_capacity(bodies.len());
        for distinct in &bodies {
            let read = Box::pin(self.read_distinct_body(request, distinct, bodies.len()));
            read_bodies.push(read.await?);
            // Each of many bodies can take milliseconds.
            tokio::task::yield_now().await;
        }
        let own = |seller| PricedForm {
            seller,
            is_own: true,
            cost_factors: client_factors.clone(),
            models: [model.to_owned(), aliased_model.to_owned()],
            chat_bound: None,
        };
        let mut forms: Vec<PricedForm> = distinct_sellers(&sellers).into_iter().map(own).collect();
        for ((variant, seller), index) in variants.iter().zip(sellers).zip(indexes) {
            // An account whose protocol cannot express the request is not called.
            let Some(Some(read)) = read_bodies.get(index) else { continue };
            let (bounds, models) =
                (variant.body.output_bound(), [variant.model.clone(), aliased_model.to_owned()]);
            let mut cost_factors = read.at_upstream(bounds);
            cost_factors.unbounded =
                cost_factors.unbounded.or_else(|| find_call_price(&variant.model));
            let chat_bound = (variant.body.upstream_protocol == UpstreamProtocol::Chat
                && !variant.body.is_translated())
            .then_some(bounds);
            let is_own = false;
            forms.push(PricedForm { seller, is_own, cost_factors, models, chat_bound });
        }
        Ok(RequestForms { prices, pricing: PricingContext::new(request), forms, unpriced })
    }

    /// Reads the cost factors of one of `count` different bodies. Returns `None` if the account's
    /// protocol cannot express the request.
    async fn read_distinct_body(
        &self,
        request: &PricedRequest<'_>,
        distinct: &DistinctBody<'_>,
        count: usize,
    ) -> Result<Option<CostFactors>, RelayError> {
        let key = &request.caller.key().id;
        let size =
            |memory_factor| JobSize::new(request.body.len(), memory_factor).of_several(count);
        let (variant, body) = (*distinct.variant, request.body.clone());
        let may_change = variant.is_translated() || {
            let scan = move || variant.may_change(&body);
            self.body_workers.run(key, size(READ_MEMORY_FACTOR), scan).await?
        };
        if !may_change {
            return Ok(Some(request.client_factors.clone()));
        }
        let (body, identity) = (request.body.clone(), request.context.identity());
        let (client_model, model) = (request.facts.model.clone(), distinct.model.to_owned());
        let (is_stream, protocol) = (request.facts.shape.is_stream, variant.upstream_protocol);
        let read = move || {
            let written = variant.write_body(&identity, &body, &client_model, &model, is_stream);
            written.map(|body| body.map(|body| read_cost_factors(&body, protocol)))
        };
        let read = self.body_workers.run(key, size(TRANSLATION_MEMORY_FACTOR), read).await?;
        match read {
            Ok(Some(read)) => read.map(Some).map_err(unreadable_body_error),
            Ok(None) => Ok(Some(request.client_factors.clone())),
            Err(_) => Ok(None),
        }
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

/// The sellers, each once. Without one, the seller of usual prices.
fn distinct_sellers(sellers: &[Seller]) -> Vec<Seller> {
    let mut distinct: Vec<Seller> = Vec::new();
    for seller in sellers {
        if !distinct.contains(seller) {
            distinct.push(seller.clone());
        }
    }
    if distinct.is_empty() {
        distinct.push(Seller::default());
    }
    distinct
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unreadable_body_error(error: CostScanError) -> RelayError {
    RelayError::bad_request(&error.to_string())
}

/// Finds the different forms in which the accounts of `pool` would receive the request as one for
/// `model`.
fn find_forms(
    prices: &PriceTable,
    context: &RequestContext,
    facts: &BodyFacts,
    pool: Option<&AccountPool>,
    model: &str,
) -> UnreadForms {
    let mut forms = UnreadForms::default();
    let Some(pool) = pool else { return forms };
    let operation = UpstreamOperation::Answer(context.protocol);
    let eligible = pool.candidates().eligible_by_settings(operation, model);
    for member in eligible.into_iter().filter_map(|index| pool.members.get(index)) {
        let seller = prices.seller_of(&member.account);
        let sold = prices.sold_by(&seller);
        let plan = plan_conversion(sold, facts.shape, &member.account, model, context.at);
        if plan.is_bedrock_pass_through() {
            forms.unpriced = forms.unpriced.or_else(|| unpriced_header(&context.head.headers));
        }
        forms.add(plan.cost_variant(&member.account, model), seller);
    }
    forms
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
