//! What the inbound half adds to the digest of its outputs, if there is a black box: messages, events, commands and replies.

use core::net::SocketAddr;

use crate::endpoint::command::Command;
use crate::endpoint::event::Event;
use crate::endpoint::recorder::{Kind, Output, Recorder};
use crate::message::{Id, MessageRef};

/// Adds a message to the digest.
#[inline(never)]
pub(super) fn message(recorder: &mut Recorder, message: &MessageRef<'_>) {
    recorder.read += 1;
    let kinds = [
        message.message_type as u8,
        message.priority as u8,
        message.delivery as u8,
        message.content_type as u8,
    ];
    let digest = recorder.digest_of(Output::Returned);
    let kinds = u64::from(u32::from_le_bytes(kinds)) << 16 | u64::from(message.channel);
    digest.add_pair(kinds, message.timestamp.as_nanos().cast_unsigned());
    match &message.message_id {
        Id::Number(number) => digest.add(*number),
        id => digest.add_text(id),
    }
    if let Some(source) = &message.source {
        digest.add_ends(source.as_bytes());
    }
    digest.add_ends(message.payload);
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
            recorder.digest_of(Output::Event).add(*reason as u64);
        }
        // Its counters are those of the sending half too.
        Event::Added(peer) => {
            let named = (peer.id, peer.address, peer.session, &peer.name);
            recorder.digest_of(Output::Event).add_text(&named);
        }
        event => recorder.digest_of(Output::Event).add_text(event),
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
    recorder.digest_of(Output::Reply).add_ends(datagram);
}
