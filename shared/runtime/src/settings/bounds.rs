//! Bounds of inputs: the largest size of each input, and how long Baton waits for it.
//!
//! `docs/reference/bounds.md` has a row for each of them.

use super::section::section;
use std::time::Duration;

section! {
    /// Bounds on what clients and upstreams can send.
    #[derive(Debug, Clone)]
    InputBounds("Bounds") {
        /// A larger request body is refused with 413; on Lambda the platform's limit of 6 MB comes
        /// first.
        body_bytes: usize = BATON_BODY_BYTES_MAX("bytes").or("33554432");
        /// A client can take this long to send a request body.
        body: Duration = BATON_BODY_SECONDS("seconds").or("300");
        /// The rate of a request body is measured over periods of this length.
        body_stall: Duration = BATON_BODY_STALL_SECONDS("seconds").or("20");
        /// A request body that arrives more slowly than this is refused with 408.
        body_bytes_per_second: usize = BATON_BODY_BYTES_PER_SECOND("bytes").or("1024");
        /// All keys together can have this much of requests in memory until upstreams answer.
        held_bytes: usize = BATON_HELD_BYTES_MAX("bytes").or("134217728");
        /// One key can have this much of requests in memory until upstreams answer.
        held_bytes_per_key: usize = BATON_HELD_BYTES_PER_KEY("bytes").or("67108864");
        /// A client can take this long to send the headers of a request.
        head: Duration = BATON_HEAD_SECONDS("seconds").or("30");
        /// Baton closes a connection without requests after this time.
        keep_alive: Duration = BATON_KEEP_ALIVE_SECONDS("seconds").or("75");
        /// Baton closes a connection whose client reads nothing of a waiting response for this
        /// long.
        unread: Duration = BATON_UNREAD_SECONDS("seconds").or("120");
        /// This many connections can be open at the same time, for the relay and for the admin API
        /// each.
        connections: usize = BATON_CONNECTIONS_MAX("number").or("10000");
        /// One client address can have this many connections open at the same time.
        connections_per_address: usize = BATON_CONNECTIONS_PER_ADDRESS("number").or("4000");
        /// This many requests can wait at the same time until the store has returned their key.
        waiting_requests: usize = BATON_WAITING_REQUESTS_MAX("number").or("2048");
        /// One client address can send this many unknown keys in a minute before they are delayed.
        wrong_keys_per_minute: u32 = BATON_WRONG_KEYS_PER_MINUTE("number").or("60");
        /// A larger response that is not a stream fails with 502.
        answer_bytes: usize = BATON_ANSWER_BYTES_MAX("bytes").or("33554432");
        /// A stream that sends more than this before its first event fails with 502.
        first_event_bytes: usize = BATON_FIRST_EVENT_BYTES_MAX("bytes").or("1048576");
        /// Responses under way can go on for this long after SIGTERM or Ctrl-C; then they end with
        /// an error and are recorded.
        shutdown_grace: Duration = BATON_STOP_SECONDS("seconds").or("60");
    }
}
