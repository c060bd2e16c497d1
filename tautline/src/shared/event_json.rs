//! Events as JSON, for the file of a black box.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::config::WatchdogChange;
use crate::shared::events::Event;

/// An event for the file: its kind, all of it as programmers see it, and what `tautline incident` computes with.
pub(crate) fn as_json(event: &Event) -> Value {
    let text = format!("{event:?}");
    let kind: String = text.chars().take_while(|c| c.is_alphanumeric()).collect();
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    match event {
        Event::Watchdog(event) => {
            put("watched", event.watched.to_string().into());
            match event.change {
                WatchdogChange::Tripped { late, missed } => {
                    put("change", "tripped".into());
                    put("late_ns", nanos(late));
                    put("missed", missed.into());
                }
                WatchdogChange::Recovered { silence, cause, .. }
                | WatchdogChange::Refusing { silence, cause } => {
                    put("change", "back".into());
                    put("silence_ns", nanos(silence));
                    put("who", cause.to_string().into());
                }
                WatchdogChange::Armed => drop(put("change", "armed".into())),
                WatchdogChange::Reset => drop(put("change", "reset".into())),
            }
        }
        Event::StateChanged { from, to, cause } => {
            put("from", format!("{from:?}").into());
            put("to", format!("{to:?}").into());
            put("cause", format!("{cause:?}").into());
        }
        Event::PeerConnected { peer, address, name, .. } => {
            put("peer", peer.to_string().into());
            put("address", address.to_string().into());
            put("name", name.clone().into());
        }
        Event::PeerDisconnected { peer, reason } => {
            put("peer", peer.to_string().into());
            put("reason", reason.name().into());
        }
        Event::PeerStale { peer }
        | Event::PeerSilent { peer }
        | Event::PeerReturned { peer }
        | Event::PeerRestarted { peer }
        | Event::KeyReplaced { peer } => {
            put("peer", peer.to_string().into());
        }
        Event::PeerMoved { peer, from, to } => {
            put("peer", peer.to_string().into());
            put("from", from.to_string().into());
            put("to", to.to_string().into());
        }
        Event::PathSize { peer, mtu } => {
            put("peer", peer.to_string().into());
            put("mtu", (*mtu).into());
        }
        Event::PeerUnreachable { address, fault, problem } => {
            put("address", address.map(|address| address.to_string()).into());
            put("fault", format!("{fault:?}").into());
            put("problem", problem.clone().into());
        }
        Event::KernelDropped { dropped, receive_buffer } => {
            put("dropped", (*dropped).into());
            put("receive_buffer", (*receive_buffer).into());
        }
        Event::ReaderBehind { reader, waiting, age } => {
            put("reader", reader.to_string().into());
            put("waiting", (*waiting).into());
            put("age_ns", nanos(*age));
        }
        Event::SocketFailed { fault, problem } => {
            put("fault", format!("{fault:?}").into());
            put("problem", problem.clone().into());
        }
        Event::Waiting { missing } => {
            put("missing", missing.to_string().into());
        }
        Event::Moved { local, server } => {
            put("address", local.to_string().into());
            put("server", server.map(|server| server.to_string()).into());
        }
        Event::OtherWire { from } => {
            put("from", from.to_string().into());
        }
        Event::NotLetIn { from, reason } => {
            put("from", from.to_string().into());
            put("reason", reason.name().into());
        }
        Event::NotAllowed { peer, message_type } => {
            put("peer", peer.to_string().into());
            put("message_type", message_type.name().into());
        }
        Event::KeyNotAccepted { server, .. } | Event::KeyNeeded { server } => {
            put("server", server.to_string().into());
        }
        Event::NotGranted { part, problem, remedy } => {
            put("part", part.name().into());
            put("problem", problem.clone().into());
            put("remedy", remedy.clone().into());
        }
        Event::Superseded { peer, message_type, channel } => {
            put("peer", peer.to_string().into());
            put("message_type", message_type.name().into());
            put("channel", (*channel).into());
        }
        Event::DeliveryFailed { peer, message_type, channel, outcome } => {
            put("peer", peer.to_string().into());
            put("message_type", message_type.name().into());
            put("channel", (*channel).into());
            put("outcome", outcome.name().into());
        }
        Event::OwnerChanged { stream, from, to, reason } => {
            put("stream", stream.to_string().into());
            put("former", from.map(|peer| peer.to_string()).into());
            put("owner", to.map(|peer| peer.to_string()).into());
            put("reason", reason.name().into());
        }
        Event::NotOwner { peer, stream, owner } => {
            put("peer", peer.to_string().into());
            put("stream", stream.to_string().into());
            put("owner", owner.map(|peer| peer.to_string()).into());
        }
        Event::StreamDenied { peer, stream } => {
            put("peer", peer.to_string().into());
            put("stream", stream.to_string().into());
        }
        Event::ClaimEnded { peer, stream, outcome } => {
            put("peer", peer.to_string().into());
            put("stream", stream.to_string().into());
            put("outcome", outcome.name().into());
        }
        Event::SendFailed { error } => {
            put("problem", error.to_string().into());
        }
        Event::Refused | Event::CommandsUnguarded => {}
    }
    json!({ "event": kind, "text": text, "fields": fields })
}

fn nanos(duration: Duration) -> Value {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).into()
}
