//! What may happen in a check of commands, and how often.

use super::rig::Rig;
use crate::support::Packet;

/// The bounds of a check.
#[derive(Clone, Debug)]
pub(crate) struct ControlPlan {
    pub(crate) name: &'static str,
    /// Whether the links are secured.
    pub(crate) has_key: bool,
    /// What happens first, before every order is tried.
    pub(crate) begins: &'static [ControlStep],
    /// How many commands each client sends at most, how often it claims, and how often it releases.
    pub(crate) commands: [usize; 2],
    pub(crate) claims: [usize; 2],
    pub(crate) releases: [usize; 2],
    /// How often clients close their sessions. They do not come back.
    pub(crate) closes: usize,
    /// Whether a watchdog that latches stands behind the owner's rule, and how often the user resets it.
    pub(crate) latches: bool,
    pub(crate) resets: usize,
    pub(crate) losses: usize,
    pub(crate) waits: usize,
    pub(crate) max_steps: usize,
    pub(crate) fault: Fault,
}

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    #[default]
    None,
    /// The server takes commands of every client.
    NoOwner,
    /// A claim that is repeated counts as a new one.
    ClaimsAnew,
    /// Commands that a newer one has overtaken are handed out.
    NoHistory,
    /// Commands are handed out again after a silence, before anybody has reset the watchdog.
    NoLatch,
}

/// A check of which the others say what is different.
const BASE: ControlPlan = ControlPlan {
    name: "",
    has_key: false,
    begins: &[],
    commands: [2, 1],
    claims: [0, 0],
    releases: [0, 0],
    closes: 0,
    latches: false,
    resets: 0,
    losses: 0,
    waits: 2,
    max_steps: 8,
    fault: Fault::None,
};

/// The checks of plain links.
const PLANS: [ControlPlan; 4] = [
    // Claims are lost, repeated and reordered, and the owner falls silent.
    ControlPlan { name: "claims", claims: [1, 1], losses: 1, max_steps: 6, ..BASE },
    // A claim is repeated although it has taken effect, and its claimant falls silent meanwhile.
    ControlPlan {
        name: "repeats",
        begins: &[ControlStep::Claim(0), ControlStep::Deliver(0), ControlStep::Wait],
        commands: [1, 1],
        claims: [1, 0],
        max_steps: 10,
        ..BASE
    },
    // Commands stop, a watchdog trips and latches, and the user resets it, too early or in time.
    ControlPlan { name: "latch", latches: true, resets: 1, ..BASE },
    // An owner releases or closes, and its commands come late.
    ControlPlan { name: "releases", releases: [1, 0], closes: 1, waits: 1, max_steps: 7, ..BASE },
];

/// The names of the same checks with a key.
const SECURED: [&str; 4] = ["claims-key", "repeats-key", "latch-key", "releases-key"];

/// Returns all checks: with a plain link, and with a secured one.
pub(crate) fn control_plans() -> impl Iterator<Item = ControlPlan> {
    let secured = PLANS.into_iter().zip(SECURED);
    PLANS.into_iter().chain(secured.map(|(plan, name)| ControlPlan { name, has_key: true, ..plan }))
}

/// One step. Datagrams are named by their place among the datagrams in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ControlStep {
    Deliver(usize),
    Lose(usize),
    /// Time passes.
    Wait,
    /// A client sends a command.
    Command(usize),
    Claim(usize),
    Release(usize),
    /// A client closes its session, and stays away.
    Close(usize),
    /// The user at the server resets the watchdog.
    Reset,
}

impl ControlPlan {
    /// Returns the steps that can follow these steps.
    pub(super) fn open_steps(&self, rig: &Rig, steps: &[ControlStep]) -> Vec<ControlStep> {
        if steps.len() >= self.max_steps {
            return Vec::new();
        }
        let count = |step: ControlStep| steps.iter().filter(|taken| **taken == step).count();
        let losses = steps.iter().filter(|step| matches!(step, ControlStep::Lose(_))).count();
        let closes = steps.iter().filter(|step| matches!(step, ControlStep::Close(_))).count();
        let mut open = Vec::new();
        for (index, packet) in rig.in_flight.iter().enumerate() {
            let is_known = |other: &&Packet| (other.to, &other.bytes) == (packet.to, &packet.bytes);
            if rig.in_flight[..index].iter().find(is_known).is_some() {
                continue;
            }
            open.push(ControlStep::Deliver(index));
            open.extend((losses < self.losses).then_some(ControlStep::Lose(index)));
        }
        for client in (0..2).filter(|&client| !rig.gone[client]) {
            let mut offer = |step, most| open.extend((count(step) < most).then_some(step));
            offer(ControlStep::Command(client), self.commands[client]);
            offer(ControlStep::Claim(client), self.claims[client]);
            offer(ControlStep::Release(client), self.releases[client]);
            offer(ControlStep::Close(client), usize::from(closes < self.closes));
        }
        open.extend((count(ControlStep::Reset) < self.resets).then_some(ControlStep::Reset));
        open.extend((count(ControlStep::Wait) < self.waits).then_some(ControlStep::Wait));
        open
    }
}
