//! The first half of a turn: waits for datagrams, and reads them. [`datagram`](super::datagram) hands their messages out.

use std::hint::cold_path;
use std::time::Duration;

use tautline_proto::{Instant as Steady, Now};

use super::arrivals::{Came, Clocks};
use super::datagram::Origin;
use super::outlets::CATCH_UP_BUDGET;
use super::turn::earlier;
use super::{Buffers, Sink, TURN_BUDGET, Turner};
use crate::black_box::notes;
use crate::driver::polling::Next;
use crate::machine::clock::kernel_wall_now;
use crate::machine::fault::SocketFault;
use crate::machine::socket::Received;
use crate::sync::Arc;

/// The steady clock, which shows `steady`, and the clock of the kernel's stamps, which is read here.
pub(super) fn clocks(steady: Steady) -> Clocks {
    Clocks { steady, wall: kernel_wall_now() }
}

/// If the driver is busy with what it has read for this time, its black box says so.
const WORTH_A_NOTE: Duration = Duration::from_millis(1);

/// The result of waiting for datagrams.
struct Found {
    /// What the read has returned that ended the wait; `None` if the wait was over before.
    received: Option<Received>,
    /// When it returned, or the wait was over.
    at: Steady,
    /// The datagrams were there before the wait began, so more may be there.
    at_once: bool,
}

impl Found {
    const fn nothing(at: Steady) -> Self {
        Self { received: None, at, at_once: false }
    }

    const fn awaited(received: Received, at: Steady) -> Self {
        Self { received: Some(received), at, at_once: false }
    }
}

impl Turner {
    /// Waits for at most `wait`, or until something is due, and reads. Returns the time of the last read, and the number of
    /// datagrams.
    ///
    /// The clock is read after each read returns: the time when a heartbeat is taken to have come must not be earlier than
    /// when it came, or ages are understated.
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    pub(super) fn read(&mut self, wait: Option<Duration>, mut sink: Sink<'_>) -> (Now, usize) {
        // There are none after a panic.
        let mut buffers = self.buffers.take().unwrap_or_else(new_buffers);
        let Found { received, at, at_once } = self.find(&mut buffers, wait);
        self.read_at = at;
        let mut now = self.clock.now_at(at);
        if !at_once {
            self.read_in_a_row = 0;
        }
        let mut count = 0;
        if let Some(received) = received {
            count = self.take_all(received, at_once, &mut buffers, &mut now, &mut sink);
        }
        if self.socket.has_cleared_error() {
            self.report_errors();
            self.look_at_cleared();
        }
        count += self.take_impaired(&mut buffers.scratch, now, &mut sink);
        self.serve_waiting_stranger(&mut now, &mut buffers.scratch, &mut sink);
        self.buffers = Some(buffers);
        (now, count)
    }

    fn find(&mut self, buffers: &mut Buffers, wait: Option<Duration>) -> Found {
        if self.life.is_stopped() {
            return Found::nothing(self.clock.steady_now());
        }
        let began = self.clock.steady_now();
        let until = match wait {
            // Whatever else is due, this turn reads at once.
            Some(Duration::ZERO) => Some(began),
            wait => earlier(wait.map(|wait| began.plus(wait)), self.next_deadline()),
        };
        let polls = self.polling.polls_first(began);
        let is_due = until.is_some_and(|until| until <= began);
        if polls || is_due || (self.more_may_wait && !self.leaves_look_out(began)) {
            match buffers.read(&self.socket) {
                Received::Empty => {
                    if self.more_may_wait {
                        self.first_look.found(false);
                    }
                    self.found_empty(began);
                }
                received => {
                    self.first_look.found(true);
                    return Found { received: Some(received), at: self.clock.steady_now(), at_once: true };
                }
            }
        }
        if is_due {
            return Found::nothing(began);
        }
        if polls { self.poll(buffers, began, until) } else { self.sleep(buffers, began, until) }
    }

    /// Records that no datagram waits, and that the read which showed it began at this time.
    fn found_empty(&mut self, began: Steady) {
        self.more_may_wait = false;
        self.first_look.nothing_came();
        self.arrivals.found_empty(began);
    }

    /// The thread that turns has made a pause, so datagrams may wait: the next turn takes all of them.
    pub(crate) fn look_first(&mut self) {
        self.more_may_wait = true;
    }

    /// Whether a sleep begins without a read before it.
    #[inline]
    fn leaves_look_out(&mut self, began: Steady) -> bool {
        self.first_look.is_vain() && self.can_leave_look_out(began)
    }

    #[inline(never)]
    fn can_leave_look_out(&mut self, began: Steady) -> bool {
        if !self.socket.is_stamping() && self.arrivals.can_stamp() {
            let stamps = self.socket.stamp();
            self.arrivals.asked_for_stamps(stamps, clocks(began));
        }
        let are_told = self.arrivals.are_told();
        if are_told {
            self.first_look.is_left_out(began);
        }
        are_told
    }

    /// Polls the socket, and sleeps if that is better.
    #[inline(never)] // leaves the wait that sleeps small
    fn poll(&mut self, buffers: &mut Buffers, began: Steady, until: Option<Steady>) -> Found {
        // A thread that polls keeps its core from threads of lower priority. Those may be the threads that wait for the
        // messages.
        let Self { shared, reader_seen, .. } = self;
        let is_in_their_way = !self.leads && shared.starve(began, reader_seen);
        let aside = is_in_their_way.then(|| self.shared.realtime.set_priority_aside());
        let mut empty_at = None;
        let found = self.poll_on(buffers, began, until, &mut empty_at);
        if let Some(at) = empty_at {
            self.arrivals.found_empty(at);
        }
        drop(aside);
        found.unwrap_or_else(|| self.sleep(buffers, self.clock.steady_now(), until))
    }

    /// As [`poll`](Self::poll). Sets `empty_at` to the time of the last poll that found nothing.
    fn poll_on(
        &mut self,
        buffers: &mut Buffers,
        began: Steady,
        until: Option<Steady>,
        empty_at: &mut Option<Steady>,
    ) -> Option<Found> {
        let mut now = self.clock.steady_now();
        loop {
            if self.waiter.is_woken() || until.is_some_and(|until| until <= now) {
                return Some(Found::nothing(now));
            }
            match self.polling.next(began, now) {
                // No `spin_loop` hint: the poll itself is a system call, and the hint takes a twentieth of its time.
                Next::Poll => {}
                Next::Sleep => return None,
                Next::Yield => {
                    std::thread::yield_now();
                    let back = self.clock.steady_now();
                    if !self.polling.returned(back.since(now), back) {
                        return None;
                    }
                    now = back;
                }
            }
            match buffers.read(&self.socket) {
                Received::Empty => {
                    *empty_at = Some(now);
                    now = self.clock.steady_now();
                }
                received => {
                    self.polling.answered();
                    return Some(Found::awaited(received, self.clock.steady_now()));
                }
            }
        }
    }

    /// Sleeps until a datagram comes, or until the time `until`. `began` is the present time.
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    fn sleep(&mut self, buffers: &mut Buffers, began: Steady, until: Option<Steady>) -> Found {
        let length = until.map(|until| until.since(began));
        let has_error = match self.waiter.wait(&self.socket, length) {
            Ok(has_error) => has_error,
            Err(error) => {
                self.socket_failed(&error);
                return Found::nothing(self.clock.steady_now());
            }
        };
        let received = buffers.read(&self.socket);
        let now = self.clock.steady_now();
        if matches!(received, Received::Empty) {
            self.found_empty(began);
            if has_error {
                self.report_errors();
            }
            return Found::nothing(now);
        }
        self.polling.slept(now.since(began));
        Found::awaited(received, now)
    }

    /// Processes what was read, and reads on if more may wait: up to the budget of a turn. While messages are held back, it reads
    /// everything that had come when the turn began to read, up to a larger budget.
    fn take_all(
        &mut self,
        mut received: Received,
        mut reads_on: bool,
        buffers: &mut Buffers,
        now: &mut Now,
        sink: &mut Sink<'_>,
    ) -> usize {
        let (mut count, mut bytes, began) = (0, 0, now.steady);
        loop {
            if let Received::Datagrams = received {
                if self.socket.is_stamping() {
                    self.arrivals.read(clocks(now.steady));
                }
                bytes += buffers.arrived.len;
                count += self.take(buffers, *now, sink);
                reads_on |= self.first_look.has_missed();
            } else if let Received::Empty = received {
                self.arrivals.found_empty(now.steady);
                self.more_may_wait = false;
                self.read_in_a_row = 0;
                break;
            } else {
                // Counted like a datagram: if the read has failed, what waits is still there, and its age goes on.
                count += 1;
                if self.has_failed(received) {
                    self.more_may_wait = true;
                    break;
                }
            }
            self.more_may_wait = !reads_on
                || count >= TURN_BUDGET
                || (self.brought_messages && (self.leads || self.look_at_readers(now.steady, bytes)));
            // What came after the turn began to read does not belong to the pause. In a flood, the turn would read for too long.
            let catches_up =
                self.held.has_room() && count < CATCH_UP_BUDGET && !self.arrivals.has_passed(began);
            if (self.more_may_wait && !catches_up) || self.life.is_stopped() {
                break;
            }
            self.acknowledge(*now, false);
            received = buffers.read(&self.socket);
            if matches!(received, Received::Datagrams) {
                *now = self.clock.now();
                self.read_at = now.steady;
            }
        }
        self.acks.may_wait = false;
        if !self.life.is_orphaned() {
            self.acknowledge(*now, true);
        }
        self.hand_out_held(*now, sink);
        self.read_in_a_row += count;
        if self.read_in_a_row >= TURN_BUDGET && self.offload {
            // So many datagrams that reading several at once pays.
            self.socket.coalesce();
        }
        count
    }

    /// Reports an error. Returns whether the read has failed; if not, it is about an earlier datagram.
    #[cold]
    fn has_failed(&mut self, received: Received) -> bool {
        match received {
            Received::Unreachable(error) => self.reported(self.server, &error),
            Received::Failed(error) => {
                self.socket_failed(&error);
                return true;
            }
            Received::Datagrams | Received::Empty => {}
        }
        false
    }

    /// Processes datagrams that were read together. Returns how many.
    fn take(&mut self, buffers: &mut Buffers, now: Now, sink: &mut Sink<'_>) -> usize {
        let Buffers { datagram, scratch, arrived } = buffers;
        let came = self.arrivals.came(arrived.stamp, now.steady);
        if self.first_look.was_left_out() {
            let told = self.arrivals.are_told().then_some(came.at);
            self.first_look.came(told).into_iter().for_each(|began| self.arrivals.found_empty(began));
        }
        // A client's socket receives from its server only, and nothing before it has one.
        let Some(from) = arrived.from.or(self.server) else { return 1 };
        let origin = Origin { from, came };
        self.inbound.came(came.at, came.not_before);
        let mut count = 0;
        for datagram in arrived.datagrams(datagram) {
            if self.life.is_stopped() {
                break;
            }
            count += 1;
            if !self.impaired.take(now.steady, origin.from, datagram) && !self.puts_off(now, origin, datagram)
            {
                self.acks.reads(datagram.len());
                self.take_datagram(now, &origin, datagram, scratch, sink);
                self.acks.may_wait = true;
            }
        }
        self.let_go(now, sink, count);
        count
    }

    /// Lets go of the handler that was called last. The black box notes if handlers, or whoever sees the messages, took long.
    #[inline]
    fn let_go(&mut self, since: Now, sink: &Sink<'_>, count: usize) {
        let has_called = self.dispatcher.release() || sink.is_some();
        if self.inbound.is_recorded() && has_called {
            cold_path();
            self.note_busy(since, count);
        }
    }

    #[cold]
    fn note_busy(&mut self, since: Now, count: usize) {
        let busy = self.clock.steady_now().since(since.steady);
        if busy >= WORTH_A_NOTE {
            self.inbound.note([notes::BUSY, nanos(busy), count as u64]);
        }
    }

    /// Processes the datagrams that the simulated network of a test delivers now. Returns how many.
    fn take_impaired(&mut self, scratch: &mut Vec<u8>, now: Now, sink: &mut Sink<'_>) -> usize {
        let mut count = 0;
        while !self.life.is_stopped()
            && let Some((from, datagram)) = self.impaired.poll(now.steady)
        {
            count += 1;
            let came = Came { at: now.steady, not_before: now.steady };
            self.inbound.came(came.at, came.not_before);
            self.acks.reads(datagram.len());
            self.take_datagram(now, &Origin { from, came }, &datagram, scratch, sink);
        }
        if count > 0 {
            self.let_go(now, sink, count);
        }
        count
    }

    /// Reports the errors of a server's earlier datagrams. Unread errors take room from datagrams, and end every
    /// wait at once.
    #[cold]
    fn report_errors(&mut self) {
        let socket = Arc::clone(&self.socket);
        for (address, error) in socket.take_errors() {
            self.reported(Some(address), &error);
        }
    }

    /// Reports the errors of earlier datagrams that sends of a client have cleared.
    #[cold]
    fn look_at_cleared(&mut self) {
        if let Some((count, error)) = self.socket.take_cleared() {
            self.shared.sender.faults.count_many(SocketFault::of(&error), count - 1);
            self.reported(self.server, &error);
        }
    }
}

#[cold]
fn new_buffers() -> Box<Buffers> {
    Box::default()
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
