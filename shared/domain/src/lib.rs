//! Types and pure functions of the domain.
//!
//! Nothing here does I/O, reads a clock, awaits, or uses floating point: the time and random
//! numbers are arguments. Every decision that needs no I/O belongs here, with its tests.

#![deny(clippy::float_arithmetic)]

pub mod account;
pub mod account_selection;
pub mod actor;
pub mod alert;
pub mod console_session;
pub mod cooldown_reason;
pub mod cost_factors;
pub mod cost_reduction;
pub mod effective_limits;
pub mod health;
pub mod id;
pub mod identity;
pub mod key;
pub mod limit;
mod listed_price;
pub mod litellm_prices;
pub mod metric;
pub mod model;
pub mod model_capabilities;
pub mod model_catalog;
pub mod money;
pub mod own_price;
pub mod price;
pub mod printable;
pub mod protocol;
pub mod reconcile;
pub mod record;
pub mod relay_key;
pub mod request_tier;
pub mod rerate;
pub mod reservation;
pub mod rollup;
pub mod runtime_settings;
#[cfg(feature = "schema")]
mod schema;
pub mod scope;
pub mod secret;
pub mod sold_price;
pub mod spend_limit;
pub mod spreadsheet;
pub mod token_rates;
pub mod upstream_token;
pub mod url_origin;
pub mod usage;
pub mod vendor;
pub mod verdict;
