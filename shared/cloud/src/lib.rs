//! What is reached: every side effect, behind one door each.
//!
//! The clock, randomness, the environment, AWS, upstreams over HTTP, secrets and the log are
//! touched here and nowhere else. Decisions belong to `domain`, formats to `wire`.

pub mod aws;
pub mod cache;
pub mod client_address;
pub mod clock;
pub mod dead_letters;
pub mod emf;
pub mod identity_token;
#[cfg(feature = "lambda")]
pub mod lambda;
pub mod live_secret;
pub mod notifier;
pub mod observe;
pub mod openid;
pub mod peer_connection;
pub mod random;
pub mod settings;
pub mod signed_record;
pub mod store;
pub mod telemetry;
pub mod token_endpoint;
pub mod token_renewal;
pub mod upstream;
pub mod usage_queue;
pub mod vault;
