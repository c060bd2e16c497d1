//! `doctor` prints all findings, judges them, and ends in time. The tests do not check how late the machine is, because
//! that depends on the machine.

mod support;

use support::{command, finish, finished, last_json, run, signal, start, wait_until_it_catches_ctrl_c};

/// The shortest run that has 1,000 samples at 1 kHz.
const SHORT: [&str; 3] = ["doctor", "--time", "1s"];

/// Runs only the first measurement, for the shortest time at this rate.
fn judged(rate: &str) -> support::Finished {
    let mut command = command(&["doctor", "--rate", rate, "--json"]);
    finish(command.env("TAUTLINE_REALTIME", "false"))
}

fn doctor(more: &[&str]) -> support::Finished {
    run(&[&SHORT, more].concat())
}

#[test]
fn the_json_has_every_part_and_every_measurement() {
    let finished = doctor(&["--json"]);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let found = last_json(&finished.stdout);
    let parts: Vec<&str> = found["profile"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|part| part["part"].as_str().unwrap())
        .collect();
    assert_eq!(
        parts,
        [
            "thread_priority",
            "cpus",
            "lock_memory",
            "low_latency_cpu",
            "busy_poll",
            "receive_buffer",
            "send_buffer",
            "dscp",
            "offload",
            "kernel_timestamps",
            "called_address",
            "wait"
        ]
    );
    for part in found["profile"].as_array().expect("a list") {
        match part["outcome"].as_str().expect("text") {
            "granted" => assert!(part["granted"].is_string(), "{part}"),
            "refused" => assert!(part["problem"].is_string() && part["remedy"].is_string(), "{part}"),
            outcome => assert_eq!(outcome, "not_asked", "{part}"),
        }
    }
    assert_eq!(found["latency"][0]["setup"], "as it is");
    for setup in found["latency"].as_array().expect("a list") {
        assert!(setup["samples"].as_u64().expect("a number") >= 1_000);
        for what in ["timer_us", "wake_up_us", "together_us"] {
            // A thread that was late is not woken again, so there may be too few wake-ups for the 99.9th percentile.
            let percentile = if what == "wake_up_us" { "p90" } else { "p999" };
            assert!(setup[what][percentile].as_f64().is_some_and(|us| us > 0.0), "{what} of {setup}");
        }
    }
    assert!(found["machine"]["kernel"].is_string() || cfg!(not(target_os = "linux")));
    assert!(found["socket"]["so_timestampns"].is_boolean() || cfg!(not(target_os = "linux")));
    assert_eq!(found["verdict"], serde_json::Value::Null, "no rate was given");
}

#[test]
fn the_verdict_determines_the_exit_code() {
    let slow = judged("0.01Hz");
    assert_eq!(slow.code, 0, "{}", slow.stdout);
    let verdict = &last_json(&slow.stdout)["verdict"];
    assert_eq!((&verdict["verdict"], &verdict["rate_hz"]), (&"fit".into(), &0.01.into()));
    assert!(verdict["samples"].as_u64().is_some_and(|samples| samples >= 1_000), "{verdict}");
    assert_eq!(last_json(&slow.stdout)["measured_rate_hz"], 200.0);
    let fast = judged("20kHz");
    let verdict = &last_json(&fast.stdout)["verdict"];
    assert_eq!(verdict["period_us"], 50.0);
    let is_unfit = verdict["share_percent"].as_f64().expect("a number") > 50.0;
    assert_eq!((fast.code, verdict["verdict"] == "unfit"), (if is_unfit { 4 } else { 0 }, is_unfit));
}

#[test]
fn a_time_that_is_too_short_is_refused_and_the_error_names_a_right_time() {
    for (more, enough) in [
        (&["--rate", "1kHz", "--time", "1ms"][..], "--time 1s or more"),
        (&["--rate", "200Hz", "--time", "10ms"], "--time 5s or more"),
        (&["--time", "999ms"], "--time 1s or more"),
    ] {
        let finished = run(&[&["doctor"], more].concat());
        assert_eq!((finished.code, finished.stdout.as_str()), (2, ""), "{more:?}");
        assert!(finished.stderr.contains(enough), "{more:?}: {}", finished.stderr);
    }
}

#[test]
fn ctrl_c_ends_doctor_with_the_findings_so_far() {
    for (more, expected) in [(&["--json"][..], "\"interrupted\":true"), (&[], "interrupted before all")] {
        let child = start(&[&["doctor", "--rate", "1kHz", "--time", "3600"], more].concat());
        wait_until_it_catches_ctrl_c(&child);
        signal("-INT", child.id());
        let finished = finished(child);
        assert_eq!(finished.code, 130, "{}", finished.stderr);
        for part in [expected, "kernel", "thread_priority", "send_buffer"] {
            assert!(finished.stdout.contains(part), "no {part} in {}", finished.stdout);
        }
    }
}

#[test]
fn the_text_is_complete_and_fits_80_columns() {
    let finished = doctor(&["--rate", "1kHz"]);
    for part in [
        "Machine",
        "Real-time profile",
        "thread_priority",
        "Socket",
        "Lateness",
        " samples  ",
        "Verdict",
        "in 99.9 % of ",
        " samples at 1000 Hz",
        "fit up to",
    ] {
        assert!(finished.stdout.contains(part), "no {part} in {}", finished.stdout);
    }
    let own_path = env!("CARGO_BIN_EXE_tautline");
    for line in finished.stdout.lines().filter(|line| !line.contains(own_path)) {
        assert!(line.chars().count() <= 80, "{line:?}");
    }
}

#[test]
fn a_file_can_choose_the_parts_of_the_profile() {
    let path = std::env::temp_dir().join(format!("tautline-doctor-{}.toml", std::process::id()));
    // Keys that have no effect on the doctor's server are accepted.
    let text = "role = \"client\"\nendpoint = \"plant:9000\"\nconnect_timeout = \"2s\"\ncpus = 1023\nrealtime = false\n";
    std::fs::write(&path, text).expect("written");
    let finished = doctor(&["--config", path.to_str().expect("text"), "--json"]);
    std::fs::remove_file(&path).expect("removed");
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let profile = &last_json(&finished.stdout)["profile"];
    assert_eq!((&profile[0]["outcome"], &profile[1]["outcome"]), (&"not_asked".into(), &"refused".into()));
    assert_eq!(profile[1]["asked"], "1023");
}

#[test]
fn an_invalid_rate_is_refused() {
    for rate in ["0", "-1", "21kHz", "1MHz", "fast"] {
        let finished = doctor(&["--rate", rate]);
        assert_eq!(finished.code, 2, "{rate}");
        assert!(finished.stderr.contains("messages per second"), "{}", finished.stderr);
    }
}

#[test]
fn a_target_is_examined_by_its_heartbeats_alone() {
    // It sends nothing back.
    let listener = support::Listener::start(&[]);
    let found = run(&["doctor", &listener.address, "--json"]);
    assert_eq!(found.code, 0, "{found:?}");
    let json = last_json(&found.stdout);
    assert_eq!(
        (&json["address"], &json["secured"]),
        (&listener.address.as_str().into(), &false.into()),
        "{json}"
    );
    assert!(json["path_mtu"].as_u64().is_some_and(|mtu| mtu >= 1_228), "{json}");
    assert!(json["rtt_us"]["p50"].as_f64().is_some_and(|us| us > 0.0), "{json}");
    // Both ends have the same clock.
    let (offset, error) = (json["clock_offset_us"].as_f64(), json["clock_offset_error_us"].as_f64());
    assert!(offset.zip(error).is_some_and(|(offset, error)| offset.abs() <= error + 1.0), "{json}");
    let text = run(&["doctor", &listener.address]).stdout;
    for part in [
        "secured     no: ",
        "path        packets of up to ",
        "round trip  p50 ",
        "clock       ",
        "native wire, connected",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn a_secured_target_is_called_secured() {
    let folder = std::env::temp_dir().join(format!("tautline-doctor-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let key = folder.join("arm.key");
    let key = key.to_str().expect("text");
    assert_eq!(run(&["keygen", key]).code, 0);
    let listener = support::Listener::start(&["--key", key]);
    let found = run(&["doctor", &listener.address, "--key", key]);
    std::fs::remove_dir_all(&folder).expect("this test made it");
    assert!(found.stdout.contains("secured     with a key"), "{found:?}");
}

#[test]
fn what_is_no_target_is_refused_with_what_would_be_right() {
    for (arguments, code, said) in [
        (&["doctor", "127.0.0.1:9"][..], 3, "nobody listens at 127.0.0.1:9"),
        (&["doctor", "9000"], 2, "did you mean 127.0.0.1:9000?"),
        (&["doctor", "127.0.0.1:9", "--wire", "classic"], 2, "use `tautline ping --wire classic`"),
        (&["doctor", "--wire", "classic"], 2, "name its server as TARGET"),
        (&["doctor", "127.0.0.1:9", "--rate", "1kHz"], 2, "--rate"),
    ] {
        let mut program = support::command(arguments);
        let found = support::finish(program.env("TAUTLINE_CONNECT_TIMEOUT", "100ms"));
        assert_eq!(found.code, code, "{found:?}");
        assert!(found.stderr.contains(said), "{}", found.stderr);
    }
}
