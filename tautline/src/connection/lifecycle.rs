//! Connecting and disconnecting: one at a time, and everyone who asks meanwhile shares the outcome.

use crate::sync::Ordering;
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::time::Duration;

use tautline_proto::endpoint::{Encoder, EndpointConfig, Start, WireFormat, endpoint};
use tautline_proto::json::JsonLimits;
use tautline_proto::wire::classic::ClassicFormat;

use super::Connection;
use super::candidates;
use super::slot::Slot;
use crate::config::{Config, Role, Settings, Wire};
use crate::driver::{Impaired, Parts, Turner};
use crate::error::ConnectError;
use crate::handlers;
use crate::machine::fault::SocketFault;
use crate::machine::life::Life;
use crate::machine::realtime::{Held, Wishes};
use crate::machine::socket::{Granted, Socket, Waiter};
use crate::payload;
use crate::sending::gate::{Gate, Watch};
use crate::sending::line::Line;
use crate::sending::link::Link;
use crate::sync::lock;
use tautline_proto::{Cause, ConnectionState};

/// The headers of an IP packet with a UDP datagram, without options, in bytes (RFC 791, RFC 8200, RFC 768).
const IPV4_HEADERS: usize = 20 + 8;
const IPV6_HEADERS: usize = 40 + 8;

/// The connection that runs, if any, and who is changing that.
#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    inner: Mutex<Inner>,
    changed: Condvar,
    /// Where a caller-driven interface's driver finds its connection.
    pub(super) slot: Slot,
}

#[derive(Debug, Default)]
struct Inner {
    running: Option<Running>,
    /// Someone opens or closes a connection; the lock itself is never held meanwhile.
    busy: bool,
}

#[derive(Debug)]
struct Running {
    life: Arc<Life>,
    thread: Option<JoinHandle<()>>,
    local: SocketAddr,
    granted: Granted,
    /// A caller-driven connection's; a driver thread holds its own.
    _held: Option<Held>,
}

/// A driver's thread, or what a caller-driven connection holds.
type Driving = (Option<JoinHandle<()>>, Option<Held>);

impl Lifecycle {
    pub(crate) fn life(&self) -> Option<Arc<Life>> {
        lock(&self.inner).running.as_ref().map(|running| Arc::clone(&running.life))
    }

    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        let inner = lock(&self.inner);
        // One that failed by itself stays until it is ended or replaced.
        inner.running.as_ref().filter(|running| !running.life.is_stopped()).map(|running| running.local)
    }

    pub(crate) fn granted(&self) -> Granted {
        lock(&self.inner).running.as_ref().map(|running| running.granted).unwrap_or_default()
    }

    /// Waits until nobody opens or closes, then does it oneself. `None` where waiting would wait for oneself,
    /// because the calling thread is the driver; also says whether one had to wait.
    fn enter(&self, own: bool) -> Option<(MutexGuard<'_, Inner>, bool)> {
        let mut inner = lock(&self.inner);
        let mut waited = false;
        while inner.busy {
            if own {
                return None;
            }
            waited = true;
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        Some((inner, waited))
    }

    fn set_running(&self, running: Running) {
        lock(&self.inner).running = Some(running);
    }
}

/// Someone opens or closes a connection; also a panic ends that.
struct Changing<'a>(&'a Lifecycle);

impl<'a> Changing<'a> {
    /// Begins, and takes the connection that is to end.
    fn begin(lifecycle: &'a Lifecycle, mut inner: MutexGuard<'_, Inner>) -> (Self, Option<Running>) {
        inner.busy = true;
        (Self(lifecycle), inner.running.take())
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        lock(&self.0.inner).busy = false;
        self.0.changed.notify_all();
    }
}

impl Connection {
    /// Opens a connection unless there is one or one is being opened. Returns once the socket is ready; the
    /// outcome is the status' to tell.
    pub(crate) fn open(&self, replace: Option<Config>) -> Result<(), ConnectError> {
        let on_driver = self.shared.drivers.include_caller();
        let Some((inner, waited)) = self.lifecycle.enter(on_driver) else {
            return Err(ConnectError::FromHandler);
        };
        match self.shared.status.state() {
            ConnectionState::Closed => return Err(ConnectError::Closed),
            ConnectionState::Disconnected => {}
            // Another thread's attempt has just failed: its outcome is ours too.
            ConnectionState::Error if waited => return self.shared.status.outcome().unwrap_or(Ok(())),
            ConnectionState::Error => {}
            _ if replace.is_some() => return Err(ConnectError::StillConnected),
            _ => return Ok(()),
        }
        if on_driver {
            return Err(ConnectError::FromHandler);
        }
        let (_changing, old) = Changing::begin(&self.lifecycle, inner);
        // Left over where connecting failed in the background.
        self.end(old, false);
        let first_number = *lock(&self.shared.first_number);
        self.shared.status.apply(Cause::Connect);
        match self.open_fresh(replace, first_number) {
            Ok(running) => {
                self.lifecycle.set_running(running);
                Ok(())
            }
            Err(error) => {
                self.shared.status.fail(Cause::Failed, error.clone());
                Err(error)
            }
        }
    }

    /// Ends the connection, if any: the peers are told, every waiter is woken, the socket is closed.
    pub(crate) fn shut(&self) {
        let on_driver = self.shared.drivers.include_caller();
        let Some((inner, _)) = self.lifecycle.enter(on_driver) else { return };
        // Until the state has changed: whoever sees the old one must not think it is connected.
        let (_changing, running) = Changing::begin(&self.lifecycle, inner);
        self.end(running, on_driver);
        self.shared.status.apply(Cause::Disconnect);
    }

    fn end(&self, running: Option<Running>, on_driver: bool) {
        let Some(running) = running else { return };
        // Before the peers are told: a client calls again at once, and must not be answered.
        running.life.stop();
        self.shared.shut_line();
        self.shared.inbox.close();
        // A driver cannot wait for itself: it ends, and the socket closes, as soon as the handler that calls
        // this returns.
        match running.thread {
            Some(thread) if thread.thread().id() == thread::current().id() => running.life.orphan(),
            // A driver that panicked is our bug; its connection ends here all the same.
            Some(thread) => drop(thread.join()),
            None if on_driver => running.life.orphan(),
            None => self.lifecycle.slot.clear(),
        }
        self.shared.handlers.quiesce(Duration::ZERO);
        self.shared.directory.end();
        self.shared.watchdogs.peer_left(None, self.shared.steady_now());
    }

    fn open_fresh(&self, replace: Option<Config>, first_number: u64) -> Result<Running, ConnectError> {
        let config = replace.map_or_else(|| self.shared.config(), |config| config.role(self.shared.role));
        let settings = config.settings()?;
        let address = resolve(&settings)?;
        let socket = bind(&settings, address)?;
        let wishes = Wishes::new(&config, &settings);
        *lock(&self.shared.config) = config;
        self.shared.handlers.set_defaults(handlers::Settings::of(&settings));
        let granted = socket.set_buffers(settings.receive_buffer, settings.send_buffer);
        let mut refused = Vec::new();
        let held = self.shared.realtime.ask_machine(&wishes, &socket, granted, &mut refused);
        self.shared.publish_refusals(refused);
        self.shared
            .watchdogs
            .begin(&settings, wishes.of_watchdog(), &*self.shared)
            .map_err(|error| system("thread for the watchdogs", &error))?;
        self.start(&settings, socket, address, (granted, held), first_number)
    }

    fn start(
        &self,
        settings: &Settings,
        socket: Socket,
        address: SocketAddr,
        (granted, held): (Granted, Held),
        first_number: u64,
    ) -> Result<Running, ConnectError> {
        let mut seed = [0; 16];
        getrandom::fill(&mut seed).map_err(|error| system("randomness", &error))?;
        let (waiter, waker) = Waiter::new().map_err(|error| no_socket(address, settings.role, &error))?;
        let peers_before = self.shared.peers_so_far.load(Ordering::Relaxed);
        let datagram_size = settings.mtu - if address.is_ipv4() { IPV4_HEADERS } else { IPV6_HEADERS };
        let config = endpoint_config(settings, datagram_size);
        let encoder = Encoder::new(&config);
        let (inbound, outbound) = endpoint(config, Start { seed, first_number, peers_before });
        let (socket, life) = (Arc::new(socket), Arc::new(Life::new(waker)));
        let client = settings.role == Role::Client;
        let waits = client && settings.wire == Wire::Native && !settings.connect_timeout.is_zero();
        let answer_by = waits.then(|| self.shared.clock.now().steady.plus(settings.connect_timeout));
        self.shared.directory.begin(inbound.counters(), Arc::clone(&socket));
        self.shared.inbox.open(settings.inbox_capacity, settings.inbox_policy);
        let gate_length = self.gate_length(settings);
        let gate = Gate::new(gate_length, datagram_size, Arc::clone(&self.shared.sender.gate_signs));
        let marks = settings.dscp;
        let link = |opening| Link {
            opening,
            life: Arc::clone(&life),
            encoder,
            wire: settings.wire,
            codec: settings.codec,
            limits: settings.payload_limits(),
            datagram_size,
            streams: (settings.streams.iter().next().is_some()).then(|| settings.streams.clone()),
        };
        let open = |line: &mut Line| line.open(outbound, Arc::clone(&socket), gate, marks, link);
        self.shared.set_link(Some(self.shared.sender.transmit.exclusively(open)));
        let local = socket.local_address();
        let turner = Turner::new(Parts {
            shared: Arc::clone(&self.shared),
            life: Arc::clone(&life),
            inbound,
            socket,
            waiter,
            server: client.then_some(address),
            answer_by,
            wait: settings.wait,
            granted,
            watch: Watch::new(Arc::clone(&self.shared.sender.gate_signs), gate_length),
            offload: settings.offload && settings.wire == Wire::Native,
            inbox_is_on: settings.inbox_capacity > 0,
            streams: &settings.streams,
            #[cfg(feature = "sim")]
            impaired: Impaired::new(settings.impair),
            #[cfg(not(feature = "sim"))]
            impaired: Impaired,
        });
        if !client || settings.wire == Wire::Classic {
            self.shared.status.apply(Cause::Ready);
        }
        let (thread, _held) = self.set_going(turner, held, &settings.name)?;
        Ok(Running { life, thread, local, granted, _held })
    }

    /// How long messages gather: not without a thread that sends them in time, unless that was asked for.
    fn gate_length(&self, settings: &Settings) -> Duration {
        let is_off = settings.wire == Wire::Classic
            || (self.shared.sender.caller_driven && self.shared.config().gate.is_none());
        if is_off { Duration::ZERO } else { settings.gate }
    }

    /// Gives the connection to a thread of its own or to the caller's driver, and with it what is held while it lasts.
    fn set_going(&self, mut turner: Turner, held: Held, name: &str) -> Result<Driving, ConnectError> {
        turner.start();
        if self.shared.sender.caller_driven {
            self.lifecycle.slot.put(turner);
            return Ok((None, Some(held)));
        }
        let (ready, is_ready) = mpsc::channel();
        let run = move || {
            turner.shared.ask_for_thread();
            let _ = ready.send(());
            turner.run();
            drop(held);
        };
        // The system's names end at a zero.
        let thread = thread::Builder::new().name(format!("tautline-{name}").replace('\0', ""));
        let thread = thread.spawn(run).map_err(|error| {
            self.shared.shut_line();
            self.shared.inbox.close();
            self.shared.directory.end();
            system("thread for the driver", &error)
        })?;
        // So that whoever connects finds the report complete.
        if self.shared.realtime.concerns_thread() {
            let _ = is_ready.recv();
        }
        Ok((Some(thread), None))
    }
}

fn system(what: &'static str, error: &dyn std::fmt::Display) -> ConnectError {
    ConnectError::System { what, problem: error.to_string() }
}

/// The endpoint's first IPv4 address, else its first IPv6 one: "localhost" is both, and whoever listens at
/// 0.0.0.0 or 127.0.0.1 must be found by it. A native client looks at which of them somebody answers.
fn resolve(settings: &Settings) -> Result<SocketAddr, ConnectError> {
    let endpoint = &settings.endpoint;
    let unresolved = |problem: String| ConnectError::Unresolved { endpoint: endpoint.clone(), problem };
    let found = (endpoint.host(), endpoint.port()).to_socket_addrs();
    let addresses = found.map_err(|error| unresolved(error.to_string()))?;
    let fits = |address: &SocketAddr| settings.bind.is_none_or(|bind| bind.is_ipv4() == address.is_ipv4());
    let mut fitting: Vec<_> = addresses.filter(fits).collect();
    fitting.sort_by_key(SocketAddr::is_ipv6);
    fitting.dedup();
    let best = match (settings.role, settings.wire) {
        (Role::Client, Wire::Native) => candidates::choose(settings.bind, &fitting),
        _ => fitting.first().copied(),
    };
    best.ok_or_else(|| unresolved("none of the kind that `bind` has".to_owned()))
}

fn bind(settings: &Settings, address: SocketAddr) -> Result<Socket, ConnectError> {
    let socket = match settings.role {
        Role::Server => Socket::bind(address),
        Role::Client => Socket::connect(settings.bind, address),
    };
    let prepared = socket.inspect(|socket| {
        if settings.offload && settings.wire == Wire::Native {
            socket.allow_segments();
        }
        if settings.kernel_timestamps || settings.streams.need_stamps() {
            socket.stamp();
        }
    });
    prepared.map_err(|error| {
        // These are about the socket's own address, which a client may have chosen too.
        let is_own = matches!(SocketFault::of(&error), SocketFault::AddressInUse | SocketFault::AddressGone);
        no_socket(settings.bind.filter(|_| is_own).unwrap_or(address), settings.role, &error)
    })
}

fn no_socket(address: SocketAddr, role: Role, error: &io::Error) -> ConnectError {
    ConnectError::Socket { address, role, fault: SocketFault::of(error), problem: error.to_string() }
}

fn endpoint_config(settings: &Settings, datagram_size: usize) -> EndpointConfig {
    let limits = settings.payload_limits();
    let wire = match settings.wire {
        Wire::Native => WireFormat::Native,
        Wire::Classic => WireFormat::Classic(ClassicFormat {
            use_crc: settings.use_crc,
            use_sequence: settings.use_sequence,
        }),
    };
    let mut config = EndpointConfig::new(settings.role, wire);
    config.name.clone_from(&settings.name);
    config.max_peers = settings.max_peers;
    config.heartbeat_interval = settings.heartbeat_interval;
    config.liveness_timeout = settings.liveness_timeout;
    config.peer_expiry = settings.peer_expiry;
    config.max_message_size = settings.max_message_size;
    config.datagram_size = datagram_size;
    config.max_tries = u32::try_from(settings.reliable_tries).unwrap_or(u32::MAX);
    config.json = JsonLimits { max_depth: settings.max_depth, nonfinite: settings.nonfinite };
    config.check_payload = Arc::new(move |content_type, bytes| payload::check(content_type, bytes, &limits));
    config
}
