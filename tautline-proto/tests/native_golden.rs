//! Compares the datagrams of the native wire with recorded datagrams, byte by byte.
//!
//! A fixed exchange with fixed times and seeds must produce exactly `data/native_datagrams.json`. docs/protocol.md shows some of
//! these datagrams. After an intended change of the wire, write the file again with
//! `BLESS=1 cargo test -p tautline-proto --test native_golden`.

mod support;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;
use support::{Node, address, at, config, plain_head};
use tautline_proto::endpoint::{Role, WireFormat};
use tautline_proto::wire::native::{Frame, Head, begin_datagram, begin_message, finish_message, parse};
use tautline_proto::{ContentType, Delivery, DropReason, Id, MessageRef, MessageType, Now, Priority};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/native_datagrams.json");
/// Written by the test `secured_golden`.
const SECURED_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/secured_datagrams.json");
const PROTOCOL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md");

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Golden {
    name: String,
    hex: String,
    fields: Value,
}

/// The lifespan of a message in the exchange.
const LIFESPAN: Duration = Duration::from_millis(50);

/// The exchange. Each datagram is recorded and carried to the other end.
struct Exchange {
    server: Node,
    client: Node,
    recorded: Vec<Golden>,
}

impl Exchange {
    fn new() -> Self {
        let server = Node::new(9000, config(Role::Server, WireFormat::Native), 1);
        let client = Node::new(5000, config(Role::Client, WireFormat::Native), 2);
        Self { server, client, recorded: Vec::new() }
    }

    fn carry_to_server(&mut self, name: &str, now: Now) {
        let packet = self.client.sent.pop_front().unwrap_or_else(|| panic!("the client sends: {name}"));
        self.recorded.push(golden(name, &packet.bytes));
        self.server.handle(&packet, now);
    }

    fn carry_to_client(&mut self, name: &str, now: Now) {
        let packet = self.server.sent.pop_front().unwrap_or_else(|| panic!("the server sends: {name}"));
        self.recorded.push(golden(name, &packet.bytes));
        self.client.handle(&packet, now);
    }

    fn connect(&mut self) {
        self.client.dial(address(9000), at(0));
        self.carry_to_server("hello", at(0));
        self.carry_to_client("token", at(0));
        self.carry_to_server("echo", at(1));
        self.carry_to_client("accept", at(1));
    }

    fn exchange_messages(&mut self) {
        let head = Head {
            message_type: MessageType::Command,
            priority: Priority::High,
            channel: 3,
            content_type: ContentType::Json,
            ..plain_head(at(2))
        };
        self.client.send_as(&head, b"[1.5]");
        self.carry_to_server("message", at(2));
        let head = Head {
            message_id: Some(&Id::from("m-1")),
            source: Some("rig"),
            destination: Some("hmi"),
            correlation_id: Some(&Id::Number(4096)),
            content_type: ContentType::Raw,
            ..plain_head(at(3))
        };
        self.server.send_as(&head, &[0xde, 0xad]);
        self.carry_to_client("message_with_all_fields", at(3));
        self.send_packed();
        self.carry_to_server("two_messages_and_padding", at(4));
    }

    fn send_packed(&mut self) {
        let mut datagram = Vec::new();
        begin_datagram(&mut datagram);
        for payload in [b"1", b"2"] {
            let start = begin_message(&mut datagram, &plain_head(at(4))).expect("no texts");
            datagram.extend_from_slice(payload);
            assert!(finish_message(&mut datagram, start));
        }
        datagram.extend_from_slice(&[0; 6]);
        let peer = self.client.outbound.peers()[0];
        self.client.send_datagram(peer, datagram, 2);
    }

    fn send_heartbeats(&mut self) {
        self.server.tick(at(10));
        self.carry_to_client("heartbeat_without_echo", at(11));
        self.client.tick(at(105));
        self.carry_to_server("heartbeat_with_echo", at(106));
    }

    fn close(&mut self) {
        let mut restarted = Node::new(9000, config(Role::Server, WireFormat::Native), 7);
        self.client.close();
        let close = self.client.sent[0].clone();
        restarted.handle(&close, at(200));
        let notice = restarted.sent.pop_front().expect("a notice");
        self.carry_to_server("close", at(200));
        self.recorded.push(golden("unknown_session", &notice.bytes));
    }

    /// Sends reliable messages, one of them in fragments, in a new session.
    fn deliver(&mut self) {
        let mut link = Self::new();
        link.connect();
        link.recorded.clear();
        let ordered = |now: Now| Head { delivery: Delivery::Ordered, ..plain_head(now) };
        for (name, payload) in [("ordered_message", b"[1.5]"), ("ordered_message_behind_another", b"[2.5]")] {
            link.client.offer(&ordered(at(2)), payload, at(2)).expect("room");
            link.carry_to_server(name, at(2));
        }
        // The second acknowledgement, which covers both messages.
        let last = link.server.sent.pop_back().expect("it answers at once");
        link.server.sent = [last].into();
        link.carry_to_client("acknowledgement", at(2));
        let head = Head { delivery: Delivery::Reliable, lifespan: Some(LIFESPAN), ..plain_head(at(3)) };
        let expires = Some(at(3).steady.plus(LIFESPAN));
        link.client.offer_until(&head, &[b'7'; 1500], at(3), expires).expect("room");
        link.client.sent.drain(..1);
        let fragment = link.client.sent.pop_front().expect("two fragments");
        self.recorded.append(&mut link.recorded);
        self.recorded.push(golden("fragment", &fragment.bytes));
        link.client.tick(at(60));
        let forward = link.client.sent.pop_front().expect("it is abandoned");
        self.recorded.push(golden("forward", &forward.bytes));
    }

    /// Probes the size of the path.
    fn probe(&mut self) {
        let mut settings = config(Role::Client, WireFormat::Native);
        settings.datagram_size = 1_204;
        let mut link = Exchange { client: Node::new(5000, settings, 2), ..Self::new() };
        link.connect();
        link.recorded.clear();
        link.server.sent.clear();
        link.client.tick(at(105));
        link.carry_to_server("probe", at(106));
        link.carry_to_server("heartbeat_that_names_a_probe", at(106));
        link.carry_to_client("heartbeat_that_answers_a_probe", at(107));
        let peer = link.client.outbound.peers()[0];
        assert_eq!(link.client.outbound.datagram_size_to(peer), 1_204);
        self.recorded.append(&mut link.recorded);
    }

    /// Sends a claim, and sends on a stream that another peer owns.
    fn own(&mut self) {
        let mut settings = config(Role::Server, WireFormat::Native);
        settings.owned.set(MessageType::Command, None, Some(Duration::from_millis(100)));
        let mut link = Exchange { server: Node::new(9000, settings, 1), ..Self::new() };
        link.connect();
        link.recorded.clear();
        let plant = link.client.outbound.peers()[0];
        let stream = (MessageType::Command, 3).into();
        link.client.inbound.claim(plant, stream, 1, at(2).steady).expect("begun");
        link.client.tick(at(2));
        link.carry_to_server("claim", at(2));
        link.carry_to_client("granted", at(2));
        // Another client claims the stream, and the first is told.
        let first =
            std::mem::replace(&mut link.client, Node::new(5001, config(Role::Client, WireFormat::Native), 3));
        link.connect();
        let plant = link.client.outbound.peers()[0];
        link.client.inbound.claim(plant, stream, 1, at(3).steady).expect("begun");
        link.client.tick(at(3));
        link.carry_to_server("", at(3));
        link.client = first;
        link.carry_to_client("denied", at(3));
        link.recorded.retain(|golden| ["claim", "granted", "denied"].contains(&&*golden.name));
        self.recorded.append(&mut link.recorded);
    }

    /// Lets a client call a server that has no room for another peer.
    fn refuse(&mut self) {
        let mut settings = config(Role::Server, WireFormat::Native);
        settings.max_peers = 1;
        let mut full = Exchange { server: Node::new(9000, settings, 3), ..Self::new() };
        full.connect();
        full.server.sent.clear();
        full.client = Node::new(5001, config(Role::Client, WireFormat::Native), 4);
        full.client.dial(address(9000), at(0));
        full.carry_to_server("", at(0));
        full.carry_to_client("", at(0));
        full.carry_to_server("", at(0));
        full.carry_to_client("refused", at(0));
        self.recorded.extend(full.recorded.pop());
    }
}

fn golden(name: &str, bytes: &[u8]) -> Golden {
    let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Golden { name: name.into(), hex, fields: fields(bytes) }
}

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits");
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// Returns the fields of a datagram as the reader sees them.
fn fields(datagram: &[u8]) -> Value {
    let (header, frames) = parse(datagram).expect("a good datagram");
    json!({
        "session": header.session.to_string(),
        "sequence": header.sequence,
        "from_server": header.from_server,
        "frames": frames.map(|frame| frame_fields(&frame)).collect::<Vec<_>>(),
    })
}

fn frame_fields(frame: &Frame<'_>) -> Value {
    match frame {
        Frame::Message(message) => message_fields(&message.decode(0, "").expect("a good message")),
        Frame::Heartbeat(heartbeat) => json!({
            "type": "heartbeat", "stamp": heartbeat.stamp, "wall": heartbeat.wall.as_nanos(),
            "echo": heartbeat.echo, "held": heartbeat.held,
        }),
        Frame::Token(token) => json!({ "type": "token", "issued_ms": token.issued_ms, "proof": token.proof }),
        Frame::Echo { token, name } => {
            json!({ "type": "echo", "issued_ms": token.issued_ms, "proof": token.proof, "name": name })
        }
        Frame::Accept(name) => json!({ "type": "accept", "name": name }),
        Frame::Close => json!({ "type": "close" }),
        Frame::Hello => json!({ "type": "hello" }),
        Frame::UnknownSession => json!({ "type": "unknown_session" }),
        Frame::Refused => json!({ "type": "refused" }),
        Frame::Fragment(_) => json!({ "type": "fragment" }),
        Frame::Ack(ack) => json!({ "type": "acknowledgement", "base": ack.base, "bitmap": ack.bitmap }),
        Frame::Forward(base) => json!({ "type": "forward", "base": base }),
        Frame::PathProbe(probe) => json!({
            "type": "path_probe", "size": probe.size, "asks": probe.asks, "arrived": probe.arrived, "named": probe.named,
        }),
        Frame::Ownership(ownership) => json!({
            "type": "ownership", "act": format!("{:?}", ownership.act).to_lowercase(),
            "message_type": ownership.stream.message_type.name(), "channel": ownership.stream.channel,
            "number": ownership.number, "period": ownership.period,
        }),
        _ => json!({ "type": "unknown" }),
    }
}

fn message_fields(message: &MessageRef<'_>) -> Value {
    json!({
        "type": "message",
        "message_type": message.message_type.name(),
        "priority": message.priority.name(),
        "channel": message.channel,
        "timestamp": message.timestamp.as_nanos(),
        "message_id": message.message_id.to_string(),
        "source": message.source,
        "destination": message.destination,
        "correlation_id": message.correlation_id.as_ref().map(ToString::to_string),
        "content_type": message.content_type.name(),
        "payload": String::from_utf8_lossy(message.payload),
    })
}

fn run() -> Exchange {
    let mut exchange = Exchange::new();
    exchange.connect();
    exchange.exchange_messages();
    exchange.send_heartbeats();
    exchange.close();
    exchange.refuse();
    exchange.deliver();
    exchange.own();
    exchange.probe();
    exchange
}

fn read_file() -> Vec<Golden> {
    let text = std::fs::read_to_string(FILE).expect("the golden datagrams are kept beside the tests");
    serde_json::from_str(&text).expect("the file as it was written")
}

#[test]
fn exchange_produces_exactly_the_recorded_datagrams() {
    let recorded = run().recorded;
    if std::env::var_os("BLESS").is_some() {
        let text = serde_json::to_string_pretty(&recorded).expect("plain values") + "\n";
        std::fs::write(FILE, text).expect("the file can be written");
    }
    let golden = read_file();
    assert_eq!(recorded.len(), golden.len());
    for (recorded, golden) in recorded.iter().zip(&golden) {
        assert_eq!(recorded, golden);
    }
}

#[test]
fn messages_of_the_exchange_are_delivered() {
    let exchange = run();
    assert_eq!(exchange.server.payloads(), ["[1.5]", "1", "2"]);
    assert_eq!(exchange.server.got[0].source, "controller");
    // Default ids: the datagram's number times 4096, and the message's place in it (§4.2).
    let ids: Vec<_> = exchange.server.got.iter().map(|got| got.id.as_str()).collect();
    assert_eq!(ids, ["4096", "8192", "8193"]);
    let got = &exchange.client.got[0];
    assert_eq!((got.id.as_str(), got.source.as_str(), &got.payload[..]), ("m-1", "rig", &[0xde, 0xad][..]));
}

#[test]
fn recorded_datagrams_are_read_with_the_recorded_fields() {
    for golden in read_file() {
        assert_eq!(fields(&bytes(&golden.hex)), golden.fields, "{}", golden.name);
    }
}

#[test]
fn every_kind_of_frame_was_recorded() {
    let text = std::fs::read_to_string(FILE).expect("the golden datagrams are kept beside the tests");
    let kinds = [
        "hello",
        "token",
        "echo",
        "accept",
        "close",
        "heartbeat",
        "unknown_session",
        "refused",
        "message",
        "fragment",
        "acknowledgement",
        "forward",
        "ownership",
        "path_probe",
    ];
    for kind in kinds {
        assert!(text.contains(&format!("\"type\": \"{kind}\"")), "{kind}");
    }
}

/// Returns the hex dumps of docs/protocol.md: a line `golden: NAME`, then lines `OFFSET  BYTES  MEANING`.
fn dumps(text: &str) -> Vec<(String, String)> {
    let mut dumps: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("golden: ") {
            dumps.push((name.trim().into(), String::new()));
        } else if let (Some((_, hex)), [_, _, _, _, b' ', b' ', rest @ ..]) =
            (dumps.last_mut(), line.as_bytes())
            && line[..4].bytes().all(|byte| byte.is_ascii_hexdigit())
        {
            let rest = std::str::from_utf8(rest).expect("cut at ASCII");
            assert_eq!(line[..4], format!("{:04x}", hex.len() / 2), "the offset of {line}");
            let bytes = rest.split("  ").next().expect("at least one column");
            hex.extend(bytes.chars().filter(|c| *c != ' '));
        }
    }
    dumps
}

#[test]
fn specification_explains_every_drop_reason() {
    let text = std::fs::read_to_string(PROTOCOL).expect("docs/protocol.md");
    for reason in DropReason::ALL {
        let row = format!("| `{reason}` | ");
        assert!(
            text.lines().any(|line| line.starts_with(&row) && line.contains(reason.explanation())),
            "{reason}"
        );
    }
}

#[test]
fn specification_shows_recorded_datagrams() {
    let recorded = [FILE, SECURED_FILE].map(|file| {
        let text = std::fs::read_to_string(file).expect("the golden datagrams are kept beside the tests");
        serde_json::from_str::<Vec<Value>>(&text).expect("the file as it was written")
    });
    let text = std::fs::read_to_string(PROTOCOL).expect("docs/protocol.md");
    let dumps = dumps(&text);
    assert!(dumps.len() >= 4, "{} dumps", dumps.len());
    for (name, hex) in dumps {
        let golden = recorded.iter().flatten().find(|golden| golden["name"] == *name);
        assert_eq!(Some(&*hex), golden.and_then(|golden| golden["hex"].as_str()), "{name}");
    }
}
