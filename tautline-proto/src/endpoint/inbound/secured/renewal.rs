//! New keys in a session that goes on. docs/protocol.md §11.6.
//!
//! The client begins: when its keys are old or have sealed much, or when it has another key to call with. A server asks it to. The
//! messages travel in sealed frames.

use alloc::boxed::Box;
use core::time::Duration;

use crate::endpoint::command::{Command, NewKeys};
use crate::endpoint::config::Role;
use crate::endpoint::event::Event;
use crate::endpoint::inbound::keyring::{Coming, Keyring, Next, Renewal};
use crate::endpoint::inbound::ownership::Origin;
use crate::endpoint::inbound::peer::InboundPeer;
use crate::endpoint::inbound::registry::{Registry, Seen, SeenList};
use crate::endpoint::inbound::vault::Vault;
use crate::peer::PeerId;
use crate::rights::Rights;
use crate::secure::{KeyId, OpenKey, SealKey};
use crate::time::Instant;
use crate::window::Window;
use crate::wire::native::{Introduction, Rekey};

/// Keys are replaced when one end has sent this many datagrams with them.
const MOST_SEALED: u64 = 1 << 22;

/// A client repeats its message after this time, a server its wish.
const REPEAT: Duration = Duration::from_millis(100);

/// A server answers a new message of the same client after this time at the earliest: each costs it two X25519. Less than
/// [`REPEAT`], so that a client that begins anew is answered at its second try.
const BETWEEN_ANSWERS: Duration = Duration::from_millis(50);

/// After so many messages without an answer, the client's user is told that the server does not accept its new key.
const TOLD_AFTER: u32 = 5;

/// Does what is due for the keys of this peer. Returns whether a client must call for a new session, because they could not be
/// replaced in time.
pub(super) fn look(vault: &mut Vault, registry: &mut Registry, id: PeerId, now: Instant) -> bool {
    let (role, rekey_after) = (registry.config.role, registry.config.rekey_after);
    let Some(peer) = registry.peers.get(id) else { return false };
    let sealed = sealed_by(&mut registry.seen, peer);
    let Some(secured) = &mut peer.secured else { return false };
    let age = now.since(secured.ring.since);
    if age >= rekey_after * 3 / 2 {
        registry.outputs.commands.push_back(Command::WearOut(id));
        return true;
    }
    if sealed >= 2 * MOST_SEALED {
        return true;
    }
    let has_other_key = role == Role::Client && vault.keys().calling_id() != secured.key;
    let ring = &mut secured.ring;
    match role {
        // A client begins by itself. A server asks only if it does not.
        Role::Server if age < rekey_after * 11 / 10 && sealed < MOST_SEALED / 10 * 11 => {}
        Role::Server if ring.asked_at.is_some_and(|asked| now.since(asked) < REPEAT) => {}
        Role::Server => {
            ring.asked_at = Some(now);
            registry.outputs.commands.push_back(Command::Rekey(id, Rekey::Ask));
        }
        Role::Client => {
            let is_due =
                age >= rekey_after || sealed >= MOST_SEALED || has_other_key || ring.asked_at.is_some();
            // One that was begun with a key that this end calls with no longer is begun anew.
            let is_begun =
                ring.begun.as_ref().is_some_and(|renewal| renewal.key == vault.keys().calling_id());
            if !is_due && !is_begun {
                ring.begun = None;
            } else if is_due && !is_begun && ring.coming().is_none() {
                begin(vault, ring, now);
            }
            let due = ring.begun.as_mut().filter(|renewal| renewal.repeat_at <= now);
            if let Some(renewal) = due {
                renewal.repeat_at = now.plus(REPEAT);
                renewal.sent += 1;
                let rekey = Rekey::Begin(renewal.key.to_bytes(), renewal.message.clone());
                let is_refused = renewal.sent == TOLD_AFTER + 1 && has_other_key;
                registry.outputs.commands.push_back(Command::Rekey(id, rekey));
                let told = is_refused.then_some(Event::KeyNotAccepted { server_is_secured: true });
                registry.outputs.events.extend(told);
            }
        }
    }
    false
}

/// How many datagrams one end has sealed with the present keys: the one that has sealed more.
fn sealed_by(seen: &mut SeenList, peer: &InboundPeer) -> u64 {
    let Some(secured) = &peer.secured else { return 0 };
    let received = peer.window.as_ref().map_or(0, Window::next);
    let sent = peer.tx.next_sequence.value();
    if sent.saturating_sub(secured.ring.sent_before) >= MOST_SEALED {
        seen.note(Seen::Number(peer.id, sent));
    }
    sent.saturating_sub(secured.ring.sent_before).max(received.saturating_sub(secured.ring.received_before))
}

/// What both ends mix in first: the handshake before, and the key.
fn prologue(hash: &[u8; 32], key: KeyId) -> [u8; 40] {
    let mut prologue = [0; 40];
    prologue[..32].copy_from_slice(hash);
    prologue[32..].copy_from_slice(&key.to_bytes());
    prologue
}

/// A client begins new keys. If a message before this one was not answered, it is forgotten.
fn begin(vault: &mut Vault, ring: &mut Keyring, now: Instant) {
    let key = vault.keys().calling_id();
    let payload = Introduction::default().write();
    let (begun, message) = vault.begin(&prologue(&ring.hash, key), &payload);
    ring.begun = Some(Renewal { begun, key, message, repeat_at: now, sent: 0 });
}

/// Handles the peer's frame about new keys.
#[cold]
pub(super) fn take(vault: &mut Vault, registry: &mut Registry, origin: Origin, frame: &Rekey) {
    let Origin { peer: id, number, now } = origin;
    match (registry.config.role, frame) {
        (Role::Client, Rekey::Ask) => {
            if let Some(secured) = registry.peers.get(id).and_then(|peer| peer.secured.as_mut()) {
                secured.ring.asked_at = Some(now);
            }
            look(vault, registry, id, now);
        }
        (Role::Server, Rekey::Begin(key, message)) => {
            let begun = Begin { key: KeyId::from_bytes(*key), message, number: number.unwrap_or_default() };
            answer(vault, registry, id, &begun, now);
        }
        (Role::Client, Rekey::Answer(message)) => finish(vault, registry, origin, message),
        _ => {}
    }
}

/// A client's message that begins new keys, and the number of its datagram.
struct Begin<'a> {
    key: KeyId,
    message: &'a [u8],
    number: u64,
}

/// A server answers. It goes on with the old keys until a datagram with the new ones has come.
fn answer(vault: &mut Vault, registry: &mut Registry, id: PeerId, begun: &Begin<'_>, now: Instant) {
    let &Begin { key: key_id, message, number } = begun;
    let Some(secured) = registry.peers.get(id).and_then(|peer| peer.secured.as_mut()) else { return };
    let ring = &mut secured.ring;
    if let Some(coming) = ring.coming_mut() {
        if coming.message == message {
            coming.number = coming.number.max(number);
            let answer = Rekey::Answer(coming.answer.clone());
            registry.outputs.commands.push_back(Command::Rekey(id, answer));
            return;
        }
        if number < coming.number {
            // A late message of a client that has begun anew since. It finishes what it has begun last, and nothing else.
            return;
        }
    }
    if ring.answered_at.is_some_and(|answered| now.since(answered) < BETWEEN_ANSWERS) {
        return;
    }
    // Another key of the same identity may take over, and no other.
    if vault.keys().find(key_id).is_none_or(|(_, identity)| identity.name != secured.identity) {
        return;
    }
    let Some((asked, _, identity)) = vault.read_first(key_id, &prologue(&ring.hash, key_id), message) else {
        // A late copy of a message that was answered and has led to the present keys, or a fault.
        return;
    };
    let rights = (!identity.rights.is_all()).then_some(identity.rights);
    let payload = Introduction { rights, ..Introduction::default() }.write();
    let (split, answer) = vault.answer(asked, &payload);
    let phase = ring.next_phase();
    ring.answered_at = Some(now);
    ring.set_next(Next {
        open: OpenKey::new(&split.to_server),
        coming: Box::new(Coming {
            seal: Some(Box::new(SealKey::new(&split.to_client, phase))),
            message: message.into(),
            number,
            answer: answer.clone(),
            hash: split.hash,
            key: key_id,
        }),
    });
    registry.outputs.commands.push_back(Command::Rekey(id, Rekey::Answer(answer)));
}

/// A client has its answer. It seals with the new keys from now on.
fn finish(vault: &mut Vault, registry: &mut Registry, origin: Origin, message: &[u8]) {
    let Some(secured) = registry.peers.get(origin.peer).and_then(|peer| peer.secured.as_mut()) else {
        return;
    };
    let ring = &mut secured.ring;
    let finished = ring.begun.as_mut().and_then(|renewal| vault.finish(&mut renewal.begun, message));
    let Some((split, payload)) = finished else { return };
    let granted = Introduction::read(&payload).map(|said| said.rights.unwrap_or(Rights::ALL));
    let Some(renewal) = ring.begun.take() else { return };
    let phase = ring.next_phase();
    ring.set_next(Next {
        open: OpenKey::new(&split.to_client),
        coming: Box::new(Coming {
            seal: None,
            message: renewal.message,
            number: 0,
            answer: message.into(),
            hash: split.hash,
            key: renewal.key,
        }),
    });
    seal_with(registry, origin, Box::new(SealKey::new(&split.to_server, phase)), granted);
}

/// The keys have come into use, with the datagram that `origin` names.
#[cold]
pub(super) fn come(registry: &mut Registry, origin: Origin, coming: Coming) {
    let Some(secured) = registry.peers.get(origin.peer).and_then(|peer| peer.secured.as_mut()) else {
        return;
    };
    (secured.ring.hash, secured.ring.asked_at) = (coming.hash, None);
    let is_other = core::mem::replace(&mut secured.key, coming.key) != coming.key;
    registry.outputs.events.extend(is_other.then_some(Event::KeyReplaced(origin.peer)));
    if let Some(seal) = coming.seal {
        seal_with(registry, origin, seal, None);
    }
}

/// This end seals with the new key from now on. So the age of its keys counts from now on. A client may still wait for the first datagram
/// that the server has sealed with the new keys. Its server lets the old ones wear out itself.
fn seal_with(registry: &mut Registry, origin: Origin, seal: Box<SealKey>, granted: Option<Rights>) {
    let Origin { peer: id, number, now } = origin;
    let Some(peer) = registry.peers.get(id) else { return };
    let sent = peer.tx.next_sequence.value();
    registry.seen.note(Seen::Number(id, sent));
    let Some(secured) = &mut peer.secured else { return };
    secured.ring.since = now;
    (secured.ring.sent_before, secured.ring.received_before) = (sent, number.unwrap_or_default());
    registry.outputs.commands.push_back(Command::NewKeys(NewKeys { id, seal, granted }));
}
