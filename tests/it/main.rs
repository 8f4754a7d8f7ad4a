//! A file per promise, kept from outside. Payloads are files under `fixtures/`.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a check that many tests share may fail them where it stands"
)]

mod admin;
mod alerts;
mod audit;
mod bedrock;
mod bedrock_clients;
mod bench;
mod canary;
mod cli;
mod cli_alerts;
mod cli_completions;
mod cli_doctor;
mod cli_import;
mod cli_profiles;
mod cli_resources;
mod console;
mod console_prices;
mod console_sign_in;
mod cost_model;
mod crowded;
mod deployment;
mod dialects;
mod dialects_failures;
mod dialects_ledger;
mod dialects_models;
mod dialects_timers;
mod durability;
mod embedded_metrics;
mod errors;
mod export;
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
mod office_inside;
mod openapi;
mod otlp;
mod poison;
mod policies;
mod prices;
mod proxies;
mod reconcile;
mod recovery;
mod rerate;
mod retention;
mod roles;
mod scopes;
mod scopes_inside;
mod seats;
mod secrets;
mod sessions;
mod shutdown;
mod sign_in;
mod sign_in_console;
mod sign_in_openid;
mod signed_in;
mod spend_limits;
mod store_calls;
mod tidy;
mod timers;
mod transparency;
mod transparency_streams;
mod upstream;
mod usage;
mod users;
mod versions;
