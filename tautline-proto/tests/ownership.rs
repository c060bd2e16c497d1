//! One owner for each stream: who may send, how a stream changes hands, and what each end is told. docs/protocol.md §7.6.

mod support;

use std::time::Duration;

use support::{Node, Packet, address, at, config, plain_head, settle};
use tautline_proto::endpoint::{
    ClaimError, ClaimOutcome, EndpointConfig, Event, MAX_OWNED_STREAMS, Outcome, OwnerReason, RemovalReason,
    Role, WireFormat,
};
use tautline_proto::wire::classic::ClassicFormat;
use tautline_proto::wire::native::{Frame, Head, OwnershipAct, parse};
use tautline_proto::{Delivery, DropReason, MessageType, Now, PeerId, StreamId};

const COMMAND: StreamId = StreamId { message_type: MessageType::Command, channel: 0 };

/// For how long the owner of a stream of commands may be silent.
const SILENCE: Duration = Duration::from_millis(100);

fn owning(wire: WireFormat) -> EndpointConfig {
    let mut config = config(Role::Server, wire);
    config.owned.set(MessageType::Command, None, Some(SILENCE));
    config
}

/// A plant whose commands have one owner, and two controllers.
struct Rig {
    plant: Node,
    one: Node,
    two: Node,
}

impl Rig {
    fn new(wire: WireFormat) -> Self {
        let plant = Node::new(9000, owning(wire), 1);
        let (mut one, mut two) = (Node::client(5000, wire, 2), Node::client(5001, wire, 3));
        one.dial(address(9000), at(0));
        two.dial(address(9000), at(0));
        let mut rig = Self { plant, one, two };
        rig.settle(at(0));
        rig.forget_news();
        rig
    }

    fn native() -> Self {
        Self::new(WireFormat::Native)
    }

    fn settle(&mut self, now: Now) {
        settle(&mut [&mut self.plant, &mut self.one, &mut self.two], now);
    }

    fn forget_news(&mut self) {
        for node in [&mut self.plant, &mut self.one, &mut self.two] {
            node.events.clear();
        }
    }

    /// The plant's ids of the controllers.
    fn peers(&self) -> [PeerId; 2] {
        [5000, 5001].map(|port| self.plant.outbound.peer_at(address(port)).expect("connected"))
    }

    /// Sends a command from one of the controllers (1 or 2), and lets everything arrive.
    fn command(&mut self, from: u8, payload: &str, now: Now) {
        let node = if from == 1 { &mut self.one } else { &mut self.two };
        send(node, COMMAND, payload, now);
        self.settle(now);
    }

    fn not_owner(&self) -> u64 {
        self.plant.inbound.counters().snapshot().messages_dropped.of(DropReason::NotOwner)
    }

    /// The owner changes that the plant was told of since the last call.
    fn changes(&mut self) -> Vec<(Option<PeerId>, Option<PeerId>, OwnerReason)> {
        let events = std::mem::take(&mut self.plant.events);
        let change = |event| match event {
            Event::OwnerChanged(change) => Some((change.from, change.to, change.reason)),
            _ => None,
        };
        events.into_iter().filter_map(change).collect()
    }
}

fn head(stream: StreamId, now: Now) -> Head<'static> {
    Head { message_type: stream.message_type, channel: stream.channel, ..plain_head(now) }
}

fn send(node: &mut Node, stream: StreamId, payload: &str, now: Now) {
    assert_eq!(node.send_as(&head(stream, now), payload.as_bytes()), 1, "one peer");
}

/// Claims or releases the stream of commands at the plant.
fn ask(node: &mut Node, act: OwnershipAct, ticket: u64, now: Now) {
    let peer = node.outbound.peers()[0];
    let asked = match act {
        OwnershipAct::Claim => node.inbound.claim(peer, COMMAND, ticket, now.steady),
        _ => node.inbound.release(peer, COMMAND, ticket, now.steady),
    };
    assert_eq!(asked, Ok(()));
    node.tick(now);
}

fn ended(node: &Node) -> Vec<(u64, ClaimOutcome)> {
    let ended = |event: &Event| match event {
        Event::ClaimEnded { ticket, outcome, .. } => Some((*ticket, *outcome)),
        _ => None,
    };
    node.events.iter().filter_map(ended).collect()
}

fn denied(node: &Node) -> usize {
    node.count(|event| matches!(event, Event::Denied { stream, .. } if *stream == COMMAND))
}

/// Returns what the frames about ownership in a datagram ask or say.
fn acts(packet: &Packet) -> Vec<OwnershipAct> {
    let (_, frames) = parse(&packet.bytes).expect("in order");
    let act = |frame| if let Frame::Ownership(frame) = frame { Some(frame.act) } else { None };
    frames.filter_map(act).collect()
}

#[test]
fn the_first_to_send_owns_the_stream_and_others_are_told_once() {
    let mut rig = Rig::native();
    let [one, two] = rig.peers();
    for round in 0..20 {
        rig.command(1, "one", at(round));
        rig.command(2, "two", at(round));
    }
    assert_eq!(rig.plant.payloads(), ["one"; 20]);
    assert_eq!(rig.not_owner(), 20, "each is counted");
    let told = |event: &Event| matches!(event, Event::NotOwner { peer, stream, owner } if (*peer, *stream, *owner) == (two, COMMAND, Some(one)));
    assert_eq!(rig.plant.count(told), 1);
    assert_eq!((denied(&rig.one), denied(&rig.two)), (0, 1));
    assert_eq!(rig.changes(), [(None, Some(one), OwnerReason::First)]);
}

#[test]
fn each_channel_has_its_own_owner_and_other_types_have_none() {
    let mut rig = Rig::native();
    for (stream, delivered) in
        [((MessageType::Command, 0), 1), ((MessageType::Command, 7), 1), ((MessageType::Status, 0), 2)]
    {
        rig.plant.got.clear();
        send(&mut rig.two, stream.into(), "two", at(1));
        rig.settle(at(1));
        send(&mut rig.one, stream.into(), "one", at(1));
        rig.settle(at(1));
        assert_eq!(rig.plant.got.len(), delivered, "{stream:?}");
    }
}

#[test]
fn an_owner_that_is_silent_for_too_long_loses_the_stream_to_the_next_sender() {
    let mut rig = Rig::native();
    let [one, two] = rig.peers();
    rig.command(1, "a", at(0));
    rig.command(2, "b", at(100));
    assert_eq!(rig.plant.payloads(), ["a"], "not longer than the limit");
    rig.command(2, "c", at(101));
    rig.command(1, "d", at(102));
    assert_eq!(rig.plant.payloads(), ["a", "c"]);
    let (first, silent) = (OwnerReason::First, OwnerReason::Silent);
    assert_eq!(rig.changes(), [(None, Some(one), first), (Some(one), Some(two), silent)]);
    assert_eq!((denied(&rig.one), denied(&rig.two)), (1, 1));
    // A silent owner keeps the stream while nobody else wants it.
    rig.command(2, "e", at(5_000));
    assert_eq!((rig.plant.payloads().len(), rig.changes()), (3, vec![]));
}

#[test]
fn a_message_of_another_peer_does_not_keep_the_owner_alive() {
    let mut rig = Rig::native();
    rig.command(1, "a", at(0));
    for ms in (10..=100).step_by(10) {
        rig.command(2, "b", at(ms));
    }
    assert_eq!(rig.plant.payloads(), ["a"]);
    rig.command(2, "c", at(101));
    assert_eq!(rig.plant.payloads(), ["a", "c"]);
}

#[test]
fn a_claim_takes_the_stream_over_and_all_three_ends_are_told() {
    let mut rig = Rig::native();
    let [one, two] = rig.peers();
    rig.command(1, "a", at(0));
    rig.changes();
    ask(&mut rig.two, OwnershipAct::Claim, 41, at(1));
    rig.settle(at(1));
    assert_eq!(rig.changes(), [(Some(one), Some(two), OwnerReason::Claimed)]);
    assert_eq!(ended(&rig.two), [(41, ClaimOutcome::Granted)]);
    assert_eq!(denied(&rig.one), 1, "the former owner is told, although it has sent nothing");
    rig.command(1, "b", at(2));
    rig.command(2, "c", at(2));
    assert_eq!(rig.plant.payloads(), ["a", "c"]);
    assert_eq!((denied(&rig.one), denied(&rig.two), rig.not_owner()), (1, 0, 1), "told once of one owner");
    // The claimant is its owner from the claim on: it has a whole silence to begin.
    ask(&mut rig.one, OwnershipAct::Claim, 42, at(50));
    rig.settle(at(50));
    rig.command(2, "d", at(149));
    assert_eq!(rig.plant.payloads(), ["a", "c"]);
    rig.command(2, "e", at(151));
    assert_eq!(rig.plant.payloads(), ["a", "c", "e"]);
}

#[test]
fn a_claim_that_is_repeated_or_comes_late_changes_nothing() {
    let mut rig = Rig::native();
    let [one, two] = rig.peers();
    ask(&mut rig.one, OwnershipAct::Claim, 41, at(0));
    let claim = rig.one.sent.pop_front().expect("a claim");
    rig.plant.handle(&claim, at(0));
    rig.plant.sent.clear();
    // The answer is lost. Meanwhile the other controller claims, and only then is the first claim repeated.
    ask(&mut rig.two, OwnershipAct::Claim, 42, at(1));
    rig.settle(at(1));
    assert_eq!(ended(&rig.two), [(42, ClaimOutcome::Granted)]);
    rig.one.tick(at(25));
    assert_eq!(acts(&rig.one.sent[0]), [OwnershipAct::Claim], "repeated");
    rig.settle(at(25));
    assert_eq!(ended(&rig.one), [(41, ClaimOutcome::Overtaken)], "the notice of the new owner came before");
    let (none, claimed) = (None, OwnerReason::Claimed);
    assert_eq!(rig.changes(), [(none, Some(one), claimed), (Some(one), Some(two), claimed)]);
    // Neither does a claim that was overtaken by a later release on the way.
    ask(&mut rig.one, OwnershipAct::Claim, 43, at(30));
    let late = rig.one.sent.pop_front().expect("a claim");
    rig.one.tick(at(55));
    rig.settle(at(55));
    ask(&mut rig.one, OwnershipAct::Release, 44, at(56));
    rig.settle(at(56));
    rig.changes();
    rig.plant.handle(&late, at(57));
    assert_eq!(rig.changes(), []);
    assert_eq!(ended(&rig.one)[1..], [(43, ClaimOutcome::Granted), (44, ClaimOutcome::Released)]);
}

#[test]
fn a_lost_claim_is_repeated_and_given_up_after_a_second() {
    let mut rig = Rig::native();
    ask(&mut rig.one, OwnershipAct::Claim, 41, at(0));
    let mut claims = 0;
    for ms in 0..2_000 {
        rig.one.tick(at(ms));
        claims += rig.one.sent.drain(..).filter(|packet| acts(packet) == [OwnershipAct::Claim]).count();
    }
    assert_eq!((claims, ended(&rig.one)), (40, vec![(41, ClaimOutcome::Unanswered)]));
}

#[test]
fn claims_that_wait_end_with_the_session() {
    let mut rig = Rig::native();
    ask(&mut rig.one, OwnershipAct::Claim, 41, at(0));
    rig.one.sent.clear();
    rig.plant.close();
    while let Some(packet) = rig.plant.sent.pop_front() {
        if packet.to == rig.one.address {
            rig.one.handle(&packet, at(1));
        }
    }
    assert_eq!(ended(&rig.one), [(41, ClaimOutcome::PeerLost)]);
    let gone = rig.peers()[0];
    assert_eq!(rig.one.inbound.claim(gone, COMMAND, 42, at(2).steady), Err(ClaimError::UnknownPeer));
}

#[test]
fn a_released_stream_goes_to_the_next_sender_and_not_back_to_a_late_message() {
    let mut rig = Rig::native();
    let [one, two] = rig.peers();
    rig.command(1, "a", at(0));
    send(&mut rig.one, COMMAND, "late", at(1));
    let late = rig.one.sent.pop_front().expect("a message");
    ask(&mut rig.one, OwnershipAct::Release, 7, at(2));
    rig.settle(at(2));
    rig.plant.handle(&late, at(3));
    assert_eq!((rig.plant.payloads(), rig.not_owner()), (vec!["a".to_owned()], 1));
    rig.command(2, "b", at(4));
    assert_eq!(rig.plant.payloads(), ["a", "b"]);
    let (first, released) = (OwnerReason::First, OwnerReason::Released);
    let expected = [(None, Some(one), first), (Some(one), None, released), (None, Some(two), first)];
    assert_eq!(rig.changes(), expected);
    assert_eq!((ended(&rig.one), denied(&rig.one)), (vec![(7, ClaimOutcome::Released)], 0));
    // A peer that does not own a stream can release it: nothing changes.
    ask(&mut rig.one, OwnershipAct::Release, 8, at(5));
    rig.settle(at(5));
    rig.command(2, "c", at(6));
    assert_eq!((rig.plant.payloads().len(), rig.changes()), (3, vec![]));
    // Whoever has released it may send again.
    ask(&mut rig.two, OwnershipAct::Release, 9, at(7));
    rig.settle(at(7));
    rig.command(2, "d", at(8));
    assert_eq!(rig.plant.payloads().len(), 4);
}

#[test]
fn a_stream_is_free_when_the_session_of_its_owner_ends() {
    for ending in [RemovalReason::ClosedByPeer, RemovalReason::Replaced, RemovalReason::Expired] {
        let mut rig = Rig::native();
        let [one, two] = rig.peers();
        rig.command(1, "a", at(0));
        let now = match ending {
            RemovalReason::ClosedByPeer => {
                rig.one.close();
                rig.settle(at(1));
                at(2)
            }
            RemovalReason::Replaced => {
                rig.one = Node::client(5000, WireFormat::Native, 9);
                rig.one.dial(address(9000), at(1));
                rig.settle(at(1));
                at(2)
            }
            _ => {
                for ms in (0..61_000).step_by(100) {
                    rig.two.tick(at(ms));
                    rig.one.sent.clear();
                    rig.plant.tick(at(ms));
                    settle(&mut [&mut rig.plant, &mut rig.two], at(ms));
                }
                at(61_000)
            }
        };
        rig.command(2, "b", now);
        let expected = [
            (None, Some(one), OwnerReason::First),
            (Some(one), None, OwnerReason::Gone),
            (None, Some(two), OwnerReason::First),
        ];
        assert_eq!((rig.changes(), rig.plant.payloads().len()), (expected.to_vec(), 2), "{ending:?}");
    }
}

#[test]
fn the_receiver_can_free_a_stream_and_only_for_the_period_that_it_means() {
    let mut rig = Rig::native();
    rig.command(1, "a", at(0));
    let tenure = rig.plant.events.iter().find_map(|event| match event {
        Event::OwnerChanged(change) => Some(change.tenure),
        _ => None,
    });
    let tenure = tenure.expect("an owner");
    rig.changes();
    rig.plant.inbound.free(tenure);
    rig.command(2, "b", at(1));
    assert_eq!(rig.plant.payloads(), ["a", "b"]);
    let reasons: Vec<_> = rig.changes().into_iter().map(|(.., reason)| reason).collect();
    assert_eq!(reasons, [OwnerReason::Freed, OwnerReason::First]);
    rig.plant.inbound.free(tenure);
    rig.command(1, "c", at(2));
    assert_eq!((rig.plant.payloads().len(), rig.changes()), (2, vec![]), "the period had ended");
}

#[test]
fn a_refused_reliable_message_is_not_acknowledged() {
    for payload in [10, 950] {
        let mut configs = [owning(WireFormat::Native), config(Role::Client, WireFormat::Native)];
        configs.iter_mut().for_each(|config| config.datagram_size = 548);
        let [plant, controller] = configs;
        let mut rig = Rig::native();
        rig.plant = Node::new(9000, plant, 4);
        rig.one = Node::client(5000, WireFormat::Native, 5);
        rig.two = Node::new(5001, controller, 6);
        rig.one.dial(address(9000), at(0));
        rig.two.dial(address(9000), at(0));
        rig.settle(at(0));
        rig.command(1, "a", at(0));
        let reliable = Head { delivery: Delivery::Ordered, ..head(COMMAND, at(1)) };
        let body = "x".repeat(payload);
        rig.two.offer(&reliable, body.as_bytes(), at(1)).expect("room");
        rig.settle(at(1));
        assert!(rig.two.outcomes.is_empty(), "neither delivered nor abandoned");
        assert_eq!((rig.not_owner(), denied(&rig.two)), (1, 1), "{payload} bytes");
        // It arrives as soon as its sender owns the stream.
        ask(&mut rig.one, OwnershipAct::Release, 1, at(2));
        rig.settle(at(2));
        for ms in 3..400 {
            rig.two.tick(at(ms));
            rig.plant.tick(at(ms));
            rig.settle(at(ms));
        }
        let outcomes: Vec<_> = rig.two.outcomes.iter().map(|(_, outcome)| *outcome).collect();
        assert_eq!(outcomes, [Outcome::Delivered]);
        assert_eq!(rig.plant.got.last().map(|got| got.payload.len()), Some(payload));
    }
}

#[test]
fn a_reliable_message_that_is_refused_for_good_is_abandoned() {
    let mut rig = Rig::native();
    rig.command(1, "a", at(0));
    let reliable = Head { delivery: Delivery::Reliable, ..head(COMMAND, at(1)) };
    rig.two.offer(&reliable, b"two", at(1)).expect("room");
    for ms in 1..8_000 {
        send(&mut rig.one, COMMAND, "one", at(ms));
        for node in [&mut rig.plant, &mut rig.one, &mut rig.two] {
            node.tick(at(ms));
        }
        rig.settle(at(ms));
    }
    let outcomes: Vec<_> = rig.two.outcomes.iter().map(|(_, outcome)| *outcome).collect();
    assert_eq!(outcomes, [Outcome::Abandoned]);
    assert!(rig.plant.payloads().iter().all(|payload| payload != "two"));
}

#[test]
fn a_notice_is_repeated_while_its_receiver_sends_on_and_believed_once() {
    let mut rig = Rig::native();
    let mut notices = 0;
    for ms in 0..1_000 {
        send(&mut rig.one, COMMAND, "one", at(ms));
        send(&mut rig.two, COMMAND, "two", at(ms));
        for packet in [&mut rig.one.sent, &mut rig.two.sent]
            .into_iter()
            .flat_map(|sent| sent.drain(..))
            .collect::<Vec<_>>()
        {
            rig.plant.handle(&packet, at(ms));
        }
        while let Some(packet) = rig.plant.sent.pop_front() {
            let denies = acts(&packet) == [OwnershipAct::Denied];
            notices += u32::from(denies);
            // The first notices are lost.
            if packet.to == rig.two.address && (!denies || ms > 250) {
                rig.two.handle(&packet, at(ms));
            }
        }
    }
    assert!((8..=10).contains(&notices), "{notices} notices in a second");
    assert_eq!(denied(&rig.two), 1);
}

#[test]
fn one_datagram_causes_one_notice_at_most() {
    let mut rig = Rig::native();
    for channel in 0..50 {
        send(&mut rig.one, (MessageType::Command, channel).into(), "one", at(0));
    }
    rig.settle(at(0));
    let mut datagram = Vec::new();
    tautline_proto::wire::native::begin_datagram(&mut datagram);
    for channel in 0..50 {
        let head = head((MessageType::Command, channel).into(), at(1));
        let start = tautline_proto::wire::native::begin_message(&mut datagram, &head).expect("short");
        datagram.extend_from_slice(b"1");
        assert!(tautline_proto::wire::native::finish_message(&mut datagram, start));
    }
    let peer = rig.two.outbound.peers()[0];
    rig.two.send_datagram(peer, datagram, 50);
    let packet = rig.two.sent.pop_front().expect("a datagram");
    rig.plant.handle(&packet, at(1));
    assert_eq!(rig.plant.sent.len(), 1);
    assert_eq!(rig.not_owner(), 50);
    assert_eq!(
        rig.plant.count(|event| matches!(event, Event::NotOwner { .. })),
        50,
        "the user is told of each"
    );
}

#[test]
fn the_table_of_streams_is_bounded_and_has_room_again_when_owners_are_silent() {
    let mut rig = Rig::native();
    let channels = u16::try_from(MAX_OWNED_STREAMS).expect("few");
    let stream = |channel| StreamId::from((MessageType::Command, channel));
    for channel in 0..=channels {
        send(&mut rig.two, stream(channel), "two", at(10));
        rig.settle(at(10));
    }
    assert_eq!((rig.plant.got.len(), rig.not_owner()), (MAX_OWNED_STREAMS, 1));
    let no_room = |event: &Event| matches!(event, Event::NotOwner { owner: None, .. });
    assert_eq!(rig.plant.count(no_room), 1);
    // A claim needs room too.
    let plant = rig.one.outbound.peers()[0];
    rig.one.inbound.claim(plant, stream(channels), 5, at(11).steady).expect("begun");
    rig.one.tick(at(11));
    rig.settle(at(11));
    assert_eq!(ended(&rig.one), [(5, ClaimOutcome::Refused)]);
    rig.plant.got.clear();
    send(&mut rig.one, stream(channels), "one", at(111));
    rig.settle(at(111));
    assert_eq!(rig.plant.payloads(), ["one"]);
    let silent = |event: &Event| matches!(event, Event::OwnerChanged(change) if change.to.is_none() && change.reason == OwnerReason::Silent);
    assert_eq!(rig.plant.count(silent), 1, "the stream that made room has no owner any more");
}

#[test]
fn the_refused_peers_that_are_remembered_are_bounded_and_each_message_is_counted() {
    let mut rig = Rig::native();
    let channels = u16::try_from(MAX_OWNED_STREAMS).expect("few");
    let stream = |channel| StreamId::from((MessageType::Command, channel));
    for channel in 0..channels {
        send(&mut rig.one, stream(channel), "one", at(0));
        rig.settle(at(0));
    }
    for _ in 0..2 {
        for channel in 0..channels + 100 {
            send(&mut rig.two, stream(channel), "two", at(1));
            rig.settle(at(1));
        }
    }
    assert_eq!(rig.not_owner(), 2 * (u64::from(channels) + 100));
    assert_eq!(
        rig.plant.count(|event| matches!(event, Event::NotOwner { .. })),
        MAX_OWNED_STREAMS,
        "no more are remembered (check_invariants)"
    );
}

#[test]
fn a_claim_at_a_peer_whose_streams_have_no_owners_says_so() {
    let mut rig = Rig::native();
    // The plant claims at a controller, which has no owners.
    let [one, _] = rig.peers();
    rig.plant.inbound.claim(one, COMMAND, 3, at(1).steady).expect("begun");
    rig.plant.inbound.release(one, COMMAND, 4, at(1).steady).expect("begun");
    rig.plant.tick(at(1));
    rig.settle(at(1));
    assert_eq!(ended(&rig.plant), [(3, ClaimOutcome::Unowned), (4, ClaimOutcome::Unowned)]);
}

#[test]
fn on_the_classic_wire_an_address_owns_a_stream_and_nothing_can_be_claimed() {
    let mut rig = Rig::new(WireFormat::Classic(ClassicFormat::default()));
    rig.command(1, "1", at(0));
    rig.command(2, "2", at(1));
    rig.command(1, "3", at(2));
    assert_eq!((rig.plant.payloads(), rig.not_owner()), (vec!["1".to_owned(), "3".to_owned()], 1));
    assert!(rig.plant.sent.is_empty(), "this wire has no notices");
    let [one, two] = rig.peers();
    assert_eq!(rig.plant.count(|event| matches!(event, Event::NotOwner { peer, .. } if *peer == two)), 1);
    rig.changes();
    let peer = rig.one.outbound.peers()[0];
    let needs = Err(ClaimError::NeedsNativeWire);
    assert_eq!(rig.one.inbound.claim(peer, COMMAND, 1, at(3).steady), needs);
    assert_eq!(rig.one.inbound.release(peer, COMMAND, 1, at(3).steady), needs);
    // A restarted owner has lost its stream, and gets it again because it is the first to send.
    rig.one = Node::client(5000, WireFormat::Classic(ClassicFormat::default()), 9);
    rig.one.dial(address(9000), at(4));
    rig.command(1, "4", at(4));
    let expected = [(Some(one), None, OwnerReason::Gone), (None, Some(one), OwnerReason::First)];
    assert_eq!(rig.changes(), expected);
    rig.command(2, "5", at(105));
    assert_eq!(rig.plant.payloads(), ["1", "3", "4", "5"]);
}
