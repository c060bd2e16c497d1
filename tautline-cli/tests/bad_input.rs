//! Wrong input of every kind. The program ends with a documented exit code and a message that names the wrong value and
//! says what would be right.

mod support;

use support::{Finished, Listener, command, finish, run, run_with_input};

const USAGE: i32 = 2;
const NO_CONNECTION: i32 = 3;

fn assert_reports(finished: &Finished, code: i32, parts: &[&str]) {
    assert_eq!(finished.code, code, "{finished:?}");
    assert_eq!(finished.stdout, "", "errors go to stderr");
    for part in parts {
        assert!(finished.stderr.contains(part), "no {part:?} in {}", finished.stderr);
    }
}

#[test]
fn a_wrong_endpoint_is_refused() {
    for subcommand in ["listen", "send", "ping"] {
        assert_reports(&run(&[subcommand, "host:port"]), USAGE, &["host:port", "expected"]);
        assert_reports(&run(&[subcommand, "1.2.3.4:99999"]), USAGE, &["99999"]);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_network_card_in_place_of_an_address_is_told_with_the_setting_for_it() {
    for subcommand in ["listen", "hz"] {
        let parts = ["lo is a network card", "write :9000", "`interface`"];
        assert_reports(&run(&[subcommand, "lo:9000"]), USAGE, &parts);
    }
}

/// Otherwise the user would notice only when the file is needed.
#[test]
#[cfg(unix)]
fn a_folder_that_takes_no_black_box_is_found_at_the_start() {
    let arguments = ["listen", "127.0.0.1:0", "--black-box", "/dev/null/incidents"];
    assert_reports(&run(&arguments), 1, &["cannot write the black boxes to /dev/null/incidents"]);
}

#[test]
fn a_folder_in_place_of_a_file_and_a_file_in_place_of_a_folder_are_told() {
    let folder = std::env::temp_dir().join(format!("tautline-folder-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let path = folder.to_str().expect("plain text");
    for arguments in [
        &["replay", path, "127.0.0.1:9"][..],
        &["listen", "127.0.0.1:0", "--config", path],
        &["config", "check", path],
        &["config", "print", path],
        &["tap", "--read", path],
        &["proxy", "127.0.0.1:0", "127.0.0.1:9", "--schedule", path],
        &["record", "127.0.0.1:0", "-o", path],
        &["record", "127.0.0.1:0", "-o", path, "--overwrite"],
        &["demo", "--plot", path],
        &["keygen", path],
        &["bench", "latency", "--html", path],
        &["incident", "plant.mcap", path],
        &["incident", path],
        &["listen", "127.0.0.1:0", "--key", path],
    ] {
        let refused = run(arguments);
        assert_reports(&refused, USAGE, &[path]);
        let told = ["is a folder: name ", "is a folder, and ", "is a directory: name "];
        assert!(told.iter().any(|told| refused.stderr.contains(told)), "{arguments:?}: {}", refused.stderr);
    }
    let file = folder.join("run.jsonl");
    std::fs::write(&file, "").expect("a temporary file");
    let file = file.to_str().expect("plain text");
    for arguments in [&["listen", "127.0.0.1:0", "--black-box", file][..], &["man", file]] {
        assert_reports(&run(arguments), USAGE, &[file, "is a file: name a folder for the "]);
    }
    std::fs::remove_dir_all(&folder).expect("this test created it");
}

#[test]
fn a_time_without_a_number_is_refused_in_the_same_words_everywhere() {
    for arguments in [
        &["ping", "127.0.0.1:9", "--interval", "soon"][..],
        &["ping", "127.0.0.1:9", "--budget", "soon"],
        &["proxy", "127.0.0.1:0", "127.0.0.1:9", "--delay", "soon"],
        &["demo", "--impair", "delay=soon"],
    ] {
        assert_reports(&run(arguments), USAGE, &["such as 250ms", "a number alone is seconds"]);
    }
}

#[test]
fn a_client_cannot_connect_to_port_0() {
    assert_reports(&run(&["send", "127.0.0.1:0", "1"]), USAGE, &["port"]);
}

#[test]
fn a_port_in_use_is_named() {
    let other = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = other.local_addr().expect("it is bound").to_string();
    let port = address.rsplit(':').next().expect("it has a port");
    assert_reports(&run(&["listen", &address]), NO_CONNECTION, &[port, "in use", "another port"]);
}

#[test]
fn a_name_without_an_address_is_named() {
    for arguments in
        [&["listen", "no-such-host.invalid:9000"][..], &["send", "no-such-host.invalid:9000", "1"]]
    {
        assert_reports(&run(arguments), NO_CONNECTION, &["no-such-host.invalid", "check the name"]);
    }
}

#[test]
fn the_address_of_another_host_cannot_be_listened_on() {
    assert_reports(
        &run(&["listen", "192.0.2.1:9000"]),
        NO_CONNECTION,
        &["192.0.2.1", "not an address of this host"],
    );
}

#[test]
fn a_send_to_a_closed_port_fails() {
    let free = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("it is bound").to_string();
    drop(free);
    for wire in ["native", "classic"] {
        let arguments = ["send", &address, "1", "--wire", wire];
        let mut send = command(&arguments);
        if wire == "native" {
            send.env("TAUTLINE_CONNECT_TIMEOUT", "200ms");
        }
        assert_reports(&finish(&mut send), NO_CONNECTION, &[&address, "nobody listens"]);
    }
}

#[test]
fn data_that_is_not_json_is_refused() {
    assert_reports(&run(&["send", "127.0.0.1:9", "stop"]), USAGE, &["DATA", "'\"stop\"'", "--raw"]);
    assert_reports(&run(&["send", "127.0.0.1:9", "-"]), USAGE, &["leave DATA out", "standard input"]);
    assert_reports(&run(&["send", "127.0.0.1:9", "force=1.5"]), USAGE, &["did you mean '{\"force\": 1.5}'?"]);
    assert_reports(&run(&["send", "127.0.0.1:9", "{\"a\": NaN}"]), USAGE, &["DATA"]);
    for data in ["{force: 1.5}", "{ _f: 1 }", "{'force': 1.5}", "['a']", "'stop'"] {
        let hint = "keys and texts need double quotes, such as '{\"force\": 1.5}'";
        assert_reports(&run(&["send", "127.0.0.1:9", data]), USAGE, &[hint]);
    }
    for data in ["{\"a\": x}", "[x]", "{1: 2}"] {
        assert!(!run(&["send", "127.0.0.1:9", data]).stderr.contains("double quotes"), "{data}");
    }
}

#[test]
fn words_in_the_wrong_order_are_told_with_the_right_order() {
    let data_first = "the endpoint comes first, then ";
    for data in ["{\"force\": 1.5}", "1.5", "stop"] {
        assert_reports(&run(&["send", data, "127.0.0.1:9"]), USAGE, &[data_first]);
    }
    for arguments in [
        &["127.0.0.1:9", "run.mcap"][..],
        &["127.0.0.1:9", "./run.mcap"],
        &["127.0.0.1:9", "a.mcap", "b.mcap"],
    ] {
        let replay = run(&[&["replay"], arguments].concat());
        assert_reports(&replay, USAGE, &["the files come first, then the endpoint"]);
    }
    // clap takes the only word for the endpoint.
    for (file, problem) in [("run.mcap", "not provided:\n  <ENDPOINT>"), ("./run.mcap", "'<ENDPOINT>'")] {
        assert_reports(&run(&["replay", file]), USAGE, &[problem, "the files come first, then the endpoint"]);
    }
    let wrong = run(&["send", "127.0.0.1:99999", "1"]);
    assert!(!wrong.stderr.contains(data_first), "{}", wrong.stderr);
    assert_reports(&run(&["replay", "127.0.0.1:9"]), USAGE, &["not provided:\n  <FILE.mcap>"]);
    let timed = run(&["send", "127.0.0.1:9", "--timed", "run.jsonl"]);
    assert_reports(&timed, USAGE, &["'--timed < FILE'"]);
}

#[test]
fn a_message_that_is_too_large_is_refused() {
    let data = format!("\"{}\"", "x".repeat(70_000));
    // Windows allows 32,767 characters in a command line.
    if cfg!(unix) {
        assert_reports(&run(&["send", "127.0.0.1:9", &data]), USAGE, &["70002 bytes", "max_message_size"]);
    }
    let listener = Listener::start(&[]);
    let finished = run_with_input(&["send", &listener.address], format!("1\n{data}\n2\n").as_bytes());
    assert_reports(&finished, 5, &["line 2 ", "max_message_size", "sent 2 messages"]);
}

#[test]
fn raw_bytes_and_channels_are_refused_on_the_classic_wire() {
    for option in [&["--raw"][..], &["--channel", "3"]] {
        let arguments = [&["send", "127.0.0.1:9", "1", "--wire", "classic"], option].concat();
        assert_reports(&run(&arguments), USAGE, &[option[0], "native", "classic"]);
        assert_reports(&run_with_input(&arguments, b"1\n"), USAGE, &[option[0]]);
    }
}

#[test]
fn texts_that_the_native_wire_cannot_carry_are_refused() {
    let long = "x".repeat(256);
    for option in ["--source", "--destination", "--id", "--correlation-id"] {
        for (text, length) in [("", "0 bytes"), (long.as_str(), "256 bytes")] {
            let finished = run(&["send", "127.0.0.1:9", "1", option, text]);
            assert_reports(&finished, USAGE, &[option, length, "1 to 255"]);
        }
    }
}

#[test]
fn an_inbox_capacity_of_0_is_refused_where_messages_are_read() {
    for subcommand in ["listen", "ping"] {
        let mut command = command(&[subcommand, "127.0.0.1:9"]);
        assert_reports(&finish(command.env("TAUTLINE_INBOX_CAPACITY", "0")), USAGE, &["inbox_capacity"]);
    }
}

#[test]
fn an_error_does_not_repeat_long_data() {
    let deep = "[".repeat(5000);
    let finished = run(&["send", "127.0.0.1:9", &deep]);
    assert_reports(&finished, USAGE, &["DATA", "max_depth"]);
    assert!(finished.stderr.len() < 200, "{}", finished.stderr);
}

#[test]
fn options_of_the_classic_wire_are_refused_on_the_native_wire() {
    for option in ["--no-crc", "--no-sequence"] {
        for subcommand in [&["demo"][..], &["listen", "127.0.0.1:0"], &["ping", "127.0.0.1:9"]] {
            let finished = run(&[subcommand, &[option]].concat());
            assert_reports(&finished, USAGE, &[option, "--wire classic"]);
        }
    }
}

#[test]
fn neither_an_argument_nor_a_key_in_a_file_controls_the_terminal() {
    let controls = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    for word in ["a\u{9b}2Jb", "\u{1b}]0;title\u{7}", "\u{202e}a", "a\u{7f}b"] {
        for arguments in [&["listen", word][..], &["send", "127.0.0.1:9", "1", "--type", word], &[word]] {
            let finished = run(arguments);
            assert_eq!(finished.code, USAGE, "{finished:?}");
            assert!(!finished.stderr.contains(controls), "{:?}", finished.stderr);
        }
    }
    let path = std::env::temp_dir().join(format!("tautline-controls-{}.toml", std::process::id()));
    for key in [
        r#""x\u001b[31m\nerror: no" = 1"#,
        r#"command."\u009b\n" = 1"#,
        r#"keys."\nerror: no".key = "x""#,
        r#"key_file = "/\u001b[31m\nno""#,
    ] {
        std::fs::write(&path, key).expect("writable");
        let finished = run(&["config", "check", path.to_str().expect("plain text")]);
        assert_eq!(finished.code, USAGE, "{finished:?}");
        assert_eq!(finished.stderr.lines().count(), 1, "{:?}", finished.stderr);
        assert!(!finished.stderr.contains(controls), "{:?}", finished.stderr);
    }
    std::fs::remove_file(&path).expect("it was written");
}

#[test]
fn wrong_keys_in_a_file_and_a_missing_file_are_named() {
    let path = std::env::temp_dir().join(format!("tautline-bad-{}.toml", std::process::id()));
    let file = path.to_str().expect("the path is text");
    for (text, parts) in [
        ("max_peer = 3\n", &["max_peer", "max_peers"][..]),
        ("liveness_timeout = 3\n", &["liveness_timeout"]),
        ("wire = \"clasic\"\n", &["clasic", "native"]),
        ("name = \n", &[]),
    ] {
        std::fs::write(&path, text).expect("a temporary file");
        let finished = run(&["listen", "127.0.0.1:0", "--config", file]);
        assert_reports(&finished, USAGE, &[&[file], parts].concat());
    }
    std::fs::remove_file(&path).expect("this test created it");
    assert_reports(&run(&["listen", "127.0.0.1:0", "--config", file]), USAGE, &[file]);
}

#[test]
fn a_schedule_with_an_error_names_line_and_key() {
    let path = std::env::temp_dir().join(format!("tautline-bad-schedule-{}.toml", std::process::id()));
    let file = path.to_str().expect("the path is text");
    std::fs::write(&path, "[[phase]]\nafter = \"5s\"\nloss = \"lots\"\n").expect("a temporary file");
    let finished = run(&["proxy", "127.0.0.1:0", "127.0.0.1:9", "--schedule", file]);
    assert_reports(&finished, USAGE, &[file, "line 3", "`loss`", "\"lots\"", "2%"]);
    std::fs::remove_file(&path).expect("this test created it");
}

#[test]
fn a_proxy_needs_a_free_port_and_another_reachable_target() {
    let other = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = other.local_addr().expect("it is bound").to_string();
    assert_reports(&run(&["proxy", &address, "127.0.0.1:9"]), NO_CONNECTION, &[&address, "in use"]);
    drop(other);
    assert_reports(&run(&["proxy", &address, &address]), USAGE, &[&address, "LISTEN", "TARGET"]);
    let nowhere = run(&["proxy", "127.0.0.1:0", "no-such-host.invalid:9000"]);
    assert_reports(&nowhere, NO_CONNECTION, &["no-such-host.invalid", "check the name"]);
}

#[test]
fn a_wrong_variable_in_the_environment_is_named() {
    let mut listen = command(&["listen", "127.0.0.1:0"]);
    let finished = finish(listen.env("TAUTLINE_INBOX_CAPACITY", "many"));
    assert_reports(&finished, USAGE, &["TAUTLINE_INBOX_CAPACITY", "many"]);
}

#[test]
fn numbers_and_names_outside_their_range_are_refused() {
    for (arguments, parts) in [
        (&["demo", "--rate", "1"][..], &["--rate", "50"][..]),
        (&["demo", "--seconds", "0"], &["--seconds"]),
        (&["demo", "--seconds", "2", "--cut-after", "3s"], &["--seconds"]),
        (&["demo", "--cut-after", "3 m"], &["--cut-after", "unit"]),
        (&["demo", "--wire", "morse"], &["morse", "native", "classic"]),
        (&["send", "127.0.0.1:9", "1", "--type", "order"], &["order", "command"]),
        (&["send", "127.0.0.1:9", "1", "--priority", "urgent"], &["urgent", "critical"]),
        (&["send", "127.0.0.1:9", "1", "--rate", "0"], &["--rate", "20000"]),
        (&["send", "127.0.0.1:9", "1", "--rate", "-1"], &["--rate", "20000"]),
        (&["send", "127.0.0.1:9", "1", "--count", "0"], &["--count", "1 or more"]),
        (&["listen", "127.0.0.1:0", "--count", "-1"], &["--count", "1 or more"]),
        (&["ping", "127.0.0.1:9", "--budget", "soon"], &["--budget", "250ms"]),
        (&["ping", "127.0.0.1:9", "--size", "70000"], &["--size", "64000"]),
        (&["proxy", "127.0.0.1:0", "127.0.0.1:0"], &["port"]),
        (&["proxy", "127.0.0.1:0", "127.0.0.1:9", "--loss", "120%"], &["--loss", "120%", "0% to 100%"]),
        (&["proxy", "127.0.0.1:0", "127.0.0.1:9", "--loss", "90%", "--burst", "2"], &["`loss`", "`burst`"]),
        (&["proxy", "127.0.0.1:0", "127.0.0.1:9", "--burst", "2"], &["--loss"]),
        (&["proxy", "127.0.0.1:0", "127.0.0.1:9", "--rate", "10"], &["--rate", "10Mbit"]),
        (&["proxy", "127.0.0.1:0", "127.0.0.1:9", "--jitter", "3x"], &["--jitter", "unit"]),
        (&["proxy", "127.0.0.1:0", "127.0.0.1:9", "--schedule", "/no/such.toml"], &["/no/such.toml"]),
        (&["ping", "127.0.0.1:9", "--size", "1k"], &["--size", "bytes", "without a unit", "64000"]),
        (&["ping", "127.0.0.1:9", "--size", "-3"], &["--size", "bytes", "from 0"]),
        (&["ping", "127.0.0.1:9", "--rate", "1MHz"], &["--rate", "500Hz", "0.5kHz"]),
        (&["ping", "127.0.0.1:9", "--rate", "-1kHz"], &["--rate", "20000"]),
        (&["ping", "127.0.0.1:9", "--interval", "-1ms"], &["--interval", "0 or more", "250ms"]),
        (&["ping", "127.0.0.1:9", "--timeout", "-1s"], &["--timeout", "250ms"]),
        (&["ping", "127.0.0.1:9", "--budget", "-1"], &["--budget", "250ms"]),
        (&["doctor", "--time", "-1"], &["--time", "250ms"]),
        (&["doctor", "--rate", "-1kHz"], &["--rate", "0.5kHz"]),
        (&["send", "127.0.0.1:9", "1", "--channel", "x"], &["--channel", "from 0 to 65535"]),
        (&["send", "127.0.0.1:9", "1", "--lifespan", "-1ms"], &["--lifespan", "250ms"]),
        (&["send", "127.0.0.1:9", "1", "--request", "-1s"], &["--request", "250ms"]),
        (&["listen", "127.0.0.1:0", "--stats-every", "-1s"], &["--stats-every", "250ms"]),
        (&["demo", "--rate", "10kHz"], &["--rate", "samples per second", "5000"]),
        (&["tap", "capture.pcapng"], &["--read capture.pcapng"]),
        (&["demo", "--seconds", "-1s"], &["--seconds", "250ms"]),
        (&["demo", "--cut-after", "-1s"], &["--cut-after", "250ms"]),
        (&["demo", "--cut-after", "1s", "--cut-for", "-1s"], &["--cut-for", "250ms"]),
        (&["demo", "--re-enable", "soon"], &["--re-enable", "250ms"]),
        (&["proxy", "127.0.0.1:0", "127.0.0.1:9", "--seconds", "-1s"], &["--seconds", "250ms"]),
        (&["proxy", "127.0.0.1:0", "127.0.0.1:9", "--stats-every", "-1"], &["--stats-every", "250ms"]),
        (&["proxy", "127.0.0.1:0", "127.0.0.1:9", "--delay", "-1ms"], &["--delay", "250ms"]),
        (&["proxy", "127.0.0.1:0", "127.0.0.1:9", "--jitter", "-1ms"], &["--jitter", "250ms"]),
        (&["proxy", "127.0.0.1:0", "127.0.0.1:9", "--loss", "-1%"], &["--loss", "0% to 100%"]),
        (&["proxy", "127.0.0.1:0", "127.0.0.1:9", "--rate", "-10Mbit"], &["--rate", "10Mbit"]),
        (
            &["proxy", "127.0.0.1:0", "127.0.0.1:9", "--rate", "1Mbit", "--queue", "1k"],
            &["--queue", "bytes", "without a unit"],
        ),
        (&["proxy", "127.0.0.1:0", "127.0.0.1:9", "--seed", "x"], &["--seed", "whole number"]),
        (&["bench", "latency", "--size", "1400B"], &["--size", "bytes", "without a unit", "65000"]),
        (&["completions", "cmd"], &["cmd", "bash"]),
        (&["lisen"], &["lisen", "listen"]),
        (&["config", "plant.toml"], &["'tautline config check plant.toml'"]),
    ] {
        assert_reports(&run(arguments), USAGE, parts);
    }
}

#[test]
fn an_unknown_option_is_told_with_one_that_is_meant_or_none() {
    let tip = |arguments: &[&str]| {
        let refused = run(arguments);
        assert_reports(&refused, USAGE, &["unexpected argument"]);
        refused.stderr.split("tip: ").nth(1).map(|tip| tip.lines().next().unwrap_or_default().to_owned())
    };
    for arguments in [
        &["listen", ":0", "--seconds", "3"][..],
        &["watch", "--foo"],
        &["send", ":9", "--foo"],
        &["ping", ":9", "-i", "0.1", "9000"],
    ] {
        assert_eq!(tip(arguments), None, "{arguments:?}");
    }
    for (arguments, meant) in [
        (&["ping", ":9", "--interv", "1"][..], "'--interval'"),
        (&["listen", ":0", "--jsn"], "'--json'"),
        (&["send", ":9", "1", "--reliable"], "'--delivery reliable'"),
        (&["send", ":9", "1", "--best-effort"], "'--delivery best_effort'"),
        (&["send", ":9", "1", "--critical"], "'--priority critical'"),
        (&["bench", "latency", "--classic"], "'--wire classic'"),
        (&["ping", "127.0.0.1", "9000"], "127.0.0.1:9000"),
        (&["-v", "doctor", "plant.local", "9000", "--json"], "plant.local:9000"),
        (&["listen", "::1", "9000"], "[::1]:9000"),
        (&["demo", "--cut", "3s"], "'--cut-after'"),
    ] {
        assert!(tip(arguments).is_some_and(|tip| tip.contains(meant)), "{arguments:?}");
    }
}

#[test]
fn a_picture_that_cannot_be_written_is_found_before_the_demo() {
    let start = std::time::Instant::now();
    let finished = run(&["demo", "--seconds", "60", "--plot", "/no/such/folder/demo.svg"]);
    assert_reports(&finished, 1, &["/no/such/folder/demo.svg"]);
    assert!(start.elapsed().as_secs() < 30);
}
