//! Reads datagrams of the classic wire, whatever their settings. docs/protocol.md §8

use std::time::Duration;

use tautline::{DropReason, WallTime};
use tautline_proto::json::JsonLimits;
use tautline_proto::wire::classic::{ClassicFormat, is_crc, open, read_envelope};

use super::way::{Order, Way};
use super::{Passing, Seen, What, native};

/// A time stamp that is further from our clock than this is none of a wall clock.
const WALL_CLOCK: Duration = Duration::from_secs(60);

/// Reads a datagram, and shows what is in it.
pub(super) fn read(passing: &Passing<'_>, from_server: bool, way: &mut Way, show: &mut dyn FnMut(&Seen<'_>)) {
    let mut seen = |number, order, what| show(&Seen { passing: *passing, from_server, number, order, what });
    let Some((sequence, envelope)) = opened(passing.bytes) else {
        let reason = if looks_classic(passing.bytes) { DropReason::BadCrc } else { DropReason::NotTautline };
        way.wrong.add(reason, 1);
        return seen(None, Order::Unnumbered, What::Wrong(reason));
    };
    let mut scratch = Vec::new();
    match read_envelope(envelope, &JsonLimits::default(), &mut scratch) {
        Ok(message) => {
            let taken = sequence.map(|low| way.take_classic_number(low, message.stamp(), passing.at));
            let (number, order) =
                taken.map_or((None, Order::Unnumbered), |(number, order)| (Some(number), order));
            let message = native::view(&message, passing, age(message.timestamp, passing.at));
            if !matches!(order, Order::Duplicate | Order::Old) {
                way.count_message(message.age);
            }
            seen(number, order, What::Message { message: &message, is_again: false });
        }
        Err(reason) => {
            way.wrong.add(reason, 1);
            seen(None, Order::Unnumbered, What::Wrong(reason));
        }
    }
}

/// Returns the number and the envelope, with the settings that the datagram shows.
fn opened(datagram: &[u8]) -> Option<(Option<u32>, &[u8])> {
    let formats = [(true, true), (true, false), (false, true), (false, false)];
    let formats = formats.map(|(use_crc, use_sequence)| ClassicFormat { use_crc, use_sequence });
    formats.into_iter().find_map(|format| {
        let (sequence, envelope) = open(datagram, format).ok()?;
        let is_json = envelope.first() == Some(&b'{');
        // A CRC in the place of the number belongs to the format with a CRC alone, which is tried before.
        let is_number = sequence.is_none_or(|sequence| format.use_crc || !is_crc(sequence, envelope));
        (is_json && is_number).then_some((sequence, envelope))
    })
}

fn looks_classic(datagram: &[u8]) -> bool {
    [0, 4, 8].iter().any(|&at| datagram.get(at..).is_some_and(|rest| rest.starts_with(b"{\"")))
}

/// Returns the age by the clocks of sender and this machine, which nothing on this wire compares. `None` if the time stamp is none
/// of a wall clock.
fn age(stamp: WallTime, at: WallTime) -> Option<Duration> {
    let age = Duration::from_nanos(u64::try_from(at.nanos_since(stamp)).ok()?);
    (age <= WALL_CLOCK).then_some(age)
}
