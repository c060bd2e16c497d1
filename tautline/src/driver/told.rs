//! Tells what a consumer of messages must know once: that only the newest of its stream waits, that it is behind for good,
//! and that nothing protects it from old commands and from silence.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::Turner;
use crate::receiving::lag::{Behind, LOOK};
use crate::receiving::waiting::Stream;
use crate::shared::Shared;
use crate::shared::events::{Event, Reader};
use tautline_proto::{Instant as Steady, MessageType, PeerId};

/// The looks at the readers for each look at the kernel's drops, which is a system call.
const FOR_EACH_DROP_LOOK: u32 = 4;

/// The most streams of one peer that are told of.
const MAX_STREAMS: usize = 64;

/// When the driver looks around.
#[derive(Debug, Default)]
pub(super) struct Looks {
    next: Steady,
    count: u32,
}

/// The streams whose consumer was told that only the newest of its messages wait.
#[derive(Debug, Default)]
pub(super) struct Told {
    streams: HashMap<PeerId, HashSet<(MessageType, u16)>>,
}

impl Told {
    /// Tells that a message of this stream was replaced before anybody saw it: the first time only.
    #[cold]
    pub(super) fn superseded(&mut self, shared: &Shared, stream: Stream) {
        let Stream { peer, message_type, channel } = stream;
        let told = self.streams.entry(peer).or_default();
        if told.len() >= MAX_STREAMS || !told.insert((message_type, channel)) {
            return;
        }
        if let Some(left_out) = shared.may_log() {
            tracing::warn!(
                %peer,
                channel,
                left_out,
                "a newer {message_type} replaced one that nobody had seen yet: only the newest of a stream waits. If both \
                 were meant, for example for two joints, send them on channels of their own or as one vector; or set \
                 `{message_type}.history` to more, or to all"
            );
        }
        let event = Event::Superseded { peer, message_type, channel };
        shared.status.events.publish_by(&event, shared.cause_at_will(peer));
    }

    /// Forgets a peer.
    pub(super) fn forget(&mut self, peer: PeerId) {
        self.streams.remove(&peer);
    }
}

impl Turner {
    /// Looks around if it is time: once in [`LOOK`].
    #[inline]
    pub(super) fn look_around(&mut self, now: Steady) {
        if now >= self.looks.next {
            self.look_now(now);
        }
    }

    #[cold]
    fn look_now(&mut self, now: Steady) {
        self.looks.next = now.plus(LOOK);
        if self.looks.count.is_multiple_of(FOR_EACH_DROP_LOOK) {
            self.tell_of_overflow();
        }
        self.looks.count = self.looks.count.wrapping_add(1);
        if let Some(behind) = self.shared.inbox.look() {
            self.shared.tell_behind(Reader::Inbox, behind);
        }
        for (selector, behind) in self.shared.handlers.look() {
            self.shared.tell_behind(Reader::Handler(selector), behind);
        }
    }
}

impl Shared {
    /// Tells that a reader is behind for good.
    #[cold]
    fn tell_behind(&self, reader: Reader, behind: Behind) {
        let Behind { waiting, age } = behind;
        self.readers_behind.add(1);
        if let Some(left_out) = self.may_log() {
            tracing::warn!(
                %reader,
                waiting,
                age = %format_args!("{age:.1?}"),
                left_out,
                "messages come faster than they are read, and the next one is old: read all that wait in each cycle, or let \
                 only the newest wait (`history` of their type; a `lifespan` drops the old ones)"
            );
        }
        self.status.events.publish(&Event::ReaderBehind { reader, waiting, age });
    }

    /// Tells, once for each connection, that nothing protects this consumer of commands: they have no lifespan, and no
    /// watchdog would notice their end. Returns whether that is so.
    #[cold]
    pub(crate) fn tell_if_unguarded(&self, lifespan: Option<Duration>) -> bool {
        let is_unguarded = lifespan.is_none() && !self.watchdogs.guard(MessageType::Command);
        if is_unguarded {
            if let Some(left_out) = self.may_log() {
                // A target of its own, so that a program that only shows commands can leave this out.
                tracing::warn!(
                    target: "tautline::unguarded",
                    left_out,
                    "commands are acted on however old they are, and nobody notices when they stop: set `command.lifespan`, \
                     and let a watchdog watch for commands, or set `profile` to control"
                );
            }
            self.status.events.publish(&Event::CommandsUnguarded);
        }
        is_unguarded
    }
}
