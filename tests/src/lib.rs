//! The promises, kept from outside: harness, real clients, benchmarks, tidy.
//!
//! Nothing here looks inside Baton, but for [`inside`]: it is started as its users start it and
//! spoken to over HTTP and the command line. The other end of the wire, the upstream, is [`upstream::FakeUpstream`].
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a harness that cannot do its work fails the test that uses it, there and then"
)]
#![expect(
    clippy::return_self_not_must_use,
    reason = "checks are chained, and the last one is dropped"
)]

pub mod answer;
pub mod back_office;
pub mod collector;
pub mod cost;
pub mod desk;
pub mod eventually;
pub mod fixtures;
pub mod front;
pub mod house;
pub mod inside;
pub mod lambda;
pub mod month;
pub mod program;
pub mod proxy;
pub mod rights;
pub mod secrets_manager;
pub mod signing_in;
pub mod simulation;
pub mod token_endpoint;
pub mod upstream;
