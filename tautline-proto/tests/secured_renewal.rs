//! New keys in a session that goes on. docs/protocol.md §11.6.

mod support;

use std::time::Duration;

use support::{Node, Packet, address, at, config, plain_head};
use tautline_proto::endpoint::{Event, RemovalReason, Role, WireFormat};
use tautline_proto::secure::{Identity, Key, Keys};
use tautline_proto::wire::native::Head;
use tautline_proto::{ContentType, Delivery, DropReason};

fn key(byte: u8) -> Key {
    Key::from_bytes([byte; 32])
}

fn node(port: u16, role: Role, keys: Keys, seed: u8, rekey_after: Duration) -> Node {
    let mut config = config(role, WireFormat::Native);
    config.security = Some(keys);
    config.rekey_after = rekey_after;
    Node::new(port, config, seed)
}

/// A link whose keys are replaced after this time.
struct Link {
    server: Node,
    client: Node,
    ms: u64,
    /// What is on its way, and when it arrives.
    flying: Vec<(u64, Packet)>,
    rng: u64,
    /// How many of a hundred datagrams are lost, and by how many milliseconds others come later.
    loss: u64,
    jitter: u64,
    /// Whether datagrams of 100 bytes and more are lost, such as those of a renewal.
    loses_long: bool,
    phases: Vec<bool>,
}

impl Link {
    fn new(rekey_after: Duration) -> Self {
        let keys = Keys::shared(key(1));
        let server = node(9000, Role::Server, keys.clone(), 1, rekey_after);
        let client = node(5000, Role::Client, keys, 2, rekey_after);
        let mut link = Self {
            server,
            client,
            ms: 0,
            flying: Vec::new(),
            rng: 7,
            loss: 0,
            jitter: 0,
            loses_long: false,
            phases: Vec::new(),
        };
        link.client.dial(address(9000), at(0));
        link.run(5);
        link
    }

    fn random(&mut self, below: u64) -> u64 {
        self.rng ^= self.rng << 13;
        self.rng ^= self.rng >> 7;
        self.rng ^= self.rng << 17;
        self.rng % below
    }

    /// Lets this many milliseconds pass.
    fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.ms += 1;
            let now = at(self.ms);
            self.client.tick(now);
            self.server.tick(now);
            self.carry();
        }
    }

    fn carry(&mut self) {
        for _ in 0..8 {
            let sent: Vec<_> = self.client.sent.drain(..).chain(self.server.sent.drain(..)).collect();
            for packet in sent {
                if self.random(100) >= self.loss && !(self.loses_long && packet.bytes.len() >= 100) {
                    let late = if self.jitter > 0 { self.random(self.jitter) } else { 0 };
                    self.flying.push((self.ms + late, packet));
                }
            }
            let (due, later) = self.flying.drain(..).partition(|(at, _)| *at <= self.ms);
            self.flying = later;
            if Vec::is_empty(&due) {
                return;
            }
            for (_, packet) in due {
                let from_client = packet.bytes[3] & 3 == 2;
                let phase = packet.bytes[3] & 4 != 0;
                if from_client && self.phases.last() != Some(&phase) {
                    self.phases.push(phase);
                }
                let node = if packet.to == self.server.address { &mut self.server } else { &mut self.client };
                node.handle(&packet, at(self.ms));
            }
        }
    }

    fn dropped(&self) -> u64 {
        [&self.server, &self.client]
            .map(|node| node.inbound.counters().snapshot().datagrams_dropped.total())
            .iter()
            .sum()
    }

    fn removed(&self) -> usize {
        [&self.server, &self.client]
            .map(|node| node.count(|event| matches!(event, Event::Removed(..))))
            .iter()
            .sum()
    }
}

#[test]
fn keys_are_replaced_in_time_and_nothing_is_lost() {
    let mut link = Link::new(Duration::from_millis(500));
    for number in 0..3000u32 {
        link.client.send(number.to_string().as_bytes(), at(link.ms));
        link.server.send(number.to_string().as_bytes(), at(link.ms));
        link.run(1);
    }
    assert!((5..=7).contains(&link.phases.len()), "{} changes in 3 s", link.phases.len());
    assert_eq!((link.server.got.len(), link.client.got.len()), (3000, 3000));
    assert_eq!((link.dropped(), link.removed()), (0, 0));
}

#[test]
fn renewals_lose_no_reliable_message_at_10_percent_loss() {
    renewals(12);
}

#[test]
#[ignore = "ten thousand renewals; in release"]
fn ten_thousand_renewals() {
    renewals(10_000);
}

fn renewals(count: usize) {
    let mut link = Link::new(Duration::from_secs(2));
    (link.loss, link.jitter) = (10, 8);
    let (mut offered, mut sent) = (0, 0);
    while link.phases.len() <= count {
        let head =
            Head { delivery: Delivery::Reliable, content_type: ContentType::Raw, ..plain_head(at(link.ms)) };
        for node in [&mut link.client, &mut link.server] {
            offered += u64::from(node.offer(&head, b"x", at(link.ms)).is_ok());
        }
        sent += 1;
        link.run(7);
        assert!(sent < 1000 * count, "{} renewals", link.phases.len());
    }
    link.run(3000);
    let received = link.client.got.len() + link.server.got.len();
    let delivered = [&link.client, &link.server].map(|node| node.outcomes.len()).iter().sum::<usize>();
    assert_eq!((received as u64, delivered as u64, link.removed()), (offered, offered, 0));
    let bad = [&link.server, &link.client]
        .map(|node| node.inbound.counters().snapshot().datagrams_dropped.of(DropReason::BadTag));
    assert_eq!(bad, [0, 0], "old keys open until they retire");
}

#[test]
fn a_server_asks_for_new_keys_if_its_client_does_not_begin() {
    let keys = Keys::shared(key(1));
    let mut link = Link::new(Duration::from_millis(300));
    link.client = node(5000, Role::Client, keys, 3, Duration::from_secs(100));
    link.phases.clear();
    link.client.dial(address(9000), at(link.ms));
    link.run(2000);
    assert!(link.phases.len() >= 4, "{:?}", link.phases);
    assert_eq!(link.dropped(), 0);
}

#[test]
fn keys_that_cannot_be_replaced_seal_nothing_after_one_and_a_half_times_their_time() {
    let mut link = Link::new(Duration::from_millis(400));
    // The server's answers are lost, and nothing else.
    let mut last = 0;
    for _ in 0..800 {
        link.ms += 1;
        let now = at(link.ms);
        link.client.tick(now);
        for packet in link.client.sent.drain(..) {
            if packet.bytes[3] & 2 != 0 {
                last = link.ms;
            }
        }
        link.server.tick(now);
        let heartbeats: Vec<_> =
            link.server.sent.drain(..).filter(|packet| packet.bytes.len() < 100).collect();
        for packet in heartbeats {
            link.client.handle(&packet, now);
        }
    }
    assert!((590..=720).contains(&last), "the last sealed datagram went at {last} ms");
    let peer = link.client.outbound.peers()[0];
    assert!(link.client.outbound.keys_are_worn_out(peer));
}

#[test]
fn new_keys_of_a_client_do_not_wear_out_with_the_old_ones_of_its_server() {
    let mut link = Link::new(Duration::from_millis(450));
    link.run(440);
    // The messages for new keys are lost until the old ones are nearly worn out, after 675 ms. Then the client gets new keys, and hears
    // nothing more.
    link.loses_long = true;
    link.run(195);
    link.loses_long = false;
    while link.phases.last() != Some(&true) {
        link.run(1);
        assert!(link.ms < 670, "the client has no new keys");
    }
    let finished = link.ms;
    let mut last = 0;
    for _ in 0..800 {
        link.ms += 1;
        link.client.tick(at(link.ms));
        let sealed = link.client.sent.drain(..).filter(|packet| packet.bytes[3] & 2 != 0).count();
        last = if sealed > 0 { link.ms } else { last };
    }
    assert!((500..=680).contains(&(last - finished)), "sealed for {} ms", last - finished);
    let peer = link.client.outbound.peers()[0];
    assert!(link.client.outbound.keys_are_worn_out(peer));
}

#[test]
fn another_key_takes_over_in_the_same_session() {
    let both = || Keys::new([Identity::new("arm", [key(2), key(1)])]).expect("in order");
    let mut link = Link::new(Duration::from_secs(100));
    link.server = node(9000, Role::Server, both(), 4, Duration::from_secs(100));
    link.client = node(5000, Role::Client, Keys::shared(key(1)), 5, Duration::from_secs(100));
    link.phases.clear();
    link.client.dial(address(9000), at(link.ms));
    link.run(20);
    assert_eq!(link.phases, [false]);
    link.client.inbound.replace_keys(Keys::shared(key(2)), at(link.ms).steady);
    for number in 0..300u32 {
        link.client.send(number.to_string().as_bytes(), at(link.ms));
        link.server.send(number.to_string().as_bytes(), at(link.ms));
        link.run(1);
    }
    assert_eq!(link.phases, [false, true]);
    link.server
        .inbound
        .replace_keys(Keys::new([Identity::new("arm", [key(2)])]).expect("in order"), at(link.ms).steady);
    link.run(20);
    assert_eq!((link.server.got.len(), link.client.got.len(), link.removed()), (300, 300, 0));
}

#[test]
fn a_key_that_the_server_does_not_know_harms_nothing_and_the_next_one_takes_over() {
    let keys = |numbers: &[u8]| {
        Keys::new([Identity::new("arm", numbers.iter().map(|&number| key(number)))]).expect("in order")
    };
    let mut link = Link::new(Duration::from_secs(100));
    link.server = node(9000, Role::Server, keys(&[1, 2]), 4, Duration::from_secs(100));
    link.client = node(5000, Role::Client, keys(&[1]), 5, Duration::from_secs(100));
    link.phases.clear();
    link.client.dial(address(9000), at(link.ms));
    link.run(20);
    link.client.inbound.replace_keys(keys(&[3, 1]), at(link.ms).steady);
    link.run(1500);
    assert_eq!(link.client.count(|event| matches!(event, Event::KeyNotAccepted { .. })), 1);
    link.client.inbound.replace_keys(keys(&[1]), at(link.ms).steady);
    link.run(500);
    assert_eq!((&link.phases[..], link.removed()), (&[false][..], 0));
    link.client.inbound.replace_keys(keys(&[2]), at(link.ms).steady);
    link.run(500);
    assert_eq!((&link.phases[..], link.removed(), link.dropped()), (&[false, true][..], 0, 0));
    assert_eq!(link.server.count(|event| matches!(event, Event::KeyReplaced(_))), 1);
}

fn holder(numbers: &[u8]) -> Keys {
    Keys::new([Identity::new("arm", numbers.iter().map(|&number| key(number)))]).expect("in order")
}

/// A link of a server that accepts the keys 1 and 2, and of a client that calls with key 1.
fn link_with_two_keys() -> Link {
    let mut link = Link::new(Duration::from_secs(100));
    link.server = node(9000, Role::Server, holder(&[1, 2]), 4, Duration::from_secs(100));
    link.client = node(5000, Role::Client, holder(&[1]), 5, Duration::from_secs(100));
    link.phases.clear();
    link.client.dial(address(9000), at(0));
    link.run(20);
    link
}

impl Link {
    /// Lets the client call with this key from now on. Returns what it sends.
    fn call_with(&mut self, number: u8) -> Vec<Packet> {
        let now = at(self.ms);
        self.client.inbound.replace_keys(holder(&[number]), now.steady);
        self.client.tick(now);
        self.client.sent.drain(..).collect()
    }

    fn hand_to_server(&mut self, packets: &[Packet]) {
        packets.iter().for_each(|packet| self.server.handle(packet, at(self.ms)));
    }
}

#[test]
fn a_late_message_of_a_renewal_that_was_begun_anew_does_no_harm() {
    let mut link = link_with_two_keys();
    let late = link.call_with(2);
    let back = link.call_with(1);
    let newer = link.call_with(2);
    assert_eq!((late.len(), back.len(), newer.len()), (1, 0, 1));
    link.hand_to_server(&newer);
    link.ms += 70;
    link.hand_to_server(&late);
    for number in 0..300u32 {
        link.client.send(number.to_string().as_bytes(), at(link.ms));
        link.server.send(number.to_string().as_bytes(), at(link.ms));
        link.run(1);
    }
    assert_eq!(link.phases, [false, true]);
    assert_eq!((link.server.got.len(), link.client.got.len(), link.removed()), (300, 300, 0));
}

#[test]
fn a_key_that_is_removed_while_it_takes_over_ends_the_session() {
    let mut link = link_with_two_keys();
    let begun = link.call_with(2);
    link.hand_to_server(&begun);
    link.server.inbound.replace_keys(holder(&[1]), at(link.ms).steady);
    assert_eq!(link.removed(), 0, "the present key is accepted still");
    link.run(200);
    let told = |event: &Event| matches!(event, Event::Removed(_, RemovalReason::KeyRemoved));
    assert_eq!((link.server.count(told), link.client.count(told)), (1, 1));
    assert!(link.server.outbound.peers().is_empty());
    // The client goes on calling, with a key that is not accepted.
    link.run(3000);
    assert!(link.server.outbound.peers().is_empty() && link.server.got.is_empty());
}

#[test]
fn a_client_that_begins_again_and_again_is_answered_at_most_twenty_times_a_second() {
    let mut link = link_with_two_keys();
    let (mut begun, mut answers) = (0, 0);
    for _ in 0..1000 {
        link.ms += 1;
        link.call_with(1);
        let packets = link.call_with(2);
        begun += packets.len();
        link.hand_to_server(&packets);
        answers += link.server.sent.drain(..).count();
    }
    assert!(begun >= 1000 && (15..=20).contains(&answers), "{answers} answers to {begun}");
}
