//! End-to-end tests: one file for each feature. The recorded payloads are under `fixtures/`.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "shared checks fail the test that calls them"
)]

mod admin;
mod admin_store_calls;
mod alerts;
mod audit;
mod batched_sends;
mod bedrock;
mod bedrock_clients;
mod bench;
mod canary;
mod cli;
mod concurrency_and_utilization;
mod concurrency_slots;
mod console;
mod cost_model;
mod cross_origin;
mod data_of_0_1_0;
mod dead_letters;
mod deployment;
mod documented_commands;
mod durability;
mod embedded_metrics;
mod errors;
mod export;
mod failover;
mod first_start;
mod guide;
mod injected_faults;
mod instances;
mod lambda;
mod last_resort;
mod limits;
mod metrics;
mod openapi;
mod otlp;
mod panics;
mod policies;
mod prices;
mod protocols;
mod proxies;
mod reconcile;
mod recovery;
mod references;
mod repository_shape;
mod rerate;
mod retention;
mod rights;
mod roles;
mod secret_rotation;
mod secrets;
mod session_pins;
mod sessions;
mod shared_limits;
mod shutdown;
mod spend_limits;
mod stop_without_stores;
mod store_calls;
mod timers;
mod token_renewal;
mod transparency;
mod unusable_answers;
mod unusable_streams;
mod upstream;
mod upstream_sign_in;
mod usage;
mod users;
mod versions;
