//! One bad run with black boxes, and what they hold run again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tautline_proto::endpoint::{
    EndpointConfig, Rerun, RerunSettings, Role, Step, WireFormat, rerun_inbound, rerun_outbound,
};
use tautline_proto::sim::{Clock, Impairments, NodeId, Probability, Random, World, config};
use tautline_proto::wire::classic::ClassicFormat;
use tautline_proto::wire::native::Head;
use tautline_proto::{Delivery, MessageType, Priority, RingContents, StreamId};

const MS: Duration = Duration::from_millis(1);

/// How long a run takes, in simulated time.
const RUN_TIME: Duration = Duration::from_secs(8);

const TICK: Duration = Duration::from_millis(2);

/// So small that a ring of a life of average length wraps some ten times.
const RING: usize = 32_768;

/// The segments of each ring.
const SEGMENTS: u64 = 2;

const COMMANDS: StreamId = StreamId { message_type: MessageType::Command, channel: 0 };

/// What the reruns of a run, or of many, have shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sums {
    /// Rings that were run again.
    pub(crate) rings: u64,
    /// Those of them that were written over ten times or more.
    pub(crate) wrapped: u64,
    /// Inputs that were run again, and the datagrams among them.
    pub(crate) inputs: u64,
    /// See `inputs`.
    pub(crate) datagrams: u64,
    /// Whole states that were compared.
    pub(crate) states: u64,
    /// Messages that were handed out again.
    pub(crate) messages: u64,
    /// Bytes of the rings.
    pub(crate) bytes: u64,
    /// Inputs that the rings had no room for.
    pub(crate) left_out: u64,
    /// Simulated time of the reruns.
    pub(crate) time: Duration,
}

impl Sums {
    /// Adds those of another run.
    pub(crate) fn add(&mut self, other: &Self) {
        self.rings += other.rings;
        self.wrapped += other.wrapped;
        self.inputs += other.inputs;
        self.datagrams += other.datagrams;
        self.states += other.states;
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.left_out += other.left_out;
        self.time += other.time;
    }
}

/// The check of payloads is none in these runs.
pub(crate) fn as_it_was() -> RerunSettings<'static> {
    RerunSettings::unchanged(Arc::new(|_, _| Ok(())))
}

/// What the rings of a world hold: those of each receiving half, and of each sending half.
pub(crate) struct Records {
    /// Receiving halves.
    pub(crate) inbound: Vec<RingContents>,
    /// Sending halves.
    pub(crate) outbound: Vec<RingContents>,
}

/// Whether the links of a run have keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// On either wire.
    Plain,
    /// On the native wire. Keys are replaced, and the addresses of clients change.
    #[cfg(feature = "secure")]
    Secured,
}

/// Lets a server and three clients talk on a bad network. Returns what their black boxes hold.
pub(crate) fn record(links: Links, seed: u64) -> Records {
    let mut run = Run::new(links, seed);
    while run.world.elapsed() < RUN_TIME {
        run.tick();
    }
    let boxes = run.nodes.iter().flat_map(|node| run.world.black_boxes(*node).to_vec());
    let (inbound, outbound) =
        boxes.map(|black_box| (black_box.inbound.contents(), black_box.outbound.contents())).unzip();
    Records { inbound, outbound }
}

/// Records a run, and runs it again.
///
/// # Errors
///
/// The first output that differs.
pub(crate) fn run(links: Links, seed: u64) -> Result<Sums, String> {
    let records = record(links, seed);
    let mut sums = Sums::default();
    for contents in &records.inbound {
        let (mut first, mut last, mut messages) = (None, None, 0);
        let rerun = rerun_inbound(contents, &as_it_was(), |step| match step {
            Step::Datagram { now, .. } => {
                first.get_or_insert(now.steady);
                last = Some(now.steady);
            }
            Step::Message { .. } => messages += 1,
            _ => {}
        });
        if let (Some(first), Some(last)) = (first, last) {
            sums.time += last.since(first);
        }
        sums.messages += messages;
        sums.count(contents, &rerun).map_err(|problem| format!("receiving half: {problem}"))?;
    }
    for contents in &records.outbound {
        let rerun = rerun_outbound(contents, &as_it_was(), |_| {});
        sums.count(contents, &rerun).map_err(|problem| format!("sending half: {problem}"))?;
    }
    Ok(sums)
}

impl Sums {
    fn count(&mut self, contents: &RingContents, rerun: &Rerun) -> Result<(), String> {
        if let Some(difference) = &rerun.difference {
            return Err(format!("{difference:?}"));
        }
        // The record, and each part of it before a gap, may end with an input whose answers would be written with the next one.
        let gaps = contents.segments.windows(2).filter(|pair| pair[0].period + 1 != pair[1].period).count();
        if rerun.unreadable > 0 || rerun.left_out > 1 + gaps as u64 {
            return Err(format!("not all of it was run again: {rerun:?}"));
        }
        let written = contents.segments.last().map_or(0, |segment| segment.period);
        self.rings += 1;
        self.wrapped += u64::from(written / SEGMENTS > 10);
        self.inputs += rerun.inputs;
        self.datagrams += rerun.datagrams;
        self.states += rerun.states;
        self.bytes += contents.segments.iter().map(|segment| segment.bytes.len() as u64).sum::<u64>();
        self.left_out += contents.left_out;
        Ok(())
    }
}

/// The address of a host. Runs with even seeds are over IPv6.
fn address(seed: u64, host: u8, port: u16) -> SocketAddr {
    let ip: IpAddr = if seed.is_multiple_of(2) {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host.into()).into()
    } else {
        Ipv4Addr::new(10, 0, 0, host).into()
    };
    SocketAddr::new(ip, port)
}

struct Run {
    seed: u64,
    world: World,
    nodes: Vec<NodeId>,
    random: Random,
    bad: Impairments,
    cut_until: Duration,
    tickets: u64,
    links: Links,
}

impl Run {
    fn new(links: Links, seed: u64) -> Self {
        let mut random = Random::stream(seed, 77);
        let bad = bad_network(&mut random);
        let mut world = World::new(bad, seed);
        world.record(RING);
        #[allow(unused_mut)] // only keys change it
        let mut template = ends(&mut random);
        #[cfg(feature = "secure")]
        if links == Links::Secured {
            keys::secure(&mut template, &mut random);
        }
        let mut nodes = Vec::new();
        for (host, name) in (1..).zip(["plant", "first", "second", "third"]) {
            let role = if host == 1 { Role::Server } else { Role::Client };
            let mut end = template.clone();
            (end.name, end.role) = (name.into(), role);
            let clock = Clock {
                drift_ppm: i32::try_from(random.below(200)).expect("small") - 100,
                ..Clock::default()
            };
            nodes.push(world.add(address(seed, host, 9000), end, clock));
        }
        for client in &nodes[1..] {
            world.dial(*client, address(seed, 1, 9000));
        }
        Self { seed, world, nodes, random, bad, cut_until: Duration::ZERO, tickets: 0, links }
    }

    fn tick(&mut self) {
        let now = self.world.elapsed();
        if now >= self.cut_until {
            let is_cut = self.random.below(400) == 0;
            if is_cut {
                self.cut_until = now + self.random.up_to(Duration::from_millis(900));
            }
            self.world.network().impair_all(Impairments { partition: is_cut, ..self.bad });
        }
        for node in self.nodes.clone() {
            self.act(node);
        }
        let until = now + TICK;
        while self.world.next(until).is_some() {}
    }

    fn act(&mut self, node: NodeId) {
        match self.random.below(3000) {
            0 => {
                self.world.close(node);
                self.world.restart(node);
            }
            1 | 2 => self.world.restart(node),
            3..20 => {
                self.tickets += 1;
                self.world.claim(node, COMMANDS, self.tickets);
            }
            20..30 => {
                self.tickets += 1;
                self.world.release(node, COMMANDS, self.tickets);
            }
            30..1800 => {
                let message_type = [MessageType::Command, MessageType::Data][self.pick(2)];
                let head = Head {
                    channel: u16::try_from(self.pick(3)).expect("small"),
                    ..self.world.head(node, message_type)
                };
                let payload = vec![7; self.pick(300)];
                self.world.send(node, &head, &payload);
            }
            1800..1830 => self.offer(node),
            #[cfg(feature = "secure")]
            1830..1840 if self.links == Links::Secured => self.change(node),
            _ => {}
        }
    }

    fn offer(&mut self, node: NodeId) {
        let delivery = [Delivery::Reliable, Delivery::Ordered][self.pick(2)];
        let priority = Priority::ALL[self.pick(Priority::ALL.len())];
        let head = Head { delivery, priority, ..self.world.head(node, MessageType::Status) };
        let len = if self.pick(8) == 0 { self.pick(3000) } else { self.pick(100) };
        for peer in self.world.peers(node).to_vec() {
            // A full window is part of the run.
            let _ = self.world.offer(node, peer, &head, &vec![9; len]);
        }
    }

    /// Replaces the keys of a node, or moves it to another address.
    #[cfg(feature = "secure")]
    fn change(&mut self, node: NodeId) {
        if self.pick(2) == 0 {
            return self.world.replace_keys(node, keys::some(&mut self.random));
        }
        if node != self.nodes[0] {
            self.tickets += 1;
            let port = 10_000 + u16::try_from(self.tickets).expect("few");
            self.world.rebind(node, address(self.seed, 200, port));
        }
    }

    fn pick(&mut self, count: usize) -> usize {
        usize::try_from(self.random.below(count as u64)).expect("small")
    }
}

/// The keys of secured runs.
#[cfg(feature = "secure")]
mod keys {
    use std::time::Duration;

    use tautline_proto::endpoint::{EndpointConfig, WireFormat};
    use tautline_proto::secure::{Identity, Key, Keys};
    use tautline_proto::sim::Random;
    use tautline_proto::{MessageType, Rights};

    /// Lets the ends have keys, and replace the keys of their sessions every now and then.
    pub(crate) fn secure(ends: &mut EndpointConfig, random: &mut Random) {
        ends.wire = WireFormat::Native;
        ends.security = Some(some(random));
        ends.rekey_after = Duration::from_millis(300 + random.below(2_000));
    }

    /// Keys of which any two ends have one in common, mostly.
    pub(crate) fn some(random: &mut Random) -> Keys {
        let key = |byte: u8| Key::from_bytes([byte; 32]);
        let may_do_all = Identity::new("operator", [key(1), key(2)]);
        let looks_on = Identity::new("observer", [key(3)]).with_rights(Rights::NONE.with(MessageType::Data));
        let identities = match random.below(8) {
            0 => vec![looks_on, may_do_all],
            1 => vec![Identity::new("operator", [key(2), key(1)])],
            2 => vec![looks_on],
            _ => vec![may_do_all, looks_on],
        };
        Keys::new(identities).expect("each key is there once")
    }
}

/// How all ends are set up.
fn ends(random: &mut Random) -> EndpointConfig {
    let mut ends = config(Role::Server, "");
    if random.below(4) == 0 {
        let [use_crc, use_sequence] = [(); 2].map(|()| random.below(4) > 0);
        ends.wire = WireFormat::Classic(ClassicFormat { use_crc, use_sequence });
    }
    ends.max_peers = [2, 3, 64][usize::try_from(random.below(3)).expect("small")];
    ends.datagram_size = [1200, 1472, 8972][usize::try_from(random.below(3)).expect("small")];
    ends.heartbeat_interval = MS * u32::try_from(20 + random.below(100)).expect("small");
    ends.liveness_timeout = 4 * ends.heartbeat_interval;
    ends.peer_expiry = 2 * ends.liveness_timeout;
    ends.max_tries = 6;
    if random.below(2) == 0 {
        ends.owned.set(MessageType::Command, None, Some(Duration::from_millis(60)));
    }
    ends
}

fn bad_network(random: &mut Random) -> Impairments {
    let share = |percent: u64| Probability::percent(percent as f64).expect("from 0 to 100");
    Impairments {
        loss: share(random.below(40)),
        duplicate: share(10),
        corrupt: share(5),
        reorder: share(random.below(11)),
        delay: random.up_to(10 * MS),
        jitter: random.up_to(8 * MS),
        max_size: (random.below(4) == 0).then_some(1300),
        ..Impairments::default()
    }
}
