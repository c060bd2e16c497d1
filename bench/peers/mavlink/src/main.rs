//! MAVLink 2 over UDP with the crate `mavlink`: TUNNEL messages with sequence number and checksum.
//!
//! Receiving has no time limit. If an answer is lost, the runner ends the run.

use std::convert::Infallible;
use std::net::{SocketAddr, UdpSocket};
use std::process::ExitCode;

use mavlink::dialects::common::{MavMessage, MavTunnelPayloadType, TUNNEL_DATA};
use mavlink::error::MessageWriteError;
use mavlink::{MavConnection, MavHeader};
use method::{Count, Latency, Outcome, Peer, Ready, Throughput};

/// The largest payload of a TUNNEL message.
const CAPACITY: usize = 128;

struct Mavlink;

fn main() -> ExitCode {
    method::main::<Mavlink>()
}

impl Peer for Mavlink {
    fn echo(_: &str, ready: Ready) -> Outcome<Infallible> {
        let connection = listen(ready)?;
        loop {
            let (_, message) = connection.recv()?;
            connection.send(&MavHeader::default(), &message)?;
        }
    }

    fn sink(_: &str, ready: Ready, received: &'static Count) -> Outcome<Infallible> {
        let connection = listen(ready)?;
        loop {
            connection.recv()?;
            received.add(1);
        }
    }

    fn latency(_: &str, to: &str, run: &mut Latency) -> Outcome<()> {
        let connection = open(&format!("udpout:{to}"))?;
        while let Some(message) = run.next() {
            connection.send(&MavHeader::default(), &tunnel(message)?)?;
            while !matches!(connection.recv()?, (_, MavMessage::TUNNEL(data)) if run.answer(content(&data))) {
            }
        }
        Ok(())
    }

    fn throughput(_: &str, to: &str, run: &mut Throughput) -> Outcome<()> {
        let connection = open(&format!("udpout:{to}"))?;
        let message = tunnel(run.message())?;
        while run.more() {
            match connection.send(&MavHeader::default(), &message) {
                Ok(_) => {}
                Err(MessageWriteError::Io(_)) => run.refused(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Finds a free port first, because the crate does not report the port that it got.
fn listen(ready: Ready) -> Outcome<impl MavConnection<MavMessage> + use<>> {
    let address = UdpSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?.local_addr()?;
    let connection = open(&format!("udpin:{address}"))?;
    ready.at(address);
    Ok(connection)
}

fn open(address: &str) -> Outcome<impl MavConnection<MavMessage> + use<>> {
    Ok(mavlink::connect::<MavMessage>(address)?)
}

fn tunnel(message: &[u8]) -> Outcome<MavMessage> {
    let mut payload = [0; CAPACITY];
    payload.get_mut(..message.len()).ok_or("TUNNEL holds 128 bytes")?.copy_from_slice(message);
    Ok(MavMessage::TUNNEL(TUNNEL_DATA {
        payload_type: MavTunnelPayloadType::MAV_TUNNEL_PAYLOAD_TYPE_UNKNOWN,
        target_system: 0,
        target_component: 0,
        payload_length: u8::try_from(message.len())?,
        payload,
    }))
}

fn content(data: &TUNNEL_DATA) -> &[u8] {
    &data.payload[..usize::from(data.payload_length).min(CAPACITY)]
}
