//! A small campaign that looks for a number that is sealed twice. `examples/nonce_campaign` runs the large ones.

#[path = "../examples/nonce_campaign/campaign.rs"]
mod campaign;
#[path = "../examples/mutation_campaign/mutate.rs"]
#[allow(dead_code)] // only the generator is used
mod mutate;
mod support;

#[test]
fn no_number_is_sealed_twice() {
    let tally = campaign::run(40, 1).expect("no violation");
    let counts = [
        tally.sealed,
        tally.refused,
        tally.parts,
        tally.repeated,
        tally.restarts,
        tally.sessions,
        tally.renewals,
    ];
    assert!(counts.iter().all(|&count| count > 20), "{tally:?}");
}
