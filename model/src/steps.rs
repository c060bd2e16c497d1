//! A plan as a model for [stateright](https://docs.rs/stateright): its steps in every order.
//!
//! The model runs the real endpoint, and not a copy of it. A state is the list of the steps taken so far. Taking these steps
//! again rebuilds the state, always with the same result. A hash of everything in a state identifies it.

use std::fmt::Debug;
use std::hash::{Hash, Hasher};

use stateright::{Model, Property};

/// In one of this many states, chosen by the digest, the network stops losing datagrams, and the ends must connect.
pub(crate) const HEAL_ONE_IN: u64 = 16;

/// What may happen, and how often.
pub(crate) trait Steps: Clone + Send + Sync + 'static {
    type Step: Clone + Copy + Debug + Hash + PartialEq + Send + Sync + 'static;
    /// What a check wants to know of a state.
    type Seen: Clone + Debug + Send + Sync + 'static;

    /// Takes these steps, from the beginning.
    fn after(&self, steps: Vec<Self::Step>) -> State<Self::Step, Self::Seen>;

    /// The rules that must hold in every state, and what should be seen in some.
    fn properties() -> Vec<Property<AllOrders<Self>>>;
}

/// A state, as stateright keeps it.
#[derive(Clone, Debug)]
pub(crate) struct State<Step, Seen> {
    pub(crate) steps: Vec<Step>,
    /// The steps that can come next.
    pub(crate) open: Vec<Step>,
    /// A hash of everything that decides what can follow, except for `spent`.
    pub(crate) digest: u64,
    /// How often each limited act has happened.
    pub(crate) spent: [usize; 3],
    pub(crate) seen: Seen,
}

impl<Step, Seen> Hash for State<Step, Seen> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.digest, self.spent).hash(hasher);
    }
}

impl<Step, Seen> PartialEq for State<Step, Seen> {
    fn eq(&self, other: &Self) -> bool {
        (self.digest, self.spent) == (other.digest, other.spent)
    }
}

/// Tries the steps of a plan in all orders.
#[derive(Clone, Debug)]
pub(crate) struct AllOrders<P>(pub(crate) P);

impl<P: Steps> Model for AllOrders<P> {
    type State = State<P::Step, P::Seen>;
    type Action = P::Step;

    fn init_states(&self) -> Vec<Self::State> {
        vec![self.0.after(Vec::new())]
    }

    fn actions(&self, state: &Self::State, actions: &mut Vec<P::Step>) {
        actions.extend(&state.open);
    }

    fn next_state(&self, state: &Self::State, step: P::Step) -> Option<Self::State> {
        let mut steps = state.steps.clone();
        steps.push(step);
        Some(self.0.after(steps))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        P::properties()
    }
}
