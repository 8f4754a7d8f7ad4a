//! A window of headless Chromium, driven as a person would: by what is written on the page.
//!
//! A page may go while it is looked at, since the next one is on its way: what is asked of a page
//! is asked again until it is answered.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use baton_tests::eventually::eventually;
use baton_tests::program::Program;
use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::{LoggingPrefsLogLevel, prelude::*};

const PATIENCE: Duration = Duration::from_secs(30);

/// A window. Whoever has done with it closes it.
pub(crate) struct BrowserWindow {
    driver: WebDriver,
    /// The address that paths are below.
    base: String,
    _program: Program,
    _home: TempDir,
}

/// What a page is shown on.
#[derive(Clone, Copy)]
pub(crate) enum ScreenSize {
    Desk,
    Phone,
}

impl BrowserWindow {
    /// Opens a window for the pages below `base`, which remembers nothing of any other.
    pub(crate) async fn open(base: &str) -> Self {
        let home = TempDir::with_prefix("baton-browser-").expect("a folder for the browser");
        let mut command = Command::new("chromedriver");
        let program = Program::start(command.arg("--port=0").env("HOME", home.path()));
        let port =
            eventually("chromedriver, which Debian has as chromium-driver", PATIENCE, async || {
                let said = program.stdout();
                let told = said.split("started successfully on port ").nth(1);
                let port = told.and_then(|rest| rest.split('.').next()?.parse::<u16>().ok());
                port.ok_or(said)
            })
            .await;
        let mut wanted = DesiredCapabilities::chrome();
        // Without a sandbox, since a container's root cannot make one: it opens our pages only.
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

    /// Shows pages on this screen, in `light` or `dark`.
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

    /// Goes to a path of the console.
    pub(crate) async fn visit(&self, path: &str) {
        self.driver.goto(format!("{}{path}", self.base)).await.expect("a page");
    }

    /// The path that is shown.
    pub(crate) async fn path(&self) -> String {
        let url = self.driver.current_url().await.expect("an address");
        url.path().to_owned()
    }

    /// Waits until the page says this.
    pub(crate) async fn sees(&self, text: &str) {
        eventually(&format!("the page says {text:?}"), PATIENCE, async || {
            let said = self.text().await;
            if said.contains(text) { Ok(()) } else { Err(said) }
        })
        .await;
    }

    /// What can be read on the page: nothing while the next one is on its way.
    pub(crate) async fn text(&self) -> String {
        match self.driver.find(By::Tag("body")).await {
            Ok(body) => body.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// Writes into the field with this label, in the place of what is there.
    pub(crate) async fn fill(&self, label: &str, value: &str) {
        let label = quoted(label);
        let path = format!(
            "//*[@id=//label[normalize-space()={label}]/@for] \
             | //label[normalize-space(text())={label}]//*[self::input or self::select or self::textarea] \
             | //*[@aria-label={label}][self::input or self::select or self::textarea]"
        );
        eventually(&format!("the field {label} takes text"), PATIENCE, async || {
            let field = self.driver.find(By::XPath(&*path)).await?;
            field.clear().await?;
            field.send_keys(value).await
        })
        .await;
    }

    /// Clicks the button or link that says this.
    pub(crate) async fn click(&self, text: &str) {
        let text = quoted(text);
        let path = format!(
            "//button[normalize-space()={text}] | //a[normalize-space()={text}] \
             | //summary[normalize-space()={text}]"
        );
        eventually(&format!("the button or link {text}"), PATIENCE, async || {
            self.driver.find(By::XPath(&*path)).await?.click().await
        })
        .await;
    }

    /// Says yes to what the page asks.
    pub(crate) async fn agree(&self) {
        eventually("the page asks", PATIENCE, async || self.driver.accept_alert().await).await;
    }

    /// The text of the element with this id.
    pub(crate) async fn text_of(&self, id: &str) -> String {
        eventually(&format!("the element {id}"), PATIENCE, async || {
            self.driver.find(By::Id(id)).await?.text().await
        })
        .await
    }

    /// Writes a picture of the whole page.
    pub(crate) async fn picture(&self, file: &Path) {
        let asked = json!({"captureBeyondViewport": true});
        let answer = self.devtools("Page.captureScreenshot", asked).await;
        let png = answer["data"].as_str().and_then(|data| STANDARD.decode(data).ok());
        std::fs::write(file, png.expect("a picture")).expect("write the picture");
    }

    /// How much wider than the screen the page is, in pixels.
    pub(crate) async fn overflow(&self) -> i64 {
        let script = "const e = document.documentElement; return e.scrollWidth - e.clientWidth;";
        let wide = self.driver.execute(script, vec![]).await.expect("a width");
        wide.json().as_i64().expect("a number")
    }

    /// What the browser complained of since the last time: refused scripts, missing files.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let entries = self.driver.browser_log().await.expect("the browser's log");
        // Below are recommendations.
        let bad =
            entries.into_iter().filter(|entry| ["SEVERE", "WARNING"].contains(&&*entry.level));
        bad.map(|entry| format!("{entry:?}")).collect()
    }

    /// Ends the browser.
    pub(crate) async fn close(self) {
        self.driver.quit().await.expect("the browser to end");
    }

    async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.driver.cdp().send_raw(command, parameters).await.expect("a command")
    }
}

/// A text as `XPath` writes it.
fn quoted(text: &str) -> String {
    assert!(!text.contains('"'), "XPath has no way to write {text:?}");
    format!("\"{text}\"")
}
