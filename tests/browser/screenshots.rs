//! Pictures of every page, to be looked at; and what can be said of pages without eyes.

use std::path::{Path, PathBuf};

use baton_tests::house::{TestSystem, target_folder};

use crate::browser_window::{BrowserWindow, ScreenSize};
use crate::demo_company::DemoCompany;

/// How a picture is taken: its name, the screen, and the colours.
const LOOKS: [(&str, ScreenSize, &str); 3] = [
    ("light", ScreenSize::Desk, "light"),
    ("dark", ScreenSize::Desk, "dark"),
    ("phone", ScreenSize::Phone, "light"),
];

#[tokio::test]
async fn no_page_is_wider_than_a_phone_and_the_browser_complains_of_none() {
    let (house, company) = settled().await;
    let window = signed_in(&house, house.admin_token()).await;
    window.show_on(ScreenSize::Phone, "light").await;
    for (name, path) in company.pages(&house).await {
        window.visit(&path).await;
        assert_eq!(window.overflow().await, 0, "{name} is wider than the screen");
        assert_eq!(window.complaints().await, Vec::<String>::new(), "{name}");
    }
    window.close().await;
}

#[tokio::test]
#[ignore = "it takes pictures, which people look at"]
async fn every_page_has_its_picture() {
    let folder = target_folder().join("screenshots");
    std::fs::create_dir_all(&folder).expect("a folder for the pictures");
    let (house, company) = settled().await;
    let admin = signed_in(&house, house.admin_token()).await;
    let mut pages = company.pages(&house).await;
    take(&admin, &folder, &pages).await;
    admin.close().await;

    let member = signed_in(&house, &company.member).await;
    pages = named(&[
        ("member-keys", "/console/mine"),
        ("member-usage", "/console/mine/usage"),
        ("member-refused", "/console/users"),
    ]);
    take(&member, &folder, &pages).await;
    member.click("Sign out").await;
    member.sees("Sign in to Baton").await;
    take(&member, &folder, &named(&[("sign-in", "/console/sign-in")])).await;
    member.close().await;

    let empty = TestSystem::empty().await;
    let window = signed_in(&empty, empty.admin_token()).await;
    pages = named(&[
        ("empty-overview", "/console"),
        ("empty-accounts", "/console/accounts"),
        ("empty-keys", "/console/keys"),
    ]);
    take(&window, &folder, &pages).await;
    window.close().await;
}

async fn settled() -> (TestSystem, DemoCompany) {
    let mut house = TestSystem::empty().await;
    let company = DemoCompany::settle(&house).await;
    let again = house.process().again();
    house.process().terminate();
    house.process().ended();
    company.remember(&again.home().join("data")).await;
    house.started_again(again).await;
    (house, company)
}

async fn signed_in(house: &TestSystem, secret: &str) -> BrowserWindow {
    let window = BrowserWindow::open(&house.admin_url()).await;
    window.visit("/console/sign-in").await;
    window.fill("Admin token or your key", secret).await;
    window.click("Sign in").await;
    window.sees("Sign out").await;
    window
}

fn named(pages: &[(&str, &str)]) -> Vec<(String, String)> {
    pages.iter().map(|(name, path)| ((*name).to_owned(), (*path).to_owned())).collect()
}

async fn take(window: &BrowserWindow, folder: &Path, pages: &[(String, String)]) {
    for (look, screen, scheme) in LOOKS {
        window.show_on(screen, scheme).await;
        for (name, path) in pages {
            window.visit(path).await;
            let file: PathBuf = folder.join(format!("{name}-{look}.png"));
            window.picture(&file).await;
        }
    }
}
