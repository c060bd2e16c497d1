//! Network namespaces, each a host of its own, for tests of networks. They need privilege. Without it, a test prints that it is
//! skipped.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The hosts of a test, by their names. Dropping them removes them, also when the test panics.
pub(crate) struct Hosts<const N: usize>(pub(crate) [String; N]);

impl<const N: usize> Hosts<N> {
    /// Chooses a name for each host, which ends in its letter.
    pub(crate) fn named(letters: [char; N]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // At most 15 bytes, the length of an interface's name.
        Self(letters.map(|letter| format!("tl{}-{number}{letter}", std::process::id())))
    }

    /// Sets the hosts up, each with its own loopback, and then their network. If the system does not allow that, prints the reason
    /// and returns `false`.
    pub(crate) fn set_up(&self, test: &str, network: impl FnOnce() -> Result<(), String>) -> bool {
        let hosts = || {
            for name in &self.0 {
                ip(&["netns", "add", name])?;
                ip(&["-n", name, "link", "set", "lo", "up"])?;
            }
            network()
        };
        let set_up = hosts();
        if let Err(reason) = &set_up {
            println!("skipped: {test}: network namespaces need privilege: {reason}");
        }
        set_up.is_ok()
    }

    /// Runs `ip` at a host.
    pub(crate) fn run(&self, host: usize, arguments: &[&str]) -> Result<(), String> {
        ip(&[&["-n", &self.0[host]], arguments].concat())
    }

    /// Runs `act` on a thread whose sockets belong to this host.
    pub(crate) fn at<T: Send>(&self, host: usize, act: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let path = format!("/run/netns/{}", self.0[host]);
                let namespace = File::open(path).expect("it was set up");
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("setting up was allowed");
                act()
            });
            inside.join().expect("no panic")
        })
    }
}

impl<const N: usize> Drop for Hosts<N> {
    fn drop(&mut self) {
        // The kernel removes the cables with the namespaces, when no socket uses them any more.
        for name in &self.0 {
            let _ = ip(&["netns", "del", name]);
        }
    }
}

pub(crate) fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}
