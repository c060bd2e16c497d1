//! Compares the datagrams of a secured link with recorded datagrams, byte by byte.
//!
//! A fixed exchange with a fixed key, fixed times and seeds must produce exactly `data/secured_datagrams.json`, which docs/protocol.md
//! §11 shows. After an intended change, write the file again with `BLESS=1 cargo test -p tautline-proto --all-features --test
//! secured_golden`.

mod support;

use serde::{Deserialize, Serialize};
use support::{Node, address, at, config, plain_head};
use tautline_proto::endpoint::{Role, WireFormat};
use tautline_proto::secure::{Identity, Key, Keys};
use tautline_proto::wire::native::Head;
use tautline_proto::{ContentType, MessageType, Now, Priority, Rights};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/secured_datagrams.json");

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Golden {
    name: String,
    hex: String,
}

/// The key of the exchange: the bytes 0 to 31.
fn key() -> Key {
    Key::from_bytes(core::array::from_fn(|index| u8::try_from(index).expect("below 32")))
}

/// A server at which the holder of the key may send commands and data, and its client.
fn ends() -> (Node, Node) {
    let rights = Rights::NONE.with(MessageType::Command).with(MessageType::Data);
    let mut server = config(Role::Server, WireFormat::Native);
    let identity = Identity::new("controller", [key()]).with_rights(rights);
    server.security = Some(Keys::new([identity]).expect("one key"));
    let mut client = config(Role::Client, WireFormat::Native);
    client.security = Some(Keys::shared(key()));
    (Node::new(9000, server, 1), Node::new(5000, client, 2))
}

fn carry(recorded: &mut Vec<Golden>, name: &str, (from, to): (&mut Node, &mut Node), now: Now) {
    let packet = from.sent.pop_front().unwrap_or_else(|| panic!("somebody sends: {name}"));
    let hex = packet.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    recorded.push(Golden { name: name.into(), hex });
    to.handle(&packet, now);
}

fn run() -> (Vec<Golden>, Node, Node) {
    let (mut server, mut client) = ends();
    let mut recorded = Vec::new();
    client.dial(address(9000), at(0));
    carry(&mut recorded, "secured_hello", (&mut client, &mut server), at(0));
    carry(&mut recorded, "secured_token", (&mut server, &mut client), at(0));
    carry(&mut recorded, "sealed_echo", (&mut client, &mut server), at(1));
    carry(&mut recorded, "sealed_accept", (&mut server, &mut client), at(1));
    carry(&mut recorded, "sealed_heartbeat", (&mut client, &mut server), at(1));
    let head = Head {
        message_type: MessageType::Command,
        priority: Priority::High,
        channel: 3,
        content_type: ContentType::Json,
        ..plain_head(at(2))
    };
    client.send_as(&head, b"[1.5]");
    carry(&mut recorded, "sealed_message", (&mut client, &mut server), at(2));
    server.send_as(&Head { content_type: ContentType::Raw, ..plain_head(at(3)) }, &[0xde, 0xad]);
    carry(&mut recorded, "sealed_message_from_the_server", (&mut server, &mut client), at(3));
    // The network gives the client another address.
    client.address = address(5001);
    server.sent.clear();
    client.send_as(&head, b"[2.5]");
    carry(&mut recorded, "sealed_message_from_another_address", (&mut client, &mut server), at(4));
    carry(&mut recorded, "sealed_challenge", (&mut server, &mut client), at(4));
    assert_eq!(
        server.sent.pop_front().map(|packet| packet.to),
        Some(address(5000)),
        "the old address is asked too"
    );
    carry(&mut recorded, "sealed_answer", (&mut client, &mut server), at(5));
    (recorded, server, client)
}

#[test]
fn exchange_produces_exactly_the_recorded_datagrams() {
    let (recorded, server, client) = run();
    assert_eq!(
        (server.payloads(), client.got.len()),
        (vec![String::from("[1.5]"), String::from("[2.5]")], 1)
    );
    if std::env::var_os("BLESS").is_some() {
        let text = serde_json::to_string_pretty(&recorded).expect("plain values") + "\n";
        std::fs::write(FILE, text).expect("the file can be written");
    }
    let text = std::fs::read_to_string(FILE).expect("the golden datagrams are kept beside the tests");
    let golden: Vec<Golden> = serde_json::from_str(&text).expect("the file as it was written");
    assert_eq!(recorded, golden);
}
