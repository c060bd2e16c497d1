//! Windows: priority and cores of the driver's thread. What Windows has not is refused by name.
#![allow(unsafe_code)] // no safe wrapper offers them

use std::io;
use std::net::UdpSocket;
use std::time::Duration;

use windows_sys::Win32::System::Threading::{
    GetActiveProcessorCount, GetCurrentThread, SetThreadAffinityMask, SetThreadPriority, THREAD_PRIORITY,
    THREAD_PRIORITY_ABOVE_NORMAL, THREAD_PRIORITY_HIGHEST, THREAD_PRIORITY_TIME_CRITICAL,
};

pub(crate) use super::elsewhere::OtherPriority;
pub(super) use super::elsewhere::{Awake, lacks, set_aside, unrestricted, usable_buffer};
use super::{Answer, RealtimePart, Refusal};
use crate::config::{Cpus, WaitPolicy};
use crate::machine::socket::is_precise;

/// Priorities from here on are the highest ordinary one of Windows.
const HIGHEST_FROM: usize = 50;

/// Priorities from here on are before all ordinary threads. The driver of `realtime` has 80, and the watchdogs' thread one
/// more, so it runs when the driver hangs.
const TIME_CRITICAL_FROM: usize = 81;

/// The priority of Windows for this number from 1 to 99, and its name.
const fn priority_of(number: usize) -> (THREAD_PRIORITY, &'static str) {
    match number {
        TIME_CRITICAL_FROM.. => (THREAD_PRIORITY_TIME_CRITICAL, "THREAD_PRIORITY_TIME_CRITICAL"),
        HIGHEST_FROM.. => (THREAD_PRIORITY_HIGHEST, "THREAD_PRIORITY_HIGHEST"),
        _ => (THREAD_PRIORITY_ABOVE_NORMAL, "THREAD_PRIORITY_ABOVE_NORMAL"),
    }
}

pub(super) fn set_priority(number: usize) -> Answer {
    let (priority, name) = priority_of(number);
    // SAFETY: no memory is passed. The handle stands for the calling thread.
    if unsafe { SetThreadPriority(GetCurrentThread(), priority) } != 0 {
        return Ok(name.to_owned());
    }
    let error = io::Error::last_os_error();
    Err(Refusal::new(format!("{name}: {error}"), "run the program as a user who may set priorities"))
}

pub(super) fn run_on(cpus: &Cpus) -> Answer {
    // SAFETY: no memory is passed. 0 is the first group of processors, which every machine has.
    let there = unsafe { GetActiveProcessorCount(0) } as usize;
    if let Some(core) = cpus.iter().find(|core| *core >= there.min(usize::BITS as usize)) {
        let last = there.saturating_sub(1);
        return Err(Refusal::new(
            format!("there is no core {core}: this machine has 0-{last}, in its first group"),
            format!("name cores of 0-{last} in `cpus`"),
        ));
    }
    let mask = cpus.iter().fold(0usize, |mask, core| mask | 1 << core);
    // SAFETY: no memory is passed. The handle stands for the calling thread.
    if unsafe { SetThreadAffinityMask(GetCurrentThread(), mask) } != 0 {
        return Ok(format!("core {cpus}"));
    }
    let error = io::Error::last_os_error();
    Err(Refusal::new(format!("core {cpus}: {error}"), "let the process use these cores (start /affinity)"))
}

fn not_on_windows<T>(what: &str, setting: &str) -> Answer<T> {
    Err(Refusal::new(
        format!("Windows has no way for a program to {what}"),
        format!("run on Linux, or leave `{setting}` out"),
    ))
}

pub(super) fn lock_memory() -> Answer {
    not_on_windows("lock all its memory, also what it takes later", "lock_memory")
}

pub(super) fn stay_awake() -> Answer<(String, Awake)> {
    not_on_windows("keep cores from deep sleep (a power plan does: powercfg)", "low_latency_cpu")
}

pub(super) fn busy_poll(_: &UdpSocket, _: Duration) -> Answer {
    not_on_windows("let the kernel poll the network card", "busy_poll")
}

pub(super) fn wait(policy: WaitPolicy) -> Answer {
    if is_precise() {
        return Ok(policy.to_string());
    }
    Err(Refusal::new(
        "this Windows has no timers of high resolution: waits end at its ticks, every millisecond",
        "Windows 10, version 1803, or newer",
    ))
}

pub(super) fn buffer_remedy(_: RealtimePart, _: usize) -> String {
    "ask for less: Windows did not take this size".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdogs_thread_is_before_the_driver_of_the_profile() {
        let [user, driver, watchdogs] = [10, 80, 81].map(|number| priority_of(number).0);
        assert!(user < driver && driver < watchdogs);
    }

    #[test]
    fn a_thread_gets_its_priority_and_its_cores_and_a_core_that_is_not_there_is_refused() {
        std::thread::spawn(|| {
            assert_eq!(set_priority(80).unwrap(), "THREAD_PRIORITY_HIGHEST");
            assert_eq!(run_on(&"0".parse().unwrap()).unwrap(), "core 0");
            assert!(run_on(&"63".parse().unwrap()).unwrap_err().problem.contains("no core 63"));
        })
        .join()
        .unwrap();
    }
}
