//! One measurement of one peer: a server process, a client process, two lines of results.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::peers::{Contestant, Program};
use crate::process::Process;

/// What is measured; a table each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Round trips, one after the other.
    PingPong { messages: usize },
    /// Round trips, paced.
    Paced { messages: usize, rate: u32 },
    /// As many messages as one sender can send.
    Throughput { seconds: f64, size: usize },
}

/// How long a client may take beyond what its task takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a latency client reports, in nanoseconds.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct RoundTrips {
    pub(crate) messages: u64,
    pub(crate) lost: u64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

/// What both ends of a throughput run report together.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    /// Received per second.
    pub(crate) rate: f64,
    /// The part of those sent that was not received.
    pub(crate) loss: f64,
    /// Of both processes, per million messages received.
    pub(crate) cpu_seconds_per_million: f64,
}

#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    RoundTrips(RoundTrips),
    Flow(Flow),
}

#[derive(Deserialize)]
struct Address {
    address: String,
}

#[derive(Deserialize)]
struct Sent {
    sent: u64,
    cpu_seconds: f64,
}

#[derive(Deserialize)]
struct Received {
    received: u64,
    receiving_seconds: f64,
    cpu_seconds: f64,
}

/// Where the programs are.
#[derive(Debug)]
pub(crate) struct Places {
    /// `bench/`.
    pub(crate) bench: PathBuf,
    /// Where cargo has put the programs.
    pub(crate) programs: PathBuf,
    /// The cores that servers and clients are kept on.
    pub(crate) cores: Option<Cores>,
}

/// A core for each side. Left to itself, the scheduler puts both sides on one core in some runs and not in
/// others, and a round trip takes 6 or 60 µs by that alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    pub(crate) server: usize,
    pub(crate) client: usize,
}

impl Cores {
    /// The last and the first core, where there are two and `taskset` to keep processes there.
    pub(crate) fn of_this_machine() -> Option<Self> {
        let last = std::thread::available_parallelism().map_or(0, |count| count.get() - 1);
        let can_pin = Command::new("taskset").arg("--version").output().is_ok();
        (last > 0 && can_pin).then_some(Self { server: last, client: 0 })
    }
}

impl Places {
    fn command(&self, contestant: &Contestant, verb: &str) -> Command {
        let is_server = matches!(verb, "echo" | "sink");
        let program = match contestant.program {
            Program::Package(package) => vec![self.programs.join(package)],
            Program::Python(script) => vec!["python3".into(), self.bench.join(script)],
        };
        let core = self.cores.map(|cores| if is_server { cores.server } else { cores.client });
        // taskset becomes the program that it starts: the process id stays the same.
        let pinning = core.map(|core| ["taskset".into(), "-c".into(), PathBuf::from(core.to_string())]);
        let mut words = pinning.into_iter().flatten().chain(program);
        let mut command = Command::new(words.next().expect("there is a program"));
        command.args(words).args([verb, "--mode", contestant.mode]);
        command
    }

    /// Measures once.
    pub(crate) fn measure(&self, contestant: &Contestant, kind: Kind) -> Result<Outcome, String> {
        let [serve, call] = kind.verbs();
        let mut server = Process::start(self.command(contestant, serve))?;
        let Address { address } = server.ready().map_err(|why| format!("server: {why}"))?;
        let mut command = self.command(contestant, call);
        command.args(["--to", &address]).args(kind.arguments());
        let client = Process::start(command)?;
        let patience = PATIENCE + kind.length();
        match kind {
            Kind::PingPong { .. } | Kind::Paced { .. } => round_trips(client, server, patience),
            Kind::Throughput { .. } => {
                let sent = report(client, patience)?;
                flow(&sent, &server.finish()?).map(Outcome::Flow)
            }
        }
    }
}

fn round_trips(client: Process, server: Process, patience: Duration) -> Result<Outcome, String> {
    let trips: RoundTrips = report(client, patience)?;
    let _: Received = server.finish()?;
    if trips.messages == 0 {
        return Err("no message was answered".to_owned());
    }
    Ok(Outcome::RoundTrips(trips))
}

/// A client's one line.
fn report<T: DeserializeOwned>(mut client: Process, patience: Duration) -> Result<T, String> {
    client.line(patience).map_err(|why| format!("client: {why}"))
}

fn flow(sent: &Sent, received: &Received) -> Result<Flow, String> {
    if received.received == 0 || received.receiving_seconds <= 0.0 {
        return Err("nothing was received".to_owned());
    }
    let count = received.received as f64;
    Ok(Flow {
        rate: count / received.receiving_seconds,
        loss: 1.0 - count / sent.sent as f64,
        cpu_seconds_per_million: (sent.cpu_seconds + received.cpu_seconds) / count * 1e6,
    })
}

impl Kind {
    /// What the server and the client are asked to do.
    const fn verbs(self) -> [&'static str; 2] {
        match self {
            Self::PingPong { .. } | Self::Paced { .. } => ["echo", "latency"],
            Self::Throughput { .. } => ["sink", "throughput"],
        }
    }

    /// The client's options.
    fn arguments(self) -> Vec<String> {
        let text = match self {
            Self::PingPong { messages } => format!("--messages {messages} --size 64"),
            Self::Paced { messages, rate } => format!("--messages {messages} --size 64 --rate {rate}"),
            Self::Throughput { seconds, size } => format!("--seconds {seconds} --size {size}"),
        };
        text.split(' ').map(str::to_owned).collect()
    }

    /// How long it takes by itself.
    fn length(self) -> Duration {
        match self {
            Self::PingPong { .. } => Duration::ZERO,
            Self::Paced { messages, rate } => Duration::from_secs_f64(messages as f64 / f64::from(rate)),
            Self::Throughput { seconds, .. } => Duration::from_secs_f64(seconds),
        }
    }

    /// The heading of its table.
    pub(crate) fn title(self) -> String {
        match self {
            Self::PingPong { messages } => {
                format!("Round trips of 64 bytes, one after the other ({messages} per round)")
            }
            Self::Paced { messages, rate } => {
                format!("Round trips of 64 bytes, paced at {rate} Hz ({messages} per round)")
            }
            Self::Throughput { seconds, size } => {
                format!("Messages of {size} bytes, as many as one sender can send ({seconds} s per round)")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_what_arrived_and_what_both_ends_spent() {
        let sent = Sent { sent: 2_000_000, cpu_seconds: 2.0 };
        let received = Received { received: 1_000_000, receiving_seconds: 0.5, cpu_seconds: 1.0 };
        let flow = flow(&sent, &received).unwrap();
        assert_eq!((flow.rate, flow.loss, flow.cpu_seconds_per_million), (2e6, 0.5, 3.0));
    }

    #[test]
    fn nothing_received_is_no_result() {
        let received = Received { received: 0, receiving_seconds: 0.0, cpu_seconds: 1.0 };
        assert!(flow(&Sent { sent: 1, cpu_seconds: 0.1 }, &received).is_err());
    }
}
