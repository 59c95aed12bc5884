//! What reviews say stays text, whatever it is.

use serde_json::Value;

use crate::browser::{Browser, cannot_run};
use crate::site::{Site, prediction};

fn hostile() -> Vec<String> {
    let texts = [
        "<script>window.broken = 1</script>",
        "</blockquote><script>window.broken = 2</script>",
        "<img src=x onerror=\"window.broken = 3\">",
        "<svg onload=\"window.broken = 4\"><circle r=1></svg>",
        "\" onmouseover=\"window.broken = 5\" x=\"",
        "'><iframe srcdoc='<script>parent.broken = 6</script>'>",
        "javascript:window.broken=7 {{ 7 * 7 }} {% raw %} ${window.broken=8}",
        "<a href=\"javascript:window.broken=9\">click</a>",
        "\u{202e}txet desrever\u{202c} \u{2066}isolated \u{200f}",
        "👩‍👩‍👧‍👦🏳️‍🌈 好吃\u{0301}\u{0301}\u{0301} \u{feff}",
        "&lt;b&gt; &amp; &#60;script&#62;",
        "tab\there\r\nand a new line\u{7f}\u{1b}[31m",
    ];
    let mut texts = texts.map(str::to_owned).to_vec();
    texts.push("长".repeat(70_000) + "<script>window.broken = 10</script>");
    texts
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_reviews_stay_text_in_every_view() {
    if cannot_run() {
        return;
    }
    let site = Site::open().await;
    let evil = "<b onclick=window.broken=11>好评</b>";
    for class in [evil, "差评"] {
        site.storage.store.add_class(class).await.unwrap();
    }
    let texts = hostile();
    let rows = texts.iter().enumerate().map(|(number, text)| store::PredictionRow {
        attributes: Some(
            "{\"<script>window.broken=12</script>\": \"</code><script>window.broken=13</script>\"}".into(),
        ),
        label: evil.into(),
        ..prediction(&format!("id-{number}-<script>window.broken=14</script>"), text)
    });
    site.predict(rows.collect()).await;
    site.storage.store.write_guideline("差评", "<script>window.broken=15</script>", "<i>me</i>").await.unwrap();
    site.storage.store.record_change("<i>me</i>", "<script>window.broken=16</script>").await.unwrap();

    let browser = Browser::open().await;
    let mut seen = Vec::new();
    for _ in 0..texts.len() {
        browser.goto(&site.url("/label")).await;
        let Value::String(shown) = browser.run("return document.getElementById('review').textContent").await else {
            panic!("no review is shown");
        };
        assert_untouched(&browser, &shown).await;
        seen.push(shown);
        browser.press("2").await;
        let said = "return document.querySelector('.answered') !== null";
        harness::until("the answer", async || browser.run(said).await == Value::Bool(true)).await;
        assert_untouched(&browser, "the panel of the answer").await;
    }
    for text in &texts {
        // A browser has one kind of new line.
        let (text, long) = (text.replace("\r\n", "\n"), text.chars().count() > 3_000);
        let found = seen.iter().any(|shown| *shown == text || long && shown.starts_with("长长"));
        assert!(
            found,
            "{text:.60} was not shown as it is: {:?}",
            seen.iter().map(|shown| shown.chars().take(60).collect::<String>()).collect::<Vec<_>>()
        );
    }
    let id = "id-0-%3Cscript%3Ewindow.broken%3D14%3C%2Fscript%3E";
    for path in
        ["/search?text=broken", &format!("/review?id={id}"), "/stream", "/stream?by=day", "/models", "/label?added=1"]
    {
        browser.goto(&site.url(path)).await;
        assert_untouched(&browser, path).await;
    }
    let csv = site.visitor().get("/search.csv?text=broken").body;
    assert!(csv.contains("window.broken = 1"));
    browser.close().await;
    site.close().await;
}

/// Nothing of a review has become a part of the page.
async fn assert_untouched(browser: &Browser, what: &str) {
    let broken = browser.run("return window.broken === undefined").await;
    assert_eq!(broken, Value::Bool(true), "{what:.60}");
    let foreign = "return document.querySelectorAll('main script, main img, main iframe, main i, main a[href^=javascript], [onclick], [onload], [onerror], [onmouseover]').length";
    assert_eq!(browser.run(foreign).await, Value::from(0), "{what:.60}");
}
