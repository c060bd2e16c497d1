//! The plant: a server on its own thread that sends samples and obeys commands.
//!
//! The thread drives its interface itself, so that no hand-over between threads delays a command on its way to the
//! motor. The pendulum continues while the thread waits; see [`rig`](super::rig).
//!
//! A watchdog on the commands is the failsafe. It latches: after a stop the library drops commands until the watchdog is
//! reset, whoever sends them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use tautline::{
    Config, Driver, DropReason, Event, Events, Message, MessageType, Metadata, PeerId, UdpInterface, WatchId,
    Watchdog, WatchdogState,
};

use super::messages::{EventKind, Force, MotorState, Sample, Settings, Snapshot};
use super::rig::Rig;
use super::view::{PER_SECOND, RECENT};
use crate::tools::exit::{Exit, Failure};
use crate::tools::interrupt::{Interrupt, LOOK_EVERY};
use crate::tools::link::{open_driven, wait_over};
use crate::tools::pace::Pace;
use crate::tools::round_trips::RoundTrips;

/// How long the plant waits for the controller before it fails.
const CONTROLLER_COMES_WITHIN: Duration = Duration::from_secs(10);

/// The longest round trip. A command that takes longer counts as lost. At the end the plant waits this long for the
/// last commands.
const LATEST_ANSWER: Duration = Duration::from_secs(1);

/// The plant before the rod is released.
#[derive(Debug)]
pub(super) struct Plant {
    interface: UdpInterface,
    driver: Driver,
    settings: Settings,
    events: Events,
    watch: WatchId,
    /// How often the watchdog has tripped. Order: relaxed; the number is all there is to read.
    trips: Arc<AtomicU64>,
    /// The controller that announced itself last. It receives the samples.
    controller: Option<PeerId>,
}

/// The results of the plant.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) rig: Rig,
    pub(super) round_trips: RoundTrips,
    pub(super) lost_in_silence: u64,
    pub(super) refused: u64,
    pub(super) skipped: u64,
    /// The commands that the library dropped because the motor was stopped.
    pub(super) latched: u64,
}

/// The state of the running plant.
struct Run {
    /// The trips of the watchdog that have stopped the motor.
    trips: u64,
    rig: Rig,
    round_trips: RoundTrips,
    silence: SilenceCount,
    refused: u64,
    skipped: u64,
}

impl Plant {
    /// Opens the plant's socket.
    pub(super) fn open(config: Config, settings: Settings) -> Result<Self, Failure> {
        let (interface, driver) = open_driven(config)?;
        let events = interface.events();
        let trips = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&trips);
        let commands = Watchdog::messages(MessageType::Command, settings.hold());
        let failsafe = move |event: &tautline::WatchdogEvent| {
            if event.state() == WatchdogState::Tripped {
                count.fetch_add(1, Ordering::Relaxed);
            }
        };
        let watch = interface
            .watch(commands, failsafe)
            .map_err(|error| Failure::failed(format!("the plant has no failsafe: {error}")))?;
        Ok(Self { interface, driver, settings, events, watch, trips, controller: None })
    }

    /// Returns the plant's address.
    pub(super) fn address(&self) -> Result<SocketAddr, Failure> {
        self.interface
            .local_address()
            .ok_or_else(|| Failure::new(Exit::NoConnection, "the plant's socket has no address"))
    }

    /// Waits for the controller, releases the rod, and runs for the length of the demo.
    pub(super) fn run(
        mut self,
        news: &SyncSender<Snapshot>,
        interrupt: &Interrupt,
    ) -> Result<Report, Failure> {
        self.wait_for_controller(interrupt)?;
        let now = Instant::now();
        let mut run = Run {
            trips: self.trips.load(Ordering::Relaxed),
            rig: Rig::release(&self.settings, now),
            round_trips: RoundTrips::new(),
            silence: SilenceCount::default(),
            refused: 0,
            skipped: 0,
        };
        let mut samples = Pace::new(f64::from(self.settings.rate), now);
        let mut snapshots = Pace::new(f64::from(PER_SECOND), now);
        while !interrupt.is_asked() {
            let now = Instant::now();
            run.rig.advance(now);
            self.stop_or_enable(&mut run, now);
            if run.rig.elapsed() >= self.settings.length {
                break;
            }
            if samples.next() <= now {
                self.send_sample(&mut run);
                run.skipped += samples.sent(now);
            }
            if snapshots.next() <= now {
                snapshots.sent(now);
                if let Err(TrySendError::Disconnected(_)) = news.try_send(run.snapshot()) {
                    break; // the main thread has ended
                }
            }
            self.note_events(&mut run);
            self.wait_until(run.rig.next_step().min(samples.next()), &mut run)?;
        }
        self.collect_last_commands(&mut run)?;
        let _ = news.try_send(run.snapshot());
        let statistics = self.interface.statistics();
        let latched =
            [statistics.messages_dropped, statistics.inbox.dropped].map(|by| by.of(DropReason::Latched));
        self.interface.disconnect();
        Ok(run.report(latched.iter().sum()))
    }

    /// Stops the motor if the watchdog has tripped. Enables it if it was stopped for as long as --re-enable says.
    fn stop_or_enable(&self, run: &mut Run, now: Instant) {
        let trips = self.trips.load(Ordering::Relaxed);
        if std::mem::replace(&mut run.trips, trips) != trips {
            run.rig.stop(now);
        }
        let due = run.rig.stopped_at().zip(self.settings.re_enable).map(|(stopped, after)| stopped + after);
        if due.is_some_and(|due| due <= now) {
            self.interface.reset(self.watch);
            run.rig.enable(now);
        }
    }

    fn wait_for_controller(&mut self, interrupt: &Interrupt) -> Result<(), Failure> {
        let deadline = Instant::now() + CONTROLLER_COMES_WITHIN;
        while self.controller.is_none() && !interrupt.is_asked() {
            if let Some(message) = wait_over(self.driver.receive(Some(LOOK_EVERY)))? {
                self.greet(&message);
            }
            if Instant::now() > deadline {
                let seconds = CONTROLLER_COMES_WITHIN.as_secs();
                let sentence = format!(
                    "the controller did not answer within {seconds} s: check the firewall of this computer"
                );
                return Err(Failure::new(Exit::NoConnection, sentence));
            }
        }
        Ok(())
    }

    /// Notes a controller that announces itself by a heartbeat message.
    fn greet(&mut self, message: &Message) {
        if message.message_type() == MessageType::Heartbeat {
            self.controller = Some(message.peer());
        }
    }

    fn send_sample(&self, run: &mut Run) {
        let sample = Sample {
            sample: run.round_trips.next_number(),
            time_s: run.rig.time_s(),
            state: *run.rig.state(),
        };
        run.round_trips.sent(Instant::now());
        if let Some(controller) = self.controller {
            // If the sample cannot be sent because the controller is gone, it stays unanswered and counts as lost.
            let _ = self.interface.publisher(Metadata::status()).to(controller).send(&sample);
        }
    }

    /// Logs the library's report that the controller is silent.
    fn note_events(&mut self, run: &mut Run) {
        while let Some(event) = self.events.next(Some(Duration::ZERO)) {
            if matches!(event, Event::PeerSilent { peer } if Some(peer) == self.controller) {
                run.rig.log.add(run.rig.elapsed(), EventKind::LinkSilent);
            }
        }
    }

    /// Waits for one message until `deadline`, and handles it.
    fn wait_until(&mut self, deadline: Instant, run: &mut Run) -> Result<(), Failure> {
        let wait = deadline.saturating_duration_since(Instant::now());
        if let Some(message) = wait_over(self.driver.receive(Some(wait)))? {
            self.greet(&message);
            if message.message_type() == MessageType::Command {
                run.obey(&message, Instant::now());
            }
        }
        Ok(())
    }

    fn collect_last_commands(&mut self, run: &mut Run) -> Result<(), Failure> {
        let deadline = Instant::now() + LATEST_ANSWER;
        while run.round_trips.unanswered() > run.lost_in_silence() && Instant::now() < deadline {
            self.wait_until(deadline, run)?;
        }
        Ok(())
    }
}

impl Run {
    fn obey(&mut self, message: &Message, now: Instant) {
        let Ok(command) = message.decode::<Force>() else {
            self.refused += 1;
            return;
        };
        let Some(age) = self.round_trips.answered(command.sample, now, LATEST_ANSWER) else {
            self.refused += 1;
            return;
        };
        let was_silent = self.rig.motor().state() != MotorState::Running;
        match self.rig.command(command, age, now) {
            Ok(()) => self.silence.obeyed(command.sample, was_silent),
            Err(_) => {
                self.refused += 1;
                self.silence.refused();
            }
        }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            released: self.rig.released(),
            elapsed: self.rig.elapsed(),
            state: *self.rig.state(),
            force_n: self.rig.motor().force_n(),
            motor: self.rig.motor().state(),
            sent: self.round_trips.sent_count(),
            answered: self.round_trips.answered_count(),
            rtt: self.round_trips.latencies().percentiles(),
            recent: self.rig.log.recent(RECENT),
        }
    }

    fn lost_in_silence(&self) -> u64 {
        let is_silent = self.rig.motor().state() != MotorState::Running;
        self.silence.lost(self.round_trips.sent_count(), is_silent)
    }

    fn report(self, latched: u64) -> Report {
        let lost_in_silence = self.lost_in_silence();
        let Self { rig, round_trips, refused, skipped, .. } = self;
        Report { rig, round_trips, lost_in_silence, refused, skipped, latched }
    }
}

/// Counts the samples that were lost while no commands came or none were obeyed. Losses of the network are not among them.
#[derive(Debug, Default)]
struct SilenceCount {
    /// The number after the newest sample whose command was obeyed.
    next: u64,
    /// The refused answers to samples from `next` on.
    refused: u64,
    lost: u64,
}

impl SilenceCount {
    fn refused(&mut self) {
        self.refused += 1;
    }

    fn obeyed(&mut self, sample: u64, after_silence: bool) {
        if after_silence {
            self.lost += self.missing_up_to(sample);
        }
        self.next = sample + 1;
        self.refused = 0;
    }

    /// Returns the number of samples from `next` up to but not including `end` that have no answer.
    fn missing_up_to(&self, end: u64) -> u64 {
        end.saturating_sub(self.next).saturating_sub(self.refused)
    }

    /// Returns the total if `sent` samples were sent so far. `is_silent` says whether a silence lasts now.
    fn lost(&self, sent: u64, is_silent: bool) -> u64 {
        self.lost + if is_silent { self.missing_up_to(sent) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_samples_lost_in_silence_are_counted() {
        let mut silence = SilenceCount::default();
        silence.obeyed(0, false);
        silence.obeyed(5, false); // the network lost 1 to 4
        silence.refused(); // 6 was answered too late
        assert_eq!(silence.lost(10, true), 3, "7, 8 and 9");
        assert_eq!(silence.lost(10, false), 0);
        silence.obeyed(10, true);
        assert_eq!(silence.lost(12, false), 3);
    }
}
