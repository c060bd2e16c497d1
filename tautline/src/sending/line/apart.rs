//! The line's part in messages that do not share datagrams (`coalescing_delay = 0s`), but wait together because several threads send:
//! one system call sends those that are equally long, each in a datagram of its own.

use tautline_proto::wire::native::{HEADER_LEN, TRAILER_LEN};

use super::{Line, Open};
use crate::sending::job::Terms;

impl Line {
    /// Lets a message of the backlog wait for those behind it. Returns `false` if it must be sent alone.
    #[inline(never)]
    pub(super) fn gather_apart(&mut self, datagram: &[u8], terms: &Terms) -> bool {
        let Some(open) = &mut self.open else { return false };
        let size = datagram.len() + TRAILER_LEN;
        if !open.coalescer.is_off() || terms.is_urgent() || !open.goes_in_a_pack(terms, size) {
            return false;
        }
        let frame = &datagram[HEADER_LEN..];
        let push = |open: &mut Open| {
            open.coalescer.datagram_size() == size
                && open.coalescer.is_for(&terms.target)
                && open.coalescer.push(frame, terms)
        };
        if self.open.as_mut().is_some_and(push) {
            return true;
        }
        self.flush();
        let Some(open) = &mut self.open else { return false };
        open.coalescer.set_datagram_size(size);
        push(open)
    }
}

impl Open {
    /// Whether a message may be sent in one call with others, in a datagram of this size.
    fn goes_in_a_pack(&mut self, terms: &Terms, size: usize) -> bool {
        // This also sets the size of an empty pack to that of the path, which the caller changes.
        self.may_pack(&terms.target) && size <= self.datagram_size_to(terms.target)
    }
}
