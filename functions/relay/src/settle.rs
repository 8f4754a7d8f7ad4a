//! The record of a request that is over: made once, sent once, never lost.

use crate::Means;
use crate::receipt::{Bill, Receipt};
use baton_domain::price::PriceTable;
use baton_domain::record::{Outcome, UsageRecord, VERSION};
use baton_domain::usage::{MODEL_CHARS_MAX, cut};
use baton_wire::meter::Reading;
use std::time::Duration;

/// How long a record waits for an alert to be noted.
const NOTE_PATIENCE: Duration = Duration::from_millis(100);

/// How a request ended, and what the meter read.
pub(crate) struct Ending {
    pub(crate) outcome: Outcome,
    pub(crate) reading: Option<Reading>,
}

impl Ending {
    /// There was nothing to read: no answer, or an error.
    pub(crate) fn without_answer(outcome: Outcome) -> Self {
        Self { outcome, reading: None }
    }
}

impl Means {
    /// Ends an exchange, once: its place at the account is left, and its record is safe.
    pub(crate) async fn settle(&self, receipt: &Receipt, ending: &Ending) {
        tokio::join!(self.leave_seat(receipt), self.send_record(receipt, ending));
    }

    /// Sends the usage record; returns when it is safe: in the queue, else among the pending
    /// events, else in the log in full.
    async fn send_record(&self, receipt: &Receipt, ending: &Ending) {
        let question = &receipt.question;
        if question.bill == Bill::Free {
            self.observer.over(question.protocol.as_str(), receipt.status, ending.outcome.as_str());
            question.trace.ended(receipt.status);
            return;
        }
        let record = self.record(receipt, ending, self.store.prices().await.as_ref());
        self.observer.served(question.protocol.as_str(), &record);
        question.trace.served(&record);
        if record.is_capped {
            Box::pin(self.note_capped(&record)).await;
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
        let sent = self.queue.send(&record).await;
        self.limit_waiters.wake(&record.key_id);
        let Err(error) = sent else { return };
        tracing::error!(request_id = %record.id, "{error}; it is kept as pending");
        let Err(error) = Box::pin(self.store.put_pending(&record)).await else { return };
        let whole = serde_json::to_string(&record).unwrap_or_default();
        tracing::error!(request_id = %record.id, usage_record = %whole, "{error}; the record is in this line");
    }

    /// Has operators told that an upstream claimed more than a request permitted.
    async fn note_capped(&self, record: &UsageRecord) {
        tracing::error!(
            request_id = %record.id, account_id = %record.account_id, model = %record.upstream_model,
            input = record.tokens.input, output = record.tokens.output, cost_usd = %record.cost_usd,
            "the upstream claims more usage than the request permitted; it is settled at the most \
             that it permitted"
        );
        let note = self.store.note_capped(record);
        if tokio::time::timeout(NOTE_PATIENCE, note).await.is_err() {
            tracing::warn!(account_id = %record.account_id, "an alert may be missing: the store is slow");
        }
    }

    fn record(&self, receipt: &Receipt, ending: &Ending, prices: &PriceTable) -> UsageRecord {
        let question = &receipt.question;
        let key = question.caller.key();
        let reading = ending.reading.as_ref();
        let usage = reading.map(|reading| reading.usage.clone().bounded()).unwrap_or_default();
        let served = reading
            .and_then(|reading| reading.model.as_deref())
            .map(|name| cut(name, MODEL_CHARS_MAX));
        let upstream_model = served.unwrap_or_else(|| receipt.upstream_model.clone());
        // Of an application inference profile only its operator knows the model: the one asked for.
        let is_opaque = upstream_model.starts_with("arn:")
            && prices.price(&upstream_model, question.at).is_none();
        let known = if is_opaque { &question.model } else { &upstream_model };
        let mut cost = prices.cost(&usage, known, question.at);
        // An upstream that claims more than it was allowed to use is not believed: one lie would
        // spend the limit of everybody who shares it.
        let permitted = question.caller.permitted_usd;
        let is_capped = permitted.is_some_and(|most| cost.amount > most);
        // What it does not tell may be all that was permitted: hiding it must not be cheaper.
        let hides_usage = reading.is_some_and(|reading| reading.hides_usage);
        let is_unknown = hides_usage && question.caller.has_money_limit;
        if (is_capped || is_unknown)
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
