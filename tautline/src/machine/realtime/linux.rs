//! Linux: scheduling, affinity, locked memory, PM QoS and busy polling, each with the command that allows it.
#![allow(unsafe_code)] // no safe wrapper offers sched_setscheduler

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::net::UdpSocket;
use std::time::Duration;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, CpuSet, capabilities, sched_getaffinity, sched_setaffinity};

use super::{Answer, RealtimePart, Refusal};
use crate::config::Cpus;
use crate::machine::socket::set_option;

/// Where the kernel takes the longest wake-up that someone can bear (Documentation/power/pm_qos_interface.rst).
const LATENCY_FILE: &str = "/dev/cpu_dma_latency";

/// The cores that run, as the kernel lists them.
const ONLINE_FILE: &str = "/sys/devices/system/cpu/online";

/// The open file that keeps cores from deep sleep.
#[derive(Debug)]
pub(crate) struct Awake {
    _file: File,
}

thread_local! {
    /// The cores that this thread could use before [`run_on`] restricted it.
    static BEFORE: Cell<Option<CpuSet>> = const { Cell::new(None) };
}

/// This program's file, for commands to copy.
fn program() -> String {
    std::env::current_exe().map_or_else(|_| "PROGRAM".to_owned(), |path| path.display().to_string())
}

/// What the whole profile needs. Always all of it, because each `setcap` replaces what the one before gave.
fn set_capabilities() -> String {
    format!("sudo setcap cap_sys_nice,cap_ipc_lock,cap_net_admin+ep {}", program())
}

/// Puts the calling thread under SCHED_FIFO. Threads that it starts begin with ordinary scheduling again: a handler's
/// worker must not outrank the driver's own peers.
pub(super) fn set_priority(priority: usize) -> Answer {
    let number = libc::c_int::try_from(priority).unwrap_or(libc::c_int::MAX);
    // SAFETY: an all-zero sched_param is a valid one on every libc; it is plain integers.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    parameters.sched_priority = number;
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: 0 means the calling thread, and the pointer is to a live sched_param that the kernel only reads.
    // The system call itself, because musl's function of that name does nothing.
    let result = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const parameters) };
    if result == 0 {
        return Ok(format!("SCHED_FIFO {priority}"));
    }
    let error = io::Error::last_os_error();
    Err(match error.kind() {
        ErrorKind::PermissionDenied => Refusal::new(
            "SCHED_FIFO is not permitted (no CAP_SYS_NICE, and the rtprio limit is lower)",
            format!(
                "{}; or rtprio {priority} in /etc/security/limits.conf (`ulimit -r` shows it)",
                set_capabilities()
            ),
        ),
        _ => Refusal::new(format!("SCHED_FIFO {priority}: {error}"), "see sched(7)"),
    })
}

/// Restricts the calling thread to these cores.
pub(super) fn run_on(cpus: &Cpus) -> Answer {
    let online = online();
    // The kernel would quietly leave out what is not there.
    if let Some(core) = cpus.iter().find(|core| online.as_ref().is_some_and(|online| !online.names(*core))) {
        let online = online.unwrap_or_default();
        return Err(Refusal::new(
            format!("there is no core {core}: this machine has {online}"),
            format!("name cores of {online} in `cpus`"),
        ));
    }
    let mut set = CpuSet::new();
    cpus.iter().for_each(|core| set.set(core));
    let outside = "allow them in the control group: cpuset.cpus, AllowedCPUs= or --cpuset-cpus";
    let before = sched_getaffinity(None).ok();
    sched_setaffinity(None, &set)
        .map_err(|error| Refusal::new(format!("core {cpus}: {}", io::Error::from(error)), outside))?;
    // Of several restrictions in a row, the first.
    BEFORE.set(BEFORE.get().or(before));
    let granted = allowed();
    if granted == *cpus {
        Ok(format!("core {cpus}"))
    } else {
        Err(Refusal::new(format!("of cores {cpus} this process may use {granted}"), outside))
    }
}

/// What a thread that the calling one starts is to run first: it inherits the restriction, and lifts it again.
pub(super) fn unrestricted() -> impl FnOnce() + Send + 'static {
    let before = BEFORE.get();
    move || {
        if let Some(before) = before {
            // Best effort: restricted, the thread does its work all the same.
            let _ = sched_setaffinity(None, &before);
        }
    }
}

/// The cores that run; `None` where the kernel does not say.
fn online() -> Option<Cpus> {
    std::fs::read_to_string(ONLINE_FILE).ok()?.parse().ok()
}

/// The cores that the calling thread may use.
fn allowed() -> Cpus {
    let set = sched_getaffinity(None).unwrap_or_default();
    (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
}

/// Keeps all memory of the process in RAM, now and later. Only without a limit: under one, whatever the process maps
/// beyond it later, a thread's stack or a large buffer, would be refused, and that ends programs.
pub(super) fn lock_memory() -> Answer {
    let remedy = || {
        format!(
            "ulimit -l unlimited (memlock in /etc/security/limits.conf, LimitMEMLOCK= in systemd); or {}",
            set_capabilities()
        )
    };
    let limit = getrlimit(Resource::Memlock).current;
    let is_free = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    if let Some(limit) = limit.filter(|_| !is_free) {
        let problem = format!(
            "locked memory is limited to {} KiB, and what is mapped later would be refused",
            limit / 1024
        );
        return Err(Refusal::new(problem, remedy()));
    }
    match mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE) {
        Ok(()) => Ok("all memory, until the process ends".to_owned()),
        Err(error) => Err(Refusal::new(format!("mlockall: {}", io::Error::from(error)), remedy())),
    }
}

/// Keeps cores from deep sleep for as long as the result lives.
pub(super) fn stay_awake() -> Answer<(String, Awake)> {
    let held = OpenOptions::new().write(true).open(LATENCY_FILE).and_then(|mut file| {
        // Binary: the longest wake-up in microseconds.
        file.write_all(&0i32.to_ne_bytes())?;
        Ok(Awake { _file: file })
    });
    match held {
        Ok(awake) => Ok((format!("{LATENCY_FILE} held at 0 us"), awake)),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Refusal::new(
            format!("{LATENCY_FILE} is not there"),
            "a kernel with CONFIG_CPU_IDLE; in a container, pass the device in; or boot with idle=poll",
        )),
        Err(error) => Err(Refusal::new(
            format!("{LATENCY_FILE}: {error}"),
            format!(
                "sudo chmod a+w {LATENCY_FILE}; for good, a udev rule: KERNEL==\"cpu_dma_latency\", MODE=\"0666\""
            ),
        )),
    }
}

/// Lets the kernel ask the network card for this long when a read finds nothing.
pub(super) fn busy_poll(socket: &UdpSocket, time: Duration) -> Answer {
    let us = libc::c_int::try_from(time.as_micros()).unwrap_or(libc::c_int::MAX);
    match set_option(socket, libc::SOL_SOCKET, libc::SO_BUSY_POLL, us) {
        Ok(()) => Ok(format!("{us} us a read{}", poll_note(us))),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(Refusal::new(
            "SO_BUSY_POLL is not permitted (no CAP_NET_ADMIN)",
            format!("{}; or sudo sysctl net.core.busy_read={us}", set_capabilities()),
        )),
        Err(error) => {
            Err(Refusal::new(format!("SO_BUSY_POLL: {error}"), "a kernel with CONFIG_NET_RX_BUSY_POLL"))
        }
    }
}

/// Reads poll by the socket's setting, poll(2) only if the whole system does.
fn poll_note(us: libc::c_int) -> String {
    let system = std::fs::read_to_string("/proc/sys/net/core/busy_poll").unwrap_or_default();
    match system.trim() {
        "0" => format!("; waits too with sysctl net.core.busy_poll={us}"),
        _ => String::new(),
    }
}

/// Linux doubles what it is asked for, to have room for its own records, and reports the double (socket(7)).
pub(super) const fn usable_buffer(reported: usize) -> usize {
    reported / 2
}

pub(super) fn buffer_remedy(part: RealtimePart, asked: usize) -> String {
    let limit = if part == RealtimePart::SendBuffer { "wmem_max" } else { "rmem_max" };
    format!("sudo sysctl net.core.{limit}={asked}")
}
