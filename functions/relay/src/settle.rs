//! Settles a finished request: releases its concurrency slot, makes its usage record once, and
//! delivers the record without loss. Stats uses the record to settle the reservation.

use crate::RelayState;
use crate::account_selection::ConcurrencySlot;
use crate::model_call::{Metering, ModelCall, ReservedCost};
use crate::output_clock::is_hidden_work;
use baton_domain::account::{CredentialKind, Provider};
use baton_domain::id::AccountId;
use baton_domain::price::{PriceTable, UsageCost};
use baton_domain::record::{RequestOutcome, TriedAccount, UsageRecord, VERSION};
use baton_domain::sold_price::Seller;
use baton_domain::usage::{BilledUsage, MODEL_CHARS_MAX, clean_text};
use baton_domain::verdict::RequestFacts;
use baton_protocol::meter::{AnswerEnd, MeterReading};
use baton_runtime::signed_record;
use jiff::Timestamp;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument as _;

/// The longest time for one call to the queue or the store.
const CALL_TIME_MAX: Duration = Duration::from_secs(20);
/// The longest times in a shutdown, after the running answers were ended. Together they fit into
/// the time that the shutdown leaves for recording.
const QUEUE_TIME_IN_STOP: Duration = Duration::from_secs(2);
const STORE_TIME_IN_STOP: Duration = Duration::from_millis(1500);
const PRICES_TIME_IN_STOP: Duration = Duration::from_millis(500);

/// How long a record waits until an alert is stored.
const ALERT_TIMEOUT: Duration = Duration::from_millis(100);

/// What becomes the usage record of a request that was sent to an upstream.
#[derive(Clone)]
pub(crate) struct PendingUsage {
    pub(crate) model_call: Arc<ModelCall>,
    pub(crate) account: AccountId,
    pub(crate) provider: Provider,
    pub(crate) credential: CredentialKind,
    /// The issue number of the account's token, if it is a renewed one.
    pub(crate) token_version: Option<u64>,
    /// Whose prices apply.
    pub(crate) seller: Seller,
    pub(crate) upstream_model: String,
    /// The model by its name in the account's health.
    pub(crate) health_model: String,
    pub(crate) attempts: u32,
    /// The accounts that were tried and failed before.
    pub(crate) failed_attempts: Vec<TriedAccount>,
    /// The slot at the account.
    pub(crate) slot: ConcurrencySlot,
    /// The status that the client gets.
    pub(crate) status: u16,
    pub(crate) first_byte_at: Option<Timestamp>,
    /// When the attempt began.
    pub(crate) called_at: Instant,
}

impl PendingUsage {
    /// Returns the facts by which a failure of the upstream is judged.
    pub(crate) fn request_facts(&self) -> RequestFacts<'_> {
        RequestFacts {
            provider: self.provider,
            credential: self.credential,
            token_version: self.token_version,
            model: &self.health_model,
            body_bytes: self.model_call.body_bytes,
            is_fast: self.model_call.is_fast,
            tier: self.model_call.tier,
        }
    }
}

/// How a request ended, and what the usage meter read.
pub(crate) struct RequestEnd {
    pub(crate) outcome: RequestOutcome,
    pub(crate) reading: Option<MeterReading>,
    /// Whether Baton cut the answer before its usage.
    pub(crate) is_cut_by_baton: bool,
    /// Whether it was cut after the upstream had worked for long without any output.
    pub(crate) is_cut_in_silence: bool,
}

impl RequestEnd {
    pub(crate) fn new(outcome: RequestOutcome, reading: Option<MeterReading>) -> Self {
        Self { outcome, reading, is_cut_by_baton: false, is_cut_in_silence: false }
    }

    /// Notes that the answer was cut, by whomever, after the upstream had sent no output for
    /// `silence`. An answer whose end or final usage came before that has the usage that it reports.
    pub(crate) fn cut_after(mut self, silence: Duration) -> Self {
        self.is_cut_in_silence = is_hidden_work(silence) && !self.has_usage();
        self
    }

    /// Notes that Baton cut the answer, as [`Self::cut_after`].
    pub(crate) fn cut_by_baton(mut self, silence: Duration) -> Self {
        self.is_cut_by_baton = !self.has_usage();
        self.cut_after(silence)
    }

    fn has_usage(&self) -> bool {
        let reading = self.reading.as_ref();
        reading.is_some_and(|read| read.end != AnswerEnd::Truncated || !read.usage.estimated)
    }

    /// Returns whether the visible part of the answer does not show what the upstream bills, so that
    /// the highest cost counts.
    fn hides_usage(&self) -> bool {
        self.is_cut_in_silence || self.reading.as_ref().is_some_and(|read| read.hides_usage)
    }

    /// The request ended without an answer to read: no answer came, or an error.
    pub(crate) fn without_answer(outcome: RequestOutcome) -> Self {
        Self::new(outcome, None)
    }
}

/// The records of this process that the usage queue did not accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnsentRecords {
    /// Records in the store, which refresh will send.
    pub pending: u64,
    /// Records that are only in the log.
    pub logged: u64,
    /// Records that are being made or sent now.
    pub in_flight: u64,
}

/// The counters behind [`UnsentRecords`].
#[derive(Default)]
pub(crate) struct UnsentCounts {
    pending: AtomicU64,
    logged: AtomicU64,
    in_flight: AtomicU64,
}

/// Counts a record that is being made or sent, until it is dropped.
struct InFlightCount<'a>(&'a AtomicU64);

impl<'a> InFlightCount<'a> {
    fn begin(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for InFlightCount<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl UnsentCounts {
    pub(crate) fn read(&self) -> UnsentRecords {
        UnsentRecords {
            pending: self.pending.load(Ordering::Relaxed),
            logged: self.logged.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
        }
    }
}

impl RelayState {
    /// Settles a request before its answer ends. When answers are ended in a shutdown, the client
    /// gets the end at once and a task completes the settlement, so that a store that hangs does
    /// not break off the answer.
    pub(crate) async fn settle_before_end(
        self: &Arc<Self>,
        pending_usage: PendingUsage,
        request_end: RequestEnd,
    ) {
        let state = Arc::clone(self);
        let settlement = async move { state.finish_request(&pending_usage, &request_end).await };
        let mut settlement = Box::pin(settlement.in_current_span());
        tokio::select! {
            biased;
            () = &mut settlement => return,
            () = self.shutdown.cancel_responses.cancelled() => {}
        }
        self.background_tasks.spawn(settlement);
    }

    /// Returns the result of `call`, or `None` if it takes longer than [`CALL_TIME_MAX`]. In a
    /// shutdown, the limit is `time_in_stop` after the running answers were ended.
    pub(crate) async fn in_time<T>(
        &self,
        time_in_stop: Duration,
        call: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::select! {
            biased;
            result = call => Some(result),
            () = self.wait_after_stop(time_in_stop) => None,
            () = tokio::time::sleep(CALL_TIME_MAX) => None,
        }
    }

    /// Returns `time` after the running answers were ended in a shutdown.
    pub(crate) async fn wait_after_stop(&self, time: Duration) {
        self.shutdown.cancel_responses.cancelled().await;
        tokio::time::sleep(time).await;
    }

    /// Makes a call to the store within the limits of [`RelayState::in_time`].
    ///
    /// # Errors
    /// The text of the store's error, or that the store did not answer in time.
    pub(crate) async fn in_store_time<T, E: std::fmt::Display>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, String> {
        let result = self.in_time(STORE_TIME_IN_STOP, call).await;
        let result = result.ok_or_else(|| "the store did not answer in time".to_owned())?;
        result.map_err(|error| error.to_string())
    }

    /// Releases the slot of a pending usage, if it has one.
    async fn release_slot(&self, pending_usage: &PendingUsage) {
        if pending_usage.slot == ConcurrencySlot::Taken {
            self.release_account_slot(&pending_usage.account, &pending_usage.model_call.id).await;
        }
    }

    /// Releases the concurrency slot of a request before its end.
    pub(crate) async fn release_slot_early(&self, pending_usage: &mut PendingUsage) {
        self.release_slot(pending_usage).await;
        pending_usage.slot = ConcurrencySlot::NotNeeded;
    }

    /// Ends a request: releases its concurrency slot and sends its usage record.
    async fn finish_request(&self, pending_usage: &PendingUsage, request_end: &RequestEnd) {
        let _in_flight = InFlightCount::begin(&self.unsent.in_flight);
        tokio::join!(
            self.release_slot(pending_usage),
            self.send_usage_record(pending_usage, request_end),
            self.keep_state(pending_usage, request_end)
        );
    }

    /// Stores which account keeps the answer. Few answers are kept.
    async fn keep_state(&self, pending_usage: &PendingUsage, request_end: &RequestEnd) {
        if let (true, Some(reading)) = (pending_usage.model_call.keeps_state, &request_end.reading)
        {
            let store = Box::pin(self.store_state_pin(pending_usage, reading));
            self.in_time(STORE_TIME_IN_STOP, store).await;
        }
    }

    /// Sends the usage record. It returns when the record is safe: in the queue, else among the
    /// pending events in the store, else completely in the log.
    async fn send_usage_record(&self, pending_usage: &PendingUsage, request_end: &RequestEnd) {
        let model_call = &pending_usage.model_call;
        if model_call.metering == Metering::Free {
            self.observer.record_request_end(
                model_call.protocol.as_str(),
                pending_usage.status,
                request_end.outcome.as_str(),
            );
            model_call.trace.end_with_status(pending_usage.status);
            return;
        }
        let prices = self.in_time(PRICES_TIME_IN_STOP, self.store.prices.load()).await;
        let prices = prices.unwrap_or_else(|| self.store.prices.cached());
        let record = self.build_usage_record(pending_usage, request_end, &prices).within_bounds();
        self.observer.record_usage(model_call.protocol.as_str(), &record);
        model_call.trace.end_with_usage(&record);
        if record.is_capped {
            Box::pin(self.alert_capped_usage(&record)).await;
        }
        let failed_attempts: Vec<String> = record.tried.iter().map(ToString::to_string).collect();
        tracing::info!(
            key_id = %record.key_id, account_id = %record.account_id,
            model = %record.upstream_model, status = record.status, outcome = record.outcome.as_str(),
            input = record.tokens.input, output = record.tokens.output, cost_usd = %record.cost_usd,
            ttft_ms = record.ttft_ms, duration_ms = record.duration_ms, attempts = record.attempts,
            failed_attempts = failed_attempts.join(", "),
            "served"
        );
        let result = self.in_time(QUEUE_TIME_IN_STOP, self.queue.send(&record)).await;
        self.limit_waiters.wake_waiters(&record.key_id);
        let error = match result {
            Some(Ok(())) => return,
            Some(Err(error)) => error.to_string(),
            None => "the usage queue did not answer in time".to_owned(),
        };
        Box::pin(self.keep_unsent(&record, &error)).await;
    }

    /// Keeps a record that the queue did not accept, in the store or, if that fails, in the log.
    async fn keep_unsent(&self, record: &UsageRecord, error: &str) {
        tracing::error!(
            "cannot send a usage record, it is kept in the store until refresh sends it: {error}"
        );
        let stored = Box::pin(self.in_store_time(self.store.pending.put(record))).await;
        let Err(error) = stored else {
            self.unsent.pending.fetch_add(1, Ordering::Relaxed);
            return;
        };
        match signed_record::sign(&self.pepper, record) {
            Ok(signed) => {
                tracing::error!(
                    usage_record = %signed,
                    "cannot store a usage record, this line contains it and `baton redrive --file` \
                     sends it: {error}"
                );
            }
            Err(fault) => tracing::error!("a usage record is lost: {fault}"),
        }
        self.unsent.logged.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes an alert for the operators: an upstream reported more usage than the request
    /// permitted.
    async fn alert_capped_usage(&self, record: &UsageRecord) {
        tracing::error!(
            account_id = %record.account_id, model = %record.upstream_model,
            input = record.tokens.input, output = record.tokens.output, cost_usd = %record.cost_usd,
            "the upstream reported more usage than this request could cause; the request is billed \
             with the highest possible usage"
        );
        let alert_write = self.store.alerts.note_capped(record);
        if tokio::time::timeout(ALERT_TIMEOUT, alert_write).await.is_err() {
            tracing::warn!(account_id = %record.account_id, "the store is slow, so an alert about \
                 this account can be missing");
        }
    }

    fn build_usage_record(
        &self,
        pending_usage: &PendingUsage,
        request_end: &RequestEnd,
        prices: &PriceTable,
    ) -> UsageRecord {
        let model_call = &pending_usage.model_call;
        let prices = prices.sold_by(&pending_usage.seller);
        let key = model_call.caller.key();
        let reading = request_end.reading.as_ref();
        let usage =
            reading.map(|reading| reading.usage.clone().fit_to_record()).unwrap_or_default();
        let reported_model = reading
            .and_then(|reading| reading.model.as_deref())
            .map(|name| clean_text(name, MODEL_CHARS_MAX));
        let upstream_model = reported_model.unwrap_or_else(|| pending_usage.upstream_model.clone());
        // Some names do not show the model: that of an application inference profile, or a new one
        // that an upstream reports for its own model. Then the model that was sent sets the price,
        // or the requested one.
        let has_bound = |model: &&String| prices.has_price_bound(model, model_call.at);
        let names = [&upstream_model, &pending_usage.upstream_model, &model_call.model];
        let known = names.into_iter().find(has_bound).unwrap_or(&upstream_model);
        let price = |usage: &BilledUsage| prices.cost(usage, known, model_call.at);
        let SettledCost { cost, is_capped, is_highest_cost, is_unknown } =
            settle_cost(&model_call.reserved_cost, request_end, &usage, price);
        let millis = |until: Timestamp| {
            u64::try_from(until.duration_since(model_call.at).as_millis()).unwrap_or_default()
        };
        UsageRecord {
            v: VERSION,
            id: model_call.id.clone(),
            started_at: model_call.at,
            key_id: key.id.clone(),
            user_id: key.user_id.clone(),
            group_id: key.group_id.clone(),
            account_id: pending_usage.account.clone(),
            provider: pending_usage.provider.as_str().to_owned(),
            protocol: model_call.protocol.as_str().to_owned(),
            model: model_call.model.clone(),
            upstream_model,
            stream: model_call.stream,
            status: pending_usage.status,
            outcome: request_end.outcome,
            estimated: usage.estimated || is_unknown,
            tokens: usage.tokens,
            web_searches: usage.web_searches,
            service_tier: usage.service_tier,
            inference_geo: usage.inference_geo,
            speed: usage.speed,
            cost_usd: cost.amount,
            price_version: cost.version,
            ttft_ms: pending_usage.first_byte_at.map(millis),
            duration_ms: millis(self.store.clock().now()),
            attempts: pending_usage.attempts,
            tried: pending_usage.failed_attempts.clone(),
            session_id: model_call.session_id.clone(),
            agent_id: model_call.agent_id.clone(),
            iterations: usage.iterations,
            is_capped,
            is_highest_cost,
            reserved_usd: model_call.reserved_cost.reserved_usd,
            reserved_shared_limits: model_call.reserved_cost.shared_limits.clone(),
        }
    }
}

/// What a request costs.
struct SettledCost {
    cost: UsageCost,
    /// Whether the upstream claimed more than the request permitted.
    is_capped: bool,
    /// Whether the cost is the most that what has passed can cost.
    is_highest_cost: bool,
    /// Whether nothing shows what the upstream bills, so that the request costs what it was permitted
    /// to cost.
    is_unknown: bool,
}

/// Decides what a request costs. `price` is the list price of a usage.
fn settle_cost(
    reserved_cost: &ReservedCost,
    request_end: &RequestEnd,
    usage: &BilledUsage,
    price: impl Fn(&BilledUsage) -> UsageCost,
) -> SettledCost {
    let ReservedCost { permitted_usd, has_money_limit, can_read_more, .. } = *reserved_cost;
    let reading = request_end.reading.as_ref();
    let mut cost = price(usage);
    let list_price = cost.amount;
    // A client can leave before the upstream reports what it bills.
    let is_cut = has_money_limit && request_end.is_cut_by_baton;
    if let Some(reading) = reading.filter(|_| is_cut) {
        let mut most = BilledUsage { tokens: reading.tokens_max, ..usage.clone() };
        // What the upstream has not reported.
        if most.tokens.input > usage.tokens.input {
            most.tokens.input = most.tokens.input.saturating_add(reserved_cost.prompt_tokens);
        }
        if most.tokens.output > usage.tokens.output {
            most.tokens.output = most.tokens.output.saturating_add(reserved_cost.predicted_tokens);
        }
        cost.amount = cost.amount.max(price(&most).amount);
    }
    let is_highest_cost = cost.amount > list_price;
    // An upstream that reports more than the request permitted is not believed. Otherwise one wrong
    // report could use up the shared limits of many users.
    let is_over = permitted_usd.is_some_and(|most| cost.amount > most);
    // If the upstream hides its usage, the highest cost counts, so that hiding is never cheaper.
    let is_unknown = has_money_limit && (request_end.hides_usage() || (is_cut && can_read_more));
    // An estimate says nothing about the upstream.
    let is_capped =
        (is_over && !usage.estimated) || reading.is_some_and(|read| read.has_excessive_count);
    if (is_over || is_unknown)
        && let Some(max_cost) = permitted_usd
    {
        cost.amount = max_cost;
    }
    SettledCost { cost, is_capped, is_highest_cost, is_unknown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_domain::money::PicoUsd;
    use baton_domain::usage::TokenCounts;
    use baton_protocol::meter::UsageMeter;

    fn reading(events: &str) -> MeterReading {
        let mut meter = UsageMeter::for_stream();
        meter.observe(events.as_bytes());
        meter.finish(1_000)
    }

    #[test]
    fn answer_that_was_cut_while_the_model_thought_hides_its_usage() {
        let start = r#"data: {"type":"message_start","message":{"usage":{"input_tokens":5,"output_tokens":1}}}"#;
        let start = format!("event: message_start\n{start}\n\n");
        let usage = r#"data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}}"#;
        let usage = format!("{start}event: message_delta\n{usage}\n\n");
        let end = format!("{usage}event: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n");
        let hides = |events: &str, seconds| {
            let end = RequestEnd::new(RequestOutcome::ClientDisconnected, Some(reading(events)));
            end.cut_after(Duration::from_secs(seconds)).hides_usage()
        };
        assert!(hides(&start, 11));
        assert!(!hides(&start, 10), "it was not silent for long");
        assert!(hides("", 11), "nothing came");
        assert!(!hides(&usage, 11), "its usage is known");
        assert!(!hides(&end, 11), "it is complete");
        let unanswered = RequestEnd::without_answer(RequestOutcome::UpstreamError);
        assert!(!unanswered.hides_usage(), "the upstream cut it, or gave an error");
        let unanswered = RequestEnd::without_answer(RequestOutcome::UpstreamError);
        assert!(unanswered.cut_after(Duration::from_secs(11)).hides_usage());
    }

    /// A client can leave, and an upstream can hide what it bills.
    #[test]
    fn cut_answers_of_limited_keys_cost_the_most_that_they_can() {
        let text = "x".repeat(400);
        let events = format!(
            "event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{{\"usage\":\
             {{\"input_tokens\":5,\"output_tokens\":1}}}}}}\n\nevent: content_block_delta\ndata: \
             {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\
             \"text\":\"{text}\"}}}}\n\n"
        );
        let price = |usage: &BilledUsage| {
            let amount = PicoUsd::new(i128::from(usage.tokens.output));
            UsageCost { amount, version: String::new(), is_priced: true }
        };
        let settle = |has_money_limit, can_read_more, is_own_cut: bool| {
            let permitted_usd = Some(PicoUsd::new(9_000));
            let reserved_cost = ReservedCost {
                permitted_usd,
                has_money_limit,
                can_read_more,
                ..ReservedCost::default()
            };
            let end = RequestEnd::new(RequestOutcome::ClientDisconnected, Some(reading(&events)));
            let end = if is_own_cut { end.cut_by_baton(Duration::ZERO) } else { end };
            let usage = reading(&events).usage;
            let settled = settle_cost(&reserved_cost, &end, &usage, price);
            (settled.cost.amount.to_string(), settled.is_highest_cost, settled.is_unknown)
        };
        let amount = |pico: i128| PicoUsd::new(pico).to_string();
        assert_eq!(settle(false, false, true), (amount(100), false, false), "no limit");
        assert_eq!(settle(true, false, false), (amount(100), false, false), "the upstream cut it");
        assert_eq!(settle(true, false, true), (amount(400), true, false));
        assert_eq!(settle(true, true, true), (amount(9_000), true, true), "it can search");
    }

    /// Images and rejected predictions are not in the bytes that have passed.
    #[test]
    fn cut_answers_cost_what_was_not_reported() {
        let price = |usage: &BilledUsage| {
            let TokenCounts { input, output, .. } = usage.tokens;
            let amount = PicoUsd::new(i128::from(1_000 * input + output));
            UsageCost { amount, version: String::new(), is_priced: true }
        };
        let settle = |events: &str| {
            let reserved_cost = ReservedCost {
                permitted_usd: Some(PicoUsd::new(9_000_000)),
                has_money_limit: true,
                prompt_tokens: 500,
                predicted_tokens: 7,
                ..ReservedCost::default()
            };
            let end = RequestEnd::new(RequestOutcome::ClientDisconnected, Some(reading(events)));
            let usage = reading(events).usage;
            settle_cost(&reserved_cost, &end.cut_by_baton(Duration::ZERO), &usage, price)
                .cost
                .amount
        };
        let chat = r#"data: {"choices":[{"index":0,"delta":{"content":"xxxxxxxx"}}]}"#;
        let unreported = settle(&format!("{chat}\n\n"));
        assert_eq!(unreported, PicoUsd::new((1_000 + 500) * 1_000 + 8 + 7));
        let start = r#"data: {"type":"message_start","message":{"usage":{"input_tokens":200,"output_tokens":1}}}"#;
        assert_eq!(settle(&format!("{start}\n\n")), PicoUsd::new(200_001), "the prompt is known");
    }
}
