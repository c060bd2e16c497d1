//! The interface of the measuring end. The measuring thread drives it. It also asks the other end for its counts.

use std::time::{Duration, Instant};

use tautline::{Config, Driver, Endpoint, Events, Metadata, Payload, Role, UdpInterface, Wire};

use super::other_end::OtherEnd;
use super::protocol::{ANSWER, Answer, QUESTION};
use super::settings::{SettingsArgs, sets};
use crate::tools::exit::{Exit, Failure};
use crate::tools::link::{complaint, open_driven, with_all_commands};
use crate::tools::round_trips::number_of;

/// How many times a question is sent before the other end counts as gone. A question or its answer may get lost.
const TRIES: u32 = 20;
/// How long to wait for the answer to each question.
const ANSWER_WAIT: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Client {
    pub(super) interface: UdpInterface,
    pub(super) driver: Driver,
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
        complete: impl Fn(Config) -> Config,
    ) -> Result<Self, Failure> {
        let config = settings.config(Role::Client, other.is_child())?.endpoint(other.endpoint.to_string());
        let wire = config.wire.unwrap_or(Wire::Native);
        let sets = sets(&complete(settings.both()?));
        let (interface, driver) = open_driven(with_all_commands(complete(config)))?;
        let events = interface.events();
        Ok(Self { interface, driver, wire, sets, events, endpoint: other.endpoint.clone(), questions: 0 })
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
            self.driver.turn_with(Some(wait), &mut |message| {
                let number = message.correlation_id().as_ref().and_then(number_of);
                if message.message_type() == ANSWER && number.is_some_and(|number| number >= first) {
                    answer = serde_json::from_slice(message.payload()).ok();
                }
            });
        }
        answer
    }
}
