//! The dissector for Wireshark (`wireshark/tautline.lua`), in tshark: golden datagrams, damaged ones, those of other programs, and a
//! real link.
#![allow(clippy::print_stderr, reason = "says why a test is skipped")]

mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use support::golden;

/// Whether there is a tshark. If not, it says so.
fn has_tshark() -> bool {
    let mut tshark = Command::new("tshark");
    let found = tshark.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let is_there = found.is_ok_and(|status| status.success());
    if !is_there {
        eprintln!("skipped: this needs tshark (Debian: apt-get install tshark)");
    }
    is_there
}

/// Returns what tshark prints of a capture: the fields of each packet, separated by tabs.
fn dissected(name: &str, capture: &[u8], fields: &[&str], options: &[&str]) -> Vec<String> {
    let file = std::env::temp_dir().join(format!("tautline-{name}-{}.pcap", std::process::id()));
    std::fs::write(&file, capture).expect("a temporary file");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wireshark/tautline.lua");
    let found = run(&file, &script, fields, options);
    std::fs::remove_file(&file).expect("this test created it");
    assert!(!found.1.contains("Lua"), "{}", found.1);
    found.0.lines().map(str::to_owned).collect()
}

fn run(file: &Path, script: &Path, fields: &[&str], options: &[&str]) -> (String, String) {
    let mut tshark = Command::new("tshark");
    tshark
        .arg("-X")
        .arg(format!("lua_script:{}", script.display()))
        .arg("-r")
        .arg(file)
        .args(["-T", "fields"]);
    fields.iter().for_each(|field| _ = tshark.args(["-e", field]));
    let found = support::finish(tshark.args(options).stdin(Stdio::null()));
    assert_eq!(found.code, 0, "{}", found.stderr);
    (found.stdout, found.stderr)
}

const PROTOCOL: &str = "_ws.col.Protocol";
const INFO: &str = "_ws.col.Info";
const EXPERT: &str = "_ws.expert.message";

/// Returns a capture of datagrams of the native wire, from the ports of their ends.
fn of_native<'a>(datagrams: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    golden::capture(datagrams.map(|bytes| if bytes[3] & 1 == 1 { (6, 5, bytes) } else { (5, 6, bytes) }))
}

#[test]
fn every_golden_datagram_is_named_and_none_is_malformed() {
    if !has_tshark() {
        return;
    }
    let native = golden::native();
    let capture = of_native(native.iter().map(|golden| &golden.bytes[..]));
    let found = dissected(
        "native",
        &capture,
        &[PROTOCOL, INFO, "tautline.malformed", "_ws.malformed", "tautline.bad_crc"],
        &[],
    );
    assert_eq!(found.len(), native.len());
    for (golden, line) in native.iter().zip(&found) {
        let word = match golden.name.as_str() {
            name if name.contains("hello") => "hello",
            name if name.contains("token") => "token",
            "sealed_echo" => "sealed echo",
            "sealed_accept" => "sealed accept",
            name if name.starts_with("sealed") => "sealed, ",
            "echo" | "accept" | "refused" | "close" | "forward" | "acknowledgement" => &golden.name,
            "unknown_session" => "unknown session",
            name if name.contains("heartbeat") || name.contains("probe") => "heartbeat",
            "claim" | "granted" | "denied" => "command/3",
            name if name.contains("fragment") => "fragment",
            _ => "",
        };
        let mut columns = line.split('\t');
        assert_eq!(columns.next(), Some("tautline"), "{}: {line}", golden.name);
        let info = columns.next().unwrap_or_default();
        assert!(info.contains(word) && !info.contains("unknown frame"), "{}: {line}", golden.name);
        assert!(columns.all(str::is_empty), "{}: {line}", golden.name);
    }

    let classic = golden::classic();
    let capture = golden::capture(classic.iter().map(|golden| (5, 6, &golden.bytes[..])));
    let found =
        dissected("classic", &capture, &[PROTOCOL, "tautline_classic.message_type", "_ws.malformed"], &[]);
    for (golden, line) in classic.iter().zip(&found) {
        let columns: Vec<&str> = line.split('\t').collect();
        assert_eq!((columns[0], columns[2]), ("tautline classic", ""), "{}: {line}", golden.name);
        assert!(!columns[1].is_empty(), "{}: {line}", golden.name);
    }
}

#[test]
fn damage_gaps_and_resends_are_told() {
    if !has_tshark() {
        return;
    }
    let all = golden::native();
    let named =
        |name: &str| all.iter().find(|golden| golden.name == name).expect("it is there").bytes.clone();
    let (hello, message, forward) = (named("hello"), named("message"), named("forward"));
    let mut damaged = message.clone();
    damaged[0x21] ^= 4;
    let reliable = named("ordered_message_behind_another");
    let datagrams = [hello, damaged, message.clone(), message, forward, reliable.clone(), reliable];
    let capture = of_native(datagrams.iter().map(|datagram| &datagram[..]));
    let found = dissected("damaged", &capture, &[PROTOCOL, EXPERT], &[]);
    let expected = [
        "",
        "The CRC-32 is wrong: damaged",
        "",
        "The number came before",
        "3 datagrams are missing before this one",
        "A later datagram came before",
        "A reliable message is sent again",
    ];
    for (line, expected) in found.iter().zip(expected) {
        assert!(line.starts_with("tautline\t"), "{line}");
        assert!(
            line.contains(expected) && (!expected.is_empty() || line.ends_with('\t')),
            "{expected}: {line}"
        );
    }
    // Of every golden datagram, each cut and each changed byte: something is told, and the script never fails.
    let mut broken = vec![named("hello")];
    for golden in &all {
        broken.extend((20..golden.bytes.len()).step_by(7).map(|length| golden.bytes[..length].to_vec()));
    }
    let capture = of_native(broken.iter().map(|datagram| &datagram[..]));
    let found = dissected("cut", &capture, &[PROTOCOL, EXPERT], &[]);
    assert!(found.iter().all(|line| !line.contains("Lua Error")), "{found:?}");
    assert!(found.iter().filter(|line| line.contains("CRC-32 is wrong")).count() > 50);
}

#[test]
fn datagrams_that_a_capture_shows_as_one_packet_are_taken_apart() {
    if !has_tshark() {
        return;
    }
    let [plain, sealed] = golden::joined();
    let datagrams = [&plain[..], &sealed, &plain[..plain.len() - 1]];
    let fields = [PROTOCOL, INFO, "tautline.bad_crc"];
    let found = dissected("joined", &of_native(datagrams.into_iter()), &fields, &[]);
    for line in &found {
        assert!(line.starts_with("tautline\t3 datagrams, client: #"), "{found:?}");
    }
    assert!(found[0].ends_with("\t") && found[1].ends_with("\t"), "{found:?}");
    assert_eq!(found[1].matches("sealed, ").count(), 3, "{found:?}");
    // Each is judged by itself.
    assert_eq!(found[2].matches("bad CRC-32").count(), 1, "{found:?}");
}

#[test]
fn a_datagram_that_was_captured_in_part_is_not_called_damaged() {
    if !has_tshark() {
        return;
    }
    let all = golden::native();
    let named = |name: &str| &all.iter().find(|golden| golden.name == name).expect("it is there").bytes[..];
    for last in ["two_messages_and_padding", "sealed_heartbeat"].map(named) {
        // The session is known from its hello.
        let mut capture = of_native([named("hello"), last].into_iter());
        let packet = 28 + last.len();
        let (kept, length_at) = (u32::try_from(packet - 9).expect("short"), capture.len() - packet - 8);
        capture[length_at..length_at + 4].copy_from_slice(&kept.to_le_bytes());
        capture.truncate(capture.len() - 9);
        let found = dissected("partial", &capture, &[PROTOCOL, EXPERT, "_ws.malformed"], &[]);
        assert_eq!(found[1], "tautline\tCaptured in part\t", "{found:?}");
    }
}

#[test]
fn what_other_programs_send_is_not_claimed() {
    if !has_tshark() {
        return;
    }
    let mut seed = 7_u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u8::try_from(seed >> 56).unwrap_or_default()
    };
    let noise: Vec<Vec<u8>> =
        (0..1000_usize).map(|number| (0..number % 300 + 1).map(|_| random()).collect()).collect();
    // A question to a name server, a time server's answer, JSON of somebody else, and datagrams with the magic of the native wire.
    let dns =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01".to_vec();
    let ntp = [&[0x24, 1, 6, 0xe9][..], &[0; 44]].concat();
    let json = br#"{"metadata": {"message_type": "command"}, "data": 1}"#.to_vec();
    let magic = [&[0xe7, 0x54, 1, 0][..], &[7; 60]].concat();
    let sealed = [&[0xe7, 0x54, 1, 2][..], &[7; 60]].concat();
    let foreign = [(53, dns), (123, ntp), (9000, json), (9000, magic), (9000, sealed)];
    let datagrams = noise
        .iter()
        .map(|bytes| (9000, &bytes[..]))
        .chain(foreign.iter().map(|(port, bytes)| (*port, &bytes[..])));
    let capture = golden::capture(datagrams.map(|(port, bytes)| (40_000, port, bytes)));
    let filter = ["-Y", "tautline or tautline_classic"];
    assert_eq!(dissected("foreign", &capture, &[PROTOCOL, INFO], &filter), Vec::<String>::new());
}

#[test]
fn requests_answers_and_round_trips_of_a_real_link_are_linked() {
    if !has_tshark() {
        return;
    }
    let listener = support::Listener::start(&["--reply"]);
    let port = listener.address.rsplit(':').next().expect("a port").to_owned();
    let file = std::env::temp_dir().join(format!("tautline-link-{}.pcap", std::process::id()));
    let mut tcpdump = Command::new("tcpdump");
    tcpdump.args(["-i", "lo", "-U", "--immediate-mode", "-w"]).arg(&file).args(["udp", "port", &port]);
    let Ok(mut tcpdump) = tcpdump.stdin(Stdio::null()).stderr(Stdio::piped()).spawn() else {
        eprintln!("skipped: this needs tcpdump (Debian: apt-get install tcpdump)");
        return;
    };
    let mut notes = std::io::BufReader::new(tcpdump.stderr.take().expect("it is piped"));
    let mut said = String::new();
    while !said.contains("listening on") {
        if std::io::BufRead::read_line(&mut notes, &mut said).expect("text") == 0 {
            let _ = tcpdump.wait();
            eprintln!("skipped: tcpdump may not capture here: {said}");
            return;
        }
    }
    // Long enough for heartbeats that measure the round trip.
    let pinged = support::run(&["ping", &listener.address, "-c", "12", "-i", "0.1", "--quiet"]);
    let asked = support::run(&["send", &listener.address, "[1.5]", "--request", "20s"]);
    std::thread::sleep(std::time::Duration::from_millis(300)); // tcpdump writes what it has
    support::signal("-INT", tcpdump.id());
    let _ = tcpdump.wait();
    let capture = std::fs::read(&file).expect("tcpdump has written it");
    std::fs::remove_file(&file).expect("this test created it");
    assert_eq!((pinged.code, asked.code), (0, 0), "{} {}", pinged.stderr, asked.stderr);
    let fields =
        ["frame.number", "tautline.request_in", "tautline.answer_in", "tautline.rtt", "tautline.malformed"];
    let found = dissected("link", &capture, &fields, &["-2"]);
    let packets: Vec<Vec<&str>> = found.iter().map(|line| line.split('\t').collect()).collect();
    let answer = packets.iter().find(|packet| !packet[1].is_empty()).expect("the answer");
    let request = packets.iter().find(|packet| packet[0] == answer[1]).expect("the request");
    assert_eq!(request[2], answer[0], "{found:?}");
    assert!(packets.iter().any(|packet| !packet[3].is_empty()), "no round trip: {found:?}");
    assert!(packets.iter().all(|packet| packet[4].is_empty()), "{found:?}");
}
