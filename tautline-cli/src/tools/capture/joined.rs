//! Takes apart what a capture shows as one packet, although it is several datagrams. A sender hands many of the same length to the
//! kernel at once, and the kernel or the network card cuts them apart after the place where captures are taken (UDP GSO). At the
//! receiver, they are joined before that place (UDP GRO).

use tautline_proto::DropReason;
use tautline_proto::wire::native::{self, HEADER_LEN};

/// The headers of two such datagrams have so many bytes in common: all but the number.
const IN_COMMON: usize = HEADER_LEN - 4;

/// Returns the datagrams in the payload of a packet. All are as long as the first, but the last may be shorter.
pub(crate) fn datagrams(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    let length = length_of_each(payload).unwrap_or(payload.len());
    let mut left = Some(payload);
    std::iter::from_fn(move || {
        let (datagram, rest) = left?.split_at(length.min(left?.len()));
        left = Some(rest).filter(|rest| !rest.is_empty());
        Some(datagram)
    })
}

/// Returns the length of each of several datagrams. `None` if there is only one.
fn length_of_each(payload: &[u8]) -> Option<usize> {
    // A CRC that is right is that of one datagram. Those that are sealed have none.
    let may_be_several =
        native::is_sealed(payload) || matches!(native::parse(payload), Err(DropReason::BadCrc));
    let header = payload.get(..IN_COMMON).filter(|_| may_be_several)?;
    let length = (HEADER_LEN..payload.len()).find(|at| payload[*at..].starts_with(header))?;
    payload.chunks(length).all(|datagram| datagram.starts_with(header)).then_some(length)
}
