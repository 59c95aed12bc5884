//! Records that can never be read are given up by a person's word, and only with it.

use store::{NextOffset, Stream, Wanted};

use crate::program::*;

#[test]
fn a_skip_says_what_is_lost_wants_the_position_and_leaves_a_gap() {
    let url = migrated_database("skip");
    KAFKA.create_topic("skip", 1).unwrap();
    let store = block_on(written(&url, "skip", vec![prediction(0), prediction(1)], vec![]));
    let skip = |more: &[&str]| {
        let flags = ["positions", "skip", "--topic", "skip", "--partition", "0", "--database-url", &url];
        [&flags[..], more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let fails = |more: &[&str]| fail(&skip(more).iter().map(String::as_str).collect::<Vec<_>>());

    let error = fails(&["--to", "5"]);
    assert!(
        error.contains("nothing was skipped") && error.contains("3 offsets") && error.contains("--from 2"),
        "{error}"
    );
    assert!(fails(&["--to", "5", "--from", "1"]).contains("stands at 2, not at 1"));
    assert!(fails(&["--to", "2", "--from", "2"]).contains("must be beyond"));
    let beyond = fails(&["--to", "5", "--from", "2", "--brokers", KAFKA.brokers()]);
    assert!(beyond.contains("the partition ends at 0"), "{beyond}");

    let done = skip(&["--to", "5", "--from", "2", "--reason", "a torn disk"]);
    let said = succeed(&done.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(said.contains("3 offsets from 2 on are recorded as a gap"), "{said}");
    assert!(fails(&["--to", "5", "--from", "2"]).contains("stands at 5"), "a skip is done once");

    // Whoever read it is fenced, and finds the position behind the gap.
    let stream = Stream { pipeline: "labelstream".into(), cluster_id: cluster_id(), topic: "skip".into() };
    let wanted = [Wanted { partition: 0, if_new: None }];
    let taken = block_on(store.claim_free(&stream, &wanted, "a test", None)).unwrap();
    assert_eq!((taken[0].claim.next_offset, taken[0].claim.epoch.0), (NextOffset(5), 3));
}
