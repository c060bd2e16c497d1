//! Tests that the checker finds errors that are made on purpose.

use crate::control::{self, ControlPlan, ControlRule, control_plans};
use crate::model::{Until, Verdict, check, check_control};
use crate::plan::{PLANS, Plan};
use crate::world::{Fault, Rule};

/// Checks that the error breaks this rule. Without one: that no rule is broken.
fn expect(name: &str, fault: Fault, rule: Option<Rule>) {
    let plan = PLANS.into_iter().find(|plan| plan.name == name).expect("a check of this name");
    let until = until(plan.is_secured(), rule.map(Rule::name));
    compare(name, until, check(&Plan { fault, ..plan }, until));
}

/// As [`expect`], in the checks of commands.
fn expect_in_control(name: &str, fault: control::Fault, rule: Option<ControlRule>) {
    let plan = control_plans().find(|plan| plan.name == name).expect("a check of this name");
    let until = until(plan.has_key, rule.map(ControlRule::name));
    compare(name, until, check_control(&ControlPlan { fault, ..plan }, until));
}

fn until(has_keys: bool, broken: Option<&'static str>) -> Until {
    Until { states: Some(if has_keys { 20_000 } else { 60_000 }), broken }
}

fn compare(name: &str, until: Until, verdict: Verdict) {
    println!("{name}: {} states, {:?}", verdict.states, verdict.broken);
    assert_eq!(verdict.broken.map(|(rule, _)| rule), until.broken, "{name}");
}

#[test]
fn delivered_duplicates_are_found() {
    expect("delivery", Fault::ForgetsDuplicates, Some(Rule::DeliveredOnce));
}

#[test]
fn messages_lost_after_their_acknowledgement_are_found() {
    expect("delivery", Fault::AcknowledgesBeforeTaking, Some(Rule::DeliveredTruly));
}

#[test]
fn numbers_that_are_used_again_after_a_restart_are_found() {
    expect("restart", Fault::ReusesNumbers, Some(Rule::SessionsForward));
}

#[test]
fn errors_on_secured_links_are_found() {
    expect("move", Fault::AcknowledgesBeforeTaking, Some(Rule::DeliveredTruly));
    expect("replaced", Fault::ReusesNumbers, Some(Rule::SessionsForward));
    expect_in_control("releases-key", control::Fault::NoHistory, Some(ControlRule::NewestOnly));
}

#[test]
fn commands_of_two_owners_that_are_interleaved_are_found() {
    expect_in_control("claims", control::Fault::NoOwner, Some(ControlRule::OneOwner));
}

#[test]
fn a_repeated_claim_that_counts_again_is_found() {
    expect_in_control("repeats", control::Fault::ClaimsAnew, Some(ControlRule::OneOwner));
}

#[test]
fn commands_that_follow_a_newer_one_are_found() {
    expect_in_control("releases", control::Fault::NoHistory, Some(ControlRule::NewestOnly));
}

#[test]
fn commands_after_a_silence_without_a_reset_are_found() {
    expect_in_control("latch", control::Fault::NoLatch, Some(ControlRule::StoppedUntilReset));
}

#[test]
fn commands_without_errors_break_no_rule() {
    // Those with keys are visited by `model/run`, also with --smoke: their states are expensive.
    for plan in control_plans().filter(|plan| !plan.has_key) {
        expect_in_control(plan.name, control::Fault::None, None);
    }
}

#[test]
fn endpoint_without_errors_breaks_no_rule() {
    for plan in PLANS.into_iter().filter(|plan| !plan.is_secured()) {
        expect(plan.name, Fault::None, None);
    }
}
