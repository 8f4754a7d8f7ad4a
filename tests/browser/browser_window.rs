//! A window of headless Chromium. It finds fields and buttons by the text on the page, as a person
//! does.
//!
//! A page can disappear while a test reads it, because the next one is loading. Each query is
//! therefore repeated until it succeeds.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use baton_test_harness::eventually::eventually;
use baton_test_harness::program::Program;
use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::{LoggingPrefsLogLevel, prelude::*};

const PAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// A browser window. The test closes it with [`BrowserWindow::close`].
pub(crate) struct BrowserWindow {
    driver: WebDriver,
    /// Address that all paths are relative to.
    base: String,
    _program: Program,
    _home: TempDir,
}

/// The screen on which a page is shown.
#[derive(Clone, Copy)]
pub(crate) enum ScreenSize {
    Desk,
    Phone,
}

impl BrowserWindow {
    /// Opens a window with an empty profile for the pages below `base`.
    pub(crate) async fn open(base: &str) -> Self {
        let home = TempDir::with_prefix("baton-browser-").expect("a folder for the browser");
        let mut command = Command::new("chromedriver");
        let program = Program::start(command.arg("--port=0").env("HOME", home.path()));
        let port = eventually(
            "chromedriver, which Debian has as chromium-driver",
            PAGE_TIMEOUT,
            async || {
                let output = program.stdout();
                let tail = output.split("started successfully on port ").nth(1);
                let port = tail.and_then(|rest| rest.split('.').next()?.parse::<u16>().ok());
                port.ok_or(output)
            },
        )
        .await;
        let mut wanted = DesiredCapabilities::chrome();
        // Chromium cannot create its sandbox as root in a container. Only our own pages are opened.
        for argument in ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage"] {
            wanted.add_arg(argument).expect("an argument");
        }
        wanted.set_logging_prefs("browser", LoggingPrefsLogLevel::All).expect("a level");
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), wanted).await;
        let driver = driver.expect("a window of Chromium");
        let window = Self { driver, base: base.to_owned(), _program: program, _home: home };
        window.show_on(ScreenSize::Desk, "light").await;
        window
    }

    /// Shows pages on this screen, in the color scheme `light` or `dark`.
    pub(crate) async fn show_on(&self, screen: ScreenSize, scheme: &str) {
        let (width, height, mobile) = match screen {
            ScreenSize::Desk => (1280, 900, false),
            ScreenSize::Phone => (390, 844, true),
        };
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", media).await;
    }

    /// Opens a path of the console.
    pub(crate) async fn visit(&self, path: &str) {
        self.driver.goto(format!("{}{path}", self.base)).await.expect("a page");
    }

    /// Path of the current page.
    pub(crate) async fn path(&self) -> String {
        let url = self.driver.current_url().await.expect("an address");
        url.path().to_owned()
    }

    /// Waits until the page contains this text.
    pub(crate) async fn wait_for_text(&self, text: &str) {
        eventually(&format!("the page says {text:?}"), PAGE_TIMEOUT, async || {
            let page = self.text().await;
            if page.contains(text) { Ok(()) } else { Err(page) }
        })
        .await;
    }

    /// Visible text of the page. It is empty while the next page is loading.
    pub(crate) async fn text(&self) -> String {
        match self.driver.find(By::Tag("body")).await {
            Ok(body) => body.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// Replaces the content of the field with this label.
    pub(crate) async fn fill(&self, label: &str, value: &str) {
        let label = quoted(label);
        let path = format!(
            "//*[@id=//label[normalize-space()={label}]/@for] \
             | //label[normalize-space(text())={label}]//*[self::input or self::select or self::textarea] \
             | //*[@aria-label={label}][self::input or self::select or self::textarea]"
        );
        eventually(&format!("the field {label} takes text"), PAGE_TIMEOUT, async || {
            let field = self.driver.find(By::XPath(&*path)).await?;
            field.clear().await?;
            field.send_keys(value).await
        })
        .await;
    }

    /// Clicks the button or link with this text.
    pub(crate) async fn click(&self, text: &str) {
        let text = quoted(text);
        let path = format!(
            "//button[normalize-space()={text}] | //a[normalize-space()={text}] \
             | //summary[normalize-space()={text}]"
        );
        eventually(&format!("the button or link {text}"), PAGE_TIMEOUT, async || {
            self.driver.find(By::XPath(&*path)).await?.click().await
        })
        .await;
    }

    /// Accepts the confirmation dialog of the page.
    pub(crate) async fn accept_dialog(&self) {
        eventually("the page asks", PAGE_TIMEOUT, async || self.driver.accept_alert().await).await;
    }

    /// Text of the element with this id.
    pub(crate) async fn text_of(&self, id: &str) -> String {
        eventually(&format!("the element {id}"), PAGE_TIMEOUT, async || {
            self.driver.find(By::Id(id)).await?.text().await
        })
        .await
    }

    /// Writes a screenshot of the whole page.
    pub(crate) async fn picture(&self, file: &Path) {
        let parameters = json!({"captureBeyondViewport": true});
        let answer = self.devtools("Page.captureScreenshot", parameters).await;
        let png = answer["data"].as_str().and_then(|data| STANDARD.decode(data).ok());
        std::fs::write(file, png.expect("a picture")).expect("write the picture");
    }

    /// Pixels by which the page is wider than the screen.
    pub(crate) async fn overflow(&self) -> i64 {
        let script = "const e = document.documentElement; return e.scrollWidth - e.clientWidth;";
        let wide = self.driver.execute(script, vec![]).await.expect("a width");
        wide.json().as_i64().expect("a number")
    }

    /// Errors and warnings of the browser since the last call: refused scripts, missing files.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let entries = self.driver.browser_log().await.expect("the browser's log");
        // Entries of lower levels are recommendations.
        let bad =
            entries.into_iter().filter(|entry| ["SEVERE", "WARNING"].contains(&&*entry.level));
        bad.map(|entry| format!("{entry:?}")).collect()
    }

    /// Closes the browser.
    pub(crate) async fn close(self) {
        self.driver.quit().await.expect("the browser to end");
    }

    async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.driver.cdp().send_raw(command, parameters).await.expect("a command")
    }
}

/// A text as an `XPath` literal.
fn quoted(text: &str) -> String {
    assert!(!text.contains('"'), "XPath has no way to write {text:?}");
    format!("\"{text}\"")
}
