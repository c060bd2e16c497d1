//! The server's signs of life, and how many messages were sent without one. Messages of the native wire that are sent once are
//! not acknowledged. So the last sign of life is all that is known about them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tautline::{ConnectionState, Endpoint, PeerId, PeerInfo, UdpInterface};

use crate::tools::waiting::Waiting;

/// The time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The time between two looks while it waits for a sign.
const WAIT: Duration = Duration::from_millis(1);

/// A session of the server, and the number of its datagrams. Each change is a sign of life.
type Life = (PeerId, u64);

/// Keeps count of the messages that were sent since the last sign of life.
#[derive(Debug)]
pub(super) struct Signs {
    life: Option<Life>,
    /// What the round trip takes at most, by the latest measurements.
    round_trip: Duration,
    /// When it looked, and how many messages were sent before: the looks during the last round trip, and the one before it.
    looks: VecDeque<(Instant, u64)>,
    /// How many messages were sent so early that the server gave its last sign of life after them.
    heard: u64,
    /// Whether the server has been silent since then for so long that messages were lost, or was restarted.
    is_lost: bool,
    /// Whether the server has left before all messages were sent.
    has_left: bool,
    /// How many messages were sent during silences that are over.
    unheard: u64,
}

impl Signs {
    pub(super) fn new(interface: &UdpInterface) -> Self {
        Self {
            life: server(interface).as_ref().map(life),
            round_trip: Duration::ZERO,
            looks: VecDeque::from([(Instant::now(), 0)]),
            heard: 0,
            is_lost: false,
            has_left: false,
            unheard: 0,
        }
    }

    /// Looks for a sign of life, from time to time. `sent` messages were sent before.
    pub(super) fn look(&mut self, interface: &UdpInterface, sent: u64) {
        let now = Instant::now();
        if self.looks.back().is_some_and(|(last, _)| now.saturating_duration_since(*last) < LOOK_EVERY) {
            return;
        }
        self.is_lost |= interface.connection_state() == ConnectionState::Reconnecting;
        self.forget_old_looks();
        if let Some(server) = server(interface) {
            self.round_trip = round_trip(&server).unwrap_or(self.round_trip);
            self.has_left = false;
            if self.life != Some(life(&server)) {
                self.take(Some(life(&server)), sent);
                self.hear();
            }
        }
        self.looks.push_back((now, sent));
    }

    /// Notes that the server has left although messages are still to be sent. Those of the last round trip may have come too late.
    pub(super) fn left(&mut self) {
        if !std::mem::replace(&mut self.has_left, true) {
            self.forget_old_looks();
            self.hear();
        }
    }

    /// Waits for a sign of life that the server gave after the last message, at most for `patience`. A server that leaves has
    /// given one, if there was nothing more to send.
    pub(super) fn wait(
        &mut self,
        interface: &UdpInterface,
        sent: u64,
        patience: Duration,
        endpoint: &Endpoint,
    ) {
        if self.has_left {
            return;
        }
        let mut looked = Instant::now();
        let mut waiting = Waiting::since(looked);
        let arrived = looked + self.round_trip;
        let deadline = arrived + patience;
        let mut last = server(interface).as_ref().map(life);
        if last.is_none() {
            self.heard = sent;
        }
        while last.is_some() && looked < deadline {
            let life = server(interface).as_ref().map(life);
            if life != last && (looked >= arrived || life.is_none()) {
                self.take(life, sent);
                self.heard = sent;
                return;
            }
            (last, looked) = (life, Instant::now());
            waiting.look(format_args!("a sign of life from {endpoint}"));
            std::thread::sleep(WAIT);
        }
    }

    /// Takes a sign of life. Counts what may be lost, if it ends a silence or shows a restart.
    fn take(&mut self, life: Option<Life>, sent: u64) {
        let session = |life: Option<Life>| life.map(|(peer, _)| peer);
        let is_restarted = life.is_some() && session(life) != session(self.life);
        if std::mem::take(&mut self.is_lost) || is_restarted {
            self.unheard += sent - self.heard;
            self.heard = sent;
        }
        self.life = life;
    }

    /// Notes a sign of life since the last look. When the server gave it, it had what was sent a round trip before that look.
    fn hear(&mut self) {
        let reached = self.reached();
        if let Some((_, sent)) = self.looks.front().filter(|(at, _)| Some(*at) <= reached) {
            self.heard = self.heard.max(*sent);
        }
    }

    fn forget_old_looks(&mut self) {
        let reached = self.reached();
        while self.looks.get(1).is_some_and(|(at, _)| Some(*at) <= reached) {
            self.looks.pop_front();
        }
    }

    /// Returns a round trip before the last look.
    fn reached(&self) -> Option<Instant> {
        self.looks.back().and_then(|(last, _)| last.checked_sub(self.round_trip))
    }

    /// Returns how many of `sent` messages no sign of life followed, or one that came only after a silence or a restart.
    pub(super) fn unheard(&self, sent: u64) -> u64 {
        self.unheard + (sent - self.heard)
    }
}

fn server(interface: &UdpInterface) -> Option<PeerInfo> {
    interface.peers().into_iter().next()
}

const fn life(server: &PeerInfo) -> Life {
    (server.id, server.received.datagrams)
}

/// Returns what a round trip takes at most, as retransmission time-outs are made (RFC 6298).
fn round_trip(server: &PeerInfo) -> Option<Duration> {
    server.received.path.map(|path| path.rtt_smoothed + 4 * path.rtt_deviation)
}
