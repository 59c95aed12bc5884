//! How the page looks: to those who cannot see it, on a phone, and in the README.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::browser::{Browser, cannot_run};
use crate::site::{Site, class_of, prediction, text};

/// Of the npm registry; a check of a page by the rules of WCAG.
const AXE: &str = "axe-core@4.11.0";

/// axe's script; `None` where it cannot be had, which is then said.
fn axe() -> Option<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/axe").join(AXE);
    let script = directory.join("node_modules/axe-core/axe.min.js");
    if !script.exists() {
        std::fs::create_dir_all(&directory).unwrap();
        let installed = Command::new("npm")
            .args(["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"])
            .arg(&directory)
            .arg(AXE)
            .output();
        if !installed.as_ref().is_ok_and(|output| output.status.success()) {
            stack::not_run(format!("{AXE} cannot be installed with npm"));
            return None;
        }
    }
    Some(std::fs::read_to_string(script).unwrap())
}

/// A page that has something in every view.
async fn furnished() -> Site {
    let site = Site::with_models().await;
    let said = |number: usize| store::PredictionRow {
        label: if number.is_multiple_of(5) { "好评" } else { class_of(number) }.into(),
        score: 0.55 + (number % 40) as f32 / 100.0,
        version: store::Version(1 + (number / 200) as i64 % 2),
        ..prediction(&format!("r-{number}"), &text(number))
    };
    site.predict((0..400).map(said).collect()).await;
    let days = "update prediction_rows set classified_at = now() - kafka_offset * interval '9 minutes'";
    sqlx::query(days).execute(&site.storage.pool).await.unwrap();
    site.storage.store.write_guideline("差评", "The writer would not come back.", "ole").await.unwrap();
    site.storage.store.write_guideline("好评", "The writer is glad on the whole.", "ole").await.unwrap();
    let mut visitor = site.visitor();
    for _ in 0..6 {
        let (item, _) = visitor.asked("/label").unwrap();
        visitor.post("/label", &[("item", &item), ("label", "差评")]);
    }
    visitor.post("/models/shadow", &[("version", "1"), ("share", "10")]);
    site
}

const VIEWS: [&str; 9] = [
    "/label",
    "/label?queue=disagreements",
    "/label?queue=picks&after=pick-1",
    "/stream",
    "/search?text=%E5%A5%BD%E5%90%83",
    "/review?id=r-7",
    "/models",
    "/dead-letters",
    "/ask",
];

#[tokio::test(flavor = "multi_thread")]
async fn axe_finds_no_serious_fault_in_any_view() {
    if cannot_run() {
        return;
    }
    let Some(axe) = axe() else { return };
    let site = furnished().await;
    for (theme, width) in [("light", 1_000), ("dark", 420)] {
        let browser = Browser::sized(width, 900).await;
        browser.goto(&site.url(&format!("/settings?theme={theme}&to=/stream"))).await;
        for path in VIEWS {
            browser.goto(&site.url(path)).await;
            let script = format!(
                "{axe}; const done = arguments[arguments.length - 1];
                axe.run(document).then(found => done(found.violations
                    .filter(it => it.impact === 'serious' || it.impact === 'critical')
                    .map(it => it.id + ': ' + it.nodes.map(node => node.html).join(' | '))),
                    error => done(['axe: ' + error]))"
            );
            let found = browser.client.execute_async(&script, vec![]).await.unwrap();
            assert_eq!(found, Value::Array(vec![]), "{path} in {theme}");
            let overflows = "return document.documentElement.scrollWidth > document.documentElement.clientWidth";
            assert_eq!(browser.run(overflows).await, Value::Bool(false), "{path} is wider than a window of {width}");
        }
        browser.close().await;
    }
    site.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_reached_by_the_keyboard_alone() {
    if cannot_run() {
        return;
    }
    let site = furnished().await;
    let browser = Browser::open().await;
    browser.goto(&site.url("/label")).await;
    let mut reached = Vec::new();
    for _ in 0..40 {
        browser.tab().await;
        if browser.run("return document.activeElement === document.body").await == Value::Bool(true) {
            break;
        }
        let focused = "const it = document.activeElement; return it.value || it.textContent";
        reached.push(browser.run(focused).await.as_str().unwrap_or_default().trim().to_owned());
        let outlined = "return getComputedStyle(document.activeElement).outlineStyle !== 'none'";
        assert_eq!(browser.run(outlined).await, Value::Bool(true), "{:?} shows no focus", reached.last());
    }
    for control in ["Skip to the content", "Models", "好评", "差评", "skip", "cannot_say"] {
        assert!(reached.iter().any(|found| found == control), "{control} is not among {reached:?}");
    }
    browser.close().await;
    site.close().await;
}

/// The pictures of the README: `LABELSTREAM_TEST_PICTURES=page/pictures cargo test -p page pictures`
/// writes them, from a demo's page that runs at `LABELSTREAM_TEST_PAGE`, else from this test's own.
#[tokio::test(flavor = "multi_thread")]
async fn pictures_of_the_four_views() {
    if cannot_run() {
        return;
    }
    let site = furnished().await;
    let base = std::env::var("LABELSTREAM_TEST_PAGE").unwrap_or_else(|_| site.url(""));
    let directory = std::env::var_os("LABELSTREAM_TEST_PICTURES").map(|directory| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        root.join(PathBuf::from(directory))
    });
    let browser = Browser::sized(1_000, 760).await;
    browser.goto(&format!("{base}/label")).await;
    browser.press("2").await;
    harness::until("an answer", async || browser.text(".answered").await.is_some()).await;
    for (name, path) in
        [("label", None), ("stream", Some("/stream")), ("models", Some("/models")), ("search", Some("/search"))]
    {
        if let Some(path) = path {
            browser.goto(&format!("{base}{path}")).await;
        }
        let picture = browser.client.screenshot().await.unwrap();
        assert!(picture.starts_with(b"\x89PNG") && picture.len() > 10_000, "{name}: {} bytes", picture.len());
        if let Some(directory) = &directory {
            std::fs::create_dir_all(directory).unwrap();
            std::fs::write(directory.join(format!("{name}.png")), picture).unwrap();
        }
    }
    browser.close().await;
    site.close().await;
}
