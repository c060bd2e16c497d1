//! A network that translates addresses (NAT) between a client and its server: the server sees an address that may change.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Passes on every datagram both ways.
pub(crate) struct Translator {
    /// Where the client calls.
    pub(crate) address: SocketAddr,
    server: SocketAddr,
    near: Arc<UdpSocket>,
    client: Arc<Mutex<Option<SocketAddr>>>,
    /// The socket that the server sees. Nothing comes back through those before it.
    far: Arc<Mutex<Arc<Far>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

struct Far {
    socket: UdpSocket,
    is_over: AtomicBool,
    /// How many datagrams have come back through it that are as long as a challenge. docs/protocol.md §11.7.
    challenges: AtomicU64,
}

const CHALLENGE_LEN: usize = 45;

fn socket_towards(other: SocketAddr) -> UdpSocket {
    let any = if other.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let socket = UdpSocket::bind(any).expect("a free port");
    socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a positive time");
    socket
}

impl Translator {
    pub(crate) fn start(server: SocketAddr) -> Self {
        let near = Arc::new(socket_towards(server));
        let address = near.local_addr().expect("bound");
        let far = Arc::new(Mutex::new(Self::far(server)));
        let (client, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let mut translator = Self { address, server, near, client, far, stop, threads: Vec::new() };
        translator.pass_on();
        translator.pass_back(translator.present());
        translator
    }

    fn far(server: SocketAddr) -> Arc<Far> {
        let socket = socket_towards(server);
        socket.connect(server).expect("loopback has every address");
        Arc::new(Far { socket, is_over: AtomicBool::new(false), challenges: AtomicU64::new(0) })
    }

    /// The address at which the server sees the client now.
    pub(crate) fn seen_from(&self) -> SocketAddr {
        self.present().socket.local_addr().expect("bound")
    }

    fn present(&self) -> Arc<Far> {
        Arc::clone(&self.far.lock().expect("no panic"))
    }

    /// Lets the server see another address from now on.
    pub(crate) fn change(&mut self) {
        let next = Self::far(self.server);
        // Before the change, because to start a thread takes time.
        self.pass_back(Arc::clone(&next));
        let before = std::mem::replace(&mut *self.far.lock().expect("no panic"), next);
        before.is_over.store(true, Ordering::Relaxed);
    }

    /// How many challenges the server has sent to the present address.
    pub(crate) fn challenges(&self) -> u64 {
        self.present().challenges.load(Ordering::Relaxed)
    }

    fn pass_on(&mut self) {
        let (near, far) = (Arc::clone(&self.near), Arc::clone(&self.far));
        let (client, stop) = (Arc::clone(&self.client), Arc::clone(&self.stop));
        self.threads.push(std::thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while !stop.load(Ordering::Relaxed) {
                let Ok((len, from)) = near.recv_from(&mut buffer) else { continue };
                *client.lock().expect("no panic") = Some(from);
                let far = Arc::clone(&far.lock().expect("no panic"));
                let _ = far.socket.send(&buffer[..len]);
            }
        }));
    }

    /// Passes back what comes to this address, until it is over.
    fn pass_back(&mut self, far: Arc<Far>) {
        let (near, client) = (Arc::clone(&self.near), Arc::clone(&self.client));
        self.threads.push(std::thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while !far.is_over.load(Ordering::Relaxed) {
                let Ok(len) = far.socket.recv(&mut buffer) else { continue };
                far.challenges.fetch_add(u64::from(len == CHALLENGE_LEN), Ordering::Relaxed);
                let to = *client.lock().expect("no panic");
                if let Some(to) = to.filter(|_| !far.is_over.load(Ordering::Relaxed)) {
                    let _ = near.send_to(&buffer[..len], to);
                }
            }
        }));
    }
}

impl Drop for Translator {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.present().is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
