//! One journey through the console, from the first start to a rotated key. It uses only what is
//! written on the pages.

use baton_test_harness::eventually::eventually;
use baton_test_harness::system::{TestKey, TestSystem};

use crate::browser_window::BrowserWindow;

#[tokio::test]
async fn operator_creates_limits_and_rotates_a_key() {
    let mut system = TestSystem::builder().without_admin_token().start().await;
    let printed = system.process().stdout();
    let token = printed.lines().find(|line| line.trim_start().starts_with("admin token"));
    let token = token.and_then(|line| line.split_whitespace().last()).expect("an admin token");
    let window = BrowserWindow::open(&system.admin_url()).await;

    sign_in(&window, token).await;
    add_account(&window, &system.upstream.url()).await;
    let first = create_key(&window, &system.relay_url()).await;

    first.ask("hi").await.ok();
    assert_request_is_shown(&window).await;

    window.visit("/console/keys").await;
    window.click("ci").await;
    window.fill("Daily budget", "0.000001").await;
    window.click("Save").await;
    window.wait_for_text("Saved.").await;
    // Instances of the relay cache a key for some seconds.
    eventually("the limit holds", SOON, async || {
        let answer = first.ask("more").await;
        if answer.status == 429 { Ok(()) } else { Err(answer.text()) }
    })
    .await;

    window.click("Rotate this key (the old secret stops working at once)").await;
    window.click("Rotate").await;
    window.accept_dialog().await;
    window.wait_for_text("shown").await;
    let secret = window.text_of("secret").await;
    assert_ne!(secret, first.secret);
    window.visit("/console/keys").await;
    window.click("ci").await;
    window.fill("Daily budget", "").await;
    window.click("Save").await;
    window.wait_for_text("Saved.").await;
    let second = TestKey::found(&secret, &system.relay_url());
    eventually("the new secret opens", SOON, async || {
        let answer = second.ask("hi again").await;
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    })
    .await;
    eventually("the old secret is refused", SOON, async || {
        let answer = first.ask("hi").await;
        if answer.status == 401 { Ok(()) } else { Err(answer.text()) }
    })
    .await;

    window.click("Sign out").await;
    window.wait_for_text("Sign in to Baton").await;
    window.visit("/console/keys").await;
    window.wait_for_text("Sign in to Baton").await;
    assert_eq!(window.complaints().await, Vec::<String>::new());
    window.close().await;
}

const SOON: std::time::Duration = std::time::Duration::from_secs(30);

async fn sign_in(window: &BrowserWindow, token: &str) {
    window.visit("/").await;
    window.fill("Admin token or your key", "not the token").await;
    window.click("Sign in").await;
    window.wait_for_text("This token or key is not valid here.").await;
    window.fill("Admin token or your key", token).await;
    window.click("Sign in").await;
    window.wait_for_text("Add the first account").await;
    assert_eq!(window.path().await, "/console");
    // The browser logs the 403 of the wrong token as an error.
    drop(window.complaints().await);
}

async fn add_account(window: &BrowserWindow, upstream: &str) {
    window.visit("/console/accounts/new").await;
    window.fill("Name", "main").await;
    window.fill("Base URL", upstream).await;
    window.fill("API key", "sk-upstream-main").await;
    window.click("Add account").await;
    window.wait_for_text("ready").await;
    assert!(!window.text().await.contains("sk-upstream-main"));
}

async fn create_key(window: &BrowserWindow, relay: &str) -> TestKey {
    window.visit("/console/keys").await;
    window.click("New key").await;
    window.fill("Name", "ci").await;
    window.click("Create key").await;
    window.wait_for_text("ANTHROPIC_AUTH_TOKEN=").await;
    let secret = window.text_of("secret").await;
    assert!(window.text().await.contains(&format!("ANTHROPIC_BASE_URL={relay}")));
    TestKey::found(&secret, relay)
}

/// Checks that the request is on the overview and in the list of requests.
async fn assert_request_is_shown(window: &BrowserWindow) {
    let seen = eventually("the request is on the first page", SOON, async || {
        window.visit("/console").await;
        let tile = window.text_of("tile-requests").await;
        if tile.contains('1') { Ok(tile) } else { Err(tile) }
    })
    .await;
    assert!(seen.contains("Requests"), "{seen}");
    window.visit("/console/requests").await;
    window.wait_for_text("complete").await;
}
