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
use crate::config::{Cpus, WaitPolicy};
use crate::machine::socket::{is_precise, set_option};

/// The file that takes the longest wake-up latency that a program accepts (Documentation/power/pm_qos_interface.rst).
const LATENCY_FILE: &str = "/dev/cpu_dma_latency";

/// The file that lists the online cores.
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

/// The path of this program, for commands that the user copies.
fn program() -> String {
    std::env::current_exe().map_or_else(|_| "PROGRAM".to_owned(), |path| path.display().to_string())
}

/// The command that allows the whole profile. Always for all parts, because each `setcap` replaces the one before.
fn set_capabilities() -> String {
    format!("sudo setcap cap_sys_nice,cap_ipc_lock,cap_net_admin+ep {}", program())
}

/// Puts the calling thread under SCHED_FIFO. Threads that it starts have ordinary scheduling again: a handler's worker must
/// not have the driver's priority.
pub(super) fn set_priority(priority: usize) -> Answer {
    let Err(error) = schedule(DRIVERS_POLICY, priority) else {
        return Ok(format!("SCHED_FIFO {priority}"));
    };
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

/// Threads that one of this policy starts have ordinary scheduling again.
const DRIVERS_POLICY: libc::c_int = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;

/// Sets the policy and the priority of the calling thread. Its nice value stays.
fn schedule(policy: libc::c_int, priority: usize) -> io::Result<()> {
    // SAFETY: sched_param consists of integers on every libc, so all zeros are valid.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    parameters.sched_priority = libc::c_int::try_from(priority).unwrap_or(libc::c_int::MAX);
    // SAFETY: 0 means the calling thread. The pointer is to a live sched_param, which the kernel only reads.
    // The system call itself, because musl's function of that name does nothing.
    let result = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const parameters) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The driver's thread runs as an ordinary thread until it drops this value.
#[derive(Debug)]
pub(crate) struct OtherPriority(usize);

/// Takes this priority away from the calling thread, which has it.
pub(super) fn set_aside(priority: usize) -> Option<OtherPriority> {
    schedule(libc::SCHED_OTHER | libc::SCHED_RESET_ON_FORK, 0).is_ok().then_some(OtherPriority(priority))
}

impl Drop for OtherPriority {
    fn drop(&mut self) {
        let _ = schedule(DRIVERS_POLICY, self.0);
    }
}

/// Restricts the calling thread to these cores.
pub(super) fn run_on(cpus: &Cpus) -> Answer {
    let online = online();
    // The kernel ignores cores that do not exist.
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
    // Of several restrictions in a row, the first counts.
    BEFORE.set(BEFORE.get().or(before));
    let granted = allowed();
    if granted == *cpus {
        Ok(format!("core {cpus}"))
    } else {
        Err(Refusal::new(format!("of cores {cpus} this process may use {granted}"), outside))
    }
}

/// Returns what a new thread must run first. It inherits the restriction of the calling thread, and this lifts it.
pub(super) fn unrestricted() -> impl FnOnce() + Send + 'static {
    let before = BEFORE.get();
    move || {
        if let Some(before) = before {
            // Best effort: a restricted thread does its work too.
            let _ = sched_setaffinity(None, &before);
        }
    }
}

/// The online cores; `None` if the kernel does not report them.
fn online() -> Option<Cpus> {
    std::fs::read_to_string(ONLINE_FILE).ok()?.parse().ok()
}

/// The cores that the calling thread may use.
fn allowed() -> Cpus {
    let set = sched_getaffinity(None).unwrap_or_default();
    (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
}

/// Keeps all memory of the process in RAM, now and later. Only if there is no limit: under a limit, later memory beyond it
/// (the stack of a thread, a large buffer) would be refused, and that ends programs.
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

/// Keeps cores from deep sleep until the result is dropped.
pub(super) fn stay_awake() -> Answer<(String, Awake)> {
    let held = OpenOptions::new().write(true).open(LATENCY_FILE).and_then(|mut file| {
        // In binary: the longest wake-up latency in microseconds.
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

/// Lets the kernel poll the network card for this time when a read finds nothing.
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

/// A read polls by the setting of the socket. poll(2) does so only by a setting of the whole system.
fn poll_note(us: libc::c_int) -> String {
    let system = std::fs::read_to_string("/proc/sys/net/core/busy_poll").unwrap_or_default();
    match system.trim() {
        "0" => format!("; waits too with sysctl net.core.busy_poll={us}"),
        _ => String::new(),
    }
}

pub(super) fn wait(policy: WaitPolicy) -> Answer {
    let problem = || "the system refuses ppoll: waits end at whole milliseconds".to_owned();
    is_precise().then(|| policy.to_string()).ok_or_else(|| in_sandbox(problem()))
}

/// Why a part of the socket is not there.
pub(super) fn lacks(_: RealtimePart, problem: String) -> Refusal {
    in_sandbox(problem)
}

/// The refusal of what every Linux of today has.
fn in_sandbox(problem: String) -> Refusal {
    Refusal::new(
        problem,
        "allow the call in the sandbox that this program runs in (seccomp), or use a newer kernel",
    )
}

/// Linux doubles the size that it is asked for, for its own records, and reports the doubled size (socket(7)).
pub(super) const fn usable_buffer(reported: usize) -> usize {
    reported / 2
}

pub(super) fn buffer_remedy(part: RealtimePart, asked: usize) -> String {
    let limit = if part == RealtimePart::SendBuffer { "wmem_max" } else { "rmem_max" };
    format!("sudo sysctl net.core.{limit}={asked}")
}
