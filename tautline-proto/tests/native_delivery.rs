//! Reliable and large messages on the native wire: each is delivered once and has one outcome.

mod support;

use std::time::Duration;

use support::{Node, Packet, address, at, plain_head, settle};
use tautline_proto::endpoint::{Outcome, Refusal, Role, WireFormat};
use tautline_proto::wire::native::{DELIVERY_WINDOW, Frame, HEADER_LEN, Head, Pack, TRAILER_LEN, parse};
use tautline_proto::{Delivery, DropReason, MessageType, Now, Priority};

const SERVER: u16 = 9000;

/// Pseudo-random numbers (Knuth's MMIX generator).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A connected pair, and a network that loses, repeats and reorders datagrams.
struct Pair {
    server: Node,
    client: Node,
    dice: Dice,
    ms: u64,
}

impl Pair {
    fn new() -> Self {
        Self::sized(1000)
    }

    /// A pair whose messages have up to `max_message_size` bytes.
    fn sized(max_message_size: usize) -> Self {
        let with = |role| {
            let mut config = support::config(role, WireFormat::Native);
            config.max_message_size = max_message_size;
            config
        };
        let mut server = Node::new(SERVER, with(Role::Server), 1);
        let mut client = Node::new(5000, with(Role::Client), 2);
        client.dial(address(SERVER), at(0));
        settle(&mut [&mut server, &mut client], at(1));
        Self { server, client, dice: Dice(1), ms: 1 }
    }

    fn now(&self) -> Now {
        at(self.ms)
    }

    /// Lets `ms` milliseconds pass. Of a hundred datagrams, `lost` are lost and `twice` arrive twice. Some are reordered.
    fn run(&mut self, ms: u64, lost: u64, twice: u64) {
        for _ in 0..ms {
            self.ms += 1;
            let now = at(self.ms);
            self.server.tick(now);
            self.client.tick(now);
            let mut packets: Vec<_> = self.server.sent.drain(..).chain(self.client.sent.drain(..)).collect();
            for index in (1..packets.len()).rev() {
                if self.dice.roll(10) == 0 {
                    packets.swap(index, index - 1);
                }
            }
            for packet in packets {
                if self.dice.roll(100) < lost {
                    continue;
                }
                let times = 1 + u64::from(self.dice.roll(100) < twice);
                for _ in 0..times {
                    let to =
                        if packet.to == self.server.address { &mut self.server } else { &mut self.client };
                    to.handle(&packet, now);
                }
            }
        }
    }

    fn offer(&mut self, delivery: Delivery, payload: &[u8]) -> Result<u64, Refusal> {
        let now = self.now();
        self.client.offer(&Head { delivery, ..plain_head(now) }, payload, now)
    }

    /// Sends an ordered message that expires after 30 ms.
    fn offer_for_30_ms(&mut self, payload: &[u8]) {
        let now = self.now();
        let head = Head { delivery: Delivery::Ordered, ..plain_head(now) };
        let expires = Some(now.steady.plus(Duration::from_millis(30)));
        self.client.offer_until(&head, payload, now, expires).expect("room");
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.server.inbound.counters().snapshot().messages_dropped.of(reason)
    }
}

fn numbers(node: &Node) -> Vec<u64> {
    node.payloads().iter().map(|text| text.parse().expect("a number")).collect()
}

#[test]
fn reliable_message_is_delivered_and_has_an_outcome() {
    let mut pair = Pair::new();
    let receipt = pair.offer(Delivery::Reliable, b"1").expect("room");
    assert_eq!(pair.client.outcomes, []);
    pair.run(2, 0, 0);
    assert_eq!(pair.server.payloads(), ["1"]);
    assert_eq!(pair.client.outcomes, [(receipt, Outcome::Delivered)]);
    assert_eq!(pair.client.outbound.next_delivery(), None, "nothing is left to do");
}

#[test]
fn at_heavy_loss_each_message_is_delivered_once_and_has_one_outcome() {
    for delivery in [Delivery::Reliable, Delivery::Ordered] {
        let mut pair = Pair::new();
        for number in 0..500_u64 {
            while pair.offer(delivery, number.to_string().as_bytes()).is_err() {
                pair.run(1, 30, 20);
            }
            pair.run(1, 30, 20);
        }
        pair.run(3_000, 30, 20);
        let mut got = numbers(&pair.server);
        if delivery == Delivery::Reliable {
            got.sort_unstable();
        }
        assert_eq!(got, (0..500).collect::<Vec<_>>(), "{delivery}");
        let mut outcomes = pair.client.outcomes.clone();
        outcomes.sort_unstable_by_key(|&(receipt, _)| receipt);
        let wanted: Vec<_> = outcomes.iter().map(|&(receipt, _)| (receipt, Outcome::Delivered)).collect();
        assert_eq!((outcomes.len(), &outcomes), (500, &wanted), "{delivery}");
        assert!(pair.dropped(DropReason::Duplicate) > 0, "acknowledgements were lost too");
    }
}

#[test]
fn lost_message_delays_other_messages_only_if_they_are_ordered() {
    for (delivery, first) in [(Delivery::Reliable, vec!["1", "2"]), (Delivery::Ordered, vec![])] {
        let mut pair = Pair::new();
        pair.offer(delivery, b"0").expect("room");
        pair.client.sent.clear();
        for payload in [b"1", b"2"] {
            pair.offer(delivery, payload).expect("room");
        }
        pair.run(1, 0, 0);
        assert_eq!(pair.server.payloads(), first, "{delivery}");
        pair.run(200, 0, 0);
        let all = if delivery == Delivery::Reliable { ["1", "2", "0"] } else { ["0", "1", "2"] };
        assert_eq!(pair.server.payloads(), all);
    }
}

#[test]
fn ordered_streams_do_not_wait_for_one_another() {
    let mut pair = Pair::new();
    let now = pair.now();
    let head = |channel| Head { delivery: Delivery::Ordered, channel, ..plain_head(now) };
    pair.client.offer(&head(1), b"1", now).expect("room");
    pair.client.sent.clear();
    pair.client.offer(&head(2), b"2", now).expect("room");
    let other = Head { message_type: MessageType::Status, ..head(1) };
    pair.client.offer(&other, b"3", now).expect("room");
    pair.run(1, 0, 0);
    assert_eq!(pair.server.payloads(), ["2", "3"]);
}

#[test]
fn ordered_message_does_not_overtake_messages_behind_an_abandoned_one() {
    let mut pair = Pair::new();
    pair.offer_for_30_ms(b"0");
    pair.client.sent.clear();
    pair.offer(Delivery::Ordered, b"1").expect("room");
    pair.run(29, 0, 0);
    assert_eq!(pair.server.payloads(), [""; 0], "it waits for the first message");
    // The forward frame for the abandoned message is lost.
    pair.run(5, 100, 0);
    assert_eq!(pair.client.outcomes, [(2, Outcome::Delivered), (1, Outcome::Expired)]);
    pair.offer(Delivery::Ordered, b"2").expect("room");
    pair.run(300, 0, 0);
    assert_eq!(pair.server.payloads(), ["1", "2"]);
}

#[test]
fn ordered_message_does_not_overtake_messages_beyond_the_window() {
    let mut pair = Pair::new();
    let head = |now| Head { delivery: Delivery::Ordered, ..plain_head(now) };
    let soon = |now: Now| Some(now.steady.plus(Duration::from_millis(5)));
    let now = pair.now();
    pair.client.offer_until(&head(now), b"0", now, soon(now)).expect("room");
    pair.client.sent.clear();
    pair.offer(Delivery::Ordered, b"1").expect("room");
    pair.run(3, 0, 0);
    // The network is cut, and more messages expire than a window holds.
    for _ in 0..2_200 {
        let now = pair.now();
        let other = Head { channel: 1, ..head(now) };
        pair.client.offer_until(&other, b"9", now, soon(now)).expect("room");
        pair.run(1, 100, 0);
    }
    pair.offer(Delivery::Ordered, b"2").expect("room");
    pair.run(300, 0, 0);
    let got = pair.server.payloads();
    let ours: Vec<_> = got.iter().filter(|payload| *payload != "9").collect();
    assert_eq!(ours, ["1", "2"]);
}

#[test]
fn lost_message_is_retransmitted_after_several_later_arrivals() {
    let mut pair = Pair::new();
    pair.offer(Delivery::Reliable, b"0").expect("room");
    pair.client.sent.clear();
    for number in 1..=4_u64 {
        pair.run(1, 0, 0);
        pair.offer(Delivery::Reliable, number.to_string().as_bytes()).expect("room");
    }
    pair.run(3, 0, 0);
    // The initial time-out of 100 ms has not passed.
    assert!(pair.server.payloads().contains(&"0".to_owned()), "{:?}", pair.server.payloads());
}

#[test]
fn expired_message_does_not_block_later_messages() {
    let mut pair = Pair::new();
    pair.offer_for_30_ms(b"0");
    pair.client.sent.clear();
    pair.offer(Delivery::Ordered, b"1").expect("room");
    pair.run(10, 0, 0);
    assert_eq!(pair.server.payloads(), [""; 0], "it waits for the first message");
    pair.run(50, 0, 0);
    assert_eq!(pair.server.payloads(), ["1"]);
    assert_eq!(pair.client.outcomes, [(2, Outcome::Delivered), (1, Outcome::Expired)]);
}

#[test]
fn ordered_message_waits_for_a_message_that_is_held_back_itself() {
    let mut pair = Pair::new();
    pair.offer(Delivery::Ordered, b"0").expect("room");
    pair.client.sent.clear();
    let second = pair.offer(Delivery::Ordered, b"1").expect("room");
    pair.run(3, 0, 0);
    assert_eq!(pair.client.outcomes, [(second, Outcome::Delivered)], "the peer has received it");
    pair.offer(Delivery::Ordered, b"2").expect("room");
    pair.run(3, 0, 0);
    assert_eq!(pair.server.payloads(), [""; 0], "all wait for the first message");
    pair.run(200, 0, 0);
    assert_eq!(pair.server.payloads(), ["0", "1", "2"]);
}

#[test]
fn ordered_message_does_not_overtake_an_abandoned_message_in_flight() {
    let mut pair = Pair::new();
    pair.offer_for_30_ms(b"0");
    let slow = pair.client.sent.pop_front().expect("it was sent");
    // All datagrams are lost until the first message has expired.
    pair.run(40, 100, 0);
    assert_eq!(pair.client.outcomes, [(1, Outcome::Expired)]);
    pair.client.sent.clear();
    pair.offer(Delivery::Ordered, b"1").expect("room");
    let second = pair.client.sent.pop_front().expect("it was sent");
    let now = pair.now();
    pair.server.handle(&second, now);
    assert_eq!(pair.server.payloads(), [""; 0], "the first message may still come");
    pair.server.handle(&slow, now);
    assert_eq!(pair.server.payloads(), ["0", "1"]);
}

#[test]
fn message_is_abandoned_after_its_last_try() {
    let mut pair = Pair::new();
    pair.offer(Delivery::Reliable, b"0").expect("room");
    // All datagrams are lost. The peer does not expire in this time.
    pair.run(5_000, 100, 0);
    assert_eq!(pair.client.outcomes, [(1, Outcome::Abandoned)]);
}

#[test]
fn with_many_datagrams_in_flight_new_messages_share_them() {
    let mut pair = Pair::new();
    let send = |pair: &mut Pair| {
        pair.offer(Delivery::Reliable, &[7; 64]).expect("room");
        pair.client.deliver(pair.now());
        pair.client.sent.len()
    };
    // Few are in flight: each goes at once.
    assert_eq!((1..=8).map(|_| send(&mut pair)).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
    // Many are: the next wait until they fill a datagram.
    let begun: Vec<_> = (0..30).map(|_| send(&mut pair)).collect();
    assert_eq!((begun[0], begun[29]), (8, 10), "{begun:?}");
    // What is left goes once an acknowledgement has come, long before the time-out.
    pair.run(5, 0, 0);
    assert_eq!(pair.client.outcomes.len(), 38);
}

#[test]
fn full_window_refuses_messages_until_an_acknowledgement_comes() {
    let mut pair = Pair::new();
    let taken = (0..).take_while(|_| pair.offer(Delivery::Reliable, b"0").is_ok()).count();
    assert_eq!(taken as u64, DELIVERY_WINDOW);
    assert_eq!(pair.offer(Delivery::Reliable, b"0"), Err(Refusal::WindowFull));
    assert!(pair.client.sent.len() <= 64, "a burst is bounded: {}", pair.client.sent.len());
    pair.run(2, 0, 0);
    assert!(pair.offer(Delivery::Reliable, b"0").is_ok());
    pair.run(100, 0, 0);
    assert_eq!(pair.client.outcomes.len(), taken + 1);
}

#[test]
fn critical_message_is_sent_before_all_others() {
    let mut pair = Pair::new();
    for number in 0..500_u64 {
        pair.offer(Delivery::Ordered, number.to_string().as_bytes()).expect("room");
    }
    let before = pair.client.sent.len();
    let now = pair.now();
    let critical = Head { delivery: Delivery::Reliable, priority: Priority::Critical, ..plain_head(now) };
    pair.client.offer(&critical, b"1000", now).expect("room");
    assert_eq!(pair.client.sent.len(), before + 1, "it is sent at once");
    pair.client.sent.drain(..before);
    pair.run(1, 0, 0);
    assert_eq!(pair.server.payloads(), ["1000"]);
    pair.run(1_000, 10, 10);
    let got = numbers(&pair.server);
    assert_eq!(got[1..], (0..500).collect::<Vec<_>>());
    assert_eq!(pair.client.outcomes.len(), 501);
    let now = pair.now();
    let expires = Some(now.steady);
    pair.client.offer_until(&critical, b"2000", now, expires).expect("room");
    assert_eq!(pair.client.outcomes.last().map(|&(_, outcome)| outcome), Some(Outcome::Expired));
    pair.offer(Delivery::Ordered, b"500").expect("room");
    pair.run(100, 0, 0);
    assert_eq!(numbers(&pair.server)[1..], (0..=500).collect::<Vec<_>>());
}

#[test]
fn closing_a_session_ends_its_messages() {
    let mut pair = Pair::new();
    pair.offer(Delivery::Reliable, b"0").expect("room");
    pair.client.sent.clear();
    pair.server.close();
    pair.run(1, 0, 0);
    assert_eq!(pair.client.outcomes, [(1, Outcome::PeerLost)]);
}

#[test]
fn restarted_server_leaves_the_outcome_unknown() {
    let mut pair = Pair::new();
    pair.offer(Delivery::Reliable, b"0").expect("room");
    pair.server = Node::new(SERVER, support::config(Role::Server, WireFormat::Native), 9);
    pair.run(20, 0, 0);
    assert_eq!(pair.client.outcomes, [(1, Outcome::Unknown)]);
    assert_eq!(pair.server.payloads(), [""; 0], "no message of the old session");
}

#[test]
fn large_messages_are_fragmented_and_reassembled() {
    let payload: Vec<u8> = (0..100_000_u32).map(|index| index.to_be_bytes()[3]).collect();
    for delivery in [Delivery::Reliable, Delivery::Ordered] {
        let mut pair = Pair::sized(100_000);
        pair.offer(delivery, &payload).expect("room");
        pair.offer(delivery, b"small").expect("room");
        assert!(pair.client.sent.iter().all(|packet| packet.bytes.len() <= 1452));
        pair.run(2_000, 20, 10);
        let got = &pair.server.got;
        assert_eq!(got.len(), 2, "{delivery}");
        assert!(got.iter().any(|got| got.payload == payload), "{delivery}");
        assert_eq!(
            got[1].payload == b"small",
            delivery == Delivery::Ordered,
            "only an ordered message waits"
        );
        assert_eq!(pair.client.outcomes.len(), 2);
    }
}

/// Sends a best-effort message in fragments, without the fragments that `lose` names.
fn send_large(pair: &mut Pair, payload: &[u8], lose: &[usize]) {
    let (peer, now) = (pair.client.outbound.peers()[0], pair.now());
    let mut body = Vec::new();
    let started = pair.client.encoder.begin(&mut body, &plain_head(now)).expect("no texts");
    body.extend_from_slice(payload);
    let _ = pair.client.encoder.finish(&mut body, started);
    let (number, size) = (pair.client.encoder.next_large(), pair.client.outbound.datagram_size_to(peer));
    let packs = Pack::of_large(&body[16..], number, size).expect("few fragments");
    let fragments = packs.iter().flat_map(Pack::datagrams);
    for (index, (fragment, messages)) in fragments.enumerate() {
        // All but the last have room for a trailer, which sealing adds.
        let end = if messages == 0 { fragment.len() - TRAILER_LEN } else { fragment.len() };
        pair.client.send_datagram(peer, fragment[..end].to_vec(), messages);
        if lose.contains(&index) {
            pair.client.sent.pop_back();
        }
    }
}

#[test]
fn lost_fragment_loses_only_its_own_message() {
    let mut pair = Pair::sized(10_000);
    send_large(&mut pair, &[1; 10_000], &[]);
    send_large(&mut pair, &[2; 10_000], &[3]);
    send_large(&mut pair, &[3; 10_000], &[]);
    pair.run(1, 0, 0);
    let got: Vec<_> = pair.server.got.iter().map(|got| (got.payload[0], got.payload.len())).collect();
    assert_eq!(got, [(1, 10_000), (3, 10_000)]);
    assert_eq!(pair.dropped(DropReason::Incomplete), 0, "the fragment may still come");
    pair.run(1_200, 0, 0);
    assert_eq!(pair.dropped(DropReason::Incomplete), 1);
}

/// Sends three messages of 1,500 bytes in datagrams that they share, without the datagram that `lose` names.
fn send_sharing(pair: &mut Pair, lose: Option<usize>) {
    let (peer, now) = (pair.client.outbound.peers()[0], pair.now());
    let mut pack = Pack::default();
    pack.begin(pair.client.outbound.datagram_size_to(peer));
    for fill in 1..=3 {
        let mut body = Vec::new();
        let started = pair.client.encoder.begin(&mut body, &plain_head(now)).expect("no texts");
        body.extend_from_slice(&[fill; 1_500]);
        let _ = pair.client.encoder.finish(&mut body, started);
        assert!(pack.push_large(&body[HEADER_LEN..], pair.client.encoder.next_large()));
    }
    let size = pack.datagram_size();
    let datagrams: Vec<_> =
        pack.datagrams().map(|(datagram, messages)| (datagram.to_vec(), messages)).collect();
    for (index, (mut datagram, messages)) in datagrams.into_iter().enumerate() {
        // A full datagram has room for a trailer, which sealing adds.
        datagram.truncate(size - TRAILER_LEN);
        pair.client.send_datagram(peer, datagram, messages);
        if lose == Some(index) {
            pair.client.sent.pop_back();
        }
    }
}

#[test]
fn large_messages_that_share_datagrams_arrive_and_a_lost_datagram_loses_those_in_it() {
    for (lose, expected) in [(None, &[1, 2, 3][..]), (Some(0), &[2, 3]), (Some(1), &[3]), (Some(3), &[1, 2])]
    {
        let mut pair = Pair::sized(1_500);
        send_sharing(&mut pair, lose);
        pair.run(1, 0, 0);
        let got: Vec<_> = pair.server.got.iter().map(|got| got.payload[0]).collect();
        assert_eq!(got, expected, "without datagram {lose:?}");
        assert!(pair.server.got.iter().all(|got| got.payload.len() == 1_500));
        pair.run(1_200, 0, 0);
        // A message of whose fragments none came is unknown.
        assert_eq!(
            pair.dropped(DropReason::Incomplete),
            3 - expected.len() as u64,
            "without datagram {lose:?}"
        );
    }
}

#[test]
fn oldest_incomplete_message_is_dropped_if_there_is_no_room() {
    let mut pair = Pair::sized(10_000);
    for fill in 0..10 {
        send_large(&mut pair, &[fill; 10_000], &[0]);
    }
    pair.run(1, 0, 0);
    // There is room for two messages of this size.
    assert_eq!(pair.dropped(DropReason::Incomplete), 8);
    send_large(&mut pair, &[77; 10_000], &[]);
    pair.run(1, 0, 0);
    assert_eq!(pair.server.got.len(), 1);
}

#[test]
fn while_others_wait_retransmissions_take_a_tenth() {
    let mut pair = Pair::new();
    for _ in 0..64 {
        pair.offer(Delivery::Reliable, &[b'0'; 700]).expect("room");
    }
    pair.client.sent.clear();
    // Their time-outs have passed long ago.
    let (peer, mut out, mut retransmissions) = (pair.client.outbound.peers()[0], Vec::new(), 0);
    let others = 400;
    for step in 0..others {
        let now = at(300 + step / 100);
        pair.client.send_datagram(peer, vec![0; 16], 0);
        if pair.client.outbound.poll_delivery(now.steady, true, &mut out).is_some() {
            pair.client.send_datagram(peer, out.clone(), 0);
            retransmissions += 1;
        }
    }
    assert!((10..=others / 10 + 10).contains(&retransmissions), "{retransmissions} for {others}");
    let mut now = at(310);
    for ms in 310.. {
        now = at(ms);
        if pair.client.outbound.poll_delivery(now.steady, false, &mut out).is_none() {
            break;
        }
    }
    assert!(now.steady > at(310).steady, "they are not limited if nothing else waits");
}

#[test]
fn retransmitted_message_keeps_its_id() {
    let mut pair = Pair::new();
    pair.offer(Delivery::Reliable, b"0").expect("room");
    let first = pair.client.sent.pop_front().expect("sent");
    pair.run(150, 0, 0);
    let id = pair.server.got[0].id.clone();
    let (_, mut frames) = parse(&first.bytes).expect("in order");
    let Some(Frame::Message(_)) = frames.next() else { panic!("a message") };
    assert_eq!(id, (1_u64 << 63).to_string());
    pair.server.handle(&first, pair.now());
    assert_eq!(pair.server.got.len(), 1, "the first copy is a duplicate");
}

#[test]
fn room_for_held_back_large_messages_is_bounded() {
    let mut pair = Pair::sized(10_000);
    pair.offer(Delivery::Ordered, &[0; 10_000]).expect("room");
    pair.client.sent.clear();
    for fill in 1..6 {
        pair.offer(Delivery::Ordered, &[fill; 10_000]).expect("room");
    }
    pair.run(5, 0, 0);
    assert!(pair.dropped(DropReason::NoRoom) > 0, "there is room for two messages of this size");
    pair.run(1_000, 0, 0);
    let got: Vec<_> = pair.server.got.iter().map(|got| got.payload[0]).collect();
    assert_eq!(got, [0, 1, 2, 3, 4, 5]);
    assert!(pair.client.outcomes.iter().all(|&(_, outcome)| outcome == Outcome::Delivered));
}

#[test]
fn message_that_is_too_large_for_the_receiver_is_not_acknowledged() {
    let mut pair = Pair::new();
    pair.offer(Delivery::Reliable, &[0; 5_000]).expect("room");
    pair.run(5_000, 0, 0);
    assert_eq!(pair.client.outcomes, [(1, Outcome::Abandoned)]);
    assert!(pair.dropped(DropReason::TooLarge) > 0);
    assert_eq!(pair.server.payloads(), [""; 0]);
}

#[test]
fn large_message_that_is_too_large_for_the_receiver_counts_once() {
    let mut pair = Pair::new();
    for fill in 0..3 {
        send_large(&mut pair, &[fill; 20_000], &[usize::from(fill)]);
    }
    pair.run(2_000, 0, 0);
    assert_eq!(pair.dropped(DropReason::TooLarge), 3, "the first lacks its first fragment");
    assert_eq!((pair.dropped(DropReason::Incomplete), pair.server.got.len()), (0, 0));
    pair.offer(Delivery::Reliable, &[0; 5_000]).expect("room");
    pair.run(1, 0, 0);
    assert_eq!(pair.dropped(DropReason::TooLarge), 4);
}

#[test]
fn messages_that_wait_when_an_endpoint_ends_are_counted() {
    let mut pair = Pair::sized(10_000);
    send_large(&mut pair, &[1; 10_000], &[3]);
    pair.offer(Delivery::Ordered, b"0").expect("room");
    pair.client.sent.pop_back();
    pair.offer(Delivery::Ordered, b"1").expect("room");
    pair.run(1, 0, 0);
    let counters = pair.server.inbound.counters();
    let incomplete = || counters.snapshot().messages_dropped.of(DropReason::Incomplete);
    assert_eq!((incomplete(), pair.server.got.len()), (0, 0));
    drop(pair);
    assert_eq!(incomplete(), 2, "one lacks a fragment, one was acknowledged and waits for the one before");
}

/// Returns the base of the latest acknowledgement that the node has sent.
fn acknowledged_base(node: &Node) -> Option<u32> {
    let frames = node.sent.iter().flat_map(|packet| parse(&packet.bytes).expect("in order").1);
    frames.filter_map(|frame| if let Frame::Ack(ack) = frame { Some(ack.base) } else { None }).last()
}

#[test]
fn only_the_first_forward_frame_of_a_datagram_counts() {
    let mut pair = Pair::new();
    let mut datagram = vec![0; 16];
    for base in [1, 500] {
        datagram.extend_from_slice(&[12, 0, 0, 4]);
        datagram.extend_from_slice(&u32::to_be_bytes(base));
    }
    let peer = pair.client.outbound.peers()[0];
    pair.client.send_datagram(peer, datagram, 0);
    let packet = pair.client.sent.pop_back().expect("sent");
    pair.server.handle(&packet, at(2));
    pair.server.tick(at(3));
    assert_eq!(acknowledged_base(&pair.server), Some(1));
}

/// Returns how many datagrams that the node has sent carry an acknowledgement.
fn acknowledgements(node: &Node) -> usize {
    let has_one =
        |bytes: &[u8]| parse(bytes).expect("in order").1.any(|frame| matches!(frame, Frame::Ack(_)));
    node.sent.iter().filter(|packet| has_one(&packet.bytes)).count()
}

#[test]
fn acknowledgement_is_piggybacked_on_four_datagrams_that_the_kernel_took() {
    let mut pair = Pair::new();
    pair.offer(Delivery::Reliable, b"0").expect("room");
    let packet = pair.client.sent.pop_front().expect("sent");
    pair.server.handle(&packet, at(2));
    let peer = pair.server.outbound.peers()[0];
    for _ in 0..4 {
        // The kernel does not take these datagrams.
        assert!(pair.server.outbound.seal(peer, &mut vec![0; 16], &mut Vec::new()).is_some());
    }
    for _ in 0..10 {
        pair.server.send_datagram(peer, vec![0; 16], 0);
    }
    assert_eq!(acknowledgements(&pair.server), 4);
}

#[test]
fn message_is_counted_when_the_kernel_takes_it() {
    let mut pair = Pair::new();
    let (now, mut out) = (pair.now(), Vec::new());
    let head = Head { delivery: Delivery::Reliable, ..plain_head(now) };
    let mut frame = Vec::new();
    let started = pair.client.encoder.begin(&mut frame, &head).expect("no texts");
    assert!(pair.client.encoder.finish(&mut frame, started));
    let outbound = &mut pair.client.outbound;
    outbound.offer(outbound.peers()[0], &frame[16..], 1, None).expect("room");
    let mut messages = Vec::new();
    for ms in [1, 500, 1_000] {
        let due = outbound.poll_delivery(at(ms).steady, false, &mut out).expect("due");
        if ms == 1 {
            outbound.not_sent(due);
        } else {
            messages.push(due.messages);
        }
    }
    assert_eq!(messages, [1, 0]);
}

#[test]
fn datagram_has_the_highest_priority_of_its_messages() {
    let mut pair = Pair::new();
    let now = pair.now();
    let mut out = Vec::new();
    let offer = |pair: &mut Pair, priority| {
        let head = Head { delivery: Delivery::Reliable, priority, ..plain_head(now) };
        let mut frame = Vec::new();
        let started = pair.client.encoder.begin(&mut frame, &head).expect("no texts");
        assert!(pair.client.encoder.finish(&mut frame, started));
        let outbound = &mut pair.client.outbound;
        outbound.offer(outbound.peers()[0], &frame[16..], 1, None).expect("room");
    };
    let mut due = |pair: &mut Pair, ms| {
        let due = pair.client.outbound.poll_delivery(at(ms).steady, false, &mut out).expect("due");
        due.priority
    };
    offer(&mut pair, Priority::Low);
    assert_eq!(due(&mut pair, 1), Priority::Low);
    offer(&mut pair, Priority::High);
    offer(&mut pair, Priority::Normal);
    assert_eq!(due(&mut pair, 2), Priority::High);
    // The earlier messages are retransmitted in the same datagram.
    offer(&mut pair, Priority::Critical);
    assert_eq!(due(&mut pair, 500), Priority::Critical);
    assert_eq!(due(&mut pair, 1_000), Priority::Critical);
}

/// Returns the messages of a datagram, and for how many milliseconds each had been kept.
fn kept_for(node: &mut Node, packet: &Packet, now: Now) -> Vec<(Vec<u8>, Option<u128>)> {
    let mut scratch = Vec::new();
    let accepted =
        node.inbound.handle(now, packet.from, &packet.bytes, &mut scratch).expect("a good datagram");
    let mut messages = node.inbound.messages(&accepted);
    let mut seen = Vec::new();
    while let Some((message, since)) = messages.advance_kept() {
        let first = message.payload[..1].to_vec();
        seen.push((first, since.map(|since| now.steady.since(since).as_millis())));
    }
    seen
}

#[test]
fn kept_message_is_as_old_as_its_first_fragment() {
    let mut pair = Pair::sized(10_000);
    pair.client.sent.clear();
    let ordered = Head { delivery: Delivery::Ordered, ..plain_head(at(2)) };
    pair.client.offer(&ordered, b"1", at(2)).expect("room");
    pair.client.offer(&ordered, b"2", at(2)).expect("room");
    // In two fragments.
    pair.client.offer(&ordered, &[b'3'; 2_000], at(2)).expect("room");
    let packets: Vec<_> = pair.client.sent.drain(..).collect();
    let [first, second, half, rest] = &packets[..] else { panic!("{packets:?}") };
    assert_eq!(kept_for(&mut pair.server, half, at(100)), []);
    assert_eq!(kept_for(&mut pair.server, second, at(110)), []);
    assert_eq!(kept_for(&mut pair.server, rest, at(120)), []);
    let seen = kept_for(&mut pair.server, first, at(150));
    let payload = |byte: u8| vec![byte];
    assert_eq!(seen, [(payload(b'1'), None), (payload(b'2'), Some(40)), (payload(b'3'), Some(50))]);
}
