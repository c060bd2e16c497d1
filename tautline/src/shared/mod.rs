//! What all handles, the driver and the handlers of one interface share. It outlives single connections.
//!
//! Used by `interface`, `connection` and `driver`. Uses the folders below: sending, receiving, handlers, watchdogs.
//!
//! Each part guards itself; there is no lock around the whole. Lock order, where two locks are held at once: the transmit
//! writer, then its backlog; the status, then the event queues. Every other lock is held alone.

pub(crate) mod black_box;
pub(crate) mod directory;
pub(crate) mod drivers;
pub(crate) mod event_json;
pub(crate) mod events;
#[cfg(feature = "secure")]
pub(crate) mod new_keys;
pub(crate) mod ownership;
pub(crate) mod statistics;
pub(crate) mod status;
pub(crate) mod subscribers;

use std::time::{Duration, Instant};

use crate::sync::AtomicU32;
use crate::sync::{Arc, Mutex};

use tautline_proto::endpoint::Outbound;
use tautline_proto::{ConnectionState, Counter, Instant as Steady, PeerId};

use crate::config::{Config, Role, Settings, WatchdogChange, WatchdogEvent};
use crate::cycle::Followers;
use crate::handlers::{self, Handlers};
use crate::machine::clock::Clock;
use crate::machine::clock::wall_now;
use crate::machine::realtime::{NotGranted, Realtime};
use crate::machine::socket::Granted;
use crate::message::pool::Pool;
use crate::receiving::inbox::Inbox;
use crate::receiving::requests::Requests;
use crate::recording::Recording;
use crate::sending::deliveries::UnderWay;
use crate::sending::line::Line;
use crate::sending::link::Link;
use crate::sending::reply::Reply;
use crate::sending::sender::Sender;
use crate::shared::black_box::{BlackBox, Observed};
use crate::shared::directory::{Directory, PeerInfo};
use crate::shared::drivers::Drivers;
use crate::shared::events::{Event, Reader};
use crate::shared::ownership::Ownership;
use crate::shared::status::Status;
use crate::shared::subscribers::{CausedBy, EventBus};
use crate::sync::driver_flags::DriverFlags;
use crate::sync::lock;
use crate::sync::log::LineLimit;
use crate::watchdog::{Surroundings, Tell, Watchdogs};
use tautline_proto::endpoint::Outcome;

/// A thread that has not received for this time is not expected to receive soon.
const SEEN_LATELY: Duration = Duration::from_secs(1);

// In this order, so that what every message uses shares few cache lines.
#[repr(C)]
pub(crate) struct Shared {
    pub(crate) flags: Arc<DriverFlags>,
    pub(crate) sender: Arc<Sender>,
    pub(crate) requests: Arc<Requests>,
    pub(crate) followers: Arc<Followers>,
    pub(crate) recording: Recording,
    pub(crate) pool: Arc<Pool>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) handlers: Arc<Handlers<Reply>>,
    pub(crate) watchdogs: Arc<Watchdogs>,
    pub(crate) ownership: Arc<Ownership>,
    pub(crate) status: Status,
    pub(crate) role: Role,
    pub(crate) clock: Clock,
    pub(crate) drivers: Drivers,
    pub(crate) config: Mutex<Config>,
    pub(crate) directory: Arc<Directory>,
    #[cfg(feature = "secure")]
    pub(crate) new_keys: new_keys::NewKeys,
    pub(crate) black_box: BlackBox,
    pub(crate) log: Arc<LineLimit>,
    pub(crate) realtime: Realtime,
    /// The first peer id of the next connection. Order: relaxed; only read after the driver has ended.
    pub(crate) peers_so_far: AtomicU32,
    /// How often a reader was found behind for good. Written by the driver.
    pub(crate) readers_behind: Counter,
    /// The first sequence number of the next connection (classic wire).
    pub(crate) first_number: Mutex<u64>,
}

impl Shared {
    pub(crate) fn new(config: Config, settings: &Settings, caller_driven: bool) -> Self {
        let (role, handler_defaults) = (settings.role, handlers::HandlerSettings::of(settings));
        let clock = Clock::start();
        // What every message uses is allocated in a row, before large things. So it takes few pages.
        let flags = Arc::new(DriverFlags::default());
        let sender = Arc::new(Sender::new(clock, caller_driven));
        let pool = Arc::new(Pool::new());
        let (status, log) = (Status::default(), Arc::new(LineLimit::default()));
        let ownership = Arc::new(Ownership::new(Arc::clone(&flags)));
        let directory = Arc::new(Directory::default());
        let tell = tell(&status.events, &log, &ownership, (role, Arc::clone(&directory)));
        let watchdogs = Arc::new(Watchdogs::new(clock, tell, Arc::clone(&flags)));
        let latches = || Arc::clone(&watchdogs.latches);
        // Nothing that was handed out is taken back.
        let recording = Recording::new(Arc::clone(&pool), Arc::clone(&flags));
        Self {
            config: Mutex::new(config),
            role,
            clock,
            inbox: Arc::new(Inbox::new(Arc::clone(&pool), latches())),
            pool,
            handlers: Arc::new(Handlers::new(handler_defaults, latches(), Arc::clone(&flags))),
            watchdogs,
            #[cfg(feature = "secure")]
            new_keys: new_keys::NewKeys::new(Arc::clone(&flags)),
            ownership,
            black_box: BlackBox::default(),
            recording,
            status,
            directory,
            log,
            drivers: Drivers::default(),
            readers_behind: Counter::default(),
            first_number: Mutex::new(0),
            realtime: Realtime::default(),
            sender,
            requests: Arc::new(Requests::new(wall_now().as_nanos().cast_unsigned(), Arc::clone(&flags))),
            followers: Arc::new(Followers::new(Arc::clone(&flags))),
            flags,
            peers_so_far: AtomicU32::new(0),
        }
    }

    pub(crate) fn set_link(&self, link: Option<Arc<Link>>) {
        self.sender.link.store(link);
    }

    /// Whether ordinary threads wait for what the driver's thread reads, and its priority keeps its core from them until it
    /// sleeps. `reader_seen`: when a thread that receives was last seen.
    pub(crate) fn starve(&self, now: Steady, reader_seen: &mut Option<Steady>) -> bool {
        if !self.realtime.shares_cores() {
            return false;
        }
        // On a caller-driven interface, the thread that drives also receives.
        if self.inbox.take_asked() && !self.sender.caller_driven {
            *reader_seen = Some(now);
        }
        let is_read = reader_seen.is_some_and(|at| now.since(at) < SEEN_LATELY);
        is_read || self.flags.requests_wait() || self.handlers.have_queued()
    }

    /// Ends sending: tells the peers, and refuses what is sent from now on.
    pub(crate) fn shut_line(&self) {
        self.shut_line_by(Line::close);
    }

    /// As [`shut_line`](Self::shut_line); `close` closes the line.
    pub(crate) fn shut_line_by(&self, close: impl FnOnce(&mut Line) -> Option<Outbound>) {
        self.set_link(None);
        if let Some(outbound) = self.sender.transmit.exclusively(close) {
            *lock(&self.first_number) = outbound.next_first_number();
        }
        // Senders that still had the link may have left more than one run writes, and there is no driver any more.
        self.sender.transmit.exclusively(|_| ());
        self.tell_ended();
        self.sender.room.notify();
        self.requests.close();
    }

    /// Publishes the outcomes of reliable messages that have ended. Called with no lock held.
    #[inline]
    pub(crate) fn tell_ended(&self) {
        if self.sender.delivery_signs.have_ended() {
            self.tell_what_has_ended();
        }
    }

    #[inline(never)]
    fn tell_what_has_ended(&self) {
        let (ended, makes_room) = self.sender.transmit.briefly(Line::take_ended);
        if makes_room {
            self.sender.room.notify();
        }
        // Receipts come first: if a subscriber's waker panics, no receipt waits for ever.
        for (message, outcome) in &ended {
            if let Some(tracker) = &message.tracker {
                tracker.end(*outcome);
            }
            if let Some(number) = message.number.filter(|_| *outcome != Outcome::Delivered) {
                self.requests.fail(number, *outcome, self.role);
            }
        }
        for (UnderWay { peer, message_type, channel, .. }, outcome) in ended {
            if outcome != Outcome::Delivered {
                let event = Event::DeliveryFailed { peer, message_type, channel, outcome };
                self.status.events.publish_by(&event, self.cause(Some(peer)));
            }
        }
    }

    /// Returns who causes an event about this peer: on a server, a peer that is gone or came not long ago is a stranger.
    pub(crate) fn cause(&self, peer: Option<PeerId>) -> CausedBy {
        cause(self.role, &self.directory, peer)
    }

    /// As [`cause`](Self::cause), for an event that a peer can bring about as often as it likes: beyond ten in a second, it displaces
    /// none of the link.
    pub(crate) fn cause_at_will(&self, peer: PeerId) -> CausedBy {
        match self.cause(Some(peer)) {
            CausedBy::Link
                if self.role == Role::Server && self.directory.tells_too_much(peer, Instant::now()) =>
            {
                CausedBy::Stranger
            }
            by => by,
        }
    }

    /// Asks the machine for what belongs to the thread that drives, which must be the calling one.
    pub(crate) fn ask_for_thread(&self) {
        self.publish_refusals(self.realtime.ask_for_thread());
    }

    /// Publishes and logs what the machine did not grant.
    pub(crate) fn publish_refusals(&self, refused: Vec<NotGranted>) {
        for NotGranted { part, problem, remedy } in refused {
            if let Some(left_out) = self.log.allow(Instant::now()) {
                let part = part.name();
                tracing::warn!(part, problem, remedy, left_out, "the machine does not grant it");
            }
            self.status.events.publish(&Event::NotGranted { part, problem, remedy });
        }
    }

    /// Returns the number of log lines that were left out since the last one, if a line may be logged now.
    pub(crate) fn may_log(&self) -> Option<u64> {
        self.log.allow(Instant::now())
    }

    pub(crate) fn steady_now(&self) -> Steady {
        self.clock.steady(Instant::now())
    }

    pub(crate) fn config(&self) -> Config {
        lock(&self.config).clone()
    }

    /// The statistics as a black box keeps them: with the inline handler that runs now, because what keeps the driver from going on
    /// leaves nothing else in the record.
    pub(crate) fn for_black_box(&self, statistics: &statistics::Statistics) -> serde_json::Value {
        let mut value = serde_json::to_value(statistics).unwrap_or_default();
        if let Some(selector) = self.handlers.inline_at_work() {
            value["inline_at_work"] = Reader::Handler(selector).to_string().into();
        }
        value
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Observed for Shared {
    fn black_box(&self) -> &BlackBox {
        &self.black_box
    }

    fn statistics(&self) -> serde_json::Value {
        self.for_black_box(&Self::statistics(self, Granted::default()))
    }

    fn state(&self) -> ConnectionState {
        self.status.state()
    }
}

impl Surroundings for Shared {
    fn connected_peers(&self) -> Vec<PeerId> {
        let peers = self.directory.all();
        peers.iter().filter(|peer| peer.state.can_send()).map(|peer| peer.id).collect()
    }

    fn peers_of(&self, identity: &str) -> Vec<PeerId> {
        let peers = self.directory.all();
        let is_its = |peer: &&PeerInfo| peer.state.can_send() && peer.identity.as_deref() == Some(identity);
        peers.iter().filter(is_its).map(|peer| peer.id).collect()
    }

    fn is_open(&self) -> bool {
        let state = self.status.state();
        state == ConnectionState::Connecting || state.can_send()
    }
}

/// Returns the function that publishes and logs what the watchdogs report. It runs on one of their threads.
fn tell(
    events: &Arc<EventBus>,
    log: &Arc<LineLimit>,
    ownership: &Arc<Ownership>,
    (role, directory): (Role, Arc<Directory>),
) -> Tell {
    let (events, log, ownership) = (Arc::clone(events), Arc::clone(log), Arc::clone(ownership));
    Arc::new(move |event: WatchdogEvent| {
        if matches!(event.change, WatchdogChange::Tripped { .. }) {
            let is_of = |peer, identity: &str| {
                directory.get(peer).is_some_and(|peer| peer.identity.as_deref() == Some(identity))
            };
            ownership.tripped(&event.watched, is_of);
        }
        if let Some(left_out) = log.allow(Instant::now()) {
            let WatchdogEvent { watched, .. } = event;
            match event.change {
                WatchdogChange::Armed => tracing::info!(%watched, left_out, "watchdog armed"),
                WatchdogChange::Tripped { late, missed } => {
                    let late = format_args!("{late:.1?}");
                    tracing::warn!(%watched, %late, missed, left_out, "watchdog tripped");
                }
                WatchdogChange::Recovered { silence, cause, silences } => {
                    let silence = format_args!("{silence:.1?}");
                    tracing::info!(%watched, %silence, %cause, silences, left_out, "watchdog recovered");
                }
                WatchdogChange::Refusing { silence, cause } => {
                    let silence = format_args!("{silence:.1?}");
                    tracing::warn!(%watched, %silence, %cause, left_out, "watchdog refuses messages until it is reset");
                }
                WatchdogChange::Reset => tracing::info!(%watched, left_out, "watchdog reset"),
            }
        }
        let by = cause(role, &directory, event.watched.peer);
        events.publish_by(&Event::Watchdog(event), by);
    })
}

fn cause(role: Role, directory: &Directory, peer: Option<PeerId>) -> CausedBy {
    match peer {
        Some(peer) if role == Role::Server && directory.is_stranger(peer) => CausedBy::Stranger,
        _ => CausedBy::Link,
    }
}
