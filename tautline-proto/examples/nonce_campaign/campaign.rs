//! The campaign: random schedules of what can make a sender seal a number, and a ledger of every sealed datagram. A number that is
//! sealed twice with other contents under one key would give both contents away.

use std::collections::HashMap;
use std::time::Duration;

use tautline_proto::endpoint::{Role, SentDatagrams, WireFormat};
use tautline_proto::secure::{Key, Keys};
use tautline_proto::wire::native::{Pack, begin_datagram, begin_message, finish_message};
use tautline_proto::{Now, PeerId};

use super::mutate::Rng;
use super::support::{Node, Packet, address, at, config, plain_head};

/// How many steps a schedule has.
const STEPS: usize = 40;

/// What was counted in all schedules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) schedules: u64,
    /// Datagrams that were sealed, sent or not.
    pub(crate) sealed: u64,
    /// Sealed datagrams that the kernel refused, and that were never sent.
    pub(crate) refused: u64,
    /// Packs of which a part was sent.
    pub(crate) parts: u64,
    /// Sealed datagrams that were sent again as they were.
    pub(crate) repeated: u64,
    pub(crate) restarts: u64,
    pub(crate) sessions: u64,
    pub(crate) renewals: u64,
    /// How often a client's address changed.
    pub(crate) moves: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.schedules += other.schedules;
        self.sealed += other.sealed;
        self.refused += other.refused;
        self.parts += other.parts;
        self.repeated += other.repeated;
        self.restarts += other.restarts;
        self.sessions += other.sessions;
        self.renewals += other.renewals;
        self.moves += other.moves;
    }
}

/// Runs this many schedules, on every core.
///
/// # Errors
///
/// The first schedule that sealed a number twice.
pub(crate) fn run(schedules: u64, seed: u64) -> Result<Tally, String> {
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let share = |thread: u64| {
        let mut tally = Tally::default();
        for number in (thread..schedules).step_by(usize::try_from(threads).unwrap_or(1)) {
            let seed = seed.wrapping_add(number);
            let violated = Schedule::new(seed, &mut tally).run();
            violated.map_err(|violation| format!("seed {seed}: {violation}"))?;
            tally.schedules += 1;
        }
        Ok::<_, String>(tally)
    };
    std::thread::scope(|scope| {
        let share = &share;
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || share(thread))).collect();
        let mut sum = Tally::default();
        for thread in running {
            sum.add(thread.join().expect("no panic")?);
        }
        Ok(sum)
    })
}

struct Schedule<'a> {
    rng: Rng,
    /// A server and two clients.
    nodes: [Node; 3],
    lives: u8,
    ms: u64,
    /// The port that was used last.
    ports: u16,
    flying: Vec<Packet>,
    /// What was sealed: by session, sender and number.
    ledger: HashMap<(u64, bool, u32), Vec<u8>>,
    phases: HashMap<(u64, bool), bool>,
    tally: &'a mut Tally,
}

fn node(port: u16, role: Role, life: u8) -> Node {
    let mut config = config(role, WireFormat::Native);
    config.security = Some(Keys::shared(Key::from_bytes([1; 32])));
    // So that keys are replaced often, and sometimes too late.
    config.heartbeat_interval = Duration::from_millis(10);
    config.rekey_after = Duration::from_millis(60);
    Node::new(port, config, life)
}

impl<'a> Schedule<'a> {
    fn new(seed: u64, tally: &'a mut Tally) -> Self {
        let nodes = [node(9000, Role::Server, 1), node(5000, Role::Client, 2), node(5001, Role::Client, 3)];
        let (flying, ledger, phases) = (Vec::new(), HashMap::new(), HashMap::new());
        Self { rng: Rng::new(seed), nodes, lives: 3, ms: 0, ports: 5001, flying, ledger, phases, tally }
    }

    fn now(&self) -> Now {
        at(self.ms)
    }

    fn run(&mut self) -> Result<(), String> {
        for client in 1..3 {
            let now = self.now();
            self.nodes[client].dial(address(9000), now);
        }
        for _ in 0..4 {
            self.collect()?;
            self.deliver_all();
        }
        for _ in 0..STEPS {
            self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), String> {
        let now = self.now();
        let who = self.rng.below(3);
        match self.rng.below(12) {
            0 | 1 => _ = self.nodes[who].send(b"to all", now),
            2 => self.refuse(who)?,
            3 => self.pack(who)?,
            4 => self.repeat(),
            5 if self.rng.below(3) == 0 => self.restart(who),
            6 if who > 0 => self.move_client(who),
            7 => self.flying.clear(),
            8 => self.flying.reverse(),
            _ => {
                self.ms += 1 + self.rng.below(40) as u64;
                let now = self.now();
                self.nodes.iter_mut().for_each(|node| node.tick(now));
            }
        }
        self.collect()?;
        if self.rng.below(4) != 0 {
            self.deliver_all();
        }
        self.collect()
    }

    fn peer_of(&mut self, who: usize) -> Option<PeerId> {
        let peers = self.nodes[who].outbound.peers();
        if peers.is_empty() { None } else { Some(peers[self.rng.below(peers.len())]) }
    }

    /// A datagram that is sealed, and that the kernel refuses.
    fn refuse(&mut self, who: usize) -> Result<(), String> {
        let Some(peer) = self.peer_of(who) else { return Ok(()) };
        let (mut frames, mut sealed) = (message(self.now(), b"refused"), Vec::new());
        if let Some((_, bytes)) = self.nodes[who].outbound.seal(peer, &mut frames, &mut sealed) {
            let bytes = bytes.to_vec();
            self.tally.refused += 1;
            self.enter(&bytes)?;
        }
        Ok(())
    }

    /// A pack of which the kernel takes the first datagrams only, and whose rest is sealed anew.
    fn pack(&mut self, who: usize) -> Result<(), String> {
        let Some(peer) = self.peer_of(who) else { return Ok(()) };
        let mut pack = Pack::default();
        pack.begin(200);
        let frame = message(self.now(), &[b'x'; 100]).split_off(16);
        let count = 1 + self.rng.below(5);
        (0..count).for_each(|_| assert!(pack.push(&frame)));
        let taken = self.rng.below(count + 1);
        self.tally.parts += u64::from(taken < count);
        for rest in [false, true] {
            let (mut sealed, mut all) = (Vec::new(), Vec::new());
            let node = &mut self.nodes[who];
            let Some(ready) = node.outbound.seal_pack(peer, &mut pack, &mut sealed) else { return Ok(()) };
            let to = ready.to;
            all.extend(ready.datagrams().map(|(bytes, messages)| (bytes.to_vec(), messages)));
            for (place, (bytes, messages)) in all.into_iter().enumerate() {
                if rest || place < taken {
                    let node = &mut self.nodes[who];
                    node.outbound.sent(peer, SentDatagrams::one(bytes.len(), messages));
                    let packet = Packet { from: node.address, to, bytes: bytes.clone() };
                    self.flying.push(packet);
                }
                self.enter(&bytes)?;
            }
        }
        Ok(())
    }

    /// A datagram is sent again as it is, by the sender or by the network.
    fn repeat(&mut self) {
        if !self.flying.is_empty() {
            let packet = self.flying[self.rng.below(self.flying.len())].clone();
            self.flying.push(packet);
            self.tally.repeated += 1;
        }
    }

    fn restart(&mut self, who: usize) {
        self.lives = self.lives.wrapping_add(1).max(4);
        let (port, role) = [(9000, Role::Server), (5000, Role::Client), (5001, Role::Client)][who];
        self.nodes[who] = node(port, role, self.lives);
        self.tally.restarts += 1;
        if who > 0 {
            let now = self.now();
            self.nodes[who].dial(address(9000), now);
        }
    }

    /// A client has another address. In half of the cases it knows that.
    fn move_client(&mut self, who: usize) {
        self.tally.moves += 1;
        self.ports += 1;
        self.nodes[who].address = address(self.ports);
        if self.rng.below(2) == 0 {
            let now = self.now();
            self.nodes[who].dial(address(9000), now);
        }
    }

    /// Takes what the nodes have sent, and enters what is sealed.
    fn collect(&mut self) -> Result<(), String> {
        let sent: Vec<_> = self.nodes.iter_mut().flat_map(|node| node.sent.drain(..)).collect();
        for packet in sent {
            self.enter(&packet.bytes)?;
            self.flying.push(packet);
        }
        Ok(())
    }

    fn deliver_all(&mut self) {
        let now = self.now();
        for packet in std::mem::take(&mut self.flying) {
            if let Some(node) = self.nodes.iter_mut().find(|node| node.address == packet.to) {
                node.handle(&packet, now);
            }
        }
    }

    /// Checks that no other datagram of this session and sender has this number.
    fn enter(&mut self, bytes: &[u8]) -> Result<(), String> {
        let flags = bytes[3];
        if flags & 2 == 0 {
            return Ok(());
        }
        let session = u64::from_be_bytes(*bytes[4..].first_chunk().expect("a header"));
        let number = u32::from_be_bytes(*bytes[12..].first_chunk().expect("a header"));
        let from_server = flags & 1 != 0;
        self.tally.sealed += 1;
        match self.phases.insert((session, from_server), flags & 4 != 0) {
            None => self.tally.sessions += 1,
            Some(phase) => self.tally.renewals += u64::from(phase != (flags & 4 != 0)),
        }
        match self.ledger.insert((session, from_server, number), bytes.to_vec()) {
            Some(before) if before != bytes => {
                Err(format!("number {number} of session {session:016x} was sealed twice"))
            }
            _ => Ok(()),
        }
    }
}

/// A datagram with one message, not sealed yet.
fn message(now: Now, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    begin_datagram(&mut datagram);
    let start = begin_message(&mut datagram, &plain_head(now)).expect("no texts");
    datagram.extend_from_slice(payload);
    assert!(finish_message(&mut datagram, start), "short");
    datagram
}
