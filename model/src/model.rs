//! A [`Plan`] as a model for [stateright](https://docs.rs/stateright).
//!
//! The model runs the real endpoint, and not a copy of it. A state is the list of the steps taken so far. Taking these steps
//! again rebuilds the state, always with the same result. A hash of everything in a state identifies it.

use std::fmt::Debug;
use std::hash::{Hash, Hasher};

use stateright::{Checker, Model, Property};
use tautline_proto::endpoint::Outcome;

use crate::control::{ControlPlan, ControlRule};
use crate::plan::{self, Plan};
use crate::world::{Rule, Step};

/// In one of this many states, chosen by the digest, the network stops losing datagrams, and the ends must connect.
pub(crate) const HEAL_ONE_IN: u64 = 16;

const THREADS: usize = 2;

/// The result of a check.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// How many different states were visited.
    pub(crate) states: usize,
    /// The most steps that led to a state.
    pub(crate) depth: usize,
    /// Whether all states were visited.
    pub(crate) is_complete: bool,
    /// The outcomes that occurred. A check proves nothing about an outcome that never occurred.
    pub(crate) seen: Vec<&'static str>,
    /// A rule that does not hold, and the steps that break it.
    pub(crate) broken: Option<(&'static str, Vec<String>)>,
}

/// Visits every state of a plan, or about `max_states` of them.
pub(crate) fn check(plan: &Plan, max_states: Option<usize>) -> Verdict {
    explore(plan.clone(), max_states, &Rule::ALL.map(Rule::name))
}

/// As [`check`], for the checks of commands.
pub(crate) fn check_control(plan: &ControlPlan, max_states: Option<usize>) -> Verdict {
    explore(plan.clone(), max_states, &ControlRule::ALL.map(ControlRule::name))
}

/// Visits the states of a model. A discovery that has the name of a rule is an example that breaks it.
fn explore<M>(model: M, max_states: Option<usize>, rules: &[&str]) -> Verdict
where
    M: Model<
            Action: Debug + Clone + PartialEq + Send + Sync,
            State: Hash + Clone + PartialEq + Debug + Send + Sync,
        > + Send
        + Sync
        + 'static,
{
    let mut builder = model.checker().threads(THREADS);
    if let Some(most) = max_states {
        builder = builder.target_state_count(most);
    }
    let checker = builder.spawn_bfs().join();
    let mut verdict = Verdict {
        states: checker.unique_state_count(),
        // The checker counts states, and not steps.
        depth: checker.max_depth().saturating_sub(1),
        is_complete: max_states.is_none_or(|most| checker.state_count() < most),
        seen: Vec::new(),
        broken: None,
    };
    for (name, path) in checker.discoveries() {
        if rules.contains(&name) {
            let steps = path.into_actions().iter().map(|step| format!("{step:?}")).collect();
            verdict.broken = Some((name, steps));
        } else {
            verdict.seen.push(name);
        }
    }
    verdict.seen.sort_unstable();
    verdict
}

/// A state, as stateright keeps it.
#[derive(Clone, Debug)]
pub(crate) struct State {
    steps: Vec<Step>,
    /// The steps that can come next.
    open: Vec<Step>,
    digest: u64,
    spent: [usize; 3],
    broken: Option<Rule>,
    outcomes: [bool; Outcome::ALL.len()],
    all_delivered: bool,
}

impl State {
    fn after(plan: &Plan, steps: Vec<Step>) -> Self {
        let mut world = plan.begin();
        for &step in &steps {
            world.step(step);
        }
        let digest = world.digest();
        let open = if world.broken.is_some() { Vec::new() } else { plan.open_steps(&world, &steps) };
        let outcomes = std::array::from_fn(|index| world.has_outcome(Outcome::ALL[index]));
        let all_delivered = world.all_delivered();
        if digest.is_multiple_of(HEAL_ONE_IN) {
            world.heal();
        }
        let spent = plan::spent(&steps);
        Self { steps, open, digest, spent, broken: world.broken, outcomes, all_delivered }
    }

    fn keeps(&self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }

    fn has(&self, outcome: Outcome) -> bool {
        Outcome::ALL.iter().zip(self.outcomes).any(|(&known, seen)| known == outcome && seen)
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.digest, self.spent).hash(hasher);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        (self.digest, self.spent) == (other.digest, other.spent)
    }
}

impl Model for Plan {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State::after(self, Vec::new())]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        actions.extend(&state.open);
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut steps = state.steps.clone();
        steps.push(step);
        Some(State::after(self, steps))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        /// A macro, because the checker takes functions and not closures.
        macro_rules! always {
            ($($rule:ident),*) => {
                [$(Property::always(Rule::$rule.name(), |_, state: &State| state.keeps(Rule::$rule))),*]
            };
        }
        macro_rules! sometimes {
            ($($outcome:ident),*) => {
                [$(Property::sometimes(Outcome::$outcome.name(), |_, state: &State| state.has(Outcome::$outcome))),*]
            };
        }
        let rules = always![
            DeliveredOnce,
            OwnSession,
            Order,
            OneOutcome,
            DeliveredTruly,
            SessionsForward,
            Accounts,
            Recovery
        ];
        let outcomes = sometimes![Delivered, Expired, Abandoned, PeerLost, Unknown];
        let all = Property::sometimes("all delivered", |_, state: &State| state.all_delivered);
        rules.into_iter().chain(outcomes).chain([all]).collect()
    }
}
