//! `/overview`: all data of the console's first page, in two round trips and four store calls for
//! up to a hundred accounts. A request with a session needs one call more, and so do accounts with
//! tokens that Baton renews. Details come from summaries.

use crate::SharedAdminState;
use crate::api_response::ApiResult;
use crate::summary::measures;
use axum::Json;
use axum::extract::State;
use baton_api::list::PageQuery;
use baton_api::overview::{DayMeasures, KeyMeasures, ModelMeasures, Overview};
use baton_domain::account::Account;
use baton_domain::id::{AccountId, KeyId};
use baton_domain::rollup::{UsageSums, UtcHour};
use baton_store::DaySumKey;
use jiff::{SignedDuration, Timestamp};
use std::cmp::Reverse;

const DAYS: i64 = 30;
/// The number of most expensive keys and models in the answer.
const TOP: usize = 10;

pub(crate) async fn get_overview(State(state): SharedAdminState) -> ApiResult<Json<Overview>> {
    let now = state.store.clock().now();
    let days: Vec<String> = (0..DAYS).rev().map(|ago| day(now, ago)).collect();
    let today = days.last().cloned().unwrap_or_default();
    let paging = PageQuery { limit: Some(1000), cursor: None };
    let all = |_: &Account| true;
    let (accounts, parts) =
        futures_util::try_join!(state.list_page::<Account>(&paging, false, &all), async {
            Ok(state.store.rollups.read_day_sums(&today).await?)
        },)?;

    let (mut keys, mut models) = (Vec::new(), Vec::new());
    for (part, sums) in parts {
        match part {
            DaySumKey::Key(id) => keys.push((id, sums)),
            DaySumKey::Model(model) => models.push((model, sums)),
        }
    }
    let keys_active = keys.len();
    keep_most_expensive(&mut keys);
    keep_most_expensive(&mut models);

    let ids: Vec<AccountId> = accounts.data.iter().map(|one| one.value.id.clone()).collect();
    let named: Vec<KeyId> = keys.iter().map(|(id, _)| id.clone()).collect();
    let snapshot = state.store.overview.read(&days, &ids, &named).await?;
    let tokens = state.accounts_with_token(&accounts.data).await?;
    let days = days.into_iter().map(|day| {
        let sums = snapshot.days.get(&day).copied().unwrap_or_default();
        DayMeasures { day, measures: measures(&sums) }
    });
    let keys = keys.into_iter().map(|(key_id, sums)| {
        let name = snapshot.keys.get(&key_id).map(|key| key.value.name.clone());
        KeyMeasures { key_id, name, measures: measures(&sums) }
    });
    let models =
        models.into_iter().map(|(model, sums)| ModelMeasures { model, measures: measures(&sums) });
    Ok(Json(Overview {
        as_of: now,
        days: days.collect(),
        models: models.collect(),
        keys: keys.collect(),
        keys_active,
        accounts: accounts
            .data
            .iter()
            .map(|one| state.account_resource(one, None, Some(&tokens)))
            .collect(),
    }))
}

/// The UTC day `ago` days before `now`.
fn day(now: Timestamp, ago: i64) -> String {
    let then = now.saturating_sub(SignedDuration::from_hours(24 * ago)).unwrap_or(now);
    UtcHour::from_timestamp(then).day().to_owned()
}

/// Keeps the most expensive rows, most expensive first; equal costs are sorted by requests.
fn keep_most_expensive<T: Ord + Clone>(rows: &mut Vec<(T, UsageSums)>) {
    rows.sort_by_key(|(of, sums)| (Reverse((sums.cost, sums.requests)), of.clone()));
    rows.truncate(TOP);
}
