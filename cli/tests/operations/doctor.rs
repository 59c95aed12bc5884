//! What the doctor finds, and what it says to do.

use std::process::Output;

use harness::postgres;
use store::{LoadStatus, Store, Version};

use crate::program::*;

/// What became of a check, and the advice.
fn outcome(output: &Output, check: &str) -> (String, String) {
    let findings = json(std::str::from_utf8(&output.stdout).unwrap());
    let finding = findings.as_array().unwrap().iter().find(|finding| finding["check"] == check);
    let finding = finding.unwrap_or_else(|| panic!("no check {check} in {findings}"));
    (finding["outcome"].as_str().unwrap().to_owned(), finding["advice"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn doctor_names_each_thing_that_is_missing_and_what_to_do() {
    let url = postgres().create_database("doctor").unwrap();
    let doctor = [
        "doctor",
        "--json",
        "--topic",
        "examined",
        "--device",
        "cpu",
        "--brokers",
        KAFKA.brokers(),
        "--database-url",
        &url,
    ];

    let ill = run(&doctor);
    assert_eq!(ill.status.code(), Some(1));
    assert_eq!(outcome(&ill, "brokers").0, "ok");
    assert_eq!(outcome(&ill, "database").0, "ok");
    let (topic, advice) = outcome(&ill, "topic");
    assert!(topic == "fail" && advice.contains("--create-topic"), "{topic}: {advice}");
    assert_eq!(outcome(&ill, "migrations"), ("fail".into(), "run `labelstream migrate`".into()));

    succeed(&["migrate", "--database-url", &url]);
    KAFKA.create_topic("examined", 2).unwrap();
    let well = run(&doctor);
    assert!(well.status.success(), "{}", String::from_utf8_lossy(&well.stdout));
    assert_eq!(outcome(&well, "migrations").0, "ok");
    assert_eq!(outcome(&well, "topic").0, "ok");
    assert_eq!(outcome(&well, "device").0, "ok");
    assert_eq!(outcome(&well, "champion").0, "warn");
}

#[test]
fn doctor_looks_at_what_the_trainer_stands_on_and_at_what_it_left_behind() {
    let url = migrated_database("trainer_places");
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let (checkpoints, base, work) = (path("checkpoints"), path("base"), path("work"));
    let version = registered(&url, &place.path().join("checkpoints"), 1, &["--promote"]);
    save_tiny_model(&place.path().join("base"), 2);
    let doctor = ["doctor", "--json", "--device", "cpu", "--database-url", &url, "--checkpoints", &checkpoints];
    let doctor = |base: &str, work: &str| run(&[&doctor[..], &["--base", base, "--work", work]].concat());

    let well = doctor(&base, &work);
    assert!(well.status.success(), "{}", String::from_utf8_lossy(&well.stdout));
    for check in ["base", "work", "publishing", "training", "device", "checkpoints"] {
        assert_eq!(outcome(&well, check).0, "ok", "{check}");
    }
    assert_eq!(outcome(&doctor("new", &work), "base").0, "ok");

    std::fs::remove_file(place.path().join("base/config.json")).unwrap();
    std::fs::write(place.path().join("file"), "in the way").unwrap();
    let ill = doctor(&base, &path("file/work"));
    assert_eq!(ill.status.code(), Some(1));
    let (base, advice) = outcome(&ill, "base");
    assert!(base == "fail" && advice.contains("config.json"), "{base}: {advice}");
    assert_eq!(outcome(&ill, "work").0, "fail");
    let nowhere = run(&["doctor", "--json", "--device", "cpu", "--checkpoints", &path("file/checkpoints")]);
    assert_eq!(outcome(&nowhere, "publishing").0, "warn");

    execute(&url, "insert into round_requests (requested_at) values (now() - interval '2 minutes')");
    let (training, advice) = outcome(&doctor("new", &work), "training");
    assert!(training == "warn" && advice.contains("is a trainer running"), "{training}: {advice}");
    block_on(async {
        let store = Store::connect(&url, 1).await.unwrap();
        let refused = (LoadStatus::Refused, Some("a tensor is missing"));
        store.report_load("there/2", "labelstream", Version(version), refused.0, refused.1).await.unwrap();
    });
    let (serving, advice) = outcome(&doctor("new", &work), "serving");
    assert!(serving == "fail" && advice.contains("rollback"), "{serving}: {advice}");
}
