//! `record` and `replay`: what was recorded is what came, other programs read it, and it can be sent again.
#![allow(clippy::print_stderr, reason = "says why a test is skipped")]
#![cfg_attr(windows, allow(dead_code, unused_imports))] // of tests that need signals

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Listener, command, finished, last_json, run, run_with_input, signal};

/// A folder for one test's files. It is removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("tautline-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        Self(folder)
    }

    fn at(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("the path is text").to_owned()
    }

    /// Returns the names of the files, in order.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("this test created it");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Ends a recording, and returns its summary.
fn end(mut recording: Listener, signal: &str) -> Value {
    recording.signal(signal);
    let summary = recording.message();
    let (code, notes) = recording.end();
    assert_eq!(code, 0, "{notes}");
    summary
}

/// Sends to `address`, and expects that all went.
fn send(address: &str, arguments: &[&str]) {
    let sent = run(&[&["send", address], arguments].concat());
    assert_eq!(sent.code, 0, "{}", sent.stderr);
}

/// Checks a recording with the mcap package. `None` if there is none.
fn checked(arguments: &[&str]) -> Option<Value> {
    let found = support::python::script(&["mcap", "jsonschema"], "check_recording.py", arguments)?;
    assert_eq!(found.code, 0, "{}", found.stderr);
    Some(last_json(&found.stdout))
}

#[test]
fn python_reads_what_was_recorded_on_both_wires() {
    for wire in ["native", "classic"] {
        let folder = Folder::new(&format!("record-{wire}"));
        let file = folder.at("run.mcap");
        let recording = Listener::run(&["record", "127.0.0.1:0", "-o", &file, "--json", "--wire", wire]);
        let address = recording.address.clone();
        let of_arm = ["--wire", wire, "--source", "arm", "--type", "command"];
        send(
            &address,
            &[&["{\"force\": 1.5, \"axes\": [1, 2.5], \"on\": true}", "--count", "30"], &of_arm[..]].concat(),
        );
        // Fields of other types are another schema, and keep the topic.
        send(
            &address,
            &[&["{\"force\": \"none\", \"text\": \"a\\u001b[2J\u{9b}\"}", "--id", "x"], &of_arm[..]].concat(),
        );
        send(&address, &["[1, 2]", "--source", "odd/na me", "--wire", wire]);
        if wire == "native" {
            send(&address, &["stop!", "--raw", "--channel", "7", "--source", "arm"]);
        }
        let messages = if wire == "native" { 33 } else { 32 };
        assert_eq!(end(recording, "-TERM")["messages_recorded"], messages);

        let Some(found) = checked(&[&file]) else { return };
        let commands = &found["topics"]["/arm/command"];
        assert_eq!(commands["documents"].as_array().map(Vec::len), Some(31));
        assert_eq!(commands["documents"][0]["data"], json!({"force": 1.5, "axes": [1, 2.5], "on": true}));
        let schemas = commands["schemas"].as_object().expect("by name");
        let described = &schemas["tautline.arm.command"]["properties"]["data"]["properties"];
        let number = json!({"type": "number"});
        let expected = json!({
            "force": number, "axes": {"type": "array", "items": number}, "on": {"type": "boolean"}
        });
        assert_eq!(described, &expected);
        assert_eq!(schemas.len(), 2);
        assert_eq!(commands["documents"][30]["data"]["text"], "a\u{1b}[2J\u{9b}");
        assert_eq!(found["topics"]["/odd_na_me/data"]["documents"][0]["metadata"]["source"], "odd/na me");
        assert_eq!(found["counts"]["messages_recorded"], messages.to_string());
        if wire == "native" {
            let raw = &found["topics"]["/arm/data/7"];
            assert_eq!(raw["documents"][0]["data"], "73746f7021");
            assert_eq!(raw["metadata"]["content_type"], "raw");
            assert_eq!(raw["metadata"]["layout"], "the bytes of the payload, as hexadecimal digits");
        }
    }
}

#[test]
fn the_example_of_the_page_reads_a_recording() {
    let page = include_str!("../../docs/recording.md");
    let example =
        page.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let folder = Folder::new("record-page");
    let recording = Listener::run(&["record", "127.0.0.1:0", "-o", &folder.at("run.mcap"), "--json"]);
    send(&recording.address, &["[1.5]", "--type", "command", "--source", "controller", "--count", "3"]);
    end(recording, "-INT");
    let Some(python) = support::python::with(&["mcap"]) else { return };
    let mut python = std::process::Command::new(python);
    let found = support::finish(python.args(["-c", example]).current_dir(&folder.0).stdin(Stdio::null()));
    assert_eq!((found.code, found.stdout.lines().count()), (0, 3), "{found:?}");
    assert!(found.stdout.lines().all(|line| line.ends_with(" [1.5]")), "{}", found.stdout);
}

/// Records so many messages, and returns the file's path.
fn recorded(folder: &Folder, count: &str, rate: &str) -> String {
    let file = folder.at("run.mcap");
    let recording = Listener::run(&["record", "127.0.0.1:0", "-o", &file, "--json"]);
    send(&recording.address, &["{\"force\": 1.5}", "--type", "command", "--count", count, "--rate", rate]);
    let count: u64 = count.parse().expect("a number");
    assert_eq!(end(recording, "-INT")["messages_recorded"], count);
    file
}

#[test]
fn python_reads_the_whole_chunks_of_a_recording_that_was_cut_off_anywhere() {
    let folder = Folder::new("record-cut");
    let file = recorded(&folder, "600", "1000");
    let Some(found) = checked(&["--cut", &file]) else { return };
    assert_eq!(found["messages"], 600);
    let found: Vec<u64> = serde_json::from_value(found["found"].clone()).expect("numbers");
    let steps = found.windows(2).filter(|pair| pair[1] > pair[0]).count();
    assert!(steps >= 3 && found.last() == Some(&600), "few chunks: {found:?}");
}

#[test]
fn a_recording_of_a_program_that_was_killed_is_replayed_as_far_as_it_goes() {
    let folder = Folder::new("record-killed");
    let file = folder.at("run.mcap");
    let recording = Listener::run(&["record", "127.0.0.1:0", "-o", &file]);
    send(&recording.address, &["1", "--count", "300", "--rate", "1000"]);
    drop(recording); // killed

    let listener = Listener::start(&[]);
    let replayed = run(&["replay", &file, &listener.address, "--json", "--speed", "100"]);
    assert_eq!(replayed.code, 0, "{}", replayed.stderr);
    assert!(replayed.stderr.contains("was cut off"), "{}", replayed.stderr);
    let sent = last_json(&replayed.stdout)["messages_sent"].as_u64();
    assert!(sent.is_some_and(|sent| (1..=300).contains(&sent)), "{sent:?}");
    // The same from a pipe, such as that of a program that uncompresses it.
    if cfg!(unix) {
        let bytes = fs::read(&file).expect("it is there");
        let piped = ["replay", "/dev/stdin", &listener.address, "--json", "--speed", "100"];
        let piped = run_with_input(&piped, &bytes);
        assert_eq!((piped.code, last_json(&piped.stdout)["messages_sent"].as_u64()), (0, sent), "{piped:?}");
    }
}

#[test]
fn a_file_that_is_full_is_followed_by_another_and_the_oldest_are_removed() {
    let folder = Folder::new("record-split");
    let file = folder.at("run.mcap");
    let options = ["--split-size", "64KiB", "--keep", "2", "--json"];
    let recording = Listener::run(&[&["record", "127.0.0.1:0", "-o", &file][..], &options].concat());
    let data = format!("\"{}\"", "x".repeat(2_000));
    send(&recording.address, &[&data, "--count", "200", "--rate", "500"]);
    let summary = end(recording, "-INT");
    assert_eq!(summary["messages_recorded"], 200);
    let files = summary["files"].as_u64().expect("a number");
    assert!(files >= 4, "{summary}");
    let kept = [files - 1, files].map(|number| format!("run-{number:04}.mcap"));
    assert_eq!(folder.names(), kept);
    // Each file is complete in itself.
    for name in kept {
        if checked(&[&folder.at(&name)]).is_none() {
            return;
        }
    }
}

#[test]
fn a_file_that_is_there_is_not_overwritten_unless_it_is_asked_for() {
    let folder = Folder::new("record-there");
    let file = folder.at("run.mcap");
    fs::write(&file, "mine").expect("written");
    let refused = run(&["record", "127.0.0.1:0", "-o", &file, "--seconds", "0.1"]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("--overwrite"), "{}", refused.stderr);
    assert_eq!(fs::read(&file).expect("it is there"), b"mine");
    assert_eq!(run(&["record", "127.0.0.1:0", "-o", &file, "--seconds", "0.1", "--overwrite"]).code, 0);
    assert!(fs::read(&file).expect("it is there").starts_with(b"\x89MCAP"));

    let no_split = run(&["record", "127.0.0.1:0", "-o", &folder.at("b.mcap"), "--keep", "2"]);
    assert_eq!((no_split.code, no_split.stderr.contains("--split-size")), (2, true), "{}", no_split.stderr);
    let neither = run(&["record", "-o", &folder.at("c.mcap")]);
    assert_eq!(neither.code, 2);
}

/// Records 600 messages into a pipe that nobody reads before the end. Returns the exit code, what was told, and the summary.
#[cfg(unix)] // has mkfifo(1)
fn recorded_slowly(name: &str, inbox: &str) -> (i32, String, Value) {
    let folder = Folder::new(name);
    let pipe = folder.at("slow.mcap");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("there is a mkfifo");
    assert!(made.success());
    let mut record = command(&["record", "127.0.0.1:0", "-o", &pipe, "--overwrite", "--json"]);
    let record = record.env("TAUTLINE_INBOX_CAPACITY", inbox);
    let record = record.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut record = record.expect("the binary is built");
    // Opening a pipe waits for the other end. Nobody reads from it yet, so that the program waits when it is full.
    let mut reader = fs::File::open(&pipe).expect("it is there");
    let mut notes = std::io::BufReader::new(record.stderr.take().expect("it is piped"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut notes, &mut line).expect("stderr is text");
    let address = line.trim().strip_prefix("listening on ").expect("its address").to_owned();
    let data = format!("\"{}\"", "x".repeat(1_000));
    send(&address, &[&data, "--count", "600", "--rate", "2000"]);
    signal("-INT", record.id());
    let rest = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut reader, &mut bytes).map(|_| bytes)
    });
    let mut told = String::new();
    std::io::Read::read_to_string(&mut notes, &mut told).expect("stderr is text");
    let found = finished(record);
    let summary = last_json(&found.stdout);
    let bytes = rest.join().expect("reading does not panic").expect("readable");
    assert_eq!(bytes.len() as u64, summary["bytes"], "{summary}");
    (found.code, told, summary)
}

#[cfg(unix)]
#[test]
fn what_cannot_be_written_in_time_is_counted_and_told() {
    let (code, told, summary) = recorded_slowly("record-slow", "50");
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("were not recorded"), "{told}");
    let count = |name: &str| summary[name].as_u64().expect("a number");
    assert_eq!(count("messages_recorded") + count("not_recorded"), 600, "{summary}");
    assert!(count("not_recorded") > 0, "{summary}");
}

#[cfg(unix)]
#[test]
fn what_waits_to_be_written_at_the_end_is_recorded() {
    let (code, told, summary) = recorded_slowly("record-waiting", "1000");
    assert_eq!((code, &summary["messages_recorded"]), (0, &600.into()), "{told}{summary}");
}

#[test]
fn a_full_disk_ends_the_recording_with_a_sentence() {
    if !std::path::Path::new("/dev/full").exists() {
        eprintln!("skipped: this system has no /dev/full");
        return;
    }
    let recording = Listener::run(&["record", "127.0.0.1:0", "-o", "/dev/full", "--overwrite"]);
    let _ = run(&["send", &recording.address, "1", "--count", "10"]);
    let (code, notes) = recording.end();
    assert_eq!(code, 1, "{notes}");
    assert!(notes.contains("cannot write /dev/full"), "{notes}");
}

/// Returns the parts of a printed message that must be the same when it is sent again.
fn same(message: &Value) -> Value {
    let mut message = message.clone();
    for name in ["peer", "age_ms", "received"] {
        message.as_object_mut().expect("an object").remove(name);
    }
    message["metadata"].as_object_mut().expect("an object").remove("timestamp");
    message
}

#[test]
fn a_replay_repeats_type_priority_id_and_all_else_with_its_pace() {
    for wire in ["native", "classic"] {
        let folder = Folder::new(&format!("replay-{wire}"));
        let file = folder.at("run.mcap");
        let mut listener = Listener::start(&["--wire", wire]);
        let recording = Listener::run(&["record", "127.0.0.1:0", "-o", &file, "--json", "--wire", wire]);
        let mut sendings = vec![
            vec!["{\"z\": 1, \"a\": [0.1]}", "--type", "command", "--priority", "critical", "--id", "17"],
            vec![
                "null",
                "--type",
                "status",
                "--id",
                "x",
                "--correlation-id",
                "y",
                "--source",
                "arm",
                "--destination",
                "hmi",
            ],
        ];
        if wire == "native" {
            sendings.push(vec![
                "\u{1}",
                "--raw",
                "--channel",
                "3",
                "--delivery",
                "ordered",
                "--lifespan",
                "9s",
            ]);
        }
        let mut expected = Vec::new();
        for arguments in &sendings {
            let arguments = [&arguments[..], &["--wire", wire]].concat();
            send(&recording.address, &arguments);
            send(&listener.address, &arguments);
            expected.push(same(&listener.message()));
            std::thread::sleep(Duration::from_millis(50)); // the pace
        }
        assert_eq!(end(recording, "-INT")["messages_recorded"], expected.len());

        let started = Instant::now();
        let replayed = run(&["replay", &file, &listener.address, "--wire", wire, "--json"]);
        assert_eq!(replayed.code, 0, "{}", replayed.stderr);
        assert!(started.elapsed() >= Duration::from_millis(if wire == "native" { 100 } else { 50 }));
        let summary = last_json(&replayed.stdout);
        assert_eq!(summary["messages_sent"], expected.len());
        assert!(summary["timing_error_us"]["p50"].is_number(), "{summary}");
        let ids_of_their_own =
            expected.iter().filter(|message| message["metadata"]["content_type"].is_null());
        for message in ids_of_their_own {
            assert_eq!(&same(&listener.message()), message, "{wire}");
        }

        let late = run(&[
            "replay",
            &file,
            &listener.address,
            "--wire",
            wire,
            "--json",
            "--from",
            "20ms",
            "--type",
            "status",
        ]);
        assert_eq!(last_json(&late.stdout)["messages_sent"], 1, "{}", late.stderr);
    }
}

#[test]
fn what_listen_printed_is_sent_again_with_its_pace() {
    for wire in ["native", "classic"] {
        let mut first = Listener::start(&["--wire", wire]);
        let of_arm = ["--type", "command", "--priority", "high", "--wire", wire];
        let mut lines = String::new();
        for id in ["1", "two", "3"] {
            send(&first.address, &[&["{\"z\": 1, \"a\": 2}", "--id", id], &of_arm[..]].concat());
            lines.push_str(&first.line());
            std::thread::sleep(Duration::from_millis(40)); // the pace
        }
        let mut second = Listener::start(&["--wire", wire]);
        let started = Instant::now();
        let input = format!("{lines}{{\"force\": 1.5}}\n");
        let again =
            run_with_input(&["send", &second.address, "--timed", "--json", "--wire", wire], input.as_bytes());
        assert!(started.elapsed() >= Duration::from_millis(80), "{:?}", started.elapsed());
        // The last line is no message of `listen`.
        assert_eq!(again.code, 5, "{}", again.stderr);
        assert!(again.stderr.contains("line 4 was not sent: it is no message"), "{}", again.stderr);
        let summary = last_json(&again.stdout);
        assert_eq!((&summary["messages_sent"], &summary["bad_lines"]), (&json!(3), &json!(1)));
        assert!(summary["timing_error_us"]["p50"].is_number(), "{summary}");
        for line in lines.lines() {
            let expected = serde_json::from_str(line).expect("JSON");
            assert_eq!(same(&second.message()), same(&expected), "{wire}");
        }
    }
    let both = run(&["send", "127.0.0.1:9", "--timed", "--rate", "10"]);
    assert_eq!(both.code, 2, "{}", both.stderr);
}

#[cfg(unix)] // has signals
#[test]
fn a_long_pause_of_a_recording_is_told() {
    let mut listener = Listener::start(&[]);
    let mut send = command(&["send", &listener.address, "--timed"]);
    let send = send.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut send = send.expect("the binary is built");
    run(&["send", &listener.address, "1"]);
    let line = listener.line();
    let at = line.rfind("\"received\":").expect("a message");
    let later = format!("{}\"received\":9e9}}\n", &line[..at]);
    let mut input = send.stdin.take().expect("it is piped");
    std::io::Write::write_all(&mut input, (line + &later).as_bytes()).expect("it reads");
    let mut notes = std::io::BufReader::new(send.stderr.take().expect("it is piped"));
    let mut note = String::new();
    while !note.contains("the next message is due in ") {
        assert_ne!(std::io::BufRead::read_line(&mut notes, &mut note).expect("text"), 0, "{note}");
    }
    signal("-INT", send.id());
    assert_eq!(finished(send).code, 0, "{note}");
}

#[test]
fn files_that_are_no_recordings_are_told() {
    let folder = Folder::new("replay-wrong");
    let (text, magic) = (folder.at("text.mcap"), folder.at("magic.mcap"));
    fs::write(&text, "no recording at all").expect("written");
    fs::write(&magic, b"\x89MCAP0\r\n\x01\xff\xff\xff\xff\xff\xff\xff\x7f").expect("written");
    let wrong = run(&["replay", &text, "127.0.0.1:9"]);
    assert_eq!((wrong.code, wrong.stderr.contains("is no MCAP file")), (2, true), "{}", wrong.stderr);
    let missing = run(&["replay", &folder.at("none.mcap"), "127.0.0.1:9"]);
    assert_eq!((missing.code, missing.stderr.contains("cannot read")), (1, true), "{}", missing.stderr);
    let listener = Listener::start(&[]);
    let damaged = run(&["replay", &magic, &listener.address]);
    assert_eq!((damaged.code, damaged.stderr.contains("cannot read")), (1, true), "{}", damaged.stderr);
}

#[test]
fn a_client_records_what_its_server_sends() {
    let folder = Folder::new("record-client");
    let file = folder.at("run.mcap");
    // A server that sends back what a client sends: here a ping beside the recording, which gets nothing.
    let listener = Listener::start(&["--reply"]);
    let recorded =
        run(&["record", "--connect", &listener.address, "-o", &file, "--seconds", "0.3", "--json"]);
    assert_eq!(recorded.code, 0, "{}", recorded.stderr);
    assert_eq!(last_json(&recorded.stdout)["messages_recorded"], 0);
    assert!(recorded.stderr.contains("connected"), "{}", recorded.stderr);
    let _ = run_with_input;
}

#[test]
fn a_recording_that_cannot_begin_leaves_no_file_and_keeps_the_one_that_is_there() {
    let folder = Folder::new("record-no-begin");
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("any port");
    let address = taken.local_addr().expect("bound").to_string();
    let file = folder.at("run.mcap");
    let as_server = ["record", address.as_str(), "-o", &file];
    let as_proxy = ["record", "--proxy", &address, "127.0.0.1:9", "-o", &file];
    for arguments in [&as_server[..], &as_proxy[..]] {
        let refused = run(arguments);
        assert_eq!(refused.code, 3, "{}", refused.stderr);
        assert!(folder.names().is_empty(), "{arguments:?} left {:?}", folder.names());
    }
    fs::write(&file, "of yesterday").expect("the folder is there");
    for arguments in [&as_server[..], &as_proxy[..]] {
        assert_eq!(run(&[arguments, &["--overwrite"]].concat()).code, 3);
        assert_eq!(fs::read_to_string(&file).expect("it is there"), "of yesterday", "{arguments:?}");
    }
    let refused = run(&as_server);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("is there already"), "{}", refused.stderr);
}
