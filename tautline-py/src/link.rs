//! A link: what the library calls an interface.

use std::collections::BTreeMap;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};
use tautline::{MessageType, Payload, UdpInterface, Watchdog};

use crate::arguments::{self, Channel, Count, Options};
use crate::config::Config;
use crate::errors;
use crate::jobs::{Jobs, Limits};
use crate::known::{self, HandlerFields, PartFields, WatchdogFields};
use crate::life::{self, Own};
use crate::message::Message;
use crate::peer::PeerId;
use crate::pending::Pending;
use crate::receiving;
use crate::sending::{send, sent, with_content};
use crate::wait::{block, repeat};
use crate::watch::{Changes, Watch};

/// One end of a link, from any thread.
#[pyclass(frozen, subclass, weakref, module = "tautline._native")]
pub(crate) struct Link {
    /// `None` only while it is dropped.
    interface: Option<Own<UdpInterface>>,
    /// The changes for the failsafe of the configuration.
    changes: Option<Py<Changes>>,
}

impl Link {
    pub(crate) fn interface(&self, py: Python<'_>) -> PyResult<&UdpInterface> {
        self.interface.as_ref().expect("it is there until it is dropped").get(py)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let interface = self.interface.take();
        // It may wait for handlers that run for a moment, and these may need the interpreter.
        Python::attach(|py| py.detach(move || drop(interface)));
    }
}

/// Returns the name of an outcome as a text of Python.
pub(crate) fn outcome(py: Python<'_>, name: &str) -> PyResult<Py<PyAny>> {
    Ok(PyString::new(py, name).into_any().unbind())
}

#[pymethods]
impl Link {
    #[new]
    fn new(py: Python<'_>, config: &Bound<'_, Config>) -> PyResult<Self> {
        let mut library_config = config.get().config.clone();
        let mut changes = None;
        if config.get().failsafe.is_some() {
            let (queue, failsafe) = Changes::failsafe();
            library_config = library_config.failsafe(failsafe);
            changes = Some(Py::new(py, queue)?);
        }
        let interface = UdpInterface::new(library_config).map_err(|error| errors::config(py, &error))?;
        Ok(Self { interface: Some(Own::new(interface)), changes })
    }

    /// The changes for the failsafe of the configuration.
    #[getter(_configured_changes)]
    fn configured_changes(&self, py: Python<'_>) -> Option<Py<Changes>> {
        self.changes.as_ref().map(|changes| changes.clone_ref(py))
    }

    /// Opens the link, and waits for the server's answer and for whatever else is not there yet (`connect_timeout`). Does
    /// nothing while connected. An error says what is wrong, and what would be right; you can try again.
    fn connect(&self, py: Python<'_>) -> PyResult<()> {
        let interface = self.interface(py)?;
        let mut opening = Box::pin(interface.connect_async());
        match block(py, &mut opening, None)? {
            Some(Err(error)) => Err(errors::connect(py, &error)),
            _ => Ok(()),
        }
    }

    /// As `connect`, with another configuration from now on. Its role must be the same. Ctrl-C does not end this wait.
    fn connect_with(&self, py: Python<'_>, config: &Bound<'_, Config>) -> PyResult<()> {
        let interface = self.interface(py)?;
        let config = config.get().config.clone();
        life::detached(py, || interface.connect_with(config))?.map_err(|error| errors::connect(py, &error))
    }

    /// Begins to open the link.
    #[pyo3(name = "_begin_connect")]
    fn begin_connect(&self, py: Python<'_>) -> PyResult<Pending> {
        let interface = self.interface(py)?.clone();
        let opening = async move { interface.connect_async().await };
        Ok(Pending::new(opening, |py, answer| match answer {
            Ok(()) => Ok(py.None()),
            Err(error) => Err(errors::connect(py, &error)),
        }))
    }

    /// Ends the connection: tells the peers, wakes everybody who waits, and closes the socket before it returns. Handlers and
    /// watchdogs stay; `connect` opens the link again.
    fn disconnect(&self, py: Python<'_>) -> PyResult<()> {
        let interface = self.interface(py)?;
        life::detached(py, || interface.disconnect())
    }

    /// Disconnects for good: armed watchdogs trip, handlers are unregistered, and those that run are waited for (a second).
    #[pyo3(name = "_cleanup")]
    fn cleanup(&self, py: Python<'_>) -> PyResult<()> {
        let interface = self.interface(py)?;
        life::detached(py, || interface.cleanup())
    }

    /// Ends watchdogs and handlers as `cleanup` does, on a thread of its own, and waits for nothing.
    #[pyo3(name = "_end")]
    fn end(&self, py: Python<'_>) -> PyResult<()> {
        let interface = self.interface(py)?.clone();
        std::thread::spawn(move || interface.cleanup());
        Ok(())
    }

    /// Sends a value: from a client to its server, from a server to all its clients or to one (`to`).
    ///
    /// A dict, list, str, int, float, bool or None is encoded with the configured codec. Anything with a buffer (bytes,
    /// bytearray, memoryview, array, numpy, ctypes) is sent raw, as it is (native wire). NaN and infinities are refused.
    ///
    ///     link.send({"force": 1.5}, "command", channel=3, priority="high", lifespan=0.02)
    ///
    /// type is what the message is for: "command", "data" (the default), "status", "error", "heartbeat", "acknowledgment" or
    /// "configuration". The options:
    ///
    ///     channel      0 to 65535: tells streams of one type apart, two joints for example
    ///     priority     "low", "normal" (the default), "high" or "critical"
    ///     delivery     "best_effort", "reliable" or "ordered"; `send_reliable` tells the outcome, too
    ///     lifespan     for how long it is valid: seconds, or a text such as "20ms". Afterwards it is dropped
    ///     age          how old the data are already, as lifespan
    ///     to           from a server: one peer, such as `message.peer`, or its address "10.0.0.5:9000"
    ///     message_id, correlation_id    a number or a text
    ///     source, destination           texts, for information
    ///     timestamp    the time stamp that travels, in seconds; by default the time of sending
    ///
    /// Returns "written" if the kernel has it, "queued" if it is written in a moment. A SendError says why it was not sent.
    #[pyo3(signature = (value, r#type=None, **options), text_signature = "($self, value, type='data', **options)")]
    fn send<'py>(
        &self,
        py: Python<'py>,
        value: &Bound<'py, PyAny>,
        r#type: Option<&Bound<'py, PyAny>>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyString>> {
        send(py, self.interface(py)?, value, Options::read(r#type, MessageType::Data, options)?)
    }

    /// Sends a value with metadata of the Python module's kind, and with a lifespan. The native wire has no empty texts.
    #[pyo3(name = "_send_as", signature = (value, metadata, lifespan=None, *, native=false))]
    fn send_as<'py>(
        &self,
        py: Python<'py>,
        value: &Bound<'py, PyAny>,
        metadata: &Bound<'py, PyAny>,
        lifespan: Option<&Bound<'py, PyAny>>,
        native: bool,
    ) -> PyResult<Bound<'py, PyString>> {
        let mut options = Options::of_metadata(metadata, native)?;
        options.metadata.lifespan = lifespan.map(arguments::duration).transpose()?;
        send(py, self.interface(py)?, value, options)
    }

    /// Answers a received message: goes to its sender, and carries its id as correlation id. Takes what `send` takes.
    #[pyo3(
        signature = (message, value, r#type=None, **options),
        text_signature = "($self, message, value, type='acknowledgment', **options)"
    )]
    fn reply<'py>(
        &self,
        py: Python<'py>,
        message: &Bound<'py, Message>,
        value: &Bound<'py, PyAny>,
        r#type: Option<&Bound<'py, PyAny>>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyString>> {
        let interface = self.interface(py)?;
        let message = message.get().inner(py)?;
        let metadata = &Options::read(r#type, MessageType::Acknowledgment, options)?.metadata;
        sent(py, &with_content!(py, interface, value, |content| interface.reply(message, content, metadata))?)
    }

    /// Takes the next message, the most urgent first. Waits for at most `timeout` seconds (None: as long as it takes; 0: not
    /// at all). TimedOut says that none came; Disconnected, that the link was disconnected meanwhile. Ctrl-C ends the wait.
    /// Any number of threads may wait; they are served in the order in which they came.
    #[pyo3(signature = (timeout=None))]
    fn receive(&self, py: Python<'_>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Message> {
        receiving::receive(py, self.interface(py)?, arguments::timeout(timeout)?)
    }

    /// Takes the next message if one is there, else returns None. Never waits.
    fn poll(&self, py: Python<'_>) -> PyResult<Option<Message>> {
        receiving::poll(py, self.interface(py)?)
    }

    /// Takes up to `limit` messages that are there, as a list. Waits for the first one for at most `timeout`. An empty list
    /// says that none came.
    #[pyo3(signature = (limit=Count(1000), timeout=None), text_signature = "($self, limit=1000, timeout=None)")]
    fn receive_many<'py>(
        &self,
        py: Python<'py>,
        limit: Count,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        receiving::receive_many(py, self.interface(py)?, limit.0, arguments::timeout(timeout)?)
    }

    /// Begins to wait for a message.
    #[pyo3(name = "_begin_receive")]
    fn begin_receive(&self, py: Python<'_>) -> PyResult<Pending> {
        let waiting = self.interface(py)?.receive_async();
        Ok(Pending::new(waiting, receiving::arrived))
    }

    /// Counts a receiver whose time is over. Returns a message that came in this moment.
    #[pyo3(name = "_last_look")]
    fn last_look(&self, py: Python<'_>) -> PyResult<Message> {
        receiving::last_look(py, self.interface(py)?)
    }

    /// Registers a handler, and returns its queue of jobs.
    #[pyo3(name = "_register", signature = (r#type, channel=None, *, concurrency=None, time_limit=None, backlog=None, unordered=false))]
    #[allow(clippy::too_many_arguments)] // keywords of one call
    fn register(
        &self,
        py: Python<'_>,
        r#type: &Bound<'_, PyAny>,
        channel: Option<Channel>,
        concurrency: Option<Count>,
        time_limit: Option<&Bound<'_, PyAny>>,
        backlog: Option<Count>,
        unordered: bool,
    ) -> PyResult<Jobs> {
        let interface = self.interface(py)?;
        let selector = arguments::selector(r#type, channel)?;
        let time_limit = time_limit.map(arguments::duration).transpose()?;
        let [concurrency, backlog] = [concurrency, backlog].map(|count| count.map(|Count(count)| count));
        let limits = Limits { concurrency, time_limit, backlog, is_unordered: unordered };
        let (jobs, handler) = Jobs::handler(&limits);
        life::detached(py, || interface.register_message_handler(selector, handler))?;
        Ok(jobs)
    }

    /// Unregisters a handler. Returns whether there was one. A call that runs finishes.
    #[pyo3(signature = (r#type, channel=None))]
    fn unregister(
        &self,
        py: Python<'_>,
        r#type: &Bound<'_, PyAny>,
        channel: Option<Channel>,
    ) -> PyResult<bool> {
        let interface = self.interface(py)?;
        let selector = arguments::selector(r#type, channel)?;
        life::detached(py, || interface.unregister_message_handler(selector))
    }

    /// The settings of handlers: how many at once, and for how long, in seconds.
    #[getter(_handler_limits)]
    fn handler_limits(&self, py: Python<'_>) -> PyResult<(usize, f64)> {
        let settings = self.interface(py)?.config().settings().map_err(|error| errors::config(py, &error))?;
        Ok((settings.handler_concurrency, settings.handler_time_limit.as_secs_f64()))
    }

    /// Registers a watchdog, and returns its id and its queue of changes.
    #[pyo3(name = "_begin_watch", signature = (
        r#type=None, timeout=None, *, channel=None, peer=None, identity=None, each_peer=false, armed_at_connect=false,
        misses=None, latches=None, reset_by=None
    ))]
    #[allow(clippy::too_many_arguments)] // keywords of one call
    fn begin_watch(
        &self,
        py: Python<'_>,
        r#type: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
        channel: Option<Channel>,
        peer: Option<&Bound<'_, PeerId>>,
        identity: Option<&str>,
        each_peer: bool,
        armed_at_connect: bool,
        misses: Option<(u32, u32)>,
        latches: Option<bool>,
        reset_by: Option<(Bound<'_, PyAny>, String)>,
    ) -> PyResult<(Watch, Changes)> {
        let interface = self.interface(py)?;
        let timeout = timeout.map(arguments::duration).transpose()?;
        let mut watchdog = match (r#type, timeout) {
            (Some(kind), Some(period)) => Watchdog::messages(arguments::selector(kind, channel)?, period),
            (Some(kind), None) => Watchdog::configured(arguments::selector(kind, channel)?),
            (None, Some(period)) => Watchdog::peer(period),
            (None, None) => {
                return Err(PyTypeError::new_err("watch: a type, a timeout or both are expected"));
            }
        };
        if let Some(peer) = peer {
            watchdog = watchdog.of_peer(peer.get().0);
        }
        if let Some(identity) = identity {
            watchdog = watchdog.of_identity(identity);
        }
        if each_peer {
            watchdog = watchdog.each_peer();
        }
        if armed_at_connect {
            watchdog = watchdog.armed_at_connect();
        }
        if let Some((may_miss, of)) = misses {
            watchdog = watchdog.misses(may_miss, of);
        }
        watchdog = match latches {
            Some(true) => watchdog.latches(),
            Some(false) => watchdog.recovers_by_itself(),
            None => watchdog,
        };
        if let Some((kind, source)) = reset_by {
            watchdog = watchdog.reset_by(arguments::selector(&kind, None)?, source);
        }
        let (changes, failsafe) = Changes::failsafe();
        let watch = life::detached(py, || interface.watch(watchdog, failsafe))?;
        Ok((Watch(watch.map_err(|error| errors::watch(py, &error))?), changes))
    }

    /// Ends a watchdog without tripping it. Returns whether there was one.
    fn unwatch(&self, py: Python<'_>, watch: &Bound<'_, Watch>) -> PyResult<bool> {
        let interface = self.interface(py)?;
        let watch = watch.get().0;
        life::detached(py, || interface.unwatch(watch))
    }

    /// Resets one watchdog that latches, or all of them: its messages pass again, if they were made after this call. Returns
    /// how many had tripped.
    #[pyo3(signature = (watch=None))]
    fn reset(&self, py: Python<'_>, watch: Option<&Bound<'_, Watch>>) -> PyResult<usize> {
        let interface = self.interface(py)?;
        let watch = watch.map(|watch| watch.get().0);
        life::detached(py, || match watch {
            Some(watch) => usize::from(interface.reset(watch)),
            None => interface.reset_all(),
        })
    }

    /// The watchdogs: the fields of WatchdogStatistics, in order.
    #[pyo3(name = "_watchdog_list")]
    fn watchdog_list(&self, py: Python<'_>) -> PyResult<Vec<WatchdogFields>> {
        Ok(self.interface(py)?.watchdogs().iter().map(known::watchdog).collect())
    }

    /// Begins to claim a stream of commands at the peers that receive it.
    #[pyo3(name = "_begin_claim", signature = (r#type, channel=Channel(0)), text_signature = "($self, type, channel=0)")]
    fn begin_claim(&self, py: Python<'_>, r#type: &Bound<'_, PyAny>, channel: Channel) -> PyResult<Pending> {
        let interface = self.interface(py)?;
        let stream = arguments::stream(r#type, channel)?;
        let claim =
            life::detached(py, || interface.claim(stream))?.map_err(|error| errors::claim(py, &error))?;
        Ok(Pending::new(claim, |py, ended: tautline::ClaimOutcome| outcome(py, ended.name())))
    }

    /// Begins to give up a stream that this link owns.
    #[pyo3(name = "_begin_release", signature = (r#type, channel=Channel(0)), text_signature = "($self, type, channel=0)")]
    fn begin_release(
        &self,
        py: Python<'_>,
        r#type: &Bound<'_, PyAny>,
        channel: Channel,
    ) -> PyResult<Pending> {
        let interface = self.interface(py)?;
        let stream = arguments::stream(r#type, channel)?;
        let claim =
            life::detached(py, || interface.release(stream))?.map_err(|error| errors::claim(py, &error))?;
        Ok(Pending::new(claim, |py, ended: tautline::ClaimOutcome| outcome(py, ended.name())))
    }

    /// Takes a stream away from its owner, at the end that receives it. Returns whether it had one.
    #[pyo3(signature = (r#type, channel=Channel(0)), text_signature = "($self, type, channel=0)")]
    fn free(&self, py: Python<'_>, r#type: &Bound<'_, PyAny>, channel: Channel) -> PyResult<bool> {
        let interface = self.interface(py)?;
        let stream = arguments::stream(r#type, channel)?;
        life::detached(py, || interface.free(stream))
    }

    /// The owners of the streams that have one: from (type, channel) to the peer.
    fn owners(&self, py: Python<'_>) -> PyResult<BTreeMap<(&'static str, u16), PeerId>> {
        let owners = self.interface(py)?.owners();
        let entry = |owner: &tautline::StreamOwner| {
            ((owner.stream.message_type.name(), owner.stream.channel), PeerId(owner.owner))
        };
        Ok(owners.iter().map(entry).collect())
    }

    /// The statistics, as a dict with the library's names.
    #[pyo3(name = "_statistics_dict")]
    fn statistics_dict(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let statistics = self.interface(py)?.statistics();
        let text = Payload::json(&statistics).map_err(|error| errors::encode(py, &error))?;
        crate::message::from_json(py, &String::from_utf8_lossy(text.bytes()))
    }

    /// The peers: for each the fields of Peer.
    #[pyo3(name = "_peer_list")]
    fn peer_list<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        self.interface(py)?.peers().iter().map(|peer| known::peer(py, peer)).collect()
    }

    /// The counts of each handler: the fields of HandlerStatistics, in order.
    #[pyo3(name = "_handler_list")]
    fn handler_list(&self, py: Python<'_>) -> PyResult<Vec<HandlerFields>> {
        Ok(self.interface(py)?.handler_statistics().iter().map(known::handler).collect())
    }

    /// What the machine granted: the fields of RealtimePart, in order.
    #[pyo3(name = "_realtime_list")]
    fn realtime_list(&self, py: Python<'_>) -> PyResult<Vec<PartFields>> {
        Ok(self.interface(py)?.realtime_report().parts().iter().map(known::part).collect())
    }

    /// The state of the connection: "disconnected", "connecting", "connected", "stale", "reconnecting", "error" or "closed".
    #[getter]
    fn state(&self, py: Python<'_>) -> PyResult<&'static str> {
        Ok(self.interface(py)?.connection_state().name())
    }

    /// The address of the socket, such as "127.0.0.1:9000". None while disconnected.
    #[getter]
    fn local_address(&self, py: Python<'_>) -> PyResult<Option<String>> {
        Ok(self.interface(py)?.local_address().map(|address| address.to_string()))
    }

    /// The configuration in force.
    #[getter]
    fn config(&self, py: Python<'_>) -> PyResult<Config> {
        Ok(Config { config: self.interface(py)?.config(), failsafe: None })
    }

    /// Writes the black box to a file in the folder `black_box_dir`, and returns its path (docs/incidents.md). A DumpError says
    /// that there is none, or that the system does not take the file.
    fn dump(&self, py: Python<'_>) -> PyResult<std::path::PathBuf> {
        let interface = self.interface(py)?;
        life::detached(py, || interface.dump())?
            .map_err(|error| errors::raise(py, "DumpError", error.to_string()))
    }

    /// Waits until the state of the connection is `state`, such as "closed", at most for `timeout` seconds. Returns whether it
    /// is. Ctrl-C ends the wait.
    #[pyo3(signature = (state, timeout=None))]
    fn wait_for_state(
        &self,
        py: Python<'_>,
        state: &Bound<'_, PyAny>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let interface = self.interface(py)?;
        let state = arguments::state(state)?;
        repeat(py, arguments::timeout(timeout)?, |slice| interface.wait_for_state(state, Some(slice)))
    }

    /// The address at which the metrics are served, if the setting `metrics` asks for them (docs/watching.md).
    #[getter]
    fn metrics_address(&self, py: Python<'_>) -> PyResult<Option<String>> {
        Ok(self.interface(py)?.metrics_address().map(|address| address.to_string()))
    }

    /// Reads the key files again, to replace a key without an outage (docs/security.md).
    fn reload_keys(&self, py: Python<'_>) -> PyResult<()> {
        let interface = self.interface(py)?;
        life::detached(py, || interface.reload_keys())?.map_err(|error| errors::config(py, &error))
    }

    /// Sends at once the messages that wait to share a datagram.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        let interface = self.interface(py)?;
        life::detached(py, || interface.flush())
    }
}
