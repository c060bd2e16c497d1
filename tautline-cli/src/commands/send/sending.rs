//! Sends one message after the other, with the rate and the count of the options.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tautline::{DeliveryStats, Metadata, Payload, SendError, UdpInterface, Wire};

use super::args::Args;
use super::lines::{self, InputLine, LONGEST};
use super::message::{metadata, payload};
use super::progress::Progress;
use super::reports::Reports;
use super::signs::Signs;
use crate::tools::exit::Failure;
use crate::tools::interrupt::{Interrupt, LOOK_EVERY};
use crate::tools::pace::Pace;
use crate::tools::repeated::Repeated;
use crate::tools::timed::Timed;
use crate::tools::waiting::{Waiting, while_waiting};
use crate::tools::{message_line, output};

/// How many times a message is tried while the socket buffer or the window is full.
const BUSY_TRIES: u32 = 1000;
/// The time between two tries.
const BUSY_WAIT: Duration = Duration::from_millis(1);

/// The loop that sends the messages, and its counts.
pub(super) struct Sending<'a> {
    args: &'a Args,
    interface: &'a UdpInterface,
    interrupt: &'a Interrupt,
    metadata: Metadata,
    pace: Option<Pace>,
    /// The times of `--timed`.
    pub(super) timed: Option<Timed>,
    progress: Progress,
    /// How many messages the interface has taken. The system may have refused some of them since.
    pub(super) sent: u64,
    /// How many lines were no message.
    pub(super) bad: u64,
    /// How many messages were not taken.
    pub(super) refused: u64,
    /// Why the first of them was not, if it was not said yet.
    pub(super) first_refusal: Option<String>,
    /// How many of the messages that were sent were not answered (`--request`).
    pub(super) unanswered: u64,
    /// The server's signs of life. `None` on the classic wire, where no server has to give any, and for a server.
    signs: Option<Signs>,
    /// What the network reports instead, on the classic wire.
    reports: Option<Reports>,
    /// How many messages may be lost, because no sign of life came.
    unheard: u64,
}

/// What went wrong with a message.
enum Unsent {
    /// It is no message that can be sent.
    Bad(String),
    /// It could not be sent now.
    Refused(String),
    /// Nobody is there to send it to.
    Gone(String),
    /// It was sent, and no answer came.
    Unanswered(String),
    /// It was sent and answered, but the answer cannot be printed.
    Unprinted(Failure),
}

impl<'a> Sending<'a> {
    pub(super) fn new(args: &'a Args, interface: &'a UdpInterface, interrupt: &'a Interrupt) -> Self {
        let now = Instant::now();
        let is_classic = interface.config().wire == Some(Wire::Classic);
        Self {
            args,
            interface,
            interrupt,
            metadata: metadata(args),
            pace: args.rate.map(|rate| Pace::new(rate, now)),
            timed: args.timed.then(|| Timed::new(1.0)),
            progress: Progress::new(args),
            sent: 0,
            bad: 0,
            refused: 0,
            first_refusal: None,
            unanswered: 0,
            signs: (!is_classic && !args.serve).then(|| Signs::new(interface)),
            reports: (is_classic && !args.serve).then(Reports::new),
            unheard: 0,
        }
    }

    /// Sends DATA `--count` times.
    pub(super) fn repeat(&mut self, payload: &Payload) -> Result<(), Failure> {
        for _ in 0..self.args.count.unwrap_or(1) {
            self.wait_for_turn();
            if self.interrupt.is_asked() {
                break;
            }
            match self.send(payload, &self.metadata.clone()) {
                Ok(()) => {}
                Err(Unsent::Bad(problem) | Unsent::Gone(problem) | Unsent::Unanswered(problem)) => {
                    return Err(Failure::failed(problem));
                }
                Err(Unsent::Unprinted(failure)) => return Err(failure),
                Err(Unsent::Refused(problem)) => {
                    self.refused += 1;
                    self.first_refusal.get_or_insert(problem);
                }
            }
            self.progress.show(self.sent + self.refused, self.sent);
        }
        Ok(())
    }

    /// Sends each line of standard input, up to `--count` lines.
    pub(super) fn lines(&mut self) -> Result<(), Failure> {
        if io::stdin().is_terminal() {
            output::note("reading lines of JSON from standard input; end with Ctrl-D");
        }
        let lines = lines::of_stdin();
        let most = self.args.count.unwrap_or(u64::MAX);
        while self.sent + self.refused + self.bad < most {
            let Some(line) = self.next_line(&lines)? else { break };
            self.wait_for_turn();
            if self.interrupt.is_asked() {
                break;
            }
            match self.send_line(&line) {
                Ok(()) => {}
                Err(Unsent::Bad(problem)) => {
                    self.bad += 1;
                    self.complain(line.number, "sent", &problem);
                }
                Err(Unsent::Unprinted(failure)) => return Err(failure),
                Err(Unsent::Unanswered(problem)) => self.complain(line.number, "answered", &problem),
                Err(Unsent::Refused(problem) | Unsent::Gone(problem)) => {
                    // All of them would be too many lines, and say the same.
                    if self.refused == 0 {
                        self.complain(line.number, "sent", &problem);
                    }
                    self.refused += 1;
                }
            }
            self.progress.show(line.end, self.sent);
        }
        Ok(())
    }

    /// Waits for a line, and checks for Ctrl-C meanwhile. Returns `None` if there is nothing more to send.
    fn next_line(&self, lines: &Receiver<io::Result<InputLine>>) -> Result<Option<InputLine>, Failure> {
        while !self.interrupt.is_asked() {
            match lines.recv_timeout(LOOK_EVERY) {
                Ok(Ok(line)) => return Ok(Some(line)),
                Ok(Err(error)) => {
                    return Err(Failure::failed(format!("cannot read standard input: {error}")));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        Ok(None)
    }

    fn complain(&self, number: u64, what: &str, problem: &str) {
        self.progress.aside(|| output::complain(format_args!("line {number} was not {what}: {problem}")));
    }

    fn send_line(&mut self, line: &InputLine) -> Result<(), Unsent> {
        let Some(text) = &line.text else {
            return Err(Unsent::Bad(format!("it is longer than {LONGEST} bytes")));
        };
        let Some(timed) = &mut self.timed else {
            return self.send(&payload(self.args, text).map_err(Unsent::Bad)?, &self.metadata.clone());
        };
        let Repeated { payload, metadata, received } = Repeated::read(text).map_err(Unsent::Bad)?;
        timed.wait(received, self.interrupt);
        if self.interrupt.is_asked() { Ok(()) } else { self.send(&payload, &metadata) }
    }

    fn send(&mut self, payload: &Payload, metadata: &Metadata) -> Result<(), Unsent> {
        let mut tries = 0;
        while let Err(error) = self.send_once(payload, metadata)? {
            tries += 1;
            let may_pass = matches!(error, SendError::Busy | SendError::WindowFull { .. });
            if !may_pass || tries == BUSY_TRIES {
                return Err(self.unsent(&error));
            }
            std::thread::sleep(BUSY_WAIT);
        }
        self.sent += 1;
        if let Some(signs) = &mut self.signs {
            signs.look(self.interface, self.sent);
        }
        if let Some(reports) = &mut self.reports {
            reports.look(self.interface, self.sent);
        }
        Ok(())
    }

    fn unsent(&mut self, error: &SendError) -> Unsent {
        if let (Some(reports), SendError::Refused { fault, .. }) = (&mut self.reports, error) {
            reports.refused(*fault);
        }
        match error {
            SendError::NoPeers if self.args.serve => Unsent::Refused("no client is there".to_owned()),
            SendError::NoPeers => Unsent::Gone(self.gone()),
            SendError::Busy
            | SendError::WindowFull { .. }
            | SendError::Refused { .. }
            | SendError::NotConnected => Unsent::Refused(error.to_string()),
            error => Unsent::Bad(error.to_string()),
        }
    }

    /// Notes that the server has left, and says it.
    fn gone(&mut self) -> String {
        let sent = self.sent;
        let tells_more = self.tells_more();
        let unheard = self.signs.as_mut().filter(|_| !tells_more).map_or(0, |signs| {
            signs.left();
            signs.unheard(sent)
        });
        let lost = if unheard > 0 { format!(", and {unheard} of them may be lost") } else { String::new() };
        format!("the server is gone: {sent} messages were sent before{lost}")
    }

    /// Writes what waits for coalescing, and waits until it is known what became of the messages: until every reliable message
    /// has an outcome, and until the server gives a sign of life. Ctrl-C ends the first wait; the second one is short.
    pub(super) fn finish(&mut self) {
        self.interface.flush();
        self.wait_for_acknowledgements();
        let tells_more = self.tells_more();
        let Some(signs) = &mut self.signs else { return };
        if self.sent > 0 && !tells_more {
            let settings = self.interface.config().settings();
            let patience = settings.map_or(Duration::ZERO, |settings| settings.liveness_timeout);
            signs.wait(self.interface, self.sent, patience, &self.args.endpoint);
            self.unheard = signs.unheard(self.sent);
        }
    }

    /// Returns how many messages may be lost, because no sign of life came, or on the classic wire because the network reported it.
    pub(super) fn unheard(&mut self) -> u64 {
        match &mut self.reports {
            Some(reports) if self.args.request.is_none() => reports.unheard(self.interface, self.sent),
            _ => self.unheard,
        }
    }

    /// Whether each message has told more than a sign of life: its answer has come or not, or it is reliable and has an outcome.
    fn tells_more(&self) -> bool {
        let DeliveryStats { waiting, delivered, expired, abandoned, peer_lost, unknown, .. } =
            self.interface.statistics().deliveries;
        let reliable = waiting + delivered + expired + abandoned + peer_lost + unknown;
        self.args.request.is_some() || reliable >= self.sent
    }

    /// Sends a message. With `--request` it also waits for the answer and prints it.
    fn send_once(&mut self, payload: &Payload, metadata: &Metadata) -> Result<Result<(), SendError>, Unsent> {
        let Some(timeout) = self.args.request else {
            return Ok(self.interface.send(payload, metadata).map(drop));
        };
        let request = match self.interface.publisher(metadata.clone()).request(payload, Some(timeout)) {
            Ok(request) => request,
            Err(error) => return Ok(Err(error)),
        };
        let answer = if self.sent == 0 {
            while_waiting(format_args!("an answer from {}", self.args.endpoint), || request.wait())
        } else {
            request.wait()
        };
        let answer = answer.map_err(|error| {
            self.sent += 1;
            self.unanswered += 1;
            Unsent::Unanswered(error.to_string())
        })?;
        output::data(&message_line::line(&answer)).map_err(|failure| {
            self.sent += 1;
            Unsent::Unprinted(failure)
        })?;
        Ok(Ok(()))
    }

    /// Waits until every reliable message has an outcome, or until Ctrl-C.
    fn wait_for_acknowledgements(&self) {
        let mut waiting = Waiting::since(Instant::now());
        loop {
            let unacknowledged = self.interface.statistics().deliveries.waiting;
            if unacknowledged == 0 || self.interrupt.is_asked() {
                return;
            }
            self.progress.aside(|| {
                waiting.look(format_args!("{unacknowledged} acknowledgements from {}", self.args.endpoint));
            });
            std::thread::sleep(BUSY_WAIT);
        }
    }

    /// Waits as long as `--rate` requires, or until Ctrl-C.
    fn wait_for_turn(&mut self) {
        let Some(pace) = &mut self.pace else { return };
        while !self.interrupt.is_asked() {
            let wait = pace.next().saturating_duration_since(Instant::now());
            if wait.is_zero() {
                break;
            }
            std::thread::sleep(wait.min(LOOK_EVERY));
        }
        pace.sent(Instant::now());
    }
}
