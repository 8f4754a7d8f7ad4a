//! Access to everything outside of the process, with one module for each kind of side effect.
//!
//! Only this crate reads the clock, random numbers and the environment, talks to SQS and to
//! upstreams over HTTP, handles secrets and writes the log. Decisions belong to `domain`, formats
//! to `protocol`.

pub mod aws;
pub mod cache;
pub mod client_address;
pub mod clock;
pub mod dead_letters;
pub mod emf;
#[cfg(feature = "token-endpoint")]
pub mod identity_token;
#[cfg(feature = "lambda")]
pub mod lambda;
pub mod live_secret;
#[cfg(feature = "notifier")]
pub mod notifier;
#[cfg(feature = "metrics")]
pub mod observe;
#[cfg(feature = "outbound")]
pub mod openid;
pub mod peer_connection;
pub mod random;
pub mod settings;
pub mod signed_record;
pub mod telemetry;
#[cfg(feature = "token-endpoint")]
pub mod token_endpoint;
#[cfg(feature = "outbound")]
pub mod upstream;
pub mod usage_queue;
pub mod vault;
