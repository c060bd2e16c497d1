//! What was in datagrams, in few words: "8 command, 1 control".

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tautline::WallTime;
use tautline_proto::wire::native;

use crate::tools::observe::{Observer, Passing, What};

/// Counts what is in these datagrams: messages by type, and datagrams of the protocol itself.
pub(super) fn of<'a>(datagrams: impl Iterator<Item = &'a [u8]>) -> String {
    let mut counts = BTreeMap::<String, u64>::new();
    let mut observer = Observer::default();
    let [from, to] = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    for datagram in datagrams {
        let plain = opened(datagram);
        let bytes = plain.as_deref().unwrap_or(datagram);
        let passing = Passing { at: WallTime::from_nanos(0), from, to, from_client: None, bytes };
        observer.see(&passing, &mut |seen| {
            let kind = match &seen.what {
                What::Message { message, .. } => message.message_type.to_string(),
                What::Control(_) => "control".to_owned(),
                What::Sealed { .. } => "sealed".to_owned(),
                What::Wrong(reason) => reason.to_string(),
            };
            *counts.entry(kind).or_default() += 1;
        });
    }
    let counts: Vec<_> = counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    counts.join(", ")
}

/// The frames of a datagram that a rerun has sealed, as a plain datagram. A rerun has no key: it seals by leaving everything as it is.
fn opened(datagram: &[u8]) -> Option<Vec<u8>> {
    const TAG_LEN: usize = 16;
    let header = native::parse_sealed(datagram).ok().filter(|_| native::is_sealed(datagram))?.header;
    let mut plain = datagram[..datagram.len() - TAG_LEN].to_vec();
    native::seal(&mut plain, header);
    Some(plain)
}
