//! Passes an answer to the client as it arrives, and to the usage meter at the same time.
//!
//! Whatever happens to the answer, [`RelayState::relay_chunks`] settles it exactly once, after the
//! last byte and before the end of the body.

use crate::account_health::ObservedEnd;
use crate::body::{ClientPresence, RelayBody, ResponseAborted};
use crate::chunk_list::ChunkList;
use crate::forward::UpstreamResponse;
use crate::memory_budget::{MEMORY_TIMEOUT, MemoryLimitReached, StreamMemory, retry_for_memory};
use crate::metered_body::{MeteredBody, ResponseReader, UndecodableResponse};
use crate::model_call::ModelCall;
use crate::response_buffer::{BufferedResponse, RESPONSE_MEMORY_FULL};
use crate::response_source::{ResponseSource, SourceEvent};
use crate::settle::{PendingUsage, RequestEnd};
use crate::{RelayState, RequestContext, client_response};
use async_stream::stream;
use baton_domain::cooldown_reason::CooldownReason;
use baton_domain::protocol::ClientProtocol;
use baton_domain::record::RequestOutcome;
use baton_protocol::error::{ApiFamily, ErrorBody, ErrorForm};
use baton_protocol::meter::{AnswerEnd, MeterReading};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::Response;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// The most chunks that are sent together.
const WRITE_CHUNKS_MAX: usize = 64;
/// The bytes from which chunks are sent without waiting for more. A connection keeps a buffer as
/// large as the largest write that it has made, so larger writes would cost memory.
const WRITE_BYTES_MAX: usize = 64 * 1024;

impl RelayState {
    /// Builds the client's answer from a buffered one. An answer that is not a stream is read to
    /// its end and settled first, and then sent with its head in one write.
    pub(crate) async fn build_client_response(
        self: &Arc<Self>,
        request: &RequestContext,
        response: UpstreamResponse,
        client: ClientPresence,
        deadline: Instant,
    ) -> Response<RelayBody> {
        let mut head = client_response::relayed_head(request, &response.buffered.head);
        let is_stream = response.buffered.metered_body.is_stream();
        let UpstreamResponse { pending_usage, buffered } = response;
        let BufferedResponse { chunks, source, mut metered_body, permit, .. } = buffered;
        // From here on, the client decides when the upstream is read.
        metered_body.end_read();
        let (whole_permit, stream_permit) =
            if is_stream { (None, Some(permit)) } else { (Some(permit), None) };
        let memory = StreamMemory::new(
            &self.response_memory,
            &pending_usage.model_call.caller.key().id,
            stream_permit,
        );
        let source = source.with_keep_alives(metered_body.keep_alive_bytes().is_some());
        let outgoing = OutgoingResponse { pending_usage, chunks, source, metered_body, memory };
        // Boxed, because the future is large.
        let chunks = Arc::clone(self);
        let chunks = chunks.relay_chunks(outgoing, request.api_family, client.clone(), deadline);
        let chunks = Box::pin(chunks);
        if !is_stream {
            return Response::from_parts(
                head,
                RelayBody::from_chunks(chunks.collect().await, whole_permit),
            );
        }
        client_response::set_stream_headers(&mut head.headers);
        let (background_tasks, drain) = (self.background_tasks.clone(), self.timeouts.drain);
        Response::from_parts(head, RelayBody::from_stream(chunks, client, background_tasks, drain))
    }

    /// Returns the chunks for the client, and settles before their end. An answer that is not a
    /// stream is settled before the client gets any of it, because a client that has all bytes must
    /// have been counted.
    fn relay_chunks(
        self: Arc<Self>,
        outgoing: OutgoingResponse,
        api_family: ApiFamily,
        client: ClientPresence,
        deadline: Instant,
    ) -> impl Stream<Item = Result<ChunkList, ResponseAborted>> + Send {
        let OutgoingResponse {
            pending_usage,
            mut chunks,
            mut source,
            mut metered_body,
            mut memory,
        } = outgoing;
        source.set_limits(self.timeouts.idle, deadline, client.abort.clone());
        let open_stream = self.observer.open_stream();
        let key = pending_usage.model_call.caller.key().id.clone();
        stream! {
            let (_open, is_stream) = (open_stream, metered_body.is_stream());
            let updated = update_memory(&mut memory, source.read_ahead_bytes(), &mut metered_body, &mut chunks);
            let mut end_event = updated.await.err();
            if let Some(first) = ChunkList::take_from(&mut chunks) {
                yield Ok(first);
            }
            let mut remaining = client.has_left.load(Ordering::SeqCst);
            let end_event = loop {
                if end_event.is_none() {
                    let reader = ResponseReader { source: &mut source, workers: &self.body_workers, key: &key };
                    end_event = read_on(reader, &mut metered_body, &mut chunks, &mut memory).await;
                }
                if let Some(next) = ChunkList::take_from(&mut chunks) {
                    yield Ok(next);
                }
                remaining = remaining || (client.has_left.load(Ordering::SeqCst) && !metered_body.is_complete());
                // The client has taken these chunks.
                let _covered = is_stream.then(|| memory.hold(metered_body.held_bytes()));
                if let Some(end_event) = end_event.take() {
                    break end_event;
                }
                // The cut never interrupts an upstream that always has more ready, so it is checked
                // here too.
                if client.abort.is_cancelled() {
                    break SourceEvent::Aborted;
                }
            };
            let end_event = match end_event {
                SourceEvent::Aborted if self.shutdown.cancel_responses.is_cancelled() => SourceEvent::ShuttingDown,
                end_event => end_event,
            };
            let (can_append_event, has_gap) = (metered_body.can_append_event(), metered_body.has_gap());
            let reports_end = is_stream && !metered_body.is_unread();
            let reader = ResponseReader { source: &mut source, workers: &self.body_workers, key: &key };
            let (closing_bytes, end_event) = finish_decoding(reader, &mut metered_body, end_event).await;
            // Behind a gap they would make the answer look complete.
            if !has_gap {
                yield Ok(closing_bytes.into());
            }
            let (mid_event, was_left_unread) = (metered_body.is_mid_event(), metered_body.was_left_unread());
            let silence = metered_body.silence_since(pending_usage.called_at);
            let (reading, mut transform) = metered_body.finish(pending_usage.model_call.body_bytes);
            let has_ended = is_stream && !has_gap && transform.client_has_end(reading.has_reported_end);
            let end_error = error_at_end(&end_event, has_ended, reports_end);
            if let Some(error) = end_error.as_ref().filter(|_| can_append_event) {
                let ModelCall { id, protocol, .. } = &*pending_usage.model_call;
                let form = error_form(*protocol, api_family, reading.events);
                yield Ok(transform.write_error(form, error, id.as_str(), mid_event).into());
            }
            let is_untranslatable = transform.has_untranslatable_event();
            let answer = FinishedAnswer {
                is_faulty: end_error.is_some() || is_untranslatable,
                is_own_fault: is_untranslatable || was_left_unread || has_gap || source.is_past_deadline(),
                client_left: remaining,
                silence: (is_stream || is_cut_by_relay(&end_event)).then_some(silence),
                end_event,
                reading,
            };
            // Boxed, so that a waiting stream does not hold memory for its end.
            Box::pin(self.settle_answer(pending_usage, answer)).await;
            if end_error.is_some() && !can_append_event {
                yield Err(ResponseAborted);
            }
        }
    }
}

/// An answer of which the client has got the last byte.
struct FinishedAnswer {
    end_event: SourceEvent,
    reading: MeterReading,
    /// The client did not get the whole answer, or got an error at its end.
    is_faulty: bool,
    /// Baton could not translate the answer, had no memory for it, or no more time, or its client did
    /// not read it.
    is_own_fault: bool,
    client_left: bool,
    /// How long the upstream sent no output, if that can hide what it bills.
    silence: Option<Duration>,
}

impl FinishedAnswer {
    fn outcome(&self) -> RequestOutcome {
        match self.end_event {
            SourceEvent::TimedOut if self.is_faulty => RequestOutcome::Deadline,
            SourceEvent::ShuttingDown if self.is_faulty => RequestOutcome::Stopped,
            SourceEvent::Aborted => RequestOutcome::ClientDisconnected,
            _ if self.client_left => RequestOutcome::ClientDisconnected,
            _ if self.is_faulty || matches!(self.reading.end, AnswerEnd::Error(_)) => {
                RequestOutcome::UpstreamError
            }
            _ => RequestOutcome::Complete,
        }
    }

    /// Returns what the end shows about the account.
    fn observed_end(&self) -> ObservedEnd<'_> {
        let lacks_memory =
            matches!(self.end_event, SourceEvent::ConnectionLost(RESPONSE_MEMORY_FULL));
        if self.is_own_fault || lacks_memory {
            return ObservedEnd::Cut;
        }
        match (self.outcome(), &self.reading.end) {
            (RequestOutcome::Complete, _) => ObservedEnd::Complete,
            (RequestOutcome::UpstreamError, AnswerEnd::Error(failure)) => {
                ObservedEnd::Error(failure)
            }
            (RequestOutcome::UpstreamError, _) => ObservedEnd::Broken(CooldownReason::Unreachable),
            (RequestOutcome::Deadline, _) => ObservedEnd::Broken(CooldownReason::TimedOut),
            _ => ObservedEnd::Cut,
        }
    }
}

impl RelayState {
    /// Settles an answer, and stores what its end shows about the account.
    async fn settle_answer(self: &Arc<Self>, pending_usage: PendingUsage, answer: FinishedAnswer) {
        let health_update = self.note_answer_end(&pending_usage, &answer.observed_end());
        let (is_own_cut, is_faulty) = (is_cut_by_relay(&answer.end_event), answer.is_faulty);
        let request_end = RequestEnd::new(answer.outcome(), Some(answer.reading));
        let request_end = match answer.silence {
            Some(silence) if is_own_cut => request_end.cut_by_baton(silence),
            Some(silence) if is_faulty => request_end.cut_after(silence),
            _ => request_end,
        };
        self.settle_before_end(pending_usage, request_end).await;
        health_update.wait_until_stored().await;
    }
}

/// Returns the form of the error that ends a stream after `events` events.
fn error_form(protocol: ClientProtocol, api_family: ApiFamily, events: u64) -> ErrorForm {
    match protocol {
        ClientProtocol::OpenaiResponses => ErrorForm::Responses(events),
        ClientProtocol::AnthropicMessages
        | ClientProtocol::OpenaiChat
        | ClientProtocol::BedrockInvokeModel => ErrorForm::Family(api_family),
    }
}

/// A successful answer that is being passed on.
struct OutgoingResponse {
    pending_usage: PendingUsage,
    /// The bytes that the client gets next.
    chunks: Vec<Bytes>,
    /// The rest of the answer.
    source: ResponseSource,
    metered_body: MeteredBody,
    memory: StreamMemory,
}

/// An answer ends because no memory is left for it.
const MEMORY_FULL: SourceEvent = SourceEvent::ConnectionLost(RESPONSE_MEMORY_FULL);

/// The most bytes at a time that pass to the client without memory from the budget.
const PASSED_BYTES_MAX: usize = 1 << 20;

/// The bytes from which the memory that a waiting stream holds can block others.
const BLOCKING_BYTES: usize = 64 * 1024;

/// Sets the memory of the stream to what it holds, with the bytes of `read_ahead`. Returns whether it
/// can read on before the client has taken `chunks`.
///
/// # Errors
/// More than [`PASSED_BYTES_MAX`] bytes wait for the client, and no memory became free for
/// [`MEMORY_TIMEOUT`]. They are dropped and the stream ends.
async fn update_memory(
    memory: &mut StreamMemory,
    read_ahead: usize,
    metered_body: &mut MeteredBody,
    chunks: &mut Vec<Bytes>,
) -> Result<bool, SourceEvent> {
    if !metered_body.is_stream() {
        return Ok(true);
    }
    let bytes = chunks.iter().map(Bytes::len).sum::<usize>();
    let held_bytes = metered_body.held_bytes() + bytes;
    if memory.try_reserve(read_ahead, held_bytes).is_ok() {
        return Ok(true);
    }
    let limit_reached = memory.hold(held_bytes).err();
    let Some(limit_reached) = limit_reached.filter(|_| bytes > PASSED_BYTES_MAX) else {
        return Ok(false);
    };
    let since = Instant::now();
    // The last events of many translated answers repeat the whole text at the same time. The future
    // is boxed, because few streams wait.
    let held = Box::pin(retry_for_memory(|| memory.hold(held_bytes))).await;
    leave_out_wait(metered_body, limit_reached, since);
    if held.is_err() {
        chunks.clear();
        metered_body.note_gap();
        return Err(MEMORY_FULL);
    }
    Ok(false)
}

/// Reserves memory for the next chunk of a stream, so that streams whose clients do not read cannot
/// fill the memory with buffers. Waits if none is left. Returns why the answer ends if the memory that
/// the stream holds already does not fit.
async fn reserve_memory(
    source: &mut ResponseSource,
    metered_body: &mut MeteredBody,
    memory: &mut StreamMemory,
) -> Option<SourceEvent> {
    let (bytes, held_bytes) = (source.read_ahead_bytes(), metered_body.held_bytes());
    let limit_reached = memory.try_reserve(bytes, held_bytes).err()?;
    let since = Instant::now();
    // Boxed, because the future is large and few streams wait.
    let end_event = Box::pin(wait_for_memory(source, metered_body, memory)).await;
    leave_out_wait(metered_body, limit_reached, since);
    end_event
}

/// Does not count the time since `since` as silence of the upstream, if other keys have caused the
/// wait. A key that fills its own share could hide how long a model thought.
fn leave_out_wait(
    metered_body: &mut MeteredBody,
    limit_reached: MemoryLimitReached,
    since: Instant,
) {
    if limit_reached == MemoryLimitReached::Process {
        metered_body.leave_out(since.elapsed());
    }
}

/// Waits for memory for the next chunk. If none becomes free for [`MEMORY_TIMEOUT`], an event that
/// need not be read passes unread.
async fn wait_for_memory(
    source: &mut ResponseSource,
    metered_body: &mut MeteredBody,
    memory: &mut StreamMemory,
) -> Option<SourceEvent> {
    let (bytes, held_bytes) = (source.read_ahead_bytes(), metered_body.held_bytes());
    if memory.hold(held_bytes).is_ok() {
        let reserved = timeout(MEMORY_TIMEOUT, memory.reserve(bytes, held_bytes));
        match source.wait_for(reserved).await {
            Ok(Ok(reserved)) => {
                return reserved.err().map(|_| MEMORY_FULL);
            }
            Ok(Err(_elapsed)) => {}
            Err(end_event) => return Some(end_event),
        }
    }
    // Streams that hold much could wait for one another, so the relay stops reading the event, or
    // reserves nothing for the next chunk.
    let passes_unread = metered_body.pass_event_unread();
    let held_bytes = metered_body.held_bytes();
    let bytes = if passes_unread || held_bytes < BLOCKING_BYTES { bytes } else { 0 };
    match source.wait_for(memory.reserve(bytes, held_bytes)).await {
        Ok(reserved) => reserved.err().map(|_| MEMORY_FULL),
        Err(end_event) => Some(end_event),
    }
}

/// Reserves memory and reads on; see [`read_chunks`]. The time in which the client does not read
/// counts as silence of the upstream, because it could hide how long a model thought.
async fn read_on(
    reader: ResponseReader<'_>,
    metered_body: &mut MeteredBody,
    chunks: &mut Vec<Bytes>,
    memory: &mut StreamMemory,
) -> Option<SourceEvent> {
    if metered_body.is_stream() {
        let end_event = reserve_memory(reader.source, metered_body, memory).await;
        if end_event.is_some() {
            return end_event;
        }
    }
    metered_body.begin_read();
    let end_event = read_chunks(reader, metered_body, chunks, memory).await;
    metered_body.end_read();
    end_event
}

/// Waits for the next event. While the upstream is silent, only the next chunk is reserved.
async fn next_event(
    source: &mut ResponseSource,
    metered_body: &MeteredBody,
    memory: &mut StreamMemory,
) -> SourceEvent {
    if metered_body.is_stream() && source.has_read_ahead() {
        if let Some(event) = source.try_next().await {
            return event;
        }
        // A smaller reservation always fits.
        let _smaller = memory.try_reserve(source.read_ahead_bytes(), metered_body.held_bytes());
    }
    source.next().await
}

/// Reads on and adds to `chunks` what has arrived by now, in the form for the client. Waits for the
/// next chunk if none is left. Returns why the answer ends, once that is known.
async fn read_chunks(
    mut reader: ResponseReader<'_>,
    metered_body: &mut MeteredBody,
    chunks: &mut Vec<Bytes>,
    memory: &mut StreamMemory,
) -> Option<SourceEvent> {
    let mut bytes = 0;
    let mut next = if metered_body.has_pending() {
        None
    } else {
        Some(next_event(reader.source, metered_body, memory).await)
    };
    loop {
        match next {
            None => {}
            Some(SourceEvent::Chunk(chunk)) => metered_body.add_chunk(chunk),
            Some(SourceEvent::KeepAliveDue) => {
                chunks.extend(metered_body.keep_alive_bytes());
                return None;
            }
            Some(
                SourceEvent::End
                | SourceEvent::ConnectionLost(_)
                | SourceEvent::TimedOut
                | SourceEvent::Aborted
                | SourceEvent::ShuttingDown,
            ) => return next,
        }
        while metered_body.has_pending() {
            match metered_body.read_step(&mut reader).await {
                Ok(Ok(chunk)) => {
                    bytes += chunk.len();
                    chunks.push(chunk);
                }
                Ok(Err(UndecodableResponse(reason))) => {
                    return Some(SourceEvent::ConnectionLost(reason));
                }
                Err(end_event) => return Some(end_event),
            }
            let read_ahead = reader.source.read_ahead_bytes();
            match update_memory(memory, read_ahead, metered_body, chunks).await {
                Ok(can_read_on) if can_read_on && !is_write_full(chunks, bytes) => {}
                Ok(_) => return None,
                Err(end_event) => return Some(end_event),
            }
        }
        next = Some(reader.source.try_next().await?);
    }
}

/// Returns whether `chunks` of `bytes` are sent without waiting for more.
fn is_write_full(chunks: &[Bytes], bytes: usize) -> bool {
    chunks.len() == WRITE_CHUNKS_MAX || bytes >= WRITE_BYTES_MAX
}

/// Decodes the rest of the answer. Returns it with the final reason for the end.
async fn finish_decoding(
    mut reader: ResponseReader<'_>,
    metered_body: &mut MeteredBody,
    end_event: SourceEvent,
) -> (Bytes, SourceEvent) {
    let is_cut = matches!(end_event, SourceEvent::Aborted | SourceEvent::ShuttingDown);
    let rest = match metered_body.long_end() {
        None => metered_body.observe_end(),
        // Nobody waits for the rest, or there is no time for it.
        Some(_) if is_cut => return (Bytes::new(), end_event),
        Some(size) => {
            let end = MeteredBody::observe_end;
            match Box::pin(metered_body.run_on_workers(&mut reader, size, end)).await {
                Ok(rest) => rest,
                Err(end_event) => return (Bytes::new(), end_event),
            }
        }
    };
    match (rest, end_event) {
        (Ok(closing_bytes), end_event) => (closing_bytes, end_event),
        (Err(UndecodableResponse(reason)), SourceEvent::End) => {
            (Bytes::new(), SourceEvent::ConnectionLost(reason))
        }
        (Err(_), end_event) => (Bytes::new(), end_event),
    }
}

/// Returns the error that the client gets at the end of the answer, unless it has already received
/// an end. `reports_end` says whether an event must have reported the end.
fn error_at_end(end_event: &SourceEvent, has_ended: bool, reports_end: bool) -> Option<ErrorBody> {
    match end_event {
        _ if has_ended => None,
        SourceEvent::ConnectionLost(reason) => Some(ErrorBody::api_error(*reason)),
        SourceEvent::ShuttingDown => Some(ErrorBody {
            kind: "overloaded_error",
            message: "The relay shut down before the answer was complete. Send the request again."
                .into(),
            error_code: None,
        }),
        SourceEvent::TimedOut => Some(ErrorBody::timeout_error(
            "The upstream sent nothing for too long, or the time limit of the request has passed. \
             Send the request again.",
        )),
        SourceEvent::End if reports_end => Some(ErrorBody::api_error(
            "The upstream's stream ended before the message was complete. Send the request again.",
        )),
        SourceEvent::End
        | SourceEvent::Aborted
        | SourceEvent::KeepAliveDue
        | SourceEvent::Chunk(_) => None,
    }
}

/// Returns whether Baton ended the answer, and not the upstream.
fn is_cut_by_relay(end_event: &SourceEvent) -> bool {
    match end_event {
        SourceEvent::Aborted
        | SourceEvent::ShuttingDown
        | SourceEvent::TimedOut
        | SourceEvent::ConnectionLost(RESPONSE_MEMORY_FULL) => true,
        SourceEvent::End
        | SourceEvent::ConnectionLost(_)
        | SourceEvent::KeepAliveDue
        | SourceEvent::Chunk(_) => false,
    }
}

#[cfg(test)]
mod tests;
