//! ZeroMQ over TCP with the crate `zeromq`, which is written in Rust and does not use libzmq. It uses REQ and REP for
//! round trips, and PUSH and PULL for throughput.

use std::convert::Infallible;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use method::{ANSWER_TIMEOUT, Count, Latency, Outcome, Peer, Ready, Throughput};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use zeromq::{PullSocket, PushSocket, RepSocket, ReqSocket, Socket, SocketRecv, SocketSend, ZmqMessage};

/// How long the socket stays open after the last message, so that messages in flight arrive.
const LINGER: Duration = Duration::from_millis(200);

struct ZeroMq;

fn main() -> ExitCode {
    method::main::<ZeroMq>()
}

impl Peer for ZeroMq {
    fn echo(_: &str, ready: Ready) -> Outcome<Infallible> {
        runtime()?.block_on(async {
            let mut socket = RepSocket::new();
            ready.at(socket.bind("tcp://127.0.0.1:0").await?);
            loop {
                // A client that disconnects is an error here. The server then serves the next client.
                if let Ok(message) = socket.recv().await {
                    let _ = socket.send(message).await;
                }
            }
        })
    }

    fn sink(_: &str, ready: Ready, received: &'static Count) -> Outcome<Infallible> {
        runtime()?.block_on(async {
            let mut socket = PullSocket::new();
            ready.at(socket.bind("tcp://127.0.0.1:0").await?);
            loop {
                if socket.recv().await.is_ok() {
                    received.add(1);
                }
            }
        })
    }

    fn latency(_: &str, to: &str, run: &mut Latency) -> Outcome<()> {
        runtime()?.block_on(async {
            let mut socket = ReqSocket::new();
            socket.connect(to).await?;
            while let Some(message) = run.next() {
                socket.send(ZmqMessage::from(Bytes::copy_from_slice(message))).await?;
                // A request without an answer leaves REQ unusable, so this ends the run.
                let answer = timeout(ANSWER_TIMEOUT, socket.recv()).await??;
                if !answer.get(0).is_some_and(|bytes| run.answer(bytes)) {
                    return Err("another message came back".into());
                }
            }
            Ok(())
        })
    }

    fn throughput(_: &str, to: &str, run: &mut Throughput) -> Outcome<()> {
        runtime()?.block_on(async {
            let mut socket = PushSocket::new();
            socket.connect(to).await?;
            let message = Bytes::copy_from_slice(run.message());
            while run.more() {
                socket.send(ZmqMessage::from(message.clone())).await?;
            }
            tokio::time::sleep(LINGER).await;
            Ok(())
        })
    }
}

fn runtime() -> Outcome<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}
