//! How much of each input is taken, and how long one is waited for.
//!
//! `docs/reference/bounds.md` has a row for each of them.

use super::{SettingsSource, table};
use std::time::Duration;

/// Bounds on what clients and upstreams may send.
#[derive(Debug, Clone)]
pub struct InputBounds {
    /// How long a client may take for the head of a request.
    pub head: Duration,
    /// How long a connection without a request is kept after the last answer.
    pub keep_alive: Duration,
    /// How long a client may take for the body of a request.
    pub body: Duration,
    /// In each stretch of this length, a body must bring `body_bytes_per_second` on average.
    pub body_stall: Duration,
    /// The least rate of a body.
    pub body_bytes_per_second: usize,
    /// How long a client may leave a piece of an answer unread.
    pub unread: Duration,
    /// Bytes of request bodies that are held at the same time, in all.
    pub held_bytes: usize,
    /// The same for one key.
    pub held_bytes_per_key: usize,
    /// Connections to the relay at the same time.
    pub connections: usize,
    /// The same from one address.
    pub connections_per_address: usize,
    /// Requests that wait for the store to tell their key, at the same time.
    pub waiting_requests: usize,
    /// Well-formed wrong keys from one address that are looked up without delay, in a minute.
    pub wrong_keys_per_minute: u32,
    /// The longest answer that is no stream, in bytes.
    pub answer_bytes: usize,
    /// How much an upstream may send before its first event, in bytes.
    pub first_event_bytes: usize,
    /// How long answers under way may go on after the stop.
    pub stop: Duration,
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
            stop: source.seconds(&table::STOP_SECONDS),
        }
    }
}
