//! How much of each input is taken, and how long one is waited for.
//!
//! `docs/reference/bounds.md` has a row for each of them.

use super::Source;
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
    pub(super) fn read(source: &mut Source<'_>) -> Self {
        Self {
            head: source.seconds("BATON_HEAD_SECONDS", "30"),
            keep_alive: source.seconds("BATON_KEEP_ALIVE_SECONDS", "75"),
            body: source.seconds("BATON_BODY_SECONDS", "300"),
            body_stall: source.seconds("BATON_BODY_STALL_SECONDS", "20"),
            body_bytes_per_second: source.parsed("BATON_BODY_BYTES_PER_SECOND", "1024"),
            unread: source.seconds("BATON_UNREAD_SECONDS", "120"),
            held_bytes: source.parsed("BATON_HELD_BYTES_MAX", "134217728"),
            held_bytes_per_key: source.parsed("BATON_HELD_BYTES_PER_KEY", "67108864"),
            connections: source.parsed("BATON_CONNECTIONS_MAX", "10000"),
            connections_per_address: source.parsed("BATON_CONNECTIONS_PER_ADDRESS", "4000"),
            waiting_requests: source.parsed("BATON_WAITING_REQUESTS_MAX", "2048"),
            wrong_keys_per_minute: source.parsed("BATON_WRONG_KEYS_PER_MINUTE", "60"),
            answer_bytes: source.parsed("BATON_ANSWER_BYTES_MAX", "33554432"),
            first_event_bytes: source.parsed("BATON_FIRST_EVENT_BYTES_MAX", "1048576"),
            stop: source.seconds("BATON_STOP_SECONDS", "60"),
        }
    }
}
