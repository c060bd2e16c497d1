//! The campaign: sends mutated datagrams to live endpoints, and checks the rules after each.

use std::fmt;

use tautline_proto::Drops;
use tautline_proto::endpoint::{Role, WireFormat};
use tautline_proto::wire::classic::ClassicFormat;

use super::link::Link;
use super::mutate::{Rng, mutate, repair_crc};
use super::support::address;

/// How many datagrams are made from one set of valid datagrams.
const DATAGRAMS_PER_SET: u64 = 512;
/// How many datagrams are sent between two exchanges of the two ends.
const DATAGRAMS_PER_EXCHANGE: u64 = 128;

/// A link that was disturbed this often in a row is replaced by a new link.
const MAX_DISTURBED: u32 = 2;

/// The settings of a campaign.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) datagrams: u64,
    pub(crate) seed: u64,
    /// Whether the CRC is corrected after the change.
    pub(crate) repair_crc: bool,
}

/// The target of an attack, the wire, and the source address.
#[derive(Clone, Copy)]
struct Lane {
    wire: WireFormat,
    target: Role,
    from_stranger: bool,
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wire = if self.wire == WireFormat::Native { "native" } else { "classic" };
        let target = if self.target == Role::Server { "server" } else { "client" };
        let from = if self.from_stranger { "strangers" } else { "its peer" };
        write!(f, "{wire} {target}, from {from}")
    }
}

/// The results of one lane, or of all lanes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) mutated: u64,
    pub(crate) accepted: u64,
    pub(crate) messages: u64,
    pub(crate) drops: Drops,
    pub(crate) exchanges: u64,
    pub(crate) disturbed: u64,
}

impl Tally {
    fn merge(&mut self, other: &Self) {
        self.mutated += other.mutated;
        self.accepted += other.accepted;
        self.messages += other.messages;
        self.drops.merge(&other.drops);
        self.exchanges += other.exchanges;
        self.disturbed += other.disturbed;
    }
}

/// Runs all lanes. Returns the name and the tally of each lane, and the sum.
///
/// # Errors
///
/// The first violation, with the lane and the seed that reproduce it.
pub(crate) fn run(plan: Plan) -> Result<(Vec<(String, Tally)>, Tally), String> {
    let classic = WireFormat::Classic(ClassicFormat::default());
    let mut lanes = Vec::new();
    for wire in [WireFormat::Native, classic] {
        for target in [Role::Server, Role::Client] {
            lanes.extend([true, false].map(|from_stranger| Lane { wire, target, from_stranger }));
        }
    }
    let (mut tallies, mut sum) = (Vec::new(), Tally::default());
    let count = lanes.len() as u64;
    for (index, lane) in (0..).zip(lanes) {
        let share = plan.datagrams / count + u64::from(index < plan.datagrams % count);
        let seed = plan.seed.wrapping_add(index << 32);
        let tally = Attack::new(lane, Plan { seed, ..plan }).run(share);
        let tally = tally.map_err(|violation| format!("{lane}, seed {}: {violation}", plan.seed))?;
        sum.merge(&tally);
        tallies.push((lane.to_string(), tally));
    }
    Ok((tallies, sum))
}

/// The attack on one lane.
struct Attack {
    lane: Lane,
    plan: Plan,
    rng: Rng,
    link: Link,
    links: u8,
    disturbed_in_a_row: u32,
    tally: Tally,
}

impl Attack {
    fn new(lane: Lane, plan: Plan) -> Self {
        let link = Link::new(lane.wire, lane.target, 1);
        let rng = Rng::new(plan.seed);
        Self { lane, plan, rng, link, links: 1, disturbed_in_a_row: 0, tally: Tally::default() }
    }

    fn run(mut self, datagrams: u64) -> Result<Tally, String> {
        let mut valid = Vec::new();
        for step in 0..datagrams {
            if step % DATAGRAMS_PER_SET == 0 {
                valid = self.link.fresh_datagrams(&mut self.rng);
            }
            if step % DATAGRAMS_PER_EXCHANGE == 0 {
                self.exchange()?;
            }
            let mut bytes = valid[self.rng.below(valid.len())].clone();
            mutate(&mut self.rng, &mut bytes);
            if self.plan.repair_crc {
                repair_crc(self.lane.wire, &mut bytes);
            }
            self.feed(&bytes).map_err(|violation| format!("step {step}: {violation}; {}", hex(&bytes)))?;
        }
        self.exchange()?;
        Ok(self.tally)
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), String> {
        let stranger = 10_000 + u16::try_from(self.rng.below(1000)).expect("below 1000");
        let from = if self.lane.from_stranger { address(stranger) } else { self.link.other.address };
        let before = self.link.stats();
        let got = self.link.attack(from, bytes)?;
        let after = self.link.stats();
        let accepted = after.datagrams_accepted - before.datagrams_accepted;
        if accepted > 0 && !self.plan.repair_crc {
            return Err("a datagram with a wrong CRC was accepted".into());
        }
        self.tally.mutated += 1;
        self.tally.accepted += accepted;
        self.tally.messages += got.len() as u64;
        for (reason, count) in after.datagrams_dropped.iter() {
            self.tally.drops.add(reason, count - before.datagrams_dropped.of(reason));
        }
        Ok(())
    }

    /// Exchanges messages between the two ends. Only datagrams from the peer's address with a right CRC may disturb them.
    fn exchange(&mut self) -> Result<(), String> {
        self.tally.exchanges += 1;
        if self.link.exchange()? {
            self.disturbed_in_a_row = 0;
            return Ok(());
        }
        if self.lane.from_stranger || !self.plan.repair_crc {
            return Err("the established session was disturbed".into());
        }
        self.tally.disturbed += 1;
        self.disturbed_in_a_row += 1;
        if self.disturbed_in_a_row == MAX_DISTURBED {
            self.disturbed_in_a_row = 0;
            self.links = self.links.wrapping_add(1);
            self.link = Link::new(self.lane.wire, self.lane.target, self.links);
        }
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
