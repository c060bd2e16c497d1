//! What the inbound half adds to the digest of its outputs, if there is a black box: messages, events, commands and replies.

use core::hint::cold_path;
use core::net::SocketAddr;

use crate::endpoint::command::Command;
use crate::endpoint::event::Event;
use crate::endpoint::recorder::{Kind, Output, Recorder};
use crate::message::{Id, MessageRef};

/// Adds a message to the digest.
#[inline(never)]
pub(super) fn message(recorder: &mut Recorder, message: &MessageRef<'_>) {
    recorder.read += 1;
    match &message.message_id {
        Id::Number(number) => fields(recorder, message, *number),
        id => {
            cold_path();
            recorder.returned().add_text(id);
            fields(recorder, message, 0);
        }
    }
}

#[inline]
fn fields(recorder: &mut Recorder, message: &MessageRef<'_>, number: u64) {
    let kinds = u64::from(message.channel)
        | (message.delivery as u64) << 16
        | (message.priority as u64) << 24
        | (message.content_type as u64) << 32
        | (message.message_type as u64) << 40;
    // The name of a peer is among its events, and another source in the datagram: the length shows which of them it is.
    let source = message.source.as_ref().map_or(u64::MAX, |source| source.len() as u64);
    let stamp = message.timestamp.as_nanos().cast_unsigned();
    let digest = recorder.returned();
    digest.add_quickly(kinds ^ number.rotate_left(16));
    digest.add_ends(stamp ^ source.rotate_left(48), message.payload);
}

/// Records that the caller offers the message that was read last.
#[cold]
pub(super) fn hold(recorder: &mut Recorder) {
    let read = recorder.read;
    recorder.input(Kind::Hold, [read], &[]);
}

/// Adds an event to the digest.
#[cold]
pub(super) fn event(recorder: &mut Recorder, event: &Event) {
    match event {
        Event::Dropped { from, reason } => {
            recorder.add_saved(Output::Event, from);
            recorder.add(Output::Event, |digest| digest.add(*reason as u64));
        }
        // Its counters are those of the sending half too.
        Event::Added(peer) => {
            let named = (peer.id, peer.address, peer.session, &peer.name);
            recorder.add(Output::Event, |digest| digest.add_text(&named));
        }
        event => recorder.add(Output::Event, |digest| digest.add_text(event)),
    }
}

/// Adds a command to the digest.
pub(super) fn command(recorder: &mut Recorder, command: &Command) {
    recorder.add_saved(Output::Command, command);
}

/// Adds a datagram outside any session to the digest.
#[cold]
pub(super) fn reply(recorder: &mut Recorder, to: SocketAddr, datagram: &[u8]) {
    recorder.add_saved(Output::Reply, &to);
    recorder.add(Output::Reply, |digest| digest.add_ends(0, datagram));
}
