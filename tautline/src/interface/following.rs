//! Connects cycles with interfaces: following a peer's messages, and the caller's driver that waits for a cycle too.

use std::time::Duration;

use super::UdpInterface;
use super::caller_driven::Driver;
use crate::config::Selector;
use crate::cycle::{Cycle, Wake};
use crate::message::borrowed::MessageRef;

impl Cycle {
    /// Follows a peer: from now on each deadline comes `offset` after a time stamp of these messages. So two loops whose
    /// clocks run at different speeds stay together, and each cycle finds exactly one new message.
    ///
    /// The peer must send these messages with the period of this cycle, or with a multiple of it. The time stamps are
    /// converted with the estimate of the peer's clock (docs/protocol.md §7). On the classic wire, and until the clock is
    /// measured, the times of arrival stand for them. Choose an `offset` in the middle between the latest time at which a
    /// message arrives after its time stamp, and the earliest time at which the next one does; only its remainder in a period
    /// matters.
    ///
    /// The cycle locks within a hundred messages, and then averages over 128 of them. No cycle is longer or shorter than the
    /// period by more than 1.1 %, whatever comes. The difference of the clocks may be up to 1,000 ppm.
    ///
    /// - If the peer is silent, the cycle goes on with the last rate ([`Coasting`](crate::LockState::Coasting)).
    /// - If the peer restarts, or its time jumps, the cycle moves to the new phase within some fifty periods, and
    ///   [`Following::relocks`](crate::Following::relocks) counts it.
    /// - If several peers send, the cycle follows the first one. It follows another one once the first was silent for 100
    ///   periods.
    /// - Messages that were dropped because they expired, were overtaken, or came from a peer that does not own their stream, are
    ///   not followed. Those that a watchdog's latch drops are.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use tautline::{Config, Cycle, MessageType, create_udp_server};
    ///
    /// let plant = create_udp_server(Config::server("0.0.0.0:9000").name("plant"))?;
    /// plant.connect()?;
    /// let mut cycle = Cycle::every(Duration::from_millis(1))?;
    /// cycle.follow(&plant, MessageType::Command, Duration::from_micros(500));
    /// loop {
    ///     cycle.wait();
    ///     let command = plant.receive(Some(Duration::ZERO));
    ///     // ...
    /// #   drop(command);
    /// }
    /// # #[allow(unreachable_code)]
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn follow(&mut self, link: &UdpInterface, messages: impl Into<Selector>, offset: Duration) {
        self.follow_by(&link.shared().followers, messages.into(), offset);
    }
}

impl Driver {
    /// Turns until the cycle's next deadline, and begins that cycle: waits for datagrams and for the deadline, whichever comes
    /// first. Shows every message to `see`, as [`turn_with`](Self::turn_with) does. What came before the deadline has been
    /// read when this returns, unless more than [`TURN_BUDGET`](crate::TURN_BUDGET) datagrams wait.
    ///
    /// While disconnected, it waits for the deadline alone.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tautline::{Config, Cycle, UdpInterface};
    ///
    /// let (plant, mut driver) = UdpInterface::caller_driven(Config::server("127.0.0.1:0"))?;
    /// driver.connect()?;
    /// let mut cycle = Cycle::every(Duration::from_millis(1))?;
    /// for _ in 0..5 {
    ///     let wake = driver.turn_until(&mut cycle, &mut |command| {
    ///         // ... keep the newest command
    /// #       drop(command.age());
    ///     });
    ///     assert!(wake.phase < Duration::from_millis(1));
    ///     // ... compute and send
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn turn_until(&mut self, cycle: &mut Cycle, see: &mut dyn FnMut(&MessageRef<'_>)) -> Wake {
        while let Some(left) = cycle.time_left() {
            if self.connection().drive(|turner| turner.turn(Some(left), Some(see))).is_none() {
                return cycle.wait();
            }
        }
        self.turn_with(Some(Duration::ZERO), see);
        cycle.wait()
    }
}
