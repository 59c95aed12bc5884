//! Who holds a claim.

/// Host and process, for people who look at what is claimed.
pub fn owner() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname");
    format!("{}/{}", host.as_deref().unwrap_or("unknown").trim(), std::process::id())
}
