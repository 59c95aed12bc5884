//! Looks at what the champion sees, hour by hour.

use anyhow::Result;
use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use store::{DriftHour, DriftReference, Seen, Store, Version};

use crate::drift::{ENOUGH, Known, Profile, SAMPLE};

/// How long after a version began to serve its first predictions may be waited for; each of these
/// is tried in turn until there are enough.
const FIRST_HOURS: [i64; 4] = [1, 6, 48, 24 * 14];

/// Brings what is on record of a version up to date: what it saw first, and of the newest `hours`
/// those that are not on record, with the newest that is, which may not have been over. Returns the
/// newest.
///
/// # Errors
/// What the database says.
pub async fn look(store: &Store, version: Version, now: DateTime<Utc>, hours: i64) -> Result<Option<DriftHour>> {
    let temperature = store.temperature(version).await?;
    let Some((first, known, last_at)) = reference(store, version, temperature, now).await? else { return Ok(None) };
    let this_hour = now.duration_trunc(TimeDelta::hours(1))?;
    let on_record = store.drift_hours(Some(version), u32::try_from(hours)?).await?;
    let newest = on_record.first().map(|newest| newest.hour);
    let is_done = |hour| newest != Some(hour) && on_record.iter().any(|known| known.hour == hour);
    let mut hour = (this_hour - TimeDelta::hours(hours)).max(last_at.duration_trunc(TimeDelta::hours(1))?);
    while hour <= this_hour {
        // Of the hour in which the reference ends, what came later.
        let next = hour + TimeDelta::hours(1);
        if !is_done(hour) {
            let seen = store.seen(version, hour.max(last_at), next, SAMPLE).await?;
            if seen.len() >= ENOUGH {
                store.record_drift_hour(&compared(version, hour, &seen, &first, &known, temperature)?).await?;
            }
        }
        hour = next;
    }
    Ok(store.drift_hours(Some(version), 1).await?.into_iter().next())
}

fn compared(
    version: Version,
    hour: DateTime<Utc>,
    seen: &[Seen],
    first: &Profile,
    known: &Known,
    temperature: f64,
) -> Result<DriftHour> {
    let profile = Profile::new(seen, known, temperature, 0);
    let changes = profile.changes(first);
    let alarms = changes.iter().filter(|(_, change)| change.is_alarm).map(|(what, _)| (*what).to_owned()).collect();
    Ok(DriftHour {
        version,
        hour,
        predictions: seen.len() as i64,
        expected_accuracy: profile.expected_accuracy,
        profile: serde_json::to_value(&profile)?,
        changes: serde_json::to_value(&changes)?,
        alarms,
    })
}

/// What the version saw first, the n-grams of half of it, and when it ended.
async fn reference(
    store: &Store,
    version: Version,
    temperature: f64,
    now: DateTime<Utc>,
) -> Result<Option<(Profile, Known, DateTime<Utc>)>> {
    if let Some(held) = store.drift_reference(version).await? {
        let known = Known::from_bytes(held.known);
        let profile = serde_json::from_value(held.profile).ok();
        return Ok(profile.zip(known).map(|(profile, known)| (profile, known, held.last_at)));
    }
    let Some(begun) = store.first_deployed(version).await? else { return Ok(None) };
    for hours in FIRST_HOURS {
        let until = begun + TimeDelta::hours(hours);
        // An hour that is not over may still bring what is unlike its beginning.
        let seen = if until <= now { store.seen(version, begun, until, SAMPLE).await? } else { Vec::new() };
        if seen.len() >= 2 * ENOUGH {
            let half = seen.len() / 2;
            let known = Known::of(every_second(&seen).map(|seen| seen.text.as_str()));
            let ordered: Vec<Seen> = every_second(&seen).chain(seen.iter().step_by(2)).cloned().collect();
            let profile = Profile::new(&ordered, &known, temperature, half);
            let reference = DriftReference {
                first_at: begun,
                last_at: until,
                profile: serde_json::to_value(&profile)?,
                known: known.bytes().to_vec(),
            };
            store.record_drift_reference(version, &reference).await?;
            return Ok(Some((profile, known, until)));
        }
    }
    Ok(None)
}

/// Those with an odd number: half of them, rounded down.
fn every_second(seen: &[Seen]) -> impl Iterator<Item = &Seen> {
    seen.iter().skip(1).step_by(2)
}
