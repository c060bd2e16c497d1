//! The simulated network, for `tautline.sim`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use tautline::sim::{self, Clock, NodeId, ReceivedMessage, SimEvent, config};
use tautline::{ContentType, MessageType, Payload, Role, SendError};

use crate::arguments::{self, Options};
use crate::config::impairments;
use crate::errors;
use crate::message::{from_json, type_of};
use crate::value::Content;

/// The most nodes of a world: each has an address of its own in 10.0.0.0/24.
const MAX_NODES: usize = 250;

const PORT: u16 = 9000;

/// Ends on a seeded network, in simulated time.
#[pyclass(frozen, module = "tautline._native")]
pub(crate) struct World {
    state: Mutex<State>,
}

struct State {
    world: sim::World,
    nodes: Vec<(NodeId, SocketAddr)>,
}

impl State {
    fn node(&self, node: usize) -> PyResult<NodeId> {
        let found = self.nodes.get(node).map(|(id, _)| *id);
        found.ok_or_else(|| PyIndexError::new_err(format!("there is no node {node}")))
    }
}

impl World {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_impairments(given: &Bound<'_, PyAny>) -> PyResult<sim::Impairments> {
    let made = impairments(given)?;
    made.check().map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(made)
}

#[pymethods]
impl World {
    #[new]
    fn new(seed: u64, impairments: &Bound<'_, PyAny>) -> PyResult<Self> {
        let world = sim::World::new(read_impairments(impairments)?, seed);
        Ok(Self { state: Mutex::new(State { world, nodes: Vec::new() }) })
    }

    /// Adds a server, or a client of this server. Returns its number.
    #[pyo3(signature = (name, server=None, drift_ppm=0))]
    fn add(&self, name: &str, server: Option<usize>, drift_ppm: i32) -> PyResult<usize> {
        let mut state = self.lock();
        let number = state.nodes.len();
        let last = u8::try_from(number + 1).ok().filter(|_| number < MAX_NODES);
        let last =
            last.ok_or_else(|| PyValueError::new_err(format!("a world has at most {MAX_NODES} nodes")))?;
        if drift_ppm.unsigned_abs() > sim::MAX_DRIFT_PPM.unsigned_abs() {
            let most = sim::MAX_DRIFT_PPM;
            return Err(PyValueError::new_err(format!(
                "drift_ppm: from -{most} to {most} is expected, not {drift_ppm}"
            )));
        }
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)), PORT);
        let calls = server.map(|server| state.node(server).map(|_| state.nodes[server].1)).transpose()?;
        let role = if calls.is_some() { Role::Client } else { Role::Server };
        let node = state.world.add(address, config(role, name), Clock { drift_ppm, ..Clock::default() });
        state.nodes.push((node, address));
        if let Some(server) = calls {
            state.world.dial(node, server);
        }
        Ok(number)
    }

    /// Sends a best-effort message to all peers of a node. Returns to how many.
    #[pyo3(signature = (node, value, r#type=None, **options), text_signature = "($self, node, value, type='data', **options)")]
    fn send(
        &self,
        py: Python<'_>,
        node: usize,
        value: &Bound<'_, PyAny>,
        r#type: Option<&Bound<'_, PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<usize> {
        let Options { metadata, .. } = Options::read(r#type, MessageType::Data, options)?;
        let payload = match Content::of(value)? {
            Content::Raw(bytes) => Payload::raw(bytes.as_bytes()),
            Content::Value(value) => Payload::json(&value)
                .map_err(|error| errors::encode_value(py, &SendError::Encode(error), value.0))?,
        };
        let mut state = self.lock();
        let node = state.node(node)?;
        let mut head = state.world.head(node, metadata.message_type);
        head.priority = metadata.priority;
        head.channel = metadata.channel;
        head.lifespan = metadata.lifespan;
        head.content_type = payload.content_type();
        Ok(state.world.send(node, &head, payload.bytes()))
    }

    /// Advances to this time, in seconds. Returns the messages that arrived: (node, time, time of making or None, data, type,
    /// channel, source, lifespan, whether late).
    fn advance<'py>(&self, py: Python<'py>, until: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let until = arguments::duration(until)?;
        let messages = PyList::empty(py);
        let mut state = self.lock();
        while let Some((node, event)) = state.world.next(until) {
            let SimEvent::Message(message) = event else { continue };
            let now = state.world.elapsed();
            let steady = state.world.clocks(node).steady;
            let made = message.made.map(|made| now.saturating_sub(steady.since(made)));
            let number = state.nodes.iter().position(|(id, _)| *id == node);
            messages.append(arrived(py, number, now, made, &message)?)?;
        }
        Ok(messages)
    }

    /// Restarts a node: it forgets everything, and tells nobody.
    fn restart(&self, node: usize) -> PyResult<()> {
        let mut state = self.lock();
        let node = state.node(node)?;
        state.world.restart(node);
        Ok(())
    }

    /// Changes what the network does, everywhere or from one node to another.
    #[pyo3(signature = (impairments, sender=None, receiver=None))]
    fn impair(
        &self,
        impairments: &Bound<'_, PyAny>,
        sender: Option<usize>,
        receiver: Option<usize>,
    ) -> PyResult<()> {
        let impairments = read_impairments(impairments)?;
        let mut state = self.lock();
        match (sender, receiver) {
            (Some(from), Some(to)) => {
                let direction = state.world.direction(state.node(from)?, state.node(to)?);
                state.world.network().impair(direction, impairments);
            }
            _ => state.world.network().impair_all(impairments),
        }
        Ok(())
    }

    /// The time since the beginning, in seconds.
    #[getter]
    fn now(&self) -> f64 {
        self.lock().world.elapsed().as_secs_f64()
    }

    /// How many peers a node can send to.
    fn peers(&self, node: usize) -> PyResult<usize> {
        let state = self.lock();
        Ok(state.world.peers(state.node(node)?).len())
    }

    /// A hash of everything that happened. The same seed and the same acts give the same trace.
    #[getter]
    fn trace(&self) -> u64 {
        self.lock().world.trace()
    }

    /// How many datagrams were sent.
    #[getter]
    fn datagrams(&self) -> u64 {
        self.lock().world.datagrams()
    }
}

fn arrived<'py>(
    py: Python<'py>,
    node: Option<usize>,
    now: Duration,
    made: Option<Duration>,
    message: &ReceivedMessage,
) -> PyResult<Bound<'py, PyAny>> {
    let data = match message.content_type {
        ContentType::Raw => PyBytes::new(py, &message.payload).into_any().unbind(),
        _ => from_json(py, &String::from_utf8_lossy(&message.payload))?,
    };
    let kind = type_of(py, message.message_type)?;
    let (made, lifespan) =
        (made.map(|made| made.as_secs_f64()), message.lifespan.map(|life| life.as_secs_f64()));
    let (channel, source, is_late) = (message.channel, message.source.as_str(), message.is_late);
    let parts = (node, now.as_secs_f64(), made, data, kind, channel, source, lifespan, is_late);
    Ok(parts.into_pyobject(py)?.into_any())
}
