//! Sends messages of every class between two ends, while datagrams are lost, repeated and reordered and ends are killed and closed,
//! in any order. Each message must be delivered at most once and have one outcome. The ends must connect again when the network
//! works.
#![no_main]

#[path = "../../tautline-proto/tests/support/mod.rs"]
mod support;
#[path = "../../tautline-proto/tests/support/world.rs"]
mod world;

use libfuzzer_sys::fuzz_target;
use world::{End, Fault, Kind, Step, Times, World};

const MAX_STEPS: usize = 400;
/// How often ends crash at most. The seed of each restart is one byte.
const MAX_CRASHES: usize = 100;
/// How many datagrams are in flight at most.
const MAX_IN_FLIGHT: usize = 100;

fuzz_target!(|input: &[u8]| {
    let Some((&first, choices)) = input.split_first() else { return };
    let begin = if first & 1 == 0 { World::connected } else { World::new };
    let mut world = begin(Times::default(), Fault::None);
    let mut crashes = 0;
    for choice in choices.chunks_exact(2).take(MAX_STEPS) {
        let Some(step) = step(&world, choice[0], choice[1]) else { continue };
        crashes += usize::from(matches!(step, Step::Restart(_) | Step::Close(_)));
        if crashes <= MAX_CRASHES {
            world.step(step);
            assert_eq!(world.broken, None, "{step:?}");
        }
    }
    world.heal();
    assert_eq!(world.broken, None);
});

/// Returns the step that these bytes mean, if it is possible now.
fn step(world: &World, what: u8, which: u8) -> Option<Step> {
    let end = if which & 1 == 0 { End::Client } else { End::Server };
    let kind = match which >> 1 & 7 {
        0 => Kind::BestEffort,
        1 => Kind::Ordered,
        2 => Kind::Large,
        3 => Kind::LargeOrdered,
        4 => Kind::ShortLived,
        _ => Kind::Reliable,
    };
    let in_flight = world.in_flight.len();
    let index = usize::from(which).checked_rem(in_flight);
    match what % 16 {
        0..=4 => index.map(Step::Deliver),
        5 => Some(Step::Deliver(0)).filter(|_| in_flight > 0),
        6 => index.filter(|_| in_flight < MAX_IN_FLIGHT).map(Step::Repeat),
        7 => index.map(Step::Lose),
        8..=9 => Some(Step::Wait).filter(|_| in_flight < MAX_IN_FLIGHT),
        10..=13 => Some(Step::Send(end, kind)).filter(|_| world.can_send(end) && in_flight < MAX_IN_FLIGHT),
        14 => Some(Step::Restart(end)),
        _ => Some(Step::Close(end)),
    }
}
