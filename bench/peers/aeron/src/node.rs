//! One end: a media driver, its client, and the code that drives both.

use std::ffi::CString;
use std::fmt;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

use method::Outcome;
use rusteron_client::{
    Aeron, AeronContext, AeronExclusivePublication, AeronSubscription, BackoffIdleStrategy, Handlers,
    IdleStrategy,
};
use rusteron_media_driver::bindings::aeron_threading_mode_enum::AERON_THREADING_MODE_INVOKER;
use rusteron_media_driver::{AeronDriver, AeronDriverContext};

const STREAM: i32 = 1001;

/// The MTU: what Ethernet carries, as a multiple of 32. With the default of 1408, a message of 1400 bytes would need
/// two fragments.
const MTU: usize = 1472;

/// How long the driver and the connection may take to start.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// How long the driver keeps working after the last message, so that messages in flight arrive.
const LINGER: Duration = Duration::from_millis(500);

/// The number of messages after which an invoked driver works, so that it can pack them.
const BATCH: u32 = 256;

/// The addresses of the two subscriptions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) there: SocketAddr,
    pub(crate) back: SocketAddr,
}

impl Ports {
    /// Returns two ports that were free a moment ago. Both ends must know them in advance.
    pub(crate) fn free() -> Outcome<Self> {
        let [there, back] = [(); 2].map(|()| UdpSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0))));
        Ok(Self { there: there?.local_addr()?, back: back?.local_addr()? })
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.there, self.back)
    }
}

impl FromStr for Ports {
    type Err = Box<dyn std::error::Error>;

    fn from_str(text: &str) -> Outcome<Self> {
        let (there, back) = text.split_once('/').ok_or("two addresses are needed")?;
        Ok(Self { there: there.parse()?, back: back.parse()? })
    }
}

/// One end. The order of the fields matters: the client is dropped before its driver, and both before their directory.
pub(crate) struct Node {
    aeron: Aeron,
    driver: AeronDriver,
    is_invoked: bool,
    idle: BackoffIdleStrategy,
    unsent: u32,
    directory: Directory,
}

/// The directory of the memory that driver and client share. It is removed when dropped.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Node {
    pub(crate) fn start(mode: &str) -> Outcome<Self> {
        let is_invoked = match mode {
            "threads" => false,
            "invoker" => true,
            other => return Err(format!("{other}: the modes are threads and invoker").into()),
        };
        let path = PathBuf::from(format!("/dev/shm/tautline-bench-aeron-{}", std::process::id()));
        let directory = Directory(path);
        let name = CString::new(directory.0.to_str().ok_or("not a name")?)?;
        let driver = start_driver(&name, is_invoked)?;
        let context = AeronContext::new()?;
        context.set_dir(&name)?;
        context.set_use_conductor_agent_invoker(is_invoked)?;
        let aeron = Aeron::new(&context)?;
        aeron.start()?;
        Ok(Self { aeron, driver, is_invoked, idle: BackoffIdleStrategy::new(), unsent: 0, directory })
    }

    pub(crate) fn subscribe(&mut self, at: SocketAddr) -> Outcome<AeronSubscription> {
        let asked =
            self.aeron.async_add_subscription(&channel(at)?, STREAM, Handlers::NONE, Handlers::NONE)?;
        self.until("the driver gives no subscription", || asked.poll().ok().flatten())
    }

    pub(crate) fn publish(&mut self, to: SocketAddr) -> Outcome<AeronExclusivePublication> {
        let asked = self.aeron.async_add_exclusive_publication(&channel(to)?, STREAM)?;
        self.until("the driver gives no publication", || asked.poll().ok().flatten())
    }

    /// Drives this end until `poll` returns a value.
    pub(crate) fn until<T>(&mut self, complaint: &str, mut poll: impl FnMut() -> Option<T>) -> Outcome<T> {
        let give_up_at = Instant::now() + TIME_LIMIT;
        while Instant::now() < give_up_at {
            if let Some(value) = poll() {
                return Ok(value);
            }
            self.work(0)?;
        }
        Err(complaint.into())
    }

    /// Drives the media driver and the conductor in mode `invoker`. In mode `threads` it backs off if nothing was
    /// `done`.
    pub(crate) fn work(&mut self, done: i32) -> Outcome<()> {
        if self.is_invoked {
            self.unsent = 0;
            self.driver.main_do_work()?;
            self.aeron.main_do_work()?;
        } else {
            self.idle.idle(done);
        }
        Ok(())
    }

    /// Notes that a message was sent. The driver works while the program waits for an answer, or after a batch of
    /// messages.
    pub(crate) fn sent(&mut self) -> Outcome<()> {
        self.unsent += 1;
        if self.unsent >= BATCH { self.work(1) } else { Ok(()) }
    }

    pub(crate) fn linger(&mut self) -> Outcome<()> {
        let end = Instant::now() + LINGER;
        while Instant::now() < end {
            self.work(0)?;
        }
        Ok(())
    }

    /// Returns a function that removes the directory. A server calls it at its end, because it does not drop the node.
    pub(crate) fn cleaning(&self) -> impl FnOnce() + Send + use<> {
        let directory = self.directory.0.clone();
        move || drop(Directory(directory))
    }
}

fn start_driver(directory: &CString, is_invoked: bool) -> Outcome<AeronDriver> {
    let context = AeronDriverContext::new()?;
    context.set_dir(directory)?;
    context.set_dir_delete_on_start(true)?;
    if is_invoked {
        context.set_threading_mode(AERON_THREADING_MODE_INVOKER)?;
    }
    let driver = AeronDriver::new(&context)?;
    driver.start(is_invoked)?;
    if is_invoked {
        // The client checks that the driver is alive.
        driver.main_do_work()?;
    }
    Ok(driver)
}

fn channel(address: SocketAddr) -> Outcome<CString> {
    Ok(CString::new(format!("aeron:udp?endpoint={address}|mtu={MTU}"))?)
}
