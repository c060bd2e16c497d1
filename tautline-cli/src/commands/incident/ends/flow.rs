//! What one end has sent and what came to it, by its own clock.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};

use tautline::black_box::read::{BlackBoxError, BlackBoxFile, Half, Happened, Step};
use tautline::{DropReason, PeerId};
use tautline_proto::wire::native;

use crate::commands::incident::story::{LONG, Story};
use crate::tools::output::escaped;

/// A time by the clock of an end's time stamps, in nanoseconds.
pub(super) type At = i64;

/// What a datagram has in common at both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Id {
    /// The header of a native datagram: session, direction and number. It is the same if the rest is sealed.
    Header([u8; native::HEADER_LEN]),
    /// A hash of all of a classic datagram.
    Whole(u64),
}

/// A datagram that was sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) at: At,
    pub(super) peer: PeerId,
    pub(super) id: Id,
    /// Whether the kernel has taken it.
    pub(super) is_taken: bool,
    /// As it was before a key has sealed it.
    pub(super) bytes: Vec<u8>,
}

/// A datagram that came.
#[derive(Debug)]
pub(super) struct Came {
    pub(super) at: At,
    /// Who sent it, if it was accepted.
    pub(super) peer: Option<PeerId>,
    pub(super) id: Id,
    pub(super) dropped: Option<DropReason>,
}

/// One end of a link.
#[derive(Debug)]
pub(super) struct End {
    pub(super) name: String,
    pub(super) is_server: bool,
    pub(super) story: Story,
    pub(super) sent: Vec<Sent>,
    pub(super) came: Vec<Came>,
    /// The periods in which the record of received datagrams has no gap.
    pub(super) covers: Vec<(At, At)>,
    /// By how much the clock of the time stamps is ahead of the steady clock.
    pub(super) wall_ahead: i64,
}

impl Id {
    fn of(datagram: &[u8]) -> Self {
        if let (true, Some(header)) = (native::looks_native(datagram), datagram.first_chunk()) {
            return Self::Header(*header);
        }
        let mut hasher = DefaultHasher::new();
        datagram.hash(&mut hasher);
        Self::Whole(hasher.finish())
    }
}

impl End {
    /// Runs a file again, and collects what has passed its socket.
    pub(super) fn of(file: &BlackBoxFile) -> Result<Self, BlackBoxError> {
        let (story, _) = Story::of(file)?;
        let fact = |name: &str| file.incident.get(name).cloned().unwrap_or_default();
        let mut end = Self {
            name: escaped(&fact("name")).into_owned(),
            is_server: fact("role") == "server",
            story,
            sent: Vec::new(),
            came: Vec::new(),
            covers: Vec::new(),
            wall_ahead: file.wall_ahead(),
        };
        // Which of `sent` the kernel has not taken yet.
        let mut untaken = 0..0;
        file.rerun(|half, step| end.take(half, step, &mut untaken))?;
        let until = end.read_until(fact("written_ns").parse().unwrap_or(0));
        end.covers.last_mut().into_iter().for_each(|(_, last)| *last = until);
        Ok(end)
    }

    /// Until when this end has surely read what came. It may have stood still before the file was `written`: then the kernel still
    /// had what came meanwhile.
    pub(super) fn read_until(&self, written: At) -> At {
        let last = self.story.last_input.map_or(written, |last| self.at(last));
        let is_late = self.story.due.is_some_and(|due| self.at(due) < written);
        let until = if is_late { last.min(written) } else { written };
        // The last thing that it did was to read what had waited: more may have waited.
        let backlog = self
            .story
            .received
            .last()
            .filter(|received| self.at(received.at) >= last && received.in_kernel >= LONG);
        backlog.map_or(until, |received| until.min(self.at(received.at - received.in_kernel)))
    }

    /// The time of the end's clock at a time of its steady clock.
    pub(super) const fn at(&self, steady: u64) -> At {
        self.wall_ahead.wrapping_add_unsigned(steady)
    }

    /// When the event happened that caused the file.
    pub(super) const fn cause_at(&self) -> At {
        self.at(self.story.cause_at)
    }

    /// Leaves out what was sent to peers other than `other`: a server may have many.
    pub(super) fn keep_link_to(&mut self, other: &Self) {
        let sent_there: HashSet<Id> = other.sent.iter().map(|sent| sent.id).collect();
        let from_there = self.came.iter().filter(|came| sent_there.contains(&came.id));
        let mut peers: HashSet<PeerId> = from_there.filter_map(|came| came.peer).collect();
        if peers.is_empty() {
            // What was sent to all peers may be the same for each of them. So this is less certain.
            let came_there: HashSet<Id> = other.came.iter().map(|came| came.id).collect();
            peers =
                self.sent.iter().filter(|sent| came_there.contains(&sent.id)).map(|sent| sent.peer).collect();
        }
        self.sent.retain(|sent| peers.contains(&sent.peer));
    }

    fn take(&mut self, half: Half, step: &Step<'_>, untaken: &mut std::ops::Range<usize>) {
        match step {
            Step::Begins(at) if half == Half::Inbound => {
                let at = self.at(at.as_nanos());
                self.covers.push((at, at));
            }
            Step::Datagram { now, bytes, accepted, .. } => {
                let at = self.at(now.steady.as_nanos());
                self.covers.last_mut().into_iter().for_each(|(_, until)| *until = at);
                let peer = accepted.map(|(peer, _)| peer);
                self.came.push(Came { at, peer, id: Id::of(bytes), dropped: None });
            }
            Step::Event(_, Happened::Dropped { reason, .. }) => {
                if let Some(came) = self.came.last_mut() {
                    came.dropped = Some(*reason);
                }
            }
            Step::Sealed { at, peer, bytes, .. } => {
                if untaken.end != self.sent.len() {
                    *untaken = self.sent.len()..self.sent.len();
                }
                let at = self.at(at.as_nanos());
                let (id, bytes) = (Id::of(bytes), bytes.to_vec());
                self.sent.push(Sent { at, peer: *peer, id, is_taken: false, bytes });
                untaken.end = self.sent.len();
            }
            Step::Sent(_, _, [datagrams, _]) => {
                // The first ones that were sealed. What the kernel has refused is sent again, or sealed again.
                let taken = usize::try_from(*datagrams).unwrap_or(usize::MAX).min(untaken.len());
                let taken = untaken.start..untaken.start + taken;
                self.sent[taken.clone()].iter_mut().for_each(|sent| sent.is_taken = true);
                untaken.start = taken.end;
            }
            _ => {}
        }
    }
}
