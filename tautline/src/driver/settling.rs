//! Carries out what the receiving half of the protocol asks for: its commands go to the line, its events to
//! [`happened`](super::happened), and acknowledgements may wait for company.

use std::time::Instant;

use tautline_proto::Now;
use tautline_proto::endpoint::{Command, Event as Happened};

use super::Turner;
use crate::error::SendError;
use crate::sync::Ordering;

/// The most commands of the receiving half that are carried out under one hold of the transmit lock.
const COMMANDS_AT_ONCE: usize = 16;

impl Turner {
    /// Carries out the commands of the receiving half, and passes its events on. Commands come first: when an event says
    /// that a peer is gone, nothing is sent to it any more. But a new peer is in the directory before it is told that it is one.
    #[inline]
    pub(super) fn settle(&mut self, now: Now) {
        if self.inbound.has_news() {
            self.settle_news(now);
        }
    }

    #[inline(never)] // most datagrams bring none
    fn settle_news(&mut self, now: Now) {
        let began = self.handshake_began.take();
        let served = self.inbound.takes_service_of_stranger().then(|| began.unwrap_or_else(Instant::now));
        self.carry_out_all(now);
        if let Some(began) = served {
            self.waiting_strangers.has_served(began.elapsed(), now.steady);
        }
    }

    fn carry_out_all(&mut self, now: Now) {
        while let Some(event) = self.inbound.poll_event(now) {
            if !matches!(event, Happened::Added(_)) {
                self.carry_out_commands(now);
            }
            self.happened(event);
        }
        self.carry_out_commands(now);
        while let Some((to, datagram)) = self.inbound.poll_reply() {
            // These belong to no session. They get the mark (`dscp`) that the socket has at the moment.
            if let Err(error) = self.socket.send(&datagram, to) {
                let fault = self.socket.fault_of_send(&error, to);
                self.shared.sender.faults.count(fault);
                self.unreachable(Some(to), fault, &error);
            }
        }
    }

    fn carry_out_commands(&mut self, now: Now) {
        self.shared.peers_so_far.store(self.inbound.peers_so_far(), Ordering::Relaxed);
        // Only the driver's own thread surely comes back soon: a leader may leave, and a caller's loop may be slow.
        let comes_back = !self.leads && !self.shared.sender.caller_driven;
        while self.inbound.has_commands() {
            let Self { inbound, shared, acks, .. } = self;
            // Few datagrams for each hold of the lock, so that senders do not wait for long. But more than one: otherwise a driver
            // that serves many peers would wait for as many senders.
            let failed = shared.sender.transmit.briefly(|line| {
                let commands = std::iter::from_fn(|| inbound.poll_command()).take(COMMANDS_AT_ONCE);
                let carry_out = |command| match command {
                    Command::Acknowledge(peer, base, bitmap) => {
                        // The sender should soon know of a gap.
                        let outlasts = comes_back && bitmap.is_empty();
                        if !acks.lets_wait(outlasts) {
                            return line.command(Command::Acknowledge(peer, base, bitmap), now);
                        }
                        acks.add(peer, outlasts, now.steady);
                        line.command(Command::OweAcknowledgement(peer, base, bitmap), now)
                    }
                    command => line.command(command, now),
                };
                commands.filter_map(carry_out).collect::<Vec<_>>()
            });
            for error in failed {
                if let SendError::Refused { to, fault, problem } = error {
                    self.unreachable(Some(to), fault, &problem);
                }
            }
        }
    }

    /// Sends the acknowledgements that have waited for long enough. At the `end` of reading, sends all that must not wait for the next
    /// turn. A datagram to the same peer may have carried one already.
    #[inline]
    pub(super) fn acknowledge(&mut self, now: Now, end: bool) {
        if self.acks.are_waiting() {
            self.pay_acknowledgements(now, end);
        }
    }

    #[inline(never)]
    fn pay_acknowledgements(&mut self, now: Now, end: bool) {
        let ends = end && (self.leads || !self.acks.outlast_turn());
        if !ends && !self.acks.are_due(now.steady) {
            return;
        }
        for peer in self.acks.take() {
            self.shared.sender.transmit.briefly(|line| line.command(Command::PayAcknowledgement(peer), now));
        }
    }
}
