//! What is reached: every side effect, behind one door each.
//!
//! The clock, randomness, the environment, AWS, upstreams over HTTP, secrets and the log are
//! touched here and nowhere else. Decisions belong to `domain`, formats to `wire`.

pub mod aws;
pub mod cache;
pub mod client_address;
pub mod clock;
pub mod dead_letters;
pub mod dice;
pub mod emf;
pub mod herald;
pub mod identity_token;
#[cfg(feature = "lambda")]
pub mod lambda;
pub mod live_secret;
pub mod observe;
pub mod openid;
pub mod peer;
pub mod queue;
pub mod settings;
pub mod sign_in;
pub mod signed_record;
pub mod store;
pub mod telemetry;
pub mod token_endpoint;
pub mod upstream;
pub mod vault;
