//! ENet with the crate `rusty_enet`, a translation of the C library: unreliable packets on one channel, without
//! checksum.
//!
//! ENet's service call never waits. Between two calls this program waits in poll(2), as the C library's
//! `enet_host_service` does with a time-out.

use std::convert::Infallible;
use std::net::{SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use method::{ANSWER_TIMEOUT, Count, Latency, Outcome, Peer, Ready, Throughput};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rusty_enet::{Event, Host, HostSettings, Packet, PeerID};

/// How often ENet's timers are served while no packet arrives.
const TIMER: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// The number of packets that are queued before ENet may pack and send them.
const BATCH: u64 = 32;

/// How long connecting may take.
const TIME_LIMIT: Duration = Duration::from_secs(5);

struct Enet;

fn main() -> ExitCode {
    method::main::<Enet>()
}

impl Peer for Enet {
    fn echo(_: &str, ready: Ready) -> Outcome<Infallible> {
        let mut host = open()?;
        ready.at(host.socket().local_addr()?);
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

    fn sink(_: &str, ready: Ready, received: &'static Count) -> Outcome<Infallible> {
        let mut host = open()?;
        ready.at(host.socket().local_addr()?);
        loop {
            match host.service()? {
                Some(Event::Receive { .. }) => received.add(1),
                Some(_) => {}
                None => wait(&host)?,
            }
        }
    }

    fn latency(_: &str, to: &str, run: &mut Latency) -> Outcome<()> {
        let (mut host, server) = connect(to)?;
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

    fn throughput(_: &str, to: &str, run: &mut Throughput) -> Outcome<()> {
        let (mut host, server) = connect(to)?;
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

fn open() -> Outcome<Host<UdpSocket>> {
    let socket = UdpSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let settings = HostSettings { peer_limit: 1, channel_limit: 1, ..HostSettings::default() };
    Host::new(socket, settings).map_err(|_| "ENet refuses the socket".into())
}

fn connect(to: &str) -> Outcome<(Host<UdpSocket>, PeerID)> {
    let mut host = open()?;
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
fn wait(host: &Host<UdpSocket>) -> Outcome<()> {
    poll(&mut [PollFd::new(host.socket(), PollFlags::IN)], Some(&TIMER))?;
    Ok(())
}
