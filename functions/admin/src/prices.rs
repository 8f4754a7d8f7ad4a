//! `/prices`: built-in prices and own prices of the operator, by model and date.
//! `domain::own_price` defines how they combine.

use crate::admin_request::{AdminRequest, AuditNote};
use crate::api_response::{ApiError, ApiResponse, ApiResult, body};
use crate::query::{PageQuery, bound, contains_ignoring_case};
use crate::{AdminState, SharedAdminState};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use baton_domain::model::ModelPattern;
use baton_domain::money::PicoUsd;
use baton_domain::own_price::{OwnPrice, PriceId};
use baton_domain::price::{LongPromptRates, ModelPrice, PriceTable, TokenRates};
use baton_store::{ConfigEdit, StoreError, StoredEntity};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The highest accepted price: a million dollars per million tokens. Anything above is a typing
/// error.
const MICROS_MAX: u64 = 1_000_000_000_000;
const MICROS: u64 = 1_000_000;

/// US dollars per million tokens, written with six decimal places.
#[derive(Clone, Copy)]
struct UsdPerMillion(u64);

impl Serialize for UsdPerMillion {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(&format_args!("{}.{:06}", self.0 / MICROS, self.0 % MICROS))
    }
}

impl<'de> Deserialize<'de> for UsdPerMillion {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let pico = PicoUsd::deserialize(input)?.pico();
        let micros = (pico % i128::from(MICROS) == 0).then_some(pico / i128::from(MICROS));
        let micros = micros.and_then(|micros| u64::try_from(micros).ok());
        micros.filter(|micros| *micros <= MICROS_MAX).map(Self).ok_or_else(|| {
            serde::de::Error::custom(
                "expected US dollars per million tokens, such as \"2.50\", with at most six decimal places",
            )
        })
    }
}

/// [`TokenRates`] in US dollars per million tokens.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UsdRates {
    input: UsdPerMillion,
    output: UsdPerMillion,
    cache_read: UsdPerMillion,
    cache_write_5m: UsdPerMillion,
    cache_write_1h: UsdPerMillion,
}

impl From<TokenRates> for UsdRates {
    fn from(rates: TokenRates) -> Self {
        Self {
            input: UsdPerMillion(rates.input),
            output: UsdPerMillion(rates.output),
            cache_read: UsdPerMillion(rates.cache_read),
            cache_write_5m: UsdPerMillion(rates.cache_write_5m),
            cache_write_1h: UsdPerMillion(rates.cache_write_1h),
        }
    }
}

impl From<UsdRates> for TokenRates {
    fn from(usd: UsdRates) -> Self {
        Self {
            input: usd.input.0,
            output: usd.output.0,
            cache_read: usd.cache_read.0,
            cache_write_5m: usd.cache_write_5m.0,
            cache_write_1h: usd.cache_write_1h.0,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UsdLongPromptRates {
    prompt_tokens: u64,
    rates: UsdRates,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPrice {
    model: String,
    effective_from: Option<String>,
    standard: UsdRates,
    fast: Option<UsdRates>,
    above: Option<UsdLongPromptRates>,
    #[serde(default)]
    us_geo: bool,
}

/// `?effective_from=`
#[derive(Deserialize)]
pub(crate) struct PriceSelector {
    effective_from: String,
}

/// `?q=`
#[derive(Deserialize)]
pub(crate) struct PriceFilter {
    #[serde(default)]
    q: String,
}

fn price_json(model: &str, price: &ModelPrice, source: &str) -> Value {
    let above = price.above.map(|above| UsdLongPromptRates {
        prompt_tokens: above.prompt_tokens,
        rates: above.rates.into(),
    });
    json!({
        "model": model, "effective_from": price.from, "source": source,
        "standard": UsdRates::from(price.standard), "fast": price.fast.map(UsdRates::from),
        "above": above, "us_geo": price.us_geo, "price_version": price.version,
    })
}

fn own_price_json(stored: &StoredEntity<OwnPrice>) -> Value {
    price_json(&stored.value.id.model, &stored.value.price, "own")
}

pub(crate) async fn list_prices(
    State(office): SharedAdminState,
    Query(paging): Query<PageQuery>,
    Query(filter): Query<PriceFilter>,
) -> ApiResult<Json<Value>> {
    let (limit, text) = (usize::from(paging.limit()?), filter.q.to_lowercase());
    let after = paging.cursor().map(read_cursor).transpose()?;
    let rows = office.price_rows(|model| contains_ignoring_case(model, &text)).await?;
    let mut rows = rows.into_iter().filter(|(place, _)| Some(place) > after.as_ref());
    let page: Vec<((String, Timestamp), Value)> = rows.by_ref().take(limit).collect();
    let last = page.last().filter(|_| rows.next().is_some());
    let next_cursor = last.map(|((model, from), _)| format!("{model}@{from}"));
    let data: Vec<Value> = page.into_iter().map(|(_, view)| view).collect();
    Ok(Json(json!({ "data": data, "next_cursor": next_cursor })))
}

fn read_cursor(text: &str) -> ApiResult<(String, Timestamp)> {
    let (model, from) = text.rsplit_once('@').ok_or(StoreError::BadCursor)?;
    Ok((model.to_owned(), from.parse().map_err(|_| StoreError::BadCursor)?))
}

pub(crate) async fn get_price(
    State(office): SharedAdminState,
    Path(model): Path<String>,
) -> ApiResult<Json<Value>> {
    let rows = office.price_rows(|one| one == model).await?;
    if rows.is_empty() {
        return Err(ApiError::not_found(format!("a price for {}", shorten_text(&model))));
    }
    Ok(Json(json!({ "data": rows.into_values().collect::<Vec<_>>(), "next_cursor": null })))
}

pub(crate) async fn create_price(
    State(office): SharedAdminState,
    visit: AdminRequest,
    bytes: Bytes,
) -> ApiResult {
    let new: NewPrice = body(&bytes)?;
    let id =
        PriceId { model: model(new.model)?, from: office.start(new.effective_from.as_deref())? };
    if office.store.read::<OwnPrice>(&id).await?.is_some() {
        let PriceId { model, from } = id;
        let message = format!("{model} already has a price from {from}; delete that price first");
        return Err(ApiError::conflict(message));
    }
    let now = office.store.clock().now();
    let price = ModelPrice {
        from: id.from,
        standard: new.standard.into(),
        fast: new.fast.map(TokenRates::from),
        above: new.above.map(|above| LongPromptRates {
            prompt_tokens: above.prompt_tokens,
            rates: above.rates.into(),
        }),
        us_geo: new.us_geo,
        // The time of creation distinguishes prices that were set one after another for the same
        // day.
        version: format!("own-{now:.3}"),
    };
    let stored = office.store.new_stored(OwnPrice { id, price }, None);
    let (mut edit, view) = (ConfigEdit::default(), own_price_json(&stored));
    office.store.save_price(&mut edit, &stored)?;
    let note = AuditNote::created(&stored.value.id, &view);
    office.commit_change(&visit, edit, note, ApiResponse::created(view)).await
}

pub(crate) async fn delete_price(
    State(office): SharedAdminState,
    visit: AdminRequest,
    Path(model): Path<String>,
    Query(which): Query<PriceSelector>,
) -> ApiResult {
    let parsed = self::model(model.clone());
    let no_such_model =
        |_| ApiError::not_found(format!("an own price for {}", shorten_text(&model)));
    let id = PriceId {
        model: parsed.map_err(no_such_model)?,
        from: office.start(Some(&which.effective_from))?,
    };
    let unknown =
        || ApiError::not_found(format!("an own price for {}", shorten_text(&id.to_string())));
    let stored = office.store.read::<OwnPrice>(&id).await?.ok_or_else(unknown)?;
    visit.check_version(&stored)?;
    let mut edit = ConfigEdit::default();
    office.store.remove_price(&mut edit, &stored);
    let note = AuditNote::deleted(&stored.value.id, own_price_json(&stored));
    office.commit_change(&visit, edit, note, ApiResponse::no_content()).await
}

fn shorten_text(text: &str) -> String {
    text.chars().take(300).collect()
}

/// Checks a model id, which is a pattern without `*`.
fn model(text: String) -> ApiResult<String> {
    let literal = ModelPattern::new(text).ok().filter(ModelPattern::is_literal);
    let bad = || {
        ApiError::bad("`model`: expected a model id of 1 to 256 printable characters without `*`")
    };
    literal.map(|id| id.as_str().to_owned()).ok_or_else(bad)
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

    /// The prices of the wanted models, by model and date.
    async fn price_rows(
        &self,
        wants: impl Fn(&str) -> bool,
    ) -> ApiResult<BTreeMap<(String, Timestamp), Value>> {
        let mut rows = BTreeMap::new();
        for (model, prices) in PriceTable::builtin().models().filter(|(model, _)| wants(model)) {
            for price in prices {
                rows.insert((model.to_owned(), price.from), price_json(model, price, "builtin"));
            }
        }
        for stored in self.store.own_prices().await? {
            let PriceId { model, from } = stored.value.id.clone();
            if wants(&model) {
                rows.insert((model, from), own_price_json(&stored));
            }
        }
        Ok(rows)
    }
}
