//! What opening a connection does: find the address, bind the socket, ask the machine, make both halves of the endpoint,
//! and start the driver.

use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, Ordering};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::time::Duration;

use tautline_proto::endpoint::{Encoder, EndpointConfig, Inbound, Outbound, Start, WireFormat, endpoint};
use tautline_proto::json::JsonLimits;
use tautline_proto::wire::classic::ClassicFormat;

use super::Connection;
use super::candidates;
use super::lifecycle::Running;
use crate::config::{Config, Role, Settings, Wire};
use crate::driver::{Opened, Turner};
use crate::error::ConnectError;
use crate::handlers;
use crate::machine::clock::Clock;
use crate::machine::fault::SocketFault;
use crate::machine::life::Life;
use crate::machine::realtime::{Held, Wishes};
use crate::machine::socket::{Granted, IpFragments, Socket, SocketWaiter, everywhere, headers_to};
use crate::payload;
use crate::sending::coalescer::{Coalescer, CoalescerWatch};
use crate::sending::line::Line;
use crate::sending::link::Link;
use crate::sync::lock;
use tautline_proto::Cause;

/// The largest UDP payloads. The length of an IPv4 packet counts its header, that of an IPv6 packet does not.
const MAX_IPV4_DATAGRAM: usize = u16::MAX as usize - 28;
const MAX_IPV6_DATAGRAM: usize = u16::MAX as usize - 8;

/// A driver's thread, or what a caller-driven connection holds of the machine.
type Driving = (Option<JoinHandle<()>>, Option<Held>);

/// A socket that is bound, and what the machine granted for it.
struct Bound {
    socket: Arc<Socket>,
    /// The server's own address, or the server that a client calls.
    address: SocketAddr,
    granted: Granted,
}

impl Connection {
    /// Opens a connection. The caller has made sure that there is none.
    pub(super) fn open_fresh(
        &self,
        replace: Option<Config>,
        first_number: u64,
    ) -> Result<Running, ConnectError> {
        let shared = &self.shared;
        let config = match replace {
            Some(config) => config.for_role(shared.role)?,
            None => shared.config(),
        };
        let settings = config.settings()?;
        let address = resolve(&settings)?;
        let socket = bind(&settings, address)?;
        let wishes = Wishes::new(&config, &settings);
        *lock(&shared.config) = config;
        shared.handlers.set_defaults(handlers::HandlerSettings::of(&settings));
        let granted = socket.set_buffers(settings.receive_buffer, settings.send_buffer);
        let mut refused = Vec::new();
        let held = shared.realtime.ask_machine(&wishes, &socket, granted, &mut refused);
        shared.publish_refusals(refused);
        let watching = shared.watchdogs.begin(&settings, wishes.of_watchdog(), &**shared);
        watching.map_err(|error| system("thread for the watchdogs", &error))?;
        self.start(&settings, Bound { socket: Arc::new(socket), address, granted }, held, first_number)
    }

    fn start(
        &self,
        settings: &Settings,
        bound: Bound,
        held: Held,
        first_number: u64,
    ) -> Result<Running, ConnectError> {
        let Bound { socket, address, granted } = bound;
        let shared = &self.shared;
        let mut seed = [0; 16];
        getrandom::fill(&mut seed).map_err(|error| system("randomness", &error))?;
        let (waiter, waker) =
            SocketWaiter::new().map_err(|error| no_socket(address, settings.role, &error))?;
        let life = Arc::new(Life::new(waker));
        let clock = shared.clock.for_new_connection();
        let peers_before = shared.peers_so_far.load(Ordering::Relaxed);
        let datagram_size = settings.mtu - headers_to(address);
        let config = endpoint_config(settings, datagram_size);
        let encoder = Encoder::new(&config);
        let halves = endpoint(config, Start { seed, first_number, peers_before });
        let inbound = self.open_halves(settings, &socket, (&life, clock), halves, (encoder, datagram_size));
        let is_client = settings.role == Role::Client;
        let waits_for_answer =
            is_client && settings.wire == Wire::Native && !settings.connect_timeout.is_zero();
        let answer_by = waits_for_answer.then(|| shared.clock.now().steady.plus(settings.connect_timeout));
        let (local, server) = (socket.local_address(), is_client.then_some(address));
        let watch = CoalescerWatch::new(
            Arc::clone(&shared.sender.coalescer_signals),
            self.coalescing_delay(settings),
        );
        let opened = Opened {
            life: Arc::clone(&life),
            clock,
            inbound,
            socket,
            waiter,
            server,
            answer_by,
            granted,
            watch,
        };
        let turner = Turner::new(Arc::clone(shared), opened, settings);
        if !is_client || settings.wire == Wire::Classic {
            shared.status.apply(Cause::Ready);
        }
        let (thread, _held) = self.set_going(turner, held, &settings.name)?;
        Ok(Running { life, thread, local, granted, _held })
    }

    /// Opens the inbox and the peers' counters for the receiving half, and the line for the sending half. Returns the
    /// receiving half.
    fn open_halves(
        &self,
        settings: &Settings,
        socket: &Arc<Socket>,
        (life, clock): (&Arc<Life>, Clock),
        (inbound, outbound): (Inbound, Outbound),
        (encoder, datagram_size): (Encoder, usize),
    ) -> Inbound {
        let shared = &self.shared;
        shared.directory.begin(inbound.counters(), Arc::clone(socket));
        shared.inbox.open(settings.inbox_capacity, settings.inbox_policy);
        let delay = self.coalescing_delay(settings);
        let coalescer = Coalescer::new(delay, datagram_size, Arc::clone(&shared.sender.coalescer_signals));
        let link = |opening| Link {
            opening,
            clock,
            life: Arc::clone(life),
            encoder,
            wire: settings.wire,
            codec: settings.codec,
            limits: settings.payload_limits(),
            datagram_size: datagram_size.into(),
            max_datagram: if socket.local_address().is_ipv4() {
                MAX_IPV4_DATAGRAM
            } else {
                MAX_IPV6_DATAGRAM
            },
            streams: (settings.streams.iter().next().is_some()).then(|| settings.streams.clone()),
        };
        let open = |line: &mut Line| line.open(outbound, Arc::clone(socket), coalescer, settings.dscp, link);
        shared.set_link(Some(shared.sender.transmit.exclusively(open)));
        inbound
    }

    /// How long small messages of a stream wait for others. Zero without a thread that sends them in time, unless the user
    /// has set the time.
    fn coalescing_delay(&self, settings: &Settings) -> Duration {
        let is_off = settings.wire == Wire::Classic
            || (self.shared.sender.caller_driven && self.shared.config().coalescing_delay.is_none());
        if is_off { Duration::ZERO } else { settings.coalescing_delay }
    }

    /// Gives the connection to a thread of its own, or to the caller's driver. `held` goes with it, and is given back to
    /// the machine when the connection ends.
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
        // The system's thread names end at a zero byte.
        let thread = thread::Builder::new().name(format!("tautline-{name}").replace('\0', ""));
        let thread = thread.spawn(run).map_err(|error| {
            self.shared.shut_line();
            self.shared.inbox.close();
            self.shared.directory.end();
            system("thread for the driver", &error)
        })?;
        // The report of the real-time profile is complete when `connect` returns.
        if self.shared.realtime.concerns_thread() {
            let _ = is_ready.recv();
        }
        Ok((Some(thread), None))
    }
}

fn system(what: &'static str, error: &dyn std::fmt::Display) -> ConnectError {
    ConnectError::System { what, problem: error.to_string() }
}

/// Resolves the endpoint: its first IPv4 address, or else its first IPv6 address.
///
/// "localhost" has both, and must find a server that listens at 0.0.0.0 or 127.0.0.1. A native client tries which of the
/// addresses a server answers at.
fn resolve(settings: &Settings) -> Result<SocketAddr, ConnectError> {
    let endpoint = &settings.endpoint;
    if endpoint.is_everywhere() {
        return Ok(everywhere(endpoint.port()));
    }
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
        // The native wire cuts its own fragments, each of which is sent again alone. On the classic wire, IP does it.
        let fragments = if settings.wire == Wire::Native { IpFragments::Never } else { IpFragments::Allowed };
        socket.set_ip_fragments(fragments);
        if settings.offload && settings.wire == Wire::Native {
            socket.allow_segments();
        }
        if settings.kernel_timestamps || settings.wire == Wire::Classic || settings.streams.have_lifespans() {
            socket.stamp();
        }
    });
    prepared.map_err(|error| {
        // These faults are about the socket's own address. A client may have chosen it by `bind`.
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
    config.allow = settings.allow.shared();
    config.max_peers = settings.max_peers;
    config.heartbeat_interval = settings.heartbeat_interval;
    config.liveness_timeout = settings.liveness_timeout;
    config.peer_expiry = settings.peer_expiry;
    config.max_message_size = settings.max_message_size;
    config.datagram_size = datagram_size;
    config.max_tries = u32::try_from(settings.reliable_tries).unwrap_or(u32::MAX);
    config.json = JsonLimits { max_depth: settings.max_depth, nonfinite: settings.nonfinite };
    config.owned = settings.streams.owned(settings.liveness_timeout);
    config.check_payload = Arc::new(move |content_type, bytes| payload::check(content_type, bytes, &limits));
    config
}
