//! The promise of exactly once, against SIGKILL and SIGSTOP at random moments (faults 1, 2 and 11
//! of `bench/faults.md`).

use std::env;
use std::fs;
use std::ops::Range;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use harness::{Process, Signal, postgres, until_some};
use tokio::sync::watch;

use crate::records::{Message, publish_steadily};
use crate::site::Site;

const CONSUMERS: usize = 4;

/// Milliseconds from one event to the next: about the length of a session, so that the group is
/// caught in every state.
const BETWEEN_EVENTS: Range<u64> = 200..2_200;
/// Milliseconds that a frozen consumer sleeps: its session, which ends after a second, outlives
/// some freezes and not others.
const FREEZE: Range<u64> = 200..3_200;

/// Small batches: an event then falls into every stage of one.
const FLAGS: [(&str, &str); 2] = [("--max-batch-reviews", "20"), ("--max-batch-delay-ms", "5")];

/// What happens to a consumer, at a random moment of the flow.
#[derive(Clone, Copy, PartialEq)]
enum Event {
    /// SIGKILL; another one is started at once.
    Kill,
    /// SIGSTOP, and SIGCONT some time later.
    Freeze,
    /// SIGTERM; another one is started when it has ended.
    Stop,
}

/// `LABELSTREAM_TEST_KILLS` and `LABELSTREAM_TEST_FREEZES` say how many, for a longer run.
#[tokio::test(flavor = "multi_thread")]
async fn kills_and_freezes_at_random_moments_lose_nothing_and_double_nothing() {
    let count = |variable: &str, usual: usize| env::var(variable).map_or(usual, |count| count.parse().expect(variable));
    let (kills, freezes) = (count("LABELSTREAM_TEST_KILLS", 30), count("LABELSTREAM_TEST_FREEZES", 6));
    let site = Site::new("kills", 8).await;
    let mut random = Random::new(20_261_122);
    let mut crowd = Crowd::new(&site);
    crowd.consumers[0].until_ready().await;
    let (stop, stopped) = watch::channel(false);
    let flow = tokio::spawn(publish_steadily(site.open_topic(), Message::mixed_at, stopped));

    let mut events = vec![Event::Kill; kills];
    events.extend(vec![Event::Freeze; freezes]);
    events.extend(vec![Event::Stop; kills / 20]);
    random.shuffle(&mut events);
    let (started, mut done, mut still) = (Instant::now(), 0, 0);
    for (number, event) in events.into_iter().enumerate() {
        crowd.sleep(Duration::from_millis(random.within(BETWEEN_EVENTS))).await;
        let victim = random.within(0..CONSUMERS as u64) as usize;
        crowd.suffer(victim, event, Duration::from_millis(random.within(FREEZE))).await;
        let before = std::mem::replace(&mut done, site.done().await);
        still += usize::from(done == before);
        if number % 50 == 49 {
            println!("{} events in {:.0} s, {done} records", number + 1, started.elapsed().as_secs_f64());
        }
    }
    stop.send(true).expect("the publisher listens");
    let sent = flow.await.expect("the publisher does not panic");
    crowd.thaw(true);
    site.until_done(&sent).await;
    let took = started.elapsed().as_secs_f64();
    site.check_every_record(&sent).await;

    let said = |words: &str| crowd.logs().iter().map(|log| log.matches(words).count()).sum::<usize>();
    println!("{kills} kills, {freezes} freezes, {} stops, {took:.0} s", kills / 20);
    println!("{} records: 0 lost, 0 doubled", sent.len());
    println!("{} times from one event to the next no record was written", still);
    println!("{} partitions claimed, {} writes fenced", said("partition claimed"), said("nothing written"));
    println!("{} times joined again, {} retries of Postgres", said("joining again"), said("waiting for Postgres"));
    let cut = postgres().log().matches("client connection with an open transaction").count();
    println!("{cut} transactions of which the client died or was frozen in the middle");
}

/// The consumers, and when the frozen ones wake.
struct Crowd<'a> {
    site: &'a Site,
    consumers: Vec<Process>,
    thaw_at: Vec<Option<Instant>>,
    started: usize,
}

impl<'a> Crowd<'a> {
    fn new(site: &'a Site) -> Self {
        let mut crowd = Self { site, consumers: Vec::new(), thaw_at: vec![None; CONSUMERS], started: 0 };
        for _ in 0..CONSUMERS {
            let consumer = crowd.start();
            crowd.consumers.push(consumer);
        }
        crowd
    }

    fn start(&mut self) -> Process {
        self.started += 1;
        self.site.consumer(&format!("consumer-{}", self.started), &FLAGS)
    }

    /// Lets time pass; who has slept enough wakes meanwhile.
    async fn sleep(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.thaw(false);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn thaw(&mut self, all: bool) {
        for (consumer, thaw_at) in self.consumers.iter().zip(&mut self.thaw_at) {
            if thaw_at.is_some_and(|when| all || when <= Instant::now()) {
                consumer.signal(Signal::SIGCONT);
                *thaw_at = None;
            }
        }
    }

    async fn suffer(&mut self, victim: usize, event: Event, freeze: Duration) {
        assert!(self.consumers[victim].ended().is_none(), "a consumer ended by itself");
        match event {
            Event::Kill => self.consumers[victim].kill(),
            Event::Freeze => {
                self.consumers[victim].signal(Signal::SIGSTOP);
                self.thaw_at[victim] = Some(Instant::now() + freeze);
                return;
            }
            Event::Stop => {
                let consumer = &mut self.consumers[victim];
                consumer.signal(Signal::SIGTERM);
                consumer.signal(Signal::SIGCONT);
                let ended = until_some("an orderly end", async || consumer.ended()).await;
                // The signal may come before anything listens for it.
                let well = ended.success() || ended.signal() == Some(Signal::SIGTERM as i32);
                assert!(well, "{ended:?}\n{}", consumer.log());
            }
        }
        self.thaw_at[victim] = None;
        self.consumers[victim] = self.start();
    }

    /// What all of them have said, the dead ones too.
    fn logs(&self) -> Vec<String> {
        let log = |number| fs::read(self.site.path(&format!("consumer-{number}.log"))).unwrap_or_default();
        (1..=self.started).map(|number| String::from_utf8_lossy(&log(number)).into_owned()).collect()
    }
}

/// SplitMix64: the same events in every run.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn within(&mut self, range: Range<u64>) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        range.start + (bits ^ (bits >> 31)) % (range.end - range.start)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for place in (1..items.len()).rev() {
            items.swap(place, self.within(0..place as u64 + 1) as usize);
        }
    }
}
