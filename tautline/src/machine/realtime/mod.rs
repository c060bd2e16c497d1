//! The real-time profile: asks the machine for each part when an interface connects, and keeps the answers.
//!
//! [`Realtime::ask_machine`] asks for what belongs to the process and the socket, before anything is sent.
//! [`Realtime::ask_for_thread`] asks for what belongs to the thread that drives, on that thread. A refusal is never an
//! error: it is an entry of the report, and the caller publishes it. The calls of each system are in
//! its submodule.

#[cfg(not(target_os = "linux"))]
mod elsewhere;
mod report;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;
#[cfg(all(unix, not(target_os = "linux")))]
mod portable;
#[cfg(windows)]
mod windows;

use crate::sync::{AtomicUsize, Mutex, Ordering};
use std::time::Duration;

pub use report::{PartOutcome, PartReport, RealtimePart, RealtimeReport};

#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(target_os = "macos")]
use macos as platform;
#[cfg(all(unix, not(any(target_os = "linux", target_os = "macos"))))]
use portable as platform;
#[cfg(windows)]
use windows as platform;

pub(crate) use platform::OtherPriority;

use crate::config::{Config, Cpus, Role, Settings, WaitPolicy, Wire, show_duration};
use crate::machine::socket::{Granted, Socket};
use crate::sync::lock;
use tautline_proto::Priority;

/// The bytes of stack that are touched before the driver begins: several times what a turn was measured to use, and well
/// within the 2 MiB that a thread has.
const STACK_TOUCHED: usize = 256 * 1024;

/// The highest of SCHED_FIFO (sched(7)).
const MAX_PRIORITY: usize = 99;

/// The answer of the machine: what it does, in words, or why it refuses.
type Answer<T = String> = Result<T, Refusal>;

/// Why the machine refuses something, and what would allow it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusal {
    problem: String,
    remedy: String,
}

impl Refusal {
    fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into() }
    }
}

/// What a connection asks of the machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes {
    thread_priority: usize,
    cpus: Cpus,
    lock_memory: bool,
    low_latency_cpu: bool,
    busy_poll: Duration,
    receive_buffer: usize,
    send_buffer: usize,
    dscp: bool,
    offload: bool,
    stamps: bool,
    called_address: bool,
    wait: Option<WaitPolicy>,
    /// Whether a small kernel buffer is an event. The defaults ask for more than most systems give, so only a user who sets a
    /// size, or wants real time, gets the event.
    tell_of_receive_buffer: bool,
    tell_of_send_buffer: bool,
}

impl Wishes {
    pub(crate) fn new(config: &Config, settings: &Settings) -> Self {
        Self {
            thread_priority: settings.thread_priority,
            cpus: settings.cpus.clone(),
            lock_memory: settings.lock_memory,
            low_latency_cpu: settings.low_latency_cpu,
            busy_poll: settings.busy_poll,
            receive_buffer: settings.receive_buffer,
            send_buffer: settings.send_buffer,
            dscp: settings.dscp,
            offload: settings.offload && settings.wire == Wire::Native,
            stamps: settings.need_stamps(),
            called_address: settings.role == Role::Server && settings.endpoint.is_unspecified(),
            wait: Some(settings.wait),
            tell_of_receive_buffer: settings.realtime || config.receive_buffer.is_some(),
            tell_of_send_buffer: settings.realtime || config.send_buffer.is_some(),
        }
    }

    /// What is asked for, as the configuration writes it; `None` if nothing is.
    fn asked(&self, part: RealtimePart) -> Option<String> {
        let number = |number: usize| (number > 0).then(|| number.to_string());
        let on = |on: bool| on.then(|| "true".to_owned());
        match part {
            RealtimePart::ThreadPriority => number(self.thread_priority),
            RealtimePart::Cpus => (!self.cpus.is_any()).then(|| self.cpus.to_string()),
            RealtimePart::LockMemory => on(self.lock_memory),
            RealtimePart::LowLatencyCpu => on(self.low_latency_cpu),
            RealtimePart::BusyPoll => (!self.busy_poll.is_zero()).then(|| show_duration(self.busy_poll)),
            RealtimePart::ReceiveBuffer => number(self.receive_buffer),
            RealtimePart::SendBuffer => number(self.send_buffer),
            RealtimePart::Dscp => on(self.dscp),
            RealtimePart::Offload => on(self.offload),
            RealtimePart::KernelTimestamps => on(self.stamps),
            RealtimePart::CalledAddress => on(self.called_address),
            RealtimePart::Wait => self.wait.map(|wait| wait.to_string()),
        }
    }

    /// Whether something is asked for the driver's thread.
    fn concern_thread(&self) -> bool {
        RealtimePart::ALL.into_iter().any(|part| part.is_of_thread() && self.asked(part).is_some())
    }

    /// What the watchdogs' thread asks for.
    pub(crate) const fn of_watchdog(&self) -> WatchdogWishes {
        WatchdogWishes { lock_memory: self.lock_memory, driver_priority: self.thread_priority }
    }

    /// Whether a refusal of this part is an event and a line in the log.
    fn tell_of(&self, part: RealtimePart) -> bool {
        match part {
            RealtimePart::ReceiveBuffer => self.tell_of_receive_buffer,
            RealtimePart::SendBuffer => self.tell_of_send_buffer,
            // Other systems have none of these, and the defaults ask for them.
            RealtimePart::Offload | RealtimePart::KernelTimestamps => cfg!(target_os = "linux"),
            RealtimePart::CalledAddress => cfg!(any(target_os = "linux", windows)),
            _ => true,
        }
    }

    /// The report before anything was asked.
    fn report(&self) -> RealtimeReport {
        let mut report = RealtimeReport::default();
        for entry in &mut report.parts {
            entry.asked = self.asked(entry.part);
            if entry.asked.is_some() {
                entry.outcome = PartOutcome::Pending;
            }
        }
        report
    }
}

/// What an interface asked of the machine, and what it got.
#[derive(Debug, Default)]
pub(crate) struct Realtime {
    inner: Mutex<Inner>,
    /// The priority that the driver's thread was granted, if it has no cores of its own; else 0. Order: relaxed; that thread
    /// writes it before anything is received.
    priority: AtomicUsize,
}

#[derive(Debug, Default)]
struct Inner {
    wishes: Wishes,
    report: RealtimeReport,
}

/// What is held while connected. Dropping it gives it back to the machine.
#[derive(Debug, Default)]
pub(crate) struct Held {
    _awake: Option<platform::Awake>,
}

impl Realtime {
    /// What the present or the latest connection got.
    pub(crate) fn report(&self) -> RealtimeReport {
        lock(&self.inner).report.clone()
    }

    /// Whether something is asked for the driver's thread.
    pub(crate) fn concerns_thread(&self) -> bool {
        lock(&self.inner).wishes.concern_thread()
    }

    fn begin(&self, wishes: Wishes) {
        let report = wishes.report();
        self.priority.store(0, Ordering::Relaxed);
        *lock(&self.inner) = Inner { wishes, report };
    }

    fn wishes(&self) -> Wishes {
        lock(&self.inner).wishes.clone()
    }

    fn note(&self, part: RealtimePart, outcome: PartOutcome) {
        let mut inner = lock(&self.inner);
        if let Some(entry) = inner.report.parts.iter_mut().find(|entry| entry.part == part) {
            entry.outcome = outcome;
        }
    }
}

/// A part that the machine did not grant, and that the caller is to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotGranted {
    pub(crate) part: RealtimePart,
    pub(crate) problem: String,
    pub(crate) remedy: String,
}

impl Realtime {
    /// Asks for what belongs to the process and to the socket. Keep what it returns for as long as the connection lasts.
    /// Adds to `refused` what the machine did not grant.
    pub(crate) fn ask_machine(
        &self,
        wishes: &Wishes,
        socket: &Socket,
        granted: Granted,
        refused: &mut Vec<NotGranted>,
    ) -> Held {
        self.begin(wishes.clone());
        let mut answered = |part, answer| refused.extend(self.answered(wishes, part, answer));
        if wishes.lock_memory {
            answered(RealtimePart::LockMemory, platform::lock_memory());
        }
        if !wishes.busy_poll.is_zero() {
            answered(RealtimePart::BusyPoll, platform::busy_poll(socket.udp(), wishes.busy_poll));
        }
        for (part, asked, reported) in [
            (RealtimePart::ReceiveBuffer, wishes.receive_buffer, granted.receive_buffer),
            (RealtimePart::SendBuffer, wishes.send_buffer, granted.send_buffer),
        ] {
            if asked > 0 {
                answered(part, buffer_answer(part, asked, reported));
            }
        }
        if wishes.dscp {
            answered(RealtimePart::Dscp, mark_answer(socket));
        }
        for (is_asked, part, lacks) in [
            (wishes.offload, RealtimePart::Offload, socket.lacks_offload()),
            (wishes.stamps, RealtimePart::KernelTimestamps, socket.lacks_stamps()),
            (wishes.called_address, RealtimePart::CalledAddress, socket.lacks_called_address()),
        ] {
            if is_asked {
                answered(
                    part,
                    lacks
                        .map_or_else(|| Ok("true".to_owned()), |problem| Err(platform::lacks(part, problem))),
                );
            }
        }
        if let Some(policy) = wishes.wait {
            answered(RealtimePart::Wait, platform::wait(policy));
        }
        let mut awake = None;
        if wishes.low_latency_cpu {
            let answer = platform::stay_awake().map(|(words, held)| {
                awake = Some(held);
                words
            });
            answered(RealtimePart::LowLatencyCpu, answer);
        }
        Held { _awake: awake }
    }

    /// Asks for what belongs to the driver's thread, which must be the calling thread. Returns what the machine did not
    /// grant.
    pub(crate) fn ask_for_thread(&self) -> Vec<NotGranted> {
        let wishes = self.wishes();
        let mut refused = Vec::new();
        if wishes.lock_memory {
            touch_stack();
        }
        if !wishes.cpus.is_any() {
            refused.extend(self.answered(&wishes, RealtimePart::Cpus, platform::run_on(&wishes.cpus)));
        }
        if wishes.thread_priority > 0 {
            let answer = platform::set_priority(wishes.thread_priority);
            if answer.is_ok() && wishes.cpus.is_any() {
                self.priority.store(wishes.thread_priority, Ordering::Relaxed);
            }
            refused.extend(self.answered(&wishes, RealtimePart::ThreadPriority, answer));
        }
        refused
    }

    /// Whether the driver's thread runs before ordinary threads, on cores that it shares with them.
    pub(crate) fn shares_cores(&self) -> bool {
        self.priority.load(Ordering::Relaxed) > 0
    }

    /// Lets the calling thread, the driver's, run as an ordinary thread until the result is dropped.
    pub(crate) fn set_priority_aside(&self) -> Option<OtherPriority> {
        platform::set_aside(self.priority.load(Ordering::Relaxed))
    }

    /// Keeps the machine's answer. Returns a refusal that is to be published.
    fn answered(&self, wishes: &Wishes, part: RealtimePart, answer: Answer) -> Option<NotGranted> {
        let outcome = match answer {
            Ok(granted) => PartOutcome::Granted { granted },
            Err(Refusal { problem, remedy }) => PartOutcome::Refused { problem, remedy },
        };
        self.note(part, outcome.clone());
        match outcome {
            PartOutcome::Refused { problem, remedy } if wishes.tell_of(part) => {
                Some(NotGranted { part, problem, remedy })
            }
            _ => None,
        }
    }
}

/// What the watchdogs' thread asks of the machine for itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WatchdogWishes {
    lock_memory: bool,
    driver_priority: usize,
}

impl WatchdogWishes {
    /// Gives the calling thread what the driver asked for itself, except its cores: a priority above the driver's where
    /// the machine grants that, so that a driver that hangs cannot keep it from running. A refusal is not reported: the
    /// driver was refused the same, and that was published.
    pub(crate) fn ask(self) {
        if self.lock_memory {
            touch_stack();
        }
        let priority = self.driver_priority;
        if priority > 0 && platform::set_priority((priority + 1).min(MAX_PRIORITY)).is_err() {
            let _ = platform::set_priority(priority);
        }
    }
}

/// Wraps `run` for a thread that the driver starts: it runs on the cores that the driver had before `cpus`, so that handlers
/// do not compete with the driver.
pub(crate) fn off_the_drivers_cores(run: impl FnOnce() + Send + 'static) -> impl FnOnce() + Send + 'static {
    let unrestricted = platform::unrestricted();
    move || {
        unrestricted();
        run();
    }
}

/// Compares the size of a kernel buffer with the size that was asked for.
fn buffer_answer(part: RealtimePart, asked: usize, reported: Option<usize>) -> Answer {
    match reported.map(platform::usable_buffer) {
        Some(granted) if granted >= asked => Ok(format!("{granted} bytes")),
        Some(granted) => Err(Refusal::new(
            format!("the system gives {granted} bytes of {asked}"),
            platform::buffer_remedy(part, asked),
        )),
        None => {
            Err(Refusal::new("the system does not say what it gives", platform::buffer_remedy(part, asked)))
        }
    }
}

/// Tries every mark, and leaves the mark of ordinary messages.
fn mark_answer(socket: &Socket) -> Answer {
    let marks = [Priority::Low, Priority::High, Priority::Critical, Priority::Normal];
    let are_set = marks.map(|priority| socket.mark(priority)) == [true; 4];
    are_set.then(|| "by priority".to_owned()).ok_or_else(|| {
        Refusal::new("the system does not mark datagrams", "run on Linux, or leave `dscp` out")
    })
}

/// Makes the pages of the calling thread's stack present.
#[inline(never)]
fn touch_stack() {
    let mut stack = [0u8; STACK_TOUCHED];
    std::hint::black_box(&mut stack);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn wishes(config: &Config) -> Wishes {
        Wishes::new(config, &config.settings().expect("valid"))
    }

    fn denied() -> Answer {
        Err(Refusal::new("not permitted", "sudo something"))
    }

    #[test]
    fn a_refusal_is_returned_and_is_an_entry_of_the_report() {
        let config = Config::server("127.0.0.1:0").realtime(true);
        let (realtime, wishes) = (Realtime::default(), wishes(&config));
        realtime.begin(wishes.clone());
        let part = RealtimePart::ThreadPriority;
        let (problem, remedy) = ("not permitted".to_owned(), "sudo something".to_owned());
        let expected = NotGranted { part, problem: problem.clone(), remedy: remedy.clone() };
        assert_eq!(realtime.answered(&wishes, part, denied()), Some(expected));
        let report = realtime.report();
        assert_eq!(report.part(part).outcome, PartOutcome::Refused { problem, remedy });
        assert_eq!(report.part(part).asked.as_deref(), Some("80"));
        assert_eq!(report.part(RealtimePart::LockMemory).outcome, PartOutcome::Pending);
        assert_eq!(report.part(RealtimePart::Cpus).outcome, PartOutcome::NotAsked);
        assert_eq!(report.refused().count(), 1);
    }

    #[test]
    fn a_small_buffer_is_an_event_only_if_its_size_was_set_or_realtime_is_on() {
        let plain = Config::server("127.0.0.1:0");
        for (config, told) in [
            (plain.clone(), false),
            (plain.clone().send_buffer(4096), false),
            (plain.clone().receive_buffer(4096), true),
            (plain.realtime(true), true),
        ] {
            assert_eq!(wishes(&config).tell_of(RealtimePart::ReceiveBuffer), told, "{config:?}");
        }
    }

    #[test]
    fn a_buffer_that_is_smaller_than_asked_is_a_refusal_with_both_sizes() {
        let reported = if cfg!(target_os = "linux") { 2 * 4096 } else { 4096 };
        assert_eq!(
            buffer_answer(RealtimePart::ReceiveBuffer, 4096, Some(reported)),
            Ok("4096 bytes".to_owned())
        );
        let refusal = buffer_answer(RealtimePart::SendBuffer, 8192, Some(reported)).expect_err("half of it");
        assert_eq!(refusal.problem, "the system gives 4096 bytes of 8192");
        assert!(!refusal.remedy.is_empty());
    }
}
