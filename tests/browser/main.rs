//! The console in a real browser: headless Chromium goes through it as an operator would.
//!
//! `cargo test -p baton-tests --test browser` needs Debian's `chromium` and `chromium-driver`.
//! With `-- --ignored` it draws every page, light and dark, into `target/screenshots`.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a check that many tests share may fail them where it stands"
)]

mod window;

use baton_tests::house::House;
use window::Window;

#[tokio::test]
async fn smoke() {
    let house = House::open().await;
    let window = Window::open(house.admin().url()).await;
    window.visit("/health").await;
    println!("{}", window.text().await);
    window.picture(std::path::Path::new("/tmp/smoke.png")).await;
    println!("{} {:?} {}", window.path().await, window.complaints().await, window.overflow().await);
    window.close().await;
}
