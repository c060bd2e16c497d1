//! One measurement of one peer: a server process, a client process, two lines of results.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::drops::kernel_drops;
use crate::kinds::Kind;
use crate::neighbour::Neighbour;
use crate::peers::{Contestant, Program};
use crate::process::Process;

/// How long a client may take beyond what its task takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What a latency client reports, in nanoseconds.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct RoundTrips {
    pub(crate) messages: u64,
    pub(crate) lost: u64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
    pub(crate) peak_kib: u64,
}

/// What both ends of a throughput run report together.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    /// Received per second.
    pub(crate) rate: f64,
    /// The part of those sent that was not received.
    pub(crate) loss: f64,
    /// Datagrams that the kernel dropped meanwhile: a message each, where nothing is packed.
    pub(crate) kernel_drops: u64,
    /// Of both processes, per million messages received.
    pub(crate) cpu_seconds_per_million: f64,
    /// Of the server alone, per message received.
    pub(crate) server_cpu_us: f64,
}

/// One measurement's figures.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) figures: Figures,
    /// The most that each process had in memory at once.
    pub(crate) server_mb: f64,
    pub(crate) client_mb: f64,
}

#[derive(Clone, Debug)]
pub(crate) enum Figures {
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
    peak_kib: u64,
}

#[derive(Deserialize)]
struct Received {
    received: u64,
    receiving_seconds: f64,
    cpu_seconds: f64,
    peak_kib: u64,
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
            Program::Package(package) | Program::Apart { package, .. } => vec![self.programs.join(package)],
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
        let _neighbour = needs_neighbour(kind).then(Neighbour::start).transpose()?;
        let mut command = self.command(contestant, call);
        command.args(["--to", &address]).args(kind.arguments());
        let client = Process::start(command)?;
        let patience = PATIENCE + kind.length();
        if kind.is_round_trips() {
            round_trips(client, server, patience)
        } else {
            flow(client, server, patience)
        }
    }
}

const fn needs_neighbour(kind: Kind) -> bool {
    matches!(kind, Kind::PingPong { is_beside_neighbour: true, .. })
}

fn round_trips(client: Process, server: Process, patience: Duration) -> Result<Outcome, String> {
    let trips: RoundTrips = report(client, patience)?;
    let served: Received = server.finish()?;
    if trips.messages == 0 {
        return Err("no message was answered".to_owned());
    }
    let (server_mb, client_mb) = (megabytes(served.peak_kib), megabytes(trips.peak_kib));
    Ok(Outcome { figures: Figures::RoundTrips(trips), server_mb, client_mb })
}

fn flow(client: Process, server: Process, patience: Duration) -> Result<Outcome, String> {
    let dropped_before = kernel_drops();
    let sent: Sent = report(client, patience)?;
    let received: Received = server.finish()?;
    let dropped = kernel_drops().saturating_sub(dropped_before);
    let (server_mb, client_mb) = (megabytes(received.peak_kib), megabytes(sent.peak_kib));
    Ok(Outcome { figures: Figures::Flow(compare(&sent, &received, dropped)?), server_mb, client_mb })
}

fn megabytes(kib: u64) -> f64 {
    kib as f64 * 1024.0 / 1e6
}

/// A client's one line.
fn report<T: DeserializeOwned>(mut client: Process, patience: Duration) -> Result<T, String> {
    client.line(patience).map_err(|why| format!("client: {why}"))
}

fn compare(sent: &Sent, received: &Received, kernel_drops: u64) -> Result<Flow, String> {
    if received.received == 0 || received.receiving_seconds <= 0.0 {
        return Err("nothing was received".to_owned());
    }
    let count = received.received as f64;
    Ok(Flow {
        rate: count / received.receiving_seconds,
        loss: 1.0 - count / sent.sent as f64,
        kernel_drops,
        cpu_seconds_per_million: (sent.cpu_seconds + received.cpu_seconds) / count * 1e6,
        server_cpu_us: received.cpu_seconds / count * 1e6,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_what_arrived_and_what_both_ends_spent() {
        let sent = Sent { sent: 2_000_000, cpu_seconds: 2.0, peak_kib: 0 };
        let received =
            Received { received: 1_000_000, receiving_seconds: 0.5, cpu_seconds: 1.0, peak_kib: 0 };
        let flow = compare(&sent, &received, 0).unwrap();
        assert_eq!((flow.rate, flow.loss), (2e6, 0.5));
        assert_eq!((flow.cpu_seconds_per_million, flow.server_cpu_us), (3.0, 1.0));
    }

    #[test]
    fn nothing_received_is_no_result() {
        let received = Received { received: 0, receiving_seconds: 0.0, cpu_seconds: 1.0, peak_kib: 0 };
        assert!(compare(&Sent { sent: 1, cpu_seconds: 0.1, peak_kib: 0 }, &received, 0).is_err());
    }
}
