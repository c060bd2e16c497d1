//! A turn reads, and then does everything that is due. This file also says when the next turn must come, and ends a connection that
//! has failed.
//!
//! `connection` calls it. Reading and what follows from a datagram are in [`reading`](super::reading).

use std::hint::cold_path;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use tautline_proto::{Cause, Instant as Steady, Now};

use super::reported::no_answer;
use super::{Sink, TURN_BUDGET, Turner};
use crate::error::ConnectError;
use crate::sending::line::Line;
use crate::sending::sender::Sender;
use crate::shared::Shared;
use crate::shared::events::Event;

/// The most turns in a row that put the protocol's timers off because more datagrams wait: some thousand datagrams.
///
/// Timers are put off so that a peer does not count as silent while its datagrams wait unread. The number is bounded, so
/// that a flood cannot suppress heartbeats.
const MAX_PUT_OFF: u32 = 64;

/// The earlier of two times, as far as there are any. A chain over an array would take four times as long.
#[inline]
pub(super) fn earlier<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

impl Turner {
    /// As [`turn`](Self::turn). A panic ends the connection: one of ours, or of an executor's waker. A panic of a handler is
    /// caught where the handler is called.
    pub(crate) fn turn_quietly(&mut self, wait: Option<Duration>) -> usize {
        let turn = catch_unwind(AssertUnwindSafe(|| self.turn(wait, None)));
        if turn.is_err() && !self.life.is_stopped() {
            self.give_up(Cause::Failed, ConnectError::DriverPanicked);
        }
        turn.unwrap_or(0)
    }

    /// Waits for at most `wait` (`None`: until something is due), then does everything that is due: a bounded number of
    /// datagrams, and every timer. Returns the number of datagrams. With a `wait` of zero, 0 means that none was left,
    /// except those of strangers that must wait.
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    pub(crate) fn turn(&mut self, wait: Option<Duration>, sink: Sink<'_>) -> usize {
        let (now, datagrams) = self.read(wait, sink);
        if self.life.is_orphaned() {
            return datagrams;
        }
        self.look_at_ownership(now.steady);
        #[cfg(feature = "secure")]
        if self.shared.flags.new_keys_wait() {
            self.take_new_keys(now.steady);
        }
        self.act_on_time(now);
        self.settle(now);
        self.acknowledge(now, false);
        self.deliver(now.steady);
        self.look_around(now.steady);
        self.look_at_gate();
        self.finish_sends();
        self.look_at_newcomers(now.steady);
        self.look_at_connecting(now);
        // Last, because these run users' code, which may end this connection.
        if self.shared.flags.requests_have_deadlines() {
            self.expire_requests();
        }
        if self.dispatcher.next_deadline().is_some() {
            self.check_handlers();
        }
        self.dispatcher.refresh();
        datagrams
    }

    #[cold]
    fn expire_requests(&self) {
        self.shared.requests.expire(self.clock.instant(self.read_at));
    }

    #[inline(never)] // without queued handlers there is nothing to check
    fn check_handlers(&mut self) {
        self.dispatcher.check_deadlines(self.clock.instant(self.read_at));
    }

    /// Sends the messages that are being coalesced: the turn is at its end, and waits next.
    fn look_at_gate(&mut self) {
        if std::mem::take(&mut self.brought_messages) {
            self.shared.sender.coalescer_signals.turned();
        }
        let transmit = &self.shared.sender.transmit;
        // If another thread has the line, it is sending. The next look comes soon.
        let again = self.watch.look(|| {
            transmit.exclusively_if_free(Line::flush);
        });
        self.watch_at = again.map(|period| self.clock.steady_now().plus(period));
    }

    /// Acts on the protocol's timers, unless more datagrams wait: a peer whose datagrams are unread is not silent.
    fn act_on_time(&mut self, now: Now) {
        if self.inbound.next_timeout().is_some_and(|due| due <= now.steady) {
            self.act_on_timers(now);
        }
    }

    #[cold]
    fn act_on_timers(&mut self, now: Now) {
        if self.more_may_wait && self.put_off < MAX_PUT_OFF {
            // A timer that is due makes the next turn read at once, without waiting.
            self.put_off += 1;
            return;
        }
        self.inbound.handle_timeout(now);
        // If timers of further peers are still due, they have waited as long: `put_off` stays.
        if self.inbound.next_timeout().is_none_or(|due| due > now.steady) {
            self.put_off = 0;
        }
    }

    /// Sends what is due of the reliable messages, and publishes their outcomes. Takes the line for one datagram at a time,
    /// so that a sender waits for one datagram at most.
    #[inline]
    fn deliver(&self, now: Steady) {
        if self.delivery_is_due(now) {
            self.deliver_what_is_due(now);
        }
        self.shared.tell_ended();
    }

    #[inline]
    fn delivery_is_due(&self, now: Steady) -> bool {
        self.shared.sender.delivery_signs.due().is_some_and(|due| due <= now)
    }

    #[inline(never)]
    fn deliver_what_is_due(&self, now: Steady) {
        let transmit = &self.shared.sender.transmit;
        for _ in 0..TURN_BUDGET {
            let others_wait = transmit.is_contended();
            if !self.delivery_is_due(now) || !transmit.briefly(|line| line.deliver(now, others_wait)) {
                break;
            }
        }
    }

    /// When the next turn must come, at the latest.
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    pub(crate) fn next_deadline(&self) -> Option<Steady> {
        let protocol = earlier(self.inbound.next_timeout(), self.shared.sender.delivery_signs.due());
        let protocol = earlier(protocol, earlier(self.moving.due(), self.impaired.next_timeout()));
        let protocol = earlier(protocol, self.waiting_strangers.next_deadline());
        let write_on = self.unwritten.then(|| self.clock.steady_now());
        let Shared { flags, requests, .. } = &*self.shared;
        let requests = if flags.requests_have_deadlines() { requests.next_deadline() } else { None };
        let of_users = earlier(self.dispatcher.next_deadline(), requests).map(|due| self.clock.steady(due));
        let acks = if self.acks.are_waiting() { Some(self.acks.due()) } else { None };
        earlier(earlier(protocol, of_users), earlier(earlier(write_on, self.watch_at), acks))
    }

    /// When the last read returned.
    pub(crate) const fn read_at(&self) -> Steady {
        self.read_at
    }

    /// A time of the protocol's clock, as users know it.
    pub(crate) fn instant(&self, at: Steady) -> Instant {
        self.clock.instant(at)
    }

    /// Lets the protocol accept the keys that a user has read again, and no others.
    #[cfg(feature = "secure")]
    #[cold]
    fn take_new_keys(&mut self, now: Steady) {
        if let Some(keys) = self.shared.new_keys.take() {
            self.inbound.replace_keys(keys, now);
            if let Some(left_out) = self.may_log() {
                tracing::info!(left_out, "keys were read again");
            }
        }
    }

    /// Writes what senders left to the driver, and publishes failures of queued messages.
    fn finish_sends(&mut self) {
        let Sender { transmit, counters, coalescer_signals, .. } = &*self.shared.sender;
        let failures = counters.queued.value();
        if std::mem::replace(&mut self.send_failures_seen, failures) != failures {
            self.tell_failed_sends();
        }
        // Last, because taking the report may leave something to write too, also for coalescing.
        let left = transmit.flush() || coalescer_signals.need_a_watch();
        self.unwritten = left || counters.queued.value() != failures;
    }

    #[cold]
    fn tell_failed_sends(&self) {
        if let Some(error) = self.shared.sender.transmit.briefly(Line::take_report) {
            self.shared.status.events.publish(&Event::SendFailed { error });
        }
    }

    /// Takes no more strangers while what newcomers get takes too much time.
    #[inline]
    fn look_at_newcomers(&mut self, now: Steady) {
        let counters = &self.shared.sender.counters;
        let spent = counters.to_all_ns.value();
        if self.time_to_all.has_grown(spent, now) {
            let listeners = counters.listeners.value();
            let until = self.time_to_all.look(spent, self.inbound.newcomers(), listeners, now);
            until.into_iter().for_each(|until| self.inbound.refuse_strangers_until(until));
        }
    }

    /// Looks for a better place if that is due, and gives up if connecting has taken too long.
    #[inline]
    fn look_at_connecting(&mut self, now: Now) {
        if self.life.take_displaced() && self.server.is_some() {
            cold_path();
            self.moving.look_soon(now.steady, true);
        }
        if self.moving.due().is_some_and(|at| at <= now.steady) {
            self.connecting_is_due(now);
        }
    }

    #[cold]
    fn connecting_is_due(&mut self, now: Now) {
        if self.moving.look_is_due(now.steady) {
            self.look_at_place(now);
        }
        if self.moving.answer_is_overdue(now.steady) {
            self.give_up(Cause::Failed, self.not_connected());
        }
    }

    /// Why the interface is not connected in time.
    #[cold]
    fn not_connected(&self) -> ConnectError {
        if let Some(problem) = &self.key_problem {
            return problem.clone();
        }
        match (self.moving.missing(), self.server) {
            (None, Some(server)) => no_answer(server, self.reported.as_deref(), self.shared.steady_now()),
            (missing, _) => missing.cloned().unwrap_or(ConnectError::Disconnected),
        }
    }

    pub(super) fn refused_by_server(&mut self) {
        let Some(server) = self.server else { return };
        let error = ConnectError::ServerFull { server };
        if self.moving.awaits_answer() {
            self.give_up(Cause::Refused, error);
        } else {
            self.shared.status.fail(Cause::Refused, error);
        }
    }

    /// Ends the connection after a failure: nothing is sent or received any more.
    pub(super) fn give_up(&mut self, cause: Cause, error: ConnectError) {
        self.moving.set_answer_by(None);
        self.shared.shut_line();
        self.shared.inbox.close();
        self.shared.directory.end();
        self.life.stop();
        self.shared.status.fail(cause, error);
    }
}
