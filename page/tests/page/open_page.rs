//! A page that stays open: it asks little and keeps nothing.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::browser::{Browser, cannot_run};
use crate::site::{Site, prediction, text};

/// `LABELSTREAM_TEST_PAGE_SECONDS=3600` keeps it open for an hour.
fn seconds() -> u64 {
    std::env::var("LABELSTREAM_TEST_PAGE_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(25)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_page_asks_postgres_at_most_twice_a_second_and_leaks_nothing() {
    if cannot_run() {
        return;
    }
    let site = Site::open().await;
    site.predict_some(100).await;
    let browsers = [Browser::open().await, Browser::open().await, Browser::open().await];
    for (browser, path) in browsers.iter().zip(["/stream", "/stream?by=day", "/models"]) {
        browser.goto(&site.url(path)).await;
    }
    // A statement is one of the page's if its connection is: all others are this test's own.
    let asked = async || -> i64 {
        let xacts = "select coalesce(sum(xact_commit + xact_rollback), 0)::bigint from pg_stat_database where datname = current_database()";
        sqlx::query_scalar(xacts).fetch_one(&site.storage.pool).await.unwrap()
    };
    let heap = async |browser: &Browser| -> f64 {
        let used = "return [window.gc && window.gc(), performance.memory.usedJSHeapSize, document.querySelectorAll('*').length]";
        let Value::Array(found) = browser.run(used).await else { panic!("no memory") };
        found[1].as_f64().unwrap()
    };
    tokio::time::sleep(Duration::from_secs(6)).await;
    let (before, started, first) = (asked().await, Instant::now(), heap(&browsers[0]).await);
    let memory = resident();
    let mut number = 100;
    while started.elapsed() < Duration::from_secs(seconds()) {
        site.predict((number..number + 20).map(|number| prediction(&format!("r-{number}"), &text(number))).collect())
            .await;
        number += 20;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let shown = browsers[0].text("#figures tbody td.number").await.unwrap();
    let took = started.elapsed().as_secs_f64();
    // A moment, in which the server counts what was asked last.
    tokio::time::sleep(Duration::from_secs(2)).await;
    // The test's own: a claim of two transactions and a write for each portion, and its looks.
    let ours = 3.0 * ((number - 100) / 20) as f64 + 2.0;
    let rate = ((asked().await - before) as f64 - ours) / took;
    let last = heap(&browsers[0]).await;
    println!(
        "{rate:.2} statements a second by three browsers in {took:.0} s; heap {first:.0} to {last:.0}, memory {memory} to {} KiB",
        resident()
    );
    assert!(rate <= 2.0, "{rate} statements a second");
    assert!(shown.parse::<usize>().unwrap() > 100, "the figures are old: {shown}");
    assert!(last < first * 1.5 + 4e6, "the page's memory went from {first} to {last}");
    assert!(resident() < memory + 60_000, "the service's memory went from {memory} KiB to {} KiB", resident());
    for browser in browsers {
        browser.close().await;
    }
    site.close().await;
}

/// KiB of this process, in which the page runs.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0)
}
