//! Helpers that the tests of the whole interface share: connected pairs over loopback, a classic peer made of a bare
//! socket, bounded waits.

#![allow(dead_code)] // no test file uses all helpers

pub(crate) mod watchdogs;

use std::cell::Cell;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Once;
use std::time::{Duration, Instant};

use serde::Serialize;
use tautline::{
    Config, EncodeError, Message, MessageType, Payload, Qos, ReceiveError, UdpInterface, Wire,
    create_udp_client, create_udp_server,
};
use tautline_proto::wire::classic::{self, ClassicFormat};

/// The time-out of every wait in the tests, longer than any of them takes. What has not happened by then is a failure.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(20);

/// Both wires.
pub(crate) const WIRES: [Wire; 2] = [Wire::Native, Wire::Classic];

/// Returns the configuration of a server on a free port of loopback. Every command waits for its reader, as every other
/// message does: by default only the newest of a stream does.
pub(crate) fn server_config(wire: Wire) -> Config {
    keeping_all(Config::server("127.0.0.1:0").name("plant").wire(wire))
}

/// Returns the configuration of a client of `server`. Every command waits for its reader.
pub(crate) fn client_config(server: &UdpInterface) -> Config {
    let wire = server.config().settings().expect("it is connected").wire;
    keeping_all(Config::client(address(server)).name("controller").wire(wire))
}

/// Lets every command wait for its reader.
pub(crate) fn keeping_all(config: Config) -> Config {
    config.qos(MessageType::Command, Qos::new().keep_all())
}

/// Returns a connected server.
pub(crate) fn server(config: Config) -> UdpInterface {
    let server = create_udp_server(config).expect("a valid configuration");
    server.connect().expect("a free port");
    server
}

/// Returns a connected client.
pub(crate) fn client(config: Config) -> UdpInterface {
    let client = create_udp_client(config).expect("a valid configuration");
    client.connect().expect("the server answers");
    client
}

/// Returns a server and its client, both connected.
pub(crate) fn pair(wire: Wire) -> (UdpInterface, UdpInterface) {
    let server = server(server_config(wire));
    let client = client(client_config(&server));
    (server, client)
}

/// Returns the address of a connected interface.
pub(crate) fn address(interface: &UdpInterface) -> SocketAddr {
    interface.local_address().expect("connected")
}

/// Returns the next message. Panics if none comes.
pub(crate) fn next(interface: &UdpInterface) -> Message {
    interface.receive(Some(TIME_LIMIT)).expect("a message comes")
}

/// Returns the next message as a number. Panics if none comes.
pub(crate) fn next_number(interface: &UdpInterface) -> u64 {
    next(interface).decode().expect("a number was sent")
}

/// Checks that no message waits in the inbox.
pub(crate) fn assert_nothing_waits(interface: &UdpInterface) {
    assert_eq!(interface.receive(Some(Duration::ZERO)).map(drop), Err(ReceiveError::TimedOut));
}

/// Waits until `is_so` returns true. Panics with `what` if that takes too long.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIME_LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "timed out, waiting until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A classic peer made of a bare socket. The test chooses everything that it sends, sequence numbers included.
pub(crate) struct RawPeer {
    pub(crate) socket: UdpSocket,
    to: SocketAddr,
}

impl RawPeer {
    /// Returns a peer that sends to this server.
    pub(crate) fn of(server: &UdpInterface) -> Self {
        Self::towards(address(server))
    }

    /// Returns a peer that sends to this address.
    pub(crate) fn towards(to: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.set_read_timeout(Some(TIME_LIMIT)).expect("a positive time");
        Self { socket, to }
    }

    /// Sends a command with this sequence number, this time stamp in seconds, and these data as JSON.
    pub(crate) fn command(&self, number: u32, made: f64, data: &str) {
        self.send(&sealed(number, made, data));
    }

    /// Sends these bytes.
    pub(crate) fn send(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.to).expect("loopback takes everything");
    }

    /// Returns the sequence number of the next datagram that arrives here.
    pub(crate) fn read_number(&self) -> u32 {
        let mut buffer = [0; 2048];
        let len = self.socket.recv(&mut buffer).expect("a datagram comes");
        assert!(len >= 8, "no prefix");
        u32::from_be_bytes([buffer[4], buffer[5], buffer[6], buffer[7]])
    }
}

/// Returns a classic datagram that holds a command.
pub(crate) fn sealed(number: u32, made: f64, data: &str) -> Vec<u8> {
    let envelope = format!(
        r#"{{"metadata": {{"message_id": "raw_{number}", "timestamp": {made:?}, "message_type": "command", "priority": 2, "source": "raw", "destination": null, "correlation_id": null}}, "data": {data}}}"#
    );
    sealed_bytes(number, envelope.as_bytes())
}

/// Returns a classic datagram that holds these bytes in place of the envelope.
pub(crate) fn sealed_bytes(number: u32, envelope: &[u8]) -> Vec<u8> {
    let format = ClassicFormat::default();
    let mut datagram = vec![0; format.prefix_len()];
    datagram.extend_from_slice(envelope);
    classic::seal(&mut datagram, format, number);
    datagram
}

thread_local! {
    /// The number of lines that were logged on this thread.
    static LINES: Cell<u64> = const { Cell::new(0) };
}

/// Returns the number of lines that the library logs on this thread while `act` runs.
pub(crate) fn lines_logged(act: impl FnOnce()) -> u64 {
    // There is one subscriber for the whole program. With a subscriber for each thread, tracing would turn off a line for
    // all threads if the first thread that reaches it has no subscriber.
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| tracing::subscriber::set_global_default(CountingSubscriber).expect("the first"));
    tracing::callsite::rebuild_interest_cache();
    let before = LINES.get();
    act();
    LINES.get() - before
}

/// A subscriber that counts the lines of each thread.
struct CountingSubscriber;

impl tracing::Subscriber for CountingSubscriber {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        LINES.set(LINES.get() + 1);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// The function of a codec that encodes a value as a payload.
pub(crate) type Encode<T> = fn(&T) -> Result<Payload, EncodeError>;

/// Returns the functions of the codecs in this build.
pub(crate) fn codecs<T: Serialize>() -> Vec<Encode<T>> {
    vec![
        Payload::json::<T>,
        #[cfg(feature = "msgpack")]
        Payload::msgpack::<T>,
        #[cfg(feature = "cbor")]
        Payload::cbor::<T>,
    ]
}
