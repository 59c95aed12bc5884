//! When a round is due: a pure function of the time, of what waits, and of the settings.

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use store::Trigger;

/// What makes a round due.
#[derive(Debug, Clone)]
pub(crate) struct Triggers {
    /// So many new labels; `None`: no number of them.
    pub min_new_labels: Option<i64>,
    /// When the stream has changed.
    pub on_drift: bool,
    /// At these times.
    pub schedule: Option<Schedule>,
    /// The clock that the schedule goes by.
    pub time_zone: Tz,
    /// How long nothing is tried again by itself after a round that failed.
    pub retry_after: Duration,
}

/// What there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Labels that no round has seen.
    pub new_labels: i64,
    /// Whether the stream has changed since the last round began.
    pub drifted: bool,
    /// Whether somebody has asked for a round.
    pub requested: bool,
    /// Up to when the schedule has been looked at: the begin of the last round, or the last time
    /// when there was nothing new.
    pub since: DateTime<Utc>,
    /// When the last round failed, if it did.
    pub failed_at: Option<DateTime<Utc>>,
}

/// A cron expression: minute, hour, day of the month, month, day of the week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule(croner::Cron);

impl FromStr for Schedule {
    type Err = String;

    fn from_str(expression: &str) -> Result<Self, Self::Err> {
        croner::Cron::from_str(expression).map(Self).map_err(|error| error.to_string())
    }
}

impl std::fmt::Display for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.pattern.as_str().fmt(f)
    }
}

impl Schedule {
    /// The first time after `since`; none where the expression never comes true again.
    fn next(&self, since: DateTime<Utc>, time_zone: Tz) -> Option<DateTime<Utc>> {
        let next = self.0.find_next_occurrence(&since.with_timezone(&time_zone), false).ok()?;
        Some(next.with_timezone(&Utc))
    }
}

impl Triggers {
    /// Why a round is due now, if one is. Any number of times that the schedule has passed are one
    /// reason.
    pub fn due(&self, now: DateTime<Utc>, waiting: &Waiting) -> Option<Trigger> {
        if waiting.requested {
            return Some(Trigger::Command);
        }
        let resting = waiting.failed_at.is_some_and(|failed_at| now < failed_at + self.retry_after);
        if waiting.new_labels < 1 || resting {
            return None;
        }
        if self.min_new_labels.is_some_and(|enough| waiting.new_labels >= enough) {
            return Some(Trigger::NewLabels);
        }
        if self.on_drift && waiting.drifted {
            return Some(Trigger::Drift);
        }
        let next = self.schedule.as_ref()?.next(waiting.since, self.time_zone)?;
        (next <= now).then_some(Trigger::Schedule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn triggers(schedule: &str) -> Triggers {
        Triggers {
            min_new_labels: Some(100),
            on_drift: true,
            schedule: Some(schedule.parse().unwrap()),
            time_zone: Tz::Asia__Shanghai,
            retry_after: Duration::from_secs(600),
        }
    }

    fn waiting(new_labels: i64, since: &str) -> Waiting {
        Waiting { new_labels, drifted: false, requested: false, since: time(since), failed_at: None }
    }

    #[test]
    fn enough_new_labels_the_schedule_and_a_command_each_make_a_round_due() {
        let triggers = triggers("0 3 * * *");
        let now = time("2026-11-22T12:00:00Z");
        assert_eq!(triggers.due(now, &waiting(99, "2026-11-22T11:00:00Z")), None);
        assert_eq!(triggers.due(now, &waiting(100, "2026-11-22T11:00:00Z")), Some(Trigger::NewLabels));
        assert_eq!(triggers.due(now, &waiting(1, "2026-11-21T11:00:00Z")), Some(Trigger::Schedule));
        let asked = Waiting { requested: true, ..waiting(0, "2026-11-22T11:00:00Z") };
        assert_eq!(triggers.due(now, &asked), Some(Trigger::Command));
    }

    #[test]
    fn a_change_of_the_stream_makes_a_round_due_where_there_is_something_to_learn() {
        let (triggers, now) = (triggers("0 3 * * *"), time("2026-11-22T12:00:00Z"));
        let drifted = |new_labels| Waiting { drifted: true, ..waiting(new_labels, "2026-11-22T11:00:00Z") };
        assert_eq!(triggers.due(now, &drifted(1)), Some(Trigger::Drift));
        assert_eq!(triggers.due(now, &drifted(0)), None);
        assert_eq!(Triggers { on_drift: false, ..triggers }.due(now, &drifted(1)), None);
    }

    #[test]
    fn the_schedule_goes_by_the_clock_of_its_time_zone() {
        // Three in the morning in Shanghai is seven in the evening in UTC.
        let (triggers, waits) = (triggers("0 3 * * *"), waiting(1, "2026-11-22T12:00:00Z"));
        assert_eq!(triggers.due(time("2026-11-22T18:59:59Z"), &waits), None);
        assert_eq!(triggers.due(time("2026-11-22T19:00:00Z"), &waits), Some(Trigger::Schedule));
    }

    #[test]
    fn a_time_that_the_clock_leaves_out_or_has_twice_is_one_time() {
        let berlin = Triggers { time_zone: Tz::Europe__Berlin, ..triggers("30 2 * * *") };
        let count = |from: &str, until: &str| {
            let mut since = time(from);
            let times = std::iter::from_fn(|| {
                since = berlin.schedule.as_ref()?.next(since, berlin.time_zone)?;
                Some(since)
            });
            times.take_while(|at| *at < time(until)).count()
        };
        assert_eq!(count("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"), 1);
        assert_eq!(count("2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z"), 1);
    }

    #[test]
    fn a_failed_round_is_not_tried_again_at_once_unless_somebody_asks() {
        let triggers = triggers("* * * * *");
        let failed = Waiting { failed_at: Some(time("2026-11-22T12:00:00Z")), ..waiting(500, "2026-11-22T11:00:00Z") };
        assert_eq!(triggers.due(time("2026-11-22T12:09:59Z"), &failed), None);
        assert_eq!(triggers.due(time("2026-11-22T12:10:00Z"), &failed), Some(Trigger::NewLabels));
        let asked = Waiting { requested: true, ..failed };
        assert_eq!(triggers.due(time("2026-11-22T12:01:00Z"), &asked), Some(Trigger::Command));
    }

    #[test]
    fn an_expression_that_is_none_is_refused_and_one_that_never_comes_true_is_never_due() {
        for bad in ["", "61 * * * *", "every day", "* * *"] {
            assert!(bad.parse::<Schedule>().is_err(), "{bad}");
        }
        let never = triggers("0 0 30 2 *");
        assert_eq!(never.due(time("2036-11-22T12:00:00Z"), &waiting(1, "2026-11-22T11:00:00Z")), None);
    }

    proptest! {
        #[test]
        fn nothing_new_means_no_round_and_the_schedule_comes_once_however_long_nobody_looked(
            minutes in 0_i64..100_000,
            every in 1_u32..60,
            new_labels in 0_i64..99,
        ) {
            let triggers = triggers(&format!("*/{every} * * * *"));
            let since = time("2026-11-22T12:00:30Z");
            let now = since + chrono::Duration::minutes(minutes);
            let due = triggers.due(now, &Waiting { new_labels, ..waiting(0, "2026-11-22T12:00:30Z") });
            prop_assert!(new_labels > 0 || due.is_none());
            prop_assert!(new_labels == 0 || minutes < 60 || due == Some(Trigger::Schedule));
            // The round has begun now: until the next time nothing is due.
            let next = triggers.schedule.as_ref().unwrap().next(now, triggers.time_zone).unwrap();
            let after = Waiting { new_labels: 50, drifted: false, requested: false, since: now, failed_at: None };
            prop_assert_eq!(triggers.due(next - chrono::Duration::seconds(1), &after), None);
            prop_assert_eq!(triggers.due(next, &after), Some(Trigger::Schedule));
        }
    }
}
