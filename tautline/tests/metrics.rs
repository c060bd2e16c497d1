//! Metrics over HTTP: what they tell, who may ask, and that nobody who asks holds up the others or the link.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tautline::{
    Config, ConnectError, Handler, MessageType, Metadata, MetricsServer, UdpInterface, create_udp_client,
    create_udp_server,
};

/// Waits at most so long for anything.
const PATIENCE: Duration = Duration::from_secs(30);

fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it can be set");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer); // a refused connection may be reset
    answer
}

fn get(address: SocketAddr, path: &str) -> String {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n"))
}

/// Asks for a path until the answer has these words.
fn get_until(address: SocketAddr, path: &str, words: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = get(address, path);
        if answer.contains(words) {
            return answer;
        }
        assert!(Instant::now() < deadline, "no {words} in {answer}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn pair(metrics: &str) -> (UdpInterface, UdpInterface, SocketAddr) {
    let plant =
        create_udp_server(Config::server("127.0.0.1:0").name("pl\"ant").metrics(metrics)).expect("valid");
    plant.register_message_handler(
        MessageType::Command,
        Handler::inline(|_, reply| {
            let _ = reply.send(&1, &Metadata::status());
        }),
    );
    assert_eq!(plant.metrics_address(), None, "not before it connects");
    plant.connect().expect("it connects");
    let address = plant.metrics_address().expect("it serves");
    let server = plant.local_address().expect("connected");
    let controller = create_udp_client(Config::client(server).name("controller")).expect("valid");
    controller.connect().expect("it connects");
    (plant, controller, address)
}

#[test]
fn the_text_has_the_counts_of_the_statistics() {
    let (plant, controller, address) = pair("127.0.0.1:0");
    for _ in 0..5 {
        controller.send(&2, &Metadata::command()).expect("sent");
        assert!(controller.receive(Some(PATIENCE)).is_ok());
    }
    let text = get_until(address, "/metrics", "tautline_messages_received_total{link=\"pl\\\"ant\"} 5\n");
    let handled = "tautline_handled_total{link=\"pl\\\"ant\",type=\"command\",channel=\"\"} 5\n";
    assert!(text.contains(handled) && text.contains("tautline_peers{link=\"pl\\\"ant\"} 1\n"), "{text}");
    assert!(text.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"), "{text}");
    assert!(text.contains(",name=\"controller\"} 5\n"), "the peer has its counts: {text}");
    assert_eq!(plant.statistics().messages_received, 5);
    // While the interface is disconnected, too.
    plant.disconnect();
    get_until(address, "/metrics", "tautline_connected{link=\"pl\\\"ant\"} 0\n");
    plant.connect().expect("it connects again");
    assert_eq!(plant.metrics_address(), Some(address));
    get_until(address, "/metrics", "tautline_connected{link=\"pl\\\"ant\"} 1\n");
}

#[test]
fn the_first_answer_shows_the_link() {
    for _ in 0..20 {
        let plant = create_udp_server(Config::server("127.0.0.1:0").metrics("127.0.0.1:0")).expect("valid");
        plant.connect().expect("it connects");
        let address = plant.metrics_address().expect("it is served");
        assert!(get(address, "/metrics").contains("tautline_"));
        assert!(get(address, "/statistics").contains("\"links\":[{"));
    }
}

#[test]
fn events_come_by_themselves_and_end_with_the_interface() {
    let (plant, _controller, address) = pair("127.0.0.1:0");
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it can be set");
    write!(stream, "GET /events HTTP/1.1\r\nHost: {address}\r\n\r\n").expect("it reads");
    let (mut text, mut piece) = (String::new(), [0; 4_096]);
    while text.matches("\ndata: {").count() < 3 {
        let length = stream.read(&mut piece).expect("events come");
        assert!(length > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&piece[..length]));
    }
    assert!(text.contains("Content-Type: text/event-stream"), "{text}");
    drop(plant);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("it ends");
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}

#[test]
fn other_sites_and_other_methods_are_refused() {
    let server = MetricsServer::start("127.0.0.1:0").expect("a free port");
    let address = server.address();
    for (request, status) in [
        (format!("GET / HTTP/1.1\r\nHost: evil.example:{}\r\n\r\n", address.port()), "421"),
        ("GET /metrics HTTP/1.1\r\nHost: 10.0.0.7\r\n\r\n".to_owned(), "421"),
        ("GET /metrics HTTP/1.1\r\n\r\n".to_owned(), "400"),
        ("POST /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), "405"),
        ("DELETE / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), "405"),
        ("GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), "404"),
        ("\x16\x03\x01\r\n\r\n".to_owned(), "400"),
        (format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(20_000)), "431"),
    ] {
        let answer = ask(address, &request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.80}: {answer:.200}");
        assert!(answer.contains("Content-Security-Policy: default-src 'none'"), "{answer}");
    }
    assert!(
        ask(address, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").contains("<title>tautline watch</title>")
    );
    let head = ask(address, "HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(head.ends_with("\r\n\r\n") && head.starts_with("HTTP/1.1 200"), "{head}");
}

#[test]
fn slow_clients_and_open_pages_keep_nobody_from_scraping() {
    let server = MetricsServer::start("127.0.0.1:0").expect("a free port");
    let address = server.address();
    // Forty open pages: the last ones are refused, and leave room for others.
    let pages: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut page = TcpStream::connect(address).expect("it listens");
            write!(page, "GET /events HTTP/1.1\r\nHost: {address}\r\n\r\n").expect("it reads");
            page
        })
        .collect();
    get_until(address, "/metrics", "# TYPE tautline_connected gauge");
    // Clients that say nothing fill the rest. They have two seconds.
    let silent: Vec<TcpStream> =
        (0..64).map(|_| TcpStream::connect(address).expect("the kernel accepts")).collect();
    let deadline = Instant::now() + PATIENCE;
    while !get(address, "/metrics").starts_with("HTTP/1.1 200") {
        assert!(Instant::now() < deadline, "the silent clients are still there");
        std::thread::sleep(Duration::from_millis(50));
    }
    drop((pages, silent));
}

#[test]
fn an_address_that_cannot_be_served_is_an_error_of_connecting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound");
    let plant = create_udp_server(Config::server("127.0.0.1:0").metrics(address)).expect("valid");
    let error = plant.connect().expect_err("the port is taken");
    assert!(
        matches!(error, ConnectError::Metrics { .. }) && error.to_string().contains("a free port"),
        "{error}"
    );
    drop(taken);
    plant.connect().expect("now it is free");
    let error = Config::server("127.0.0.1:0").metrics("plant.local:9465").validate().expect_err("a name");
    assert_eq!(
        error.to_string(),
        "`metrics` is \"plant.local:9465\": expected an IP address of this host and a port, such as 127.0.0.1:9465, or :9465 \
         for this host only"
    );
}

#[test]
fn interfaces_with_one_name_have_labels_of_their_own() {
    let interfaces =
        [0; 3].map(|_| create_udp_server(Config::server("127.0.0.1:0").name("arm")).expect("valid"));
    let server = MetricsServer::start(":0").expect("a free port");
    interfaces.iter().for_each(|interface| server.show(interface));
    interfaces.iter().for_each(|interface| server.show(interface)); // each once
    let text = get_until(server.address(), "/metrics", "tautline_connected{link=\"arm 3\"} 0");
    assert!(text.contains("tautline_connected{link=\"arm\"} 0") && !text.contains("arm 4"), "{text}");
    drop(interfaces);
    let deadline = Instant::now() + PATIENCE;
    while get(server.address(), "/metrics").contains("link=\"arm\"") {
        assert!(Instant::now() < deadline, "links that are gone are shown no more");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Returns the median and the 99th percentile of round trips at 1 kHz for this time.
fn round_trips(plant: &UdpInterface, controller: &UdpInterface, time: Duration) -> (Duration, Duration) {
    let (mut trips, end) = (Vec::new(), Instant::now() + time);
    assert!(plant.metrics_address().is_some());
    while Instant::now() < end {
        let before = Instant::now();
        controller.send(&2, &Metadata::command()).expect("sent");
        if controller.receive(Some(PATIENCE)).is_ok() {
            trips.push(before.elapsed());
        }
        std::thread::sleep(Duration::from_millis(1).saturating_sub(before.elapsed()));
    }
    trips.sort();
    (trips[trips.len() / 2], trips[trips.len() * 99 / 100])
}

#[test]
#[ignore = "prints a ratio; needs a quiet machine"]
#[allow(clippy::print_stdout)]
fn a_thousand_scrapes_a_second_beside_a_link() {
    let (plant, controller, address) = pair("127.0.0.1:0");
    let second = Duration::from_secs(1);
    let (mut quiet, mut scraped, mut scrapes) = (Vec::new(), Vec::new(), 0);
    for _ in 0..10 {
        quiet.push(round_trips(&plant, &controller, second));
        let scraper = std::thread::spawn(move || {
            let (start, mut count) = (Instant::now(), 0_u32);
            while start.elapsed() < second {
                assert!(get(address, "/metrics").starts_with("HTTP/1.1 200"));
                count += 1;
                let due = start + Duration::from_millis(1) * count;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            count
        });
        scraped.push(round_trips(&plant, &controller, second));
        scrapes += scraper.join().expect("it scrapes");
    }
    let middle = |mut found: Vec<(Duration, Duration)>| {
        found.sort_by_key(|(_, p99)| *p99);
        found[found.len() / 2]
    };
    let (quiet, scraped) = (middle(quiet), middle(scraped));
    let ratio =
        |of: fn((Duration, Duration)) -> Duration| of(scraped).as_secs_f64() / of(quiet).as_secs_f64();
    println!(
        "{} scrapes/s: p50 {:?} (quiet {:?}, ratio {:.2}), p99 {:?} (quiet {:?}, ratio {:.2})",
        scrapes / 10,
        scraped.0,
        quiet.0,
        ratio(|trips| trips.0),
        scraped.1,
        quiet.1,
        ratio(|trips| trips.1)
    );
}
