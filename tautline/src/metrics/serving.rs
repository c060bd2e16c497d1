//! Accepts connections, and answers each on a thread of its own. Their number is bounded.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::http::{self, Refusal, Request};
use super::prometheus::CONTENT_TYPE;
use super::published::Published;
use crate::sync::{Arc, AtomicBool, AtomicUsize, Ordering};

/// The connections that are served at once, and how many of them may be open pages. Further ones are refused, so that pages
/// that are left open keep nobody from scraping.
const MOST_CONNECTIONS: usize = 64;
const MOST_PAGES: usize = 32;

/// The pause after the system refused a connection, as it does when the process has no file descriptor left.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);

/// A file of the page, its type, and its content.
const FILES: [(&str, &str, &[u8]); 5] = [
    ("/", "text/html; charset=utf-8", include_bytes!("page/index.html")),
    ("/app.js", "text/javascript; charset=utf-8", include_bytes!("page/app.js")),
    ("/app.css", "text/css; charset=utf-8", include_bytes!("page/app.css")),
    ("/uplot.js", "text/javascript; charset=utf-8", include_bytes!("page/uplot.js")),
    ("/uplot.css", "text/css; charset=utf-8", include_bytes!("page/uplot.css")),
];

/// Accepts connections until the server ends.
pub(super) fn serve(
    listener: &TcpListener,
    here: SocketAddr,
    published: &Arc<Published>,
    is_over: &AtomicBool,
) {
    let open = Arc::new(Open::default());
    loop {
        let accepted = listener.accept();
        if is_over.load(Ordering::Acquire) {
            return;
        }
        let Ok((stream, _)) = accepted else {
            std::thread::sleep(REFUSED_PAUSE);
            continue;
        };
        let Some(place) = Place::take(&open, |open| &open.connections, MOST_CONNECTIONS) else { continue };
        let (published, open) = (Arc::clone(published), Arc::clone(&open));
        // If there is no thread, the connection is closed.
        let _ = std::thread::Builder::new().name("metrics-answer".to_owned()).spawn(move || {
            let _place = place;
            // What the client does wrong concerns nobody else.
            let _ = answer(stream, here, &published, &open);
        });
    }
}

/// How many connections are open. Order: relaxed; only the numbers matter.
#[derive(Debug, Default)]
struct Open {
    connections: AtomicUsize,
    pages: AtomicUsize,
}

/// A place among a bounded number of them, until it is dropped.
struct Place {
    open: Arc<Open>,
    of: fn(&Open) -> &AtomicUsize,
}

impl Place {
    fn take(open: &Arc<Open>, of: fn(&Open) -> &AtomicUsize, most: usize) -> Option<Self> {
        let place = Self { open: Arc::clone(open), of };
        let before = of(open).fetch_add(1, Ordering::Relaxed);
        (before < most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        (self.of)(&self.open).fetch_sub(1, Ordering::Relaxed);
    }
}

fn answer(
    mut stream: TcpStream,
    here: SocketAddr,
    published: &Published,
    open: &Arc<Open>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let Request { path, head_only } = match http::read(&mut stream, here)? {
        Ok(request) => request,
        Err(Refusal(status, why)) => return refuse(&mut stream, status, why),
    };
    let mut whole =
        |content_type, body: &[u8]| http::answer(&mut stream, "200 OK", content_type, body, head_only);
    match path.as_str() {
        "/metrics" => whole(CONTENT_TYPE, published.text().as_bytes()),
        "/statistics" => whole("application/json", published.json().as_bytes()),
        "/events" if !head_only => match Place::take(open, |open| &open.pages, MOST_PAGES) {
            Some(_place) => send_events(&mut stream, published),
            None => refuse(&mut stream, "503 Service Unavailable", "too many pages are open"),
        },
        path => match FILES.iter().find(|(name, ..)| *name == path) {
            Some((_, content_type, body)) => whole(content_type, body),
            None => refuse(&mut stream, "404 Not Found", "there is nothing here: see / and /metrics"),
        },
    }
}

fn refuse(stream: &mut TcpStream, status: &str, why: &str) -> io::Result<()> {
    http::answer(stream, status, "text/plain; charset=utf-8", format!("{why}\n").as_bytes(), false)
}

/// Sends each snapshot, until the client or the server ends.
fn send_events(stream: &mut TcpStream, published: &Published) -> io::Result<()> {
    http::begin_events(stream)?;
    let mut number = 0;
    while let Some((next, json)) = published.next(number) {
        number = next;
        http::write(stream, format!("id: {number}\ndata: {json}\n\n").as_bytes())?;
    }
    Ok(())
}
