//! Reads the datagrams of links that pass by, and tells what is in them. It is no end of any link, and sends nothing.
//!
//! `tap` and `record --proxy` use it. It knows both wires (docs/protocol.md) and needs no setting. Of a secured link it reads the
//! headers and the handshake only. What strangers can make it keep is bounded: [`MOST_LINKS`], and the bounds of [`way`].

mod classic;
mod clock;
mod describe;
mod native;
mod pieces;
mod way;

use std::net::SocketAddr;

use tautline::{DropReason, Instant, WallTime};
use tautline_proto::wire::native::looks_native;

pub(crate) use self::way::{Order, Way};
use tautline::recording::MessageView;

/// The most links that are told apart. For a further one, the link that was silent longest is forgotten.
const MOST_LINKS: usize = 64;

/// A datagram that passed by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passing<'a> {
    /// When it passed, on the wall clock of the machine that saw it.
    pub(crate) at: WallTime,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    /// Whether a client sent it. `None` if this is not known.
    pub(crate) from_client: Option<bool>,
    pub(crate) bytes: &'a [u8],
}

/// What a datagram holds.
#[derive(Debug)]
pub(crate) enum What<'a> {
    /// A message, and whether it was seen before: a reliable message that was sent again.
    Message { message: &'a MessageView<'a>, is_again: bool },
    /// Everything else of the datagram, in words.
    Control(String),
    /// A datagram that is encrypted: the key phase, and how many bytes of frames it has.
    Sealed { phase: bool, length: usize },
    /// A datagram or a message that a receiver would drop.
    Wrong(DropReason),
}

/// One thing that a datagram holds, and where the datagram stands in its direction.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) passing: Passing<'a>,
    /// Whether the session's server sent it.
    pub(crate) from_server: bool,
    /// The number of the datagram. `None` if it has none.
    pub(crate) number: Option<u64>,
    pub(crate) order: Order,
    pub(crate) what: What<'a>,
}

/// A link: a client, a server, and what passed in each direction.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) client: SocketAddr,
    pub(crate) server: SocketAddr,
    /// What the client sent.
    pub(crate) to_server: Way,
    /// What the server sent.
    pub(crate) to_client: Way,
    last: WallTime,
}

/// All links that were seen.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    links: Vec<Link>,
    /// How many links were forgotten because there were too many.
    pub(crate) forgotten: u64,
}

impl Observer {
    /// Reads a datagram, and shows everything in it to `show`.
    pub(crate) fn see(&mut self, passing: &Passing<'_>, show: &mut dyn FnMut(&Seen<'_>)) {
        let from_server = native::from_server(passing.bytes).or(passing.from_client.map(|client| !client));
        let link = self.link(passing, from_server);
        link.last = passing.at;
        let from_server = link.server == passing.from;
        let (way, other) = link.ways(from_server);
        way.datagrams += 1;
        way.bytes += passing.bytes.len() as u64;
        if looks_native(passing.bytes) {
            native::read(passing, from_server, way, other, show);
        } else {
            classic::read(passing, from_server, way, show);
        }
    }

    /// Returns the links. Numbers that have been missing for long at `now` count as lost.
    pub(crate) fn links(&mut self, now: WallTime) -> &[Link] {
        for link in &mut self.links {
            link.to_server.expire(now);
            link.to_client.expire(now);
        }
        &self.links
    }

    /// Returns the link between the two addresses. The first to send is the client, if nothing else is known.
    fn link(&mut self, passing: &Passing<'_>, from_server: Option<bool>) -> &mut Link {
        let (from, to) = (passing.from, passing.to);
        let is_it = |link: &Link| {
            (link.client, link.server) == (from, to) || (link.client, link.server) == (to, from)
        };
        let place = self.links.iter().position(is_it).unwrap_or_else(|| {
            if self.links.len() == MOST_LINKS {
                let idlest = (0..MOST_LINKS).min_by_key(|&place| self.links[place].last).unwrap_or(0);
                self.links.swap_remove(idlest);
                self.forgotten += 1;
            }
            let (client, server) = if from_server == Some(true) { (to, from) } else { (from, to) };
            self.links.push(Link {
                client,
                server,
                to_server: Way::default(),
                to_client: Way::default(),
                last: passing.at,
            });
            self.links.len() - 1
        });
        &mut self.links[place]
    }
}

impl Link {
    /// Returns the direction of a datagram, and the other one.
    fn ways(&mut self, from_server: bool) -> (&mut Way, &mut Way) {
        if from_server {
            (&mut self.to_client, &mut self.to_server)
        } else {
            (&mut self.to_server, &mut self.to_client)
        }
    }
}

/// Returns a wall-clock time as a moment for the protocol's windows.
fn moment(at: WallTime) -> Instant {
    Instant::from_nanos(u64::try_from(at.as_nanos()).unwrap_or(0))
}
