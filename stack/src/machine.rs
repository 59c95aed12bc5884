//! What the servers need of the machine: ports, passwords, places for files, and a way to wait.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, File};
use std::future::Future;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Ports to choose from: below those that Linux and macOS give to outgoing connections, so that
/// nobody, not even a client that tries to reach a stopped server, is given a server's port while
/// the server is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// The ports that this process was given: whoever asked may not have taken it yet.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port of 127.0.0.1 that nobody listens on now, and that was not given before.
pub fn free_port() -> anyhow::Result<u16> {
    for _ in 0..100 {
        let port = PORTS.start + u16::from_ne_bytes(random_bytes()?) % (PORTS.end - PORTS.start);
        let mut given = GIVEN.lock().expect("no holder panics");
        if !given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.insert(port);
            return Ok(port);
        }
    }
    bail!("found no free port between {} and {}", PORTS.start, PORTS.end)
}

/// Bytes that nobody can guess.
pub fn random_bytes<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(bytes)
}

/// The same as [`random_bytes`], as `2 * N` hexadecimal digits.
pub fn random_word<const N: usize>() -> anyhow::Result<String> {
    Ok(random_bytes::<N>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Where downloads are kept for the next time: `labelstream` in the user's cache directory.
pub fn cache_directory() -> anyhow::Result<PathBuf> {
    let cache = match env::var_os("XDG_CACHE_HOME").filter(|directory| !directory.is_empty()) {
        Some(directory) => PathBuf::from(directory),
        None => env::home_dir().context("cannot tell the home directory: set HOME or XDG_CACHE_HOME")?.join(".cache"),
    };
    Ok(cache.join("labelstream"))
}

/// Whether any user of the machine may go down to `path`, which need not exist yet.
pub fn open_to_all(path: &Path) -> bool {
    path.ancestors()
        .filter_map(|ancestor| fs::metadata(ancestor).ok())
        .all(|found| found.permissions().mode() & 0o001 != 0)
}

/// The program of this name in a directory of `PATH`.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(name)).find(|program| program.is_file())
}

/// Asks `done` until it says yes, for at most `limit`; says whether it did.
pub fn poll_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        // Servers take tenths of a second to start: asking this often costs nothing and adds
        // nothing.
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for a future on a thread of its own, so that it may be called inside another runtime as
/// well.
pub fn wait_for<T: Send>(future: impl Future<Output = anyhow::Result<T>> + Send) -> anyhow::Result<T> {
    thread::scope(|scope| {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future);
        scope.spawn(runtime).join().unwrap_or_else(|_| bail!("a waiting thread panicked"))
    })
}
