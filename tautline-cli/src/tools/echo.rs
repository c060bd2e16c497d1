//! Sends received messages back. Used by `listen --reply` and `bench serve`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use tautline::{
    Handler, Id, MessageRef, MessageType, Metadata, Payload, Reply, SendError, UdpInterface, Wire,
};

/// The answers that could not be sent.
#[derive(Debug, Default)]
pub(crate) struct Unanswered {
    /// Order: relaxed; the count alone matters.
    count: AtomicU64,
    first: OnceLock<String>,
}

impl Unanswered {
    fn note(&self, error: &SendError) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.first.get_or_init(|| error.to_string());
    }

    /// Returns how many answers were refused when they were to be sent. The system may have refused others later:
    /// `Statistics::queued_send_failures`.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Returns why the first of them was refused.
    pub(crate) fn first(&self) -> Option<&str> {
        self.first.get().map(String::as_str)
    }
}

/// The ids of answers on the classic wire begin with this.
const ANSWER: &str = "echo_";

/// Makes the answers on one wire.
#[derive(Debug)]
struct Answers {
    wire: Option<Wire>,
    /// The number in the next id. It begins with the time in microseconds, as other ids of this wire do.
    ///
    /// Order: relaxed; only the uniqueness of the values matters.
    next: AtomicU64,
}

impl Answers {
    fn on(wire: Option<Wire>) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { wire, next: AtomicU64::new(u64::try_from(now.as_micros()).unwrap_or(0)) }
    }

    /// Returns the metadata of the answer, or `None` if the message answers an answer: whoever forges an address on the classic
    /// wire could make two programs that send everything back do that for ever.
    fn to(&self, message: &MessageRef<'_>) -> Option<Metadata> {
        let metadata = Metadata::answering(message);
        if self.wire != Some(Wire::Classic) {
            return Some(metadata);
        }
        if matches!(message.correlation_id(), Some(Id::Text(id)) if id.starts_with(ANSWER)) {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Some(metadata.message_id(format!("{ANSWER}{number}")))
    }
}

/// Registers handlers that send back every message of these types, except for answers to what they have sent back. They run inline
/// in the driver, so that no other thread delays an answer.
pub(crate) fn echo(interface: &UdpInterface, types: &[MessageType]) -> Arc<Unanswered> {
    let unanswered = Arc::<Unanswered>::default();
    let answers = Arc::new(Answers::on(interface.config().wire));
    for message_type in types {
        let (unanswered, answers) = (Arc::clone(&unanswered), Arc::clone(&answers));
        interface.register_message_handler(
            *message_type,
            Handler::inline(move |message: &MessageRef<'_>, reply: &Reply| {
                let Some(metadata) = answers.to(message) else { return };
                let payload = Payload::encoded(message.content_type(), message.payload());
                let sent =
                    payload.map_err(SendError::from).and_then(|payload| reply.send(&payload, &metadata));
                if let Err(error) = sent {
                    unanswered.note(&error);
                }
            }),
        );
    }
    unanswered
}
