//! A thread-safe UDP interface for real-time control.
//!
//! Controllers, plants, robots and test benches exchange small messages, and must know at once when the other end is gone.
//! A [`UdpInterface`] is a server with many peers, or a client of one server:
//!
//! ```
//! use std::time::Duration;
//! use tautline::{Config, Handler, MessageType, Metadata};
//! use tautline::{create_udp_client, create_udp_server};
//!
//! // The plant answers every command with its state, on the driver's own thread.
//! let plant = create_udp_server(Config::server("127.0.0.1:0").name("plant"))?;
//! plant.register_message_handler(
//!     MessageType::Command,
//!     Handler::inline(|_command, reply| {
//!         let _ = reply.send(&[0.1, 0.0], &Metadata::status());
//!     }),
//! );
//! plant.connect()?;
//!
//! let server = plant.local_address().expect("connected");
//! let controller = create_udp_client(Config::client(server).name("controller"))?;
//! controller.connect()?;
//! controller.send(&1.5, &Metadata::command())?;
//! let state: [f64; 2] = controller.receive(Some(Duration::from_secs(1)))?.decode()?;
//! assert_eq!(state, [0.1, 0.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - You send a value with its [`Metadata`], and receive a [`Message`]. An inline handler gets a [`MessageRef`].
//! - [`Handler`] has the three kinds of handlers.
//! - [`UdpInterface::statistics`] counts everything, and [`UdpInterface::events`] tells what happens.
//! - [`Config`] has every setting; docs/configuration.md has them in a table.
//! - The library prints nothing. It emits at most twenty `tracing` events a second.
//!
//! # Cargo features
//!
//! - `secure`: secured links. It is on by default, and the others are off.
//! - `toml`: configuration from TOML.
//! - `msgpack` and `cbor`: codecs beside JSON.
//! - `sim`: simulated networks for tests.
//! - `metrics`: figures over HTTP, for Prometheus and for people.

pub mod black_box;
mod config;
mod connection;
mod cycle;
mod driver;
mod error;
mod handlers;
mod interface;
mod machine;
mod mcap;
mod message;
#[cfg(feature = "metrics")]
mod metrics;
mod payload;
mod receiving;
pub mod recording;
mod sending;
mod shared;
mod sync;
#[cfg(test)]
mod tests;
mod watchdog;

pub use config::{
    Allow, ByteSize, CardName, Config, ConfigError, Cpus, CpusError, DrivenBy, DurationError, Endpoint,
    EndpointError, EndpointText, Failsafe, FilePath, Folder, History, InboxPolicy, Key, KeyHolder, KeyPath,
    LocalAddress, LocalAddressError, MetricsAddress, Mtu, Profile, Qos, Role, Selector, Settings,
    SilenceCause, StreamKey, Streams, WaitPolicy, WatchId, WatchdogChange, WatchdogEvent, WatchdogState,
    Watched, Wire, parse_duration,
};
#[cfg(feature = "secure")]
pub use config::{KeyFileError, SecretKey, SecretKeyError};
pub use cycle::{Cycle, CycleStats, CycleWait, PeriodError, Wake};
pub use driver::TURN_BUDGET;
pub use error::{ConnectError, SendError, Unsupported};
pub use handlers::{HandlerFuture, HandlerStats};
pub use interface::caller_driven::{Driver, DriverSocket};
pub use interface::handler::{Handler, QueuedHandler};
pub use interface::loop_reader::LoopReader;
#[cfg(feature = "metrics")]
pub use interface::metrics::MetricsServer;
pub use interface::protocol::CommunicationProtocol;
pub use interface::publisher::{DatedPublisher, Publisher};
pub use interface::{UdpInterface, create_udp_client, create_udp_server};
#[cfg(windows)]
#[doc(hidden)]
pub use machine::console::on_console_event;
pub use machine::fault::{SocketFault, SocketFaults};
pub use machine::realtime::{PartOutcome, PartReport, RealtimePart, RealtimeReport};
#[doc(hidden)]
pub use machine::socket::SocketsWaiter;
#[doc(hidden)]
pub use machine::socket::options::SocketOption;
#[doc(hidden)]
pub use machine::socket::server::ServerSocket;
pub use message::borrowed::MessageRef;
pub use message::made::MadeAt;
pub use message::metadata::Metadata;
pub use message::target::Target;
pub use message::{Arrival, Message};
pub use payload::{Content, DecodeError, EncodeError, Payload, PayloadLimits, Raw};
pub use receiving::inbox::{InboxStats, Receive, ReceiveError};
pub use receiving::requests::{Request, RequestError};
pub use sending::deliveries::DeliveryStats;
pub use sending::link::Sent;
pub use sending::receipt::Receipt;
pub use sending::reply::Reply;
pub use sending::room::Room;
pub use shared::black_box::DumpError;
pub use shared::directory::PeerInfo;
pub use shared::events::{Event, Reader};
pub use shared::ownership::{Claim, ClaimError, StreamOwner};
pub use shared::statistics::Statistics;
pub use shared::subscribers::{Events, NextEvent};
pub use tautline_proto::cycle::{Following, LockState};
pub use tautline_proto::endpoint::{ClaimOutcome, Outcome, OwnerReason, RemovalReason};
pub use tautline_proto::json::{JsonFault, NonFinite};
#[cfg(feature = "sim")]
pub use tautline_proto::sim;
pub use tautline_proto::wire::native::BadText;
pub use tautline_proto::{
    Cause, ConnectionState, ContentType, Delivery, DropReason, Drops, Id, Instant, MessageType, Network,
    NetworkError, PathStats, PeerId, PeerRxStats, PeerTxStats, Priority, Rights, SessionId, StreamId,
    Timestamp, UnknownName, WallTime,
};

pub use watchdog::{WatchError, Watchdog, WatchdogStats};

/// The README's program compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// The programs in docs/safety.md run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/safety.md")]
struct Safety;

/// The program in docs/recording.md runs.
#[cfg(doctest)]
#[doc = include_str!("../../docs/recording.md")]
struct Recording;

/// The program in docs/incidents.md runs.
#[cfg(doctest)]
#[doc = include_str!("../../docs/incidents.md")]
struct Incidents;

/// The programs in docs/porting.md compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/porting.md")]
struct Porting;

/// The programs in docs/realtime.md run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/realtime.md")]
struct Realtime;

/// The program in docs/watching.md runs.
#[cfg(all(doctest, feature = "metrics"))]
#[doc = include_str!("../../docs/watching.md")]
struct Watching;

/// The programs in docs/handlers.md run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/handlers.md")]
struct Handlers;
