//! The console in a real browser. Headless Chromium uses it as an operator does.
//!
//! `cargo test -p baton-tests --features browser --test browser` needs Debian's `chromium` and
//! `chromium-driver`. With
//! `-- --ignored` it writes screenshots of every page (light, dark and as wide as a phone) to
//! `target/screenshots`.
#![expect(clippy::expect_used, reason = "shared checks fail the test that calls them")]

mod browser_window;
mod demo_company;
mod journey;
mod screenshots;
