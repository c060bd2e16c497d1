//! The proxy between plain sockets: which datagrams arrive, which do not, and the totals.

mod support;

use std::net::UdpSocket;
use std::time::Duration;

use serde_json::Value;
use support::{Listener, last_json, run};

/// The time limit for a datagram on the loopback.
const LONG: Duration = Duration::from_secs(5);

/// Opens a plain socket.
fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_read_timeout(Some(LONG)).expect("a time-out");
    socket
}

fn address(socket: &UdpSocket) -> String {
    socket.local_addr().expect("it is bound").to_string()
}

/// Starts a proxy in front of `target`.
fn proxy(target: &UdpSocket, options: &[&str]) -> Listener {
    Listener::run(&[&["proxy", "127.0.0.1:0", &address(target), "--json"], options].concat())
}

/// Stops a proxy and returns its summary.
fn end(mut proxy: Listener) -> Value {
    proxy.interrupt();
    serde_json::from_str(&proxy.line()).expect("the summary is JSON")
}

/// Asserts that `in + copies = out + each kind of loss + in flight`.
fn assert_totals_balance(direction: &Value) {
    let count = |name: &str| direction[name].as_u64().unwrap_or_else(|| panic!("no {name} in {direction}"));
    let losses = ["lost", "partitioned", "queue_full", "send_failed", "too_many_clients", "in_flight"];
    let gone: u64 = losses.into_iter().map(count).sum();
    assert_eq!(count("in") + count("copies"), count("out") + gone, "{direction}");
}

/// Sends `count` numbered datagrams through the proxy. Returns the datagrams that arrived.
fn send_through(from: &UdpSocket, proxy: &str, to: &UdpSocket, count: u32) -> Vec<Vec<u8>> {
    let mut came = Vec::new();
    let mut buffer = [0; 100];
    to.set_nonblocking(true).expect("it can be set");
    for number in 0..count {
        from.send_to(&number.to_be_bytes(), proxy).expect("the loopback takes it");
        while let Ok(len) = to.recv(&mut buffer) {
            came.push(buffer[..len].to_vec());
        }
        std::thread::sleep(Duration::from_micros(100)); // so that the proxy can keep up
    }
    to.set_nonblocking(false).expect("it can be set");
    to.set_read_timeout(Some(Duration::from_millis(300))).expect("a time-out");
    while let Ok(len) = to.recv(&mut buffer) {
        came.push(buffer[..len].to_vec());
    }
    came
}

#[test]
fn without_impairments_each_client_gets_its_own_answers() {
    let target = socket();
    let proxy = proxy(&target, &[]);
    let clients = [socket(), socket(), socket()];
    for (name, client) in (b'a'..).zip(&clients) {
        client.send_to(&[name], &proxy.address).expect("the loopback takes it");
        let mut buffer = [0; 10];
        let (len, from) = target.recv_from(&mut buffer).expect("it comes");
        assert_eq!(buffer[..len], [name]);
        target.send_to(&[name, name], from).expect("the loopback takes it");
        let (len, from) = client.recv_from(&mut buffer).expect("the answer comes");
        assert_eq!((&buffer[..len], from.to_string()), (&[name, name][..], proxy.address.clone()));
    }
    let summary = end(proxy);
    assert_eq!(summary["clients"], 3);
    for direction in ["to_target", "to_client"] {
        assert_eq!((&summary[direction]["in"], &summary[direction]["out"]), (&3.into(), &3.into()));
        assert_totals_balance(&summary[direction]);
    }
}

#[test]
fn impairments_apply_to_the_chosen_direction_and_the_totals_are_exact() {
    let (target, client) = (socket(), socket());
    let options =
        ["--loss", "20%", "--burst", "3", "--duplicate", "10%", "--corrupt", "10%", "--reorder", "5%"];
    let more = ["--delay", "2ms", "--jitter", "1ms", "--seed", "7", "--direction", "to-target"];
    let proxy = proxy(&target, &[&options[..], &more].concat());
    let came = send_through(&client, &proxy.address, &target, 2000);
    let summary = end(proxy);
    let there = &summary["to_target"];
    assert_totals_balance(there);
    let count = |name: &str| there[name].as_u64().expect("a number");
    assert_eq!((count("in"), count("out")), (2000, came.len() as u64), "{there}");
    assert!((250..550).contains(&count("lost")), "{there}");
    assert!((100..230).contains(&count("copies")), "{there}");
    assert!((100..260).contains(&count("corrupted")), "{there}");
    assert!(count("reordered") > 20, "{there}");
    let damaged = came.iter().filter(|bytes| bytes[..2] != [0, 0] || bytes[2] > 7).count();
    assert!(damaged > 50, "{damaged} of {}", count("corrupted"));
    assert!(summary["impairments"].as_str().expect("text").contains("to the clients no impairments"));
}

#[test]
fn the_same_seed_loses_the_same_datagrams() {
    let losses = |seed: &str| {
        let (target, client) = (socket(), socket());
        let proxy = proxy(&target, &["--loss", "30%", "--seed", seed]);
        let came = send_through(&client, &proxy.address, &target, 500);
        assert_eq!(end(proxy)["to_target"]["in"], 500);
        came
    };
    assert_eq!(losses("3"), losses("3"));
    assert_ne!(losses("3"), losses("4"));
}

#[test]
fn a_schedule_partitions_the_path_and_ends_the_partition() {
    let path = std::env::temp_dir().join(format!("tautline-schedule-{}.toml", std::process::id()));
    let file = path.to_str().expect("the path is text");
    let text = "[[phase]]\nafter = \"0s\"\npartition = true\n\n[[phase]]\nafter = \"600ms\"\n";
    std::fs::write(&path, text).expect("a temporary file");
    let (target, client) = (socket(), socket());
    let mut proxy = proxy(&target, &["--schedule", file, "--stats-every", "50ms"]);
    target.set_read_timeout(Some(Duration::from_millis(20))).expect("a time-out");
    let mut sent = 0u64;
    while target.recv(&mut [0; 10]).is_err() {
        client.send_to(b"x", &proxy.address).expect("the loopback takes it");
        sent += 1;
        assert!(sent < 1000, "the partition never ends");
    }
    assert!(proxy.note().contains("to the target"), "a line of counters");
    let summary = end(proxy);
    assert_totals_balance(&summary["to_target"]);
    let cut = summary["to_target"]["partitioned"].as_u64().expect("a number");
    assert!(cut > 0 && cut < sent, "{cut} of {sent}");
    std::fs::remove_file(&path).expect("this test created it");
}

#[test]
fn a_missing_target_gives_a_warning_and_may_start_later() {
    let gone = socket();
    let target = address(&gone);
    drop(gone);
    let mut proxy = Listener::run(&["proxy", "127.0.0.1:0", &target, "--json"]);
    let client = socket();
    let asker = {
        let (client, to) = (client.try_clone().expect("a second handle"), proxy.address.clone());
        std::thread::spawn(move || {
            for _ in 0..20 {
                let _ = client.send_to(b"anybody?", &to);
                std::thread::sleep(Duration::from_millis(10));
            }
        })
    };
    let note = proxy.note();
    assert!(note.contains("nobody listens at") && note.contains(&target), "{note}");
    asker.join().expect("it does not panic");
    // The target starts, and the same client reaches it.
    let target = UdpSocket::bind(&target).expect("the port is still free");
    target.set_read_timeout(Some(LONG)).expect("a time-out");
    client.send_to(b"now?", &proxy.address).expect("the loopback takes it");
    let mut buffer = [0; 10];
    while target.recv(&mut buffer).expect("it comes") != 4 {}
    let summary = end(proxy);
    assert_totals_balance(&summary["to_target"]);
    assert!(summary["port_unreachable"].as_u64().is_some_and(|count| count > 0), "{summary}");
}

#[test]
fn the_proxy_ends_after_the_given_time_and_prints_the_totals() {
    let target = socket();
    let finished = run(&["proxy", "127.0.0.1:0", &address(&target), "--loss", "2%", "--seconds", "0.2"]);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    for part in ["loss 2 %", "clients: 0", "to the target", "in flight"] {
        assert!(finished.stdout.contains(part), "no {part:?} in {}", finished.stdout);
    }
}

#[cfg(target_os = "linux")] // every 127.x.y.z is an address of the host
#[test]
fn a_crowd_of_one_host_keeps_nobody_else_out() {
    let target = socket();
    let proxy = proxy(&target, &[]);
    let client = |host: &str| {
        let socket = UdpSocket::bind(host).expect("a free port");
        socket.connect(&*proxy.address).expect("it has an address");
        socket
    };
    // The datagrams of the crowd arrive too, and may leave no room in the kernel for this one. A client that was kept out would take
    // a place of its own with the next one, and count once more.
    let reaches = |client: &UdpSocket, name: &[u8]| {
        let mut buffer = [0; 20];
        (0..20).any(|_| {
            client.send(name).expect("the loopback takes it");
            let mut received =
                std::iter::from_fn(|| target.recv(&mut buffer).ok().map(|len| buffer[..len] == *name));
            received.any(|is_it| is_it)
        })
    };
    target.set_read_timeout(Some(Duration::from_millis(500))).expect("a time-out");
    let friend = client("127.0.0.2:0");
    assert!(reaches(&friend, b"friend"));
    let crowd: Vec<_> = (0..300).map(|_| client("127.0.0.3:0")).collect();
    // So long that a friend that pauses is the one that was silent longest.
    for _ in 0..23 {
        for one in &crowd {
            one.send(b"crowd").expect("the loopback takes it");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(reaches(&friend, b"friend again"));
    assert!(reaches(&client("127.0.0.4:0"), b"newcomer"));
    let summary = end(proxy);
    assert_totals_balance(&summary["to_target"]);
    assert!(summary["to_target"]["too_many_clients"].as_u64() > Some(0), "{summary}");
    assert_eq!(summary["clients"], 257, "the first 256, and the newcomer: the crowd made way");
}

#[test]
fn a_ping_goes_through_the_proxy() {
    let listener = Listener::start(&["--reply"]);
    let proxy = Listener::run(&["proxy", "127.0.0.1:0", &listener.address, "--delay", "5ms", "--json"]);
    let finished = run(&["ping", &proxy.address, "--count", "20", "--json", "--quiet"]);
    let summary = last_json(&finished.stdout);
    assert_eq!((finished.code, &summary["messages_received"]), (0, &20.into()), "{finished:?}");
    assert!(summary["rtt_us"]["p50"].as_f64().is_some_and(|us| us >= 10_000.0), "5 ms each way: {summary}");
    assert_totals_balance(&end(proxy)["to_client"]);
}
