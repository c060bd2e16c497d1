//! Says what the program waits for, if it waits for longer than a moment, and when its server is away. Used by all
//! subcommands that connect.

use std::fmt;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use tautline::{ConnectError, ConnectionState, Event, Role, SocketFault, UdpInterface, Wire};

use crate::tools::interrupt::LOOK_EVERY;
use crate::tools::output;

/// A wait that is shorter needs no explanation.
const SOON: Duration = Duration::from_millis(300);

/// A wait that is explained once.
#[derive(Debug)]
pub(crate) struct Waiting {
    since: Instant,
    is_told: bool,
}

impl Waiting {
    pub(crate) fn since(since: Instant) -> Self {
        Self { since, is_told: false }
    }

    /// Says once that the program waits for `what`, if it has waited for more than a moment.
    pub(crate) fn look(&mut self, what: impl fmt::Display) {
        if !self.is_told && self.since.elapsed() >= SOON {
            self.is_told = true;
            say(what);
        }
    }
}

/// Whether the server of a client is away.
#[derive(Debug)]
pub(crate) struct ServerAway {
    is_away: bool,
    /// What is said when it falls silent, and when it is back.
    words: [&'static str; 2],
}

impl ServerAway {
    pub(crate) fn of(interface: &UdpInterface) -> Self {
        let words = match interface.config().wire {
            // This wire has no calls. A client that only listens is never heard there, and hears nothing.
            Some(Wire::Classic) => ["the server does not answer: it is asked on", "the server answers again"],
            _ => ["the server is away: it is called until it is back", "the server is back"],
        };
        Self { is_away: false, words }
    }

    /// Says when the server has fallen silent or left, and when it is back.
    pub(crate) fn look(&mut self, interface: &UdpInterface) {
        let [away, back] = self.words;
        match (self.is_away, interface.connection_state()) {
            (false, ConnectionState::Reconnecting) => output::warn(away),
            (true, ConnectionState::Connected) => output::note(back),
            _ => return,
        }
        self.is_away = !self.is_away;
    }
}

/// Runs `wait`, and says what it waits for if that takes longer than a moment.
pub(crate) fn while_waiting<T>(what: impl fmt::Display, wait: impl FnOnce() -> T) -> T {
    let mut what = Some(what.to_string());
    let _is_waiting = tell(move || what.take());
    wait()
}

/// Connects, and says what that waits for if it takes longer than a moment: a name, an address of this host, a route, or else the
/// server.
pub(crate) fn while_connecting<T>(interface: &UdpInterface, connect: impl FnOnce() -> T) -> T {
    let _is_waiting = tell_what_connecting_awaits(interface);
    connect()
}

/// Begins to say what `interface` waits for while it connects. See [`tell`]. Unlike its caller, this is not generic: code that
/// starts a thread takes long to compile, and would be compiled anew for each closure.
fn tell_what_connecting_awaits(interface: &UdpInterface) -> mpsc::Sender<()> {
    let (config, mut events) = (interface.config(), interface.events());
    let server = config.endpoint.filter(|_| config.role == Some(Role::Client));
    let mut what = server.map(|server| server.to_string());
    tell(move || {
        while let Some(event) = events.next(Some(Duration::ZERO)) {
            if let Event::Waiting { missing } = event {
                what = Some(awaited(&missing));
            }
        }
        what.take()
    })
}

/// What is missing, without what would help: if it does not come in time, the error says that.
fn awaited(missing: &ConnectError) -> String {
    match missing {
        ConnectError::Unresolved { endpoint, problem } => {
            format!("an address of `{}` ({problem})", endpoint.host())
        }
        ConnectError::Socket { address, fault: SocketFault::AddressGone, .. } => {
            format!("the address {}, which this host does not have yet", address.ip())
        }
        ConnectError::Socket { address, fault: SocketFault::CardGone, problem, .. } => {
            format!("a network card for {address} ({problem})")
        }
        ConnectError::Socket { address, problem, .. } => format!("a route to {address} ({problem})"),
        other => other.to_string(),
    }
}

/// Begins to say what the program waits for, as soon as it waits for longer than a moment. It ends when the result is dropped.
fn tell(mut news: impl FnMut() -> Option<String> + Send + 'static) -> mpsc::Sender<()> {
    let (is_waiting, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let mut pause = SOON;
        while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            news().into_iter().for_each(say);
            pause = LOOK_EVERY;
        }
    });
    is_waiting
}

fn say(what: impl fmt::Display) {
    // While a picture is drawn, the note would appear only after it.
    if output::holds_lines_back() {
        return;
    }
    output::note(format_args!("waiting for {what} ..."));
}
