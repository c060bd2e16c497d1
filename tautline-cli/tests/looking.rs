//! `listen`, `send` and `hz` as people use them to look at a link: in both roles, on a terminal, and for other programs.
#![allow(clippy::print_stderr, reason = "says why a test is skipped")]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use support::{Folder, Listener, command, finished, run, start};

/// Starts a server that sends DATA again and again.
fn server(data: &str, arguments: &[&str]) -> Listener {
    let many = ["--count", "2000", "--rate", "200"];
    Listener::run(&[&["send", "--serve", "127.0.0.1:0", data], &many[..], arguments].concat())
}

#[test]
fn a_client_shows_what_its_server_sends_on_both_wires() {
    for wire in ["native", "classic"] {
        let server = server("{\"ready\": true}", &["--type", "status", "--source", "plant", "--wire", wire]);
        let mut arguments = vec!["listen", "--connect", &server.address, "--count", "3", "--wire", wire];
        if wire == "classic" {
            // A classic server knows a client once it has sent something.
            let speaks = UdpSocket::bind("127.0.0.1:0").expect("a free port");
            let envelope = "{\"metadata\": {\"message_id\": 1, \"timestamp\": 1.5, \"message_type\": \"data\", \"priority\": 2, \
                            \"source\": null}, \"data\": 1}";
            speaks.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
            arguments.clear();
            let datagram = [&0_u32.to_be_bytes()[..], envelope.as_bytes()].concat();
            let crc = crc32(&datagram);
            speaks.send_to(&[&crc.to_be_bytes()[..], &datagram].concat(), &server.address).expect("sent");
            let mut buffer = [0; 2000];
            let length = speaks.recv(&mut buffer).expect("the server sends");
            assert!(String::from_utf8_lossy(&buffer[..length]).contains("\"ready\": true"));
            continue;
        }
        let shown = run(&arguments);
        assert_eq!((shown.code, shown.stdout.lines().count()), (0, 3), "{}", shown.stderr);
        for line in shown.stdout.lines() {
            let message: Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(message["metadata"]["message_type"], "status");
            assert_eq!(
                (&message["metadata"]["source"], &message["data"]["ready"]),
                (&"plant".into(), &true.into())
            );
        }
    }
}

#[test]
fn who_looks_at_a_server_is_told_when_it_is_away_and_back() {
    let folder = Folder::new("away");
    let file = folder.0.join("run.mcap");
    let server = Listener::start(&["--reply"]);
    let address = server.address.clone();
    let file = file.to_str().expect("text");
    let mut clients: Vec<_> = [
        &["listen", "--connect", &address][..],
        &["hz", "--connect", &address],
        &["record", "--connect", &address, "-o", file],
        &["ping", &address, "-i", "0.1"],
    ]
    .map(|arguments| {
        let mut client = start(arguments);
        let errors = client.stderr.take().expect("it is piped");
        (arguments[0], client, BufReader::new(errors).lines())
    })
    .into();
    // Each is connected now: `ping` prints its answers, the others say so.
    for (name, client, errors) in &mut clients {
        if *name == "ping" {
            // Its pipe stays open, or the next answer would end it.
            let stdout = client.stdout.as_mut().expect("it is piped");
            assert_eq!(stdout.read(&mut [0; 1]).expect("text"), 1);
        } else {
            assert_eq!(errors.next().expect("a line").expect("text"), "connected", "{name}");
        }
    }
    let mut until = |words: &str| {
        for (name, _, errors) in &mut clients {
            let is_told = errors.any(|line| line.expect("text").contains(words));
            assert!(is_told, "{name}: {words}");
        }
    };
    drop(server);
    until("the server is away");
    let _server = Listener::start_at(&address, &["--reply"]);
    until("the server is back");
    for (_, mut client, _) in clients {
        client.kill().and_then(|()| client.wait()).expect("it runs until now");
    }
}

#[test]
fn who_pings_a_classic_server_is_told_when_it_does_not_answer() {
    let server = Listener::start(&["--reply", "--wire", "classic"]);
    let address = server.address.clone();
    let mut ping = command(&["ping", &address, "-i", "0.05", "--wire", "classic"]);
    ping.env("TAUTLINE_LIVENESS_TIMEOUT", "300ms").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut ping = ping.spawn().expect("it starts");
    // Its pipe stays open, or the next answer would end it.
    let stdout = ping.stdout.as_mut().expect("it is piped");
    assert_eq!(stdout.read(&mut [0; 1]).expect("text"), 1);
    let mut lines = BufReader::new(ping.stderr.take().expect("it is piped")).lines();
    let mut until = |words: &str| lines.any(|line| line.expect("text").contains(words));
    drop(server);
    assert!(until("the server does not answer"));
    let _server = Listener::start_at(&address, &["--reply", "--wire", "classic"]);
    assert!(until("the server answers again"));
    ping.kill().and_then(|()| ping.wait()).expect("it runs until now");
}

/// The CRC-32 of zlib, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[test]
fn only_the_data_or_a_field_of_it_is_printed_and_only_of_one_peer() {
    let data = "{\"arm\": {\"force\": 1.5, \"axes\": [0, 7]}}";
    for (options, expected) in [
        (&["--data"][..], data),
        (&["--only", "arm.force"], "1.5"),
        (&["--only", "arm.axes.1"], "7"),
        (&["--only", "arm.force", "--from", "right"], "1.5"),
        (&["--only", "arm.force", "--from", "127.0.0.1"], "1.5"),
    ] {
        let mut listener = Listener::start(&[options, &["--count", "1"]].concat());
        for source in ["left", "right"] {
            // The first one is of another peer, or has no such field.
            let data = if source == "left" { "{\"leg\": 1}" } else { data };
            if options == ["--data"] && source == "left" {
                continue;
            }
            let _ = run(&["send", &listener.address, data, "--source", source]);
        }
        assert_eq!(listener.line().trim_end(), expected, "{options:?}");
    }
    assert_eq!(run(&["listen", "127.0.0.1:0", "--only", "x", "--data"]).code, 2);
}

#[test]
fn plotjuggler_gets_documents_with_a_time_at_their_root() {
    let plotjuggler = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    plotjuggler.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
    let address = plotjuggler.local_addr().expect("it is bound").to_string();
    let listener = Listener::start(&["--plotjuggler", &address]);
    let mut buffer = [0; 65_536];
    let mut next = |arguments: &[&str]| -> Value {
        assert_eq!(run(&[&["send", &listener.address], arguments].concat()).code, 0);
        let length = plotjuggler.recv(&mut buffer).expect("a document");
        serde_json::from_slice(&buffer[..length]).expect("JSON")
    };
    let document = next(&["{\"force\": 1.5}", "--type", "command", "--source", "arm"]);
    assert!(document["timestamp"].as_f64().is_some_and(|seconds| seconds > 1.7e9), "{document}");
    assert_eq!(document["arm"]["command"], json!({"force": 1.5}));
    let document = next(&["[1, 2]", "--channel", "7", "--source", "timestamp"]);
    assert!(document["timestamp"].is_f64(), "{document}");
    assert_eq!(document["timestamp_"]["data"]["7"], json!([1, 2]));
}

#[test]
fn hz_tells_rate_and_gaps_of_each_stream() {
    let mut hz = Listener::run(&["hz", "127.0.0.1:0", "--every", "60s", "--json"]);
    let arguments = ["--type", "command", "--count", "60", "--rate", "200"];
    assert_eq!(
        run(&[&["send", &hz.address, "1", "--source", "arm", "--channel", "3"], &arguments[..]].concat())
            .code,
        0
    );
    std::thread::sleep(Duration::from_millis(700)); // the gap
    assert_eq!(
        run(&["send", &hz.address, "1", "--source", "arm", "--channel", "3", "--type", "command"]).code,
        0
    );
    assert_eq!(run(&["send", &hz.address, "1", "--source", "leg"]).code, 0);
    hz.interrupt();
    let (arm, leg) = (hz.message(), hz.message());
    assert_eq!(
        (&arm["sender"], &arm["message_type"], &arm["channel"]),
        (&"arm".into(), &"command".into(), &3.into())
    );
    assert!(arm["rate_hz"].as_f64().is_some_and(|rate| (1.0..200.0).contains(&rate)), "{arm}");
    assert!(arm["most_ms"].as_f64().is_some_and(|most| most >= 700.0), "{arm}");
    assert!(arm["gaps"].as_u64() >= Some(1), "{arm}");
    assert_eq!((&leg["sender"], &leg["rate_hz"], &leg["gaps"]), (&"leg".into(), &Value::Null, &0.into()));
    assert_eq!(hz.end().0, 0);
}

#[test]
fn hz_of_a_client_looks_at_what_its_server_sends() {
    let server = server("1", &["--source", "plant"]);
    let seen = run(&["hz", "--connect", &server.address, "--seconds", "0.7", "--json"]);
    assert_eq!(seen.code, 0, "{}", seen.stderr);
    assert!(seen.stdout.contains("\"sender\":\"plant\""), "{}", seen.stdout);
}

#[test]
fn on_a_terminal_each_message_is_a_line_of_its_width() {
    let has_script =
        Command::new("script").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !has_script.is_ok_and(|status| status.success()) {
        eprintln!("skipped: this needs script (util-linux), which runs a program on a terminal");
        return;
    }
    let server =
        server(&format!("{{\"text\": \"a\\u001b[2J{}\"}}", "x".repeat(300)), &["--source", "a\u{1b}[31m"]);
    let program = env!("CARGO_BIN_EXE_tautline");
    for (options, is_json) in [("", false), ("--json", true)] {
        let shown = format!(
            "stty cols 80 rows 24; {program} listen --connect {} --count 2 {options}",
            server.address
        );
        let mut script = Command::new("script");
        let script = script.args(["-qec", &shown, "/dev/null"]).env("TERM", "xterm").stdin(Stdio::null());
        let found =
            finished(script.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it is there"));
        let lines: Vec<&str> = found.stdout.lines().filter(|line| line.contains("text")).collect();
        assert_eq!(lines.len(), 2, "{found:?}");
        for line in lines {
            if is_json {
                assert!(line.starts_with("{\"metadata\""), "{line}");
                continue;
            }
            let plain = console::strip_ansi_codes(line.trim_end());
            assert_eq!(console::measure_text_width(&plain), 80, "{plain}");
            assert!(plain.contains("data") && plain.ends_with('…'), "{plain}");
            assert!(line.contains("\\u001b[31m"), "the sender's colour is escaped: {line:?}");
        }
    }
}
