//! Checks plans: visits their states, and tells what was found. The rules of sessions and delivery are here, those of commands in
//! [`crate::control`].

use stateright::{Checker, HasDiscoveries, Model, Property};
use tautline_proto::endpoint::Outcome;

use crate::control::{ControlPlan, ControlRule};
use crate::plan::{self, Plan};
use crate::steps::{AllOrders, HEAL_ONE_IN, State, Steps};
use crate::world::{Rule, Step};

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

/// When a check ends, if not after all states.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Until {
    /// After about so many states.
    pub(crate) states: Option<usize>,
    /// When this rule is broken.
    pub(crate) broken: Option<&'static str>,
}

/// Visits the states of a plan.
pub(crate) fn check(plan: &Plan, until: Until) -> Verdict {
    explore(plan.clone(), until, &Rule::ALL.map(Rule::name))
}

/// As [`check`], for the checks of commands.
pub(crate) fn check_control(plan: &ControlPlan, until: Until) -> Verdict {
    explore(plan.clone(), until, &ControlRule::ALL.map(ControlRule::name))
}

/// Visits the states of a plan. A discovery that has the name of a rule is an example that breaks it.
fn explore<P: Steps>(plan: P, until: Until, rules: &[&'static str]) -> Verdict {
    let mut builder = AllOrders(plan).checker().threads(THREADS);
    if let Some(most) = until.states {
        builder = builder.target_state_count(most);
    }
    if let Some(rule) = until.broken {
        builder = builder.finish_when(HasDiscoveries::AnyOf([rule].into()));
    }
    let checker = builder.spawn_bfs().join();
    let mut verdict = Verdict {
        states: checker.unique_state_count(),
        // The checker counts states, and not steps.
        depth: checker.max_depth().saturating_sub(1),
        is_complete: until.states.is_none_or(|most| checker.state_count() < most),
        seen: Vec::new(),
        broken: None,
    };
    let mut discoveries = checker.discoveries();
    // One error may break several rules.
    let broken = until.broken.iter().chain(rules).find_map(|rule| discoveries.remove_entry(rule));
    verdict.broken = broken
        .map(|(rule, path)| (rule, path.into_actions().iter().map(|step| format!("{step:?}")).collect()));
    verdict.seen = discoveries.into_keys().filter(|name| !rules.contains(name)).collect();
    verdict.seen.sort_unstable();
    verdict
}

/// What a check of sessions and delivery wants to know of a state.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    broken: Option<Rule>,
    outcomes: [bool; Outcome::ALL.len()],
    all_delivered: bool,
}

impl Seen {
    fn has(&self, outcome: Outcome) -> bool {
        Outcome::ALL.iter().zip(self.outcomes).any(|(&known, seen)| known == outcome && seen)
    }
}

impl Steps for Plan {
    type Step = Step;
    type Seen = Seen;

    fn after(&self, steps: Vec<Step>) -> State<Step, Seen> {
        let mut world = self.begin();
        for &step in &steps {
            world.step(step);
        }
        let digest = world.digest();
        let open = if world.broken.is_some() { Vec::new() } else { self.open_steps(&world, &steps) };
        let outcomes = std::array::from_fn(|index| world.has_outcome(Outcome::ALL[index]));
        let all_delivered = world.all_delivered();
        if digest.is_multiple_of(HEAL_ONE_IN) {
            world.heal();
        }
        let spent = plan::spent(&steps);
        State { steps, open, digest, spent, seen: Seen { broken: world.broken, outcomes, all_delivered } }
    }

    fn properties() -> Vec<Property<AllOrders<Self>>> {
        /// A macro, because the checker takes functions and not closures.
        macro_rules! always {
            ($($rule:ident),*) => {
                [$(Property::always(Rule::$rule.name(), |_, state: &State<Step, Seen>| {
                    state.seen.broken != Some(Rule::$rule)
                })),*]
            };
        }
        macro_rules! sometimes {
            ($($outcome:ident),*) => {
                [$(Property::sometimes(Outcome::$outcome.name(), |_, state: &State<Step, Seen>| {
                    state.seen.has(Outcome::$outcome)
                })),*]
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
        let all =
            Property::sometimes("all delivered", |_, state: &State<Step, Seen>| state.seen.all_delivered);
        rules.into_iter().chain(outcomes).chain([all]).collect()
    }
}
