//! Disks that are nearly full.

use std::path::{Path, PathBuf};

use service::directories;

use super::{Arguments, Finding};

/// A checkpoint of BERT-base takes 400 MB, and is fetched beside the one that serves.
const ENOUGH: u64 = 2 << 30;

/// With less than this the next checkpoint does not fit.
const LITTLE: u64 = 512 << 20;

/// The disks of the cache, of the trainer's directory and of a checkpoint store in files.
pub fn disks(arguments: &Arguments) -> Vec<Finding> {
    let store = arguments.checkpoints.as_deref().map(|url| url.strip_prefix("file://").unwrap_or(url));
    let store = store.filter(|place| !place.contains("://")).map(PathBuf::from);
    let cache = directories::CacheArguments { directory: arguments.cache.clone() }.path().ok();
    let work = directories::work(arguments.work.as_deref()).ok();
    let places = [("cache", cache), ("work", work), ("checkpoints", store)];
    places.into_iter().filter_map(|(name, place)| disk(name, &place?)).collect()
}

fn disk(name: &str, place: &Path) -> Option<Finding> {
    let (free, all) = directories::space(place).ok()?;
    let shown = format!("{name}: {} of {} MB are free on the disk of {}", free >> 20, all >> 20, place.display());
    let advice = "make room: the next checkpoint is fetched or written beside the one that serves";
    Some(match free {
        ..LITTLE => Finding::fail("disk", shown, advice),
        LITTLE..ENOUGH => Finding::warn("disk", shown, advice),
        _ => Finding::ok("disk", shown),
    })
}
