//! Two clients that want to command one server, tried in every order: who owns the stream, and what the rules behind it let pass.
//!
//! [`plan`] holds what may happen, and how often. [`rig`] runs the real endpoints and compares them with the truth. Here, a plan
//! gets the rules that its states must keep.

mod plan;
mod rig;

#[cfg(test)]
pub(crate) use plan::Fault;
pub(crate) use plan::{ControlPlan, ControlStep, control_plans};
pub(crate) use rig::ControlRule;
use rig::Rig;
use stateright::Property;

use crate::steps::{AllOrders, HEAL_ONE_IN, State, Steps};

/// What a check of commands wants to know of a state.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    broken: Option<ControlRule>,
    /// Whether a command was granted, released, and overtaken.
    acts: [bool; 3],
    both: bool,
}

impl Steps for ControlPlan {
    type Step = ControlStep;
    type Seen = Seen;

    fn after(&self, steps: Vec<ControlStep>) -> State<ControlStep, Seen> {
        let mut rig = Rig::new(self);
        let all: Vec<_> = self.begins.iter().chain(&steps).copied().collect();
        all.iter().for_each(|&step| rig.step(step));
        let digest = rig.digest();
        let open = if rig.broken.is_some() { Vec::new() } else { self.open_steps(&rig, &all) };
        let (acts, both) = (rig.seen, rig.newest_of.iter().all(Option::is_some));
        if digest.is_multiple_of(HEAL_ONE_IN) {
            rig.heal();
        }
        let count = |wanted: fn(&ControlStep) -> bool| steps.iter().filter(|step| wanted(step)).count();
        let losses = count(|step| matches!(step, ControlStep::Lose(_)));
        let waits = count(|step| matches!(step, ControlStep::Wait));
        State {
            steps,
            open,
            digest,
            spent: [0, losses, waits],
            seen: Seen { broken: rig.broken, acts, both },
        }
    }

    fn properties() -> Vec<Property<AllOrders<Self>>> {
        /// A macro, because the checker takes functions and not closures.
        macro_rules! always {
            ($($rule:ident),*) => {
                [$(Property::always(ControlRule::$rule.name(), |_, state: &State<ControlStep, Seen>| {
                    state.seen.broken != Some(ControlRule::$rule)
                })),*]
            };
        }
        let rules = always![OneOwner, NewestOnly, StoppedUntilReset, OneOutcome, Accounts];
        let seen = [
            Property::sometimes("granted", |_, state: &State<ControlStep, Seen>| state.seen.acts[0]),
            Property::sometimes("released", |_, state: &State<ControlStep, Seen>| state.seen.acts[1]),
            Property::sometimes("overtaken", |_, state: &State<ControlStep, Seen>| state.seen.acts[2]),
            Property::sometimes("commands of both", |_, state: &State<ControlStep, Seen>| state.seen.both),
        ];
        rules.into_iter().chain(seen).collect()
    }
}
