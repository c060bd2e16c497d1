//! `send` and `listen` on both wires: the listener prints what was sent.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::process::Stdio;

use support::{Listener, command, finish, finished, last_json, run, run_with_input, signal, start};

/// Sends to a listener and returns the next line that it prints.
fn sent(listener: &mut Listener, args: &[&str]) -> serde_json::Value {
    let finished = run(&[&["send", &listener.address], args].concat());
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert_eq!(finished.stdout, "");
    listener.message()
}

#[test]
fn metadata_arrives_unchanged_on_both_wires() {
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
            ("message_id", "stop-17".into()),
            ("message_type", "command".into()),
            ("source", "bench".into()),
            ("destination", "plant".into()),
            ("correlation_id", serde_json::json!(42)),
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
fn reliable_messages_are_acknowledged_and_keep_their_metadata() {
    let mut listener = Listener::start(&[]);
    let options = ["1", "--delivery", "ordered", "--lifespan", "1.5s", "--count", "3"];
    let message = sent(&mut listener, &options);
    assert_eq!(message["metadata"]["delivery"], "ordered");
    assert_eq!(message["metadata"]["lifespan_ms"], 1500.0);
    assert_eq!(message["data"], 1);
}

#[test]
fn a_request_prints_the_answer() {
    for wire in ["native", "classic"] {
        let listener = Listener::start(&["--wire", wire, "--reply"]);
        let asked = run(&["send", &listener.address, "[1.5]", "--request", "5s", "--wire", wire]);
        assert_eq!(asked.code, 0, "{}", asked.stderr);
        let answer: serde_json::Value = serde_json::from_str(&asked.stdout).expect("a line of JSON");
        assert_eq!(answer["data"], serde_json::json!([1.5]), "{wire}");
        let id = &answer["metadata"]["correlation_id"];
        assert!(if wire == "native" { id.is_u64() } else { id.is_string() }, "{id}");
    }
    let silent = Listener::start(&[]);
    let asked = run(&["send", &silent.address, "1", "--request", "50ms"]);
    assert_eq!(asked.code, 1);
    assert!(asked.stderr.contains("no answer came in time"), "{}", asked.stderr);
    // Lines without an answer were sent all the same.
    let asked = run_with_input(&["send", &silent.address, "--request", "50ms"], b"1\n2\n");
    assert_eq!(asked.code, 1, "{}", asked.stderr);
    for told in
        ["line 2 was not answered: no answer came", "sent 2 messages", "2 of 2 messages were not answered"]
    {
        assert!(asked.stderr.contains(told), "{}", asked.stderr);
    }
}

#[test]
fn the_settings_decide_how_large_and_deep_messages_may_be() {
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let large = format!("\"{}\"", "x".repeat(100_000));
    for (wire, data) in [("native", &deep), ("classic", &deep), ("native", &large)] {
        let settings = [("TAUTLINE_MAX_DEPTH", "127"), ("TAUTLINE_MAX_MESSAGE_SIZE", "200000")];
        // The classic wire has no larger messages.
        let settings = &settings[..if wire == "native" { 2 } else { 1 }];
        let mut listen = command(&["listen", "127.0.0.1:0", "--reply", "--wire", wire]);
        let mut listener = Listener::of(listen.envs(settings.iter().copied()));
        let send = ["send", &listener.address, "--request", "20s", "--wire", wire];
        let mut child = command(&send)
            .envs(settings.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary is built");
        writeln!(child.stdin.take().expect("it is piped"), "{data}").expect("it reads");
        let run = finished(child);
        assert_eq!(run.code, 0, "{wire}: {}", run.stderr);
        assert_eq!(listener.message()["data"].to_string(), *data);
        assert!(run.stdout.contains(data.as_str()), "{wire}: {}", run.stdout.len());
    }
}

#[test]
fn json_keeps_its_order_and_digits() {
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
fn the_classic_wire_works_without_crc_and_sequence() {
    let options = ["--wire", "classic", "--no-crc", "--no-sequence"];
    let mut listener = Listener::start(&options);
    assert_eq!(sent(&mut listener, &[&["[1]"], &options[..]].concat())["data"][0], 1);
}

#[test]
fn the_listener_ends_after_count_messages_with_a_summary() {
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
fn only_messages_of_the_chosen_types_are_printed() {
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

#[cfg(unix)]
#[test]
fn a_signal_that_is_sent_twice_at_once_ends_it_cleanly() {
    let listener = Listener::start(&[]);
    // As timeout(1) does it.
    let twice = format!("kill -TERM {0}; kill -TERM {0}", listener.id());
    let sent = std::process::Command::new("sh").args(["-c", &twice]).status().expect("there is a shell");
    assert!(sent.success());
    let (code, summary) = listener.end();
    assert_eq!(code, 0);
    assert!(summary.contains("0 messages"), "{summary}");
}

#[test]
fn statistics_are_printed_at_an_interval() {
    let mut listener = Listener::start(&["--stats-every", "20ms", "--json"]);
    let line = listener.note();
    assert_eq!(last_json(&line)["messages_received"], 0);
}

#[test]
fn the_listener_ends_quietly_when_its_stdout_is_closed() {
    let mut listener = Listener::start(&[]);
    listener.close_stdout();
    assert_eq!(run(&["send", &listener.address, "1"]).code, 0);
    let (code, stderr) = listener.end();
    assert_eq!(code, 0);
    assert!(!stderr.contains("panicked") && !stderr.contains("error"), "{stderr}");
}

#[test]
fn a_send_ends_quietly_when_nobody_reads_its_answers() {
    let listener = Listener::start(&["--reply"]);
    let mut send = command(&["send", &listener.address, "--request", "20s"]);
    let mut send = send
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it is built");
    let mut lines = send.stdin.take().expect("it is piped");
    writeln!(lines, "1").expect("it reads");
    let mut answers = BufReader::new(send.stdout.take().expect("it is piped"));
    answers.read_line(&mut String::new()).expect("an answer");
    drop(answers);
    writeln!(lines, "2").expect("it reads");
    // It waits for no further line.
    let finished = finished(send);
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
}

#[test]
fn each_line_of_standard_input_is_a_message_and_errors_name_the_line() {
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
fn at_most_count_lines_are_sent_at_the_given_rate() {
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
fn options_override_the_environment_and_the_environment_overrides_the_file() {
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
    std::fs::remove_file(file).expect("this test created it");
}

#[test]
fn commands_that_stopped_stay_stopped_where_their_deadline_latches() {
    let file = std::env::temp_dir().join(format!("tautline-latch-{}.toml", std::process::id()));
    // Long enough for a busy machine to print the command before the latch drops what waits.
    std::fs::write(&file, "[command]\ndeadline = \"500ms\"\nlatch = true\n").expect("a temporary file");
    let mut listener = Listener::start(&["--config", file.to_str().expect("the path is text")]);
    let command = ["--type", "command"];
    assert_eq!(sent(&mut listener, &[&["1"][..], &command].concat())["data"], 1);
    let tripped = listener.note();
    assert!(tripped.contains("no command came in time"), "{tripped}");
    let address = listener.address.clone();
    assert_eq!(run(&[&["send", &address, "2"][..], &command].concat()).code, 0);
    assert_eq!(sent(&mut listener, &["3", "--type", "status"])["data"], 3);
    std::fs::remove_file(file).expect("this test created it");
}

#[test]
fn ipv6_works_where_the_host_has_it() {
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        return; // this host has no IPv6
    }
    let mut listener = Listener::start_at("[::1]:0", &[]);
    assert!(listener.address.starts_with("[::1]:"));
    assert_eq!(sent(&mut listener, &["1"])["data"], 1);
}

#[test]
fn negative_numbers_are_data() {
    let mut listener = Listener::start(&[]);
    for (data, sent_data) in [("-1.5", -1.5), ("-2.5e3", -2500.0)] {
        assert_eq!(sent(&mut listener, &[data])["data"], sent_data);
    }
}

#[test]
fn ctrl_c_ends_a_send_that_waits_for_a_line() {
    for name in ["-INT", "-TERM"] {
        let mut listener = Listener::start(&[]);
        let mut send = command(&["send", &listener.address, "--json"]);
        let mut send =
            send.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the binary is built");
        let mut stdin = send.stdin.take().expect("it is piped");
        stdin.write_all(b"1\n").expect("it reads");
        assert_eq!(listener.message()["data"], 1);
        signal(name, send.id());
        let output = send.wait_with_output().expect("its output can be read");
        drop(stdin); // open until here, so the end of input did not end the program
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(last_json(&String::from_utf8_lossy(&output.stdout))["messages_sent"], 1);
    }
}

#[test]
#[allow(clippy::print_stderr)] // prints why the test is skipped
fn ctrl_c_ends_a_client_that_is_still_connecting() {
    if support::ignores_interrupts() {
        eprintln!("skipped: this process ignores SIGINT, and the programs that it starts inherit that");
        return;
    }
    for arguments in [&["send", "1"][..], &["ping"]] {
        let mute = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = mute.local_addr().expect("it is bound").to_string();
        let mut client = command(&[&[arguments[0], &address], &arguments[1..]].concat());
        let mut client =
            client.env("TAUTLINE_CONNECT_TIMEOUT", "60min").spawn().expect("the binary is built");
        mute.recv(&mut [0; 64]).expect("it says hello");
        signal("-INT", client.id());
        let status = client.wait().expect("it is a child of this process");
        #[cfg(unix)]
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(2), "{status}");
        #[cfg(windows)]
        assert_eq!(status.code(), Some(0xC000_013A_u32.cast_signed()), "STATUS_CONTROL_C_EXIT: {status}");
    }
}

#[test]
fn a_send_fails_if_the_server_goes_away_or_falls_silent() {
    let mut closes = Listener::start(&["--count", "1"]);
    let arguments = ["send", &closes.address.clone(), "1", "--count", "1000", "--rate", "100"];
    let finished = run(&arguments);
    assert_eq!((finished.code, closes.message()["data"].clone()), (1, 1.into()), "{finished:?}");
    assert!(finished.stderr.contains("the server is gone"), "{}", finished.stderr);

    // The numbers are told however it ends, on both wires.
    for (wire, code) in [("native", 1), ("classic", 3)] {
        let closes = Listener::start(&["--count", "1", "--wire", wire]);
        let address = closes.address.clone();
        let finished =
            run(&["send", &address, "1", "--count", "200", "--rate", "200", "--json", "--wire", wire]);
        let sent = last_json(&finished.stdout)["messages_sent"].as_u64();
        assert!(finished.code == code && sent.is_some_and(|sent| sent > 0), "{finished:?}");
    }

    let mut dies = Listener::start(&[]);
    let arguments = ["send", &dies.address, "1", "--count", "150", "--rate", "100", "--json"];
    let send = command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    assert_eq!(dies.message()["data"], 1);
    drop(dies); // killed
    let output = send.and_then(std::process::Child::wait_with_output).expect("it ends");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("may be lost"));
    assert_eq!(last_json(&String::from_utf8_lossy(&output.stdout))["messages_sent"], 150);
}

#[test]
fn on_the_classic_wire_the_network_tells_how_many_may_be_lost_at_a_closed_port() {
    let hosts = ["127.0.0.1:0", "[::1]:0"].into_iter().filter(|host| UdpSocket::bind(host).is_ok());
    for host in hosts {
        let mut closes = Listener::start_at(host, &["--count", "50", "--wire", "classic"]);
        let arguments =
            ["send", &closes.address, "1", "--count", "400", "--rate", "400", "--json", "--wire", "classic"];
        let finished = run(&arguments);
        assert_eq!(finished.code, 3, "{finished:?}");
        let count = |name: &str| last_json(&finished.stdout)[name].as_u64().expect("a number");
        (0..50).for_each(|_| assert_eq!(closes.message()["data"], 1));
        let surely = count("messages_sent") - count("unheard");
        // What a busy listener had not read when it ended was not refused; and the last 20 ms before the first report count as lost.
        assert!(count("messages_sent") == 400 && surely <= 50 + 50, "{surely}: {finished:?}");
        assert!(surely >= 10, "{surely}: {finished:?}");
        let told = format!("{} of the 400 messages may be lost", count("unheard"));
        assert!(finished.stderr.contains(&told), "{told}: {}", finished.stderr);
    }
}

#[test]
fn what_was_on_its_way_when_the_server_ended_may_be_lost() {
    let end = if support::ignores_interrupts() { "-TERM" } else { "-INT" };
    for end in [end, "-KILL"] {
        let mut ends = Listener::start(&[]);
        let way =
            Listener::run(&["proxy", "127.0.0.1:0", &ends.address.clone(), "--json", "--delay", "200ms"]);
        let send = start(&["send", &way.address, "1", "--count", "800", "--rate", "200", "--json"]);
        (0..200).for_each(|_| assert_eq!(ends.message()["data"], 1));
        ends.signal(end);
        let arrived = 200 + std::iter::from_fn(|| Some(ends.line()).filter(|line| !line.is_empty())).count();
        let finished = finished(send);
        let count = |name: &str| last_json(&finished.stdout)[name].as_u64().expect("a number");
        let surely = count("messages_sent") - count("unheard");
        // Some messages may wait to be printed when the server is killed; 80 are on their way.
        assert!(
            finished.code == 1 && surely <= arrived as u64 + 30,
            "{end}: {arrived} arrived: {finished:?}"
        );
        // No more than a round trip, a heartbeat interval and some looks before the last one that arrived, on a busy machine.
        assert!(surely >= 20, "{end}: {arrived} arrived: {finished:?}");
    }
}

#[test]
fn what_was_not_acknowledged_when_the_server_ended_is_told() {
    let mut ends = Listener::start(&[]);
    // Nothing passes for so long that many messages are on their way when the server ends.
    let way = Listener::run(&["proxy", "127.0.0.1:0", &ends.address.clone(), "--json", "--delay", "100ms"]);
    let mut send = command(&["send", &way.address, "--json", "--delivery", "reliable", "--rate", "500"]);
    let mut send = send.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = send.stdin.take().expect("it is piped");
    lines.write_all(&b"1\n".repeat(300)).expect("it reads");
    (0..50).for_each(|_| assert_eq!(ends.message()["data"], 1));
    ends.signal("-KILL");
    drop(lines);
    let finished = finished(send);
    let count = |name: &str| last_json(&finished.stdout)[name].as_u64().expect("a number");
    let unacknowledged = count("unacknowledged");
    assert!(unacknowledged > 0 && unacknowledged <= count("messages_sent"), "{finished:?}");
    // It is told also if other messages were not sent at all.
    let told = format!("{unacknowledged} of {} messages were not acknowledged", count("messages_sent"));
    assert!(finished.code == 1 && finished.stderr.contains(&told), "{finished:?}");
}

#[cfg(unix)] // has SIGSTOP
#[test]
fn what_was_acknowledged_is_not_lost_although_the_server_was_silent() {
    let mut pauses = Listener::start(&[]);
    let arguments = ["--count", "40", "--rate", "20", "--delivery", "reliable", "--json"];
    let send = start(&[&["send", &pauses.address, "1"], &arguments[..]].concat());
    assert_eq!(pauses.message()["data"], 1);
    pauses.signal("-STOP");
    std::thread::sleep(std::time::Duration::from_millis(800));
    pauses.signal("-CONT");
    let finished = finished(send);
    let count = |name: &str| last_json(&finished.stdout)[name].as_u64();
    assert_eq!(
        (finished.code, count("messages_sent"), count("unheard")),
        (0, Some(40), Some(0)),
        "{finished:?}"
    );
}

#[test]
fn a_listener_prints_what_it_has_received_before_ctrl_c() {
    if support::ignores_interrupts() {
        return;
    }
    let mut listener = Listener::start(&[]);
    // Nobody reads its output meanwhile, so most of the messages wait.
    let finished =
        run(&["send", &listener.address.clone(), "1", "--count", "3000", "--delivery", "reliable"]);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    listener.interrupt();
    let printed = std::iter::from_fn(|| Some(listener.line()).filter(|line| !line.is_empty())).count();
    assert_eq!(printed, 3000);
    let (code, summary) = listener.end();
    assert!(code == 0 && summary.contains("3000 messages") && !summary.contains("waiting"), "{summary}");
}

#[test]
fn a_listener_warns_if_received_datagrams_are_dropped() {
    let mut listener = Listener::start(&["--wire", "classic"]);
    let arguments = ["send", &listener.address, "1", "--wire", "classic", "--no-crc"];
    assert_eq!(run(&arguments).code, 0);
    let warning = listener.note();
    assert!(warning.contains("other_crc") && warning.contains("`use_crc`"), "{warning}");
}
