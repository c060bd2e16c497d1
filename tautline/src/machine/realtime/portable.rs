//! Other Unix systems: nothing is asked for, and the report says so.

use std::net::UdpSocket;
use std::time::Duration;

#[cfg(target_os = "macos")]
use super::elsewhere::Awake;
#[cfg(not(target_os = "macos"))]
pub(crate) use super::elsewhere::OtherPriority;
#[cfg(not(target_os = "macos"))]
pub(super) use super::elsewhere::{Awake, lacks, set_aside, unrestricted, usable_buffer};
use super::{Answer, RealtimePart, Refusal};
use crate::config::Cpus;
#[cfg(not(target_os = "macos"))]
use crate::config::WaitPolicy;

fn linux_only<T>() -> Answer<T> {
    Err(Refusal::new("tautline asks for this on Linux only", "run on Linux, or leave the setting out"))
}

#[cfg(not(target_os = "macos"))]
pub(super) fn set_priority(_: usize) -> Answer {
    linux_only()
}

pub(super) fn run_on(_: &Cpus) -> Answer {
    linux_only()
}

pub(super) fn lock_memory() -> Answer {
    linux_only()
}

pub(super) fn stay_awake() -> Answer<(String, Awake)> {
    linux_only()
}

pub(super) fn busy_poll(_: &UdpSocket, _: Duration) -> Answer {
    linux_only()
}

#[cfg(not(target_os = "macos"))]
pub(super) fn wait(policy: WaitPolicy) -> Answer {
    Ok(policy.to_string())
}

pub(super) fn buffer_remedy(_: RealtimePart, _: usize) -> String {
    "raise the system's limit of socket buffers".to_owned()
}
