//! Two control loops whose clocks run at different speeds: does each cycle see exactly one new message?

use std::time::Duration;

use super::ends::Ends;
use tautline_proto::cycle::{LockState, Schedule};
use tautline_proto::endpoint::Role;
use tautline_proto::sim::{Clock, Impairments, NodeId, Random, SimEvent, World};
use tautline_proto::{Instant, MessageType};

const PERIOD: Duration = Duration::from_millis(1);

/// The distance from a time stamp to the cycle that uses the message. The way takes 0.2 to 0.4 ms.
const OFFSET: Duration = Duration::from_micros(700);

/// Each loop wakes late by up to this time, as real ones do.
const WAKES_LATE_US: u64 = 60;

/// What the cycles of the loop that receives have seen, since it was locked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cycles {
    pub(crate) cycles: u64,
    /// Cycles without a new message: the loop used one twice.
    pub(crate) doubled: u64,
    /// Messages that a newer one replaced before a cycle used them.
    pub(crate) missed: u64,
    /// How long locking took.
    pub(crate) locked_after: Option<Duration>,
    /// The difference of the rates that the loop has found, in millionths.
    pub(crate) rate_ppm: f64,
    pub(crate) trace: u64,
}

/// A loop on a node of the world: its clock, its schedule, and when it will wake next, in true time.
struct Loop {
    node: NodeId,
    clock: Clock,
    schedule: Schedule,
    wakes: Instant,
    random: Random,
}

impl Loop {
    fn new(node: NodeId, clock: Clock, begins: Duration, seed: u64) -> Self {
        let begins = clock.read(Instant::from_nanos(0).plus(begins)).steady;
        let schedule = Schedule::new(PERIOD, begins);
        let mut begun = Self { node, clock, schedule, wakes: Instant::default(), random: Random::new(seed) };
        begun.sleep();
        begun
    }

    /// Chooses when the loop really wakes.
    fn sleep(&mut self) {
        let late = Duration::from_nanos(self.random.below(WAKES_LATE_US * 1_000));
        self.wakes = self.clock.when(self.schedule.deadline()).plus(late);
    }

    fn wake(&mut self) {
        self.schedule.wake(self.clock.read(self.wakes).steady).expect("it wakes after its deadline");
        self.sleep();
    }
}

/// Runs a controller at 1 kHz and a plant whose clock is slower by `ppm` millionths, for some simulated seconds. The plant
/// follows the controller, or runs by its own clock alone.
pub(crate) fn cycles(ends: Ends, seconds: u64, ppm: i32, follows: bool, seed: u64) -> Cycles {
    let (delay, jitter) = (Duration::from_micros(200), Duration::from_micros(200));
    let mut world = World::new(Impairments { delay, jitter, ..Impairments::default() }, seed);
    let address = "10.0.0.1:9000".parse().expect("an address");
    let clock =
        |steady, drift_ppm| Clock { steady: Instant::from_nanos(steady), drift_ppm, ..Clock::default() };
    let (plant_clock, controller_clock) = (clock(77_000_000_000, -ppm / 2), clock(1_000_000, ppm - ppm / 2));
    let plant = world.add(address, ends.config(Role::Server, "plant"), plant_clock);
    let client = "10.0.0.2:5000".parse().expect("an address");
    let controller = world.add(client, ends.config(Role::Client, "controller"), controller_clock);
    world.dial(controller, address);

    let mut plant = Loop::new(plant, plant_clock, Duration::from_micros(123), seed ^ 1);
    let mut controller = Loop::new(controller, controller_clock, Duration::ZERO, seed ^ 2);
    if follows {
        plant.schedule.follow(OFFSET);
    }
    let mut found = Cycles::default();
    let mut new = 0;
    let end = Instant::from_nanos(0).plus(Duration::from_secs(seconds));
    while plant.wakes < end {
        let until = plant.wakes.min(controller.wakes).since(Instant::from_nanos(0));
        while let Some((node, event)) = world.next(until) {
            if let (true, SimEvent::Message(message)) = (node == plant.node, event) {
                new += 1;
                if let Some(made) = message.made {
                    plant.schedule.heard(made);
                }
            }
        }
        if controller.wakes <= plant.wakes {
            world.send(controller.node, &world.head(controller.node, MessageType::Command), b"1.5");
            controller.wake();
        } else {
            count(&mut found, std::mem::take(&mut new), until, follows, &plant.schedule);
            plant.wake();
        }
    }
    found.rate_ppm = plant.schedule.following().map_or(0.0, |following| following.rate_ppm);
    found.trace = world.trace();
    found
}

/// Counts a cycle that saw this many new messages. A loop that does not follow counts from the first second on.
fn count(found: &mut Cycles, new: u64, now: Duration, follows: bool, schedule: &Schedule) {
    let is_locked = schedule.following().is_some_and(|following| following.state == LockState::Locked);
    if found.locked_after.is_none() && (is_locked || (!follows && now > Duration::from_secs(1))) {
        found.locked_after = Some(now);
    } else if found.locked_after.is_some() {
        found.cycles += 1;
        found.doubled += u64::from(new == 0);
        found.missed += u64::saturating_sub(new, 1);
    }
}
