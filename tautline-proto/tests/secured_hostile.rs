//! A hostile network, or a user, acts once: at each step of a handshake with a key and of what follows it. Whatever it is, the link
//! is up afterwards, and no message comes twice. docs/protocol.md §11.

mod support;

use std::collections::{HashSet, VecDeque};

use support::{Node, Packet, address, at, config};
use tautline_proto::Now;
use tautline_proto::endpoint::{Role, WireFormat};
use tautline_proto::secure::{Identity, Key, Keys};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Drop,
    Repeat,
    /// It comes after the next one, and after two seconds.
    Swap,
    Hold,
    /// A copy with a changed byte comes first; one goes back to its sender; one says that it is of another session.
    Forge,
    Reflect,
    Mix,
    RestartServer,
    RestartClient,
    RestartBoth,
    /// The client calls with another key, which the server accepts too.
    ChangeKey,
    /// As `ChangeKey`, and the server accepts the old one no longer.
    RemoveKey,
    /// The client has another address, and does not know it.
    Move,
    /// The clock of one end leaps, as after a sleep of its machine.
    LeapOfServer,
    LeapOfClient,
}

const ACTS: [Act; 15] = [
    Act::Drop,
    Act::Repeat,
    Act::Swap,
    Act::Hold,
    Act::Forge,
    Act::Reflect,
    Act::Mix,
    Act::RestartServer,
    Act::RestartClient,
    Act::RestartBoth,
    Act::ChangeKey,
    Act::RemoveKey,
    Act::Move,
    Act::LeapOfServer,
    Act::LeapOfClient,
];

/// The datagrams before which it happens: hello, token, echo, accept, and those of the first half second, with a message each way
/// every 20 ms.
const STEPS: usize = 18;

/// After this time, in milliseconds, the link must be up: a call may be given up once, and a silence noticed.
const UP_AFTER: u64 = 4000;
const END: u64 = UP_AFTER + 400;

/// How far a clock leaps.
const LEAP: u64 = 5000;

fn keys(numbers: &[u8]) -> Keys {
    let keys = numbers.iter().map(|&number| Key::from_bytes([number; Key::LEN]));
    Keys::new([Identity::new("arm", keys)]).expect("different keys")
}

fn node(role: Role, numbers: &[u8], seed: u8) -> Node {
    let mut config = config(role, WireFormat::Native);
    config.security = Some(keys(numbers));
    Node::new(if role == Role::Server { 9000 } else { 5000 }, config, seed)
}

struct Link {
    server: Node,
    client: Node,
    /// What each end calls and accepts, for its next life.
    keys: [&'static [u8]; 2],
    lives: u8,
    ms: u64,
    leaps: [u64; 2],
    flying: VecDeque<Packet>,
    held: Vec<(u64, Packet)>,
    carried: usize,
    came: HashSet<Vec<u8>>,
    /// The newest message that each end has received.
    newest: [u64; 2],
}

impl Link {
    fn new() -> Self {
        let keys: [&[u8]; 2] = [&[1, 2], &[1]];
        let mut link = Self {
            server: node(Role::Server, keys[0], 1),
            client: node(Role::Client, keys[1], 2),
            keys,
            lives: 2,
            ms: 0,
            leaps: [0; 2],
            flying: VecDeque::new(),
            held: Vec::new(),
            carried: 0,
            came: HashSet::new(),
            newest: [0; 2],
        };
        link.client.dial(address(9000), at(0));
        link
    }

    fn now(&self, end: usize) -> Now {
        at(self.ms + self.leaps[end])
    }

    fn run(&mut self, acts: &[(Act, usize)]) {
        while self.ms < END {
            self.ms += 5;
            let (of_server, of_client) = (self.now(0), self.now(1));
            self.server.tick(of_server);
            self.client.tick(of_client);
            if self.ms.is_multiple_of(20) {
                let payload = |end: u8| [&[end], &self.ms.to_be_bytes()[..]].concat();
                let (to_client, to_server) = (payload(0), payload(1));
                self.server.send(&to_client, of_server);
                self.client.send(&to_server, of_client);
            }
            let ms = self.ms;
            self.flying.extend(self.held.extract_if(.., |(at, _)| *at <= ms).map(|(_, packet)| packet));
            self.carry(acts);
        }
    }

    fn carry(&mut self, acts: &[(Act, usize)]) {
        loop {
            self.flying.extend(self.client.sent.drain(..).chain(self.server.sent.drain(..)));
            let Some(packet) = self.flying.pop_front() else { return };
            self.carried += 1;
            match acts.iter().find(|(_, step)| *step == self.carried) {
                Some(&(act, _)) => self.act(act, packet),
                None => self.deliver(&packet),
            }
        }
    }

    fn deliver(&mut self, packet: &Packet) {
        let end = usize::from(packet.to.port() != 9000);
        let now = self.now(end);
        let node = if end == 0 { &mut self.server } else { &mut self.client };
        if packet.to == node.address {
            node.handle(packet, now);
        }
        for got in std::mem::take(&mut node.got) {
            let sent = got.payload.last_chunk().map_or(0, |ms| u64::from_be_bytes(*ms));
            self.newest[end] = self.newest[end].max(sent);
            assert!(self.came.insert(got.payload), "a message of {sent} ms came twice");
        }
    }

    fn act(&mut self, act: Act, packet: Packet) {
        match act {
            Act::Drop => return,
            Act::Repeat => self.deliver(&packet),
            Act::Swap => {
                let place = self.flying.len().min(1);
                return self.flying.insert(place, packet);
            }
            Act::Hold => return self.held.push((self.ms + 2000, packet)),
            Act::Forge | Act::Mix => {
                let mut forged = packet.clone();
                forged.bytes[if act == Act::Mix { 7 } else { packet.bytes.len() - 7 }] ^= 1;
                self.deliver(&forged);
            }
            Act::Reflect => {
                self.deliver(&Packet { from: packet.to, to: packet.from, bytes: packet.bytes.clone() });
            }
            Act::RestartServer => self.restart(0),
            Act::RestartClient => self.restart(1),
            Act::RestartBoth => [0, 1].into_iter().for_each(|end| self.restart(end)),
            Act::ChangeKey | Act::RemoveKey => {
                self.keys = [if act == Act::RemoveKey { &[2] } else { &[1, 2] }, &[2]];
                let (of_server, of_client) = (self.now(0).steady, self.now(1).steady);
                self.server.inbound.replace_keys(keys(self.keys[0]), of_server);
                self.client.inbound.replace_keys(keys(self.keys[1]), of_client);
            }
            Act::Move => self.client.address = address(5001),
            Act::LeapOfServer => self.leaps[0] += LEAP,
            Act::LeapOfClient => self.leaps[1] += LEAP,
        }
        self.deliver(&packet);
    }

    fn restart(&mut self, end: usize) {
        self.lives += 1;
        let (role, now) = ([Role::Server, Role::Client][end], self.now(end));
        let node = node(role, self.keys[end], self.lives);
        if end == 0 {
            self.server = node;
        } else {
            self.client = Node { address: self.client.address, ..node };
            self.client.dial(address(9000), now);
        }
    }
}

fn is_up_after(acts: &[(Act, usize)]) {
    let mut link = Link::new();
    link.run(acts);
    let newest = link.newest;
    assert!(newest.iter().all(|ms| ms + 40 >= END), "{acts:?}: {newest:?} of {END}");
}

#[test]
fn the_link_is_up_again_whatever_happens_at_whichever_step() {
    ACTS.into_iter()
        .flat_map(|act| (1..=STEPS).map(move |step| (act, step)))
        .for_each(|act| is_up_after(&[act]));
}

/// Tries one of so many pairs.
fn pairs(every: usize) {
    let singles: Vec<_> = ACTS.into_iter().flat_map(|act| (1..=STEPS).map(move |step| (act, step))).collect();
    let pairs = singles.iter().flat_map(|&one| singles.iter().map(move |&other| [one, other]));
    pairs.filter(|[one, other]| one.1 < other.1).step_by(every).for_each(|pair| is_up_after(&pair));
}

#[test]
fn the_link_is_up_again_whatever_two_things_happen() {
    pairs(211);
}

#[test]
#[ignore = "34,425 pairs; in release"]
fn the_link_is_up_again_after_every_pair_of_things_that_happen() {
    pairs(1);
}
