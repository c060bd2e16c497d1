//! Two clients that want to command one server, tried in every order: who owns the stream, and what the rules behind it let pass.
//!
//! [`plan`] holds what may happen, and how often. [`rig`] runs the real endpoints and compares them with the truth. Here, a plan
//! becomes a model for stateright, as in [`crate::model`].

mod plan;
mod rig;

use std::hash::{Hash, Hasher};

#[cfg(test)]
pub(crate) use plan::Fault;
pub(crate) use plan::{ControlPlan, ControlStep, control_plans};
pub(crate) use rig::ControlRule;
use rig::Rig;
use stateright::{Model, Property};

/// A state, as stateright keeps it.
#[derive(Clone, Debug)]
pub(crate) struct ControlState {
    steps: Vec<ControlStep>,
    open: Vec<ControlStep>,
    digest: u64,
    spent: [usize; 2],
    broken: Option<ControlRule>,
    seen: [bool; 3],
    both: bool,
}

impl ControlState {
    fn after(plan: &ControlPlan, steps: Vec<ControlStep>) -> Self {
        let mut rig = Rig::new(plan);
        plan.begins.iter().chain(&steps).for_each(|&step| rig.step(step));
        let digest = rig.digest();
        let steps_taken: Vec<_> = plan.begins.iter().chain(&steps).copied().collect();
        let open = if rig.broken.is_some() { Vec::new() } else { plan.open_steps(&rig, &steps_taken) };
        let (seen, both) = (rig.seen, rig.newest_of.iter().all(Option::is_some));
        if digest.is_multiple_of(crate::model::HEAL_ONE_IN) {
            rig.heal();
        }
        let count = |wanted: fn(&ControlStep) -> bool| steps.iter().filter(|step| wanted(step)).count();
        let spent = [
            count(|step| matches!(step, ControlStep::Lose(_))),
            count(|step| matches!(step, ControlStep::Wait)),
        ];
        Self { steps, open, digest, spent, broken: rig.broken, seen, both }
    }
}

impl Hash for ControlState {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.digest, self.spent).hash(hasher);
    }
}

impl PartialEq for ControlState {
    fn eq(&self, other: &Self) -> bool {
        (self.digest, self.spent) == (other.digest, other.spent)
    }
}

impl Model for ControlPlan {
    type State = ControlState;
    type Action = ControlStep;

    fn init_states(&self) -> Vec<ControlState> {
        vec![ControlState::after(self, Vec::new())]
    }

    fn actions(&self, state: &ControlState, actions: &mut Vec<ControlStep>) {
        actions.extend(&state.open);
    }

    fn next_state(&self, state: &ControlState, step: ControlStep) -> Option<ControlState> {
        let mut steps = state.steps.clone();
        steps.push(step);
        Some(ControlState::after(self, steps))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        /// A macro, because the checker takes functions and not closures.
        macro_rules! always {
            ($($rule:ident),*) => {
                [$(Property::always(ControlRule::$rule.name(), |_, state: &ControlState| {
                    state.broken != Some(ControlRule::$rule)
                })),*]
            };
        }
        let rules = always![OneOwner, NewestOnly, StoppedUntilReset, OneOutcome, Accounts];
        let seen = [
            Property::sometimes("granted", |_, state: &ControlState| state.seen[0]),
            Property::sometimes("released", |_, state: &ControlState| state.seen[1]),
            Property::sometimes("overtaken", |_, state: &ControlState| state.seen[2]),
            Property::sometimes("commands of both", |_, state: &ControlState| state.both),
        ];
        rules.into_iter().chain(seen).collect()
    }
}
