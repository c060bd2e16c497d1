//! Reads datagrams of the native wire. docs/protocol.md §2 to §7, §11.3

use tautline::{Delivery, DropReason};
use tautline_proto::MessageRef;
use tautline_proto::wire::native::{self, Fragment, Frame, Frames, Header, MessageFrame};

use super::way::{Order, Way};
use super::{Passing, Seen, What, describe};
use tautline::recording::{MessageView, canonical};

/// Whether a server sent the datagram, if it says so.
pub(super) fn from_server(datagram: &[u8]) -> Option<bool> {
    if native::is_sealed(datagram) {
        return native::parse_sealed(datagram).ok().map(|sealed| sealed.header.from_server);
    }
    native::parse(datagram).ok().map(|(header, _)| header.from_server)
}

/// Reads a datagram, and shows what is in it.
pub(super) fn read(
    passing: &Passing<'_>,
    from_server: bool,
    way: &mut Way,
    other: &Way,
    show: &mut dyn FnMut(&Seen<'_>),
) {
    let mut reading =
        Reading { passing, from_server, way, other, number: None, order: Order::Unnumbered, show };
    if native::is_sealed(passing.bytes) {
        match native::parse_sealed(passing.bytes) {
            Ok(sealed) => reading.sealed(sealed.header, sealed.phase),
            Err(reason) => reading.wrong(reason),
        }
        return;
    }
    match native::parse(passing.bytes) {
        Ok((header, frames)) => reading.frames(header, &frames),
        Err(reason) => reading.wrong(reason),
    }
}

/// The datagram that is being read.
struct Reading<'a, 'p> {
    passing: &'a Passing<'p>,
    from_server: bool,
    way: &'a mut Way,
    other: &'a Way,
    number: Option<u64>,
    order: Order,
    show: &'a mut dyn FnMut(&Seen<'_>),
}

/// The bytes around the frames of a sealed datagram: the header and the tag.
const SEALED_AROUND: usize = native::HEADER_LEN + 16;

impl Reading<'_, '_> {
    fn sealed(&mut self, header: Header, phase: bool) {
        self.way.sealed += 1;
        self.take_number(header);
        self.show(What::Sealed { phase, length: self.passing.bytes.len() - SEALED_AROUND });
    }

    fn take_number(&mut self, header: Header) {
        let (number, order) = self.way.take_number(header.session, header.sequence, self.passing.at);
        (self.number, self.order) = (Some(number), order);
    }

    fn frames(&mut self, header: Header, frames: &Frames<'_>) {
        let first = frames.clone().next();
        if first.as_ref().is_none_or(|frame| !frame.is_unnumbered()) {
            self.take_number(header);
        }
        let mut place = 0;
        let mut controls = Vec::new();
        for frame in frames.clone() {
            match &frame {
                Frame::Message(message) => {
                    self.message(*message, place);
                    place += 1;
                }
                Frame::Fragment(fragment) => self.fragment(fragment),
                Frame::Echo { name, .. } | Frame::Accept(name) => {
                    self.way.name = (*name).to_owned();
                }
                Frame::Heartbeat(heartbeat) => {
                    self.way.clock.take(heartbeat, self.passing.at, &self.other.clock);
                }
                Frame::PathProbe(probe) if probe.named != 0 => self.way.excuse(probe.named),
                _ => {}
            }
            controls.extend(describe::control(&frame, self.way.clock.round_trip));
        }
        if !controls.is_empty() {
            self.show(What::Control(controls.join(", ")));
        }
    }

    /// Shows a message. `place` is its place among the messages of its datagram.
    fn message(&mut self, frame: MessageFrame<'_>, place: u64) {
        let id = match frame.delivery_number() {
            Some(number) => (1 << 63) + u64::from(number),
            None => self.number.unwrap_or(0).wrapping_mul(4096).wrapping_add(place),
        };
        let is_again = frame.delivery_number().is_some_and(|number| self.way.is_again(number));
        self.decoded(frame, id, is_again);
    }

    fn decoded(&mut self, frame: MessageFrame<'_>, default_id: u64, is_again: bool) {
        let name = self.way.name.clone();
        match frame.decode(default_id, &name) {
            Ok(message) => {
                let message = self.view(&message);
                if !is_again && !matches!(self.order, Order::Duplicate | Order::Old) {
                    self.way.count_message(message.age);
                }
                self.show(What::Message { message: &message, is_again });
            }
            Err(reason) => self.wrong(reason),
        }
    }

    /// Takes a fragment, and shows the message that it completes.
    fn fragment(&mut self, fragment: &Fragment<'_>) {
        // docs/protocol.md §4.5: each fragment of a reliable message has a delivery number of its own.
        let is_reliable = fragment.delivery != Delivery::BestEffort;
        let own_number = fragment.number().wrapping_add(fragment.index.into());
        let is_again = is_reliable && self.way.is_again(own_number);
        let whole = if is_again { None } else { self.way.pieces.take(fragment) };
        self.show(What::Control(format!(
            "fragment {} of {}{}",
            fragment.index + 1,
            fragment.count,
            if is_again { " again" } else { "" }
        )));
        if let Some(body) = whole {
            let kind = if is_reliable { 1 << 63 } else { 1 << 62 };
            let id = kind + u64::from(fragment.number());
            self.decoded(MessageFrame::of_fragments(fragment.flags, &body), id, false);
        }
    }

    fn view<'m>(&self, message: &'m MessageRef<'m>) -> MessageView<'m> {
        let at = self.passing.at;
        let age = self.way.clock.greatest_age(message.timestamp, at);
        view(message, self.passing, age)
    }

    fn wrong(&mut self, reason: DropReason) {
        self.way.wrong.add(reason, 1);
        self.show(What::Wrong(reason));
    }

    fn show(&mut self, what: What<'_>) {
        let (passing, from_server) = (*self.passing, self.from_server);
        (self.show)(&Seen { passing, from_server, number: self.number, order: self.order, what });
    }
}

/// Returns a message as it passed by.
pub(super) fn view<'m>(
    message: &'m MessageRef<'m>,
    passing: &Passing<'_>,
    age: Option<std::time::Duration>,
) -> MessageView<'m> {
    MessageView {
        message_type: message.message_type,
        priority: message.priority,
        channel: message.channel,
        stamp: message.stamp(),
        message_id: message.message_id.borrowed(),
        source: message.source.as_deref(),
        destination: message.destination.as_deref(),
        correlation_id: message.correlation_id.as_ref().map(tautline::Id::borrowed),
        delivery: message.delivery,
        lifespan: message.lifespan,
        content_type: message.content_type,
        payload: message.payload,
        peer: canonical(passing.from),
        identity: None, // only the two ends can read a secured link
        received: passing.at,
        age,
    }
}
