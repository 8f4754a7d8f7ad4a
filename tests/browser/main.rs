//! The console in a real browser: headless Chromium goes through it as an operator would.
//!
//! `cargo test -p baton-tests --test browser` needs Debian's `chromium` and `chromium-driver`. With
//! `-- --ignored` it takes pictures of every page, light, dark and as wide as a phone, into
//! `target/screenshots`.
#![expect(
    clippy::expect_used,
    reason = "a check that many tests share may fail them where it stands"
)]

mod browser_window;
mod demo_company;
mod journey;
mod screenshots;
