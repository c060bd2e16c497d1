//! The reference: std's UDP socket. It checks nothing and counts nothing.
//!
//! Modes: `blocking`; `spinning`, which polls the kernel instead of sleeping; `clients-N`, which is `blocking`
//! with N sockets that send in turn; `idle-N` with N sockets that send only signs of life; and `sized`, where the server tells
//! how many it has counted, and a bounded number is under way.

mod idle;

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::time::Instant;

use method::{ANSWER_TIMEOUT, Count, Latency, MAX_SIZE, Outcome, Peer, Ready, Throughput, window};
use rustix::net::sockopt;

/// The mode for messages of all sizes.
const SIZED: &str = "sized";

/// The receive buffer of that mode, as for tautline.
const LARGE_BUFFER: usize = 16 << 20;

struct Raw;

fn main() -> ExitCode {
    method::main::<Raw>()
}

impl Peer for Raw {
    fn echo(mode: &str, ready: Ready) -> Outcome<Infallible> {
        let socket = Socket::bind(mode)?;
        ready.at(socket.udp.local_addr()?);
        let mut buffer = [0; MAX_SIZE];
        loop {
            let (len, from) = socket.receive(|udp| udp.recv_from(&mut buffer))?;
            socket.udp.send_to(&buffer[..len], from)?;
        }
    }

    fn sink(mode: &str, ready: Ready, received: &'static Count) -> Outcome<Infallible> {
        let socket = Socket::bind(mode)?;
        ready.at(socket.udp.local_addr()?);
        let mut buffer = [0; MAX_SIZE];
        if mode == SIZED {
            return count_aloud(&socket.udp, &mut buffer, received);
        }
        if idle::clients(mode).is_some() {
            return idle::sink(&socket.udp, &mut buffer, received);
        }
        loop {
            socket.receive(|udp| udp.recv(&mut buffer))?;
            received.add(1);
        }
    }

    fn latency(mode: &str, to: &str, run: &mut Latency) -> Outcome<()> {
        let mut socket = Socket::connect(mode, to)?;
        let mut buffer = [0; MAX_SIZE];
        while let Some(message) = run.next() {
            socket.udp.send(message)?;
            socket.give_up_at = Instant::now() + ANSWER_TIMEOUT;
            loop {
                match socket.receive(|udp| udp.recv(&mut buffer)) {
                    Ok(len) if run.answer(&buffer[..len]) => break,
                    Ok(_) => {}
                    Err(error) if is_timeout(&error) => {
                        run.lost();
                        break;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    fn throughput(mode: &str, to: &str, run: &mut Throughput) -> Outcome<()> {
        if mode == SIZED {
            return send_windowed(&Socket::connect(mode, to)?.udp, run);
        }
        let count = clients(mode).unwrap_or(1);
        method::allow_open_files(count as u64 + 64);
        let sockets: Outcome<Vec<Socket>> = (0..count).map(|_| Socket::connect(mode, to)).collect();
        let sockets = sockets?;
        if idle::clients(mode).is_some() {
            return idle::stay_idle(&sockets, run);
        }
        let mut turns = sockets.iter().cycle();
        while let Some(socket) = turns.next().filter(|_| run.more()) {
            match socket.udp.send(run.message()) {
                Ok(_) => {}
                Err(error) if is_timeout(&error) => run.refused(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

struct Socket {
    udp: UdpSocket,
    spins: bool,
    /// The time-out of a spinning client. A blocking client uses the read time-out of the socket.
    give_up_at: Instant,
    is_client: bool,
}

impl Socket {
    fn bind(mode: &str) -> Outcome<Self> {
        let spins = match mode {
            "blocking" | SIZED => false,
            "spinning" => true,
            other if clients(other).is_some() => false,
            other => {
                return Err(format!(
                    "{other}: the modes are blocking, spinning, sized, clients-N and idle-N"
                )
                .into());
            }
        };
        let udp = UdpSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        udp.set_nonblocking(spins)?;
        if mode == SIZED && sockopt::set_socket_recv_buffer_size_force(&udp, LARGE_BUFFER).is_err() {
            sockopt::set_socket_recv_buffer_size(&udp, LARGE_BUFFER)?;
        }
        Ok(Self { udp, spins, give_up_at: Instant::now(), is_client: false })
    }

    fn connect(mode: &str, to: &str) -> Outcome<Self> {
        let socket = Self::bind(mode)?;
        socket.udp.connect(to)?;
        socket.udp.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self { is_client: true, ..socket })
    }

    fn receive<T>(&self, mut call: impl FnMut(&UdpSocket) -> io::Result<T>) -> io::Result<T> {
        loop {
            match call(&self.udp) {
                Err(error) if self.spins && error.kind() == ErrorKind::WouldBlock => {
                    if self.is_client && Instant::now() >= self.give_up_at {
                        return Err(error);
                    }
                }
                result => return result,
            }
        }
    }
}

/// Counts messages, and tells the sender four times in a window how many have come.
fn count_aloud(udp: &UdpSocket, buffer: &mut [u8], received: &'static Count) -> Outcome<Infallible> {
    loop {
        let (len, from) = udp.recv_from(buffer)?;
        received.add(1);
        let count = received.value();
        if count.is_multiple_of(window(len) / 4) {
            udp.send_to(&count.to_le_bytes(), from)?;
        }
    }
}

/// Sends with a bounded number of messages under way.
fn send_windowed(udp: &UdpSocket, run: &mut Throughput) -> Outcome<()> {
    let most = window(run.message().len());
    let (mut sent, mut arrived, mut report) = (0, 0, [0; 8]);
    while run.more() {
        while sent - arrived >= most {
            udp.recv(&mut report).map_err(|error| format!("{arrived} of {sent} have arrived: {error}"))?;
            arrived = arrived.max(u64::from_le_bytes(report));
        }
        udp.send(run.message())?;
        sent += 1;
    }
    Ok(())
}

fn clients(mode: &str) -> Option<usize> {
    mode.strip_prefix("clients-").and_then(|count| count.parse().ok()).or_else(|| idle::clients(mode))
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
