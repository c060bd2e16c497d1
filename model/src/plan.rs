//! What may happen in a check, and how often. The bounds are so small that every order can be tried.

use std::time::Duration;

use crate::world::{End, Fault, Kind, Step, Times, World};

/// The bounds of a check.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The name of the check.
    pub(crate) name: &'static str,
    /// Whether the ends are connected when the check begins.
    pub(crate) connected: bool,
    pub(crate) times: Times,
    /// The messages that are sent, in this order, at any time at which the sender has a peer.
    pub(crate) messages: &'static [(End, Kind)],
    /// The crashes, closings, moves and changes of the key, in this order, at any time.
    pub(crate) crashes: &'static [Step],
    pub(crate) repeats: usize,
    pub(crate) losses: usize,
    /// How often time passes.
    pub(crate) waits: usize,
    /// How many steps there are at most.
    pub(crate) max_steps: usize,
    /// The error that is made on purpose.
    pub(crate) fault: Fault,
}

/// Time-outs that are longer than all retransmissions.
const RARE_HEARTBEATS: Times = Times {
    heartbeat_interval: Duration::from_secs(1),
    liveness_timeout: Duration::from_secs(3),
    max_tries: 3,
    rekey_after: None,
};

const USUAL: Times = Times {
    heartbeat_interval: Duration::from_millis(100),
    liveness_timeout: Duration::from_millis(500),
    max_tries: 3,
    rekey_after: None,
};

/// A secured link whose keys do not grow old here.
const SECURED: Times = Times { rekey_after: Some(Duration::from_secs(1000)), ..USUAL };

use End::{Client, Server};

/// A check of which the others say what is different.
const BASE: Plan = Plan {
    name: "",
    connected: true,
    times: RARE_HEARTBEATS,
    messages: &[],
    crashes: &[],
    repeats: 0,
    losses: 1,
    waits: 1,
    max_steps: 9,
    fault: Fault::None,
};

/// The checks.
pub(crate) const PLANS: [Plan; 8] = [
    // Hello, token, echo and accept are lost, repeated and reordered, and both ends are killed.
    Plan {
        name: "session",
        connected: false,
        times: USUAL,
        messages: &[(Client, Kind::BestEffort)],
        crashes: &[Step::Restart(Client), Step::Restart(Server)],
        repeats: 1,
        ..BASE
    },
    // Reliable and ordered messages in both directions.
    Plan {
        name: "delivery",
        messages: &[(Client, Kind::Ordered), (Client, Kind::Ordered), (Server, Kind::Reliable)],
        repeats: 1,
        losses: 2,
        waits: 2,
        max_steps: 11,
        ..BASE
    },
    // A message that expires, a message in fragments, and a message that follows it.
    Plan {
        name: "fragments",
        times: Times { max_tries: 2, ..RARE_HEARTBEATS },
        messages: &[(Client, Kind::ShortLived), (Client, Kind::LargeOrdered), (Client, Kind::Ordered)],
        losses: 3,
        waits: 4,
        max_steps: 8,
        ..BASE
    },
    // Messages while one end is killed and the other end closes.
    Plan {
        name: "restart",
        messages: &[(Client, Kind::Reliable), (Server, Kind::Ordered)],
        crashes: &[Step::Restart(Server), Step::Close(Client)],
        waits: 0,
        max_steps: 30,
        ..BASE
    },
    // The handshake with a key: hello, token, echo and accept are lost, repeated and reordered, and both ends are killed.
    Plan {
        name: "secured",
        connected: false,
        times: SECURED,
        messages: &[(Client, Kind::BestEffort)],
        crashes: &[Step::Restart(Client), Step::Restart(Server)],
        repeats: 1,
        max_steps: 8,
        ..BASE
    },
    // An old session stays until the new one has proven itself, while one end is killed and the other end closes.
    Plan {
        name: "replaced",
        times: Times { rekey_after: SECURED.rekey_after, ..RARE_HEARTBEATS },
        messages: &[(Client, Kind::Reliable), (Server, Kind::Ordered)],
        crashes: &[Step::Restart(Server), Step::Restart(Client)],
        ..BASE
    },
    // Keys of a session are replaced because the client has another key to call with, and again before that is done.
    Plan {
        name: "renewal",
        times: Times { rekey_after: SECURED.rekey_after, ..RARE_HEARTBEATS },
        messages: &[(Client, Kind::Reliable)],
        crashes: &[Step::ChangeKey, Step::ChangeKey, Step::ChangeKey],
        waits: 2,
        max_steps: 7,
        ..BASE
    },
    // The client's address changes twice.
    Plan {
        name: "move",
        times: SECURED,
        messages: &[(Client, Kind::Reliable), (Server, Kind::BestEffort)],
        crashes: &[Step::Move, Step::Move],
        repeats: 1,
        waits: 2,
        max_steps: 6,
        ..BASE
    },
];

impl Plan {
    /// The world before the first step.
    pub(crate) fn begin(&self) -> World {
        match self.connected {
            true => World::connected(self.times, self.fault),
            false => World::new(self.times, self.fault),
        }
    }

    /// Whether its ends have keys.
    pub(crate) const fn is_secured(&self) -> bool {
        self.times.rekey_after.is_some()
    }

    /// Returns the steps that can follow these steps.
    pub(crate) fn open_steps(&self, world: &World, steps: &[Step]) -> Vec<Step> {
        if steps.len() >= self.max_steps {
            return Vec::new();
        }
        let count = |wanted: fn(&Step) -> bool| steps.iter().filter(|step| wanted(step)).count();
        let [repeats, losses, waits] = spent(steps);
        let (may_repeat, may_lose) = (repeats < self.repeats, losses < self.losses);
        let mut open = Vec::new();
        for (index, packet) in world.in_flight.iter().enumerate() {
            if world.in_flight[..index]
                .iter()
                .any(|other| (other.to, &other.bytes) == (packet.to, &packet.bytes))
            {
                continue;
            }
            open.push(Step::Deliver(index));
            open.extend(may_repeat.then_some(Step::Repeat(index)));
            open.extend(may_lose.then_some(Step::Lose(index)));
        }
        let sent = count(|step| matches!(step, Step::Send(..)));
        let message = self.messages.get(sent).filter(|(end, _)| world.can_send(*end));
        open.extend(message.map(|&(end, kind)| Step::Send(end, kind)));
        open.extend(self.crashes.get(count(Step::is_crash)));
        open.extend((waits < self.waits).then_some(Step::Wait));
        open
    }
}

/// Returns how many repetitions, losses and waits are among these steps. The number of messages and crashes is visible in the
/// world.
pub(crate) fn spent(steps: &[Step]) -> [usize; 3] {
    let mut spent = [0; 3];
    for step in steps {
        match step {
            Step::Repeat(_) => spent[0] += 1,
            Step::Lose(_) => spent[1] += 1,
            Step::Wait => spent[2] += 1,
            _ => {}
        }
    }
    spent
}
