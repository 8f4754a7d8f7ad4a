//! From the first start to a rotated key, by what is written on the pages.

use baton_tests::eventually::eventually;
use baton_tests::house::{LaunchOptions, TestKey, TestSystem};

use crate::browser_window::BrowserWindow;

#[tokio::test]
async fn an_operator_goes_from_the_first_start_to_a_rotated_key() {
    let mut house = TestSystem::launched(LaunchOptions::new().without_admin_token()).await;
    let printed = house.process().stdout();
    let token = printed.lines().find(|line| line.trim_start().starts_with("admin token"));
    let token = token.and_then(|line| line.split_whitespace().last()).expect("an admin token");
    let window = BrowserWindow::open(&house.admin_url()).await;

    sign_in(&window, token).await;
    add_account(&window, &house.upstream.url()).await;
    let first = create_key(&window, &house.relay_url()).await;

    first.ask("hi").await.ok();
    is_counted(&window).await;

    window.visit("/console/keys").await;
    window.click("ci").await;
    window.fill("Daily budget", "0.000001").await;
    window.click("Save").await;
    window.sees("Saved.").await;
    // Instances hold a key for some seconds.
    eventually("the limit holds", SOON, async || {
        let answer = first.ask("more").await;
        if answer.status == 429 { Ok(()) } else { Err(answer.text()) }
    })
    .await;

    window.click("Rotate this key (the old secret stops working at once)").await;
    window.click("Rotate").await;
    window.agree().await;
    window.sees("shown").await;
    let secret = window.text_of("secret").await;
    assert_ne!(secret, first.secret);
    window.visit("/console/keys").await;
    window.click("ci").await;
    window.fill("Daily budget", "").await;
    window.click("Save").await;
    window.sees("Saved.").await;
    let second = TestKey::found(&secret, &house.relay_url());
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
    window.sees("Sign in to Baton").await;
    window.visit("/console/keys").await;
    window.sees("Sign in to Baton").await;
    assert_eq!(window.complaints().await, Vec::<String>::new());
    window.close().await;
}

const SOON: std::time::Duration = std::time::Duration::from_secs(30);

async fn sign_in(window: &BrowserWindow, token: &str) {
    window.visit("/").await;
    window.fill("Admin token or your key", "not the token").await;
    window.click("Sign in").await;
    window.sees("This token or key is not valid here.").await;
    window.fill("Admin token or your key", token).await;
    window.click("Sign in").await;
    window.sees("Add the first account").await;
    assert_eq!(window.path().await, "/console");
    // A wrong token is an error that the browser notes.
    drop(window.complaints().await);
}

async fn add_account(window: &BrowserWindow, upstream: &str) {
    window.visit("/console/accounts/new").await;
    window.fill("Name", "main").await;
    window.fill("Base URL", upstream).await;
    window.fill("API key", "sk-upstream-main").await;
    window.click("Add account").await;
    window.sees("ready").await;
    assert!(!window.text().await.contains("sk-upstream-main"));
}

async fn create_key(window: &BrowserWindow, relay: &str) -> TestKey {
    window.visit("/console/keys").await;
    window.click("New key").await;
    window.fill("Name", "ci").await;
    window.click("Create key").await;
    window.sees("ANTHROPIC_AUTH_TOKEN=").await;
    let secret = window.text_of("secret").await;
    assert!(window.text().await.contains(&format!("ANTHROPIC_BASE_URL={relay}")));
    TestKey::found(&secret, relay)
}

/// The request that was made is on the first page and in the list of requests.
async fn is_counted(window: &BrowserWindow) {
    let seen = eventually("the request is on the first page", SOON, async || {
        window.visit("/console").await;
        let tile = window.text_of("tile-requests").await;
        if tile.contains('1') { Ok(tile) } else { Err(tile) }
    })
    .await;
    assert!(seen.contains("Requests"), "{seen}");
    window.visit("/console/requests").await;
    window.sees("complete").await;
}
