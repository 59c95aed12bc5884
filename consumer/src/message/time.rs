//! Times of reviews, in the forms that people and programs write.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Utc};

use super::{is_integer, string};

/// RFC 3339; the same without a zone, or a date alone, as UTC; an integer since 1970, see
/// [`time_of_number`].
pub(super) fn time(json: &str) -> Option<DateTime<Utc>> {
    let time = if is_integer(json) {
        return json.parse().ok().and_then(time_of_number);
    } else {
        string(json).ok()??
    };
    let time = time.trim();
    let utc = |naive: NaiveDateTime| naive.and_utc();
    DateTime::parse_from_rfc3339(time)
        .map(|time| time.to_utc())
        .or_else(|_| NaiveDateTime::parse_from_str(time, "%Y-%m-%dT%H:%M:%S%.f").map(utc))
        .or_else(|_| NaiveDateTime::parse_from_str(time, "%Y-%m-%d %H:%M:%S%.f").map(utc))
        .or_else(|_| NaiveDate::parse_from_str(time, "%Y-%m-%d").map(|day| day.and_time(Default::default()).and_utc()))
        .ok()
        .filter(has_a_year_of_four_digits)
}

/// Seconds, milliseconds or microseconds since 1970: which of them, its size says. As seconds these
/// numbers reach the year 5138, as milliseconds or microseconds they begin in 1973.
pub(super) fn time_of_number(number: i64) -> Option<DateTime<Utc>> {
    const BEYOND_SECONDS: u64 = 100_000_000_000;
    let time = match number.unsigned_abs() {
        size if size < BEYOND_SECONDS => DateTime::from_timestamp_secs(number),
        size if size < 1_000 * BEYOND_SECONDS => DateTime::from_timestamp_millis(number),
        size if size < 1_000_000 * BEYOND_SECONDS => DateTime::from_timestamp_micros(number),
        _ => None,
    };
    time.filter(has_a_year_of_four_digits)
}

/// A time of Kafka, where Postgres and people can make sense of it.
pub(crate) fn time_of_milliseconds(milliseconds: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(milliseconds).filter(has_a_year_of_four_digits)
}

fn has_a_year_of_four_digits(time: &DateTime<Utc>) -> bool {
    (1..=9999).contains(&time.year())
}
