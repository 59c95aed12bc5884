//! What the doctor finds, and what it says to do.

use std::path::Path;
use std::process::Output;

use harness::postgres;
use serde_json::Value;
use store::{LoadStatus, Store, Version};

use crate::program::*;

fn finding(output: &Output, check: &str) -> Value {
    let findings = json(std::str::from_utf8(&output.stdout).unwrap());
    let finding = findings.as_array().unwrap().iter().find(|finding| finding["check"] == check);
    finding.unwrap_or_else(|| panic!("no check {check} in {findings}")).clone()
}

/// What became of a check, and the advice.
fn outcome(output: &Output, check: &str) -> (String, String) {
    let finding = finding(output, check);
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

/// On a real Apache Kafka: what is wrong with the security or the addresses, each with its cause.
#[test]
fn doctor_says_what_the_champion_is_what_computes_it_and_how_fast_it_is_here() {
    let url = migrated_database("champions_of_kinds");
    let place = tempfile::tempdir().unwrap();
    let checkpoints = place.path().join("checkpoints").to_str().unwrap().to_owned();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (directory, kind, engine) in [
        ("bert/tests/fixtures/electra", "electra", "own engine (CPU)"),
        ("classifier/tests/composed/modernbert", "modernbert", "candle-transformers"),
    ] {
        let directory = fixtures.join(directory);
        let register = ["models", "register", directory.to_str().unwrap(), "--promote", "--checkpoints", &checkpoints];
        succeed(&[&register[..], &["--database-url", &url]].concat());
        let doctor =
            run(&["doctor", "--json", "--device", "cpu", "--database-url", &url, "--checkpoints", &checkpoints]);
        let device = finding(&doctor, "device");
        let detail = device["detail"].as_str().unwrap();
        let said = detail.strip_prefix(&format!("cpu runs the champion: {kind}, {engine}, f32, "));
        let pace = said.and_then(|said| said.strip_suffix(" texts/s")).and_then(|pace| pace.parse::<f64>().ok());
        assert!(device["outcome"] == "ok" && pace.is_some_and(|pace| pace > 0.0), "{device}");
    }
}

#[test]
fn doctor_tells_the_cause_of_every_mistake_in_the_security_of_a_broker() {
    let Some(secure) = harness::SecureKafka::start() else { return };
    secure.kafka.create_topic("reviews", 1).unwrap();
    let doctor = |brokers: &str, properties: &[String]| {
        let properties = properties.iter().map(|property| format!("-X{property}"));
        labelstream(&["doctor", "--json", "--device", "cpu", "--brokers", brokers]).args(properties).output().unwrap()
    };
    let said = |output: &Output, check: &str| {
        let findings = json(std::str::from_utf8(&output.stdout).unwrap());
        let finding = findings.as_array().unwrap().iter().find(|finding| finding["check"] == check).cloned();
        finding.unwrap_or_else(|| panic!("no check {check} in {findings}"))["detail"].as_str().unwrap().to_owned()
    };
    for (brokers, properties, cause) in secure.mistakes() {
        let detail = said(&doctor(&brokers, &properties), "brokers");
        assert!(detail.contains(cause), "{properties:?} should tell {cause:?}: {detail}");
        assert!(!detail.contains("right") && !detail.contains("wrong;"), "{detail}");
    }
    let properties =
        ["security.protocol=ssl".to_owned(), format!("ssl.ca.location={}", secure.authority("ca").display())];
    let well = doctor(secure.kafka.listener("TLS"), &properties);
    assert_eq!((outcome(&well, "brokers").0, outcome(&well, "advertised").0), ("ok".to_owned(), "ok".to_owned()));
    // The client may go on to the advertised address before it is asked anything; on a busy machine
    // it now and then does.
    let mut looks = (0..5).map(|_| doctor(secure.kafka.listener("LOST"), &[]));
    let lost = looks.find(|lost| outcome(lost, "brokers").0 == "ok").expect("the broker is found");
    let (advertised, advice) = outcome(&lost, "advertised");
    assert!(advertised == "fail" && advice.contains("advertised.listeners"), "{advertised}: {advice}");
    assert!(said(&lost, "advertised").contains("127.0.0.1:1"));
}

/// Another topic in the group, another name of the pipeline, records from the future: on a real
/// Apache Kafka.
#[test]
fn doctor_sees_who_else_uses_the_group_and_clocks_that_are_ahead() {
    use rdkafka::consumer::{BaseConsumer, Consumer as _};
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

    if stack::kafka_cannot_run() {
        return;
    }
    let kafka = harness::kafka();
    kafka.create_topic("doctor-reviews", 2).unwrap();
    kafka.create_topic("doctor-others", 1).unwrap();
    let client = |settings: &[(&str, &str)]| {
        let mut client = rdkafka::ClientConfig::new();
        client.set("bootstrap.servers", kafka.brokers());
        for (key, value) in settings {
            client.set(*key, *value);
        }
        client
    };
    let producer: BaseProducer = client(&[]).create().unwrap();
    // An hour ahead, and a broker takes it no more.
    let ahead = (chrono::Utc::now() + chrono::TimeDelta::minutes(30)).timestamp_millis();
    let record = BaseRecord::<str, str>::to("doctor-reviews").payload("{}").key("k").timestamp(ahead);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(std::time::Duration::from_secs(20)).unwrap();
    let member: BaseConsumer = client(&[("group.id", "doctored")]).create().unwrap();
    member.subscribe(&["doctor-others"]).unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while member.assignment().unwrap().count() == 0 && std::time::Instant::now() < until {
        member.poll(std::time::Duration::from_millis(100));
    }
    let url = migrated_database("doctor_pipelines");
    execute(&url, "insert into streams (pipeline, cluster_id, topic) values ('former', 'c', 'doctor-reviews')");
    execute(
        &url,
        "insert into position_rows (next_offset, owner_epoch, stream_id, partition, owner)
        select 1, 1, id, 0, 'o' from streams where pipeline = 'former'",
    );
    let flags = ["doctor", "--json", "--device", "cpu", "--brokers", kafka.brokers(), "--database-url", &url];
    let output = run(&[&flags[..], &["--topic", "doctor-reviews", "--group", "doctored"]].concat());
    for check in ["group", "times", "pipeline"] {
        assert_eq!(outcome(&output, check).0, "warn", "{check}");
    }
    assert_eq!(outcome(&output, "clocks").0, "ok");
    let alone = run(&[&flags[..], &["--topic", "doctor-others", "--group", "doctored"]].concat());
    for check in ["group", "pipeline"] {
        assert_eq!(outcome(&alone, check).0, "ok", "{check}");
    }
}

#[test]
fn doctor_sees_a_disk_that_is_nearly_full() {
    let place = tempfile::tempdir().unwrap();
    let cache = place.path().join("cache");
    let _disk = match stack::SmallDisk::mount(&cache, 64) {
        Ok(disk) => disk,
        Err(error) => return stack::not_run(format!("{error:#}")),
    };
    let output = run(&["doctor", "--json", "--device", "cpu", "--cache", cache.to_str().unwrap()]);
    let findings = json(std::str::from_utf8(&output.stdout).unwrap());
    let disks = findings.as_array().unwrap().iter().filter(|finding| finding["check"] == "disk");
    assert!(disks.into_iter().any(|disk| disk["outcome"] == "fail"), "{findings}");
}
