//! What people see beside the data: notes, warnings, quiet and verbose runs, settings that are used or refused, completions.
#![allow(clippy::print_stdout)] // why a test was skipped

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Stdio};

use support::{Folder, Listener, command, finish, finished, run};

/// A socket that never answers.
fn silent() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("it is bound").to_string();
    (socket, address)
}

#[test]
fn who_waits_for_a_server_is_told_so_after_a_moment() {
    let (_socket, address) = silent();
    for arguments in [&["ping", &address, "-c", "1"][..], &["send", &address, "1"]] {
        let mut program = command(arguments);
        let waited = finish(program.env("TAUTLINE_CONNECT_TIMEOUT", "1s"));
        assert_eq!(waited.code, 3, "{waited:?}");
        let told = waited.stderr.matches(&format!("waiting for {address} ...")).count();
        assert_eq!(told, 1, "{arguments:?}: {}", waited.stderr);
        let mut program = command(arguments);
        let short = finish(program.env("TAUTLINE_CONNECT_TIMEOUT", "50ms"));
        assert!(!short.stderr.contains("waiting"), "{}", short.stderr);
    }
    // What may still come is waited for, too, and told once. The error then says what would be right.
    // No server of names is asked for so long a name.
    let long = "x".repeat(64);
    let (long_endpoint, long_missing) = (format!("{long}:9000"), format!("an address of `{long}` ("));
    for (endpoint, missing, error) in [
        (
            "203.0.113.9:9000",
            "the address 203.0.113.9, which this host does not have yet",
            "or 0.0.0.0 for all",
        ),
        ("[2001:db8::9]:9000", "the address 2001:db8::9, which", "or :: for all"),
        (&long_endpoint, &long_missing, "or give an IP address"),
    ] {
        let mut program = command(&["listen", endpoint]);
        let waited = finish(program.env("TAUTLINE_CONNECT_TIMEOUT", "1s"));
        assert_eq!(waited.code, 3, "{waited:?}");
        let lines: Vec<_> = waited.stderr.lines().collect();
        let [note, failed] = lines[..] else { panic!("{endpoint}: {}", waited.stderr) };
        assert!(note.starts_with(&format!("waiting for {missing}")), "{note}");
        assert!(failed.starts_with("error: ") && failed.ends_with(error), "{failed}");
    }
    let listener = Listener::start(&[]);
    let unanswered = run(&["ping", &listener.address, "-c", "1", "-W", "1.5"]);
    assert!(unanswered.stderr.contains("waiting for an answer from 127.0.0.1"), "{}", unanswered.stderr);
    let request = run(&["send", &listener.address, "1", "--request", "1s"]);
    assert!(request.stderr.contains("waiting for an answer from 127.0.0.1"), "{}", request.stderr);
}

#[test]
fn help_shows_what_a_subcommand_has_before_what_all_have() {
    let help = run(&["incident", "--help"]).stdout;
    let at = |option: &str| help.find(option).unwrap_or_else(|| panic!("{option} is missing: {help}"));
    assert!(at("--json") < at("--verbose") && at("--verbose") < at("--quiet"), "{help}");
}

#[test]
fn quiet_leaves_only_errors_and_verbose_adds_the_log() {
    let listener = Listener::start(&["--reply"]);
    let quiet = run(&["send", &listener.address, "1", "--quiet"]);
    assert_eq!((quiet.code, quiet.stderr.as_str()), (0, ""), "{quiet:?}");
    let quiet = run(&["-q", "send", "127.0.0.1:9", "{"]);
    assert!(quiet.stderr.starts_with("error: DATA"), "{}", quiet.stderr);
    let verbose = run(&["send", &listener.address, "1", "-v"]);
    assert!(verbose.stderr.contains("info: peer connected, peer="), "{}", verbose.stderr);
    let both = run(&["send", &listener.address, "1", "-v", "-q"]);
    assert_eq!(both.code, 2);
}

#[test]
fn nobody_who_only_shows_commands_is_told_to_guard_them() {
    let mut listener = Listener::start(&["--reply", "--verbose"]);
    assert_eq!(run(&["send", &listener.address, "1", "--type", "command"]).code, 0);
    assert_eq!(listener.message()["data"], 1);
    listener.signal("-TERM");
    let (_, log) = listener.end();
    assert!(log.contains("peer connected") && !log.contains("acted on"), "{log}");
}

#[test]
fn the_log_tells_the_same_of_the_same_peer_once() {
    let (socket, address) = silent();
    drop(socket);
    let mut program = command(&["ping", &address, "-c", "1", "--verbose"]);
    let verbose = finish(program.env("TAUTLINE_CONNECT_TIMEOUT", "1s"));
    assert_eq!(verbose.code, 3, "{verbose:?}");
    // Windows reports it to programs that wait for an answer, and Wine does not.
    let told = verbose.stderr.matches("peer unreachable").count();
    assert!(told == 1 || (cfg!(windows) && told == 0), "{}", verbose.stderr);
    assert_eq!(verbose.stderr.matches(&format!("address={address}")).count(), told, "{}", verbose.stderr);

    let listener = Listener::start(&["--verbose"]);
    let other_wire = ["--wire", "classic", "-c", "3", "-i", "0.2", "-W", "0.1", "-q"];
    assert_eq!(run(&[&["ping", &listener.address], &other_wire[..]].concat()).code, 3);
    listener.signal("-TERM");
    let (_, log) = listener.end();
    assert_eq!(log.matches("datagram dropped").count(), 1, "{log}");
    assert!(!log.contains("Some(") && !log.contains("::"), "values as people write them: {log}");
}

#[test]
fn a_name_that_looks_like_more_of_the_log_is_quoted() {
    let mut listener = Listener::start(&["--verbose"]);
    let mut stranger = command(&["send", &listener.address, "1"]);
    stranger.env("TAUTLINE_NAME", "arm, peer=p9\n\u{1b}[8minfo: forged\u{2028}");
    assert_eq!(finish(&mut stranger).code, 0);
    let lines: Vec<_> = std::iter::from_fn(|| Some(listener.note())).take(2).collect();
    let name = r#"name="arm, peer=p9\n\u{1b}[8minfo: forged\u{2028}""#;
    assert!(lines[0].contains("info: peer connected") && lines[0].trim().ends_with(name), "{lines:?}");
    assert!(lines[1].contains("peer disconnected"), "{lines:?}");
}

#[test]
fn a_port_alone_is_answered_with_an_endpoint() {
    for (arguments, suggested) in [
        (&["listen", "9000"][..], "did you mean 0.0.0.0:9000?"),
        (&["bench", "serve", "9000"], "did you mean 0.0.0.0:9000?"),
        (&["ping", "9000"], "did you mean 127.0.0.1:9000?"),
        (&["send", "9000", "1"], "did you mean 127.0.0.1:9000?"),
        (&["listen", ":::9000"], "did you mean [::]:9000?"),
        (&["ping", "fe80::1:9000"], "did you mean [fe80::1]:9000?"),
    ] {
        let refused = run(arguments);
        assert_eq!(refused.code, 2);
        assert!(refused.stderr.contains(suggested), "{}", refused.stderr);
    }
}

#[test]
fn the_endpoint_of_the_settings_is_used_or_refused() {
    let folder = Folder::new("endpoint");
    let plant = folder.file("plant.toml", "role = \"server\"\nendpoint = \"127.0.0.1:0\"\n");
    let listener = Listener::run(&["listen", "--config", &plant, "--reply"]);
    let client = format!("role = \"client\"\nendpoint = \"{}\"\n", listener.address);
    let client = folder.file("client.toml", &client);
    let used = run(&["ping", "--config", &client, "-c", "2", "-i", "1ms"]);
    assert_eq!(used.code, 0, "{used:?}");
    assert!(used.stdout.contains(&format!("{}: 2 sent, 2 answered", listener.address)), "{}", used.stdout);
    // The same place in other words is the same place.
    let same = run(&["send", &listener.address, "1", "--config", &client]);
    assert_eq!(same.code, 0, "{same:?}");
    for (arguments, said) in [
        (&["send", "127.0.0.1:9", "1", "--config", &client][..], "leave one of them out"),
        (&["ping", &listener.address, "--config", &plant], "`role` is server in your settings"),
        (&["listen", "127.0.0.1:0", "--config", &client], "`role` is client in your settings"),
        (&["bench", "latency", "--config", &client, "--messages", "1"], "`role` is in your settings"),
        (&["bench", "throughput", "--config", &plant, "--messages", "1"], "`role` is in your settings"),
        (&["listen"], "there is no endpoint"),
        (&["ping", "-c", "1"], "there is no endpoint"),
    ] {
        let refused = run(arguments);
        assert_eq!(refused.code, 2, "{arguments:?}: {refused:?}");
        assert!(refused.stderr.contains(said), "{arguments:?}: {}", refused.stderr);
    }
    let mut by_variable = command(&["send", &listener.address, "1"]);
    let by_variable = finish(by_variable.env("TAUTLINE_ENDPOINT", "127.0.0.1:9"));
    assert_eq!(by_variable.code, 2, "{by_variable:?}");
    assert!(by_variable.stderr.contains("TAUTLINE_ENDPOINT"), "{}", by_variable.stderr);
}

/// Returns what bash completes after these words. A call of `compopt` stands first.
fn completed(words: &[&str]) -> Option<Vec<String>> {
    let script = run(&["completions", "bash"]).stdout;
    let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let ask = format!(
        "{script}\nCOMP_WORDS=({})\nCOMP_CWORD={}\ncompopt() {{ echo compopt $*; }}\n_tautline_keys tautline {} {}\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        words.join(" "),
        words.len() - 1,
        words[words.len() - 1],
        words[words.len() - 2],
    );
    let mut bash = Command::new("bash")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    bash.stdin.take().expect("it is piped").write_all(ask.as_bytes()).expect("bash reads");
    let output = finished(bash);
    Some(output.stdout.split_whitespace().map(str::to_owned).collect())
}

#[test]
fn completions_offer_the_values_of_an_option() {
    for (words, offered) in [
        (&["tautline", "send", "--type", ""][..], &["command", "status", "acknowledgment"][..]),
        (&["tautline", "listen", "--type", "conf"], &["configuration"]),
        (&["tautline", "send", "--priority", ""], &["low", "normal", "high", "critical"]),
        (&["tautline", "send", "--delivery", ""], &["best_effort", "reliable", "ordered"]),
        (&["tautline", "bench", "latency", "--set", "rec"], &["receive_buffer="]),
        (&["tautline", "bench", "serve", "--set", ""], &["max_peers=", "liveness_timeout=", "wait="]),
    ] {
        let Some(found) = completed(words) else {
            println!("skipped: there is no bash");
            return;
        };
        for value in offered {
            assert!(found.iter().any(|word| word == value), "no {value} after {words:?}: {found:?}");
        }
        // No space stands between a key and its value.
        assert_eq!(found[0] == "compopt", words.contains(&"--set"), "{words:?}: {found:?}");
    }
    assert!(run(&["completions", "bash"]).stdout.contains("complete -F _tautline_keys -o nosort"));
    let zsh = run(&["completions", "zsh"]).stdout;
    assert!(zsh.contains(":KEY=VALUE:{compadd -S \"\" - bind= ") && !zsh.contains(":KEY=VALUE:("), "{zsh}");
    // The many keys are not in the help.
    assert!(!run(&["bench", "latency", "--help"]).stdout.contains("liveness_timeout="));
}

#[test]
fn every_line_on_stderr_is_json_if_the_listener_is_asked_for_it() {
    let listener = Listener::start(&["--json", "--verbose", "--stats-every", "50ms"]);
    let other_wire = ["--wire", "classic", "-c", "3", "-i", "0.6", "-W", "0.1", "-q"];
    let pinged = run(&[&["ping", &listener.address], &other_wire[..]].concat());
    assert_eq!(pinged.code, 3, "{pinged:?}");
    run(&["send", &listener.address, "1"]);
    listener.signal("-TERM");
    let (code, rest) = listener.end();
    assert_eq!(code, 0, "{rest}");
    let mut kinds = BTreeMap::<&str, usize>::new();
    for line in rest.lines() {
        let line: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let kinds_of_line = ["note", "warning", "error", "log", "connection_state"];
        let kind = kinds_of_line.into_iter().find(|kind| line.get(kind).is_some());
        let kind = kind.unwrap_or_else(|| panic!("{line}"));
        *kinds.entry(kind).or_default() += 1;
    }
    assert_eq!(kinds["warning"], 1, "one for the peer, not one for each message: {rest}");
    assert!(kinds["connection_state"] > 1 && kinds.contains_key("log"), "{kinds:?}");

    for arguments in [
        &["listen", "127.0.0.1:0", "--json", "--nonsense"][..],
        &["listen", "--json"],
        &["listen", "203.0.113.9:9000", "--json"],
    ] {
        let mut program = command(arguments);
        let refused = finish(program.env("TAUTLINE_CONNECT_TIMEOUT", "100ms"));
        assert!(refused.code != 0, "{refused:?}");
        for line in refused.stderr.lines() {
            let line: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
            assert!(line["error"].is_string() || line["note"].is_string(), "{line}");
        }
        assert!(refused.stderr.contains("\"error\""), "{}", refused.stderr);
    }
}

#[cfg(unix)] // Windows sends Ctrl-Break then
#[test]
fn a_closed_terminal_ends_a_listener_unless_it_was_told_to_live_on() {
    let listener = Listener::start(&[]);
    listener.signal("-HUP");
    let (code, rest) = listener.end();
    assert_eq!(code, 0);
    assert!(rest.contains("0 messages"), "the summary comes as after Ctrl-C: {rest}");

    let program = env!("CARGO_BIN_EXE_tautline");
    let mut nohup = Command::new("sh");
    nohup.args(["-c", &format!("trap '' HUP; exec {program} listen 127.0.0.1:0 --count 1")]);
    let mut nohup = nohup.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("there is a shell");
    let mut notes = std::io::BufReader::new(nohup.stderr.take().expect("it is piped"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut notes, &mut line).expect("text");
    let address = line.trim().strip_prefix("listening on ").expect("its address").to_owned();
    support::wait_until_it_catches_ctrl_c(&nohup);
    support::signal("-HUP", nohup.id());
    let sent = run(&["send", &address, "1"]);
    assert_eq!(sent.code, 0, "it lives: {sent:?}");
    assert_eq!(finished(nohup).code, 0);
}

#[test]
fn a_picture_replaces_no_file_unless_it_is_asked_for() {
    let folder = Folder::new("picture");
    let old = folder.file("tautline-demo.svg", "mine");
    let demo = |more: &[&str]| {
        finish(command(&[&["demo", "--seconds", "0.3"], more].concat()).current_dir(&folder.0))
    };
    let kept = demo(&[]);
    assert!(kept.stderr.contains("tautline-demo.svg exists"), "{}", kept.stderr);
    assert_eq!(std::fs::read_to_string(&old).expect("it is there"), "mine");
    demo(&["--plot", "tautline-demo.svg"]);
    let svg = std::fs::read_to_string(&old).expect("it is there");
    assert!(
        svg.contains("tautline demo --seconds 0.3 --plot tautline-demo.svg, 20"),
        "the command and the time"
    );
    // A run that fails leaves no file behind.
    let failed = demo(&["--plot", "new.svg", "--plant", "203.0.113.9:9"]);
    assert!(failed.code != 0 && !folder.0.join("new.svg").exists(), "{failed:?}");
}

#[test]
fn times_of_the_demo_have_a_unit_or_are_seconds() {
    for (arguments, code) in [
        (&["--seconds", "0.4s", "--cut-after", "0.1", "--cut-for", "100ms"][..], 4),
        (&["--seconds", "0.4", "--cut-after", "100ms", "--cut-for", "0.1"], 4),
    ] {
        let finished = run(&[&["demo", "--no-plot"], arguments].concat());
        assert_eq!(finished.code, code, "{finished:?}");
        assert!(finished.stdout.contains("is killed"), "{}", finished.stdout);
    }
}

/// Runs the program in a terminal of 80x24, and returns what it wrote there. `None` if there is no script(1).
fn in_terminal(arguments: &str) -> Option<String> {
    let program = env!("CARGO_BIN_EXE_tautline");
    let line = format!("stty cols 80 rows 24; exec {program} {arguments}");
    let child = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    Some(finished(child).stdout)
}

#[test]
fn a_demo_with_a_hundred_events_fits_a_terminal() {
    let demo =
        "demo --no-plot --secure --seconds 3 --timeout 3ms --re-enable 0.05 --impair loss=30%,jitter=9ms";
    let Some(shown) = in_terminal(demo) else {
        println!("skipped: there is no script(1)");
        return;
    };
    // Each frame and the summary begin at the left. Escape sequences have no width.
    let plain = console::strip_ansi_codes(&shown);
    let lines: Vec<&str> = plain.split(['\n', '\r']).collect();
    assert!(lines.len() > 100, "it drew frames: {shown}");
    for line in &lines {
        assert!(console::measure_text_width(line) <= 80, "{line}");
    }
    let summary = lines.iter().rposition(|line| line.starts_with("tautline demo: ")).expect("the headline");
    let rows = lines[summary..].iter().filter(|line| !line.is_empty()).count();
    assert!(rows <= 23, "{rows} rows: {:?}", &lines[summary..]);
    let chart = lines[summary..].iter().find(|line| line.contains('±')).expect("a chart");
    assert!(console::measure_text_width(chart) > 65, "it fills the width: {chart}");
}

#[test]
fn what_goes_on_until_ctrl_c_says_so_on_a_terminal_alone() {
    let hint = " (Ctrl-C ends it)";
    for arguments in ["hz 127.0.0.1:0", "tap 127.0.0.1:0 127.0.0.1:9", "proxy 127.0.0.1:0 127.0.0.1:9"] {
        let arguments = format!("{arguments} --seconds 0.2");
        let piped = run(&arguments.split(' ').collect::<Vec<_>>());
        assert!(piped.stderr.contains("listening on ") && !piped.stderr.contains(hint), "{}", piped.stderr);
        let Some(shown) = in_terminal(&arguments) else {
            println!("skipped: there is no script(1)");
            return;
        };
        let first = shown.lines().next().unwrap_or_default();
        assert!(first.starts_with("listening on 127.0.0.1:") && first.ends_with(hint), "{shown}");
    }
}

/// Returns the text of a page's table row.
fn fact<'a>(page: &'a str, name: &str) -> &'a str {
    let row = page.split(&format!("<tr><th>{name}</th><td>")).nth(1).unwrap_or_else(|| panic!("no {name}"));
    row.split("</td>").next().expect("split gives a part")
}

#[test]
fn a_page_says_how_it_was_made_and_shows_what_was_received() {
    let folder = Folder::new("pages");
    let latency = folder.0.join("latency.html");
    let throughput = folder.0.join("throughput.html");
    let path = |path: &Path| path.to_str().expect("text").to_owned();
    let measured = run(&["bench", "latency", "--messages", "30", "--baseline", "--html", &path(&latency)]);
    assert_eq!(measured.code, 0, "{measured:?}");
    assert!(!measured.stdout.contains("p99"), "30 round trips do not tell it: {}", measured.stdout);
    let page = std::fs::read_to_string(&latency).expect("the page");
    assert!(fact(&page, "Command").starts_with("tautline bench latency --messages 30"), "{page}");
    let time = fact(&page, "Time");
    assert!(time.ends_with(" UTC") && time.matches(':').count() == 2, "{time}");
    assert!(fact(&page, "Raw socket").contains("blocking UDP socket"));
    assert!(!page.contains("p99.9"), "left out of the tiles and the table");

    let measured = run(&["bench", "throughput", "--seconds", "0.4", "--html", &path(&throughput)]);
    assert_eq!(measured.code, 0, "{measured:?}");
    let page = std::fs::read_to_string(&throughput).expect("the page");
    for curve in ["</i>received", "</i>sent", "/s received at "] {
        assert!(page.contains(curve), "no {curve}");
    }
}
