//! A small campaign of simulated bad networks. `examples/sim_campaign` runs the large campaigns.
#![allow(dead_code)] // the example shows more figures

#[path = "../examples/sim_campaign/campaign.rs"]
mod campaign;
#[path = "../examples/sim_campaign/control.rs"]
mod control;
#[path = "../examples/sim_campaign/cycles.rs"]
mod cycles;
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
use ends::Ends;

#[test]
fn on_bad_networks_messages_and_counters_are_right_and_all_connect_again() {
    for &ends in Ends::ALL {
        let sums = run(Plan { ends, seeds: 40, first: 1, repeat_every: 10 });
        assert_eq!((sums.violations, sums.seeds, sums.repeated), (0, 40, 4), "{ends:?}: {:#?}", sums.shown);
        // The networks must be bad, or the test proves nothing.
        let all = &sums.all;
        let counts = [
            all.restarts,
            all.cuts,
            all.network.lost,
            all.network.copies,
            all.network.corrupted,
            all.network.reordered,
            all.fates.lost,
            all.fates.late,
            all.fates.duplicate,
        ];
        assert!(counts.iter().all(|count| *count > 20), "{ends:?}: {all:?}");
        let of_keys = [all.moves, all.keys, all.replaced].map(|count| count > 20);
        assert!(all.received > 2000 && of_keys == [ends.are_secured(); 3], "{ends:?}: {all:?}");
    }
}

#[test]
fn on_bad_networks_commands_come_from_one_owner_at_a_time_and_never_out_of_order() {
    for &ends in Ends::ALL {
        let mut all = control::ControlFigures::default();
        for seed in 1..=6 {
            let figures = control::run(ends, seed, control::Fault::None)
                .unwrap_or_else(|wrong| panic!("{ends:?}, seed {seed}: {wrong}"));
            all.add(&figures);
        }
        let counts = [
            all.hand_overs,
            all.granted,
            all.releases,
            all.restarts,
            all.stale,
            all.latched,
            all.resets,
            all.refused,
        ];
        assert!(counts.iter().all(|count| *count > 5) && all.acted_on > 1000, "{ends:?}: {all:?}");
    }
}

#[test]
fn each_fault_in_the_rules_of_commands_is_noticed() {
    for fault in control::Fault::ALL.into_iter().filter(|fault| *fault != control::Fault::None) {
        for &ends in Ends::ALL {
            let found = (1..=30).find_map(|seed| control::run(ends, seed, fault).err());
            assert!(found.is_some(), "{ends:?}: {fault:?} is not noticed");
        }
    }
}

#[test]
fn at_heavy_loss_reliable_messages_arrive_once_and_have_one_outcome() {
    for &ends in Ends::ALL {
        let sums = reliable::reliable(ends, 5000, 1);
        assert!(sums.is_perfect() && sums.offered == 5000, "{ends:?}: {sums:?}");
    }
}

#[test]
fn best_effort_message_waits_for_at_most_one_retransmission() {
    for &ends in Ends::ALL {
        let found = reliable::saturated(ends, 3, 1);
        let (resent, waits) = (found.retransmissions, found.waits.len());
        assert!(resent > 200 && waits > 200, "{ends:?}: {resent} {waits}");
        let longest = found.waits.last();
        assert!(longest.is_some_and(|most| *most <= found.serialisation), "{ends:?}: {longest:?}");
    }
}

#[test]
fn loop_that_follows_a_peer_with_another_clock_uses_each_message_once() {
    for &ends in Ends::ALL {
        let found = cycles::cycles(ends, 15, 500, true, 1);
        let locked_in_time =
            found.locked_after.is_some_and(|after| after < std::time::Duration::from_secs(2));
        assert!(locked_in_time, "{ends:?}: {found:?}");
        assert_eq!((found.doubled, found.missed), (0, 0), "{ends:?}: {found:?}");
        assert!(found.cycles > 10_000 && (-800.0..-200.0).contains(&found.rate_ppm), "{ends:?}: {found:?}");
    }
    // A loop that runs by its own clock does not, or the test proves nothing.
    let found = cycles::cycles(Ends::Plain, 15, 500, false, 1);
    assert!(found.missed > 3, "{found:?}");
}
