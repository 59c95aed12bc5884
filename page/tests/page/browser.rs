//! A real Chromium, driven over WebDriver.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use fantoccini::actions::{InputSource as _, KeyAction, KeyActions};
use fantoccini::{Client, ClientBuilder, Locator};
use harness::until_some;
use hyper_util::client::legacy::connect::HttpConnector;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A window that nobody sees, with a profile of its own.
pub struct Browser {
    pub client: Client,
    driver: Child,
    _profile: TempDir,
}

/// Whether tests in a browser cannot run here, which is then said. Where
/// `LABELSTREAM_REQUIRE_BROWSER` is set, as in CI, they run, and fail.
pub fn cannot_run() -> bool {
    let missing = ["chromium", "chromedriver"].into_iter().find(|program| {
        let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        !found.is_ok_and(|status| status.success())
    });
    let Some(missing) = missing else { return false };
    assert!(std::env::var_os("LABELSTREAM_REQUIRE_BROWSER").is_none(), "{missing} is not on this machine");
    stack::not_run(format!("{missing} is not on this machine"));
    true
}

impl Browser {
    pub async fn open() -> Self {
        Self::sized(1_100, 900).await
    }

    pub async fn sized(width: u32, height: u32) -> Self {
        let port = stack::free_port().unwrap();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let profile = TempDir::new().unwrap();
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--lang=en",
            "--force-prefers-reduced-motion",
        ];
        let mut arguments: Vec<String> = arguments.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        arguments.push(format!("--window-size={width},{height}"));
        let capabilities = json!({"goog:chromeOptions": {"args": arguments}});
        let Value::Object(capabilities) = capabilities else { unreachable!() };
        let url = format!("http://127.0.0.1:{port}");
        let client = until_some("a browser", async || {
            ClientBuilder::new(HttpConnector::new()).capabilities(capabilities.clone()).connect(&url).await.ok()
        })
        .await;
        Self { client, driver, _profile: profile }
    }

    pub async fn goto(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    /// Types a key where no field has the focus.
    pub async fn press(&self, key: &str) {
        self.client.find(Locator::Css("body")).await.unwrap().send_keys(key).await.unwrap();
    }

    /// Goes on to the next control.
    pub async fn tab(&self) {
        let value = '\u{e004}';
        let keys = KeyActions::new("keyboard".to_owned());
        let keys = keys.then(KeyAction::Down { value }).then(KeyAction::Up { value });
        self.client.perform_actions(keys).await.unwrap();
    }

    /// The text of what a selector finds first; `None` where it finds nothing.
    pub async fn text(&self, selector: &str) -> Option<String> {
        self.client.find(Locator::Css(selector)).await.ok()?.text().await.ok()
    }

    /// What a script returns.
    pub async fn run(&self, script: &str) -> Value {
        self.client.execute(script, vec![]).await.unwrap()
    }

    pub async fn close(self) {
        self.client.clone().close().await.unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser is of the same group.
        let _ = killpg(Pid::from_raw(self.driver.id().cast_signed()), Signal::SIGKILL);
        let _ = self.driver.wait();
    }
}
