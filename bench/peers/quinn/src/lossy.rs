//! A socket of quinn that loses some of the datagrams that it reads.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use method::Loss;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

#[derive(Debug)]
pub(crate) struct Lossy {
    inner: Arc<dyn AsyncUdpSocket>,
    loss: Mutex<Loss>,
}

impl Lossy {
    pub(crate) fn new(inner: Arc<dyn AsyncUdpSocket>, loss: Loss) -> Self {
        Self { inner, loss: Mutex::new(loss) }
    }
}

impl AsyncUdpSocket for Lossy {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = self.inner.poll_recv(cx, bufs, meta);
        if let Poll::Ready(Ok(count)) = received {
            let mut loss = self.loss.lock().unwrap_or_else(PoisonError::into_inner);
            for (buffer, meta) in bufs.iter_mut().zip(meta).take(count) {
                lose(&mut loss, buffer, meta);
            }
        }
        received
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

/// Loses some of the datagrams that were read together (GRO): the others move together in the buffer. Each has `stride` bytes but the
/// last, so a shorter one stays the last.
fn lose(loss: &mut Loss, buffer: &mut [u8], meta: &mut RecvMeta) {
    let (mut kept, mut at) = (0, 0);
    while at < meta.len {
        let end = (at + meta.stride.max(1)).min(meta.len);
        if !loss.takes_next() {
            buffer.copy_within(at..end, kept);
            kept += end - at;
        }
        at = end;
    }
    meta.len = kept;
}
