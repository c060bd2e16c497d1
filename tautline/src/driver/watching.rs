//! What the driver tells the watchdogs of a datagram and its messages. Nothing of it runs if there are no watchdogs.

use std::time::Instant;

use tautline_proto::{Instant as Steady, MessageRef, PeerId};

use crate::message::Arrival;
use crate::receiving::waiting::Limits;
use crate::shared::Shared;
use crate::watchdog::notice::Sighting;
use crate::watchdog::{List, Sign, Watches};

/// The watchdogs, for messages that are read or handed out now.
#[derive(Clone, Copy)]
pub(super) struct Watching<'a> {
    list: &'a List,
    shared: &'a Shared,
    /// When the messages were read.
    read: Steady,
}

#[inline(never)] // keeps this code out of the path of links without watchdogs
fn load(watchdogs: &mut Watches) -> &List {
    watchdogs.load()
}

impl<'a> Watching<'a> {
    /// The watchdogs; `None` if there are none.
    #[inline]
    pub(super) fn of(watchdogs: &'a mut Watches, shared: &'a Shared, read: Steady) -> Option<Self> {
        shared.flags.are_watching().then(|| Self { list: load(watchdogs), shared, read })
    }

    /// Records an accepted datagram. `came`: when it arrived, at the earliest. `missing`: how many datagrams of its peer are.
    #[inline(never)]
    pub(super) fn heard(&self, peer: PeerId, came: Steady, missing: Option<u64>) -> Sighting {
        let sighting = Sighting { read: self.read.as_nanos(), came: came.as_nanos(), sent: 0, missing, peer };
        self.list.heard(&self.shared.watchdogs, &sighting);
        sighting
    }

    /// Notices a message of this datagram, before it is known whether it is handed out. Returns whether it is watched.
    #[inline(never)] // so that links without watchdogs have a short way
    pub(super) fn saw(&self, message: &MessageRef<'_>, datagram: &Sighting) -> bool {
        let is_watched = self.watches(message);
        if is_watched {
            let sent = message.timestamp.as_nanos();
            self.list.saw(message, &Sighting { sent, ..*datagram });
        }
        is_watched
    }

    /// Whether a message feeds or resets a watchdog.
    #[inline(never)]
    pub(super) fn watches(&self, message: &MessageRef<'_>) -> bool {
        self.list.watches_messages() && self.list.watches(message)
    }

    /// Whether a latch refuses a message. If so, the message was recorded.
    #[inline(never)]
    pub(super) fn refuses(&self, message: &MessageRef<'_>, arrival: &Arrival) -> bool {
        let sign = self.sign(message, arrival);
        self.list.is_closed(&sign) && self.list.took(&self.shared.watchdogs, &sign).is_none()
    }

    /// Records a message that is to be handed out. Returns its limits with the latches that it passed; `None` if one has
    /// tripped.
    #[inline(never)]
    pub(super) fn admit(
        &self,
        message: &MessageRef<'_>,
        arrival: &Arrival,
        limits: &Limits,
    ) -> Option<Limits> {
        let admission = self.list.took(&self.shared.watchdogs, &self.sign(message, arrival))?;
        Some(Limits { admission, ..limits.clone() })
    }

    fn sign<'m>(&self, message: &'m MessageRef<'m>, arrival: &Arrival) -> Sign<'m> {
        let clock = self.shared.clock;
        let (now, made) = (clock.steady(Instant::now()), clock.steady(arrival.made));
        Sign { message, peer: arrival.peer, now, made }
    }
}
