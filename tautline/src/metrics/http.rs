//! The little of HTTP/1.1 that the server speaks: one GET or HEAD on each connection, without a body.
//!
//! A connection has a time and a number of bytes for its request, and a time for the answer. So a slow client holds nothing up.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The longest request, in bytes. Browsers send about one thousand.
const LONGEST_REQUEST: usize = 8_192;

/// How long a request may take to come, and an answer to go.
const REQUEST_WITHIN: Duration = Duration::from_secs(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Only the page's own files, from this server. No file can be framed, sent on, or guessed to be something else.
const SECURITY: &str = "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n\
    X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nCross-Origin-Resource-Policy: same-origin\r\n\
    Cache-Control: no-store\r\n";

/// A request that was understood.
#[derive(Debug, PartialEq)]
pub(super) struct Request {
    pub(super) path: String,
    /// The answer has no body (HEAD).
    pub(super) head_only: bool,
}

/// Why a request is refused: the status, and a sentence.
#[derive(Debug, PartialEq)]
pub(super) struct Refusal(pub(super) &'static str, pub(super) &'static str);

/// Reads a request. `Ok(Err)`: it is to be refused.
pub(super) fn read(stream: &mut TcpStream, here: SocketAddr) -> io::Result<Result<Request, Refusal>> {
    let deadline = Instant::now() + REQUEST_WITHIN;
    let (mut bytes, mut piece) = (Vec::new(), [0; 1_024]);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => bytes.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            return Ok(parse(&bytes[..end], here));
        }
        if bytes.len() > LONGEST_REQUEST {
            return Ok(Err(Refusal("431 Request Header Fields Too Large", "the request is too long")));
        }
    }
}

/// Understands the lines of a request.
fn parse(head: &[u8], here: SocketAddr) -> Result<Request, Refusal> {
    const BAD: Refusal = Refusal("400 Bad Request", "this is not a request of HTTP/1.1");
    let head = std::str::from_utf8(head).map_err(|_| BAD)?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1" | "HTTP/1.0"), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(BAD);
    };
    let mut hosts = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("host").then(|| value.trim())
    });
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(BAD) };
    if !is_this_host(host, here) {
        // A page of another site may have had its name lead here (DNS rebinding).
        let why = "the Host header names another host: use the address of this server, or localhost";
        return Err(Refusal("421 Misdirected Request", why));
    }
    if !matches!(method, "GET" | "HEAD") {
        return Err(Refusal("405 Method Not Allowed", "this server only shows: use GET"));
    }
    let path = target.split('?').next().unwrap_or_default().to_owned();
    Ok(Request { path, head_only: method == "HEAD" })
}

/// Whether a Host header names this host: by an address, as `localhost`, or, if the server is for other hosts too, by the
/// host's own name. Any other name may be one that a stranger's page made lead here.
fn is_this_host(host: &str, here: SocketAddr) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address =
        name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name).parse::<IpAddr>();
    match address {
        Ok(address) => !here.ip().is_loopback() || address.is_loopback(),
        Err(_) if name.eq_ignore_ascii_case("localhost") => true,
        Err(_) if here.ip().is_loopback() => false,
        Err(_) => is_own_name(name, &crate::machine::host_name()),
    }
}

/// Whether a name is the host's own, with or without a domain of the local network.
fn is_own_name(name: &str, own: &str) -> bool {
    let name = name.strip_suffix(".local").unwrap_or(name);
    !own.is_empty() && name.eq_ignore_ascii_case(own)
}

/// Writes an answer.
pub(super) fn answer(
    stream: &mut TcpStream,
    status: &str,
    content_type: &str,
    body: &[u8],
    head_only: bool,
) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n{SECURITY}\r\n",
        body.len()
    );
    write(stream, &[head.as_bytes(), if head_only { b"" } else { body }].concat())
}

/// Writes the head of an endless answer of server-sent events.
pub(super) fn begin_events(stream: &mut TcpStream) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n{SECURITY}\r\nretry: 1000\n\n"
    );
    write(stream, head.as_bytes())
}

/// Writes bytes, within the time that an answer has.
pub(super) fn write(stream: &mut TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    let deadline = Instant::now() + ANSWER_WITHIN;
    while !bytes.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_write_timeout(Some(left))?;
        match stream.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn only_names_of_this_host_are_answered() {
        let loopback = here("127.0.0.1:9465");
        for host in ["127.0.0.1:9465", "localhost:9465", "LOCALHOST", "[::1]:9465", "127.0.0.1"] {
            assert!(is_this_host(host, loopback), "{host}");
        }
        for host in [
            "evil.example:9465",
            "127.0.0.1.evil.example",
            "",
            "10.0.0.1:9465",
            "localhost.evil.example:1",
            ":9465",
        ] {
            assert!(!is_this_host(host, loopback), "{host}");
        }
        let everywhere = here("0.0.0.0:9465");
        assert!(is_this_host("10.0.0.1:9465", everywhere) && !is_this_host("evil.example:9465", everywhere));
        assert!(is_own_name("plant", "plant") && is_own_name("Plant.local", "plant"));
        assert!(!is_own_name("plant.evil.example", "plant") && !is_own_name("", ""));
    }

    #[test]
    fn what_is_no_plain_request_is_refused() {
        let parsed = |text: &str| parse(text.as_bytes(), here("127.0.0.1:1"));
        let host = "\r\nHost: localhost";
        let found = parsed(&format!("GET /metrics?x=1 HTTP/1.1{host}"));
        assert_eq!(found, Ok(Request { path: "/metrics".to_owned(), head_only: false }));
        for (request, status) in [
            (format!("POST / HTTP/1.1{host}"), "405"),
            ("GET / HTTP/1.1".to_owned(), "400"),
            (format!("GET / HTTP/1.1{host}{host}"), "400"),
            (format!("GET / HTTP/2{host}"), "400"),
            (format!("GET  / HTTP/1.1{host}"), "400"),
            ("GET / HTTP/1.1\r\nHost: evil.example".to_owned(), "421"),
        ] {
            assert!(parsed(&request).is_err_and(|Refusal(found, _)| found.starts_with(status)), "{request}");
        }
    }
}
