//! What opening a connection does: find the address, bind the socket, ask the machine, make both halves of the endpoint,
//! and start the driver.

use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, Ordering};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::mpsc;
use std::time::Duration;

use tautline_proto::endpoint::{Encoder, Inbound, Outbound, Start, endpoint};

use super::Connection;
use super::candidates;
use super::lifecycle::Running;
use crate::config::{Config, DrivenBy, Role, Settings, Wire};
use crate::driver::moving::Moving;
use crate::driver::{Opened, Turner};
use crate::error::ConnectError;
use crate::handlers;
use crate::machine::clock::Clock;
use crate::machine::life::Life;
use crate::machine::realtime::{Held, Wishes};
use crate::machine::socket::place::Place;
use crate::machine::socket::{Granted, IpFragments, Socket, SocketWaiter, headers_to};
use crate::sending::coalescer::{Coalescer, CoalescerWatch};
use crate::sending::line::Line;
use crate::sending::link::Link;
use crate::sync::lock;
use tautline_proto::{Instant as Steady, MessageType};

/// The largest UDP payloads. The length of an IPv4 packet counts its header, that of an IPv6 packet does not.
const MAX_IPV4_DATAGRAM: usize = u16::MAX as usize - 28;
const MAX_IPV6_DATAGRAM: usize = u16::MAX as usize - 8;

/// How long opening waits for a name server: as `connect_timeout` says, within these bounds. Most servers, and the file of hosts,
/// answer at once. Later, the driver waits for the answer, as for everything else that is missing.
const LEAST_NAME_PATIENCE: Duration = Duration::from_millis(100);
const MOST_NAME_PATIENCE: Duration = Duration::from_secs(1);

/// A driver's thread, or what a caller-driven connection holds of the machine.
type Driving = (Option<JoinHandle<()>>, Option<Held>);

/// A socket that is bound, and what the machine granted for it.
struct Bound {
    /// When connecting began.
    began: Steady,
    socket: Arc<Socket>,
    moving: Moving,
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
        let began = shared.steady_now();
        let config = match replace {
            Some(config) => config.for_role(shared.role)?,
            None => shared.config(),
        };
        // What was read before is older than what is read now.
        #[cfg(feature = "secure")]
        drop(shared.new_keys.take());
        let settings = config.settings()?;
        if settings.lacks_failsafe(&config) {
            return Err(ConnectError::NoFailsafe);
        }
        let mut moving = Moving::new(&settings);
        let socket = bind(&settings, &mut moving)?;
        let wishes = Wishes::new(&config, &settings);
        *lock(&shared.config) = config;
        shared.handlers.set_defaults(handlers::HandlerSettings::of(&settings));
        let granted = socket.set_buffers(settings.receive_buffer, settings.send_buffer);
        let mut refused = Vec::new();
        let held = shared.realtime.ask_machine(&wishes, &socket, granted, &mut refused);
        shared.publish_refusals(refused);
        let watching = shared.watchdogs.begin(&settings, wishes.of_watchdog(), &**shared);
        watching.map_err(|error| system("thread for the watchdogs", &error))?;
        let bound = Bound { began, socket: Arc::new(socket), moving, granted };
        self.start(&settings, bound, held, first_number)
    }

    fn start(
        &self,
        settings: &Settings,
        bound: Bound,
        held: Held,
        first_number: u64,
    ) -> Result<Running, ConnectError> {
        let Bound { began, socket, moving, granted } = bound;
        let shared = &self.shared;
        let mut seed = [0; 16];
        let mut entropy = [0; 32];
        for secret in [&mut seed[..], &mut entropy] {
            getrandom::fill(secret).map_err(|error| system("randomness", &error))?;
        }
        let (waiter, waker) = SocketWaiter::new().map_err(|error| no_socket(&moving, &error))?;
        let life = Arc::new(Life::new(waker));
        let clock = shared.clock.for_new_connection();
        let peers_before = shared.peers_so_far.load(Ordering::Relaxed);
        // Of an address that is not known yet, the longer headers.
        let address = moving.target().unwrap_or(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)));
        let datagram_size = settings.mtu.most() - headers_to(address);
        let config = settings.for_protocol(datagram_size);
        let encoder = Encoder::new(&config);
        let mut halves = endpoint(config, Start { seed, entropy, first_number, peers_before });
        self.record(&mut halves, settings, clock)?;
        let inbound = self.open_halves(settings, &socket, (&life, clock), halves, (encoder, datagram_size));
        let needs_answer = settings.role == Role::Client && settings.wire == Wire::Native;
        let waits = (needs_answer || moving.address().is_none()) && !settings.connect_timeout.is_zero();
        let answer_by = waits.then(|| began.plus(settings.connect_timeout));
        let watch = CoalescerWatch::new(
            Arc::clone(&shared.sender.coalescer_signals),
            self.coalescing_delay(settings),
        );
        let told_unguarded = shared.handlers.has_any(MessageType::Command)
            && shared.tell_if_unguarded(settings.streams.of_type(MessageType::Command).lifespan);
        let opened = Opened {
            life: Arc::clone(&life),
            clock,
            inbound,
            socket,
            waiter,
            moving,
            answer_by,
            granted,
            watch,
            told_unguarded,
        };
        let turner = Turner::new(Arc::clone(shared), opened, settings);
        let (thread, _held) = self.set_going(turner, held, settings)?;
        Ok(Running { life, thread, granted, _held })
    }

    /// Begins the recording and the black box of the connection, if there are any.
    fn record(
        &self,
        (inbound, outbound): &mut (Inbound, Outbound),
        settings: &Settings,
        clock: Clock,
    ) -> Result<(), ConnectError> {
        let shared = &self.shared;
        if let Some(file) = &settings.record {
            let now_ms = clock.now().wall.as_nanos() / 1_000_000;
            let begun = shared.recording.begin(file.path(), now_ms);
            begun.map_err(|error| system("file of the recording", &error))?;
        }
        let Some([received, sent]) = shared.black_box.begin(&shared.config(), settings, clock) else {
            return Ok(());
        };
        inbound.record(received);
        outbound.record(sent);
        let watched = shared.black_box.watch(shared, shared.status.events.subscribe());
        watched.map_err(|error| system("thread for the black box", &error))
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
        shared.inbox.open(settings.inbox_capacity, settings.queue_bytes, settings.inbox_policy);
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
            granted: tautline_proto::Rights::ALL.to_wire().into(),
            max_datagram: if !socket.is_ipv6() { MAX_IPV4_DATAGRAM } else { MAX_IPV6_DATAGRAM },
            streams: settings.streams.concern_senders().then(|| settings.streams.clone()),
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

    /// Returns which thread turns the connection. A waiting thread does not have the cores of the driver's thread.
    fn driven_by(&self, settings: &Settings) -> DrivenBy {
        match settings.driven_by {
            _ if self.shared.sender.caller_driven => DrivenBy::Thread,
            DrivenBy::Auto if !settings.cpus.is_any() => DrivenBy::Thread,
            driven_by => driven_by,
        }
    }

    /// Gives the connection to a thread of its own, or to the caller's driver. `held` goes with it, and is given back to
    /// the machine when the connection ends.
    fn set_going(
        &self,
        mut turner: Box<Turner>,
        held: Held,
        settings: &Settings,
    ) -> Result<Driving, ConnectError> {
        turner.start();
        self.lifecycle.set_driven_by(self.driven_by(settings));
        if self.shared.sender.caller_driven {
            self.lifecycle.slot.put(turner);
            return Ok((None, Some(held)));
        }
        let (ready, is_ready) = mpsc::channel();
        let (slot, shared, life) =
            (Arc::clone(&self.lifecycle.slot), Arc::clone(&self.shared), Arc::clone(&turner.life));
        slot.put(turner);
        let run = move || {
            shared.ask_for_thread();
            let _driving = shared.drivers.enter();
            life.begin_driving();
            let _ = ready.send(());
            slot.drive(&life);
            drop(held);
        };
        // The system's thread names end at a zero byte.
        let thread = thread::Builder::new().name(format!("tautline-{}", settings.name).replace('\0', ""));
        let thread = thread.spawn(run).map_err(|error| {
            self.shared.shut_line();
            self.shared.inbox.close();
            self.shared.directory.end();
            self.lifecycle.slot.clear();
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

/// Opens the socket, and puts it where it belongs. If what that needs is not there yet, the socket is nowhere, and the driver
/// looks for a place for it.
fn bind(settings: &Settings, moving: &mut Moving) -> Result<Socket, ConnectError> {
    let place = match find_place(settings, moving) {
        Ok(place) => Some(place),
        Err(error) if can_wait(&error) => {
            moving.wait_for(error);
            None
        }
        Err(error) => return Err(error),
    };
    let any = Place::at(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
    let opened = Socket::open(place.as_ref().unwrap_or(&any), settings.role == Role::Client);
    let socket = opened.map_err(|error| no_socket(moving, &error))?;
    // The native wire cuts its own fragments, each of which is sent again alone. On the classic wire, IP does it.
    let fragments = if settings.wire == Wire::Native { IpFragments::Never } else { IpFragments::Allowed };
    socket.set_ip_fragments(fragments);
    if settings.offload && settings.wire == Wire::Native {
        socket.allow_segments();
    }
    if settings.need_stamps() {
        socket.stamp();
    }
    if settings.role == Role::Server {
        socket.report_errors();
    }
    match place.map(|place| moving.put(&socket, &place)) {
        Some(Err(error)) if can_wait(&error) => moving.wait_for(error),
        Some(Err(error)) => return Err(error),
        _ => {}
    }
    Ok(socket)
}

/// Finds the address: at a native client whose name has several, one where a server answers.
fn find_place(settings: &Settings, moving: &mut Moving) -> Result<Place, ConnectError> {
    // Only Unix has sockets without an address, so elsewhere the answer is needed here.
    let patience = match cfg!(unix) {
        true => settings.connect_timeout.clamp(LEAST_NAME_PATIENCE, MOST_NAME_PATIENCE),
        false => settings.connect_timeout.max(LEAST_NAME_PATIENCE),
    };
    let addresses = moving.resolve(patience)?.to_vec();
    let own = moving.place(addresses[0])?;
    if settings.role == Role::Client && settings.wire == Wire::Native {
        candidates::choose(&own, &addresses).inspect(|&address| moving.prefer(address));
    }
    let address = moving.target().expect("there is an address");
    Ok(Place { address, ..own })
}

/// Whether connecting waits for what is missing. Only Unix has sockets without an address.
fn can_wait(error: &ConnectError) -> bool {
    cfg!(unix) && error.may_pass()
}

fn no_socket(moving: &Moving, error: &io::Error) -> ConnectError {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    moving.no_socket(moving.target().unwrap_or(any), error)
}
