//! The classic wire's rules on arrival. docs/protocol.md §8.3.
//!
//! The envelope is read before the window judges the datagram, because only the envelope's time stamp separates a
//! restarted peer from a repeated datagram. [`Inbound`](super::Inbound) calls it with every datagram of the classic wire.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::accepted::Accepted;
use super::peer::{Away, FormerLife, InboundPeer};
use super::registry::{Newcomer, Registry};
use crate::drops::DropReason;
use crate::endpoint::config::Role;
use crate::endpoint::event::{Event, RemovalReason};
use crate::peer::PeerId;
use crate::time::{Instant, Now};
use crate::window::{MAX_LEAP, Verdict, Window};
use crate::wire::classic::{self, ClassicFormat};
use crate::wire::native::{Frames, looks_native};

/// In memory, numbers start here, so that there are numbers before the first one heard.
const FIRST_NUMBER: u64 = 1 << 32;

/// For this time after a restart, datagrams from before it may still arrive. The time is limited, so that a sender whose clock
/// was set back is not ignored for ever.
const STRAGGLER_TIME: Duration = Duration::from_secs(10);

/// Handles one datagram of the classic wire.
pub(super) fn handle<'a>(
    registry: &mut Registry,
    now: Now,
    from: SocketAddr,
    datagram: &'a [u8],
    format: ClassicFormat,
    scratch: &'a mut Vec<u8>,
) -> Result<Accepted<'a>, DropReason> {
    let (number, envelope) = match classic::open(datagram, format) {
        Ok(opened) => opened,
        Err(reason) => return Err(unreadable(registry, from, datagram, format, reason)),
    };
    let message = match classic::read_envelope(envelope, &registry.config.json, scratch) {
        Ok(message) => message,
        Err(reason) => {
            record_dropped(registry, from, number, now.steady);
            return Err(unreadable(registry, from, datagram, format, reason));
        }
    };
    if !format.use_crc
        && let Some(number) = number
        && !is_next(registry, from, number)
        && classic::is_crc(number, envelope)
    {
        return Err(DropReason::OtherCrcAndSequence);
    }
    if message.payload.len() > registry.config.max_message_size {
        record_dropped(registry, from, number, now.steady);
        return Err(DropReason::TooLarge);
    }
    let (peer, number, late) = admit(registry, from, number, message.stamp().as_secs_f64(), now.steady)?;
    registry.heard(peer, datagram.len(), now.steady);
    Ok(Accepted {
        peer,
        late,
        is_elsewhere: false,
        number,
        at: now.steady,
        frames: Frames::default(),
        next_id: 0,
        classic: Some(message),
    })
}

/// Returns why a datagram cannot be read: the wire or the settings of its sender, if it shows them, else `reason`.
#[cold]
fn unreadable(
    registry: &mut Registry,
    from: SocketAddr,
    datagram: &[u8],
    format: ClassicFormat,
    reason: DropReason,
) -> DropReason {
    if looks_native(datagram) {
        return DropReason::OtherWire;
    }
    // A CRC in the place of the envelope may begin like a pickle.
    if !matches!(reason, DropReason::BadCrc | DropReason::Malformed | DropReason::Pickle) {
        return reason;
    }
    // Whoever is heard with the settings of this end has them, and its datagram is damaged.
    let is_heard = registry
        .peers
        .by_address(from)
        .is_some_and(|peer| peer.last_heard.is_some() && !peer.is(Away::SILENT));
    classic::unlike_settings(datagram, format, &registry.config.json, is_heard).unwrap_or(reason)
}

/// Marks the number of a datagram that is dropped for its envelope. Without an envelope nobody knows whether a far number is that of
/// a restarted peer, so only a near one is marked.
#[cold]
fn record_dropped(registry: &mut Registry, from: SocketAddr, number: Option<u32>, now: Instant) {
    let Some(peer) = registry.peers.by_address(from) else { return };
    let window = number.zip(peer.window.as_ref());
    if let Some(number) = window.and_then(|(low, window)| near_number(window, low)) {
        peer.record_dropped(number, now);
    }
}

/// Returns the full number for the low 32 bits that travelled, unless the window would have to leap to it.
fn near_number(window: &Window, low: u32) -> Option<u64> {
    window.expand(low).filter(|number| number.saturating_sub(window.next()) <= MAX_LEAP)
}

/// Returns whether the peer's next number has these low 32 bits.
fn is_next(registry: &mut Registry, from: SocketAddr, number: u32) -> bool {
    let peer = registry.peers.by_address(from);
    let next = peer.and_then(|peer| peer.window.as_ref()).map(Window::next);
    #[allow(clippy::cast_possible_truncation)] // the low bits are meant
    next.is_some_and(|next| next as u32 == number)
}

/// Lets a client send to this server from now on.
pub(super) fn dial(registry: &mut Registry, server: SocketAddr, now: Instant) {
    if registry.peers.by_address(server).is_some() {
        return;
    }
    if let Some(old) = registry.peers.first().map(|peer| peer.id) {
        registry.remove(old, RemovalReason::Replaced, now);
    }
    add_peer(registry, server, now);
}

/// Adds a peer that is known by its address alone. This wire has no handshake, so the peer is accepted at once.
fn add_peer(registry: &mut Registry, address: SocketAddr, established: Instant) -> PeerId {
    let peer = registry.add(Newcomer::new(address, None, established));
    peer.accepted = true;
    peer.numbers_from = FIRST_NUMBER;
    let id = peer.id;
    registry.outputs.events.push_back(Event::Accepted(id));
    id
}

/// Finds or creates the peer, and lets its window judge the datagram. Returns the datagram's full number, and whether it is
/// late.
fn admit(
    registry: &mut Registry,
    from: SocketAddr,
    number: Option<u32>,
    stamp: f64,
    now: Instant,
) -> Result<(PeerId, Option<u64>, bool), DropReason> {
    if registry.peers.by_address(from).is_none() {
        if registry.config.role == Role::Client {
            return Err(DropReason::WrongAddress);
        }
        registry.admit_stranger(from, now)?;
        let established = registry.admit_newcomer(from, now)?;
        add_peer(registry, from, established);
    }
    let peer = registry.peers.by_address(from).expect("found or just added");
    let id = peer.id;
    let (number, restarted) = match number {
        Some(low) => {
            full_number(peer, low, stamp, now).map(|(number, restarted)| (Some(number), restarted))?
        }
        None => (None, false),
    };
    let late = Registry::judge(peer, number, now)?;
    // The window may have lost numbers, or have begun anew, before it judged.
    peer.publish_window();
    peer.newest = peer.newest.max(stamp);
    if restarted {
        registry.forget_owner(id);
        registry.outputs.events.push_back(Event::Restarted(id));
    }
    Ok((id, number, late))
}

/// Returns the full number for the low 32 bits that travelled, and whether the datagram shows that the peer was restarted.
///
/// It does if two things hold: the window would drop the number or would have to leap to it, and the time stamp is later than
/// every one before. §8.3.
fn full_number(
    peer: &mut InboundPeer,
    low: u32,
    stamp: f64,
    now: Instant,
) -> Result<(u64, bool), DropReason> {
    let start = FIRST_NUMBER + u64::from(low);
    let Some(window) = &mut peer.window else {
        peer.window = Some(Window::new(start));
        return Ok((start, false));
    };
    window.expire(now);
    let continued = near_number(window, low);
    let fits = continued.is_some_and(|number| matches!(window.judge(number), Verdict::New | Verdict::Late));
    if !fits && stamp > peer.newest {
        window.restart(start);
        peer.former_life = Some(FormerLife { newest: peer.newest, ended_at: now });
        peer.rx.lives.add(1);
        return Ok((start, true));
    }
    let is_straggler =
        |former: FormerLife| stamp <= former.newest && now.since(former.ended_at) < STRAGGLER_TIME;
    if peer.former_life.is_some_and(is_straggler) {
        // The old window is gone, so nobody can say whether the datagram is a duplicate.
        return Err(DropReason::TooOld);
    }
    continued.map(|number| (number, false)).ok_or(DropReason::TooOld)
}
