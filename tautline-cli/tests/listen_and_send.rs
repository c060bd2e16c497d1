//! What is sent is what is printed: `send` and `listen` on both wires.

mod support;

use support::{Listener, command, finish, last_json, run, run_with_input};

/// Sends to a listener and returns its next line.
fn sent(listener: &mut Listener, args: &[&str]) -> serde_json::Value {
    let finished = run(&[&["send", &listener.address], args].concat());
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert_eq!(finished.stdout, "");
    listener.message()
}

#[test]
fn metadata_arrive_as_given_on_both_wires() {
    for wire in ["native", "classic"] {
        let mut listener = Listener::start(&["--wire", wire]);
        let options = [
            "--wire",
            wire,
            "--type",
            "command",
            "--priority",
            "critical",
            "--source",
            "bench",
            "--destination",
            "plant",
            "--id",
            "stop-17",
            "--correlation-id",
            "42",
        ];
        let message = sent(&mut listener, &[&["{\"force_n\": 1.5}"], &options[..]].concat());
        let metadata = &message["metadata"];
        let expected = [
            ("message_id", "stop-17"),
            ("message_type", "command"),
            ("source", "bench"),
            ("destination", "plant"),
            ("correlation_id", "42"),
        ];
        for (key, value) in expected {
            assert_eq!(metadata[key], value, "{key} on {wire}");
        }
        assert_eq!(metadata["priority"], 4);
        assert!(metadata["timestamp"].as_f64().is_some_and(|seconds| seconds > 1.7e9));
        assert_eq!(message["data"]["force_n"], 1.5);
        assert!(message["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")));
        assert!(message["age_ms"].as_f64().is_some_and(|age| (0.0..10_000.0).contains(&age)));
        assert!(metadata.get("channel").is_none() && metadata.get("content_type").is_none());
    }
}

#[test]
fn json_comes_through_with_its_order_and_digits() {
    for wire in ["native", "classic"] {
        let mut listener = Listener::start(&["--wire", wire]);
        let data = r#"{"z": 123456789012345678901234567890, "a": [0.1, "\u00e9\n"], "m": null}"#;
        let finished = run(&["send", &listener.address, data, "--wire", wire]);
        assert_eq!(finished.code, 0, "{}", finished.stderr);
        let line = listener.line();
        assert!(line.contains(&format!("\"data\":{data},\"peer\"")), "{line}");
    }
}

#[test]
fn raw_bytes_and_channels_are_shown_on_the_native_wire() {
    let mut listener = Listener::start(&[]);
    let message = sent(&mut listener, &["stop!", "--raw", "--channel", "7"]);
    assert_eq!(message["data"], "73746f7021");
    assert_eq!(message["metadata"]["content_type"], "raw");
    assert_eq!(message["metadata"]["channel"], 7);
}

#[test]
fn without_crc_and_sequence_the_classic_wire_works_too() {
    let options = ["--wire", "classic", "--no-crc", "--no-sequence"];
    let mut listener = Listener::start(&options);
    assert_eq!(sent(&mut listener, &[&["[1]"], &options[..]].concat())["data"][0], 1);
}

#[test]
fn a_count_ends_the_listener_with_a_summary() {
    let mut listener = Listener::start(&["--count", "2", "--json"]);
    assert_eq!(run(&["send", &listener.address, "1", "--count", "2"]).code, 0);
    assert_eq!(
        (listener.message()["data"].clone(), listener.message()["data"].clone()),
        (1.into(), 1.into())
    );
    let (code, summary) = listener.end();
    assert_eq!(code, 0);
    assert_eq!(last_json(&summary)["messages_received"], 2);
}

#[test]
fn types_that_were_not_asked_for_are_not_printed() {
    let mut listener = Listener::start(&["--type", "command", "--type", "error"]);
    for (data, message_type) in [("1", "status"), ("2", "command"), ("3", "data"), ("4", "error")] {
        assert_eq!(run(&["send", &listener.address, data, "--type", message_type]).code, 0);
    }
    assert_eq!(listener.message()["data"], 2);
    assert_eq!(listener.message()["data"], 4);
}

#[test]
fn ctrl_c_ends_the_listener_cleanly() {
    let mut listener = Listener::start(&[]);
    listener.interrupt();
    let (code, summary) = listener.end();
    assert_eq!(code, 0);
    assert!(summary.contains("0 messages"), "{summary}");
}

#[test]
fn statistics_come_at_their_interval() {
    let mut listener = Listener::start(&["--stats-every", "20ms", "--json"]);
    let line = listener.note();
    assert_eq!(last_json(&line)["messages_received"], 0);
}

#[test]
fn a_reader_that_leaves_ends_the_listener_quietly() {
    let mut listener = Listener::start(&[]);
    listener.close_stdout();
    assert_eq!(run(&["send", &listener.address, "1"]).code, 0);
    let (code, stderr) = listener.end();
    assert_eq!(code, 0);
    assert!(!stderr.contains("panicked") && !stderr.contains("error"), "{stderr}");
}

#[test]
fn lines_of_standard_input_are_messages_and_bad_ones_are_named() {
    for wire in ["native", "classic"] {
        let mut listener = Listener::start(&["--wire", wire]);
        let input = b"{\"n\": 1}\n\nnot json\n{\"n\": 2}\n[1,\n{\"n\": NaN}\n{\"n\": 3}";
        let finished = run_with_input(&["send", &listener.address, "--wire", wire, "--json"], input);
        assert_eq!(finished.code, 5, "{}", finished.stderr);
        let summary = last_json(&finished.stdout);
        assert_eq!((&summary["messages_sent"], &summary["bad_lines"]), (&3.into(), &3.into()));
        let named: Vec<&str> = finished.stderr.lines().filter(|line| line.contains("was not sent")).collect();
        assert_eq!(named.len(), 3, "{}", finished.stderr);
        for (line, number) in named.iter().zip([3, 5, 6]) {
            assert!(line.contains(&format!("line {number} ")), "{line}");
        }
        for n in 1..=3 {
            assert_eq!(listener.message()["data"]["n"], n);
        }
    }
}

#[test]
fn at_most_count_lines_are_sent_and_the_rate_is_kept() {
    let mut listener = Listener::start(&[]);
    let start = std::time::Instant::now();
    let arguments = ["send", &listener.address, "--count", "5", "--rate", "100"];
    let finished = run_with_input(&arguments, b"1\n2\n3\n4\n5\n6\n7\n");
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert!(start.elapsed().as_millis() >= 40, "five at 100 per second");
    assert!(finished.stderr.contains("sent 5 messages"));
    for n in 1..=5 {
        assert_eq!(listener.message()["data"], n);
    }
}

#[test]
fn a_file_and_the_environment_configure_the_link_and_options_win() {
    let file = std::env::temp_dir().join(format!("tautline-config-{}.toml", std::process::id()));
    std::fs::write(&file, "wire = \"classic\"\nname = \"from-file\"\n").expect("a temporary file");
    let file = file.to_str().expect("the path is text");
    let mut listener = Listener::start(&["--wire", "classic"]);
    let address = listener.address.clone();
    let by_file = ["send", &address, "1", "--config", file];
    assert_eq!(run(&by_file).code, 0);
    assert_eq!(listener.message()["metadata"]["source"], "from-file");
    assert_eq!(finish(command(&by_file).env("TAUTLINE_NAME", "from-environment")).code, 0);
    assert_eq!(listener.message()["metadata"]["source"], "from-environment");
    assert_eq!(run(&[&by_file[..], &["--source", "from-option"]].concat()).code, 0);
    assert_eq!(listener.message()["metadata"]["source"], "from-option");
    std::fs::remove_file(file).expect("it is ours");
}

#[test]
fn ipv6_works_where_the_host_has_it() {
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        return; // no IPv6 on this host
    }
    let mut listener = Listener::start_at("[::1]:0", &[]);
    assert!(listener.address.starts_with("[::1]:"));
    assert_eq!(sent(&mut listener, &["1"])["data"], 1);
}
