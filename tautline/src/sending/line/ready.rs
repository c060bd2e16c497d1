//! The fast path of a message whose payload needs no encoding. No user code runs, so the holder of the line frames the
//! message where it goes, without a job in between.

use tautline_proto::wire::native::{HEADER_LEN, Pack, Packed};
use tautline_proto::{ContentType, Delivery};

use super::{Line, Open};
use crate::config::Wire;
use crate::message::target::Target;
use crate::payload::append;
use crate::sending::failed::Failed;
use crate::sending::job::Terms;
use crate::sending::link::Sent;
use crate::sending::sender::Outgoing;

/// A message whose payload is encoded already.
#[derive(Debug)]
pub(crate) struct Ready<'a> {
    /// Without opening and end of the lifespan: the line fills them in.
    pub(crate) terms: Terms,
    pub(crate) content_type: ContentType,
    pub(crate) bytes: &'a [u8],
    pub(crate) outgoing: &'a Outgoing<'a>,
}

impl Line {
    /// Sends the message, or lets it wait for coalescing. Returns `None` if it must be submitted as a job.
    #[inline]
    pub(crate) fn send_ready(&mut self, message: &mut Ready<'_>) -> Option<Result<Sent, Box<Failed>>> {
        let open = self.open.as_mut()?;
        let Ready { terms, content_type, bytes, outgoing } = message;
        if open.is_wide && terms.target == Target::All {
            // It is written in pieces.
            return None;
        }
        let sent = open.link.clock.wall(terms.sent_at);
        let head = open.link.head(outgoing, *content_type, sent);
        if open.link.wire != Wire::Native || head.delivery != Delivery::BestEffort || head.exact.is_some() {
            return None;
        }
        if let Err(error) = open.link.check_rights(head.message_type) {
            return Some(Err(error.into()));
        }
        match open.link.time_left(&head, outgoing.made, sent) {
            Ok(left) => terms.expire_after(left),
            Err(failed) => return Some(Err(failed)),
        }
        let may_wait = open.lets_wait(terms, false);
        // A message that does not fit would only make the memory of the pack grow.
        let waits = may_wait && Pack::admits(open.coalescer.datagram_size(), bytes.len());
        if waits && !open.coalescer.is_for(&terms.target) {
            self.flush();
        }
        let Open { link, coalescer, scratch, .. } = self.open.as_mut()?;
        let place = if waits {
            coalescer.write(terms, scratch, |out| {
                link.encode_frame(out, &head, |out| append(bytes, &link.limits, out))
            })
        } else {
            scratch.clear();
            link.encode_ready(scratch, &head, bytes).map(|()| Packed::TooLarge)
        };
        Some(match place {
            Ok(Packed::InPack) => {
                self.flush_if_due();
                Ok(Sent::Queued)
            }
            Ok(place) => self.send_scratch(terms, place, may_wait),
            Err(failed) => Err(failed),
        })
    }

    /// Sends the message in the scratch buffer, or lets it wait in the next pack.
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    fn send_scratch(&mut self, terms: &Terms, place: Packed, may_wait: bool) -> Result<Sent, Box<Failed>> {
        let scratch = self.open.as_mut().map(|open| std::mem::take(&mut open.scratch));
        let mut datagram = scratch.unwrap_or_default();
        let sent = if place == Packed::PackFull {
            self.flush();
            self.gather(&datagram[HEADER_LEN..], terms);
            Ok(Sent::Queued)
        } else if may_wait && self.gather_large(&datagram[HEADER_LEN..], terms) {
            Ok(Sent::Queued)
        } else {
            self.send_one(terms, &mut datagram)
        };
        if let Some(open) = &mut self.open {
            open.scratch = datagram;
        }
        sent
    }
}
