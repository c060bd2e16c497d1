//! quinn's unreliable datagrams with default settings. QUIC encrypts them and controls congestion. In the modes `reliable-P` the
//! messages go through a stream, and each end loses P percent of the datagrams that it reads.
//!
//! The server creates its certificate at the start and passes it to the client after the address.

mod lossy;
mod reliable;

use std::convert::Infallible;
use std::net::{SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lossy::Lossy;
use method::{ANSWER_TIMEOUT, Count, Latency, Loss, Outcome, Peer, Ready, Throughput};
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, Runtime as _, ServerConfig, TokioRuntime};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, timeout_at};

/// How long the connection stays open after the last message, so that messages in flight arrive.
const LINGER: Duration = Duration::from_millis(200);

/// How long QUIC may take to discover the largest datagram size, and how often the program checks it.
const TIME_LIMIT: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(5);

struct Quinn;

fn main() -> ExitCode {
    method::main::<Quinn>()
}

impl Peer for Quinn {
    fn echo(mode: &str, ready: Ready) -> Outcome<Infallible> {
        runtime()?.block_on(serve(mode, ready, async |connection| {
            while let Ok(message) = connection.read_datagram().await {
                if connection.send_datagram(message).is_err() {
                    return;
                }
            }
        }))
    }

    fn sink(mode: &str, ready: Ready, received: &'static Count) -> Outcome<Infallible> {
        if !mode.is_empty() {
            return runtime()?.block_on(serve(mode, ready, async |connection| {
                if let Ok(stream) = connection.accept_uni().await {
                    let _ = reliable::count(stream, received).await;
                }
                connection.closed().await;
            }));
        }
        runtime()?.block_on(serve(mode, ready, async |connection| {
            while connection.read_datagram().await.is_ok() {
                received.add(1);
            }
        }))
    }

    fn latency(mode: &str, to: &str, run: &mut Latency) -> Outcome<()> {
        runtime()?.block_on(async {
            let (_endpoint, connection) = connect(mode, to).await?;
            while let Some(message) = run.next() {
                connection.send_datagram(Bytes::copy_from_slice(message))?;
                let give_up_at = Instant::now() + ANSWER_TIMEOUT;
                loop {
                    let Ok(received) = timeout_at(give_up_at, connection.read_datagram()).await else {
                        run.lost();
                        break;
                    };
                    if run.answer(&received?) {
                        break;
                    }
                }
            }
            Ok(())
        })
    }

    fn throughput(mode: &str, to: &str, run: &mut Throughput) -> Outcome<()> {
        runtime()?.block_on(async {
            let (_endpoint, connection) = connect(mode, to).await?;
            if !mode.is_empty() {
                return reliable::send(&connection, run).await;
            }
            let message = Bytes::copy_from_slice(run.message());
            wait_for_room(&connection, message.len()).await?;
            while run.more() {
                // Waits for room. The plain call would drop the oldest datagrams.
                connection.send_datagram_wait(message.clone()).await?;
            }
            tokio::time::sleep(LINGER).await;
            Ok(())
        })
    }
}

fn runtime() -> Outcome<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

fn open(mode: &str, config: Option<ServerConfig>) -> Outcome<Endpoint> {
    let socket = UdpSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let runtime = Arc::new(TokioRuntime);
    if mode.is_empty() {
        return Ok(Endpoint::new(EndpointConfig::default(), config, socket, runtime)?);
    }
    let lossy = Lossy::new(runtime.wrap_udp_socket(socket)?, Loss::of_mode(mode)?);
    let endpoint = EndpointConfig::default();
    Ok(Endpoint::new_with_abstract_socket(endpoint, config, Arc::new(lossy), runtime)?)
}

/// Serves one connection after the other.
async fn serve(mode: &str, ready: Ready, talk: impl AsyncFn(Connection)) -> Outcome<Infallible> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = ServerConfig::with_single_cert(vec![made.cert.der().clone()], key.into())?;
    let endpoint = open(mode, Some(config))?;
    ready.at(format!("{}/{}", endpoint.local_addr()?, to_hex(made.cert.der())));
    loop {
        let incoming = endpoint.accept().await.ok_or("the endpoint is closed")?;
        talk(incoming.await?).await;
    }
}

async fn connect(mode: &str, to: &str) -> Outcome<(Endpoint, Connection)> {
    let (address, certificate) = to.split_once('/').ok_or("the certificate is missing")?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(from_hex(certificate)?))?;
    let endpoint = open(mode, None)?;
    let config = ClientConfig::with_root_certificates(Arc::new(roots))?;
    let connection = endpoint.connect_with(config, address.parse()?, "localhost")?.await?;
    Ok((endpoint, connection))
}

/// Waits until the path is known to carry the message. QUIC starts with datagrams of up to 1200 bytes.
async fn wait_for_room(connection: &Connection, size: usize) -> Outcome<()> {
    let give_up_at = Instant::now() + TIME_LIMIT;
    while connection.max_datagram_size().is_none_or(|most| most < size) {
        if Instant::now() >= give_up_at {
            return Err(format!("the path has no room for datagrams of {size} bytes").into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Outcome<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?)).collect()
}
