//! A file per promise, kept from outside. Payloads are files under `fixtures/`.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a check that many tests share may fail them where it stands"
)]

mod admin;
mod alerts;
mod cli;
mod cli_completions;
mod cli_doctor;
mod cli_import;
mod cli_profiles;
mod cli_resources;
mod durability;
mod errors;
mod export;
mod failover;
mod first_start;
mod instances;
mod lambda;
mod limits;
mod limits_inside;
mod reconcile;
mod rerate;
mod secrets;
mod shutdown;
mod store_calls;
mod tidy;
mod transparency;
mod transparency_streams;
mod upstream;
mod usage;
