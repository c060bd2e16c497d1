//! Messages to test with.

use crate::sync::Arc;
use std::borrow::Cow;
use std::time::{Duration, Instant};

use tautline_proto::Now;
use tautline_proto::endpoint::{EndpointConfig, Event, Role, Start, WireFormat, endpoint};
use tautline_proto::json::JsonLimits;
use tautline_proto::wire::classic::{self, ClassicFormat};

use crate::message::{Arrival, Message};
use crate::{ContentType, Delivery, Id, MessageRef, MessageType, PeerId, Priority, WallTime};

/// An arrival from nobody in particular.
pub(crate) fn arrival() -> Arrival {
    Arrival {
        peer: PeerId::none(),
        address: ([127, 0, 0, 1], 9000).into(),
        time: WallTime::default(),
        made: Instant::now(),
        late: false,
    }
}

/// A message numbered `number` in id and payload.
pub(crate) fn numbered(number: u64, priority: Priority) -> MessageRef<'static> {
    MessageRef {
        message_type: MessageType::Data,
        priority,
        channel: 0,
        timestamp: WallTime::from_nanos(1),
        message_id: Id::Number(number),
        source: Cow::Borrowed("plant"),
        destination: None,
        correlation_id: None,
        delivery: Delivery::BestEffort,
        lifespan: None,
        content_type: ContentType::Raw,
        payload: b"payload",
    }
}

/// The number that `numbered` was given.
pub(crate) fn number_of(message: &Message) -> u64 {
    match message.message_id() {
        Id::Number(number) => number,
        Id::Text(_) => panic!("not made by `numbered`"),
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

/// A client of the classic wire. Those who need another endpoint say what is different.
pub(crate) fn endpoint_config() -> EndpointConfig {
    EndpointConfig {
        role: Role::Client,
        wire: WireFormat::Classic(ClassicFormat::default()),
        name: String::new(),
        max_peers: 1,
        heartbeat_interval: Duration::from_secs(1),
        liveness_timeout: Duration::from_secs(1),
        peer_expiry: Duration::from_secs(1),
        max_message_size: 1000,
        datagram_size: 1452,
        max_tries: 20,
        json: JsonLimits::default(),
        check_payload: Arc::new(|_, _| Ok(())),
    }
}

/// A peer of its own: only endpoints give out ids, so one is made, and calls a server of the classic wire.
pub(crate) fn peer(number: u32) -> PeerId {
    let start = Start { peers_before: number, ..Start::default() };
    let (mut inbound, _) = endpoint(endpoint_config(), start);
    inbound.dial(arrival().address, Now::default());
    match inbound.poll_event(Now::default()) {
        Some(Event::Added(peer)) => peer.id,
        other => panic!("no peer: {other:?}"),
    }
}
