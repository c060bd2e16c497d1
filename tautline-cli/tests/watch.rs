//! `watch`: the page in a browser, the text for Prometheus, and what is refused.
#![allow(clippy::print_stdout)] // why a test was skipped

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};

use serde_json::Value;
use support::{Folder, Listener, command, run};

/// A running `watch`. It is killed when dropped.
struct Watch {
    child: Child,
    /// With a slash at its end.
    url: String,
}

impl Watch {
    fn start(arguments: &[&str]) -> Self {
        let mut program = command(&[&["watch", "--page", "127.0.0.1:0"], arguments].concat());
        let mut child =
            program.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary is built");
        let mut notes = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut line = String::new();
        notes.read_line(&mut line).expect("text");
        let url = line.split_whitespace().find(|word| word.starts_with("http://"));
        let url = url.unwrap_or_else(|| panic!("{line}")).to_owned();
        Self { child, url }
    }

    fn address(&self) -> &str {
        self.url.trim_start_matches("http://").trim_end_matches('/')
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address()).expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address());
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        body.to_owned()
    }

    /// Returns the first snapshot in which all links are connected.
    fn connected(&self) -> Value {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let found: Value = serde_json::from_str(&self.get("/statistics")).unwrap_or_default();
            let links = found["links"].as_array().cloned().unwrap_or_default();
            if !links.is_empty()
                && links.iter().all(|link| link["state"] == "connected" && link["rtt"]["count"] != 0)
            {
                return found;
            }
            assert!(std::time::Instant::now() < deadline, "{found}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn several_links_are_shown_also_one_that_starts_later() {
    let first = Listener::start(&[]);
    let free = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let later = free.local_addr().expect("it is bound").to_string();
    drop(free);
    let watch = Watch::start(&[&first.address, &later]);
    let _second = Listener::start_at(&later, &[]);
    let found = watch.connected();
    let links = found["links"].as_array().expect("a list");
    let endpoints: Vec<&str> = links.iter().filter_map(|link| link["endpoint"].as_str()).collect();
    assert_eq!(endpoints, [&first.address, &later]);
    for link in links {
        assert!(link["path_mtu"].as_u64().is_some_and(|mtu| mtu >= 1_228), "{link}");
        assert!(link["clock_offset_error_us"].is_f64() && link["age_us"].is_f64(), "{link}");
        assert_eq!((&link["role"], &link["secured"]), (&"client".into(), &false.into()));
    }
    let text = watch.get("/metrics");
    assert!(text.contains(&format!("link=\"watch of {later}\"")), "{text}");
}

#[test]
fn what_cannot_be_watched_is_refused_with_what_would_be_right() {
    let page = ["--page", "127.0.0.1:0"];
    let classic = run(&[&["watch", "127.0.0.1:9", "--wire", "classic"], &page[..]].concat());
    assert_eq!(classic.code, 2, "{classic:?}");
    assert!(classic.stderr.contains("the classic wire has no heartbeats"), "{classic:?}");
    let nothing = run(&[&["watch"], &page[..]].concat());
    assert_eq!(nothing.code, 2, "{nothing:?}");
    assert!(nothing.stderr.contains("there is no endpoint: give ENDPOINT"), "{nothing:?}");
}

#[test]
fn the_endpoint_may_be_that_of_the_settings_and_its_name_may_be_long() {
    let folder = Folder::new("watch");
    let host = format!("{}.invalid:9000", "x".repeat(63));
    let settings = folder.file("long.toml", &format!("endpoint = \"{host}\"\n"));
    let watch = Watch::start(&["--config", &settings]);
    let found: Value = serde_json::from_str(&watch.get("/statistics")).expect("JSON");
    assert_eq!(found["links"][0]["endpoint"], host, "{found}");
}

#[test]
fn the_page_and_all_that_it_loads_is_small_and_its_own() {
    let watch = Watch::start(&["--demo"]);
    let files = ["/", "/app.js", "/app.css", "/uplot.js", "/uplot.css"].map(|path| watch.get(path));
    let bytes: usize = files.iter().map(String::len).sum();
    assert!(bytes <= 100_000, "{bytes} bytes");
    let own = &files[..3].concat();
    assert!(!own.contains("http:") && !own.contains("https:") && !own.contains("//cdn"), "no other host");
    assert!(!own.contains("style=") && !own.contains("onclick=\""), "the policy forbids it");
    assert!(files[3].contains("uPlot (v1.6") && files[0].contains("viewport"));
}

#[test]
fn prometheus_reads_the_metrics() {
    let watch = Watch::start(&["--demo"]);
    watch.connected();
    let Some(read) = support::python::script(&["prometheus_client"], "metrics_text.py", &[&watch.url]) else {
        return;
    };
    assert_eq!(read.code, 0, "{read:?}");
    let sums = read.stdout;
    let sums: Value = serde_json::from_str(&sums).expect("JSON");
    let value = |name: &str| sums[name].as_f64().unwrap_or_else(|| panic!("no {name} in {sums}"));
    assert_eq!((value("tautline_connected"), value("tautline_link_info")), (2.0, 2.0));
    assert!(value("tautline_messages_received_total") > 10.0 && value("tautline_rtt_seconds") > 0.0);
    for name in ["tautline_handled_total", "tautline_watchdog_tripped", "tautline_peer_path_size_bytes"] {
        assert!(value(name) >= 0.0, "{name}");
    }
}

#[test]
fn the_page_works_in_a_browser() {
    let folder = std::env::temp_dir().join(format!("tautline-watch-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let (url, page) = (format!("http://127.0.0.1:{port}/"), format!("127.0.0.1:{port}"));
    let shots = folder.to_str().expect("text");
    let arguments = [&url, shots, env!("CARGO_BIN_EXE_tautline"), "watch", "--demo", "--page", &page];
    let printed = support::python::script(&["playwright"], "watch_page.py", &arguments);
    std::fs::remove_dir_all(&folder).expect("this test made it");
    let Some(finished) = printed else { return };
    assert_eq!(finished.code, 0, "{finished:?}");
    let printed = finished.stdout;
    if printed.starts_with("skipped") {
        println!("{printed}");
        return;
    }
    let found: Value = serde_json::from_str(&printed).expect("JSON");
    assert!(found["bytes"].as_u64().is_some_and(|bytes| (10_000..=100_000).contains(&bytes)), "{found}");
}

#[test]
fn what_cannot_be_served_is_refused() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().expect("it is bound").to_string();
    for (arguments, code, said) in [
        (&["watch"][..], 2, "ENDPOINT"),
        (&["watch", "--demo", "127.0.0.1:9"], 2, "cannot be used with"),
        (
            &["watch", "127.0.0.1:9", "--page", "plant:9465"],
            2,
            "--page is \"plant:9465\": expected an IP address",
        ),
        (&["watch", "--demo", "--page", &taken], 3, "set --page to an address of this host and a free port"),
        (&["watch", "9000"], 2, "did you mean 127.0.0.1:9000?"),
    ] {
        let refused = run(arguments);
        assert_eq!(refused.code, code, "{refused:?}");
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
}

#[test]
fn a_listener_can_show_itself() {
    let folder = std::env::temp_dir().join(format!("tautline-watch-own-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let file = folder.join("plant.toml");
    std::fs::write(&file, format!("name = \"plant\"\nmetrics = \":{port}\"\n")).expect("a file");
    let listener = Listener::start(&["--config", file.to_str().expect("text")]);
    let sent = run(&["send", &listener.address, "1"]);
    std::fs::remove_dir_all(&folder).expect("this test made it");
    assert_eq!(sent.code, 0, "{sent:?}");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        if answer.contains("tautline_messages_received_total{link=\"plant\"} 1\n") {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{answer}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
