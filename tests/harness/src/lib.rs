//! The harness of all suites.
//!
//! [`system::TestSystem`] is Baton as its users start it, used over HTTP and the command line.
//! [`system::InProcessSystem`] is its libraries over stores in memory, for tests that look inside.
//! [`upstream::FakeUpstream`] plays the upstream.
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

pub mod client_matrix;
pub mod client_response;
pub mod collector;
pub mod console_client;
pub mod cost;
pub mod eventually;
pub mod faulty_proxy;
pub mod fixtures;
pub mod injected_faults;
pub mod lambda;
pub mod month_of_usage;
pub mod program;
pub mod proxy;
pub mod repeatable_aws;
pub mod secrets_manager;
pub mod signing_in;
pub mod simulation;
pub mod stores;
pub mod system;
pub mod table_rights;
pub mod token_endpoint;
pub mod twin_upstream;
pub mod upstream;
