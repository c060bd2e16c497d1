//! The server's signs of life, and how many messages were sent without one. Messages of the native wire that are sent once are
//! not acknowledged. So the last sign of life is all that is known about them.

use std::time::{Duration, Instant};

use tautline::{ConnectionState, Endpoint, PeerId, UdpInterface};

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
    looked: Instant,
    /// How many messages were sent before the last look.
    at_look: u64,
    /// How many messages were sent before the last sign of life.
    heard: u64,
    /// Whether the server has been silent since then for so long that messages were lost, or was restarted.
    is_lost: bool,
    /// How many messages were sent during silences that are over.
    unheard: u64,
}

impl Signs {
    pub(super) fn new(interface: &UdpInterface) -> Self {
        let (life, looked) = (life(interface), Instant::now());
        Self { life, looked, at_look: 0, heard: 0, is_lost: false, unheard: 0 }
    }

    /// Looks for a sign of life, from time to time. `sent` messages were sent before.
    pub(super) fn look(&mut self, interface: &UdpInterface, sent: u64) {
        let now = Instant::now();
        if now.saturating_duration_since(self.looked) < LOOK_EVERY {
            return;
        }
        self.looked = now;
        self.is_lost |= interface.connection_state() == ConnectionState::Reconnecting;
        let life = life(interface);
        if life.is_some() && life != self.life {
            self.take(life, sent);
            // The sign may have come before the messages that were sent since the last look.
            self.heard = self.at_look;
        }
        self.at_look = sent;
    }

    /// Waits for a sign of life that comes after the last message, at most for `patience`. A server that leaves has given one.
    pub(super) fn wait(
        &mut self,
        interface: &UdpInterface,
        sent: u64,
        patience: Duration,
        server: &Endpoint,
    ) {
        let last = life(interface);
        if last.is_none() {
            self.heard = sent;
        }
        let mut waiting = Waiting::since(Instant::now());
        let deadline = Instant::now() + patience;
        while last.is_some() && Instant::now() < deadline {
            let life = life(interface);
            if life != last {
                self.take(life, sent);
                self.heard = sent;
                return;
            }
            waiting.look(format_args!("a sign of life from {server}"));
            std::thread::sleep(WAIT);
        }
    }

    /// Takes a sign of life that ends a silence, or shows a restart.
    fn take(&mut self, life: Option<Life>, sent: u64) {
        let session = |life: Option<Life>| life.map(|(peer, _)| peer);
        let is_restarted = life.is_some() && session(life) != session(self.life);
        if std::mem::take(&mut self.is_lost) || is_restarted {
            self.unheard += sent - self.heard;
            (self.heard, self.at_look) = (sent, sent);
        }
        self.life = life;
    }

    /// Returns how many of `sent` messages no sign of life followed, or one that came only after a silence or a restart.
    pub(super) fn unheard(&self, sent: u64) -> u64 {
        self.unheard + (sent - self.heard)
    }
}

fn life(interface: &UdpInterface) -> Option<Life> {
    interface.peers().first().map(|server| (server.id, server.received.datagrams))
}
