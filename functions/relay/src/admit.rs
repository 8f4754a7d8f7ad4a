//! Whether a request may go on: its key's limits, reserved against before an upstream is called.
//!
//! Which limit blocks is `domain::reservation`'s business, how that is made atomic the store's. A
//! key without limits causes no write. The record settles what is reserved here (`settle`).

use crate::authenticate::Caller;
use crate::reply::Refusal;
use crate::{Asked, Means};
use baton_cloud::settings::OnOutage;
use baton_cloud::store::{Admission, StoreError};
use baton_domain::id::{KeyId, RequestId};
use baton_domain::key::Limits;
use baton_domain::limit::{Period, utilization};
use baton_domain::model::map;
use baton_domain::money::PicoUsd;
use baton_domain::price::Ask;
use baton_domain::reservation::{Counted, Reservation};
use baton_wire::envelope::Envelope;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use std::time::Duration;

/// A request's place among what is counted against its key.
pub(crate) struct Reserved {
    key: KeyId,
    id: RequestId,
    pub(crate) reservation: Reservation,
    /// What was counted when it was admitted.
    counted: Counted,
}

impl Means {
    /// Reserves the most that the request can cost, for as long as it can take (`time`). Answers
    /// nothing where nothing is limited.
    ///
    /// # Errors
    /// The refusal of the limit that stands against it.
    pub(crate) async fn admit(
        &self,
        asked: &Asked,
        caller: &Caller,
        (envelope, body_bytes): (&Envelope<'_>, usize),
        time: Duration,
    ) -> Result<Option<Reserved>, Refusal> {
        let key = caller.key();
        if !key.limits.any() {
            return Ok(None);
        }
        let ask = Ask {
            model: &envelope.model,
            body_bytes: body_bytes as u64,
            max_tokens: envelope.max_tokens,
            fast: envelope.fast,
        };
        let seconds = (time + self.reservation_margin).as_secs() + 1;
        let reservation = Reservation {
            estimate: self.estimate(caller, ask, asked.at).await,
            at: asked.at,
            expires: asked.at.as_second().saturating_add_unsigned(seconds),
            model: envelope.model.to_string(),
            stream: envelope.stream,
            group: key.group_id.clone(),
            user: key.user_id.clone(),
        };
        match self.store.admit(&key.id, &key.limits, &asked.id, &reservation).await {
            Ok(Admission::Admitted(counted)) => {
                let (key, id) = (key.id.clone(), asked.id.clone());
                Ok(Some(Reserved { key, id, reservation, counted }))
            }
            Ok(Admission::Blocked(why)) => Err(Refusal::blocked(&why, asked.at)),
            Err(error) => self.without_store(&key.limits, &error).map(|()| None),
        }
    }

    /// The most that the request can cost on any of the accounts that may get it: they may map its
    /// model to a dearer one. (Where the group cannot be read, no account gets it.)
    async fn estimate(&self, caller: &Caller, ask: Ask<'_>, at: Timestamp) -> PicoUsd {
        let prices = self.store.prices().await;
        let amount = |model: &str| prices.estimate(&Ask { model, ..ask }, at).amount;
        let pool = self.store.pool(&caller.key().group_id).await.ok().flatten();
        let mapped = pool.iter().flat_map(|pool| &pool.members);
        let mapped = mapped.filter_map(|member| map(&member.account.model_map, ask.model));
        mapped.map(amount).fold(amount(ask.model), PicoUsd::max)
    }

    /// What becomes of a limited request while its limits cannot be counted.
    fn without_store(&self, limits: &Limits, error: &StoreError) -> Result<(), Refusal> {
        tracing::error!("limits cannot be counted: {error}");
        let has_rates = limits.requests_per_minute.is_some() || limits.concurrency.is_some();
        if limits.has_money() && self.on_outage.money == OnOutage::Closed {
            Err(Refusal::spend_unknown())
        } else if has_rates && self.on_outage.rates == OnOutage::Closed {
            Err(Refusal::rates_unknown())
        } else {
            Ok(())
        }
    }

    /// Takes back what was reserved for a request that never went to an upstream. Failing that,
    /// it is settled as if it had gone there when its time is over.
    pub(crate) async fn release(&self, reserved: &Reserved) {
        let Reserved { key, id, reservation, .. } = reserved;
        if let Err(error) = self.store.release(key, id, reservation).await {
            tracing::error!(request_id = %id, "a reservation stays until it expires: {error}");
        }
    }
}

/// From these shares on, in ten-thousandths, Claude Code warns (facts: Claude apps gateway).
const WARNINGS: [(&str, &str); 2] = [("0.9500", "0.95"), ("0.7500", "0.75")];

impl Reserved {
    /// Tells the client how much of its tightest money limit is spent, in the words of the Claude
    /// apps gateway: the one window-agnostic claim is `overage`.
    pub(crate) fn tell(&self, limits: &Limits, headers: &mut HeaderMap) {
        let at = self.reservation.at;
        let Some((period, spent, limit)) = self.counted.tightest(limits, at) else { return };
        for (name, value) in own_headers(period, (spent, limit), at) {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
    }
}

fn own_headers(
    period: Period,
    (spent, limit): (PicoUsd, PicoUsd),
    at: Timestamp,
) -> Vec<(&'static str, String)> {
    // An answer that was let through is never told to be past its limit.
    let share = utilization(spent, limit).min("0.9999".to_owned());
    let passed = WARNINGS.iter().find(|(from, _)| share.as_str() >= *from);
    let status = if passed.is_some() { "allowed_warning" } else { "allowed" };
    let mut headers = vec![
        ("anthropic-ratelimit-unified-status", status.to_owned()),
        ("anthropic-ratelimit-unified-representative-claim", "overage".to_owned()),
        ("anthropic-ratelimit-unified-overage-status", status.to_owned()),
        ("anthropic-ratelimit-unified-overage-utilization", share[..4].to_owned()),
        ("anthropic-ratelimit-unified-overage-period", period.as_str().to_owned()),
    ];
    if let Some((_, threshold)) = passed {
        let name = "anthropic-ratelimit-unified-overage-surpassed-threshold";
        headers.push((name, (*threshold).to_owned()));
    }
    if let Some(reset) = period.window(at).resets_at {
        let second = reset.as_second().to_string();
        headers.push(("anthropic-ratelimit-unified-reset", second.clone()));
        headers.push(("anthropic-ratelimit-unified-overage-reset", second));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_told_and_warned_of() {
        let check = |spent: i128, status: &str, share: &str, threshold: Option<&str>| {
            let amounts = (PicoUsd::new(spent), PicoUsd::new(1000));
            let at = "2026-11-22T21:05:30Z".parse().unwrap();
            let headers = own_headers(Period::Daily, amounts, at);
            let get = |tail: &str| {
                let name = format!("anthropic-ratelimit-unified-{tail}");
                let found = headers.iter().find(|(header, _)| *header == name);
                found.map(|(_, value)| value.as_str())
            };
            assert_eq!(get("status"), Some(status), "{spent}");
            assert_eq!(get("overage-utilization"), Some(share), "{spent}");
            assert_eq!(get("overage-surpassed-threshold"), threshold, "{spent}");
            assert_eq!(get("reset"), Some("1795392000"));
        };
        check(0, "allowed", "0.00", None);
        check(749, "allowed", "0.74", None);
        check(750, "allowed_warning", "0.75", Some("0.75"));
        check(950, "allowed_warning", "0.95", Some("0.95"));
        check(1000, "allowed_warning", "0.99", Some("0.95"));
        check(12_000, "allowed_warning", "0.99", Some("0.95"));
    }
}
