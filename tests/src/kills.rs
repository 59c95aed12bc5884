//! The promise of exactly once, against SIGKILL.

use std::time::Duration;

use harness::{Process, Signal, until};

use crate::records::Message;
use crate::site::Site;

const RECORDS: usize = 20_000;
const KILLS: usize = 50;

/// Records from one kill to the next: at random, 290 in the mean, so that 50 kills fit into the
/// flow with room to spare.
const BETWEEN_KILLS: std::ops::Range<u64> = 100..480;

/// Small batches: a kill then falls into every stage of one.
const FLAGS: [(&str, &str); 2] = [("--max-batch-reviews", "20"), ("--max-batch-delay-ms", "5")];

#[tokio::test(flavor = "multi_thread")]
async fn fifty_kills_while_consumers_come_and_go_lose_nothing_and_double_nothing() {
    let site = Site::new("kills", 4).await;
    let sent = site.open_topic().publish(&Message::mixed(RECORDS)).await;
    let mut random = Random::new(20_261_122);
    let mut consumers: [Process; 2] = ["one", "two"].map(|name| site.consumer(name, &FLAGS));

    for kill in 0..KILLS {
        let from = site.done().await;
        let to = from + random.within(BETWEEN_KILLS).cast_signed();
        until("the records before the next kill", async || site.done().await >= to).await;
        // Not only right after a commit.
        tokio::time::sleep(Duration::from_millis(random.within(0..30))).await;
        let victim = usize::from(random.within(0..2) == 1);
        consumers[victim].kill();
        consumers[victim] = site.consumer(&format!("after_kill_{kill}"), &FLAGS);
        if kill % 10 == 5 {
            let other = &mut consumers[1 - victim];
            other.signal(Signal::SIGTERM);
            assert_eq!(other.exit_code().await, Some(0), "{}", other.log());
            *other = site.consumer(&format!("after_stop_{kill}"), &FLAGS);
        }
    }

    let done = site.done().await;
    assert!(done < RECORDS as i64, "the flow must outlast the kills, or they prove nothing");
    site.until_done(&sent).await;
    site.check_every_record(&sent).await;
}

/// SplitMix64: the same kills in every run.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn within(&mut self, range: std::ops::Range<u64>) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        range.start + (bits ^ (bits >> 31)) % (range.end - range.start)
    }
}
