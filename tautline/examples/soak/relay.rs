//! The relay between the ends: a thread that treats datagrams as a bad network does.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tautline::Instant as Steady;
use tautline::sim::{Impairments, Path, PathCounts, Probability};

/// The longest time until the relay sees a datagram.
const LOOK: Duration = Duration::from_micros(200);

/// The length of a cut. The directions are cut in turn.
const CUT: Duration = Duration::from_secs(1);
const CUT_EVERY: Duration = Duration::from_secs(60);

/// The counts of both directions: to the plant, and to the controller.
pub(crate) type Counts = [PathCounts; 2];

/// The running relay.
#[derive(Debug)]
pub(crate) struct Relay {
    address: SocketAddr,
    healed: Arc<AtomicBool>,
    counts: Arc<Mutex<Counts>>,
}

impl Relay {
    pub(crate) fn start(plant: SocketAddr, seed: u64) -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let back = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        back.connect(plant).expect("on this host");
        for socket in [&front, &back] {
            socket.set_nonblocking(true).expect("a socket can be non-blocking");
        }
        let address = front.local_addr().expect("bound");
        let relay = Self { address, healed: Arc::default(), counts: Arc::default() };
        let (healed, counts) = (Arc::clone(&relay.healed), Arc::clone(&relay.counts));
        let paths = [0, 1].map(|way| Path::new(impairments(), seed.wrapping_add(way)));
        let work = Work { front, back, paths, client: None, begun: Instant::now() };
        std::thread::spawn(move || work.run(&healed, &counts));
        relay
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Turns all impairments off.
    pub(crate) fn heal(&self) {
        self.healed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> Counts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the configuration of all impairments.
fn impairments() -> Impairments {
    let share = |percent| Probability::percent(percent).expect("a share");
    Impairments {
        loss: share(5.0),
        burst: Some(3.0),
        duplicate: share(2.0),
        reorder: share(2.0),
        corrupt: share(1.0),
        delay: Duration::from_millis(2),
        jitter: Duration::from_millis(3),
        rate: "20Mbit".parse().ok(),
        ..Impairments::default()
    }
}

struct Work {
    front: UdpSocket,
    back: UdpSocket,
    paths: [Path; 2],
    /// The controller's address, known from its first datagram.
    client: Option<SocketAddr>,
    begun: Instant,
}

impl Work {
    fn run(mut self, healed: &AtomicBool, counts: &Mutex<Counts>) {
        let mut buffer = vec![0; 65_536];
        loop {
            let elapsed = self.begun.elapsed();
            let now = Steady::from_nanos(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
            self.impair(elapsed, healed.load(Ordering::Relaxed));
            while let Ok((len, from)) = self.front.recv_from(&mut buffer) {
                self.client = Some(from);
                self.paths[0].offer(now, &buffer[..len]);
            }
            while let Ok(len) = self.back.recv(&mut buffer) {
                self.paths[1].offer(now, &buffer[..len]);
            }
            while let Some(delivery) = self.paths[0].poll(now) {
                self.back.send(&delivery.datagram).expect("loopback takes everything");
            }
            while let (Some(client), Some(delivery)) = (self.client, self.paths[1].poll(now)) {
                self.front.send_to(&delivery.datagram, client).expect("loopback takes everything");
            }
            *counts.lock().unwrap_or_else(PoisonError::into_inner) = self.paths.each_ref().map(Path::counts);
            std::thread::sleep(LOOK);
        }
    }

    /// Cuts one direction for a second, and the other direction a minute later.
    fn impair(&mut self, elapsed: Duration, healed: bool) {
        let round = elapsed.as_secs() / CUT_EVERY.as_secs();
        let into = elapsed - CUT_EVERY * u32::try_from(round).unwrap_or(u32::MAX);
        let is_cut = into >= CUT_EVERY / 2 && into < CUT_EVERY / 2 + CUT;
        for (way, path) in (0..).zip(&mut self.paths) {
            path.impair(match healed {
                true => Impairments::default(),
                false => Impairments { partition: is_cut && round % 2 == way, ..impairments() },
            });
        }
    }
}
