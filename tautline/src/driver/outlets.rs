//! Where messages go: to the caller of `turn_with`, to a request that waits for its answer, to handlers, and to the inbox.
//!
//! After a pause, messages of streams that keep only the newest are held back until the turn has read everything that had come when
//! it began. So the newest message is handed out first, and not the oldest one that is just fresh enough.

use std::time::Duration;

use tautline_proto::Now;

use super::told::Told;
use super::watching::Watching;
use super::{Sink, Turner};
use crate::handlers::Dispatcher;
use crate::machine::life::Life;
use crate::message::borrowed;
use crate::message::{Arrival, Message};
use crate::receiving::waiting::{Limits, Stream, Waiting};
use crate::sending::reply::Reply;
use crate::shared::Shared;
use crate::sync::Arc;
use tautline_proto::DropReason;
use tautline_proto::MessageRef;

/// A message that is read this long after it came probably has newer ones behind it.
pub(super) const PAUSE: Duration = Duration::from_millis(1);

/// The most datagrams that a turn reads while it holds messages back: more than the default receive buffer holds.
pub(super) const CATCH_UP_BUDGET: usize = 16_384;

/// The most messages that are held back, and their bytes.
const MAX_HELD: usize = 4_096;
const MAX_HELD_BYTES: usize = 4 << 20;

/// The receivers of messages.
pub(super) struct Outlets<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) dispatcher: &'a mut Dispatcher<Reply>,
    pub(super) life: &'a Life,
    pub(super) inbox_is_on: bool,
    /// The watchdogs, if messages are watched.
    pub(super) watching: Option<Watching<'a>>,
    pub(super) told: &'a mut Told,
}

impl Outlets<'_> {
    /// Whether a watchdog stops a message now. It takes note of the message if so.
    pub(super) fn refuses(&self, message: &MessageRef<'_>, arrival: &Arrival) -> bool {
        self.watching.as_ref().is_some_and(|watching| watching.refuses(message, arrival))
    }

    /// Offers a message to every receiver, unless a watchdog stops it. `limits`: `None` if it has none. Returns whether it was
    /// offered; if not, the caller counts it as `Latched`.
    #[inline]
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    pub(super) fn offer(
        &mut self,
        message: &MessageRef<'_>,
        arrival: &Arrival,
        limits: Option<&Limits>,
        sink: &mut Sink<'_>,
    ) -> bool {
        let Self { shared, dispatcher, life, inbox_is_on, watching, told } = self;
        let admitted;
        let limits = match watching {
            Some(watching) if watching.watches(message) => {
                let limits = limits.unwrap_or(&Limits::NONE);
                let Some(limited) = watching.admit(message, arrival, limits) else { return false };
                admitted = limited;
                Some(&admitted)
            }
            _ => limits,
        };
        if let Some(see) = sink {
            see(&borrowed::MessageRef::new(message, arrival));
        }
        if shared.flags.are_recording() {
            shared.recording.offer(message, arrival);
        }
        if shared.flags.requests_wait() && shared.requests.answer(message, arrival, &shared.pool) {
            return true;
        }
        let has_handler = dispatcher.dispatch(message, arrival, limits, |handle| {
            Reply::make(handle, &shared.sender, message, arrival);
        });
        let mut in_inbox = None;
        if *inbox_is_on {
            let is_handled = has_handler || sink.is_some();
            in_inbox = offer_to_inbox(shared, life, message, arrival, limits, is_handled);
        }
        if let Some(keep) = limits.and_then(|limits| limits.keep) {
            // A message that a handler or the caller has seen, and that nobody reads from the inbox, is not news.
            if let Some(stream) = in_inbox
                && !has_handler
                && sink.is_none()
            {
                told.superseded(shared, stream);
            }
            if dispatcher.has_superseded() {
                told.superseded(shared, keep.stream);
            }
        }
        true
    }
}

/// Returns the stream of a message that was superseded in the inbox.
#[inline(never)]
#[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
fn offer_to_inbox(
    shared: &Shared,
    life: &Life,
    message: &MessageRef<'_>,
    arrival: &Arrival,
    limits: Option<&Limits>,
    is_handled: bool,
) -> Option<Stream> {
    if life.is_orphaned() {
        // The handler has ended the connection, and the inbox may belong to another one by now.
        shared.inbox.miss();
        return None;
    }
    let limits = limits.cloned().unwrap_or_default();
    shared.inbox.offer(message, *arrival, Limits { is_handled, ..limits })
}

/// Messages that are held back until the end of the turn.
#[derive(Debug, Default)]
pub(super) struct Held {
    messages: Waiting<Message>,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.len() == 0
    }

    /// Whether messages are held back, and more may be.
    pub(super) fn has_room(&self) -> bool {
        (1..MAX_HELD).contains(&self.messages.len()) && self.messages.bytes() < MAX_HELD_BYTES
    }

    /// Whether to hold a message back. `has_waited`: it came a [`PAUSE`] ago.
    #[inline]
    pub(super) fn wants(&self, limits: &Limits, has_waited: bool) -> bool {
        // While a message is held back, messages that came after it must not overtake it.
        limits.keep.is_some() && (has_waited || !self.is_empty())
    }

    /// Holds a message back. Returns whether it replaced an older one.
    pub(super) fn hold(
        &mut self,
        shared: &Shared,
        message: &MessageRef<'_>,
        arrival: Arrival,
        limits: Limits,
    ) -> bool {
        let replaced = self.messages.supersede(message.priority, &limits).is_some();
        let kept =
            self.messages.enter(message.priority, limits, Message::copy(&shared.pool, message, arrival));
        self.messages.put(kept);
        replaced
    }
}

impl Turner {
    /// Hands out the messages that were held back, at the end of a turn.
    #[inline]
    pub(super) fn hand_out_held(&mut self, now: Now, sink: &mut Sink<'_>) {
        if !self.held.is_empty() {
            self.hand_out_all(now, sink);
        }
    }

    #[cold]
    fn hand_out_all(&mut self, now: Now, sink: &mut Sink<'_>) {
        while let Some(kept) = self.held.messages.pop() {
            let reason = match kept.limits.spent(&self.shared.watchdogs.latches) {
                _ if self.life.is_stopped() => DropReason::Closed,
                // A message of the new owner came in the same turn.
                Some(DropReason::NotOwner) => DropReason::Superseded,
                Some(reason) => reason,
                None => {
                    let Self { shared, dispatcher, life, inbox_is_on, watchdogs, told, .. } = self;
                    let watching = Watching::of(watchdogs, shared, now.steady);
                    let inbox_is_on = *inbox_is_on;
                    let mut outlets = Outlets { shared, dispatcher, life, inbox_is_on, watching, told };
                    if outlets.offer(&kept.item.as_ref(), &kept.item.arrival(), Some(&kept.limits), sink) {
                        continue;
                    }
                    DropReason::Latched
                }
            };
            self.inbound.refuse(reason);
        }
        self.dispatcher.release();
        if !self.life.is_orphaned() {
            self.settle(now);
        }
    }
}
