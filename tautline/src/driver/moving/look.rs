//! A look: where should the socket be? The driver's part, which moves it there and says so.

use tautline_proto::{Cause, Now};

use crate::config::Role;
use crate::driver::Turner;
use crate::error::ConnectError;
use crate::machine::socket::place::Place;
use crate::shared::events::Event;
use crate::sync::Arc;

impl Turner {
    /// Looks where the socket should be, and moves it there.
    #[cold]
    pub(in crate::driver) fn look_at_place(&mut self, now: Now) {
        let is_suspect = std::mem::take(&mut self.moving.is_suspect);
        let is_client = self.moving.settings.role == Role::Client;
        let is_heard = self.moving.at.is_some() && self.inbound.hears_a_peer();
        let is_well = is_heard && is_client;
        if is_well && !is_suspect {
            return self.moving.rest(now.steady);
        }
        let before = self.moving.missing().cloned();
        let life = Arc::clone(&self.life);
        self.moving.refresh(now.steady, is_heard && !is_suspect, move || life.wake());
        if self.moving.at.is_some() && is_client && !is_well {
            self.moving.take_turns(now.steady);
        }
        if let Some(place) = self.moving.better_place() {
            self.move_to(&place, now);
        }
        self.tell_missing(before.as_ref());
        if is_well || (!is_client && self.moving.at.is_some()) {
            self.moving.rest(now.steady);
        } else {
            self.moving.plan(now.steady);
        }
    }

    fn move_to(&mut self, place: &Place, now: Now) {
        let Self { moving, socket, shared, .. } = self;
        // Nobody sends while the socket is between two places.
        let moved = shared.sender.transmit.exclusively(|line| {
            let placed = moving.put(socket, place);
            line.socket_moved();
            placed
        });
        if let Err(missing) = moved {
            if !missing.may_pass() {
                return self.give_up(Cause::Failed, missing);
            }
            self.moving.missing = Some(missing);
            return;
        }
        self.arrive(now);
    }

    /// The socket has a place, for the first time or another one.
    fn arrive(&mut self, now: Now) {
        let (Some(address), Some(local)) = (self.moving.address(), self.socket.local_address()) else {
            return;
        };
        self.server = (self.moving.settings.role == Role::Client).then_some(address);
        if let Some(left_out) = self.may_log() {
            let server = self.server.map(tracing::field::display);
            tracing::info!(%local, server, left_out, "the socket moved");
        }
        self.shared.status.events.publish(&Event::Moved { local, server: self.server });
        self.begin_calling(now);
    }

    /// Reports what connecting waits for, once for each cause.
    pub(in crate::driver) fn tell_missing(&self, before: Option<&ConnectError>) {
        let Some(missing) = self.moving.missing().filter(|&missing| Some(missing) != before) else {
            return;
        };
        if let Some(left_out) = self.may_log() {
            tracing::warn!(%missing, left_out, "connecting waits");
        }
        self.shared.status.events.publish(&Event::Waiting { missing: missing.clone() });
    }
}
