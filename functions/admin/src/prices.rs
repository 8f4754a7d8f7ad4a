//! `/prices`: built-in prices and own prices of the operator, by model and date.
//! `domain::own_price` defines how they combine.

use crate::admin_request::{AdminRequest, AuditNote};
use crate::api_response::{ApiError, ApiResult, Created, NoContent};
use crate::query::{bound, contains_ignoring_case, page_cursor, page_limit};
use crate::request_parts::{JsonBody, QueryParameters, ResourceId};
use crate::{AdminState, SharedAdminState};
use axum::Json;
use axum::extract::State;
use baton_api::list::{PageQuery, ResourceList};
use baton_api::prices::{
    NewPrice, PriceFilter, PriceResource, PriceSelector, PriceSource, PricedModel,
};
use baton_domain::account::Account;
use baton_domain::model::ModelPattern;
use baton_domain::model_catalog;
use baton_domain::own_price::{OwnPrice, PriceId, split_account_price};
use baton_domain::price::{ModelPrice, PriceTable};
use baton_domain::vendor::Vendor;
use baton_store::{ConfigEdit, StoreError, StoredEntity};
use jiff::Timestamp;
use std::collections::BTreeMap;

fn own_price_resource(stored: &StoredEntity<OwnPrice>) -> PriceResource {
    PriceResource::from_price(&stored.value.id.model, &stored.value.price, PriceSource::Own)
}

pub(crate) async fn list_prices(
    State(state): SharedAdminState,
    QueryParameters(paging): QueryParameters<PageQuery>,
    QueryParameters(filter): QueryParameters<PriceFilter>,
) -> ApiResult<Json<ResourceList<PriceResource>>> {
    let (limit, text) = (usize::from(page_limit(&paging)?), filter.q.to_lowercase());
    let after = page_cursor(&paging).map(read_cursor).transpose()?;
    let rows = state.price_rows(|model| contains_ignoring_case(model, &text)).await?;
    let mut rows = rows.into_iter().filter(|(place, _)| Some(place) > after.as_ref());
    let page: Vec<((String, Timestamp), PriceResource)> = rows.by_ref().take(limit).collect();
    let last = page.last().filter(|_| rows.next().is_some());
    let next_cursor = last.map(|((model, from), _)| format!("{model}@{from}"));
    let data = page.into_iter().map(|(_, view)| view).collect();
    Ok(Json(ResourceList { data, next_cursor }))
}

fn read_cursor(text: &str) -> ApiResult<(String, Timestamp)> {
    let (model, from) = text.rsplit_once('@').ok_or(StoreError::BadCursor)?;
    Ok((model.to_owned(), from.parse().map_err(|_| StoreError::BadCursor)?))
}

pub(crate) async fn get_price(
    State(state): SharedAdminState,
    ResourceId(PricedModel(model)): ResourceId<PricedModel>,
) -> ApiResult<Json<ResourceList<PriceResource>>> {
    let rows = state.price_rows(|one| one == model).await?;
    if rows.is_empty() {
        return Err(ApiError::not_found(format!("a price for {}", shorten_text(&model))));
    }
    Ok(Json(ResourceList { data: rows.into_values().collect(), next_cursor: None }))
}

pub(crate) async fn create_price(
    State(state): SharedAdminState,
    request: AdminRequest,
    JsonBody(new): JsonBody<NewPrice>,
) -> ApiResult<Created<PriceResource>> {
    let mut name = model(new.model.clone())?;
    if let Some(account) = &new.account_id {
        if state.store.config.read::<Account>(account).await?.is_none() {
            return Err(ApiError::bad("`account_id`: no account has this id"));
        }
        name = format!("{}/{name}", account.as_str());
    }
    let id = PriceId { model: name, from: state.start(new.effective_from.as_deref())? };
    if state.store.config.read::<OwnPrice>(&id).await?.is_some() {
        let PriceId { model, from } = id;
        let message = format!("{model} already has a price from {from}; delete that price first");
        return Err(ApiError::conflict(message));
    }
    let now = state.store.clock().now();
    // The time of creation distinguishes prices that were set one after another for the same day.
    let price = new.price(id.from, format!("own-{now:.3}")).ok_or_else(|| {
        ApiError::bad("`standard`: expected rates, or a `multiplier` for an `account_id`")
    })?;
    let stored = state.store.editor.new_stored(OwnPrice { id, price }, None);
    let (mut edit, view) = (ConfigEdit::default(), own_price_resource(&stored));
    state.store.editor.save_price(&mut edit, &stored)?;
    let note = AuditNote::created(&stored.value.id, &view);
    state.commit_change(&request, edit, note, Created::new(&view)?).await
}

/// The models of the catalog and those for which a price was set, by vendor and name. A price that
/// was set stands in place of the list price.
pub(crate) async fn list_models(
    State(state): SharedAdminState,
    QueryParameters(paging): QueryParameters<PageQuery>,
    QueryParameters(filter): QueryParameters<PriceFilter>,
) -> ApiResult<Json<ResourceList<PriceResource>>> {
    let (limit, text) = (usize::from(page_limit(&paging)?), filter.q.to_lowercase());
    let after = page_cursor(&paging).unwrap_or_default();
    let is_wanted = |name: &str| name > after && contains_ignoring_case(name, &text);
    let mut rows: BTreeMap<String, PriceResource> = BTreeMap::new();
    for row in catalog_rows().filter(|row| is_wanted(&row.model)) {
        rows.insert(row.model.clone(), row);
    }
    let now = state.store.clock().now();
    for row in state.own_rows().await?.into_iter().filter(|row| is_wanted(&row.model)) {
        // The rows of a model are in the order of their dates. Prices of an account are not listed.
        let is_current = row.effective_from <= now || !rows.contains_key(&row.model);
        if is_current && row.multiplier.is_none() && split_account_price(&row.model).is_none() {
            rows.insert(row.model.clone(), row);
        }
    }
    let mut rows = rows.into_values();
    let data: Vec<_> = rows.by_ref().take(limit).collect();
    let next_cursor = data.last().filter(|_| rows.len() > 0).map(|row| row.model.clone());
    Ok(Json(ResourceList { data, next_cursor }))
}

/// The entries of a model, at every vendor if the name has none, after the prices that were set.
pub(crate) async fn get_model(
    State(state): SharedAdminState,
    ResourceId(PricedModel(model)): ResourceId<PricedModel>,
) -> ApiResult<Json<ResourceList<PriceResource>>> {
    let is_named = |row: &PriceResource| {
        let rest = row.model.split_once('/').map_or("", |(_, rest)| rest);
        row.model.eq_ignore_ascii_case(&model) || rest.eq_ignore_ascii_case(&model)
    };
    let own = state.own_rows().await?;
    let data: Vec<_> = own.into_iter().chain(catalog_rows()).filter(is_named).collect();
    if data.is_empty() {
        return Err(ApiError::not_found(format!("a model {}", shorten_text(&model))));
    }
    Ok(Json(ResourceList { data, next_cursor: None }))
}

fn catalog_rows() -> impl Iterator<Item = PriceResource> {
    let now = Timestamp::MAX;
    model_catalog::entries().map(move |(vendor, model, price)| {
        let name = format!("{}/{model}", vendor.as_str());
        // The built-in prices of Claude models are newer than the catalog's.
        let price = if vendor == Vendor::Anthropic {
            let capabilities = price.capabilities;
            let newer = PriceTable::builtin().price(model, now).unwrap_or(price);
            ModelPrice { capabilities, ..newer }
        } else {
            price
        };
        PriceResource::from_price(&name, &price, PriceSource::Catalog)
    })
}

pub(crate) async fn delete_price(
    State(state): SharedAdminState,
    request: AdminRequest,
    ResourceId(PricedModel(model)): ResourceId<PricedModel>,
    QueryParameters(which): QueryParameters<PriceSelector>,
) -> ApiResult<NoContent> {
    let parsed = self::model(model.clone());
    let no_such_model =
        |_| ApiError::not_found(format!("an own price for {}", shorten_text(&model)));
    let id = PriceId {
        model: parsed.map_err(no_such_model)?,
        from: state.start(Some(&which.effective_from))?,
    };
    let unknown =
        || ApiError::not_found(format!("an own price for {}", shorten_text(&id.to_string())));
    let stored = state.store.config.read::<OwnPrice>(&id).await?.ok_or_else(unknown)?;
    request.check_version(&stored)?;
    let mut edit = ConfigEdit::default();
    state.store.editor.remove_price(&mut edit, &stored);
    let note = AuditNote::deleted(&stored.value.id, &own_price_resource(&stored));
    state.commit_change(&request, edit, note, NoContent::new(&())?).await
}

fn shorten_text(text: &str) -> String {
    text.chars().take(300).collect()
}

/// Checks a model id, which is a pattern without `*`.
fn model(text: String) -> ApiResult<String> {
    let literal = ModelPattern::new(text).ok().filter(ModelPattern::is_literal);
    let invalid = || {
        ApiError::bad("`model`: expected a model id of 1 to 256 printable characters without `*`")
    };
    literal.map(|id| id.as_str().to_owned()).ok_or_else(invalid)
}

impl AdminState {
    /// The start of a price in whole seconds; by default now.
    fn start(&self, text: Option<&str>) -> ApiResult<Timestamp> {
        let at = text.map_or_else(
            || Ok(self.store.clock().now()),
            |text| {
                bound(text, false).map_err(|_| {
                ApiError::bad(
                    "`effective_from`: expected a time like 2026-11-22T21:00:00Z or a day like 2026-11-22",
                )
            })
            },
        )?;
        Ok(Timestamp::from_second(at.as_second()).unwrap_or(at))
    }

    /// The prices that were set, by model and date.
    async fn own_rows(&self) -> ApiResult<Vec<PriceResource>> {
        let own = self.store.prices.own_prices().await?;
        let mut rows: Vec<PriceResource> = own.iter().map(own_price_resource).collect();
        rows.sort_by(|one, other| {
            (&one.model, one.effective_from).cmp(&(&other.model, other.effective_from))
        });
        Ok(rows)
    }

    /// The prices of the wanted models, by model and date.
    async fn price_rows(
        &self,
        wants: impl Fn(&str) -> bool,
    ) -> ApiResult<BTreeMap<(String, Timestamp), PriceResource>> {
        let mut rows = BTreeMap::new();
        for (model, prices) in PriceTable::builtin().models().filter(|(model, _)| wants(model)) {
            for price in prices {
                let view = PriceResource::from_price(model, price, PriceSource::Builtin);
                rows.insert((model.to_owned(), price.from), view);
            }
        }
        for row in self.own_rows().await?.into_iter().filter(|row| wants(&row.model)) {
            rows.insert((row.model.clone(), row.effective_from), row);
        }
        Ok(rows)
    }
}
