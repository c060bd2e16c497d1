//! The classic wire's rules on arrival: the envelope is read before the window decides, because only its
//! time stamp tells a restarted peer from a repeated datagram.

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::inbound::{Accepted, Contents, Inbound};
use super::peers::Peer;
use super::{Event, Role};
use crate::drops::DropReason;
use crate::peer::PeerId;
use crate::time::{Instant, Now, WallTime};
use crate::window::{Verdict, Window};
use crate::wire::classic::{self, ClassicFormat};
use crate::wire::native::looks_native;

/// Numbers start here in memory, so that those before the first one heard exist too.
const BASE: u64 = 1 << 32;

impl Inbound {
    pub(super) fn handle_classic<'a>(
        &mut self,
        now: Now,
        from: SocketAddr,
        datagram: &'a [u8],
        format: ClassicFormat,
        scratch: &'a mut Vec<u8>,
    ) -> Result<Accepted<'a>, DropReason> {
        let other_wire = |reason| if looks_native(datagram) { DropReason::OtherWire } else { reason };
        let (number, envelope) = classic::open(datagram, format).map_err(other_wire)?;
        let message = classic::read_envelope(envelope, &self.config.json, scratch).map_err(other_wire)?;
        if message.payload.len() > self.config.max_message_size {
            return Err(DropReason::TooLarge);
        }
        let (peer, late) = self.admit(from, number, message.timestamp, now.steady)?;
        self.heard(peer, datagram.len(), now.steady);
        Ok(Accepted { peer, late, contents: Contents::Classic(Some(message)) })
    }

    /// Finds or makes the peer and lets its window decide; whether the datagram is late.
    fn admit(
        &mut self,
        from: SocketAddr,
        number: Option<u32>,
        stamp: WallTime,
        now: Instant,
    ) -> Result<(PeerId, bool), DropReason> {
        if self.peers.by_address(from).is_none() {
            if self.config.role == Role::Client {
                return Err(DropReason::WrongAddress);
            }
            if !self.make_room(now) {
                return Err(DropReason::PeerTableFull);
            }
            self.add_classic_peer(from);
        }
        let peer = self.peers.by_address(from).expect("found or just added");
        let restarted = begin_life(peer, number, stamp);
        let expanded = number.zip(peer.window.as_ref()).map(|(low, window)| window.expand(low));
        let number = match expanded {
            Some(None) => return Err(DropReason::TooOld),
            Some(number) => number,
            None => None,
        };
        let late = Self::judge(peer, number, now)?;
        peer.newest = peer.newest.max(stamp);
        let id = peer.id;
        if restarted {
            self.events.push_back(Event::Restarted(id));
        }
        Ok((id, late))
    }

    /// A peer known by its address alone; established as far as this wire can tell.
    pub(super) fn add_classic_peer(&mut self, address: SocketAddr) -> PeerId {
        let peer = self.add_peer(address, None, "", None);
        peer.accepted = true;
        let id = peer.id;
        self.events.push_back(Event::Accepted(id));
        id
    }
}

/// Starts the peer's window at its first number, and anew where only a restart explains the datagram: the
/// window would drop its number, but its time stamp is later than every one before.
fn begin_life(peer: &mut Peer, number: Option<u32>, stamp: WallTime) -> bool {
    let Some(low) = number else { return false };
    let start = BASE + u64::from(low);
    match &mut peer.window {
        None => {
            peer.window = Some(Window::new(start));
            false
        }
        Some(window) => {
            let judged = window.expand(low).map_or(Verdict::TooOld, |number| window.judge(number));
            let repeats = matches!(judged, Verdict::Duplicate | Verdict::TooOld);
            let restarted = repeats && stamp > peer.newest;
            if restarted {
                window.restart(start);
                peer.rx.lives.add(1);
            }
            restarted
        }
    }
}
