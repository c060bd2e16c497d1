//! The small campaigns of simulated bad networks, with keys. `examples/sim_campaign --key` runs the large ones.
#![allow(dead_code)] // the example shows more figures

#[path = "../examples/sim_campaign/campaign.rs"]
mod campaign;
#[path = "../examples/sim_campaign/ends.rs"]
mod ends;
#[path = "../examples/sim_campaign/ledger.rs"]
mod ledger;
#[path = "../examples/sim_campaign/reliable.rs"]
mod reliable;
#[path = "../examples/sim_campaign/scenario.rs"]
mod scenario;
#[path = "../examples/sim_campaign/truth.rs"]
mod truth;
#[path = "../examples/sim_campaign/window.rs"]
mod window;

use campaign::{Plan, run};

#[test]
fn on_bad_networks_secured_messages_and_counters_are_right_and_all_connect_again() {
    ends::use_key();
    let sums = run(Plan { seeds: 40, first: 1, repeat_every: 10 });
    assert_eq!((sums.violations, sums.seeds, sums.repeated), (0, 40, 4), "{:#?}", sums.shown);
    let all = &sums.all;
    let counts =
        [all.restarts, all.cuts, all.moves, all.network.lost, all.network.copies, all.network.corrupted];
    assert!(counts.iter().all(|count| *count > 20), "{all:?}");
    assert!(all.received > 2000, "{all:?}");
}

#[test]
fn each_reliable_message_crosses_a_secured_link_at_30_percent_loss() {
    ends::use_key();
    let sums = reliable::reliable(2_000, 1);
    assert!(sums.is_perfect() && sums.offered == 2_000, "{sums:?}");
}
