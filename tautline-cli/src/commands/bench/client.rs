//! The measuring end's interface, driven by the thread that measures, and its questions to the other end.

use std::time::{Duration, Instant};

use tautline::{Config, Driver, Endpoint, Events, Metadata, Payload, Role, UdpInterface, Wire};

use super::other_end::OtherEnd;
use super::protocol::{ANSWER, Answer, QUESTION};
use super::settings::{SettingsArgs, sets};
use crate::tools::exit::{Exit, Failure};
use crate::tools::link::{complaint, open_driven};
use crate::tools::round_trips::number_of;

/// How often a question is asked, and how long each time is waited for the answer. Questions get lost, too.
const TRIES: u32 = 20;
const ANSWER_WAIT: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Client {
    pub(super) interface: UdpInterface,
    pub(super) driver: Driver,
    pub(super) wire: Wire,
    /// All settings, of either end.
    pub(super) sets: Vec<String>,
    events: Events,
    endpoint: Endpoint,
    questions: u64,
}

impl Client {
    /// A client with these settings and what `complete` adds to them.
    pub(super) fn connect(
        other: &OtherEnd,
        settings: &SettingsArgs,
        complete: impl Fn(Config) -> Config,
    ) -> Result<Self, Failure> {
        let config = settings.config(Role::Client, other.is_child())?.endpoint(other.endpoint.to_string());
        let wire = config.wire.unwrap_or(Wire::Native);
        let sets = sets(&complete(settings.both()?));
        let (interface, driver) = open_driven(complete(config))?;
        let events = interface.events();
        Ok(Self { interface, driver, wire, sets, events, endpoint: other.endpoint.clone(), questions: 0 })
    }

    /// What the other end has counted.
    pub(super) fn ask(&mut self) -> Result<Answer, Failure> {
        let first = self.questions;
        for _ in 0..TRIES {
            if let Some(answer) = self.ask_once(first) {
                return Ok(answer);
            }
        }
        let complaint = complaint(&mut self.events, &self.endpoint, Duration::ZERO);
        Err(complaint.unwrap_or_else(|| self.nobody_answered()))
    }

    pub(super) fn nobody_answered(&self) -> Failure {
        let endpoint = &self.endpoint;
        let sentence = format!(
            "nobody at {endpoint} answered: is `tautline bench serve {endpoint}` running there, with the same --wire?"
        );
        Failure::new(Exit::NoConnection, sentence)
    }

    /// Answers to all questions from `first` on will do.
    fn ask_once(&mut self, first: u64) -> Option<Answer> {
        let metadata = Metadata::new(QUESTION).message_id(self.questions);
        self.questions += 1;
        let question = Payload::json_text("\"counts\"").expect("it is JSON");
        // What is not sent now is asked again in a moment.
        let _ = self.interface.send_payload(&question, &metadata);
        let deadline = Instant::now() + ANSWER_WAIT;
        let mut answer = None;
        while answer.is_none() {
            let wait = deadline.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                break;
            }
            self.driver.turn_with(wait, &mut |message, _| {
                let number = message.correlation_id.as_ref().and_then(number_of);
                if message.message_type == ANSWER && number.is_some_and(|number| number >= first) {
                    answer = serde_json::from_slice(message.payload).ok();
                }
            });
        }
        answer
    }
}
