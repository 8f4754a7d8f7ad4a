//! A file per promise, kept from outside. Payloads are files under `fixtures/`.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a check that many tests share may fail them where it stands"
)]

mod admin;
mod cli;
mod durability;
mod errors;
mod first_start;
mod limits;
mod limits_inside;
mod shutdown;
mod tidy;
mod transparency;
mod transparency_streams;
mod upstream;
mod usage;
