//! Settles a finished request: releases its concurrency slot, makes its usage record once, and
//! delivers the record without loss. Stats uses the record to settle the reservation.

use crate::RelayState;
use crate::pending_usage::{Metering, PendingUsage};
use baton_domain::price::PriceTable;
use baton_domain::record::{RequestOutcome, UsageRecord, VERSION};
use baton_domain::usage::{MODEL_CHARS_MAX, clean_text};
use baton_protocol::meter::MeterReading;
use baton_runtime::signed_record;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tracing::Instrument as _;

/// The longest time for one call to the queue or the store.
const CALL_TIME_MAX: Duration = Duration::from_secs(20);
/// The longest times in a shutdown, after the running answers were ended. Together they fit into
/// the time that the shutdown leaves for recording.
const QUEUE_TIME_IN_STOP: Duration = Duration::from_secs(2);
const STORE_TIME_IN_STOP: Duration = Duration::from_millis(1500);
const PRICES_TIME_IN_STOP: Duration = Duration::from_millis(500);

/// How long a record waits until an alert is stored.
const NOTE_PATIENCE: Duration = Duration::from_millis(100);

/// How a request ended, and what the usage meter read.
pub(crate) struct RequestEnd {
    pub(crate) outcome: RequestOutcome,
    pub(crate) reading: Option<MeterReading>,
}

impl RequestEnd {
    /// The request ended without an answer to read: no answer came, or an error.
    pub(crate) fn without_answer(outcome: RequestOutcome) -> Self {
        Self { outcome, reading: None }
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
    pub under_way: u64,
}

/// The counters behind [`UnsentRecords`].
#[derive(Default)]
pub(crate) struct UnsentCounts {
    pending: AtomicU64,
    logged: AtomicU64,
    under_way: AtomicU64,
}

/// Counts a record that is being made or sent, until it is dropped.
struct UnderWay<'a>(&'a AtomicU64);

impl<'a> UnderWay<'a> {
    fn begin(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl UnsentCounts {
    pub(crate) fn read(&self) -> UnsentRecords {
        UnsentRecords {
            pending: self.pending.load(Ordering::Relaxed),
            logged: self.logged.load(Ordering::Relaxed),
            under_way: self.under_way.load(Ordering::Relaxed),
        }
    }
}

impl RelayState {
    /// Settles a request before its answer ends. When answers are ended in a shutdown, the client
    /// gets the end at once and a task completes the settlement, so that a store that hangs does
    /// not break off the answer.
    pub(crate) async fn settle_before_end(
        self: &Arc<Self>,
        receipt: PendingUsage,
        ending: RequestEnd,
    ) {
        let means = Arc::clone(self);
        let settling = async move { means.finish_request(&receipt, &ending).await };
        let mut settling = Box::pin(settling.in_current_span());
        tokio::select! {
            biased;
            () = &mut settling => return,
            () = self.stop.is_over.cancelled() => {}
        }
        self.leftovers.spawn(settling);
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
            () = self.ended_for(time_in_stop) => None,
            () = tokio::time::sleep(CALL_TIME_MAX) => None,
        }
    }

    /// Returns `time` after the running answers were ended in a shutdown.
    pub(crate) async fn ended_for(&self, time: Duration) {
        self.stop.is_over.cancelled().await;
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

    /// Ends a request: releases its concurrency slot and sends its usage record.
    async fn finish_request(&self, receipt: &PendingUsage, ending: &RequestEnd) {
        let _under_way = UnderWay::begin(&self.unsent.under_way);
        tokio::join!(self.release_slot(receipt), self.send_usage_record(receipt, ending));
    }

    /// Sends the usage record. It returns when the record is safe: in the queue, else among the
    /// pending events in the store, else completely in the log.
    async fn send_usage_record(&self, receipt: &PendingUsage, ending: &RequestEnd) {
        let question = &receipt.question;
        if question.bill == Metering::Free {
            self.observer.record_request_end(
                question.protocol.as_str(),
                receipt.status,
                ending.outcome.as_str(),
            );
            question.trace.end_with_status(receipt.status);
            return;
        }
        let prices = self.in_time(PRICES_TIME_IN_STOP, self.store.prices()).await;
        let prices = prices.unwrap_or_else(|| self.store.cached_prices());
        let record = self.build_usage_record(receipt, ending, &prices).within_bounds();
        self.observer.record_usage(question.protocol.as_str(), &record);
        question.trace.end_with_usage(&record);
        if record.is_capped {
            Box::pin(self.alert_capped_usage(&record)).await;
        }
        let left: Vec<String> = record.tried.iter().map(ToString::to_string).collect();
        tracing::info!(
            request_id = %record.id, key_id = %record.key_id, account_id = %record.account_id,
            model = %record.upstream_model, status = record.status, outcome = record.outcome.as_str(),
            input = record.tokens.input, output = record.tokens.output, cost_usd = %record.cost_usd,
            ttft_ms = record.ttft_ms, duration_ms = record.duration_ms, attempts = record.attempts,
            left = left.join(", "),
            "served"
        );
        let sent = self.in_time(QUEUE_TIME_IN_STOP, self.queue.send(&record)).await;
        self.limit_waiters.wake_waiters(&record.key_id);
        let error = match sent {
            Some(Ok(())) => return,
            Some(Err(error)) => error.to_string(),
            None => "the usage queue did not answer in time".to_owned(),
        };
        Box::pin(self.keep_unsent(&record, &error)).await;
    }

    /// Keeps a record that the queue did not accept, in the store or, if that fails, in the log.
    async fn keep_unsent(&self, record: &UsageRecord, error: &str) {
        tracing::error!(request_id = %record.id, "cannot send a usage record, it is kept in the \
             store until refresh sends it: {error}");
        let kept = Box::pin(self.in_store_time(self.store.put_pending(record))).await;
        let Err(error) = kept else {
            self.unsent.pending.fetch_add(1, Ordering::Relaxed);
            return;
        };
        match signed_record::sign(&self.pepper, record) {
            Ok(signed) => {
                tracing::error!(
                    request_id = %record.id, usage_record = %signed,
                    "cannot store a usage record, this line contains it and `baton redrive --file` \
                     sends it: {error}"
                );
            }
            Err(fault) => tracing::error!(request_id = %record.id, "a usage record is lost: \
                 {fault}"),
        }
        self.unsent.logged.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes an alert for the operators: an upstream reported more usage than the request
    /// permitted.
    async fn alert_capped_usage(&self, record: &UsageRecord) {
        tracing::error!(
            request_id = %record.id, account_id = %record.account_id, model = %record.upstream_model,
            input = record.tokens.input, output = record.tokens.output, cost_usd = %record.cost_usd,
            "the upstream reported more usage than this request could cause; the request is billed \
             with the highest possible usage"
        );
        let note = self.store.note_capped(record);
        if tokio::time::timeout(NOTE_PATIENCE, note).await.is_err() {
            tracing::warn!(account_id = %record.account_id, "the store is slow, so an alert about \
                 this account can be missing");
        }
    }

    fn build_usage_record(
        &self,
        receipt: &PendingUsage,
        ending: &RequestEnd,
        prices: &PriceTable,
    ) -> UsageRecord {
        let question = &receipt.question;
        let key = question.caller.key();
        let reading = ending.reading.as_ref();
        let usage =
            reading.map(|reading| reading.usage.clone().fit_to_record()).unwrap_or_default();
        let served = reading
            .and_then(|reading| reading.model.as_deref())
            .map(|name| clean_text(name, MODEL_CHARS_MAX));
        let upstream_model = served.unwrap_or_else(|| receipt.upstream_model.clone());
        // Some names do not show the model: that of an application inference profile, or a new one
        // that an upstream reports for its own model. Then the model that was sent sets the price,
        // or the requested one.
        let has_bound = |model: &&String| prices.has_price_bound(model, question.at);
        let names = [&upstream_model, &receipt.upstream_model, &question.model];
        let known = names.into_iter().find(has_bound).unwrap_or(&upstream_model);
        let mut cost = prices.cost(&usage, known, question.at);
        // An upstream that reports more than the request permitted is not believed. Otherwise one
        // wrong report could use up the shared limits of many users.
        let permitted = question.caller.permitted_usd;
        let is_over = permitted.is_some_and(|most| cost.amount > most);
        // If the upstream hides its usage, the highest cost counts, so that hiding is never
        // cheaper.
        let hides_usage = reading.is_some_and(|reading| reading.hides_usage);
        let is_unknown = hides_usage && question.caller.has_money_limit;
        let is_capped = is_over || reading.is_some_and(|reading| reading.is_absurd);
        if (is_over || is_unknown)
            && let Some(most) = permitted
        {
            cost.amount = most;
        }
        let millis = |until: jiff::Timestamp| {
            u64::try_from(until.duration_since(question.at).as_millis()).unwrap_or_default()
        };
        UsageRecord {
            v: VERSION,
            id: question.id.clone(),
            started_at: question.at,
            key_id: key.id.clone(),
            user_id: key.user_id.clone(),
            group_id: key.group_id.clone(),
            account_id: receipt.account.clone(),
            provider: receipt.provider.to_owned(),
            protocol: question.protocol.as_str().to_owned(),
            model: question.model.clone(),
            upstream_model,
            stream: question.stream,
            status: receipt.status,
            outcome: ending.outcome,
            estimated: usage.estimated || is_unknown,
            tokens: usage.tokens,
            web_searches: usage.web_searches,
            service_tier: usage.service_tier,
            inference_geo: usage.inference_geo,
            speed: usage.speed,
            cost_usd: cost.amount,
            price_version: cost.version,
            ttft_ms: receipt.first_byte_at.map(millis),
            duration_ms: millis(self.store.clock().now()),
            attempts: receipt.attempts,
            tried: receipt.tried.clone(),
            session_id: question.session_id.clone(),
            agent_id: question.agent_id.clone(),
            iterations: usage.iterations,
            is_capped,
            reserved_usd: question.caller.reserved_usd,
            reserved_pools: question.caller.reserved_pools.clone(),
        }
    }
}
