//! A file per promise, kept from outside. Payloads are files under `fixtures/`.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a check that many tests share may fail them where it stands"
)]

mod admin;
mod bedrock;
mod bedrock_clients;
mod canary;
mod cli;
mod cli_completions;
mod cli_doctor;
mod cli_import;
mod cli_profiles;
mod cli_resources;
mod cost_model;
mod crowded;
mod deployment;
mod durability;
mod embedded_metrics;
mod errors;
mod failover;
mod first_start;
mod guide;
mod instances;
mod lambda;
mod last_resort;
mod limits;
mod limits_inside;
mod metrics;
mod moved;
mod otlp;
mod poison;
mod policies;
mod proxies;
mod recovery;
mod retention;
mod scopes;
mod scopes_inside;
mod seats;
mod secrets;
mod shutdown;
mod sign_in;
mod signed_in;
mod spend_limits;
mod store_calls;
mod tidy;
mod timers;
mod transparency;
mod transparency_streams;
mod upstream;
mod usage;
