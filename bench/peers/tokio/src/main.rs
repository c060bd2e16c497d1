//! tokio's UDP socket on a runtime of one thread. It shows the cost of an async program without any protocol.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::ExitCode;

use method::{ANSWER_TIMEOUT, Count, Latency, MAX_SIZE, Outcome, Peer, Ready, Throughput};
use tokio::net::UdpSocket;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, timeout_at};

struct Tokio;

fn main() -> ExitCode {
    method::main::<Tokio>()
}

impl Peer for Tokio {
    fn echo(_: &str, ready: Ready) -> Outcome<Infallible> {
        runtime()?.block_on(async {
            let socket = bind().await?;
            ready.at(socket.local_addr()?);
            let mut buffer = [0; MAX_SIZE];
            loop {
                let (len, from) = socket.recv_from(&mut buffer).await?;
                socket.send_to(&buffer[..len], from).await?;
            }
        })
    }

    fn sink(_: &str, ready: Ready, received: &'static Count) -> Outcome<Infallible> {
        runtime()?.block_on(async {
            let socket = bind().await?;
            ready.at(socket.local_addr()?);
            let mut buffer = [0; MAX_SIZE];
            loop {
                socket.recv(&mut buffer).await?;
                received.add(1);
            }
        })
    }

    fn latency(_: &str, to: &str, run: &mut Latency) -> Outcome<()> {
        runtime()?.block_on(async {
            let socket = connect(to).await?;
            let mut buffer = [0; MAX_SIZE];
            while let Some(message) = run.next() {
                socket.send(message).await?;
                let give_up_at = Instant::now() + ANSWER_TIMEOUT;
                loop {
                    let Ok(received) = timeout_at(give_up_at, socket.recv(&mut buffer)).await else {
                        run.lost();
                        break;
                    };
                    if run.answer(&buffer[..received?]) {
                        break;
                    }
                }
            }
            Ok(())
        })
    }

    fn throughput(_: &str, to: &str, run: &mut Throughput) -> Outcome<()> {
        runtime()?.block_on(async {
            let socket = connect(to).await?;
            while run.more() {
                socket.send(run.message()).await?;
            }
            Ok(())
        })
    }
}

fn runtime() -> Outcome<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

async fn bind() -> Outcome<UdpSocket> {
    Ok(UdpSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?)
}

async fn connect(to: &str) -> Outcome<UdpSocket> {
    let socket = bind().await?;
    socket.connect(to).await?;
    Ok(socket)
}
