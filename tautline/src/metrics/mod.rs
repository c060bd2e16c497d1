//! Serves what is measured: text for Prometheus, and a live page for people.
//!
//! Called by `connection` (the setting `metrics`) and `interface` ([`MetricsServer`](crate::MetricsServer)). A thread of its own
//! looks at the links a few times a second; whoever asks gets what that thread saw last. So no request touches a link. It takes
//! no request that changes anything.

mod http;
mod look;
mod percentiles;
mod prometheus;
mod published;
mod serving;

pub(crate) use look::Source;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, AtomicBool, Ordering, wait_for};
use published::Published;

/// How often the thread looks at the links. Heartbeats, which bring round trips, come less often by default.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long the end waits for its own call, which wakes the thread that accepts connections.
const WAKE_WITHIN: Duration = Duration::from_millis(500);

/// A running server. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    published: Arc<Published>,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Listens at `address`, and serves no link yet.
    pub(crate) fn start(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let (published, is_over) = (Arc::new(Published::default()), Arc::new(AtomicBool::new(false)));
        let mut server = Self { address, published, is_over, threads: Vec::new() };
        let (published, is_over) = (Arc::clone(&server.published), Arc::clone(&server.is_over));
        server.spawn("metrics-look", move || {
            while !is_over.load(Ordering::Acquire) {
                published.look();
                published.pause(LOOK_EVERY);
            }
        })?;
        let (published, is_over) = (Arc::clone(&server.published), Arc::clone(&server.is_over));
        server.spawn("metrics-http", move || serving::serve(&listener, address, &published, &is_over))?;
        Ok(server)
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let work = move || {
            crate::machine::be_nice();
            work();
        };
        self.threads.push(thread::Builder::new().name(name.to_owned()).spawn(work)?);
        Ok(())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Shows a link. A link of the same source is replaced.
    pub(crate) fn show(&self, source: Source) {
        self.published.show(source);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        self.published.end();
        // The thread that accepts waits for a connection.
        let mut here = self.address;
        if here.ip().is_unspecified() {
            here.set_ip(if here.is_ipv4() {
                [127, 0, 0, 1].into()
            } else {
                std::net::Ipv6Addr::LOCALHOST.into()
            });
        }
        let is_awake = TcpStream::connect_timeout(&here, WAKE_WITHIN).is_ok();
        let own = thread::current().id();
        for thread in self.threads.drain(..).filter(|thread| is_awake && thread.thread().id() != own) {
            wait_for(thread);
        }
    }
}
