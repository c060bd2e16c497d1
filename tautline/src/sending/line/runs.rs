//! The line's part in packs that one system call does not take: because the system cannot, or because tags are longer than CRCs.

use std::mem;
use std::net::SocketAddr;

use tautline_proto::PeerId;
use tautline_proto::endpoint::SentDatagrams;
use tautline_proto::wire::native::Pack;

use super::Open;
use crate::sending::failed::Failed;

/// The most bytes of datagrams that one system call takes: the longest UDP payload over IPv4.
pub(super) const MOST_AT_ONCE: usize = 65_507;

impl Open {
    /// Sends the datagrams that were sealed last, of this `size`, in as few calls as possible, until one is refused. `pack` knows
    /// how many messages each holds.
    #[cold]
    pub(super) fn try_runs(
        &mut self,
        peer: PeerId,
        pack: &Pack,
        (to, size): (SocketAddr, usize),
    ) -> Result<(), Box<Failed>> {
        // Given back below.
        let sealed = mem::take(&mut self.sealed);
        let mut rest = if self.outbound.is_secured() { &sealed[..] } else { pack.bytes() };
        let mut run = if rest.len() > MOST_AT_ONCE { MOST_AT_ONCE / size } else { 1 };
        let mut counts = pack.datagrams().map(|(_, messages)| messages);
        let (mut left, mut index) = (pack.messages(), 0);
        let mut outcome = Ok(());
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(run * size));
            let datagrams = now.len().div_ceil(size);
            let sent = match datagrams {
                1 => Some(self.socket.send(now, to)),
                _ => self.socket.send_segments(now, size, to),
            };
            let Some(sent) = sent else {
                run = 1;
                continue;
            };
            if let Err(error) = sent {
                let mut failed = self.refused((peer, to), size.min(now.len()), left, &error);
                failed.cut_from = failed.cut_from.map(|_| index);
                outcome = Err(failed);
                break;
            }
            let messages = counts.by_ref().take(datagrams).sum();
            self.outbound
                .sent(peer, SentDatagrams { datagrams: datagrams as u64, bytes: now.len(), messages });
            (left, index, rest) = (left - messages, index + datagrams, later);
        }
        if run == 1 && outcome.is_ok() {
            self.socket.forbid_segments();
        }
        self.sealed = sealed;
        outcome
    }
}
