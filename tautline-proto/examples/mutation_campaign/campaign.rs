//! The campaign: mutated datagrams into live endpoints, and what must hold after each.

use std::fmt;

use tautline_proto::Drops;
use tautline_proto::endpoint::{Role, WireFormat};
use tautline_proto::wire::classic::ClassicFormat;

use super::link::Link;
use super::mutate::{Rng, mutate, repair_crc};
use super::support::address;

/// How many datagrams are made from one set of good ones, and how often the two ends talk between attacks.
const DATAGRAMS_PER_SET: u64 = 512;
const DATAGRAMS_PER_EXCHANGE: u64 = 128;

/// A link so often disturbed in a row is given up, and a new one attacked.
const MOST_DISTURBED: u32 = 2;

/// What to do.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) datagrams: u64,
    pub(crate) seed: u64,
    /// Whether the CRC is made right after the change.
    pub(crate) repair_crc: bool,
}

/// Who is attacked, on which wire, and where the attack seems to come from.
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

/// What one lane, or all of them, came to.
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

/// Runs all lanes; each lane's name and tally, and the sum.
///
/// # Errors
///
/// The first violation, as a sentence that says how to see it again.
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

/// One lane under way.
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
        let mut good = Vec::new();
        for step in 0..datagrams {
            if step % DATAGRAMS_PER_SET == 0 {
                good = self.link.fresh_datagrams(&mut self.rng);
            }
            if step % DATAGRAMS_PER_EXCHANGE == 0 {
                self.talk()?;
            }
            let mut bytes = good[self.rng.below(good.len())].clone();
            mutate(&mut self.rng, &mut bytes);
            if self.plan.repair_crc {
                repair_crc(self.lane.wire, &mut bytes);
            }
            self.feed(&bytes).map_err(|violation| format!("step {step}: {violation}; {}", hex(&bytes)))?;
        }
        self.talk()?;
        Ok(self.tally)
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), String> {
        let strangers_port = 10_000 + u16::try_from(self.rng.below(1000)).expect("below 1000");
        let from = if self.lane.from_stranger { address(strangers_port) } else { self.link.other.address };
        let before = self.link.stats();
        let got = self.link.attack(from, bytes)?;
        let after = self.link.stats();
        let accepted = after.datagrams_accepted - before.datagrams_accepted;
        if accepted > 0 && !self.plan.repair_crc {
            return Err("accepted although its CRC is wrong".into());
        }
        self.tally.mutated += 1;
        self.tally.accepted += accepted;
        self.tally.messages += got.len() as u64;
        for (reason, count) in after.datagrams_dropped.iter() {
            self.tally.drops.add(reason, count - before.datagrams_dropped.of(reason));
        }
        Ok(())
    }

    /// The two ends talk. Only whoever stands at the peer's address and knows a right CRC may disturb them.
    fn talk(&mut self) -> Result<(), String> {
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
        if self.disturbed_in_a_row == MOST_DISTURBED {
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
