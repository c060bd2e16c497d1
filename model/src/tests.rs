//! The checker finds what is wrong on purpose.

use crate::model::check;
use crate::plan::{PLANS, Plan};
use crate::world::{Fault, Rule};

fn plan(name: &str, fault: Fault) -> Plan {
    let plan = PLANS.into_iter().find(|plan| plan.name == name).expect("a check of this name");
    Plan { fault, ..plan }
}

/// Which rule the checker sees broken, and after how many steps.
fn found(name: &str, fault: Fault) -> Option<&'static str> {
    let (rule, steps) = check(&plan(name, fault), Some(60_000)).broken?;
    println!("{fault:?}: {rule}: {steps:?}");
    Some(rule)
}

#[test]
fn forgotten_duplicates_are_found() {
    assert_eq!(found("delivery", Fault::ForgetsDuplicates), Some(Rule::DeliveredOnce.name()));
}

#[test]
fn an_acknowledgement_before_the_message_is_taken_is_found() {
    assert_eq!(found("delivery", Fault::AcknowledgesBeforeTaking), Some(Rule::DeliveredTruly.name()));
}

#[test]
fn numbers_used_again_after_a_restart_are_found() {
    assert_eq!(found("restart", Fault::ReusesNumbers), Some(Rule::SessionsForward.name()));
}

#[test]
fn the_endpoint_itself_is_found_in_order() {
    for plan in PLANS {
        assert_eq!(found(plan.name, Fault::None), None, "{}", plan.name);
    }
}
