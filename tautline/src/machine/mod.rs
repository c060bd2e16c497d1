//! Every call to the operating system: sockets, waiting, clocks, and real-time scheduling.
//!
//! Used by every folder that needs the system. Uses `config` and `sync`, except for `access`, which `config` uses. The only
//! folder that may contain `unsafe` code.

#[cfg(all(windows, feature = "secure"))]
pub(crate) mod access;
pub(crate) mod clock;
#[cfg(windows)]
pub(crate) mod console;
pub(crate) mod fault;
pub(crate) mod life;
pub(crate) mod names;
pub(crate) mod realtime;
pub(crate) mod sleep;
pub(crate) mod socket;

/// Lets every other thread go before the calling one.
#[cfg(feature = "metrics")]
pub(crate) fn be_nice() {
    // Linux: of this thread only. If the system refuses it, the thread is like the others.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, NICENESS);
}

/// Low, but not the lowest: it must come to its turn beside a busy program.
#[cfg(all(feature = "metrics", target_os = "linux"))]
const NICENESS: i32 = 10;

/// Returns the name of this host; empty if it is not known.
#[cfg(feature = "metrics")]
pub(crate) fn host_name() -> String {
    #[cfg(windows)]
    let name = std::env::var("COMPUTERNAME").unwrap_or_default();
    #[cfg(unix)]
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    name
}
