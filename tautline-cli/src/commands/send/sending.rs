//! Sends one message after the other, with the rate and the count of the options.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tautline::{ConnectionState, Metadata, Payload, SendError, UdpInterface};

use super::args::Args;
use super::lines::{self, InputLine, LONGEST};
use super::message::{metadata, payload};
use super::progress::Progress;
use crate::tools::exit::Failure;
use crate::tools::interrupt::{Interrupt, LOOK_EVERY};
use crate::tools::pace::Pace;
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
    progress: Progress,
    pub(super) sent: u64,
    pub(super) bad: u64,
    /// How many of `sent` went out while the server was known to be silent or gone.
    pub(super) unheard: u64,
}

impl<'a> Sending<'a> {
    pub(super) fn new(args: &'a Args, interface: &'a UdpInterface, interrupt: &'a Interrupt) -> Self {
        let now = Instant::now();
        Self {
            args,
            interface,
            interrupt,
            metadata: metadata(args),
            pace: args.rate.map(|rate| Pace::new(rate, now)),
            progress: Progress::new(args),
            sent: 0,
            bad: 0,
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
            self.send(payload).map_err(Failure::failed)?;
            self.progress.show(self.sent, self.sent);
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
        while self.sent + self.bad < most {
            let Some(line) = self.next_line(&lines)? else { break };
            self.wait_for_turn();
            if self.interrupt.is_asked() {
                break;
            }
            if let Err(problem) = self.send_line(&line) {
                self.bad += 1;
                let number = line.number;
                self.progress
                    .aside(|| output::complain(format_args!("line {number} was not sent: {problem}")));
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

    fn send_line(&mut self, line: &InputLine) -> Result<(), String> {
        match &line.text {
            Some(text) => self.send(&payload(self.args, text)?),
            None => Err(format!("it is longer than {LONGEST} bytes")),
        }
    }

    fn send(&mut self, payload: &Payload) -> Result<(), String> {
        let mut tries = 0;
        // Reads the state before it sends, because a server may leave as soon as it has the message.
        let is_silent = self.interface.connection_state() == ConnectionState::Reconnecting;
        while let Err(error) = self.send_once(payload)? {
            tries += 1;
            let may_pass = matches!(error, SendError::Busy | SendError::WindowFull { .. });
            if !may_pass || tries == BUSY_TRIES {
                return Err(match error {
                    SendError::NoPeers => {
                        format!("the server is gone: {} messages were sent before", self.sent)
                    }
                    error => error.to_string(),
                });
            }
            std::thread::sleep(BUSY_WAIT);
        }
        self.sent += 1;
        self.unheard += u64::from(is_silent);
        Ok(())
    }

    /// Sends a message. With `--request` it also waits for the answer and prints it.
    fn send_once(&self, payload: &Payload) -> Result<Result<(), SendError>, String> {
        let Some(timeout) = self.args.request else {
            return Ok(self.interface.send(payload, &self.metadata).map(drop));
        };
        let request = match self.interface.publisher(self.metadata.clone()).request(payload, Some(timeout)) {
            Ok(request) => request,
            Err(error) => return Ok(Err(error)),
        };
        let answer = request.wait().map_err(|error| error.to_string())?;
        output::data(&message_line::line(&answer)).map_err(|failure| failure.to_string())?;
        Ok(Ok(()))
    }

    /// Waits until every reliable message has an outcome, or until Ctrl-C.
    pub(super) fn wait_for_acknowledgements(&self) {
        while self.interface.statistics().deliveries.waiting > 0 && !self.interrupt.is_asked() {
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
