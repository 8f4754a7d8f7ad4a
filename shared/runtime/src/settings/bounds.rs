//! Bounds of inputs: how much is accepted, and how long it is waited for.
//!
//! `docs/reference/bounds.md` has a row for each of them.

use super::{SettingsSource, table};
use std::time::Duration;

/// Bounds on what clients and upstreams can send.
#[derive(Debug, Clone)]
pub struct InputBounds {
    /// How long a client can take to send the head of a request.
    pub head: Duration,
    /// How long an idle connection is kept after the last answer.
    pub keep_alive: Duration,
    /// How long a client can take to send the body of a request.
    pub body: Duration,
    /// The time over which a body must reach `body_bytes_per_second` on average.
    pub body_stall: Duration,
    /// The lowest accepted rate of a body.
    pub body_bytes_per_second: usize,
    /// How long a client can leave a piece of an answer unread.
    pub unread: Duration,
    /// The most bytes of request bodies that are held at the same time.
    pub held_bytes: usize,
    /// The same limit for each key.
    pub held_bytes_per_key: usize,
    /// The most connections to the relay at the same time.
    pub connections: usize,
    /// The same limit for each client address.
    pub connections_per_address: usize,
    /// The most requests that can wait at the same time for the store to look up their key.
    pub waiting_requests: usize,
    /// Well-formed wrong keys from one address that are looked up without delay, per minute.
    pub wrong_keys_per_minute: u32,
    /// The largest answer that is not streamed, in bytes.
    pub answer_bytes: usize,
    /// The most bytes that an upstream can send before its first event.
    pub first_event_bytes: usize,
    /// How long open answers can continue after the process starts to stop.
    pub shutdown_grace: Duration,
}

impl InputBounds {
    pub(super) fn from_source(source: &mut SettingsSource<'_>) -> Self {
        Self {
            head: source.seconds(&table::HEAD_SECONDS),
            keep_alive: source.seconds(&table::KEEP_ALIVE_SECONDS),
            body: source.seconds(&table::BODY_SECONDS),
            body_stall: source.seconds(&table::BODY_STALL_SECONDS),
            body_bytes_per_second: source.parse_or_default(&table::BODY_BYTES_PER_SECOND),
            unread: source.seconds(&table::UNREAD_SECONDS),
            held_bytes: source.parse_or_default(&table::HELD_BYTES_MAX),
            held_bytes_per_key: source.parse_or_default(&table::HELD_BYTES_PER_KEY),
            connections: source.parse_or_default(&table::CONNECTIONS_MAX),
            connections_per_address: source.parse_or_default(&table::CONNECTIONS_PER_ADDRESS),
            waiting_requests: source.parse_or_default(&table::WAITING_REQUESTS_MAX),
            wrong_keys_per_minute: source.parse_or_default(&table::WRONG_KEYS_PER_MINUTE),
            answer_bytes: source.parse_or_default(&table::ANSWER_BYTES_MAX),
            first_event_bytes: source.parse_or_default(&table::FIRST_EVENT_BYTES_MAX),
            shutdown_grace: source.seconds(&table::STOP_SECONDS),
        }
    }
}
