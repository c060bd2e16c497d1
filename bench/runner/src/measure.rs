//! One measurement of one peer, with a server process and a client process. Each process prints a line of results.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::drops::kernel_drops;
use crate::kinds::Kind;
use crate::namespace::Namespace;
use crate::neighbour::Neighbour;
use crate::peers::{Contestant, Program};
use crate::process::Process;

/// How long a client may take in addition to the length of its task.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(30);

/// How long a client may take to connect one more client.
const TO_CONNECT: Duration = Duration::from_millis(20);

/// The report of a latency client. Times are in nanoseconds.
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

/// The combined report of both ends of a throughput run.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    /// The number of messages received per second.
    pub(crate) rate: f64,
    /// The share of the sent messages that was not received, from 0 to 1.
    pub(crate) loss: f64,
    /// The number of datagrams that the kernel dropped during the run. Without coalescing, each is one message.
    pub(crate) kernel_drops: u64,
    /// The CPU seconds of both processes per million messages received.
    pub(crate) cpu_seconds_per_million: f64,
    /// The server's CPU time in microseconds per message received.
    pub(crate) server_cpu_us: f64,
    /// The client's CPU time in nanoseconds per message sent, whether it was received or not.
    pub(crate) client_cpu_ns: f64,
    /// The share of a core that the server used between the first message and the last.
    pub(crate) server_load: f64,
}

/// The figures of one measurement.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) figures: Figures,
    /// The peak memory of each process, in MB.
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

/// The folders of the programs, and the cores for their processes.
#[derive(Debug)]
pub(crate) struct Places {
    /// `bench/`.
    pub(crate) bench: PathBuf,
    /// The folder into which cargo has built the programs.
    pub(crate) programs: PathBuf,
    /// The cores of the servers and the clients.
    pub(crate) cores: Option<Cores>,
}

/// A core for each side. Without it, the scheduler puts both sides on one core in some runs only, and this alone
/// changes a round trip from 6 to 60 µs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    pub(crate) server: usize,
    pub(crate) client: usize,
}

impl Cores {
    /// Returns the last and the first core, or `None` if there is only one core or no `taskset`.
    pub(crate) fn of_this_machine() -> Option<Self> {
        let last = std::thread::available_parallelism().map_or(0, |count| count.get() - 1);
        let can_pin = Command::new("taskset").arg("--version").output().is_ok();
        (last > 0 && can_pin).then_some(Self { server: last, client: 0 })
    }
}

impl Places {
    fn command(&self, contestant: &Contestant, kind: Kind, verb: &str, space: Option<&Namespace>) -> Command {
        let is_server = matches!(verb, "echo" | "sink");
        let program = match contestant.program {
            Program::Package(package) | Program::Apart { package, .. } => vec![self.programs.join(package)],
            Program::Python(script) => vec!["python3".into(), self.bench.join(script)],
        };
        let core = self
            .cores
            .filter(|_| kind.is_pinned())
            .map(|cores| if is_server { cores.server } else { cores.client });
        // taskset replaces itself by the program that it starts, so the process id stays the same.
        let pinning = core.map(|core| ["taskset".into(), "-c".into(), PathBuf::from(core.to_string())]);
        let entering = space.map(Namespace::words).unwrap_or_default().into_iter().map(PathBuf::from);
        let mut words = entering.chain(pinning.into_iter().flatten()).chain(program);
        let mut command = Command::new(words.next().expect("there is a program"));
        command.args(words).args([verb, "--mode", contestant.mode]);
        command
    }

    /// Measures a contestant once.
    pub(crate) fn measure(&self, contestant: &Contestant, kind: Kind) -> Result<Outcome, String> {
        let time_limit = TIME_LIMIT + kind.length() + TO_CONNECT.mul_f64(contestant.clients());
        let arguments = kind.arguments(contestant.size());
        if kind.is_together() {
            let mut command = self.command(contestant, kind, "together", None);
            command.args(arguments);
            return round_trips_in_one(Process::start(command)?, time_limit);
        }
        let space = matches!(kind, Kind::Sizes { .. }).then(Namespace::start).transpose()?;
        let [serve, call] = kind.verbs();
        let mut server = Process::start(self.command(contestant, kind, serve, space.as_ref()))?;
        let Address { address } = server.ready().map_err(|why| format!("server: {why}"))?;
        let _neighbour = needs_neighbour(kind).then(Neighbour::start).transpose()?;
        let mut command = self.command(contestant, kind, call, space.as_ref());
        command.args(["--to", &address]).args(arguments);
        let client = Process::start(command)?;
        if kind.is_round_trips() {
            round_trips(client, server, time_limit)
        } else {
            flow(client, server, time_limit)
        }
    }
}

const fn needs_neighbour(kind: Kind) -> bool {
    matches!(kind, Kind::PingPong { is_beside_neighbour: true, .. })
}

fn round_trips(client: Process, server: Process, time_limit: Duration) -> Result<Outcome, String> {
    let trips: RoundTrips = report(client, time_limit)?;
    let served: Received = server.finish()?;
    if trips.messages == 0 {
        return Err("no answer came".to_owned());
    }
    let (server_mb, client_mb) = (megabytes(served.peak_kib), megabytes(trips.peak_kib));
    Ok(Outcome { figures: Figures::RoundTrips(trips), server_mb, client_mb })
}

/// Both ends are in this process.
fn round_trips_in_one(process: Process, time_limit: Duration) -> Result<Outcome, String> {
    let trips: RoundTrips = report(process, time_limit)?;
    if trips.messages == 0 {
        return Err("no answer came".to_owned());
    }
    let client_mb = megabytes(trips.peak_kib);
    Ok(Outcome { figures: Figures::RoundTrips(trips), server_mb: 0.0, client_mb })
}

fn flow(client: Process, server: Process, time_limit: Duration) -> Result<Outcome, String> {
    let dropped_before = kernel_drops();
    let sent: Sent = report(client, time_limit)?;
    let received: Received = server.finish()?;
    let dropped = kernel_drops().saturating_sub(dropped_before);
    let (server_mb, client_mb) = (megabytes(received.peak_kib), megabytes(sent.peak_kib));
    Ok(Outcome { figures: Figures::Flow(compare(&sent, &received, dropped)?), server_mb, client_mb })
}

fn megabytes(kib: u64) -> f64 {
    kib as f64 * 1024.0 / 1e6
}

/// Reads the report of a client.
fn report<T: DeserializeOwned>(mut client: Process, time_limit: Duration) -> Result<T, String> {
    client.line(time_limit).map_err(|why| format!("client: {why}"))
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
        client_cpu_ns: sent.cpu_seconds / sent.sent as f64 * 1e9,
        server_load: received.cpu_seconds / received.receiving_seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_cost_refer_to_the_received_messages_and_the_clients_cost_to_those_it_sent() {
        let sent = Sent { sent: 2_000_000, cpu_seconds: 2.0, peak_kib: 0 };
        let received =
            Received { received: 1_000_000, receiving_seconds: 0.5, cpu_seconds: 1.0, peak_kib: 0 };
        let flow = compare(&sent, &received, 0).unwrap();
        assert_eq!((flow.rate, flow.loss), (2e6, 0.5));
        assert_eq!((flow.cpu_seconds_per_million, flow.server_cpu_us), (3.0, 1.0));
        assert_eq!(flow.client_cpu_ns, 1e3);
    }

    #[test]
    fn a_run_without_received_messages_is_an_error() {
        let received = Received { received: 0, receiving_seconds: 0.0, cpu_seconds: 1.0, peak_kib: 0 };
        assert!(compare(&Sent { sent: 1, cpu_seconds: 0.1, peak_kib: 0 }, &received, 0).is_err());
    }
}
