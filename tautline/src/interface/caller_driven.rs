//! The driver of an interface that has no thread of its own.

use crate::sync::Arc;
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
#[cfg(windows)]
use std::os::windows::io::{AsSocket, BorrowedSocket};
use std::time::{Duration, Instant};

use crate::connection::Connection;
use crate::error::ConnectError;
use crate::machine::socket::Socket;
use crate::message::Message;
use crate::message::borrowed::MessageRef;
use crate::receiving::inbox::ReceiveError;
use tautline_proto::{ConnectionState, Instant as Steady};

/// Does the work of a [caller-driven](crate::UdpInterface::caller_driven) interface. There is one for each interface; it is
/// not `Clone`.
///
/// ```
/// use std::time::Duration;
/// use tautline::{Config, Metadata, UdpInterface, create_udp_server};
///
/// let plant = create_udp_server(Config::server("127.0.0.1:0"))?;
/// plant.connect()?;
/// let address = plant.local_address().expect("connected");
///
/// let (controller, mut driver) = UdpInterface::caller_driven(Config::client(address))?;
/// driver.connect()?;
/// controller.send("hello", &Metadata::data())?;
/// let message = plant.receive(Some(Duration::from_secs(1)))?;
/// plant.reply(&message, "welcome", &Metadata::data())?;
/// assert_eq!(driver.receive(Some(Duration::from_secs(1)))?.decode::<String>()?, "welcome");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Driver {
    connection: Arc<Connection>,
    /// When the last turn had read; `None` before the first.
    turned: Option<Steady>,
}

impl Driver {
    pub(crate) const fn new(connection: Arc<Connection>) -> Self {
        Self { connection, turned: None }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Connects, and turns until what it waits for is there (see [`UdpInterface::connect`](crate::UdpInterface::connect)) or
    /// `connect_timeout` is over.
    ///
    /// The calling thread counts as the thread that will turn: it gets `thread_priority` and `cpus`, and keeps them after a
    /// disconnect. If another thread calls this while connected, it gets them too.
    ///
    /// # Errors
    ///
    /// As for [`UdpInterface::connect`](crate::UdpInterface::connect).
    pub fn connect(&mut self) -> Result<(), ConnectError> {
        self.connection.open(None)?;
        self.connection.shared.ask_for_thread();
        loop {
            if let Some(outcome) = self.connection.shared.status.outcome() {
                return outcome;
            }
            if self.connection.shared.config().connect_timeout.is_some_and(|timeout| timeout.is_zero()) {
                return Ok(());
            }
            self.turn(None);
        }
    }

    /// Waits at most for `wait` (`None`: until a datagram comes or a timer is due), then does everything that is due: hands
    /// datagrams to handlers and inbox, acts on every timer, and sends what is being coalesced.
    ///
    /// Returns the number of datagrams that were read. Returns 0 at once while disconnected, and when called from inside a
    /// handler.
    ///
    /// A turn that waited reads what it waited for, and may leave more to the next turn. A turn with a `wait` of zero reads
    /// until the socket is empty or [`TURN_BUDGET`](crate::TURN_BUDGET) datagrams are read. So fewer datagrams mean that the
    /// socket is empty, which an edge-triggered reactor must know. The kernel may hand over several datagrams at once; then
    /// a turn may read some more.
    ///
    /// Call it at least as often as [`next_deadline`](Self::next_deadline) says. Otherwise peers report this end as silent.
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    pub fn turn(&mut self, wait: Option<Duration>) -> usize {
        self.drive(wait, None)
    }

    /// As [`turn`](Self::turn), and shows every message to `see` before handlers and inbox get it. Expired messages are not
    /// shown. With an `inbox_capacity` of 0 nothing is copied.
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    pub fn turn_with(&mut self, wait: Option<Duration>, see: &mut dyn FnMut(&MessageRef<'_>)) -> usize {
        self.drive(wait, Some(see))
    }

    #[inline]
    fn drive(&mut self, wait: Option<Duration>, see: Option<&mut dyn FnMut(&MessageRef<'_>)>) -> usize {
        let Self { connection, turned } = self;
        *turned = None;
        let read = connection.drive(|turner| {
            let read = turner.turn(wait, see);
            *turned = Some(turner.read_at());
            read
        });
        read.unwrap_or(0)
    }

    /// Takes the next message from the inbox, and turns while there is none: the calling thread itself reads the socket. A
    /// `timeout` of zero turns once, `None` waits as long as it takes. After a pause of the loop it turns first, so that a
    /// message that waited during the pause does not come before the newest of its stream.
    ///
    /// # Errors
    ///
    /// As for [`UdpInterface::receive`](crate::UdpInterface::receive).
    pub fn receive(&mut self, timeout: Option<Duration>) -> Result<Message, ReceiveError> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        if self.turned.is_some_and(|turned| self.connection.shared.steady_now().since(turned) >= PAUSE) {
            self.connection.look_first();
            if !self.connection.shared.inbox.is_empty() {
                self.turn(Some(Duration::ZERO));
            }
        }
        let mut answer = self.connection.shared.inbox.poll();
        while matches!(answer, Err(ReceiveError::TimedOut)) {
            let left = deadline.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
            self.turn(Some(left));
            answer = match self.connection.shared.inbox.poll() {
                // The interface was connected when the call began.
                Err(ReceiveError::NotConnected) => Err(ReceiveError::Disconnected),
                answer => answer,
            };
            if left.is_zero() {
                break;
            }
        }
        if matches!(answer, Err(ReceiveError::TimedOut)) && timeout != Some(Duration::ZERO) {
            self.connection.shared.inbox.count_timeout();
        }
        answer
    }

    /// Returns when the next turn must come, at the latest; `None` while nothing is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.connection.drive(|turner| turner.next_deadline().map(|due| turner.instant(due))).flatten()
    }

    /// Returns the state of the connection.
    #[must_use]
    pub fn connection_state(&self) -> ConnectionState {
        self.connection.shared.status.state()
    }

    /// Returns the socket, for a reactor that watches it: turn when it is readable, and when
    /// [`next_deadline`](Self::next_deadline) has come. `None` while disconnected.
    ///
    /// The socket stays the same while its addresses [move](crate::Event::Moved). Only if the server's name moves from IPv4
    /// to IPv6 or back does another one take its descriptor, and an epoll must be told of it again.
    #[must_use]
    pub fn socket(&self) -> Option<DriverSocket> {
        self.connection.drive(|turner| DriverSocket(turner.socket()))
    }
}

/// After this time without a turn, newer messages probably wait in the kernel.
const PAUSE: Duration = Duration::from_millis(1);

/// The socket of a caller-driven interface, for a reactor to watch; see [`Driver::socket`].
///
/// Do not read from the socket or write to it. The socket and its port stay open until this value is dropped, also after a
/// disconnect. After the next connect there is another socket.
#[derive(Clone, Debug)]
pub struct DriverSocket(Arc<Socket>);

#[cfg(unix)]
impl AsFd for DriverSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.udp().as_fd()
    }
}

#[cfg(windows)]
impl AsSocket for DriverSocket {
    fn as_socket(&self) -> BorrowedSocket<'_> {
        self.0.udp().as_socket()
    }
}
