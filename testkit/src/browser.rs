//! A real browser, headless, driven by chromedriver. `tests/setup/browser.sh` installs both.

use std::process::Stdio;
use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// How long a page may take to show something.
const BROWSER_TIMEOUT: Duration = Duration::from_secs(30);
/// Its path on Debian; elsewhere chromedriver finds it.
const CHROMIUM: &str = "/usr/bin/chromium";

/// A browser with its own window. It is closed with this.
pub struct TestBrowser {
    client: Client,
    _driver: Child,
    _profile: TempDir,
}

impl TestBrowser {
    /// Starts a browser with a desktop window.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start() -> Self {
        let (driver, port) = start_driver().await;
        let profile = tempfile::tempdir().expect("a temporary folder");
        let folder = format!("--user-data-dir={}", profile.path().display());
        let mut options = json!({ "args": [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--hide-scrollbars", "--force-color-profile=srgb", "--window-size=1280,900",
            "--no-first-run", "--disable-background-networking", folder,
        ]});
        if std::path::Path::new(CHROMIUM).exists() {
            options["binary"] = json!(CHROMIUM);
        }
        let Value::Object(capabilities) = json!({
            "goog:chromeOptions": options,
            // Test certificates are self-signed.
            "acceptInsecureCerts": true,
            "goog:loggingPrefs": { "browser": "ALL" },
        }) else {
            unreachable!("an object")
        };
        let connector = hyper_util::client::legacy::connect::HttpConnector::new();
        let client = ClientBuilder::new(connector)
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("begin a session with the browser");
        Self { client, _driver: driver, _profile: profile }
    }

    /// Goes to a page.
    ///
    /// # Panics
    /// If it does not load.
    pub async fn goto(&self, url: &str) {
        self.client.goto(url).await.unwrap_or_else(|error| panic!("go to {url}: {error}"));
    }

    /// The address of the page.
    ///
    /// # Panics
    /// If the browser is gone.
    pub async fn address(&self) -> String {
        self.client.current_url().await.expect("the address").to_string()
    }

    /// The page's title.
    ///
    /// # Panics
    /// If the browser is gone.
    pub async fn title(&self) -> String {
        self.client.title().await.expect("the title")
    }

    /// The page's source.
    ///
    /// # Panics
    /// If the browser is gone.
    pub async fn source(&self) -> String {
        self.client.source().await.expect("the source")
    }

    /// The text of an element, empty if it does not exist.
    pub async fn text(&self, css: &str) -> String {
        match self.client.find(Locator::Css(css)).await {
            Ok(element) => element.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// The number of elements.
    ///
    /// # Panics
    /// If the browser is gone.
    pub async fn count(&self, css: &str) -> usize {
        self.client.find_all(Locator::Css(css)).await.expect("look for parts").len()
    }

    /// Waits for an element.
    ///
    /// # Panics
    /// On a timeout; the message contains the page's text.
    pub async fn find(&self, css: &str) -> Element {
        match self.client.wait().at_most(BROWSER_TIMEOUT).for_element(Locator::Css(css)).await {
            Ok(element) => element,
            Err(error) => {
                let (address, words) = (self.address().await, self.text("body").await);
                panic!("{css} is not at {address}: {error}\n{words}")
            }
        }
    }

    /// Waits until an element shows this text.
    ///
    /// # Panics
    /// On a timeout.
    pub async fn shows(&self, css: &str, words: &str) {
        let deadline = tokio::time::Instant::now() + BROWSER_TIMEOUT;
        loop {
            let shown = self.text(css).await;
            if shown.contains(words) {
                return;
            }
            let address = self.address().await;
            let late = tokio::time::Instant::now() >= deadline;
            assert!(!late, "{css} at {address} does not show {words:?} but {shown:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Clicks.
    ///
    /// # Panics
    /// If there is nothing to click on.
    pub async fn click(&self, css: &str) {
        let element = self.find(css).await;
        element.click().await.unwrap_or_else(|error| panic!("click on {css}: {error}"));
    }

    /// Clicks a link, and waits for the next page.
    ///
    /// # Panics
    /// If no other page loads.
    pub async fn follow(&self, css: &str) {
        let before = self.find("html").await;
        self.click(css).await;
        let deadline = tokio::time::Instant::now() + BROWSER_TIMEOUT;
        // An element of the previous page becomes stale.
        while before.tag_name().await.is_ok() {
            assert!(tokio::time::Instant::now() < deadline, "{css} leads nowhere");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.find("main").await;
    }

    /// Types into a field, replacing its text.
    ///
    /// # Panics
    /// If the field does not exist.
    pub async fn fill(&self, css: &str, text: &str) {
        let field = self.find(css).await;
        field.clear().await.unwrap_or_else(|error| panic!("clear {css}: {error}"));
        field.send_keys(text).await.unwrap_or_else(|error| panic!("type into {css}: {error}"));
    }

    /// Presses keys in the focused element.
    ///
    /// # Panics
    /// If nothing has the focus.
    pub async fn press(&self, keys: &str) {
        let active = self.client.active_element().await.expect("what has the keyboard");
        active.send_keys(keys).await.expect("press keys");
    }

    /// Runs a script in the page, and returns its result.
    ///
    /// # Panics
    /// If the script fails.
    pub async fn script(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.expect("run a script")
    }

    /// Resizes the window.
    ///
    /// # Panics
    /// If that fails.
    pub async fn resize(&self, width: u32, height: u32) {
        // A window cannot be narrower than 500 pixels, so the page is told that it is on a phone.
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 }),
        )
        .await;
    }

    /// Sets the system's preference of light or dark.
    pub async fn prefer(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// The window's content, as PNG.
    ///
    /// # Panics
    /// If that fails.
    pub async fn screenshot(&self) -> Vec<u8> {
        self.client.screenshot().await.expect("a screenshot")
    }

    /// The browser's errors since the last call: errors of scripts, and violations of the content
    /// security policy. Error statuses of pages are excluded, because tests cause them on purpose.
    ///
    /// # Panics
    /// If the log cannot be read.
    pub async fn complaints(&self) -> Vec<String> {
        let body = json!({ "type": "browser" });
        let log = self.client.issue_cmd(Driver { path: "se/log", body }).await.expect("the log");
        let entries = log.as_array().cloned().unwrap_or_default();
        let grave = entries.iter().filter(|e| e["level"] == "SEVERE" || e["level"] == "WARNING");
        let words = grave.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned());
        words.filter(|words| !words.contains("the server responded with a status of")).collect()
    }

    /// Ends the session.
    ///
    /// # Panics
    /// If the browser is gone.
    pub async fn close(self) {
        self.client.close().await.expect("end the session");
    }

    async fn devtools(&self, method: &str, params: Value) {
        let body = json!({ "cmd": method, "params": params });
        let command = Driver { path: "goog/cdp/execute", body };
        self.client.issue_cmd(command).await.unwrap_or_else(|error| panic!("{method}: {error}"));
    }
}

/// A chromedriver command outside the standard.
#[derive(Debug)]
struct Driver {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Driver {
    fn endpoint(
        &self,
        base: &url::Url,
        session: Option<&str>,
    ) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.body.to_string()))
    }
}

/// Starts a chromedriver; returns it with its port.
async fn start_driver() -> (Child, u16) {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| {
            panic!("start chromedriver: {error}. tests/run installs it (tests/setup/browser.sh)")
        });
    let stdout = driver.stdout.take().expect("its output");
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next_line().await.expect("what chromedriver says") {
        let port = line.strip_suffix('.').and_then(|line| line.rsplit(' ').next()?.parse().ok());
        if let Some(port) = port {
            // Its output must be read on, or it blocks.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return (driver, port);
        }
    }
    panic!("chromedriver did not say at which port it listens");
}
