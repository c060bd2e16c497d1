//! The short way of a message whose payload is encoded already: nobody's code runs until it is sent, so the line's holder
//! encodes it where it goes, with no job in between.

use tautline_proto::wire::native::{HEADER_LEN, Place};
use tautline_proto::{ContentType, Delivery, Id, WallTime};

use super::{Failed, Line, Target, Terms};
use crate::Wire;
use crate::metadata::Metadata;
use crate::send::Sent;

/// A message whose payload is encoded already.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready<'a> {
    pub(crate) target: Target,
    pub(crate) content_type: ContentType,
    pub(crate) bytes: &'a [u8],
    pub(crate) metadata: &'a Metadata,
    /// The id of the message that it answers.
    pub(crate) answers: Option<&'a Id<'a>>,
    pub(crate) made: WallTime,
}

impl Line {
    /// Sends the message, or lets it wait at the gate; `None` where it has to be handed over as a job.
    #[inline]
    pub(crate) fn send_ready(&mut self, message: &Ready<'_>) -> Option<Result<Sent, Box<Failed>>> {
        let open = self.open.as_mut()?;
        let Ready { target, content_type, bytes, metadata, answers, made } = *message;
        let head = open.link.head(metadata, answers, content_type, made);
        if open.link.wire != Wire::Native || head.delivery != Delivery::BestEffort {
            return None;
        }
        let mut terms =
            Terms { target, priority: head.priority, opening: open.link.opening, made, expires: None };
        terms.expire_after(open.link.time_left(&head, made));
        let waits = open.lets_wait(&terms, false);
        if waits && !open.gate.is_for(&target) {
            self.flush();
        }
        let open = self.open.as_mut()?;
        let mut apart = std::mem::take(&mut open.scratch);
        let link = &open.link;
        let encoded = if waits {
            open.gate
                .write(&terms, &mut apart, |out| link.encode_frame(out, &head, |out| link.append(out, bytes)))
        } else {
            apart.clear();
            link.encode(&mut apart, &head, |out| link.append(out, bytes)).map(|()| Place::Nowhere)
        };
        let sent = encoded.and_then(|place| match place {
            Place::Here => {
                self.flush_if_due();
                Ok(Sent::Queued)
            }
            Place::InTheNext => {
                self.flush();
                self.gather(&apart[HEADER_LEN..], &terms);
                Ok(Sent::Queued)
            }
            Place::Nowhere => self.send_one(&terms, &mut apart),
        });
        if let Some(open) = &mut self.open {
            open.scratch = apart;
        }
        Some(sent)
    }
}
