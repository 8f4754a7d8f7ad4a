//! Screenshots of every page for people to look at, and automatic checks of width and errors.

use std::path::{Path, PathBuf};

use baton_test_harness::system::{TestSystem, target_folder};

use crate::browser_window::{BrowserWindow, ScreenSize};
use crate::demo_company::DemoCompany;

/// How a screenshot is taken: its name, the screen, and the color scheme.
const LOOKS: [(&str, ScreenSize, &str); 3] = [
    ("light", ScreenSize::Desk, "light"),
    ("dark", ScreenSize::Desk, "dark"),
    ("phone", ScreenSize::Phone, "light"),
];

#[tokio::test]
async fn pages_fit_a_phone_without_browser_errors() {
    let (system, company) = start_with_company().await;
    let window = signed_in(&system, system.admin_token()).await;
    window.show_on(ScreenSize::Phone, "light").await;
    for (name, path) in company.pages(&system).await {
        window.visit(&path).await;
        assert_eq!(window.overflow().await, 0, "{name} is wider than the screen");
        assert_eq!(window.complaints().await, Vec::<String>::new(), "{name}");
    }
    window.close().await;
}

#[tokio::test]
#[ignore = "it writes screenshots for people to look at"]
async fn take_screenshots() {
    let folder = target_folder().join("screenshots");
    std::fs::create_dir_all(&folder).expect("a folder for the pictures");
    let (system, company) = start_with_company().await;
    let admin = signed_in(&system, system.admin_token()).await;
    let mut pages = company.pages(&system).await;
    take_all(&admin, &folder, &pages).await;
    admin.close().await;

    let member = signed_in(&system, &company.member).await;
    pages = to_pages(&[
        ("member-keys", "/console/mine"),
        ("member-usage", "/console/mine/usage"),
        ("member-refused", "/console/users"),
    ]);
    take_all(&member, &folder, &pages).await;
    member.click("Sign out").await;
    member.wait_for_text("Sign in to Baton").await;
    take_all(&member, &folder, &to_pages(&[("sign-in", "/console/sign-in")])).await;
    member.close().await;

    let empty = TestSystem::empty().await;
    let window = signed_in(&empty, empty.admin_token()).await;
    pages = to_pages(&[
        ("empty-overview", "/console"),
        ("empty-accounts", "/console/accounts"),
        ("empty-keys", "/console/keys"),
    ]);
    take_all(&window, &folder, &pages).await;
    window.close().await;
}

async fn start_with_company() -> (TestSystem, DemoCompany) {
    let mut system = TestSystem::empty().await;
    let company = DemoCompany::create(&system).await;
    let again = system.process().again();
    system.process().terminate();
    system.process().ended();
    company.store_month(&again.home().join("data")).await;
    system.started_again(&again).await;
    (system, company)
}

async fn signed_in(system: &TestSystem, secret: &str) -> BrowserWindow {
    let window = BrowserWindow::open(&system.admin_url()).await;
    window.visit("/console/sign-in").await;
    window.fill("Admin token or your key", secret).await;
    window.click("Sign in").await;
    window.wait_for_text("Sign out").await;
    window
}

fn to_pages(pages: &[(&str, &str)]) -> Vec<(String, String)> {
    pages.iter().map(|(name, path)| ((*name).to_owned(), (*path).to_owned())).collect()
}

async fn take_all(window: &BrowserWindow, folder: &Path, pages: &[(String, String)]) {
    for (look, screen, scheme) in LOOKS {
        window.show_on(screen, scheme).await;
        for (name, path) in pages {
            window.visit(path).await;
            let file: PathBuf = folder.join(format!("{name}-{look}.png"));
            window.picture(&file).await;
        }
    }
}
