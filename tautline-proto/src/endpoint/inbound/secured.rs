//! The handshake of a secured link, and the datagrams that it opens. docs/protocol.md §11.
//!
//! `sessions` calls it with every datagram of a secured endpoint. Hellos, tokens and their memory are those of `handshake`. What
//! somebody without a key can cause is a token, and the time that refusing takes: a wrong key is refused before any X25519.

mod calling;
mod moving;
mod renewal;
mod session_keys;
mod waiting;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::SocketAddr;

use calling::Calling;
pub(super) use moving::take as take_challenge;
use session_keys::SessionKeys;
use waiting::{Waiting, WaitingClient};

use super::handshake::Handshake;
use super::keyring::{Coming, Keyring};
use super::ownership::Origin;
use super::peer::{Away, InboundPeer, SecuredPeer};
use super::registry::{Newcomer, Registry};
use super::vault::Vault;
use crate::drops::DropReason;
use crate::endpoint::command::Command;
use crate::endpoint::config::{Role, Start};
use crate::endpoint::event::{Event, RemovalReason};
use crate::peer::{PeerId, SessionId};
use crate::rights::Rights;
use crate::secure::{KeyId, Keys, Random};
use crate::snapshot::saved;
use crate::time::Instant;
use crate::window::{Verdict, Window};
use crate::wire::native::{
    self, Control, Frame, Frames, HEADER_LEN, HELLO_LEN, Introduction, Rekey, SealedEcho, SealedHeader, Token,
};

/// What a secured endpoint knows beside its peers.
#[derive(Debug)]
pub(super) struct Secured {
    vault: Vault,
    /// A client's echo that the server has not accepted.
    calling: Option<Calling>,
    /// Clients that a server has accepted and that have not shown yet that they know the keys.
    waiting: Waiting,
}

/// A sealed datagram that was opened: its peer, its full number, whether it is late, whether it came from another address than the
/// peer's, and its frames.
pub(super) struct Opened<'a> {
    pub(super) peer: PeerId,
    pub(super) number: u64,
    pub(super) late: bool,
    pub(super) is_elsewhere: bool,
    pub(super) sequence: u32,
    pub(super) frames: Frames<'a>,
}

impl Secured {
    pub(super) fn new(keys: Keys, start: &Start) -> Self {
        let random = Random::from_secrets(&start.entropy, &start.seed);
        Self { vault: Vault::new(keys, random), calling: None, waiting: Waiting::default() }
    }

    /// From now on, keeps the results of operations with keys, for a black box.
    pub(super) fn record(&mut self) {
        self.vault.record();
    }

    /// Returns whether there are results of operations with keys since [`take_answers`](Self::take_answers).
    #[inline]
    pub(super) fn has_answers(&self) -> bool {
        self.vault.has_answers()
    }

    /// Returns the results of operations with keys since the last call.
    #[inline]
    pub(super) fn take_answers(&mut self, take: impl FnMut(bool, &[u8])) {
        self.vault.take_answers(take);
    }

    /// Sets the results of the next operations with keys, in a rerun.
    pub(super) fn give_answer(&mut self, answer: Option<&[u8]>) {
        self.vault.give_answer(answer);
    }

    /// Returns whether a rerun needed a result that the record does not have.
    pub(super) fn lacks_answers(&self) -> bool {
        self.vault.lacks_answers()
    }

    /// Moves the session of a peer, and renews its keys, if that is due. Returns whether the keys are too old.
    pub(super) fn look(&mut self, registry: &mut Registry, id: PeerId, now: Instant) -> bool {
        moving::look(registry, id, now);
        renewal::look(&mut self.vault, registry, id, now)
    }

    /// Handles a frame about new keys.
    pub(super) fn take_rekey(&mut self, registry: &mut Registry, origin: Origin, rekey: &Rekey) {
        renewal::take(&mut self.vault, registry, origin, rekey);
    }

    /// Handles a datagram of the handshake.
    pub(super) fn handle_handshake(
        &mut self,
        registry: &mut Registry,
        handshake: &mut Handshake,
        now: Instant,
        (from, session): (SocketAddr, SessionId),
        frame: &Frame<'_>,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        match (registry.config.role, frame) {
            (Role::Server, Frame::Hello) if datagram.len() < HELLO_LEN => Err(DropReason::Malformed),
            (Role::Server, Frame::Hello) => {
                registry.admit_stranger(from, now)?;
                let token = handshake.issue(from, session, now);
                registry.reply(from, session, &Control::SecuredToken(token));
                Ok(())
            }
            (Role::Server, Frame::SealedEcho(echo)) => {
                registry.admit_stranger(from, now)?;
                check_canonical(datagram, session, false, &Control::SealedEcho(*echo))?;
                self.take_echo(registry, handshake, now, from, session, *echo)
            }
            (Role::Client, _) if Some(from) != handshake.server() => Err(DropReason::WrongAddress),
            (Role::Client, Frame::Token(token)) => {
                self.take_token(registry, handshake, now, (from, session), *token, false)
            }
            (Role::Client, Frame::SecuredToken(token)) => {
                self.take_token(registry, handshake, now, (from, session), *token, true)
            }
            (Role::Client, Frame::SealedAccept(noise)) => {
                check_canonical(datagram, session, true, &Control::SealedAccept(noise))?;
                self.take_accept(registry, handshake, now, (from, session), noise)
            }
            (_, Frame::SealedEcho(_) | Frame::SealedAccept(_) | Frame::Hello) => Err(DropReason::Unexpected),
            // Nobody has signed a notice. A secured link believes none.
            _ => Err(DropReason::NotSecured),
        }
    }

    /// Answers the server's token with an echo. The old session stays until the server has accepted the new one.
    fn take_token(
        &mut self,
        registry: &mut Registry,
        handshake: &mut Handshake,
        now: Instant,
        (server, session): (SocketAddr, SessionId),
        token: Token,
        is_secured: bool,
    ) -> Result<(), DropReason> {
        if !handshake.calls(session) {
            return Err(DropReason::Unexpected);
        }
        handshake.stop_calling();
        let former = registry.peers.first().and_then(|peer| peer.session);
        let introduction = Introduction { name: &registry.config.name, former, ..Introduction::default() };
        let key = self.vault.keys().calling_id();
        let mut echo = SealedEcho { token, key: key.to_bytes(), noise: &[] };
        let (begun, message) = self.vault.begin(&echo.prologue(session), &introduction.write());
        echo.noise = &message;
        let datagram = registry.unnumbered(session, &Control::SealedEcho(echo));
        let calling = Calling::new(session, server, datagram, begun, is_secured, now);
        self.calling = Some(calling);
        self.repeat_if_due(registry, handshake, now);
        Ok(())
    }

    /// Sends the echo again if that is due. After the last one, tells the user and calls anew.
    pub(super) fn repeat_if_due(&mut self, registry: &mut Registry, handshake: &mut Handshake, now: Instant) {
        let Some(calling) = self.calling.as_mut().filter(|calling| calling.next_at() <= now) else { return };
        match calling.next_echo(registry.config.heartbeat_interval, now) {
            Some(reply) => registry.outputs.replies.push_back(reply),
            None => {
                let is_secured = calling.server_is_secured;
                registry.outputs.events.push_back(Event::KeyNotAccepted { server_is_secured: is_secured });
                self.calling = None;
                handshake.call_anew(registry, now);
            }
        }
    }

    /// Returns when an echo must be sent again.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.calling.as_ref().map(Calling::next_at)
    }

    /// Returns whether an echo waits for its answer.
    pub(super) const fn is_calling(&self) -> bool {
        self.calling.is_some()
    }

    /// Gives up the call, because the server was heard again in the old session, or a new call begins.
    pub(super) fn stop_calling(&mut self) {
        self.calling = None;
    }

    /// Begins the session that the server has accepted. It replaces the old one.
    fn take_accept(
        &mut self,
        registry: &mut Registry,
        handshake: &mut Handshake,
        now: Instant,
        (server, session): (SocketAddr, SessionId),
        noise: &[u8],
    ) -> Result<(), DropReason> {
        let calling = self.calling.as_mut().filter(|calling| calling.session == session);
        let calling = calling.ok_or(DropReason::Unexpected)?;
        let (split, payload) = calling.finish(&mut self.vault, noise)?;
        let introduction = Introduction::read(&payload).ok_or(DropReason::Malformed)?;
        if introduction.is_refused {
            self.calling = None;
            registry.outputs.events.push_back(Event::Refused);
            handshake.call_later(registry, now);
            return Ok(());
        }
        self.calling = None;
        if let Some(old) = registry.peers.first().map(|peer| peer.id) {
            registry.remove(old, RemovalReason::Replaced, now);
        }
        let id = self.vault.keys().calling_id();
        let (_, identity) = self.vault.keys().find(id).expect("a client's own key is among its keys");
        let SessionKeys { open, seal, hash } = SessionKeys::new(&split, Role::Client);
        let ring = Keyring::new(open, hash, now);
        let secured = SecuredPeer::new(&identity.name, id, ring);
        let newcomer = Newcomer {
            name: introduction.name,
            rights: identity.rights,
            granted: introduction.rights.unwrap_or(Rights::ALL),
            secured: Some((secured, seal)),
            ..Newcomer::new(server, Some(session), now)
        };
        let peer = registry.add(newcomer);
        peer.named = true;
        begin_life(peer, now);
        let id = peer.id;
        registry.outputs.events.push_back(Event::Accepted(id));
        // At once: it shows the server that this client knows the keys.
        registry.send_heartbeat_if_due(id, now, now);
        registry.peers.schedule(id, now);
        Ok(())
    }

    /// Answers a client's echo. The client is no peer yet: whoever repeats an echo of somebody else would become one.
    fn take_echo(
        &mut self,
        registry: &mut Registry,
        handshake: &mut Handshake,
        now: Instant,
        from: SocketAddr,
        session: SessionId,
        echo: SealedEcho<'_>,
    ) -> Result<(), DropReason> {
        handshake.admits(registry, echo.token, from, session, now)?;
        if registry.peers.by_session(session).is_some() {
            return Err(DropReason::Duplicate);
        }
        self.waiting.forget_expired(now);
        if let Some(waiting) = self.waiting.of(session) {
            // The very same echo gets the very same answer.
            let answer = waiting.answer_to(echo.noise).ok_or(DropReason::Unexpected)?;
            registry.outputs.replies.push_back((from, answer));
            return Ok(());
        }
        let id = KeyId::from_bytes(echo.key);
        let read = self.vault.read_first(id, &echo.prologue(session), echo.noise);
        let (asked, payload, identity) = read.ok_or(DropReason::UnknownKey)?;
        if !self.waiting.have_room_for(&identity) {
            return Err(DropReason::Overloaded);
        }
        let introduction = Introduction::read(&payload).ok_or(DropReason::Malformed)?;
        let has_place = registry.peers.by_address(from).is_some()
            || introduction.former.is_some_and(|former| registry.peers.by_session(former).is_some());
        let is_refused = !has_place && !registry.has_room(from, now);
        let rights = (!identity.rights.is_all()).then_some(identity.rights);
        let answer = Introduction { name: &registry.config.name, rights, is_refused, former: None };
        let (split, message) = self.vault.answer(asked, &answer.write());
        let datagram = registry.unnumbered(session, &Control::SealedAccept(&message));
        registry.outputs.replies.push_back((from, datagram.clone()));
        if is_refused {
            return Err(DropReason::PeerTableFull);
        }
        self.waiting.add(WaitingClient {
            session,
            address: from,
            token: echo.token,
            name: introduction.name.into(),
            former: introduction.former,
            identity,
            key: id,
            keys: SessionKeys::new(&split, Role::Server),
            echo: echo.noise.into(),
            answer: datagram,
            at: now,
        });
        Ok(())
    }

    /// Accepts these keys from now on, and no others. A server ends the sessions of keys that are not among them, or that somebody
    /// else holds now, and tells their peers. A client that has another key to call with now replaces the keys of its session.
    /// Returns whether it must call instead, because it has no session.
    #[must_use]
    pub(super) fn replace_keys(&mut self, registry: &mut Registry, keys: Keys, now: Instant) -> bool {
        self.vault.replace_keys(keys);
        let keys = self.vault.keys();
        self.waiting
            .retain(|key, identity| keys.find(key).is_some_and(|(_, holder)| *holder.name == *identity.name));
        if registry.config.role == Role::Client {
            let Some(id) = registry.peers.first().map(|peer| peer.id) else { return true };
            self.calling = None;
            self.look(registry, id, now);
            return false;
        }
        let removed = registry
            .peers
            .ids_of(|peer| peer.secured.as_ref().is_some_and(|secured| !self.holds(secured, secured.key)));
        removed.into_iter().for_each(|id| end(registry, id, now));
        false
    }

    /// Returns whether the peer may use this key.
    fn holds(&self, peer: &SecuredPeer, key: KeyId) -> bool {
        self.vault.keys().find(key).is_some_and(|(_, holder)| holder.name == peer.identity)
    }

    /// Puts the keys into use that have opened a datagram of the peer.
    #[cold]
    fn come(&self, registry: &mut Registry, origin: Origin, coming: Coming) -> Result<(), DropReason> {
        let Origin { peer: id, now, .. } = origin;
        let secured = registry.peers.get(id).and_then(|peer| peer.secured.as_deref());
        if registry.config.role == Role::Server && !secured.is_some_and(|peer| self.holds(peer, coming.key)) {
            // The key was removed after it was agreed on.
            end(registry, id, now);
            return Err(DropReason::UnknownKey);
        }
        renewal::come(registry, origin, coming);
        Ok(())
    }

    /// Opens a sealed datagram. `scratch` then holds what was sealed.
    pub(super) fn open<'a>(
        &mut self,
        registry: &mut Registry,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        scratch: &'a mut Vec<u8>,
    ) -> Result<Opened<'a>, DropReason> {
        let sealed = native::parse_sealed(datagram)?;
        let SealedHeader { header, .. } = sealed;
        registry.check_sender(header.from_server)?;
        scratch.clear();
        scratch.extend_from_slice(datagram);
        let mut is_elsewhere = false;
        let (id, number, coming) = match registry.peers.by_session(header.session) {
            Some(peer) if peer.address == from => open_for(&mut self.vault, peer, sealed, scratch, now)?,
            Some(_) => {
                is_elsewhere = true;
                let peer = moving::from_elsewhere(registry, header.session, from)?;
                open_for(&mut self.vault, peer, sealed, scratch, now)?
            }
            None => self.open_first(registry, now, from, sealed, scratch)?,
        };
        if let Some(coming) = coming {
            self.come(registry, Origin { peer: id, number: Some(number), now }, *coming)?;
        }
        let frames = native::opened_frames(scratch);
        let peer = registry.peers.get(id).expect("found or just created");
        let late = Registry::judge(peer, Some(number), now)?;
        if is_elsewhere && !late {
            moving::heard_elsewhere(&mut self.vault, registry, id, (from, datagram.len()), now);
        }
        Ok(Opened { peer: id, number, late, is_elsewhere, sequence: header.sequence, frames: frames? })
    }

    /// Opens the first datagram of a client that waits. It has shown that it knows the keys, and becomes a peer.
    #[cold]
    fn open_first(
        &mut self,
        registry: &mut Registry,
        now: Instant,
        from: SocketAddr,
        sealed: SealedHeader,
        scratch: &mut Vec<u8>,
    ) -> Result<(PeerId, u64, Option<Box<Coming>>), DropReason> {
        self.waiting.forget_expired(now);
        let SealedHeader { header, .. } = sealed;
        let waiting = self.waiting.of(header.session).ok_or(DropReason::UnknownSession)?;
        if waiting.address != from {
            return Err(DropReason::WrongAddress);
        }
        if sealed.phase {
            return Err(DropReason::BadTag);
        }
        let number = u64::from(header.sequence);
        let len = self.vault.open(&waiting.keys.open, number, scratch, HEADER_LEN);
        let len = len.ok_or(DropReason::BadTag)?;
        scratch.truncate(len);
        let waiting = self.waiting.take(header.session).ok_or(DropReason::UnknownSession)?;
        establish(registry, now, waiting).map(|id| (id, number, None))
    }
}

/// Ends the session of a peer whose key is no longer accepted, and tells the peer.
fn end(registry: &mut Registry, id: PeerId, now: Instant) {
    registry.outputs.commands.push_back(Command::Close(id));
    registry.remove(id, RemovalReason::KeyRemoved, now);
}

/// Checks that a message of the Noise handshake stands in its datagram as it was written. The handshake covers everything but the
/// number, the frame's flags and what follows the frame, which are zero and nothing.
fn check_canonical(
    datagram: &[u8],
    session: SessionId,
    from_server: bool,
    control: &Control<'_>,
) -> Result<(), DropReason> {
    let is_canonical = native::unnumbered(session, from_server, control) == datagram;
    if is_canonical { Ok(()) } else { Err(DropReason::Malformed) }
}

/// Opens a datagram of an established session. The window is looked at first, because that is cheaper, and marked afterwards,
/// because only then it is certain who has sent the number.
fn open_for(
    vault: &mut Vault,
    peer: &mut InboundPeer,
    sealed: SealedHeader,
    scratch: &mut Vec<u8>,
    now: Instant,
) -> Result<(PeerId, u64, Option<Box<Coming>>), DropReason> {
    let window = peer.window.as_mut().expect("a peer with keys has a window from the start");
    let number = window.expand(sealed.header.sequence).ok_or(DropReason::TooOld)?;
    match window.judge(number) {
        Verdict::Duplicate => {
            window.repeated();
            peer.publish_window();
            return Err(DropReason::Duplicate);
        }
        Verdict::TooOld => return Err(DropReason::TooOld),
        Verdict::New | Verdict::Late | Verdict::Leap => {}
    }
    let secured = peer.secured.as_mut().expect("every peer of a secured end has keys");
    let opened = secured.ring.open(vault, (sealed.phase, number), scratch, HEADER_LEN, now);
    let (len, coming) = opened.ok_or(DropReason::BadTag)?;
    scratch.truncate(len);
    Ok((peer.id, number, coming))
}

/// Makes a client a peer that has shown that it knows the keys. Its session replaces those of its own identity only: the one that
/// it names as its former session, and one at its address.
fn establish(registry: &mut Registry, now: Instant, waiting: WaitingClient) -> Result<PeerId, DropReason> {
    let WaitingClient { session, address, token, name, former, identity, key, keys, .. } = waiting;
    let mut established = None;
    let former = former.and_then(|former| registry.peers.by_session(former)).map(|peer| peer.id);
    let neighbour = registry.peers.by_address(address).map(|peer| peer.id);
    for old in [former, neighbour].into_iter().flatten() {
        let Some(peer) = registry.peers.get(old) else { continue };
        let is_own = peer.secured.as_ref().is_some_and(|secured| secured.identity == identity.name);
        if !is_own && Some(old) != neighbour {
            continue;
        }
        if !is_own && !peer.is(Away::SILENT) {
            // Somebody else is heard from there.
            return Err(DropReason::WrongAddress);
        }
        established = established.or(Some(peer.established));
        registry.remove(old, RemovalReason::Replaced, now);
    }
    let established = match established {
        Some(established) => established,
        None => registry.make_room(address, now).ok_or(DropReason::PeerTableFull)?,
    };
    let ring = Keyring::new(keys.open, keys.hash, now);
    let secured = SecuredPeer::new(&identity.name, key, ring);
    let newcomer = Newcomer {
        name: &name,
        rights: identity.rights,
        secured: Some((secured, keys.seal)),
        ..Newcomer::new(address, Some(session), established)
    };
    let peer = registry.add(newcomer);
    peer.proven = token.issued();
    begin_life(peer, now);
    let id = peer.id;
    registry.peers.schedule(id, now);
    registry.outputs.events.push_back(Event::Accepted(id));
    Ok(id)
}

/// Lets the session of a client go on, whose address or whose server's address is another one now. Returns `false` if there is
/// none that can. What is sent there first shows the server where its client is.
pub(super) fn goes_on_from_another_place(registry: &mut Registry, server: SocketAddr, now: Instant) -> bool {
    let worn_after = registry.config.rekey_after * 3 / 2;
    let Some(id) = registry.peers.first().map(|peer| peer.id) else { return false };
    let Some(peer) = registry.peers.get(id) else { return false };
    if peer.secured.as_ref().is_none_or(|secured| now.since(secured.ring.since) >= worn_after) {
        return false;
    }
    // The call ends as soon as the server is heard again.
    if !peer.is(Away::STALE) && !peer.is(Away::SILENT) {
        peer.mark(Away::STALE);
        registry.outputs.events.push_back(Event::Stale(id));
    }
    registry.relocate(id, server, now);
    true
}

/// Lets the peer be watched. Its numbers are those of a new session.
fn begin_life(peer: &mut InboundPeer, now: Instant) {
    peer.accepted = true;
    peer.window = Some(Window::new(0));
    peer.last_heard = Some(now);
    peer.next_heartbeat = Some(now);
}

saved!(Secured { vault, calling, waiting });
