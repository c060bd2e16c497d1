//! The interface of the measuring end, and who drives it: the measuring thread, or a thread of its own. It also asks the other end for
//! its counts.

use std::time::{Duration, Instant};

use tautline::{Config, Driver, Endpoint, Events, MessageType, Metadata, Payload, Role, UdpInterface, Wire};

use super::other_end::OtherEnd;
use super::protocol::{ANSWER, Answer, QUESTION};
use super::settings::{SettingsArgs, sets};
use crate::tools::exit::{Exit, Failure};
use crate::tools::link::{complaint, open, open_driven, with_all_commands};
use crate::tools::round_trips::number_of;

/// How many times a question is sent before the other end counts as gone. A question or its answer may get lost.
const TRIES: u32 = 20;
/// How long to wait for the answer to each question.
const ANSWER_WAIT: Duration = Duration::from_millis(100);

/// How an end of a bench takes its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taking {
    /// Its thread waits in `receive`, and the interface has a driver thread: as most programs do.
    Receive,
    /// Its thread drives the interface, and sees each message where it stands in the datagram.
    CallerDriven,
}

impl Taking {
    /// The name in reports.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::CallerDriven => "caller-driven",
        }
    }

    /// What the measuring thread does, in a sentence.
    pub(super) const fn sentence(self) -> &'static str {
        match self {
            Self::Receive => {
                "The sending thread waits for each answer in `receive`, and the interface has a driver thread."
            }
            Self::CallerDriven => "The sending thread also drives the interface (caller-driven).",
        }
    }
}

/// A message of the other end.
#[derive(Debug)]
pub(super) struct Heard<'a> {
    pub(super) message_type: MessageType,
    /// The number of the message that it answers.
    pub(super) answers: Option<u64>,
    pub(super) payload: &'a [u8],
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) interface: UdpInterface,
    /// `None` if the interface has a driver thread.
    driver: Option<Driver>,
    pub(super) wire: Wire,
    /// The settings of both ends that are not defaults.
    pub(super) sets: Vec<String>,
    events: Events,
    endpoint: Endpoint,
    questions: u64,
}

impl Client {
    /// Connects a client with these settings. `complete` may add to the configuration.
    pub(super) fn connect(
        other: &OtherEnd,
        settings: &SettingsArgs,
        taking: Taking,
        complete: impl Fn(Config) -> Config,
    ) -> Result<Self, Failure> {
        let config = settings.config(Role::Client, other.is_child(), taking)?;
        let config = config.endpoint(other.endpoint.to_string());
        let wire = config.wire.unwrap_or(Wire::Native);
        let sets = sets(&complete(settings.both()?));
        let config = with_all_commands(complete(config));
        let (interface, driver) = match taking {
            Taking::Receive => (open(config, |_| {})?, None),
            Taking::CallerDriven => {
                open_driven(config).map(|(interface, driver)| (interface, Some(driver)))?
            }
        };
        let events = interface.events();
        Ok(Self { interface, driver, wire, sets, events, endpoint: other.endpoint.clone(), questions: 0 })
    }

    /// Waits up to about `wait` for messages of the other end, and shows them to `hear`.
    pub(super) fn take(&mut self, wait: Duration, hear: &mut dyn FnMut(Heard<'_>)) {
        let Some(driver) = &mut self.driver else {
            // Nothing is to be done about a failure here: the link tells it when something is sent.
            if let Ok(message) = self.interface.receive(Some(wait)) {
                let answers = message.correlation_id().as_ref().and_then(number_of);
                hear(Heard { message_type: message.message_type(), answers, payload: message.payload() });
            }
            return;
        };
        driver.turn_with(Some(wait), &mut |message| {
            let answers = message.correlation_id().as_ref().and_then(number_of);
            hear(Heard { message_type: message.message_type(), answers, payload: message.payload() });
        });
    }

    /// Waits while no message is under way.
    pub(super) fn rest(&mut self, wait: Duration) {
        match &mut self.driver {
            Some(driver) => drop(driver.turn(Some(wait))),
            None => std::thread::sleep(wait),
        }
    }

    /// Asks the other end for its counts.
    pub(super) fn ask(&mut self) -> Result<Answer, Failure> {
        let first = self.questions;
        for _ in 0..TRIES {
            if let Some(answer) = self.ask_once(first) {
                return Ok(answer);
            }
        }
        let complaint = complaint(&mut self.events, &self.endpoint, Duration::ZERO);
        Err(complaint.unwrap_or_else(|| self.no_answer()))
    }

    pub(super) fn no_answer(&self) -> Failure {
        let endpoint = &self.endpoint;
        let sentence = format!(
            "no answer from {endpoint}: start `tautline bench serve {endpoint}` there, with the same --wire"
        );
        Failure::new(Exit::NoConnection, sentence)
    }

    /// Asks the other end for its counts, and does not wait for the answer.
    pub(super) fn ask_later(&mut self) {
        let metadata = Metadata::new(QUESTION).message_id(self.questions);
        self.questions += 1;
        let question = Payload::json_text("\"counts\"").expect("it is JSON");
        // If the question cannot be sent now, the next try asks again.
        let _ = self.interface.send(&question, &metadata);
    }

    /// Sends one question and waits for an answer. It accepts an answer to any question from number `first` on.
    fn ask_once(&mut self, first: u64) -> Option<Answer> {
        self.ask_later();
        let deadline = Instant::now() + ANSWER_WAIT;
        let mut answer = None;
        while answer.is_none() {
            let wait = deadline.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                break;
            }
            self.take(wait, &mut |heard| {
                if heard.message_type == ANSWER && heard.answers.is_some_and(|number| number >= first) {
                    answer = serde_json::from_slice(heard.payload).ok();
                }
            });
        }
        answer
    }
}
