//! A [`Plan`] as a model for [stateright](https://docs.rs/stateright).
//!
//! What is checked is the endpoint itself, not a copy of it. A state is the list of the steps taken so far; it is rebuilt by
//! taking them again, which gives the same every time, and known by a digest of everything in it.

use std::hash::{Hash, Hasher};

use stateright::{Checker, Model, Property};
use tautline_proto::endpoint::Outcome;

use crate::plan::{self, Plan};
use crate::world::{Rule, Step};

/// In one of so many states, chosen by its digest, the network is made whole, and the ends must find one another.
const HEALED: u64 = 16;

const THREADS: usize = 2;

/// What came of a check.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// How many different states there were.
    pub(crate) states: usize,
    /// The most steps to any of them.
    pub(crate) depth: usize,
    /// Whether these were all.
    pub(crate) is_complete: bool,
    /// What happened in some state: a check that never saw it says nothing about it.
    pub(crate) seen: Vec<&'static str>,
    /// A rule that does not hold, and the steps that show it.
    pub(crate) broken: Option<(&'static str, Vec<Step>)>,
}

/// Visits every state of a plan, or about `most_states` of them.
pub(crate) fn check(plan: &Plan, most_states: Option<usize>) -> Verdict {
    let mut builder = plan.clone().checker().threads(THREADS);
    if let Some(most) = most_states {
        builder = builder.target_state_count(most);
    }
    let checker = builder.spawn_bfs().join();
    let mut verdict = Verdict {
        states: checker.unique_state_count(),
        // The checker counts states.
        depth: checker.max_depth().saturating_sub(1),
        is_complete: most_states.is_none_or(|most| checker.state_count() < most),
        seen: Vec::new(),
        broken: None,
    };
    for (name, path) in checker.discoveries() {
        if Rule::ALL.iter().any(|rule| rule.name() == name) {
            verdict.broken = Some((name, path.into_actions()));
        } else {
            verdict.seen.push(name);
        }
    }
    verdict.seen.sort_unstable();
    verdict
}

/// What stateright keeps of a world.
#[derive(Clone, Debug)]
pub(crate) struct State {
    steps: Vec<Step>,
    /// What can come next.
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
        if digest.is_multiple_of(HEALED) {
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
        /// The checker takes functions without surroundings.
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
