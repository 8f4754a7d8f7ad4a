//! A file per promise, kept from outside. Payloads are files under `fixtures/`.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a check that many tests share may fail them where it stands"
)]

mod admin;
mod audit;
mod cli;
mod durability;
mod errors;
mod failover;
mod first_start;
mod instances;
mod lambda;
mod limits;
mod limits_inside;
mod office_inside;
mod openapi;
mod prices;
mod roles;
mod secrets;
mod shutdown;
mod store_calls;
mod tidy;
mod transparency;
mod transparency_streams;
mod upstream;
mod usage;
mod users;
mod versions;
