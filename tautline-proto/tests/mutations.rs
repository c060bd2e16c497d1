//! A small mutation campaign of each kind. `examples/mutation_campaign` runs the large campaigns.

#[path = "../examples/mutation_campaign/campaign.rs"]
mod campaign;
#[path = "../examples/mutation_campaign/link.rs"]
mod link;
#[path = "../examples/mutation_campaign/mutate.rs"]
mod mutate;
mod support;

use campaign::{Plan, run};

const PLAN: Plan = Plan { datagrams: 40_000, seed: 1, repair_crc: false };

#[test]
fn no_mutated_datagram_is_accepted() {
    let (_, sum) = run(PLAN).expect("no violation");
    assert_eq!((sum.mutated, sum.accepted, sum.disturbed), (PLAN.datagrams, 0, 0));
    assert_eq!(sum.drops.total(), PLAN.datagrams);
}

#[test]
fn mutated_datagrams_with_right_crcs_are_counted_and_do_no_harm() {
    let (lanes, sum) = run(Plan { repair_crc: true, ..PLAN }).expect("no violation");
    assert_eq!(sum.accepted + sum.drops.total(), PLAN.datagrams);
    // The mutations must pass the CRC check, or the test proves nothing.
    assert!(sum.accepted > 0 && sum.messages > 0);
    assert!(lanes.iter().any(|(_, lane)| lane.disturbed > 0));
    let other_reasons = sum.drops.iter().filter(|(reason, _)| reason.name() != "bad_crc").count();
    assert!(other_reasons >= 8, "{other_reasons}");
}

#[test]
fn campaign_is_repeatable() {
    let figures =
        || run(Plan { datagrams: 4000, seed: 9, repair_crc: true }).map(|(_, sum)| (sum.accepted, sum.drops));
    assert_eq!(figures(), figures());
}
