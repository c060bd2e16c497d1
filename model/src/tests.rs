//! Tests that the checker finds errors that are made on purpose.

use crate::model::check;
use crate::plan::{PLANS, Plan};
use crate::world::{Fault, Rule};

fn plan(name: &str, fault: Fault) -> Plan {
    let plan = PLANS.into_iter().find(|plan| plan.name == name).expect("a check of this name");
    Plan { fault, ..plan }
}

/// Returns the rule that the checker finds broken, and prints the steps.
fn found(name: &str, fault: Fault) -> Option<&'static str> {
    let (rule, steps) = check(&plan(name, fault), Some(60_000)).broken?;
    println!("{fault:?}: {rule}: {steps:?}");
    Some(rule)
}

#[test]
fn delivered_duplicates_are_found() {
    assert_eq!(found("delivery", Fault::ForgetsDuplicates), Some(Rule::DeliveredOnce.name()));
}

#[test]
fn messages_lost_after_their_acknowledgement_are_found() {
    assert_eq!(found("delivery", Fault::AcknowledgesBeforeTaking), Some(Rule::DeliveredTruly.name()));
}

#[test]
fn numbers_that_are_used_again_after_a_restart_are_found() {
    assert_eq!(found("restart", Fault::ReusesNumbers), Some(Rule::SessionsForward.name()));
}

#[test]
fn endpoint_without_errors_breaks_no_rule() {
    for plan in PLANS {
        assert_eq!(found(plan.name, Fault::None), None, "{}", plan.name);
    }
}
