//! The real-time profile: asks the machine for each part when an interface connects, and tells what it said.
//!
//! [`Shared::ask_machine`] asks for what belongs to the process and the socket, before anything is sent;
//! [`Shared::ask_for_thread`] for what belongs to the thread that drives, on that thread. A refusal is never an error: it
//! is an event, a line in the log and an entry of the report. All platform-only calls are in `linux.rs`.

mod report;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod portable;

use crate::sync::Mutex;
use std::time::{Duration, Instant};

pub use report::{PartOutcome, PartReport, RealtimePart, RealtimeReport};

#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(not(target_os = "linux"))]
use portable as platform;

use crate::config::{Config, Cpus, Settings, show_duration};
use crate::connection::events::Event;
use crate::connection::shared::Shared;
use crate::machine::socket::{Granted, Socket};
use crate::sync::lock;
use tautline_proto::Priority;

/// How much stack is touched before the driver begins, in bytes: several times what a turn was seen to use, and
/// well within the 2 MiB that a thread has.
const STACK_TOUCHED: usize = 256 * 1024;

/// The highest of SCHED_FIFO (sched(7)).
const MAX_PRIORITY: usize = 99;

/// What the machine said to a wish: what it does, in words, or why not.
type Answer<T = String> = Result<T, Refusal>;

/// Why the machine does not do something, and what would make it.
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
    /// Whether a small kernel buffer is worth an event. The defaults ask for more than most systems give, which must not
    /// greet everyone; whoever names a size, or wants real time, wants to know.
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
            tell_of_receive_buffer: settings.realtime || config.receive_buffer.is_some(),
            tell_of_send_buffer: settings.realtime || config.send_buffer.is_some(),
        }
    }

    /// What is asked for, as the configuration would write it; `None` where nothing is.
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
        }
    }

    /// Whether the thread that drives is to be changed.
    fn concern_thread(&self) -> bool {
        RealtimePart::ALL.into_iter().any(|part| part.is_of_thread() && self.asked(part).is_some())
    }

    /// Whether a refusal of this part is an event and a line in the log.
    fn tell_of(&self, part: RealtimePart) -> bool {
        match part {
            RealtimePart::ReceiveBuffer => self.tell_of_receive_buffer,
            RealtimePart::SendBuffer => self.tell_of_send_buffer,
            _ => true,
        }
    }

    /// The report before anything was tried.
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

/// What an interface asked of the machine and what it got.
#[derive(Debug, Default)]
pub(crate) struct Realtime(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    wishes: Wishes,
    report: RealtimeReport,
}

/// What is held while connected, and given back when dropped.
#[derive(Debug, Default)]
pub(crate) struct Held {
    _awake: Option<platform::Awake>,
}

impl Realtime {
    /// What the present connection got, or the latest one.
    pub(crate) fn report(&self) -> RealtimeReport {
        lock(&self.0).report.clone()
    }

    /// Whether the thread that drives is to be changed.
    pub(crate) fn concerns_thread(&self) -> bool {
        lock(&self.0).wishes.concern_thread()
    }

    fn begin(&self, wishes: Wishes) {
        let report = wishes.report();
        *lock(&self.0) = Inner { wishes, report };
    }

    fn wishes(&self) -> Wishes {
        lock(&self.0).wishes.clone()
    }

    fn note(&self, part: RealtimePart, outcome: PartOutcome) {
        let mut inner = lock(&self.0);
        if let Some(entry) = inner.report.parts.iter_mut().find(|entry| entry.part == part) {
            entry.outcome = outcome;
        }
    }
}

impl Shared {
    /// Asks for what belongs to the process and to the socket. Keep what it returns for as long as the connection lasts.
    pub(crate) fn ask_machine(&self, wishes: &Wishes, socket: &Socket, granted: Granted) -> Held {
        self.realtime.begin(wishes.clone());
        if wishes.lock_memory {
            self.answered(wishes, RealtimePart::LockMemory, platform::lock_memory());
        }
        if !wishes.busy_poll.is_zero() {
            self.answered(
                wishes,
                RealtimePart::BusyPoll,
                platform::busy_poll(socket.udp(), wishes.busy_poll),
            );
        }
        for (part, asked, reported) in [
            (RealtimePart::ReceiveBuffer, wishes.receive_buffer, granted.receive_buffer),
            (RealtimePart::SendBuffer, wishes.send_buffer, granted.send_buffer),
        ] {
            if asked > 0 {
                self.answered(wishes, part, buffer_answer(part, asked, reported));
            }
        }
        if wishes.dscp {
            self.answered(wishes, RealtimePart::Dscp, mark_answer(socket));
        }
        Held { _awake: self.stay_awake(wishes) }
    }

    fn stay_awake(&self, wishes: &Wishes) -> Option<platform::Awake> {
        if !wishes.low_latency_cpu {
            return None;
        }
        let (answer, awake) = match platform::stay_awake() {
            Ok((words, awake)) => (Ok(words), Some(awake)),
            Err(refusal) => (Err(refusal), None),
        };
        self.answered(wishes, RealtimePart::LowLatencyCpu, answer);
        awake
    }

    /// Asks for what belongs to the thread that drives, which must be the calling one.
    pub(crate) fn ask_for_thread(&self) {
        let wishes = self.realtime.wishes();
        if wishes.lock_memory {
            touch_stack();
        }
        if !wishes.cpus.is_any() {
            self.answered(&wishes, RealtimePart::Cpus, platform::run_on(&wishes.cpus));
        }
        if wishes.thread_priority > 0 {
            let answer = platform::set_priority(wishes.thread_priority);
            self.answered(&wishes, RealtimePart::ThreadPriority, answer);
        }
    }

    /// Gives the calling thread, the watchdogs', what the driver asked for itself, but not its cores, and a priority above it
    /// where the machine grants that: a driver that hangs must not keep it from running. What is refused here was refused
    /// to the driver, and told.
    pub(crate) fn ask_for_watchdog(&self) {
        let wishes = self.realtime.wishes();
        if wishes.lock_memory {
            touch_stack();
        }
        let priority = wishes.thread_priority;
        if priority > 0 && platform::set_priority((priority + 1).min(MAX_PRIORITY)).is_err() {
            let _ = platform::set_priority(priority);
        }
    }

    /// Keeps the machine's answer, and makes a refusal known.
    fn answered(&self, wishes: &Wishes, part: RealtimePart, answer: Answer) {
        let outcome = match answer {
            Ok(granted) => PartOutcome::Granted { granted },
            Err(Refusal { problem, remedy }) => PartOutcome::Refused { problem, remedy },
        };
        self.realtime.note(part, outcome.clone());
        if let PartOutcome::Refused { problem, remedy } = outcome
            && wishes.tell_of(part)
        {
            if let Some(left_out) = self.log.allow(Instant::now()) {
                tracing::warn!(
                    part = part.name(),
                    problem,
                    remedy,
                    left_out,
                    "the machine does not grant it"
                );
            }
            self.status.events.publish(&Event::NotGranted { part, problem, remedy });
        }
    }
}

/// `run` for a thread that the driver starts: on the cores that the driver had before `cpus`, because what handlers do
/// is not to compete with it.
pub(crate) fn off_the_drivers_cores(run: impl FnOnce() + Send + 'static) -> impl FnOnce() + Send + 'static {
    let unrestricted = platform::unrestricted();
    move || {
        unrestricted();
        run();
    }
}

/// Compares a kernel buffer with what was asked for.
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

/// Tries every mark, and leaves the one for what is ordinary.
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

    fn shared(config: Config) -> Shared {
        let settings = config.settings().expect("valid");
        Shared::new(config, &settings, false)
    }

    fn wishes(config: &Config) -> Wishes {
        Wishes::new(config, &config.settings().expect("valid"))
    }

    fn denied() -> Answer {
        Err(Refusal::new("not permitted", "sudo something"))
    }

    #[test]
    fn a_refusal_is_an_event_and_an_entry_of_the_report() {
        let config = Config::server("127.0.0.1:0").realtime(true);
        let (shared, wishes) = (shared(config.clone()), wishes(&config));
        let mut events = shared.status.events.subscribe();
        shared.realtime.begin(wishes.clone());
        shared.answered(&wishes, RealtimePart::ThreadPriority, denied());
        let (problem, remedy) = ("not permitted".to_owned(), "sudo something".to_owned());
        let expected = Event::NotGranted {
            part: RealtimePart::ThreadPriority,
            problem: problem.clone(),
            remedy: remedy.clone(),
        };
        assert_eq!(events.next(Duration::ZERO), Some(expected));
        let report = shared.realtime.report();
        assert_eq!(
            report.part(RealtimePart::ThreadPriority).outcome,
            PartOutcome::Refused { problem, remedy }
        );
        assert_eq!(report.part(RealtimePart::ThreadPriority).asked.as_deref(), Some("80"));
        assert_eq!(report.part(RealtimePart::LockMemory).outcome, PartOutcome::Pending);
        assert_eq!(report.part(RealtimePart::Cpus).outcome, PartOutcome::NotAsked);
        assert_eq!(report.refused().count(), 1);
    }

    #[test]
    fn a_small_buffer_is_an_event_only_for_those_who_asked_by_name() {
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
