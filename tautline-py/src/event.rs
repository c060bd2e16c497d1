//! What happens to a link, as objects of Python.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use tautline::{Event, MessageType, WatchdogChange, WatchdogEvent};

use crate::arguments;
use crate::life::Own;
use crate::link::Link;
use crate::message::type_of;
use crate::peer::PeerId;
use crate::pending::Pending;
use crate::wait::block;

/// A subscription to the events that happen after it is made.
#[pyclass(frozen, subclass, module = "tautline._native")]
pub(crate) struct Events {
    events: Own<Arc<Mutex<tautline::Events>>>,
}

/// The next event, as a future.
struct NextEvent(Arc<Mutex<tautline::Events>>);

impl Future for NextEvent {
    type Output = Option<Event>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut events.next_async()).poll(context)
    }
}

#[pymethods]
impl Events {
    #[new]
    fn new(py: Python<'_>, link: &Bound<'_, Link>) -> PyResult<Self> {
        let events = link.get().interface(py)?.events();
        Ok(Self { events: Own::new(Arc::new(Mutex::new(events))) })
    }

    /// Returns the next event. None if the time is over, or no event will come any more.
    #[pyo3(signature = (timeout=None))]
    fn next(&self, py: Python<'_>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Py<PyAny>>> {
        let mut next = NextEvent(Arc::clone(self.events.get(py)?));
        let event = block(py, &mut next, arguments::timeout(timeout)?)?.flatten();
        event.map(|event| object_of(py, &event)).transpose()
    }

    /// Begins to wait for the next event.
    #[pyo3(name = "_begin")]
    fn begin(&self, py: Python<'_>) -> PyResult<Pending> {
        let next = NextEvent(Arc::clone(self.events.get(py)?));
        Ok(Pending::new(next, |py, event| match event {
            Some(event) => object_of(py, &event),
            None => Ok(py.None()),
        }))
    }

    /// How many events were dropped because nobody took them.
    #[getter]
    fn missed(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.events.get(py)?.lock().unwrap_or_else(PoisonError::into_inner).missed())
    }
}

/// Collects the attributes of an event.
struct Attributes<'py>(Bound<'py, PyDict>);

impl<'py> Attributes<'py> {
    fn with<T: IntoPyObject<'py>>(self, name: &str, value: T) -> PyResult<Self> {
        self.0.set_item(name, value)?;
        Ok(self)
    }

    fn text(self, name: &str, value: impl ToString) -> PyResult<Self> {
        self.with(name, value.to_string())
    }

    fn peer(self, peer: tautline::PeerId) -> PyResult<Self> {
        self.with("peer", PeerId(peer))
    }

    fn stream(self, kind: MessageType, channel: u16) -> PyResult<Self> {
        let kind = type_of(self.0.py(), kind)?;
        self.with("type", kind)?.with("channel", channel)
    }
}

fn object_of(py: Python<'_>, event: &Event) -> PyResult<Py<PyAny>> {
    let (kind, attributes) = parts(py, event)?;
    let class = PyModule::import(py, "tautline._types")?.getattr("Event")?;
    Ok(class.call((PyString::new(py, kind),), Some(&attributes.0))?.unbind())
}

/// The kind of an event, and its attributes.
fn parts<'py>(py: Python<'py>, event: &Event) -> PyResult<(&'static str, Attributes<'py>)> {
    let made = Attributes(PyDict::new(py));
    Ok(match event {
        Event::StateChanged { from, to, cause } => {
            ("state_changed", made.text("from_state", from)?.text("to_state", to)?.text("reason", cause)?)
        }
        Event::PeerConnected { peer, address, name, identity } => (
            "peer_connected",
            made.peer(*peer)?
                .text("address", address)?
                .text("name", name)?
                .with("identity", identity.as_deref())?,
        ),
        Event::PeerStale { peer } => ("peer_stale", made.peer(*peer)?),
        Event::PeerSilent { peer } => ("peer_silent", made.peer(*peer)?),
        Event::PeerReturned { peer } => ("peer_returned", made.peer(*peer)?),
        Event::PeerMoved { peer, from, to } => {
            ("peer_moved", made.peer(*peer)?.text("former_address", from)?.text("address", to)?)
        }
        Event::PathSize { peer, mtu } => ("path_size", made.peer(*peer)?.with("path_size", *mtu)?),
        Event::PeerRestarted { peer } => ("peer_restarted", made.peer(*peer)?),
        Event::PeerDisconnected { peer, reason } => {
            ("peer_disconnected", made.peer(*peer)?.text("reason", reason.name())?)
        }
        Event::PeerUnreachable { address, fault, problem } => {
            let made = made.text("reason", fault.name())?.text("problem", problem)?;
            ("peer_unreachable", made.with("address", address.map(|address| address.to_string()))?)
        }
        Event::SocketFailed { fault, problem } => {
            ("socket_failed", made.text("reason", fault.name())?.text("problem", problem)?)
        }
        Event::Waiting { missing } => ("waiting", made.text("problem", missing)?),
        Event::Moved { local, .. } => ("moved", made.text("address", local)?),
        Event::OtherWire { from } => ("other_wire", made.text("address", from)?),
        Event::NotLetIn { from, reason } => {
            ("not_let_in", made.text("address", from)?.text("reason", reason.name())?)
        }
        Event::NotAllowed { peer, message_type } => {
            ("not_allowed", made.peer(*peer)?.stream(*message_type, 0)?)
        }
        Event::KeyNotAccepted { server, .. } => ("key_not_accepted", made.text("address", server)?),
        Event::KeyNeeded { server } => ("key_needed", made.text("address", server)?),
        Event::KeyReplaced { peer } => ("key_replaced", made.peer(*peer)?),
        Event::Refused => ("refused", made),
        Event::NotGranted { part, problem, remedy } => {
            ("not_granted", made.text("name", part.name())?.text("problem", problem)?.text("remedy", remedy)?)
        }
        Event::KernelDropped { dropped, .. } => ("kernel_dropped", made.with("count", *dropped)?),
        Event::Superseded { peer, message_type, channel } => {
            ("superseded", made.peer(*peer)?.stream(*message_type, *channel)?)
        }
        Event::ReaderBehind { reader, waiting, age } => (
            "reader_behind",
            made.text("name", reader)?.with("count", *waiting)?.with("age", age.as_secs_f64())?,
        ),
        Event::CommandsUnguarded => ("commands_unguarded", made),
        Event::DeliveryFailed { peer, message_type, channel, outcome } => (
            "delivery_failed",
            made.peer(*peer)?.stream(*message_type, *channel)?.text("reason", outcome.name())?,
        ),
        Event::Watchdog(event) => ("watchdog", made.with("watchdog", change_of(py, event)?)?),
        Event::OwnerChanged { stream, from, to, reason } => (
            "owner_changed",
            made.stream(stream.message_type, stream.channel)?
                .with("former", from.map(PeerId))?
                .with("owner", to.map(PeerId))?
                .text("reason", reason.name())?,
        ),
        Event::NotOwner { peer, stream, owner } => (
            "not_owner",
            made.peer(*peer)?
                .stream(stream.message_type, stream.channel)?
                .with("owner", owner.map(PeerId))?,
        ),
        Event::StreamDenied { peer, stream } => {
            ("stream_denied", made.peer(*peer)?.stream(stream.message_type, stream.channel)?)
        }
        Event::ClaimEnded { peer, stream, outcome } => (
            "claim_ended",
            made.peer(*peer)?.stream(stream.message_type, stream.channel)?.text("reason", outcome.name())?,
        ),
        Event::SendFailed { error } => ("send_failed", made.text("problem", error)?),
        // An event that is newer than this file.
        other => ("other", made.text("problem", format!("{other:?}"))?),
    })
}

/// Returns a change of a watchdog as an object of Python.
pub(crate) fn change_of(py: Python<'_>, event: &WatchdogEvent) -> PyResult<Py<PyAny>> {
    let made = Attributes(PyDict::new(py));
    let made = made
        .with("watch", crate::watch::Watch(event.watch))?
        .text("watched", event.watched)?
        .with("peer", event.watched.peer.map(PeerId))?
        .text("state", crate::watch::state_name(event.state()))?;
    let (kind, made) = match event.change {
        WatchdogChange::Armed => ("armed", made),
        WatchdogChange::Tripped { late, missed } => {
            ("tripped", made.with("late", late.as_secs_f64())?.with("missed", missed)?)
        }
        WatchdogChange::Recovered { silence, cause, silences } => (
            "recovered",
            made.with("silence", silence.as_secs_f64())?.text("cause", cause)?.with("silences", silences)?,
        ),
        WatchdogChange::Refusing { silence, cause } => {
            ("refusing", made.with("silence", silence.as_secs_f64())?.text("cause", cause)?)
        }
        WatchdogChange::Reset => ("reset", made),
        _ => ("other", made),
    };
    let class = PyModule::import(py, "tautline._types")?.getattr("WatchdogEvent")?;
    Ok(class.call((kind,), Some(&made.0))?.unbind())
}
