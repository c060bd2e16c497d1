//! Where messages go: to the sink, to who waits for an answer, to handlers and to the inbox. And in which order after a pause:
//! of streams that keep their newest, what has waited in the kernel is held back until all of it is read, so that not the
//! oldest that is just fresh enough is handed out first, but the newest.

use std::time::Duration;

use tautline_proto::{Instant as Steady, Now};

use super::{Sink, Turner};
use crate::handlers::Dispatcher;
use crate::machine::life::Life;
use crate::message::borrowed;
use crate::message::{Arrival, Message};
use crate::receiving::waiting::{Limits, Waiting};
use crate::sending::reply::Reply;
use crate::shared::Shared;
use crate::sync::Arc;
use crate::watchdog::List;
use tautline_proto::DropReason;
use tautline_proto::MessageRef;

/// What was read so long after it came has others behind it.
const PAUSE: Duration = Duration::from_millis(1);

/// The most datagrams that a turn reads to hold their messages back: about what a pause of a second leaves at 1 kHz.
pub(super) const CATCH_UP_BUDGET: usize = 1_024;

/// Everyone who is offered messages.
pub(super) struct Outlets<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) dispatcher: &'a mut Dispatcher<Reply>,
    pub(super) life: &'a Life,
    pub(super) inbox_is_on: bool,
    pub(super) watchdogs: &'a List,
    /// The turn's time.
    pub(super) now: Steady,
}

impl Outlets<'_> {
    /// Offers a message to everyone; whether this connection is still the present one.
    #[inline]
    pub(super) fn offer(
        &mut self,
        message: &MessageRef<'_>,
        arrival: &Arrival,
        limits: &Limits,
        sink: &mut Sink<'_>,
    ) -> bool {
        let Self { shared, dispatcher, life, inbox_is_on, watchdogs, now } = self;
        watchdogs.took(message, arrival.peer, *now);
        if let Some(see) = sink {
            see(&borrowed::MessageRef::new(message, arrival));
        }
        if shared.requests.answer(message, arrival, &shared.pool) {
            return true;
        }
        dispatcher.dispatch(message, arrival, limits, |handle| {
            Reply::make(handle, &shared.sender, message, arrival);
        });
        if life.is_orphaned() {
            // Inbox and all may belong to another connection by now.
            return false;
        }
        if *inbox_is_on {
            shared.inbox.offer(message, *arrival, *limits);
        }
        true
    }
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

    /// Whether a message is to be held back that was read at `now`; `waited`: since it came.
    #[inline]
    pub(super) fn wants(&self, limits: &Limits, waited: Duration) -> bool {
        // Once one is held, those that came after it must not overtake it.
        limits.keep.is_some() && (waited >= PAUSE || !self.is_empty())
    }

    /// Holds a message back; whether it has replaced one.
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
    /// Hands out what was held back, at the end of a turn.
    #[inline]
    pub(super) fn hand_out_held(&mut self, now: Now, sink: &mut Sink<'_>) {
        if !self.held.is_empty() {
            self.hand_out_all(now, sink);
        }
    }

    #[cold]
    fn hand_out_all(&mut self, now: Now, sink: &mut Sink<'_>) {
        while let Some(kept) = self.held.messages.pop() {
            let reason = match kept.limits.is_expired() {
                _ if self.life.is_stopped() => DropReason::Closed,
                true => DropReason::Expired,
                false => {
                    let Self { shared, dispatcher, life, inbox_is_on, watchdogs, .. } = self;
                    let (watchdogs, now) = (watchdogs.load(), now.steady);
                    let inbox_is_on = *inbox_is_on;
                    let mut outlets = Outlets { shared, dispatcher, life, inbox_is_on, watchdogs, now };
                    outlets.offer(&kept.item.as_ref(), &kept.item.arrival(), &kept.limits, sink);
                    continue;
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
