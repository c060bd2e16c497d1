//! Says in words what an input was, for people who read where a rerun differs from the record.

use alloc::format;
use alloc::string::String;
use core::net::SocketAddr;

use crate::endpoint::recorder::Kind;
use crate::ring::Entry;

/// What this input was. `from` is where datagrams come from.
pub(super) fn of(kind: Kind, from: Option<SocketAddr>, entry: &Entry<'_>) -> String {
    let size = match kind {
        Kind::Datagram | Kind::Seal => entry.bytes.len() as u64,
        Kind::Sealed => entry.word(2).unwrap_or(0),
        _ => return name(kind).into(),
    };
    let origin = from.map_or_else(String::new, |from| format!(" from {from}"));
    format!("{} of {size} bytes{origin}", name(kind))
}

const fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Datagram => "a datagram",
        Kind::Sealed => "a sealed datagram",
        Kind::Timeout => "a timer that was due",
        Kind::Dial => "the call to the server",
        Kind::Claim => "the claim of a stream",
        Kind::Release => "the release of a stream",
        Kind::Free => "a stream that was taken from its owner",
        Kind::RefuseStrangers => "the decision to admit no strangers for a while",
        Kind::Unreachable => "the report that a peer cannot be reached",
        Kind::Polled => "the call that takes the outputs",
        Kind::NewHolders => "new keys",
        Kind::Command => "a request of the receiving half",
        Kind::Seal => "sending a datagram",
        Kind::SealPack => "sending a pack of datagrams",
        Kind::Sent => "datagrams that the kernel took",
        Kind::Offer => "sending a reliable message",
        Kind::Deliver => "the call that looks for reliable messages that are due",
        Kind::NotSent => "a datagram of a reliable message that could not be sent",
        Kind::Abandon => "the call that gives up all reliable messages",
        Kind::Fits => "the question whether a message fits the path",
        Kind::PathTold => "what the system tells about the size of a path",
        Kind::ProbeNotSent => "a probe of a path that could not be sent",
        // No inputs: what belongs to the input before, or comes before one.
        Kind::Mark
        | Kind::From
        | Kind::Shift
        | Kind::Drawn
        | Kind::Seen
        | Kind::Opened
        | Kind::SeenNumber
        | Kind::Note
        | Kind::Hold => "a part of the record",
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_input_has_words_of_its_own() {
        let inputs = (16..=u8::MAX).filter_map(Kind::of).filter(|kind| *kind != Kind::Hold);
        let names: alloc::vec::Vec<_> = inputs.map(name).collect();
        assert!(names.len() >= 20 && !names.contains(&"a part of the record"), "{names:?}");
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
    }
}
