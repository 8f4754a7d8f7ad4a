//! Relay, queue, stats and refresh in one process over the embedded stores, with everything that
//! goes wrong chosen by one number, the seed.
//!
//! Nothing of Baton is replaced: it is the shipped libraries that run. Only what is around them is
//! played: the line to the stores fails, instances die, clients leave, upstreams break off, clocks
//! jump, messages come often and in any order. Time is tokio's, paused, so that hours pass in
//! milliseconds; all work is done on one thread, in order, so that a seed always does the same.
//! Afterwards [`oracle`] compares what is stored with what the upstream's own ledger says.

mod background_functions;
mod client;
mod instance;
mod instance_life;
pub mod oracle;
mod plan;
mod record_log;
mod run;
mod simulated_world;
mod store_conditions;
mod upstream;

pub use run::{RunReport, account_of, run};
