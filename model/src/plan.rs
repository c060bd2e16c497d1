//! What may happen in a check, and how often: few enough things that every order of them can be tried.

use std::time::Duration;

use crate::world::{End, Fault, Kind, Step, Times, World};

/// Bounds of a check.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// What the check is called.
    pub(crate) name: &'static str,
    /// Whether the ends know one another when it begins.
    pub(crate) connected: bool,
    pub(crate) times: Times,
    /// What is handed over, in this order, any time that its sender has a peer.
    pub(crate) messages: &'static [(End, Kind)],
    /// What crashes or closes, in this order, at any time.
    pub(crate) crashes: &'static [Step],
    pub(crate) repeats: usize,
    pub(crate) losses: usize,
    /// How often time passes.
    pub(crate) waits: usize,
    /// How long an order of steps is at most.
    pub(crate) most_steps: usize,
    /// What is wrong on purpose.
    pub(crate) fault: Fault,
}

/// Time-outs that stay out of the way of resending.
const RARE_HEARTBEATS: Times = Times {
    heartbeat_interval: Duration::from_secs(1),
    liveness_timeout: Duration::from_secs(3),
    max_tries: 3,
};

const USUAL: Times = Times {
    heartbeat_interval: Duration::from_millis(100),
    liveness_timeout: Duration::from_millis(500),
    max_tries: 3,
};

use End::{Client, Server};

/// The checks.
pub(crate) const PLANS: [Plan; 4] = [
    // Hello, token, echo and accept, lost, repeated and overtaken, and both ends killed.
    Plan {
        name: "session",
        connected: false,
        times: USUAL,
        messages: &[(Client, Kind::BestEffort)],
        crashes: &[Step::Restart(Client), Step::Restart(Server)],
        repeats: 1,
        losses: 1,
        waits: 1,
        most_steps: 9,
        fault: Fault::None,
    },
    // Reliable and ordered messages, both ways.
    Plan {
        name: "delivery",
        connected: true,
        times: RARE_HEARTBEATS,
        messages: &[(Client, Kind::Ordered), (Client, Kind::Ordered), (Server, Kind::Reliable)],
        crashes: &[],
        repeats: 1,
        losses: 2,
        waits: 2,
        most_steps: 11,
        fault: Fault::None,
    },
    // A message that expires, one in parts and one behind it.
    Plan {
        name: "parts",
        connected: true,
        times: Times { max_tries: 2, ..RARE_HEARTBEATS },
        messages: &[(Client, Kind::ShortLived), (Client, Kind::LargeOrdered), (Client, Kind::Ordered)],
        crashes: &[],
        repeats: 0,
        losses: 3,
        waits: 4,
        most_steps: 8,
        fault: Fault::None,
    },
    // Messages while one end is killed and the other closes.
    Plan {
        name: "restart",
        connected: true,
        times: RARE_HEARTBEATS,
        messages: &[(Client, Kind::Reliable), (Server, Kind::Ordered)],
        crashes: &[Step::Restart(Server), Step::Close(Client)],
        repeats: 0,
        losses: 1,
        waits: 0,
        most_steps: 30,
        fault: Fault::None,
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

    /// What can happen after these steps.
    pub(crate) fn open_steps(&self, world: &World, steps: &[Step]) -> Vec<Step> {
        if steps.len() >= self.most_steps {
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
        open.extend(self.crashes.get(count(|step| matches!(step, Step::Restart(_) | Step::Close(_)))));
        open.extend((waits < self.waits).then_some(Step::Wait));
        open
    }
}

/// How much of what is bounded these steps have taken: repetitions, losses, waits. What they have in common with the world,
/// messages and crashes, is to be seen there.
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
