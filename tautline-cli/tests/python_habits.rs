//! What Python programs send on the classic wire, as they send it: written here byte by byte, not by the library.

mod support;

use std::net::UdpSocket;
use std::time::Duration;

use serde_json::Value;
use support::{Listener, run};

/// Both loopback addresses that this host has.
fn loopbacks() -> Vec<&'static str> {
    ["127.0.0.1:0", "[::1]:0"].into_iter().filter(|address| UdpSocket::bind(address).is_ok()).collect()
}

/// A socket of a Python program.
struct Python {
    socket: UdpSocket,
    sequence: u32,
}

impl Python {
    fn client_of(server: &str) -> Self {
        let any = if server.starts_with('[') { "[::1]:0" } else { "127.0.0.1:0" };
        let socket = UdpSocket::bind(any).expect("a free port");
        socket.connect(server).expect("a listening server");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("not zero");
        Self { socket, sequence: 0 }
    }

    /// Sends an envelope with CRC and sequence number.
    fn send(&mut self, envelope: &str) {
        let covered = [&self.sequence.to_be_bytes(), envelope.as_bytes()].concat();
        self.sequence += 1;
        let datagram = [&crc32(&covered).to_be_bytes(), &covered[..]].concat();
        self.socket.send(&datagram).expect("the kernel takes it");
    }

    /// Returns the text of the next envelope.
    fn receive(&self) -> String {
        let mut datagram = vec![0; 65_536];
        let length = self.socket.recv(&mut datagram).expect("an answer");
        let (crc, covered) = datagram[..length].split_at(4);
        assert_eq!(crc, crc32(covered).to_be_bytes());
        String::from_utf8(covered[4..].to_vec()).expect("ASCII")
    }
}

/// CRC-32 bit by bit, as zlib has it.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

/// Returns an envelope with these members of the metadata in place of the usual ones.
fn envelope(changes: &[(&str, &str)]) -> String {
    let usual = [
        ("message_id", "\"udp_1700000000250000\""),
        ("timestamp", "1700000000.25"),
        ("message_type", "\"data\""),
        ("priority", "2"),
        ("source", "\"rig\""),
        ("destination", "null"),
        ("correlation_id", "null"),
    ];
    let members = usual.map(|(key, value)| {
        let changed = changes.iter().find(|(changed, _)| *changed == key);
        format!("\"{key}\": {}", changed.map_or(value, |(_, value)| value))
    });
    format!("{{\"metadata\": {{{}}}, \"data\": [0.5]}}", members.join(", "))
}

/// Returns the raw text of a member of the metadata.
fn member<'a>(line: &'a str, key: &str) -> &'a str {
    let compact = line.split_once(&format!("\"{key}\":")).expect(line).1.trim_start();
    compact.split([',', '}']).next().expect(line)
}

#[test]
fn ids_and_sources_of_python_programs_are_delivered() {
    for loopback in loopbacks() {
        let mut listener = Listener::start_at(loopback, &["--wire", "classic", "--reply"]);
        let proxy = Listener::run(&["proxy", loopback, &listener.address]);
        for called in [listener.address.clone(), proxy.address.clone()] {
            let mut python = Python::client_of(&called);
            for line in include_str!("cases/ids.jsonl").lines() {
                python.send(line);
                let sent = serde_json::from_str::<Value>(line).expect("JSON");
                let printed = listener.message();
                assert_eq!((&printed["metadata"], &printed["data"]), (&sent["metadata"], &sent["data"]));
                let answer: Value = serde_json::from_str(&python.receive()).expect("JSON");
                assert_eq!(answer["metadata"]["correlation_id"], sent["metadata"]["message_id"]);
                assert_eq!(answer["data"], sent["data"]);
            }
        }
    }
}

#[test]
fn every_id_goes_back_as_the_value_that_it_was() {
    let mut listener = Listener::start(&["--wire", "classic", "--reply"]);
    let mut python = Python::client_of(&listener.address);
    for id in
        ["17", "0", "-17", "18446744073709551616", "123456789012345678901234567890", "null", "\"17\"", "1.5"]
    {
        python.send(&envelope(&[("message_id", id), ("correlation_id", id)]));
        let line = listener.line();
        assert_eq!((member(&line, "message_id"), member(&line, "correlation_id")), (id, id));
        assert_eq!(member(&python.receive(), "correlation_id"), id);
    }
}

#[test]
fn two_listeners_that_send_everything_back_do_not_do_so_for_ever() {
    let mut listener = Listener::start(&["--wire", "classic", "--reply"]);
    // Another such listener, whose address somebody has forged once.
    let mut other = Python::client_of(&listener.address);
    other.send(&envelope(&[]));
    let answer = other.receive();
    let id = member(&answer, "message_id");
    other.send(&envelope(&[("message_id", "1"), ("correlation_id", id)]));
    other.send(&envelope(&[("message_id", "2")]));
    assert_eq!(member(&other.receive(), "correlation_id"), "2", "the answer to an answer is not sent back");
    let printed = [(); 3].map(|()| member(&listener.line(), "message_id").to_owned());
    assert_eq!(printed[1..], ["1", "2"], "it is printed");
}

#[test]
fn time_stamps_are_printed_as_the_numbers_that_they_are() {
    let mut listener = Listener::start(&["--wire", "classic"]);
    let mut python = Python::client_of(&listener.address);
    for timestamp in ["12.345678901234567", "1e-10", "0", "0.0", "1700000000", "1700000000123456789"] {
        python.send(&envelope(&[("timestamp", timestamp)]));
        assert_eq!(member(&listener.line(), "timestamp"), timestamp);
    }
}

#[test]
fn what_is_refused_is_refused_by_the_name_of_its_field() {
    for (field, value, reason) in [
        ("timestamp", "null", "bad_timestamp"),
        ("message_type", "\"telemetry\"", "bad_message_type"),
        ("priority", "0", "bad_priority"),
        ("source", "{}", "bad_source"),
        ("destination", "1", "bad_destination"),
        // As json.dumps writes a file name of bytes that are not UTF-8.
        ("source", "\"\\udcff.log\"", "not_unicode"),
    ] {
        let mut listener = Listener::start(&["--wire", "classic"]);
        Python::client_of(&listener.address).send(&envelope(&[(field, value)]));
        let warning = listener.note();
        assert!(
            warning.contains(reason) && (warning.contains(&format!("`{field}`")) || reason == "not_unicode"),
            "{warning}"
        );
    }
}

#[test]
fn unlike_settings_of_the_two_ends_are_named() {
    let settings = [&[][..], &["--no-crc"], &["--no-sequence"], &["--no-crc", "--no-sequence"]];
    let pairs = settings.into_iter().flat_map(|ours| settings.map(|theirs| (ours, theirs)));
    // All at once, because a listener warns only once a second.
    let mut listeners = Vec::new();
    for (ours, theirs) in pairs.filter(|(ours, theirs)| ours != theirs) {
        let listener = Listener::start(&[&["--wire", "classic"], ours].concat());
        let sent = run(&[&["send", &listener.address, "1", "--wire", "classic"], theirs].concat());
        assert_eq!(sent.code, 0, "{}", sent.stderr);
        listeners.push((listener, ours, theirs));
    }
    for (mut listener, ours, theirs) in listeners {
        let differs = |option| ours.contains(&option) != theirs.contains(&option);
        let reason = match (differs("--no-crc"), differs("--no-sequence")) {
            (true, false) => "(other_crc)",
            (false, _) => "(other_sequence)",
            (true, true) => "(other_crc_and_sequence)",
        };
        let warning = listener.note();
        assert!(warning.contains(reason) && warning.contains("both ends"), "{ours:?} {theirs:?}: {warning}");
    }
}

#[test]
fn the_largest_datagram_passes_both_ways_and_through_the_proxy() {
    for (loopback, largest) in loopbacks().into_iter().zip([65_507, 65_527]) {
        let direct = Listener::start_at(loopback, &["--wire", "classic", "--reply"]);
        let proxy = Listener::run(&["proxy", loopback, &direct.address]);
        let metadata = envelope(&[]);
        let (head, _) = metadata.split_once("[0.5]").expect("the data");
        for address in [&direct.address, &proxy.address] {
            let mut python = Python::client_of(address);
            let text = "x".repeat(largest - 8 - head.len() - 3);
            python.send(&format!("{head}\"{text}\"}}"));
            // The answer has more metadata than fit with so much data, so a smaller message is answered.
            let text = "x".repeat(text.len() - 100);
            python.send(&format!("{head}\"{text}\"}}"));
            assert!(python.receive().contains(&text));
        }
        drop(proxy);
        drop(direct);
    }
}

#[test]
fn a_listener_says_which_messages_it_could_not_send_back() {
    let mut listener = Listener::start(&["--wire", "classic", "--reply", "--count", "2"]);
    let mut python = Python::client_of(&listener.address);
    python.send(&envelope(&[]));
    assert_eq!(listener.message()["data"][0], 0.5);
    let metadata = envelope(&[]);
    let (head, _) = metadata.split_once("[0.5]").expect("the data");
    // The answer has the correlation id too, so that it is too large.
    python.send(&format!("{head}\"{}\"}}", "x".repeat(65_507 - 8 - head.len() - 3)));
    listener.line();
    let (code, stderr) = listener.end();
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("1 message was not sent back") && stderr.contains("65507"), "{stderr}");
}

#[test]
fn a_server_without_a_host_listens_everywhere() {
    for subcommand in [&["listen", ":0", "--wire", "classic", "--reply"][..], &["bench", "serve", ":0"]] {
        let server = Listener::run(subcommand);
        assert!(
            !server.address.contains("127.0.0.1") && !server.address.contains("[::1]"),
            "{}",
            server.address
        );
    }
    let server = Listener::start_at(":0", &["--wire", "classic", "--reply"]);
    let port = server.address.rsplit(':').next().expect("a port");
    let proxy = Listener::run(&["proxy", ":0", &format!("127.0.0.1:{port}")]);
    let ports = [port, proxy.address.rsplit(':').next().expect("a port")];
    for (loopback, port) in loopbacks().into_iter().flat_map(|loopback| ports.map(|port| (loopback, port))) {
        let (host, _) = loopback.rsplit_once(':').expect("host and port");
        let mut python = Python::client_of(&format!("{host}:{port}"));
        python.send(&envelope(&[]));
        assert!(python.receive().ends_with("\"data\": [0.5]}"));
    }
    for client in [&["send", ":9000", "1"][..], &["ping", ":9000"], &["proxy", ":0", ":9000"]] {
        let refused = run(client);
        assert_eq!(refused.code, 2, "{}", refused.stderr);
        assert!(refused.stderr.contains("host"), "{}", refused.stderr);
    }
}
