//! The page as a person starts it.

use harness::{Http, Process, command};

use crate::program::*;

#[test]
fn the_page_serves_until_a_signal_and_not_beyond_loopback_without_people() {
    let url = migrated_database("page");
    let directory = tempfile::tempdir().unwrap();
    let mut labelstream = command(env!("CARGO_BIN_EXE_labelstream"));
    labelstream.args(["page", "--database-url", &url, "--cache", directory.path().to_str().unwrap()]);
    let mut page = Process::start(&mut labelstream, directory.path().join("log"));
    block_on(page.until_ready());
    let (status, shown) = page.get("/stream");
    assert!(status == 200 && shown.contains("No partition was ever claimed"), "{shown}");
    assert_eq!(page.metric("labelstream_page_database_up"), Some(1.0));
    page.signal(harness::Signal::SIGTERM);
    assert_eq!(block_on(page.exit_code()), Some(0), "{}", page.log());

    assert!(page.log().contains(&format!("the page is at http://{}", page.address)), "{}", page.log());

    let refused = |flags: &[&str]| {
        let output = run(&[&["page", "--database-url", &url][..], flags].concat());
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let everywhere = format!("0.0.0.0:{}", Http::on_a_free_port().address.port());
    let error = refused(&["--http", &everywhere]);
    assert!(error.contains("--people") && error.contains("--user-header"), "{error}");
    let people = directory.path().join("people");
    std::fs::write(&people, "ann boss a-token-of-ann\n").unwrap();
    let error = refused(&["--people", people.to_str().unwrap()]);
    assert!(error.contains("line 1: the role of ann") && !error.contains("a-token"), "{error}");
}
