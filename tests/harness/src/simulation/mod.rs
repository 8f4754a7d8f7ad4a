//! Relay, queue, stats and refresh in one process over the embedded stores, with all faults chosen
//! by one number, the seed.
//!
//! The shipped libraries run unchanged. Only their surroundings are simulated: the connection to
//! the stores fails, instances die, clients leave, upstreams break off, clocks jump, and messages
//! arrive repeatedly and in any order. Time is tokio's paused time, so hours pass in milliseconds.
//! All work runs on one thread in order, so a seed always gives the same run. Afterwards [`oracle`]
//! compares the stored records with the upstream's ledger.

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
