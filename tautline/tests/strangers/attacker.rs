//! The hostile programs. Each is a child process.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::common::sealed;
use tautline::MessageType;
use tautline_proto::SessionId;
use tautline_proto::wire::native::{
    Control, Frame, Head, Header, Heartbeat, Token, begin_datagram, begin_message, finish_message, parse,
    seal, write_control,
};

/// The sockets that an attacker uses at once.
const SOCKETS: usize = 64;

/// How long an attacker waits for an answer.
const ANSWER_WAIT: Duration = Duration::from_millis(10);

type Session = (UdpSocket, SessionId);

/// What an attacker knows.
struct Attacker {
    to: SocketAddr,
    end: Instant,
    /// How many datagrams it has sent, or sessions it has begun.
    sent: u64,
    sessions: u64,
    hosts: usize,
}

impl Attacker {
    fn goes_on(&self) -> bool {
        Instant::now() < self.end
    }

    /// A socket at an address of its own on this host.
    fn stranger(&mut self) -> UdpSocket {
        self.hosts += 1;
        let [_, a, b, c] = u32::try_from(self.hosts % 0xff_ffff).expect("small").to_be_bytes();
        socket(Ipv4Addr::new(127, a.max(1), b, c.max(2)))
    }

    fn strangers(&mut self, count: usize) -> Vec<UdpSocket> {
        (0..count).map(|_| self.stranger()).collect()
    }

    fn send(&mut self, socket: &UdpSocket, datagram: &[u8]) {
        self.sent += u64::from(socket.send_to(datagram, self.to).is_ok());
    }

    fn session(&mut self) -> SessionId {
        self.sessions += 1;
        SessionId::from_bits(self.sessions.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// The tokens that the server issues to these sockets.
    fn tokens(&mut self, sockets: Vec<UdpSocket>) -> Vec<(Session, Token)> {
        let callers: Vec<_> = sockets.into_iter().map(|socket| (socket, self.session())).collect();
        callers.iter().for_each(|(socket, session)| self.send(socket, &hello(*session)));
        callers.into_iter().filter_map(|caller| token(&caller.0).map(|token| (caller, token))).collect()
    }

    /// Opens sessions from these sockets, with a command in each echo. Returns those that were answered.
    fn shake_hands(&mut self, sockets: Vec<UdpSocket>) -> Vec<Session> {
        let echo = |attacker: &mut Self, ((socket, session), token): (Session, Token)| {
            attacker.send(&socket, &echo(session, token));
            (socket, session)
        };
        self.tokens(sockets).into_iter().map(|answered| echo(self, answered)).collect()
    }

    /// As [`shake_hands`](Self::shake_hands), as long as it takes: the server admits only so many at once.
    fn crowd(&mut self, count: usize, socket: impl Fn(&mut Self) -> UdpSocket) -> Vec<Session> {
        let mut crowd: Vec<Session> = Vec::new();
        while crowd.len() < count && self.goes_on() {
            let some = (0..(count - crowd.len()).min(16)).map(|_| socket(self)).collect();
            let begun = self.shake_hands(some);
            crowd.extend(begun.into_iter().filter(|(socket, session)| is_accepted(socket, *session)));
            self.keep_alive(&crowd, 1);
        }
        crowd
    }

    fn keep_alive(&mut self, crowd: &[Session], number: u32) {
        for (socket, session) in crowd {
            let alive = datagram(*session, number, &[Control::Heartbeat(Heartbeat::default())], None);
            self.send(socket, &alive);
        }
    }

    fn junk(&mut self) {
        let all = self.strangers(SOCKETS);
        let close = datagram(SessionId::from_bits(9), 0, &[Control::Close], None);
        let kinds = [vec![0xe7; 1200], b"junk".to_vec(), close];
        while self.goes_on() {
            all.iter().for_each(|socket| kinds.iter().for_each(|kind| self.send(socket, kind)));
        }
    }

    fn hellos(&mut self) {
        let all = self.strangers(SOCKETS);
        while self.goes_on() {
            all.iter().for_each(|socket| self.send(socket, &hello(SessionId::from_bits(self.sent))));
        }
    }

    /// Handshakes whose sockets are then closed, or stay open and silent.
    fn handshakes(&mut self, stay_open: bool) {
        let mut open = Vec::new();
        while self.goes_on() {
            let some = self.strangers(SOCKETS);
            let begun = self.shake_hands(some);
            if stay_open && open.len() < 1000 {
                open.extend(begun);
            }
        }
    }

    fn silent_peers(&mut self) {
        let _silent = self.crowd(200, Self::stranger);
        self.sleep_until_the_end();
    }

    /// One address with 1,100 ports, all alive.
    fn crowd_of_ports(&mut self) {
        let mut crowd = Vec::new();
        for number in 2.. {
            if !self.goes_on() {
                break;
            }
            let some = (0..(1100 - crowd.len()).min(SOCKETS)).map(|_| socket(Ipv4Addr::new(127, 9, 9, 9)));
            let begun = self.shake_hands(some.collect());
            crowd.extend(begun.into_iter().filter(|(socket, session)| is_accepted(socket, *session)));
            self.keep_alive(&crowd, number);
        }
    }

    /// A peer whose numbers leap, or whose messages are large.
    fn flood(&mut self, size: usize, step: u32) {
        let own = self.crowd(1, Self::stranger).pop();
        let (socket, session) = own.expect("the server answers");
        let mut sequence = 0u32;
        while self.goes_on() {
            sequence = sequence.wrapping_add(step);
            self.send(&socket, &datagram(session, sequence, &[], Some(size)));
        }
    }

    /// Echoes to a server whose table is full of peers that are alive.
    fn refusals(&mut self) {
        let crowd = self.crowd(super::SMALL_TABLE - 1, Self::stranger);
        for number in 2.. {
            if !self.goes_on() {
                break;
            }
            self.keep_alive(&crowd, number);
            let more = self.strangers(SOCKETS);
            let refused = self.tokens(more);
            let again = Instant::now() + Duration::from_millis(100);
            while Instant::now() < again && self.goes_on() {
                for ((socket, session), token) in &refused {
                    self.send(socket, &echo(*session, *token));
                }
            }
        }
    }

    /// Classic datagrams, each from another address.
    fn classic(&mut self) {
        let datagram = sealed(0, 1.5, "1");
        while self.goes_on() {
            let socket = self.stranger();
            self.send(&socket, &datagram);
        }
    }

    /// One classic datagram. Returns how many bytes that brings.
    fn reflector(&mut self) -> usize {
        let socket = self.stranger();
        self.send(&socket, &sealed(0, 1.5, "1"));
        let (mut bytes, mut buffer) = (0, [0; 2048]);
        while self.goes_on() {
            bytes += socket.recv(&mut buffer).unwrap_or(0);
        }
        bytes
    }

    /// 200 peers that are alive.
    fn audience(&mut self) {
        let crowd = self.crowd(super::AUDIENCE, Self::stranger);
        for number in 2.. {
            if !self.goes_on() {
                break;
            }
            self.keep_alive(&crowd, number);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn sleep_until_the_end(&self) {
        std::thread::sleep(self.end.saturating_duration_since(Instant::now()));
    }
}

/// Runs an attack. The order is its name, the port, and the milliseconds.
pub(crate) fn run(order: &str) {
    let [attack, port, ms] = order.split(';').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let mut attacker = Attacker {
        to: SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().expect("a port"))),
        end: Instant::now() + Duration::from_millis(ms.parse().expect("a number")),
        sent: 0,
        sessions: u64::from(std::process::id()) << 32,
        hosts: usize::try_from(std::process::id()).expect("64 bits") * 31,
    };
    match attack {
        "junk" => attacker.junk(),
        "hellos" => attacker.hellos(),
        "handshakes" => attacker.handshakes(false),
        "open handshakes" => attacker.handshakes(true),
        "silent peers" => attacker.silent_peers(),
        "crowd" => attacker.crowd_of_ports(),
        "leaps" => attacker.flood(8, 0x2000_0000),
        "large messages" => attacker.flood(60_000, 1),
        "refusals" => attacker.refusals(),
        "classic" => attacker.classic(),
        "reflector" => println!("reflected: {}", attacker.reflector()),
        "audience" => attacker.audience(),
        other => panic!("no attack {other}"),
    }
    println!("{attack}: {} sent", attacker.sent);
}

fn socket(host: Ipv4Addr) -> UdpSocket {
    let socket = UdpSocket::bind((host, 0)).expect("of this host");
    socket.set_read_timeout(Some(ANSWER_WAIT)).expect("a positive time");
    socket
}

fn datagram(session: SessionId, sequence: u32, frames: &[Control<'_>], message: Option<usize>) -> Vec<u8> {
    let mut bytes = Vec::new();
    begin_datagram(&mut bytes);
    frames.iter().for_each(|frame| write_control(&mut bytes, frame));
    if let Some(size) = message {
        let head = Head { message_type: MessageType::Command, ..Head::default() };
        let started = begin_message(&mut bytes, &head).expect("no texts");
        bytes.resize(bytes.len() + size, 1);
        assert!(finish_message(&mut bytes, started));
    }
    seal(&mut bytes, Header { session, sequence, from_server: false });
    bytes
}

fn hello(session: SessionId) -> Vec<u8> {
    datagram(session, 0, &[Control::Hello], None)
}

fn echo(session: SessionId, token: Token) -> Vec<u8> {
    datagram(session, 0, &[Control::Echo { token, name: "stranger" }], Some(8))
}

/// The token that the server has sent, if it comes.
fn token(socket: &UdpSocket) -> Option<Token> {
    let mut buffer = [0; 2048];
    let (len, _) = socket.recv_from(&mut buffer).ok()?;
    let (_, frames) = parse(&buffer[..len]).ok()?;
    frames.clone().find_map(|frame| match frame {
        Frame::Token(token) => Some(token),
        _ => None,
    })
}

/// Whether anything of the session comes: the server has taken it.
fn is_accepted(socket: &UdpSocket, session: SessionId) -> bool {
    let mut buffer = [0; 2048];
    let Ok((len, _)) = socket.recv_from(&mut buffer) else { return false };
    let refused = |frame: Frame<'_>| matches!(frame, Frame::Refused | Frame::UnknownSession);
    parse(&buffer[..len])
        .is_ok_and(|(header, frames)| header.session == session && !frames.clone().any(refused))
}
