//! The classic wire's rules on arrival: the envelope is read before the window decides, because only its
//! time stamp tells a restarted peer from a repeated datagram.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::Inbound;
use super::accepted::{Accepted, Contents};
use super::peers::{FormerLife, Peer};
use crate::drops::DropReason;
use crate::endpoint::config::Role;
use crate::endpoint::event::Event;
use crate::peer::PeerId;
use crate::time::{Instant, Now, WallTime};
use crate::window::{Verdict, Window};
use crate::wire::classic::{self, ClassicFormat};
use crate::wire::native::looks_native;

/// Numbers start here in memory, so that those before the first one heard exist too.
const BASE: u64 = 1 << 32;

/// A sender that seems to have sent more than this without one arriving was restarted: 2^24 datagrams are 14
/// minutes at 20 kHz.
const LONGEST_LEAP: u64 = 1 << 24;

/// For so long after a restart, datagrams of the former life may still be under way. Not longer, so that a
/// sender whose clock was set back is not ignored for ever.
const STRAGGLING: Duration = Duration::from_secs(10);

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
        let (peer, number, late) = self.admit(from, number, message.timestamp, now.steady)?;
        self.heard(peer, datagram.len(), now.steady);
        let contents = Contents::Classic(message);
        Ok(Accepted { peer, late, number, contents })
    }

    /// Finds or makes the peer and lets its window decide; the datagram's full number, and whether it is late.
    fn admit(
        &mut self,
        from: SocketAddr,
        number: Option<u32>,
        stamp: WallTime,
        now: Instant,
    ) -> Result<(PeerId, Option<u64>, bool), DropReason> {
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
        let id = peer.id;
        let (number, restarted) = match number {
            Some(low) => place(peer, low, stamp, now).map(|(number, restarted)| (Some(number), restarted))?,
            None => (None, false),
        };
        let late = Self::judge(peer, number, now)?;
        peer.newest = peer.newest.max(stamp);
        if restarted {
            self.events.push_back(Event::Restarted(id));
        }
        Ok((id, number, late))
    }

    /// A peer known by its address alone; established as far as this wire can tell.
    pub(super) fn add_classic_peer(&mut self, address: SocketAddr) -> PeerId {
        let peer = self.add_peer(address, None, "", None);
        peer.accepted = true;
        peer.numbers_from = BASE;
        let id = peer.id;
        self.events.push_back(Event::Accepted(id));
        id
    }
}

/// The full number behind the low 32 bits that travelled, and whether it begins a new life of the peer: that
/// is so where the window would drop it, or would have to take it for a leap, and its time stamp is later than
/// every one before. §8.3.
fn place(peer: &mut Peer, low: u32, stamp: WallTime, now: Instant) -> Result<(u64, bool), DropReason> {
    let start = BASE + u64::from(low);
    let Some(window) = &mut peer.window else {
        peer.window = Some(Window::new(start));
        return Ok((start, false));
    };
    window.expire(now);
    let near = |&number: &u64| number.saturating_sub(window.next()) <= LONGEST_LEAP;
    let continued = window.expand(low).filter(near);
    let fits = continued.is_some_and(|number| matches!(window.judge(number), Verdict::New | Verdict::Late));
    if !fits && stamp > peer.newest {
        window.restart(start);
        peer.former_life = Some(FormerLife { newest: peer.newest, ended_at: now });
        peer.rx.lives.add(1);
        return Ok((start, true));
    }
    let is_straggler = |former: FormerLife| stamp <= former.newest && now.since(former.ended_at) < STRAGGLING;
    if peer.former_life.is_some_and(is_straggler) {
        // Whether it was received in its own time, nobody knows any more.
        return Err(DropReason::TooOld);
    }
    continued.map(|number| (number, false)).ok_or(DropReason::TooOld)
}
