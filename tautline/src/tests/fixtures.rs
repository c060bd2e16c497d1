//! Fixtures of the tests: messages, arrivals, peers.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tautline_proto::Now;
use tautline_proto::endpoint::{EndpointConfig, Event, Role, Start, WireFormat, endpoint};
use tautline_proto::wire::classic::{self, ClassicFormat};

use crate::message::parts::Parts;
use crate::message::{Arrival, Message};
use crate::{ContentType, Id, PeerId, Priority, WallTime};
use tautline_proto::MessageRef;

/// An arrival now, from no peer.
pub(crate) fn arrival() -> Arrival {
    Arrival {
        peer: PeerId::none(),
        address: ([127, 0, 0, 1], 9000).into(),
        time: WallTime::default(),
        made: Instant::now(),
        late: false,
    }
}

/// The parts of a message that is gone, with room for so many bytes.
pub(crate) fn with_room(bytes: usize) -> Box<Parts> {
    let mut parts = Parts::empty(arrival());
    parts.bytes.reserve_exact(bytes);
    parts
}

/// A message with the id `number`.
pub(crate) fn numbered(number: u64, priority: Priority) -> MessageRef<'static> {
    MessageRef::new(ContentType::Raw, b"payload")
        .with_priority(priority)
        .with_timestamp(WallTime::from_nanos(1))
        .with_message_id(Id::Number(number))
        .with_source(Cow::Borrowed("plant"))
}

/// The number of a message that `numbered` made.
pub(crate) fn number_of(message: &Message) -> u64 {
    match message.message_id() {
        Id::Number(number) => number,
        _ => panic!("not made by `numbered`"),
    }
}

/// The classic wire with both of its checks.
pub(crate) const CLASSIC: ClassicFormat = ClassicFormat { use_crc: true, use_sequence: true };

/// A message on the [`CLASSIC`] wire.
pub(crate) fn classic_datagram() -> Vec<u8> {
    const ENVELOPE: &[u8] = br#"{"metadata": {"message_id": "m", "timestamp": 1.0, "message_type": "data", "priority": 2, "source": "s"}, "data": 1}"#;
    let mut datagram = vec![0; CLASSIC.prefix_len()];
    datagram.extend_from_slice(ENVELOPE);
    classic::seal(&mut datagram, CLASSIC, 0);
    datagram
}

/// The configuration of a client on the classic wire. Tests change what they need.
pub(crate) fn endpoint_config() -> EndpointConfig {
    let mut config = EndpointConfig::new(Role::Client, WireFormat::Classic(ClassicFormat::default()));
    config.max_peers = 1;
    config.heartbeat_interval = Duration::from_secs(1);
    config.liveness_timeout = Duration::from_secs(1);
    config.peer_expiry = Duration::from_secs(1);
    config.max_message_size = 1000;
    config
}

/// Returns the ids of peers of one server, each in a place of its own.
pub(crate) fn peers<const N: usize>() -> [PeerId; N] {
    let mut config = endpoint_config();
    config.role = Role::Server;
    config.wire = WireFormat::Classic(CLASSIC);
    config.max_peers = N;
    let (mut inbound, _) = endpoint(config, Start::default());
    std::array::from_fn(|index| {
        let port = u16::try_from(index + 1).expect("few peers");
        let from = SocketAddr::from(([10, 0, 0, 1], port));
        let datagram = classic_datagram();
        inbound.handle(Now::default(), from, &datagram, &mut Vec::new()).expect("it is in order").peer()
    })
}

/// Returns a new peer id. Only endpoints make ids, so this makes a client endpoint that calls a server.
pub(crate) fn peer(number: u32) -> PeerId {
    let start = Start { peers_before: number, ..Start::default() };
    let (mut inbound, _) = endpoint(endpoint_config(), start);
    inbound.dial(arrival().address, Now::default());
    match inbound.poll_event(Now::default()) {
        Some(Event::Added(peer)) => peer.id,
        other => panic!("no peer: {other:?}"),
    }
}
