//! The campaign: datagrams of a secured link that are changed, repeated, sent back to their sender, or moved to another session
//! or direction. No end may accept one, and the true datagrams must arrive all the same.

use std::fmt;

use tautline_proto::endpoint::{EndpointConfig, Role, WireFormat};
use tautline_proto::secure::{Key, Keys};
use tautline_proto::wire::native::HEADER_LEN;
use tautline_proto::{Drops, Now};

use super::mutate::{Rng, mutate, repair_crc};
use super::support::{Node, Packet, address, at, config};

/// How many forgeries are made from one set of true datagrams.
const FORGERIES_PER_SET: u64 = 512;
/// How many messages each end sends to each other end in a set.
const MESSAGES_PER_SET: usize = 6;
/// How many datagrams that were delivered are remembered, to repeat them.
const REMEMBERED: usize = 256;

const SESSION: std::ops::Range<usize> = 4..12;
const SEQUENCE: std::ops::Range<usize> = 12..16;
const FLAGS: usize = 3;
const FRAME_TYPE: usize = 16;

/// What is done to a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One to five bits are flipped, or it is truncated or extended.
    Changed,
    /// It is sent again.
    Replayed,
    /// It is sent back to its sender.
    Reflected,
    /// It is sent back, and says that it comes from the other side.
    OtherDirection,
    /// It is put into the session of another client.
    OtherSession,
    /// It gets the number of another datagram.
    OtherNumber,
    /// A message of the handshake is changed, and its CRC is right again.
    Handshake,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] = [
        Self::Changed,
        Self::Replayed,
        Self::Reflected,
        Self::OtherDirection,
        Self::OtherSession,
        Self::OtherNumber,
        Self::Handshake,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Changed => "changed",
            Self::Replayed => "replayed",
            Self::Reflected => "reflected",
            Self::OtherDirection => "of the other direction",
            Self::OtherSession => "of another session",
            Self::OtherNumber => "with another number",
            Self::Handshake => "handshakes changed",
        })
    }
}

/// What a campaign found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) forged: [u64; Kind::ALL.len()],
    pub(crate) drops: Drops,
    /// True messages that arrived between the forgeries.
    pub(crate) messages: u64,
}

/// Forges this many datagrams.
///
/// # Errors
///
/// The first violation, with the seed and the datagram.
pub(crate) fn run(forgeries: u64, seed: u64) -> Result<Tally, String> {
    let mut campaign = Campaign::new(seed);
    let mut done = 0;
    while done < forgeries {
        campaign.begin_set()?;
        let end = forgeries.min(done + FORGERIES_PER_SET);
        while done < end {
            let forged = campaign.forge();
            done +=
                u64::from(forged.map_err(|violation| format!("seed {seed}, forgery {done}: {violation}"))?);
        }
        campaign
            .finish_set()
            .map_err(|violation| format!("seed {seed}, after forgery {done}: {violation}"))?;
    }
    Ok(campaign.tally)
}

fn secured(role: Role, key: u8) -> EndpointConfig {
    let mut config = config(role, WireFormat::Native);
    config.security = Some(Keys::shared(Key::from_bytes([key; 32])));
    config
}

/// A server, two clients with sessions, and one that is calling.
struct Campaign {
    rng: Rng,
    /// The server is the first.
    nodes: [Node; 4],
    ms: u64,
    /// True datagrams that are not delivered yet.
    fresh: Vec<Packet>,
    delivered: Vec<Packet>,
    /// Messages of a handshake that are not delivered.
    handshakes: Vec<Packet>,
    calls: u8,
    tally: Tally,
}

const CALLER: usize = 3;

impl Campaign {
    fn new(seed: u64) -> Self {
        let node = |port, role, seed| Node::new(port, secured(role, 1), seed);
        let nodes = [
            node(9000, Role::Server, 1),
            node(5000, Role::Client, 2),
            node(5001, Role::Client, 3),
            node(5002, Role::Client, 4),
        ];
        let mut campaign = Self {
            rng: Rng::new(seed),
            nodes,
            ms: 0,
            fresh: Vec::new(),
            delivered: Vec::new(),
            handshakes: Vec::new(),
            calls: 4,
            tally: Tally::default(),
        };
        for client in 1..CALLER {
            let now = campaign.now();
            campaign.nodes[client].dial(address(9000), now);
            campaign.carry_all();
        }
        campaign
    }

    fn now(&self) -> Now {
        at(self.ms)
    }

    fn node_at(&self, packet: &Packet) -> Option<usize> {
        self.nodes.iter().position(|node| node.address == packet.to)
    }

    fn deliver(&mut self, packet: &Packet) {
        let now = self.now();
        if let Some(place) = self.node_at(packet) {
            self.nodes[place].handle(packet, now);
        }
    }

    fn take_sent(&mut self) -> Vec<Packet> {
        self.nodes.iter_mut().flat_map(|node| node.sent.drain(..)).collect()
    }

    fn carry_all(&mut self) {
        loop {
            let sent = self.take_sent();
            if sent.is_empty() {
                return;
            }
            sent.iter().for_each(|packet| self.deliver(packet));
        }
    }

    /// Lets time pass, and makes true datagrams that are not delivered yet.
    fn begin_set(&mut self) -> Result<(), String> {
        self.ms += 20;
        let now = self.now();
        self.nodes[..CALLER].iter_mut().for_each(|node| node.tick(now));
        self.carry_all();
        self.call();
        self.nodes.iter_mut().for_each(|node| (node.got, node.events) = (Vec::new(), Vec::new()));
        for number in 0..MESSAGES_PER_SET {
            let len = self.rng.below(20) * self.rng.below(40);
            let payload = format!("\"{number}{}\"", "x".repeat(len));
            self.nodes[..CALLER].iter_mut().for_each(|node| _ = node.send(payload.as_bytes(), now));
        }
        self.fresh = self.take_sent();
        // The server has two peers, each client one.
        let expected = MESSAGES_PER_SET * 4;
        if self.fresh.len() == expected {
            Ok(())
        } else {
            Err(format!("{} sealed datagrams", self.fresh.len()))
        }
    }

    /// Lets a client call anew, and keeps its echo and the server's accept.
    fn call(&mut self) {
        let now = self.now();
        self.calls = self.calls.wrapping_add(1).max(5);
        self.nodes[CALLER] = Node::new(5002, secured(Role::Client, 1), self.calls);
        self.nodes[CALLER].dial(address(9000), now);
        let step = |campaign: &mut Self| {
            let sent = campaign.take_sent();
            sent.iter().for_each(|packet| campaign.deliver(packet));
        };
        step(self);
        step(self);
        let echo = self.take_sent();
        // The server answers one whose session it will not see again, so that the true accept can be changed too.
        let mut other = Node::new(9000, secured(Role::Server, 1), 1);
        let mut accepts = Vec::new();
        for packet in &echo {
            other.handle(packet, now);
            accepts.extend(other.sent.drain(..));
        }
        self.handshakes = echo.into_iter().chain(accepts).collect();
    }

    /// Makes one forgery, and checks that it is dropped under a reason. Returns `false` if what it drew is no forgery.
    fn forge(&mut self) -> Result<bool, String> {
        let place = self.rng.below(Kind::ALL.len());
        let Some(packet) = self.make(Kind::ALL[place]) else { return Ok(false) };
        let mut packet = packet;
        if self.rng.below(4) == 0 {
            // Sessions move, and no forgery moves one.
            packet.from = address(7777);
        }
        let Some(to) = self.node_at(&packet) else { return Err("nobody is there".into()) };
        let before = self.nodes[to].inbound.counters().snapshot();
        let got = self.nodes[to].got.len();
        self.deliver(&packet);
        let after = self.nodes[to].inbound.counters().snapshot();
        let bytes = || packet.bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        if after.datagrams_accepted != before.datagrams_accepted || self.nodes[to].got.len() != got {
            return Err(format!("{:?} was accepted: {}", Kind::ALL[place], bytes()));
        }
        if after.datagrams_dropped.total() != before.datagrams_dropped.total() + 1 {
            return Err(format!("{:?} was not counted: {}", Kind::ALL[place], bytes()));
        }
        if !self.nodes[to].sent.is_empty() {
            return Err(format!("{:?} was answered: {}", Kind::ALL[place], bytes()));
        }
        self.tally.forged[place] += 1;
        for (reason, count) in after.datagrams_dropped.iter() {
            self.tally.drops.add(reason, count - before.datagrams_dropped.of(reason));
        }
        Ok(true)
    }

    fn make(&mut self, kind: Kind) -> Option<Packet> {
        let true_one = self.fresh[self.rng.below(self.fresh.len())].clone();
        let back = |packet: Packet| Packet { from: packet.to, to: packet.from, bytes: packet.bytes };
        Some(match kind {
            Kind::Changed => {
                let mut packet = true_one;
                mutate(&mut self.rng, &mut packet.bytes);
                packet
            }
            Kind::Replayed if self.delivered.is_empty() => return None,
            Kind::Replayed => self.delivered[self.rng.below(self.delivered.len())].clone(),
            Kind::Reflected => back(true_one),
            Kind::OtherDirection => {
                let mut packet = back(true_one);
                packet.bytes[FLAGS] ^= 1;
                packet
            }
            Kind::OtherSession => {
                let other = self.fresh[self.rng.below(self.fresh.len())].clone();
                if other.bytes[SESSION] == true_one.bytes[SESSION] {
                    return None;
                }
                let mut bytes = true_one.bytes;
                bytes[SESSION].copy_from_slice(&other.bytes[SESSION]);
                bytes[FLAGS] = other.bytes[FLAGS];
                Packet { bytes, ..other }
            }
            Kind::OtherNumber => {
                let mut packet = true_one;
                let other = &self.fresh[self.rng.below(self.fresh.len())].bytes;
                if other[SEQUENCE] == packet.bytes[SEQUENCE] {
                    return None;
                }
                packet.bytes[SEQUENCE].copy_from_slice(&other[SEQUENCE]);
                packet
            }
            Kind::Handshake => {
                let place = self.rng.below(self.handshakes.len());
                let mut packet = self.handshakes[place].clone();
                let (kind, before) = (packet.bytes[FRAME_TYPE], packet.bytes.clone());
                mutate(&mut self.rng, &mut packet.bytes);
                if packet.bytes.len() <= HEADER_LEN + 4 {
                    return None;
                }
                packet.bytes[FRAME_TYPE] = kind;
                repair_crc(WireFormat::Native, &mut packet.bytes);
                // Bytes behind the frame are ignored if the first is padding, so they forge nothing.
                let end = packet.bytes.len().min(before.len()) - 4;
                if packet.bytes[..end] == before[..end] {
                    return None;
                }
                packet
            }
        })
    }

    /// Delivers the true datagrams. All must arrive: the forgeries have done no harm.
    fn finish_set(&mut self) -> Result<(), String> {
        let before: usize = self.nodes.iter().map(|node| node.got.len()).sum();
        let fresh = std::mem::take(&mut self.fresh);
        fresh.iter().for_each(|packet| self.deliver(packet));
        let arrived = self.nodes.iter().map(|node| node.got.len()).sum::<usize>() - before;
        if arrived != fresh.len() {
            return Err(format!("{arrived} of {} true messages arrived", fresh.len()));
        }
        self.tally.messages += arrived as u64;
        self.delivered.extend(fresh);
        let surplus = self.delivered.len().saturating_sub(REMEMBERED);
        self.delivered.drain(..surplus);
        self.carry_all();
        Ok(())
    }
}
