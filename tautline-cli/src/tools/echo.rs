//! Sends received messages back. Used by `listen --reply` and `bench serve`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tautline::{Handler, MessageRef, MessageType, Metadata, Payload, Reply, SendError, UdpInterface};

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

/// Registers handlers that send back every message of these types. They run inline in the driver, so that no other
/// thread delays an answer.
pub(crate) fn echo(interface: &UdpInterface, types: &[MessageType]) -> Arc<Unanswered> {
    let unanswered = Arc::<Unanswered>::default();
    for message_type in types {
        let unanswered = Arc::clone(&unanswered);
        interface.register_message_handler(
            *message_type,
            Handler::inline(move |message: &MessageRef<'_>, reply: &Reply| {
                if let Ok(payload) = Payload::encoded(message.content_type(), message.payload())
                    && let Err(error) = reply.send(&payload, &Metadata::answering(message))
                {
                    unanswered.note(&error);
                }
            }),
        );
    }
    unanswered
}
