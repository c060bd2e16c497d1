//! The native wire's handshake with lost, repeated, forged and delayed datagrams. docs/protocol.md §5.

mod support;

use std::borrow::Cow;
use std::time::Duration;

use support::{Node, Packet, address, at, config, plain_head, rx, settle};
use tautline_proto::endpoint::{Event, Outcome, RemovalReason, Role, Start, WireFormat, endpoint};
use tautline_proto::wire::native::{
    Control, Frame, HELLO_LEN, Head, Header, Heartbeat, Token, begin_datagram, begin_message, finish_message,
    parse, seal, write_control,
};
use tautline_proto::{Delivery, DropReason, Now, SessionId, window};

const NATIVE: WireFormat = WireFormat::Native;

fn server() -> Node {
    Node::server(NATIVE)
}

fn client(port: u16, seed: u8) -> Node {
    Node::client(port, NATIVE, seed)
}

fn pair() -> (Node, Node) {
    let (mut server, mut client) = (server(), client(5000, 2));
    client.dial(address(9000), at(0));
    settle(&mut [&mut server, &mut client], at(0));
    (server, client)
}

fn drops(node: &Node, reason: DropReason) -> u64 {
    node.inbound.counters().snapshot().datagrams_dropped.of(reason)
}

/// Returns a datagram from port `from` with these control frames.
fn forged(from: u16, to: &Node, header: Header, frames: &[Control<'_>]) -> Packet {
    let mut bytes = Vec::new();
    begin_datagram(&mut bytes);
    frames.iter().for_each(|frame| write_control(&mut bytes, frame));
    seal(&mut bytes, header);
    Packet { from: address(from), to: to.address, bytes }
}

fn header_of(packet: &Packet) -> Header {
    parse(&packet.bytes).expect("a good datagram").0
}

/// Returns the header of the next datagram of this node's session.
fn next_header(node: &mut Node) -> Header {
    node.send(b"0", at(1));
    header_of(&node.sent.pop_back().expect("just sent"))
}

fn frames(packet: &Packet) -> Vec<Frame<'_>> {
    parse(&packet.bytes).expect("a good datagram").1.collect()
}

#[test]
fn hello_that_is_shorter_than_its_answer_is_not_answered() {
    let mut server = server();
    let mut client = client(5000, 2);
    client.dial(address(9000), at(0));
    let hello = client.sent.pop_front().expect("a hello");
    assert_eq!(hello.bytes.len(), HELLO_LEN);
    for len in 24..HELLO_LEN {
        let mut bytes = hello.bytes[..len - 4].to_vec();
        bytes.truncate(16);
        seal_short_hello(&mut bytes, len, header_of(&hello));
        server.handle(&Packet { bytes, ..hello.clone() }, at(0));
        assert!(server.sent.is_empty(), "{len} bytes");
    }
    assert_eq!(drops(&server, DropReason::Malformed), 16);
    server.handle(&hello, at(0));
    assert_eq!(server.sent.len(), 1);
}

fn seal_short_hello(bytes: &mut Vec<u8>, len: usize, header: Header) {
    bytes.extend_from_slice(&[4, 0, 0, 0]);
    bytes.resize(len - 4, 0);
    seal(bytes, header);
}

#[test]
fn lost_echo_is_repeated_before_a_slow_heartbeat() {
    let mut server = server();
    let mut settings = config(Role::Client, NATIVE);
    settings.heartbeat_interval = Duration::from_secs(10);
    settings.liveness_timeout = Duration::from_secs(30);
    let mut client = Node::new(5000, settings, 2);
    client.dial(address(9000), at(0));
    server.handle(&client.sent.pop_front().expect("a hello"), at(0));
    client.handle(&server.sent.pop_front().expect("a token"), at(0));
    client.sent.clear(); // the echo is lost
    client.tick(at(50));
    settle(&mut [&mut server, &mut client], at(50));
    assert_eq!((client.accepted(), server.accepted()), (1, 1));
    // The client is accepted. Heartbeats now follow their own interval.
    client.tick(at(200));
    assert!(client.sent.is_empty());
}

#[test]
fn client_repeats_its_echo_until_the_accept_arrives() {
    let (mut server, mut client) = (server(), client(5000, 2));
    client.dial(address(9000), at(0));
    server.handle(&client.sent.pop_front().expect("a hello"), at(0));
    client.handle(&server.sent.pop_front().expect("a token"), at(0));
    server.handle(&client.sent.pop_front().expect("an echo"), at(0));
    server.sent.clear(); // the accept is lost
    server.send(b"1", at(1));
    settle(&mut [&mut server, &mut client], at(1));
    assert_eq!((client.accepted(), client.got[0].source.as_str()), (1, ""));
    client.send(b"2", at(2));
    settle(&mut [&mut server, &mut client], at(2));
    server.send(b"3", at(3));
    settle(&mut [&mut server, &mut client], at(3));
    assert_eq!(client.got[1].source, "plant");
    client.send(b"4", at(4));
    let carries_echo = frames(&client.sent[0]).iter().any(|frame| matches!(frame, Frame::Echo { .. }));
    assert!(!carries_echo);
}

#[test]
fn datagram_full_of_control_frames_has_the_effect_of_one_of_each() {
    let (mut server, mut client) = pair();
    let header = next_header(&mut client);
    let token = Token { issued_ms: 1, proof: 2 };
    let mut flood = vec![Control::Echo { token, name: "x" }; 1000];
    flood.extend([Control::Accept("renamed"); 1000]);
    flood.extend([Control::Heartbeat(Heartbeat { stamp: 1, ..Heartbeat::default() }); 1000]);
    let events = server.events.len();
    server.handle(&forged(5000, &server, header, &flood), at(2));
    assert_eq!((server.sent.len(), server.events.len()), (1, events), "one accept");
    server.send(b"1", at(3));
    settle(&mut [&mut server, &mut client], at(3));
    client.send(b"2", at(4));
    settle(&mut [&mut server, &mut client], at(4));
    assert_eq!(server.got[0].source, "controller", "an accept does not rename a client");
}

#[test]
fn messages_in_a_closing_datagram_are_delivered_before_the_close() {
    let (mut server, mut client) = pair();
    let mut bytes = Vec::new();
    begin_datagram(&mut bytes);
    let start = begin_message(&mut bytes, &plain_head(at(1))).expect("no texts");
    bytes.extend_from_slice(b"\"last words\"");
    assert!(finish_message(&mut bytes, start));
    write_control(&mut bytes, &Control::Close);
    let peer = client.outbound.peers()[0];
    client.send_datagram(peer, bytes, 1);
    let packet = client.sent.pop_front().expect("just sent");
    let mut scratch = Vec::new();
    let accepted = server.inbound.handle(at(1), packet.from, &packet.bytes, &mut scratch).expect("a message");
    // A driver that reads the events first still gets the message with its sender's name.
    while let Some(event) = server.inbound.poll_event(at(1)) {
        assert!(!matches!(event, Event::Removed(..)));
    }
    assert!(server.inbound.next_timeout().is_some_and(|due| due <= at(1).steady));
    let got: Vec<_> = server
        .inbound
        .messages(&accepted)
        .map(|message| message.source.map(Cow::into_owned).unwrap_or_default())
        .collect();
    assert_eq!(got, ["controller"]);
    assert_eq!(rx(&server).messages, 1);
    let event = server.inbound.poll_event(at(1));
    assert!(matches!(event, Some(Event::Removed(_, RemovalReason::ClosedByPeer))), "{event:?}");
}

#[test]
fn close_ends_the_session_even_if_its_messages_are_not_read() {
    let (mut server, mut client) = pair();
    client.close();
    let packet = client.sent.pop_front().expect("a close");
    assert!(server.inbound.handle(at(1), packet.from, &packet.bytes, &mut Vec::new()).is_some());
    server.tick(at(1));
    assert!(server.outbound.peers().is_empty());
}

#[test]
fn refused_client_asks_again_slowly_until_there_is_room() {
    let mut settings = config(Role::Server, NATIVE);
    settings.max_peers = 1;
    let mut server = Node::new(9000, settings, 1);
    let (mut first, mut second) = (client(5000, 2), client(5001, 3));
    first.dial(address(9000), at(0));
    settle(&mut [&mut server, &mut first], at(0));
    second.dial(address(9000), at(0));
    let mut datagrams = 0;
    for ms in 0..10_000 {
        first.tick(at(ms));
        second.tick(at(ms));
        server.tick(at(ms));
        datagrams += second.sent.len();
        settle(&mut [&mut server, &mut first, &mut second], at(ms));
    }
    assert_eq!((second.accepted(), server.accepted()), (0, 1));
    assert!(datagrams < 200, "{datagrams} datagrams in 10 s");
    assert!(second.count(|event| matches!(event, Event::Refused)) >= 5);
    first.close();
    for ms in 10_000..11_500 {
        second.tick(at(ms));
        server.tick(at(ms));
        settle(&mut [&mut server, &mut second], at(ms));
    }
    assert_eq!(second.accepted(), 1);
}

#[test]
fn refusal_after_the_acceptance_is_ignored() {
    let (_, mut client) = pair();
    let header = Header { from_server: true, ..next_header(&mut client) };
    let refusal = forged(9000, &client, header, &[Control::Refused]);
    client.handle(&refusal, at(2));
    assert_eq!(drops(&client, DropReason::Unexpected), 1);
    assert_eq!(client.count(|event| matches!(event, Event::Refused)), 0);
    assert!(client.sent.is_empty());
}

#[test]
fn forged_notices_are_ignored() {
    let (mut server, mut client) = pair();
    let session = next_header(&mut client).session;
    let guess = SessionId::from_bits(session.bits() ^ 1);
    let token = Token { issued_ms: 1, proof: 2 };
    let notices = [Control::UnknownSession, Control::Refused, Control::Token(token)];
    for control in notices {
        let header = |session| Header { session, sequence: 0, from_server: true };
        client.handle(&forged(9000, &client, header(guess), &[control]), at(2));
        client.handle(&forged(666, &client, header(session), &[control]), at(2));
    }
    assert_eq!((drops(&client, DropReason::Unexpected), drops(&client, DropReason::WrongAddress)), (3, 3));
    assert!(client.sent.is_empty());
    client.send(b"1", at(3));
    settle(&mut [&mut server, &mut client], at(3));
    assert_eq!(server.payloads(), ["1"]);
}

#[test]
fn thousand_notices_cause_one_hello() {
    let (_, mut client) = pair();
    let header = Header { from_server: true, ..next_header(&mut client) };
    for _ in 0..1000 {
        client.handle(&forged(9000, &client, header, &[Control::UnknownSession]), at(2));
    }
    assert_eq!(client.sent.len(), 1);
    // The session continues meanwhile.
    assert_eq!(client.send(b"1", at(3)), 1);
}

#[test]
fn client_without_an_answer_calls_at_most_four_times_a_second() {
    let mut client = client(5000, 2);
    client.dial(address(9000), at(0));
    for ms in 0..60_000 {
        client.tick(at(ms));
    }
    let hellos = client.sent.len();
    assert!((180..=260).contains(&hellos), "{hellos} hellos in a minute");
    let session = header_of(&client.sent[0]).session;
    assert!(client.sent.iter().all(|packet| header_of(packet).session == session));
}

#[test]
fn repeated_token_is_ignored() {
    let (mut server, mut client) = (server(), client(5000, 2));
    client.dial(address(9000), at(0));
    server.handle(&client.sent.pop_front().expect("a hello"), at(0));
    let token = server.sent.pop_front().expect("a token");
    for _ in 0..3 {
        client.handle(&token, at(0));
    }
    assert_eq!(drops(&client, DropReason::Unexpected), 2);
    settle(&mut [&mut server, &mut client], at(0));
    assert_eq!((client.accepted(), server.accepted()), (1, 1));
}

#[test]
fn client_calls_a_lost_server_at_least_once_each_heartbeat_interval() {
    let (_server, mut client) = pair();
    // The server is silent after half a second. Then the client calls.
    for ms in 3..60_000 {
        client.tick(at(ms));
        client.sent.retain(|packet| packet.bytes.len() == HELLO_LEN);
        if ms == 1000 {
            client.sent.clear();
        }
    }
    let hellos = client.sent.len();
    assert!((590..=790).contains(&hellos), "{hellos} hellos in 59 seconds of ten heartbeats each");
}

#[test]
fn delayed_echo_of_an_earlier_session_does_not_replace_the_new_session() {
    for is_closed in [false, true] {
        let mut server = server();
        let mut first = client(5000, 2);
        first.dial(address(9000), at(0));
        server.handle(&first.sent.pop_front().expect("a hello"), at(0));
        first.handle(&server.sent.pop_front().expect("a token"), at(0));
        let delayed = first.sent.pop_front().expect("an echo");
        // The client is restarted before its echo arrives.
        let mut second = client(5000, 3);
        second.dial(address(9000), at(1));
        settle(&mut [&mut server, &mut second], at(1));
        if is_closed {
            second.close();
            settle(&mut [&mut server, &mut second], at(2));
        }
        let before = server.outbound.peers().to_vec();
        server.handle(&delayed, at(3));
        assert_eq!(server.outbound.peers(), before);
        assert_eq!((server.accepted(), drops(&server, DropReason::UnknownSession)), (1, 1));
    }
}

#[test]
fn echo_of_an_expired_token_leads_to_a_new_hello() {
    let (mut server, mut client) = (server(), client(5000, 2));
    client.dial(address(9000), at(0));
    server.handle(&client.sent.pop_front().expect("a hello"), at(0));
    client.handle(&server.sent.pop_front().expect("a token"), at(0));
    client.sent.clear();
    client.send(b"1", at(4000));
    settle(&mut [&mut server, &mut client], at(4000));
    assert_eq!(drops(&server, DropReason::BadToken), 1);
    assert_eq!((client.accepted(), server.accepted()), (1, 1));
}

/// Returns a client whose echo was lost, and which then sent a datagram without room for an echo. So the server does not know
/// its session.
fn unknown_without_its_echo(server: &mut Node, now: Now) -> Node {
    let mut client = client(5000, 2);
    client.dial(address(9000), at(0));
    server.handle(&client.sent.pop_front().expect("a hello"), at(0));
    client.handle(&server.sent.pop_front().expect("a token"), at(0));
    client.sent.clear();
    client.send(&[b' '; 65_450], now);
    settle(&mut [server, &mut client], now);
    assert_eq!(drops(server, DropReason::UnknownSession), 1);
    client
}

#[test]
fn notice_about_an_unknown_session_does_not_end_it_while_the_echo_may_arrive() {
    let mut server = server();
    let mut client = unknown_without_its_echo(&mut server, at(1));
    assert_eq!((client.accepted(), drops(&client, DropReason::Unexpected)), (0, 1), "the notice is ignored");
    client.offer(&Head { delivery: Delivery::Reliable, ..plain_head(at(1)) }, b"1", at(1)).expect("room");
    settle(&mut [&mut server, &mut client], at(2));
    client.tick(at(50));
    settle(&mut [&mut server, &mut client], at(50));
    assert_eq!((client.accepted(), server.accepted()), (1, 1));
    assert_eq!(client.count(|event| matches!(event, Event::Removed(..))), 0);
    assert_eq!(client.outcomes.iter().map(|(_, outcome)| *outcome).collect::<Vec<_>>(), [Outcome::Delivered]);
}

#[test]
fn notice_about_an_unknown_session_leads_to_a_new_hello_after_the_token_expired() {
    let mut server = server();
    let client = unknown_without_its_echo(&mut server, at(3001));
    assert_eq!((client.accepted(), server.accepted()), (1, 1));
}

/// Begins a session of its own at this address, which replaces the last one there, and closes it if `closes`. Returns the
/// datagram with its echo.
fn connect(server: &mut Node, port: u16, number: u16, ms: u64, closes: bool) -> Packet {
    let mut client = client(port, 0);
    let mut seed = [0; 16];
    seed[..2].copy_from_slice(&number.to_be_bytes());
    let start = Start { seed, ..Start::default() };
    (client.inbound, client.outbound) = endpoint(config(Role::Client, NATIVE), start);
    client.dial(address(9000), at(ms));
    server.handle(&client.sent.pop_front().expect("a hello"), at(ms));
    client.handle(&server.sent.pop_front().expect("a token"), at(ms));
    let echo = client.sent[0].clone();
    settle(&mut [&mut *server, &mut client], at(ms));
    if closes {
        client.close();
    }
    settle(&mut [&mut *server, &mut client], at(ms));
    server.tick(at(ms));
    server.sent.clear();
    echo
}

#[test]
fn closed_session_stays_closed_after_more_sessions_than_the_server_remembers() {
    let mut server = server();
    let victim = connect(&mut server, 4000, 4000, 10, true);
    for n in 0..5000u16 {
        connect(&mut server, 4002, 10_000 + n, 11 + u64::from(n / 10), false);
    }
    let before = server.accepted();
    server.handle(&victim, at(600));
    assert_eq!((server.accepted(), drops(&server, DropReason::BadToken)), (before, 1));
    server.sent.clear(); // the notice
    // The flood does not keep a new client out.
    connect(&mut server, 4001, 4001, 601, true);
    assert_eq!(server.accepted(), before + 1);
}

#[test]
fn session_cannot_be_taken_over_with_a_token_for_another_address() {
    let (mut server, mut client) = pair();
    let session = next_header(&mut client).session;
    // The attacker knows the session, and gets a token for it at the attacker's own address.
    let hello = Header { session, sequence: 0, from_server: false };
    server.handle(&forged(666, &server, hello, &[Control::Hello]), at(2));
    let answer = server.sent.pop_front().expect("a token");
    let [Frame::Token(token)] = frames(&answer)[..] else { panic!("{answer:?}") };
    server.handle(&forged(666, &server, hello, &[Control::Echo { token, name: "thief" }]), at(2));
    assert_eq!(drops(&server, DropReason::WrongAddress), 1);
    client.send(b"1", at(3));
    settle(&mut [&mut server, &mut client], at(3));
    assert_eq!(server.payloads(), ["1"]);
    assert_eq!(server.outbound.peers().len(), 1);
}

#[test]
fn numbers_continue_beyond_32_bits_within_a_session() {
    let (mut server, mut client) = pair();
    let session = next_header(&mut client).session;
    // The farthest leaps that are believed.
    let leaps = (1..=0xff).map(|leaps| leaps * window::MAX_LEAP);
    for number in leaps.chain([0xffff_ffff, 0x1_0000_0000, 0x1_0000_0001]) {
        #[allow(clippy::cast_possible_truncation)] // the low half travels
        let header = Header { session, sequence: number as u32, from_server: false };
        server.handle(&forged(5000, &server, header, &[]), at(2));
        assert_eq!(rx(&server).expected_sequence, number + 1);
    }
    let stats = rx(&server);
    assert_eq!(stats.lost + stats.missing + stats.datagrams, 0x1_0000_0002);
}

#[test]
fn servers_ignore_servers_and_clients_ignore_clients() {
    let (mut server, mut client) = pair();
    let header = Header { session: SessionId::from_bits(9), sequence: 0, from_server: true };
    let notice = forged(9001, &server, header, &[Control::UnknownSession]);
    server.handle(&notice, at(1));
    let hello = Header { from_server: false, ..header };
    let notice = forged(9000, &client, hello, &[Control::Hello]);
    client.handle(&notice, at(1));
    assert_eq!((drops(&server, DropReason::Unexpected), drops(&client, DropReason::Unexpected)), (1, 1));
    assert!(server.sent.is_empty() && client.sent.is_empty());
}

#[test]
fn client_with_a_name_that_is_too_long_still_connects() {
    let mut settings = config(Role::Client, NATIVE);
    settings.name = "é".repeat(33);
    let (mut server, mut client) = (server(), Node::new(5000, settings, 2));
    client.dial(address(9000), at(0));
    client.send(b"1", at(0));
    settle(&mut [&mut server, &mut client], at(0));
    client.send(b"1", at(1));
    settle(&mut [&mut server, &mut client], at(1));
    assert_eq!(server.got[0].source, "é".repeat(32));
}

#[test]
fn message_without_room_for_the_echo_is_sent_without_it() {
    let (mut server, mut client) = (server(), client(5000, 2));
    client.dial(address(9000), at(0));
    server.handle(&client.sent.pop_front().expect("a hello"), at(0));
    client.handle(&server.sent.pop_front().expect("a token"), at(0));
    client.send(&[b' '; 65_450], at(0));
    let sizes: Vec<_> = client.sent.iter().map(|packet| packet.bytes.len()).collect();
    assert_eq!(sizes.len(), 2);
    assert!(sizes[1] <= 65_507, "{sizes:?}");
}

#[test]
fn peer_whose_first_number_is_negative_becomes_silent_and_makes_room() {
    let mut server = server();
    for port in 7000..7004 {
        let session = SessionId::from_bits(port.into());
        let hello = Header { session, sequence: 0, from_server: false };
        server.handle(&forged(port, &server, hello, &[Control::Hello]), at(0));
        let answer = server.sent.pop_front().expect("a token");
        let [Frame::Token(token)] = frames(&answer)[..] else { panic!("{answer:?}") };
        // A number below zero.
        let echo = Header { sequence: u32::MAX, ..hello };
        server.handle(&forged(port, &server, echo, &[Control::Echo { token, name: "zombie" }]), at(0));
    }
    assert_eq!((server.accepted(), drops(&server, DropReason::TooOld)), (4, 4));
    server.tick(at(600));
    server.sent.clear();
    let mut client = client(5000, 2);
    client.dial(address(9000), at(601));
    settle(&mut [&mut server, &mut client], at(601));
    assert_eq!(client.accepted(), 1);
}
