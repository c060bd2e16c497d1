//! The program on networks that a plain loopback does not show: several addresses, addresses and names that move, a network that
//! comes late, a kernel that refuses calls.
//!
//! Each test runs a script of `tests/networks/` in a network namespace of its own, and is skipped by name where that is not
//! allowed.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout)] // why a test was skipped

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tautline");

/// Runs a script in a network namespace of its own. Returns what it printed, or `None` if the test is skipped.
fn run(test: &str, script: &str, arguments: &[&str]) -> Option<String> {
    let unshare = |command: &mut Command| command.output().map_err(|error| error.to_string());
    // A file system of its own is for the names that a script sets.
    let allowed = unshare(Command::new("unshare").args(["-rnm", "ip", "link", "set", "lo", "up"]));
    if !allowed.as_ref().is_ok_and(|output| output.status.success()) {
        println!("skipped: {test}: network namespaces are not allowed here: {allowed:?}");
        return None;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/networks").join(script);
    let mut command = Command::new("unshare");
    command.args(["-rnm", "sh"]).arg(path).arg(PROGRAM).args(arguments);
    let Output { stdout, stderr, .. } = unshare(&mut command).expect("it was allowed");
    Some(format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

/// The arguments of a script for IPv4 and those for IPv6, on both wires, directly and through a proxy.
fn kinds<'a, const N: usize>(v4: [&'a str; N], v6: [&'a str; N]) -> Vec<Vec<&'a str>> {
    let mut kinds = Vec::new();
    for wire in ["native", "classic"] {
        for of_family in [v4, v6] {
            kinds.extend(["", "proxy"].map(|through| [&[wire], &of_family[..], &[through]].concat()));
        }
    }
    kinds
}

/// Runs a script once for each kind, all at the same time: they mostly wait. Checks what each printed.
fn run_each(test: &str, script: &str, kinds: &[Vec<&str>], check: impl Fn(&[&str], &str) + Sync) {
    std::thread::scope(|scope| {
        for kind in kinds {
            scope.spawn(|| run(test, script, kind).inspect(|printed| check(kind, printed)));
        }
    });
}

/// Every line of `lines` ends in "exit 0", and there are this many.
fn assert_all_done(printed: &str, count: usize) {
    let done = printed.lines().filter(|line| line.ends_with("exit 0")).count();
    assert_eq!((done, printed.lines().count()), (count, count), "{printed}");
}

#[test]
fn a_server_at_all_addresses_answers_from_the_one_it_was_called_at() {
    let addresses = ["127.0.0.1", "10.0.0.1", "10.0.0.2"];
    let arguments = [&["0.0.0.0", "0.0.0.0"], &addresses[..]].concat();
    let Some(printed) = run("second address", "second_address.sh", &arguments) else { return };
    assert_all_done(&printed, 2 * 2 * addresses.len());
}

#[test]
fn a_server_at_all_ipv6_addresses_answers_from_the_one_it_was_called_at() {
    // The last two are IPv4: the socket serves both.
    let addresses = ["[::1]", "[fd00::1]", "[fd00::2]", "10.0.0.1", "10.0.0.2"];
    let arguments = [&["[::]", "[::]"], &addresses[..]].concat();
    let Some(printed) = run("second IPv6 address", "second_address.sh", &arguments) else { return };
    assert_all_done(&printed, 2 * 2 * addresses.len());
}

/// On a path of this many bytes, nothing is refused for its size.
fn everything_arrives_on_a_small_path(test: &str, mtu: &str, host: &str) {
    let Some(printed) = run(test, "small_path.sh", &[mtu, host]) else { return };
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let lines: Vec<serde_json::Value> = printed.lines().map(parse).collect();
    assert_eq!(lines.len(), 7, "{printed}");
    for line in &lines[..3] {
        // The kernel may drop some, because the bench sends as fast as it can.
        assert_eq!(line["sends_refused"], 0, "{line}");
        assert!(
            2 * line["messages_received"].as_u64().expect("a number")
                > line["messages_sent"].as_u64().unwrap(),
            "{line}"
        );
    }
    for line in &lines[3..] {
        assert_eq!((&line["messages_sent"], &line["lost"]), (&20.into(), &0.into()), "{line}");
    }
}

#[test]
fn everything_arrives_on_a_path_of_1400_bytes() {
    everything_arrives_on_a_small_path("small path", "1400", "127.0.0.1");
}

#[test]
fn everything_arrives_on_an_ipv6_path_of_1280_bytes() {
    everything_arrives_on_a_small_path("small IPv6 path", "1280", "[::1]");
}

/// What `send` said of a run, and what arrived.
struct Sent {
    sent: u64,
    refused: u64,
    unheard: u64,
    exit: u64,
    lines_of_errors: u64,
    arrived: u64,
    errors: String,
}

impl Sent {
    fn read(printed: &str) -> Self {
        let lines: Vec<&str> = printed.lines().collect();
        let json = |line: &str| -> serde_json::Value {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {printed}"))
        };
        let (sent, exit, arrived) = (json(lines[0]), json(lines[1]), json(lines[2]));
        let number = |value: &serde_json::Value, key: &str| value[key].as_u64().expect("a number");
        Self {
            sent: number(&sent, "messages_sent"),
            refused: number(&sent, "refused"),
            unheard: number(&sent, "unheard"),
            exit: number(&exit, "exit"),
            lines_of_errors: number(&exit, "lines_of_errors"),
            arrived: number(&arrived, "arrived"),
            errors: lines[3..].join("\n"),
        }
    }
}

#[test]
fn send_says_how_many_of_60000_lines_the_kernel_refused() {
    let (v4, v6) = (["127.0.0.1", "60000", "1400", "0", ""], ["[::1]", "60000", "1280", "0", ""]);
    // One after the other, because this is work for both cores; and once through a proxy.
    let is_direct = |kind: &Vec<&str>| kind.last() == Some(&"");
    for kind in kinds(v4, v6).into_iter().enumerate().filter(|(at, kind)| *at < 2 || is_direct(kind)) {
        let kind = kind.1;
        run_each("refused sends", "refused_sends.sh", std::slice::from_ref(&kind), |kind, printed| {
            let run = Sent::read(printed);
            assert_eq!(run.sent + run.refused, 60_000, "{kind:?}: {}", run.errors);
            assert!(run.arrived <= run.sent, "{kind:?}: {} arrived, {}", run.arrived, run.errors);
            assert_eq!(run.exit, u64::from(run.refused + run.unheard > 0), "{kind:?}: {}", run.errors);
        });
    }
}

/// The rules that refuse a loopback address, and its routes that have to go.
const PROHIBIT: [(&str, &str); 2] = [
    (
        "127.0.0.1",
        "ip route del local 127.0.0.1 table local; ip route del local 127.0.0.0/8 table local; ip route add prohibit 127.0.0.1 table local",
    ),
    ("[::1]", "ip -6 route add prohibit ::1 table local metric 0; ip -6 route del local ::1 table local"),
];

#[test]
fn send_counts_what_the_kernel_refuses_in_mid_run_and_says_why_once() {
    let [v4, v6] = PROHIBIT.map(|(host, prohibit)| [host, "1000", "65536", "1000", prohibit]);
    let direct: Vec<_> = kinds(v4, v6).into_iter().filter(|kind| kind.last() == Some(&"")).collect();
    run_each("refused in mid-run", "refused_sends.sh", &direct, |kind, printed| {
        let run = Sent::read(printed);
        assert_eq!(run.sent + run.refused, 1_000, "{kind:?}: {}", run.errors);
        assert!(
            run.refused > 0 && run.arrived == run.sent,
            "{kind:?}: {} of {} arrived",
            run.arrived,
            run.sent
        );
        assert_eq!((run.exit, run.lines_of_errors), (1, 2), "{kind:?}: {}", run.errors);
        assert!(
            run.errors.contains("not sent") && run.errors.contains(&run.refused.to_string()),
            "{kind:?}: {}",
            run.errors
        );
    });
}

#[test]
fn send_counts_losses_from_the_last_sign_of_life() {
    // The kernel takes datagrams to an IPv4 address of a card that is down, and sends none. What falls silent behind a proxy is the
    // same.
    let arguments = ["native", "127.0.0.1", "1000", "65536", "1000", "ip link set lo down"];
    let kinds = ["", "proxy"].map(|through| [&arguments[..], &[through]].concat());
    run_each("silence", "refused_sends.sh", &kinds, |kind, printed| {
        let run = Sent::read(printed);
        let lost = run.sent - run.arrived;
        assert!(
            lost > 0 && run.unheard >= lost && run.exit == 1,
            "{kind:?}: {} arrived, {}",
            run.arrived,
            run.errors
        );
        // At most what was sent between two heartbeats did arrive; the server may be slow.
        assert!(run.unheard <= lost + 400, "{kind:?}: {} of {lost}", run.unheard);
        assert!(run.errors.contains(" messages may be lost: "), "{kind:?}: {}", run.errors);
    });
}

/// The number before `word` in what was printed.
fn number_before(printed: &str, word: &str) -> usize {
    let words: Vec<_> = printed.split_whitespace().collect();
    let at = words.iter().position(|found| found.trim_end_matches(',') == word);
    let number = at.and_then(|at| words[at.checked_sub(1)?].parse().ok());
    number.unwrap_or_else(|| panic!("no number of {word}: {printed}"))
}

/// Something moves after 15 of 50 messages, and the link is back within 15 more.
fn is_back(kind: &[&str], printed: &str) {
    assert!(number_before(printed, "answered") >= 30, "{kind:?}: {printed}");
}

#[test]
fn a_client_is_back_after_its_address_changed() {
    let kinds = kinds(["10.5.0.1", "10.5.0.2", "10.5.0.3", "24"], ["fd05::1", "fd05::2", "fd05::3", "64"]);
    run_each("new address", "new_address.sh", &kinds, is_back);
}

#[test]
fn a_server_and_a_proxy_follow_a_name() {
    let kinds = kinds(["10.7.0.1", "10.7.0.2", "32"], ["fd07::1", "fd07::2", "128"]);
    run_each("moving name", "moving_name.sh", &kinds, is_back);
}

#[test]
fn all_ends_may_start_before_their_network() {
    let kinds = kinds(["10.6.0.1", "24"], ["fd06::1", "64"]);
    run_each("before the network", "before_network.sh", &kinds, |kind, printed| {
        let is_right = printed.contains("\"early\": true") && printed.contains("exit 0");
        assert!(is_right, "{kind:?}: {printed}");
        // An IPv4 socket can be bound to any address while a host has none at all.
        let waits = kind[0] == "native" || kind[1].contains(':');
        assert!(!waits || printed.contains("waiting for "), "{kind:?}: {printed}");
    });
}

#[test]
fn what_a_card_has_no_room_for_is_sent_smaller() {
    let of_ipv4 = vec!["native", "10.8.0.1", "10.8.0.2", "24"];
    let of_ipv6 = vec!["native", "fd08::1", "fd08::2", "64"];
    run_each("narrow end", "narrow_end.sh", &[of_ipv4, of_ipv6], |kind, printed| {
        // Some 75 of 300 come before it; the others come when the size is found, within two seconds.
        assert!(number_before(printed, "answered") >= 170, "{kind:?}: {printed}");
    });
}

#[test]
fn a_client_waits_for_a_route_that_forbids_to_send() {
    let kinds = ["native", "classic"].map(|wire| vec![wire, "10.6.0.1", "24", "prohibit"]);
    let of_ipv6 = vec!["native", "fd06::1", "64", "prohibit"];
    run_each("forbidding route", "before_network.sh", &[&kinds[..], &[of_ipv6]].concat(), |kind, printed| {
        assert!(printed.contains("\"early\": true") && printed.contains("exit 0"), "{kind:?}: {printed}");
        // The message on the classic wire is sent when the route is gone.
        let waits = kind[0] == "native";
        assert!(
            !waits || printed.contains("waiting for a route to ") && printed.contains("(Permission denied)"),
            "{kind:?}: {printed}"
        );
    });
}

/// The kernel refuses every datagram, as a firewall does. The error says so, on both wires.
#[test]
fn it_is_said_that_the_kernel_sends_nothing() {
    let Some(without_call) = without_call() else { return };
    // A server is not needed: nothing would reach it.
    let silent =
        std::net::UdpSocket::bind("127.0.0.1:0").and_then(|silent| Ok((silent.local_addr()?, silent)));
    let (address, _silent) = silent.expect("a free port");
    for (arguments, exit) in
        [(&["send", "[1]"][..], [3, 1]), (&["ping", "--count", "2", "--timeout", "100ms"], [3, 3])]
    {
        for (wire, exit) in ["native", "classic"].into_iter().zip(exit) {
            let (subcommand, rest) = arguments.split_first().expect("one at least");
            let mut command = Command::new(without_call);
            command.args(["1", "sendto,sendmsg,sendmmsg", PROGRAM, subcommand, &address.to_string()]);
            command.args(rest).args(["--wire", wire]).env("TAUTLINE_CONNECT_TIMEOUT", "500ms");
            let run = command.output().expect("it was built");
            let errors = String::from_utf8_lossy(&run.stderr);
            assert_eq!(run.status.code(), Some(exit), "{subcommand} {wire}: {errors}");
            assert!(errors.contains("the system forbids sending there"), "{subcommand} {wire}: {errors}");
            assert!(!errors.contains("no answer"), "{subcommand} {wire}: {errors}");
        }
    }
}

/// The program that refuses system calls to another one. `None`: there is no C compiler, or no seccomp.
fn without_call() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    BUILT.get_or_init(build_without_call).as_deref()
}

fn build_without_call() -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("without_call");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/networks/without_call.c");
    let compiled = Command::new("cc").arg("-o").arg(&built).arg(source).output();
    let works = || Command::new(&built).args(["38", "mlockall", "true"]).output();
    if compiled.is_ok_and(|output| output.status.success()) && works().is_ok_and(|out| out.status.success()) {
        return Some(built);
    }
    println!("skipped: refused calls: no C compiler, or no seccomp");
    None
}

/// Pings a server, directly and through a proxy, on which all three are refused these calls.
fn works_without(without_call: &Path, refused: &str, errno: &str, wire: &str, host: &str) {
    let free = || {
        let free = std::net::UdpSocket::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        format!("{host}:{}", free.expect("a free port").port())
    };
    let (server, front) = (free(), free());
    let called = |endpoint: &str| endpoint.replace("0.0.0.0", "127.0.0.1");
    let sandboxed = |arguments: &[&str]| {
        let mut command = Command::new(without_call);
        command.args([errno, refused, PROGRAM]).args(arguments).stdout(Stdio::null());
        command
    };
    let listen = sandboxed(&["listen", &server, "--reply", "--wire", wire]).spawn();
    let proxy = sandboxed(&["proxy", &front, &called(&server)]).spawn();
    std::thread::sleep(Duration::from_millis(300));
    let pings = [&server, &front].map(|endpoint| {
        let (called, limits) = (called(endpoint), ["--count", "5", "--timeout", "2s"]);
        sandboxed(&[&["ping", &called, "--wire", wire][..], &limits].concat()).output()
    });
    for mut running in [listen, proxy].map(|started| started.expect("it was built")) {
        running.kill().expect("it runs");
        let _ = running.wait();
    }
    for ping in pings.map(|ping| ping.expect("it was built")) {
        let errors = String::from_utf8_lossy(&ping.stderr);
        assert!(ping.status.success(), "{refused} {errno} {wire} {host}: {errors}");
    }
}

#[test]
fn a_link_works_where_a_sandbox_refuses_calls() {
    let Some(without_call) = without_call() else { return };
    let refused = [
        "recvmsg,recvmmsg",
        "sendmsg,sendmmsg",
        "setsockopt",
        "getsockopt",
        "ppoll",
        "eventfd2",
        "recvmsg,sendmsg,setsockopt,getsockopt,ppoll,eventfd2",
    ];
    std::thread::scope(|scope| {
        for refused in refused {
            scope.spawn(move || {
                for (errno, wire, host) in [
                    ("38", "native", "127.0.0.1"),
                    ("1", "native", "[::1]"),
                    ("1", "classic", "0.0.0.0"),
                    ("38", "classic", "[::1]"),
                ] {
                    works_without(without_call, refused, errno, wire, host);
                }
            });
        }
    });
}
