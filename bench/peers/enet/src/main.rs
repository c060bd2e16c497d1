//! ENet with the crate `rusty_enet`, a translation of the C library: unreliable packets on one channel, without
//! checksum. In the modes `reliable-P` the packets are reliable, and each end loses P percent of the datagrams that it reads.
//!
//! ENet's service call never waits. Between two calls this program waits in poll(2), as the C library's
//! `enet_host_service` does with a time-out.

use std::convert::Infallible;
use std::net::{SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use method::{ANSWER_TIMEOUT, Count, Latency, Loss, Outcome, Peer, Ready, Throughput};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rusty_enet::{Event, Host, HostSettings, MTU_MAX, Packet, PacketReceived, PeerID, Socket, SocketOptions};

/// How often ENet's timers are served while no packet arrives.
const TIMER: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// The number of packets that are queued before ENet may pack and send them.
const BATCH: u64 = 32;

/// How long connecting may take.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// How many reliable packets the server counts before it tells the client, and how many may be under way. ENet itself would queue
/// without a bound.
const TOLD_EVERY: u64 = 256;
const UNDER_WAY: u64 = 16_384;

struct Enet;

fn main() -> ExitCode {
    method::main::<Enet>()
}

impl Peer for Enet {
    fn echo(mode: &str, ready: Ready) -> Outcome<Infallible> {
        let mut host = open(mode)?;
        ready.at(host.socket().udp.local_addr()?);
        loop {
            match host.service()? {
                Some(Event::Receive { peer, packet, .. }) => {
                    peer.send(0, &packet)?;
                    host.flush();
                }
                Some(_) => {}
                None => wait(&host)?,
            }
        }
    }

    fn sink(mode: &str, ready: Ready, received: &'static Count) -> Outcome<Infallible> {
        let mut host = open(mode)?;
        ready.at(host.socket().udp.local_addr()?);
        loop {
            match host.service()? {
                Some(Event::Receive { peer, .. }) => {
                    received.add(1);
                    if !mode.is_empty() && received.value().is_multiple_of(TOLD_EVERY) {
                        peer.send(0, &Packet::reliable(&received.value().to_le_bytes()[..]))?;
                    }
                }
                Some(_) => {}
                None => wait(&host)?,
            }
        }
    }

    fn latency(mode: &str, to: &str, run: &mut Latency) -> Outcome<()> {
        let (mut host, server) = connect(mode, to)?;
        while let Some(message) = run.next() {
            host.peer_mut(server).send(0, &Packet::always_unreliable(message))?;
            host.flush();
            let give_up_at = Instant::now() + ANSWER_TIMEOUT;
            loop {
                match host.service()? {
                    Some(Event::Receive { packet, .. }) if run.answer(packet.data()) => break,
                    Some(_) => {}
                    None if Instant::now() >= give_up_at => {
                        run.lost();
                        break;
                    }
                    None => wait(&host)?,
                }
            }
        }
        Ok(())
    }

    fn throughput(mode: &str, to: &str, run: &mut Throughput) -> Outcome<()> {
        let (mut host, server) = connect(mode, to)?;
        if !mode.is_empty() {
            return send_reliable(&mut host, server, run);
        }
        let mut queued = 0;
        while run.more() {
            host.peer_mut(server).send(0, &Packet::always_unreliable(run.message()))?;
            queued += 1;
            if queued % BATCH == 0 {
                while host.service()?.is_some() {}
            }
        }
        host.flush();
        Ok(())
    }
}

/// Sends reliable packets, and then waits until all were counted.
fn send_reliable(host: &mut Host<Lossy>, server: PeerID, run: &mut Throughput) -> Outcome<()> {
    let (mut sent, mut arrived) = (0, 0);
    let mut goes_on = true;
    let mut give_up_at = Instant::now() + TIME_LIMIT;
    while goes_on || arrived < sent {
        if goes_on && sent - arrived < UNDER_WAY {
            goes_on = run.more_of(TOLD_EVERY);
            for _ in 0..if goes_on { TOLD_EVERY } else { 0 } {
                host.peer_mut(server).send(0, &Packet::reliable(run.message()))?;
                sent += 1;
            }
        }
        let before = arrived;
        while let Some(event) = host.service()? {
            if let Event::Receive { packet, .. } = event {
                arrived = packet.data().try_into().map_or(0, u64::from_le_bytes).max(arrived);
            }
        }
        if arrived > before {
            give_up_at = Instant::now() + TIME_LIMIT;
        } else if Instant::now() >= give_up_at {
            return Err(format!("only {arrived} of {sent} packets have arrived").into());
        } else if !goes_on || sent - arrived >= UNDER_WAY {
            wait(host)?;
        }
    }
    Ok(())
}

/// A socket that loses some of what it reads.
struct Lossy {
    udp: UdpSocket,
    loss: Loss,
}

impl Socket for Lossy {
    type Address = SocketAddr;
    type Error = std::io::Error;

    fn init(&mut self, options: SocketOptions) -> std::io::Result<()> {
        Socket::init(&mut self.udp, options)
    }

    fn send(&mut self, address: SocketAddr, buffer: &[u8]) -> std::io::Result<usize> {
        Socket::send(&mut self.udp, address, buffer)
    }

    fn receive(
        &mut self,
        buffer: &mut [u8; MTU_MAX],
    ) -> std::io::Result<Option<(SocketAddr, PacketReceived)>> {
        loop {
            let received = Socket::receive(&mut self.udp, buffer)?;
            if received.is_none() || !self.loss.takes_next() {
                return Ok(received);
            }
        }
    }
}

fn open(mode: &str) -> Outcome<Host<Lossy>> {
    let udp = UdpSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let socket = Lossy { udp, loss: Loss::of_mode(if mode.is_empty() { "reliable-0" } else { mode })? };
    let settings = HostSettings { peer_limit: 1, channel_limit: 1, ..HostSettings::default() };
    Host::new(socket, settings).map_err(|_| "ENet refuses the socket".into())
}

fn connect(mode: &str, to: &str) -> Outcome<(Host<Lossy>, PeerID)> {
    let mut host = open(mode)?;
    host.connect(to.parse()?, 1, 0)?;
    let give_up_at = Instant::now() + TIME_LIMIT;
    while Instant::now() < give_up_at {
        match host.service()? {
            Some(Event::Connect { peer, .. }) => {
                let server = peer.id();
                return Ok((host, server));
            }
            Some(_) => {}
            None => wait(&host)?,
        }
    }
    Err("no connection".into())
}

/// Waits until a datagram arrives or the timers are due.
fn wait(host: &Host<Lossy>) -> Outcome<()> {
    poll(&mut [PollFd::new(&host.socket().udp, PollFlags::IN)], Some(&TIMER))?;
    Ok(())
}
