//! Tests that the checker finds errors that are made on purpose.

use crate::control::{self, ControlPlan, ControlRule, control_plans};
use crate::model::{check, check_control};
use crate::plan::{PLANS, Plan};
use crate::world::{Fault, Rule};

fn plan(name: &str, fault: Fault) -> Plan {
    let plan = PLANS.into_iter().find(|plan| plan.name == name).expect("a check of this name");
    Plan { fault, ..plan }
}

/// Returns the rule that the checker finds broken, and prints the steps.
fn found(name: &str, fault: Fault) -> Option<&'static str> {
    let plan = plan(name, fault);
    let states = if plan.is_secured() { 10_000 } else { 60_000 };
    let (rule, steps) = check(&plan, Some(states)).broken?;
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
fn errors_on_secured_links_are_found() {
    // The lost message breaks one rule, and the lost messages after it, by which the ends show that they hear each other, the other.
    let broken = [Rule::DeliveredTruly, Rule::Recovery].map(Rule::name);
    assert!(found("move", Fault::AcknowledgesBeforeTaking).is_some_and(|rule| broken.contains(&rule)));
    assert_eq!(found("replaced", Fault::ReusesNumbers), Some(Rule::SessionsForward.name()));
    assert_eq!(
        found_in_control("releases-key", control::Fault::NoHistory),
        Some(ControlRule::NewestOnly.name())
    );
}

/// As [`found`], in the checks of commands.
fn found_in_control(name: &str, fault: control::Fault) -> Option<&'static str> {
    let plan = control_plans().find(|plan| plan.name == name).expect("a check of this name");
    let states = if plan.has_key { 10_000 } else { 60_000 };
    let (rule, steps) = check_control(&ControlPlan { fault, ..plan }, Some(states)).broken?;
    println!("{fault:?}: {rule}: {steps:?}");
    Some(rule)
}

#[test]
fn commands_of_two_owners_that_are_interleaved_are_found() {
    assert_eq!(found_in_control("claims", control::Fault::NoOwner), Some(ControlRule::OneOwner.name()));
}

#[test]
fn a_repeated_claim_that_counts_again_is_found() {
    assert_eq!(found_in_control("repeats", control::Fault::ClaimsAnew), Some(ControlRule::OneOwner.name()));
}

#[test]
fn commands_that_follow_a_newer_one_are_found() {
    assert_eq!(found_in_control("releases", control::Fault::NoHistory), Some(ControlRule::NewestOnly.name()));
}

#[test]
fn commands_after_a_silence_without_a_reset_are_found() {
    let rule = ControlRule::StoppedUntilReset.name();
    assert_eq!(found_in_control("latch", control::Fault::NoLatch), Some(rule));
}

#[test]
fn commands_without_errors_break_no_rule() {
    // Those with keys are visited by `model/run`, also with --smoke: their states are expensive.
    for plan in control_plans().filter(|plan| !plan.has_key) {
        assert_eq!(found_in_control(plan.name, control::Fault::None), None, "{}", plan.name);
    }
}

#[test]
fn endpoint_without_errors_breaks_no_rule() {
    for plan in PLANS.into_iter().filter(|plan| !plan.is_secured()) {
        assert_eq!(found(plan.name, Fault::None), None, "{}", plan.name);
    }
}
