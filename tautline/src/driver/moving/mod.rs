//! Keeps the socket at a place where it can be used, while addresses, names and network cards come, go and change.
//!
//! A client that does not hear its server, or that the system tells that its address is gone, looks now and then: it resolves
//! the server's name, and asks the kernel from which of its addresses it would call. If either is another one, the socket
//! moves there, and the client says hello from it. A server looks for its address until it has it. Then it looks for its network
//! card if it was bound to one, and for the address of its name while it hears nobody. [`look`] is what the driver does when
//! a look is due. Nothing here waits, except [`Moving::resolve`].

mod look;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tautline_proto::Instant as Steady;

use crate::config::{CardName, Endpoint, LocalAddress, Role, Settings, Wire, serves_many};
use crate::error::ConnectError;
use crate::machine::fault::SocketFault;
use crate::machine::names::{self, LookUp};
use crate::machine::socket::place::{Place, can_bind, is_broadcast, refuses_card};
use crate::machine::socket::{Socket, everywhere};

/// The time until the second look. Each further wait is twice as long, up to [`LAST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LAST_WAIT: Duration = Duration::from_millis(400);

/// The shortest time between two looks while the server is silent.
const LEAST_WAIT: Duration = Duration::from_millis(50);

/// The shortest time between two looks while the system refuses to send from where the socket is. A look takes some 20 us.
const LEAST_WAIT_IF_SURE: Duration = Duration::from_millis(5);

/// The shortest time between two look-ups of a name, so that the name server is not asked too often; and while one is under way.
const BETWEEN_LOOK_UPS: Duration = Duration::from_millis(500);
const BETWEEN_LOOK_UPS_AT_ONCE: Duration = Duration::from_secs(1);

/// How often a client looks before it calls the next address of a name that has several.
const LOOKS_EACH: u32 = 3;

/// Where the socket is, and where it may go.
#[derive(Debug)]
// `due` comes first, so that it lies beside what every turn reads.
#[repr(C)]
pub(crate) struct Moving {
    /// The earlier of the two. Each turn reads it, and does not wait if it is over.
    due: Option<Steady>,
    settings: Wanted,
    /// Where the socket is; `None`: nowhere yet.
    at: Option<Placed>,
    /// What the endpoint means, as far as it is known.
    addresses: Vec<SocketAddr>,
    look_up: LookUp,
    looked_up_at: Option<Steady>,
    /// Which of the addresses is called, and how many looks ago that began.
    index: usize,
    looks: u32,
    turned_at: Option<Steady>,
    /// Nobody listens at the address that is called (classic wire, names with several addresses).
    is_refused: bool,
    wait: Duration,
    looked_at: Option<Steady>,
    /// The next look; `None` while all is well. Set by [`set_look_at`](Self::set_look_at) alone.
    look_at: Option<Steady>,
    /// When connecting must have succeeded; `None` if it does not wait. Set by [`set_answer_by`](Self::set_answer_by) alone.
    answer_by: Option<Steady>,
    /// The system has reported that the address is gone. So a look does not trust that the server is still heard.
    is_suspect: bool,
    missing: Option<ConnectError>,
}

/// The settings that decide about the place.
#[derive(Debug)]
struct Wanted {
    role: Role,
    endpoint: Endpoint,
    bind: Option<LocalAddress>,
    card: Option<CardName>,
    wire: Wire,
    /// How long a client waits for its server before it looks.
    liveness: Duration,
}

/// A place where the socket is, and what would make it another place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Placed {
    address: SocketAddr,
    /// The address of this host that a client calls from.
    from: Option<IpAddr>,
    /// The number of the network card that was asked for by name.
    card: Option<u32>,
}

impl Moving {
    pub(crate) fn new(settings: &Settings) -> Self {
        let settings = Wanted {
            role: settings.role,
            endpoint: settings.endpoint.clone(),
            bind: settings.bind.clone(),
            card: settings.interface.clone(),
            wire: settings.wire,
            liveness: settings.liveness_timeout,
        };
        Self {
            settings,
            at: None,
            addresses: Vec::new(),
            look_up: LookUp::default(),
            looked_up_at: None,
            index: 0,
            looks: 0,
            turned_at: None,
            is_refused: false,
            wait: FIRST_WAIT,
            looked_at: None,
            look_at: None,
            answer_by: None,
            due: None,
            is_suspect: false,
            missing: None,
        }
    }

    /// When a look is due, or connecting has taken too long.
    #[inline]
    pub(in crate::driver) const fn due(&self) -> Option<Steady> {
        self.due
    }

    /// Whether a look is due.
    pub(in crate::driver) fn look_is_due(&self, now: Steady) -> bool {
        self.look_at.is_some_and(|at| at <= now)
    }

    /// Whether connecting has taken too long.
    pub(in crate::driver) fn answer_is_overdue(&self, now: Steady) -> bool {
        self.answer_by.is_some_and(|at| at <= now)
    }

    /// Whether connecting still waits for the server's answer, or for a place.
    pub(in crate::driver) const fn awaits_answer(&self) -> bool {
        self.answer_by.is_some()
    }

    /// Sets when connecting must have succeeded; `None`: it has, or does not wait.
    pub(in crate::driver) fn set_answer_by(&mut self, at: Option<Steady>) {
        self.answer_by = at;
        self.set_look_at(self.look_at);
    }

    fn set_look_at(&mut self, at: Option<Steady>) {
        self.look_at = at;
        self.due = [self.look_at, self.answer_by].into_iter().flatten().min();
    }

    /// What is missing, while the socket is nowhere.
    pub(in crate::driver) fn missing(&self) -> Option<&ConnectError> {
        self.missing.as_ref().filter(|_| self.at.is_none())
    }

    /// The server that a client calls, or the server's own address; `None` while the socket is nowhere.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.at.as_ref().map(|at| at.address)
    }

    /// Finds the addresses of the endpoint; IPv4 first. Waits for a server of names, for at most `patience`: for the thread that
    /// connects. If none answers by then, a look takes the answer.
    ///
    /// "localhost" has both kinds, and must find a server that listens at 0.0.0.0 or 127.0.0.1.
    pub(crate) fn resolve(&mut self, patience: Duration) -> Result<&[SocketAddr], ConnectError> {
        let (host, port) = (self.settings.endpoint.host(), self.settings.endpoint.port());
        let found = self.without_look_up().or_else(|| self.look_up.wait(host, port, patience));
        let found = found.unwrap_or_else(|| Err(std::io::Error::other("no name server has answered yet")));
        let found = found.map_err(|error| self.unresolved(&error))?;
        self.take_addresses(found)?;
        self.choose_own();
        Ok(&self.addresses)
    }

    /// Puts the address that is to be called first to the front.
    pub(crate) fn prefer(&mut self, address: SocketAddr) {
        self.index = self.addresses.iter().position(|&known| known == address).unwrap_or(0);
    }

    /// The place that the socket is to have now.
    pub(crate) fn place(&self, address: SocketAddr) -> Result<Place, ConnectError> {
        let own = self.settings.bind.as_ref().map(names::local).transpose();
        let own = own.map_err(|error| self.no_socket(address, &error))?;
        Ok(Place { address, own, card: self.settings.card.clone() })
    }

    /// The address that is called, or bound.
    pub(crate) fn target(&self) -> Option<SocketAddr> {
        self.addresses.get(self.index).copied()
    }

    /// Puts the socket there.
    pub(crate) fn put(&mut self, socket: &Socket, place: &Place) -> Result<(), ConnectError> {
        let placed = socket.place(place).and_then(|()| {
            let from = socket.local_address().filter(|_| self.settings.role == Role::Client);
            let from = from.map(|local| local.ip());
            Ok(Placed { address: place.address, from, card: card_of(place)? })
        });
        self.at = placed.as_ref().ok().cloned();
        if let Err(error) = placed {
            return Err(self.refused(place.address, &error));
        }
        if self.settings.role == Role::Server && is_broadcast(place.address) {
            self.at = None;
            return Err(self.serves_many(place.address));
        }
        self.missing = None;
        Ok(())
    }

    /// Notes that connecting waits for this.
    pub(crate) fn wait_for(&mut self, missing: ConnectError) {
        self.missing = Some(missing);
    }

    /// Plans the first look after the connection was opened.
    pub(in crate::driver) fn begin(&mut self, now: Steady) {
        let is_server = self.settings.role == Role::Server;
        self.looked_up_at = Some(now);
        self.looked_at = Some(now);
        self.set_look_at(match (&self.at, is_server) {
            (None, _) => Some(now.plus(FIRST_WAIT)),
            (Some(_), true) => self.looks_on().then(|| now.plus(LAST_WAIT)),
            (Some(_), false) => Some(now.plus(self.settings.liveness)),
        });
    }

    /// Looks soon: the server fell silent, or (`is_sure`) the address is gone.
    pub(in crate::driver) fn look_soon(&mut self, now: Steady, is_sure: bool) {
        self.is_suspect |= is_sure;
        let wait = if is_sure { LEAST_WAIT_IF_SURE } else { LEAST_WAIT };
        let soonest = self.looked_at.map_or(now, |at| now.max(at.plus(wait)));
        self.set_look_at(Some(self.look_at.map_or(soonest, |at| at.min(soonest))));
    }

    /// Whether a server that is at its place goes on looking: the number of a network card may change under the socket, or the
    /// meaning of its name.
    pub(in crate::driver) fn looks_on(&self) -> bool {
        let Wanted { role, card, endpoint, .. } = &self.settings;
        *role == Role::Server && (card.is_some() || endpoint.host().contains('%') || self.follows_name())
    }

    /// Whether a server moves with its name. Only Linux lets a bound socket move; and "localhost" always means this host.
    fn follows_name(&self) -> bool {
        let host = self.settings.endpoint.host();
        let is_moving = !host.trim_end_matches('.').eq_ignore_ascii_case("localhost");
        cfg!(target_os = "linux") && is_moving && self.without_look_up().is_none()
    }

    fn plan(&mut self, now: Steady) {
        self.looked_at = Some(now);
        self.set_look_at(Some(now.plus(self.wait)));
        self.wait = (self.wait * 2).min(LAST_WAIT);
    }

    /// Rests until something happens.
    fn rest(&mut self, now: Steady) {
        self.looked_at = Some(now);
        self.wait = FIRST_WAIT;
        (self.looks, self.is_refused) = (0, false);
        // The name server answers soon.
        let wait = if self.look_up.is_begun() { LEAST_WAIT } else { LAST_WAIT };
        self.set_look_at(self.looks_on().then(|| now.plus(wait)));
    }

    fn take_addresses(&mut self, mut fitting: Vec<SocketAddr>) -> Result<(), ConnectError> {
        if let Some(bind) = self.settings.bind.as_ref().map(LocalAddress::ip) {
            fitting.retain(|address| address.is_ipv4() == bind.is_ipv4());
        }
        let first = fitting.first().copied().ok_or_else(|| self.of_other_kind())?;
        fitting.retain(|address| !serves_many(address.ip()));
        if fitting.is_empty() {
            return Err(self.serves_many(first));
        }
        // The socket's own family first: a socket of the other family has to be put in its place.
        let is_ipv6 = self.address().is_some_and(|at| at.is_ipv6());
        fitting.sort_by_key(|address| address.is_ipv6() != is_ipv6);
        fitting.dedup();
        // Some name servers give the same addresses in another order each time.
        let is_known = |address| self.addresses.contains(address);
        if fitting.len() == self.addresses.len() && fitting.iter().all(is_known) {
            return Ok(());
        }
        let called = self.target().and_then(|target| fitting.iter().position(|&is| is == target));
        if called.is_none() {
            self.looks = 0;
        }
        (self.index, self.addresses) = (called.unwrap_or(0), fitting);
        Ok(())
    }

    /// Lets a server that has no place, or whose name has lost its address, go to the first address where it can be bound.
    fn choose_own(&mut self) {
        if self.settings.role == Role::Client || self.addresses.len() < 2 {
            return;
        }
        let here = self.address();
        let is_here = |address: &SocketAddr| Some(*address) == here;
        let found = self.addresses.iter().position(is_here);
        let found = found.or_else(|| self.addresses.iter().position(|&address| can_bind(address)));
        self.index = found.unwrap_or(0);
    }

    /// Takes what is known of the endpoint's addresses now, and begins to look its name up if it has one and the other end is not
    /// heard.
    fn refresh(&mut self, now: Steady, is_heard: bool, wake: impl FnOnce() + Send + 'static) {
        let (host, port) = (self.settings.endpoint.host(), self.settings.endpoint.port());
        let found = match self.without_look_up() {
            Some(found) => Some(found),
            // A peer that is heard calls the present address.
            None if is_heard || (self.at.is_some() && !self.may_move()) => None,
            None => {
                let is_begun = self.look_up.is_begun();
                let wait = if is_begun { BETWEEN_LOOK_UPS_AT_ONCE } else { BETWEEN_LOOK_UPS };
                if self.looked_up_at.is_none_or(|at| now.since(at) >= wait) {
                    self.looked_up_at = Some(now);
                    self.look_up.begin(host, port, wake);
                }
                self.look_up.take()
            }
        };
        let taken = match found {
            None => return,
            Some(Ok(found)) => self.take_addresses(found),
            Some(Err(error)) => Err(self.unresolved(&error)),
        };
        if let Err(missing) = taken {
            // A socket that has a place keeps it: the name server may be away together with the network.
            self.addresses.retain(|_| self.at.is_some());
            self.missing = Some(missing);
        }
        self.choose_own();
    }

    /// Whether a socket that has a place may get another one because its name has another meaning.
    fn may_move(&self) -> bool {
        self.settings.role == Role::Client || self.follows_name()
    }

    /// The addresses of an endpoint that is no name.
    fn without_look_up(&self) -> Option<std::io::Result<Vec<SocketAddr>>> {
        let (host, port) = (self.settings.endpoint.host(), self.settings.endpoint.port());
        if self.settings.endpoint.is_everywhere() {
            return Some(Ok(vec![everywhere(port)]));
        }
        names::numeric(host, port).map(|address| address.map(|address| vec![address]))
    }

    /// The next address, if the present one was called long enough. On the classic wire, a server that is not heard may
    /// hear all the same, unless its host has reported that nobody listens there.
    fn take_turns(&mut self, now: Steady) {
        if self.turned_at.is_some_and(|at| now.since(at) < LEAST_WAIT) {
            return;
        }
        self.turned_at = Some(now);
        self.looks += 1;
        let is_over = match self.settings.wire {
            Wire::Native => self.looks >= LOOKS_EACH,
            Wire::Classic => std::mem::take(&mut self.is_refused),
        };
        if is_over && self.addresses.len() > 1 {
            self.looks = 0;
            self.index = (self.index + 1) % self.addresses.len();
        }
    }

    /// The host of the address that is called has reported that nobody listens there.
    pub(in crate::driver) fn was_refused(&mut self, now: Steady) {
        if self.addresses.len() > 1 && self.settings.wire == Wire::Classic {
            self.is_refused = true;
            self.look_soon(now, false);
        }
    }

    /// Where the socket should be, if that is not where it is.
    fn better_place(&mut self) -> Option<Place> {
        let address = self.target()?;
        let is_renamed = self.settings.role == Role::Server && self.address().is_some_and(|at| at != address);
        if is_renamed && self.without_look_up().is_none() && !can_bind(address) {
            // The name means another host now, or an address that comes later.
            return None;
        }
        let found = self.place(address).and_then(|place| {
            let from = match self.settings.role {
                Role::Client => Some(Socket::address_from(&place)),
                Role::Server => None,
            };
            let from = from.transpose().map_err(|error| self.refused(address, &error))?;
            let card = card_of(&place).map_err(|error| self.no_socket(address, &error))?;
            Ok((place, Placed { address, from, card }))
        });
        match found {
            Ok((place, wanted)) => (self.at.as_ref() != Some(&wanted)).then_some(place),
            Err(missing) => {
                self.missing = Some(missing);
                None
            }
        }
    }

    fn unresolved(&self, error: &std::io::Error) -> ConnectError {
        ConnectError::Unresolved { endpoint: self.settings.endpoint.clone(), problem: error.to_string() }
    }

    fn of_other_kind(&self) -> ConnectError {
        ConnectError::OtherFamily { endpoint: self.settings.endpoint.clone() }
    }

    fn serves_many(&self, address: SocketAddr) -> ConnectError {
        ConnectError::Broadcast { address }
    }

    fn refused(&self, address: SocketAddr, error: &std::io::Error) -> ConnectError {
        match SocketFault::of(error) {
            // Without the card, the commands would go to another host with the same address.
            _ if self.settings.card.is_some() && refuses_card(error) => {
                let what = "socket for one network card alone (`interface`)";
                ConnectError::System { what, problem: error.to_string() }
            }
            SocketFault::NotPermitted if is_broadcast(address) => self.serves_many(address),
            _ => self.no_socket(address, error),
        }
    }

    /// The error of a socket that cannot be opened, bound or connected.
    pub(crate) fn no_socket(&self, address: SocketAddr, error: &std::io::Error) -> ConnectError {
        // EINVAL is what connecting returns if a route drops what is sent there.
        let fault = match SocketFault::of_send(error) {
            SocketFault::AddressGone if error.kind() == std::io::ErrorKind::InvalidInput => {
                SocketFault::Blackhole
            }
            _ => SocketFault::of(error),
        };
        // These faults are about the socket's own address. A client may have chosen it by `bind`.
        let is_own = matches!(fault, SocketFault::AddressInUse | SocketFault::AddressGone);
        let own = self.settings.bind.as_ref().filter(|_| is_own);
        let address = own.map_or(address, |own| SocketAddr::new(own.ip(), own.port()));
        let card = self.settings.card.as_ref().filter(|_| fault == SocketFault::CardGone);
        let problem = card.map_or_else(|| error.to_string(), |card| format!("{}: {error}", card.as_str()));
        ConnectError::Socket { address, role: self.settings.role, fault, problem }
    }
}

fn card_of(place: &Place) -> std::io::Result<Option<u32>> {
    place.card.as_ref().map(|card| names::number_of_card(card.as_str())).transpose()
}
