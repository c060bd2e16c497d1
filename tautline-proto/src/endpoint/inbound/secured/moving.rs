//! Sessions that move: a client's address has changed, or somebody wants it to look so. docs/protocol.md §11.7.
//!
//! Only a server does this. A datagram that opens shows who has made it, and not where its maker is: anybody can send a copy of it
//! from another address, and the copy may come first. So the server asks at both addresses. Only its client can read
//! the question and answer it, and the answer shows at which address the client receives.

use alloc::boxed::Box;
use core::net::SocketAddr;
use core::time::Duration;

use crate::drops::DropReason;
use crate::endpoint::command::Command;
use crate::endpoint::config::Role;
use crate::endpoint::event::RemovalReason;
use crate::endpoint::inbound::elsewhere::{Move, Stage};
use crate::endpoint::inbound::peer::{Away, InboundPeer};
use crate::endpoint::inbound::registry::Registry;
use crate::endpoint::inbound::vault::Vault;
use crate::peer::{PeerId, SessionId};
use crate::time::Instant;
use crate::wire::native::{CHALLENGE_DATAGRAM_LEN, Challenge};

/// The round trip that is assumed before the first was measured.
const UNKNOWN_ROUND_TRIP: Duration = Duration::from_millis(20);

/// The old address has a round trip to answer, counted from the first question, and four deviations more, within these bounds. If it
/// answers later, the session moves back.
const LEAST_GRACE: Duration = Duration::from_millis(1);
const MOST_GRACE: Duration = Duration::from_millis(5);

/// If the old address answers within this time although the session has moved, the session moves back.
const RETURNS_WITHIN: Duration = Duration::from_secs(1);

fn round_trip(peer: &InboundPeer) -> (Duration, Duration) {
    peer.path.round_trip().unwrap_or((UNKNOWN_ROUND_TRIP, Duration::ZERO))
}

/// Returns the peer of a session, if a datagram of it may come from this address, which is not the peer's. The datagram has not been
/// opened yet.
#[cold]
pub(super) fn from_elsewhere(
    registry: &mut Registry,
    session: SessionId,
    from: SocketAddr,
) -> Result<&mut InboundPeer, DropReason> {
    if registry.config.role == Role::Client {
        return Err(DropReason::WrongAddress);
    }
    if !registry.config.allows(from.ip()) {
        return Err(DropReason::NotAllowed);
    }
    if registry.peers.by_address(from).is_some_and(|other| !other.is(Away::SILENT)) {
        // Somebody else is heard from there.
        return Err(DropReason::WrongAddress);
    }
    registry.peers.by_session(session).ok_or(DropReason::UnknownSession)
}

/// Handles a datagram of the peer with a new number that came from another address than the peer's. `len` is its length: no more is
/// sent there before the peer has answered from there.
#[cold]
pub(super) fn heard_elsewhere(
    vault: &mut Vault,
    registry: &mut Registry,
    id: PeerId,
    (from, len): (SocketAddr, usize),
    now: Instant,
) {
    let Some(peer) = registry.peers.get(id) else { return };
    let (round_trip, _) = round_trip(peer);
    let Some(secured) = peer.secured.as_mut().filter(|_| len >= CHALLENGE_DATAGRAM_LEN) else { return };
    let before = secured.moving.take();
    let must_wait =
        |before: &Move| before.decides_at().is_some() || before.asks_again_at(from, round_trip) > now;
    if before.as_deref().is_some_and(must_wait) {
        secured.moving = before;
        return;
    }
    let next = match before {
        // The same values again: the answer to an earlier question counts too, because the new path may be slower than the old one.
        Some(before) if before.to == from && before.stage == Stage::Asking => {
            Box::new(Move { asked_at: now, asked: before.asked + 1, ..*before })
        }
        before => {
            let asked = before.filter(|before| before.to == from).map_or(1, |before| before.asked + 1);
            let [there, here] = vault.draw_values();
            Box::new(Move { to: from, there, here, since: now, asked_at: now, asked, stage: Stage::Asking })
        }
    };
    let (there, here) = (Challenge::Ask(next.there), Challenge::Ask(next.here));
    secured.moving = Some(next);
    registry.outputs.commands.push_back(Command::Challenge(id, there, Some(from)));
    registry.outputs.commands.push_back(Command::Challenge(id, here, None));
}

/// Handles the peer's frame about its address.
#[cold]
pub(in crate::endpoint::inbound) fn take(
    registry: &mut Registry,
    id: PeerId,
    challenge: Challenge,
    now: Instant,
) {
    match (registry.config.role, challenge) {
        (Role::Client, Challenge::Ask(value)) => {
            let answer = Challenge::Answer(value);
            registry.outputs.commands.push_back(Command::Challenge(id, answer, None));
        }
        (Role::Server, Challenge::Answer(value)) => take_answer(registry, id, value, now),
        _ => {}
    }
}

fn take_answer(registry: &mut Registry, id: PeerId, value: u64, now: Instant) {
    let Some(peer) = registry.peers.get(id) else { return };
    let (round_trip, deviation) = round_trip(peer);
    let Some(moving) = peer.secured.as_mut().and_then(|secured| secured.moving.as_deref_mut()) else {
        return;
    };
    if value == moving.here {
        // What is sent to the old address reaches the peer. Who sent copies from elsewhere must not get the session.
        if let Stage::Moved(from) = moving.stage
            && (now.since(moving.asked_at) > RETURNS_WITHIN || !relocate(registry, id, from, now))
        {
            return;
        }
        set_stage(registry, id, Stage::Stayed);
    } else if value == moving.there && moving.stage == Stage::Asking {
        let grace = (deviation * 4).clamp(LEAST_GRACE, MOST_GRACE);
        let decides_at = moving.since.plus(round_trip + grace);
        moving.stage = Stage::Answered(decides_at);
        registry.peers.schedule(id, decides_at);
        look(registry, id, now);
    }
}

/// Moves the session if it is time to.
pub(super) fn look(registry: &mut Registry, id: PeerId, now: Instant) {
    let Some(peer) = registry.peers.get(id) else { return };
    let (from, moving) = (peer.address, peer.secured.as_ref().and_then(|secured| secured.moving.as_deref()));
    let Some(moving) = moving.filter(|moving| moving.decides_at().is_some_and(|at| at <= now)) else {
        return;
    };
    let to = moving.to;
    let stage = if relocate(registry, id, to, now) { Stage::Moved(from) } else { Stage::Stayed };
    set_stage(registry, id, stage);
}

/// Moves the session to this address. Returns `false` if somebody was heard from there meanwhile.
fn relocate(registry: &mut Registry, id: PeerId, to: SocketAddr, now: Instant) -> bool {
    match registry.peers.by_address(to).map(|other| (other.id, other.is(Away::SILENT))) {
        Some((_, false)) => return false,
        Some((silent, true)) => registry.remove(silent, RemovalReason::Replaced, now),
        None => {}
    }
    registry.relocate(id, to, now);
    true
}

fn set_stage(registry: &mut Registry, id: PeerId, stage: Stage) {
    let secured = registry.peers.get(id).and_then(|peer| peer.secured.as_mut());
    if let Some(moving) = secured.and_then(|secured| secured.moving.as_deref_mut()) {
        moving.stage = stage;
    }
}
