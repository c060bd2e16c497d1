//! A small campaign of forged datagrams. `examples/forgery_campaign` runs the large ones.

#[path = "../examples/forgery_campaign/campaign.rs"]
mod campaign;
#[path = "../examples/mutation_campaign/mutate.rs"]
mod mutate;
mod support;

use campaign::run;

#[test]
fn no_forged_datagram_is_accepted_and_the_true_ones_arrive() {
    let tally = run(20_000, 1).expect("no violation");
    assert_eq!((tally.drops.total(), tally.forged.iter().sum()), (20_000, 20_000));
    assert!(tally.forged.iter().all(|&forged| forged > 1000), "{:?}", tally.forged);
    assert!(tally.messages > 500);
    let reasons: Vec<_> = tally.drops.iter().map(|(reason, _)| reason.name()).collect();
    for reason in ["bad_tag", "duplicate", "unexpected", "unknown_key", "bad_token", "unknown_session"] {
        assert!(reasons.contains(&reason), "{reason} of {reasons:?}");
    }
}

#[test]
fn campaign_is_repeatable() {
    assert_eq!(run(2_000, 9), run(2_000, 9));
}
