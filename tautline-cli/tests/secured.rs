//! Secured links of the real program: with itself, through its proxy, and with a client in Python.

#![allow(clippy::print_stderr)] // what is skipped

mod support;

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::json;
use support::{Finished, Listener, command, finish, last_json, run};

/// A folder with two keys, which is removed at the end of its test.
struct Keys(PathBuf);

impl Keys {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("tautline-secured-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a new folder");
        let keys = Self(folder);
        for name in ["arm.key", "other.key"] {
            assert_eq!(run(&["keygen", &keys.at(name)]).code, 0);
        }
        keys
    }

    fn at(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("the path is text").to_owned()
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn ping(address: &str, more: &[&str]) -> Finished {
    let mut ping = command(&[&["ping", address, "--count", "5", "--json", "--quiet"], more].concat());
    finish(ping.env("TAUTLINE_CONNECT_TIMEOUT", "30s").stdin(Stdio::null()))
}

#[test]
fn ping_shows_whether_the_link_is_secured() {
    let keys = Keys::new("ping");
    let key = keys.at("arm.key");
    let secured = Listener::start(&["--reply", "--key", &key]);
    let found = ping(&secured.address, &["--key", &key]);
    assert_eq!((found.code, &last_json(&found.stdout)["secured"]), (0, &true.into()), "{found:?}");
    let text = run(&["ping", &secured.address, "--count", "1", "--quiet", "--key", &key]);
    assert!(text.stdout.contains("secured"), "{text:?}");
    let plain = Listener::start(&["--reply"]);
    let found = ping(&plain.address, &[]);
    assert_eq!((found.code, &last_json(&found.stdout)["secured"]), (0, &false.into()), "{found:?}");
}

#[test]
fn ping_ends_at_once_and_says_that_its_key_may_not_send() {
    let keys = Keys::new("observing ping");
    let key = keys.at("arm.key");
    let mut listen = command(&["listen", "127.0.0.1:0", "--reply"]);
    listen.env("TAUTLINE_KEYS_HMI_FILE", &key).env("TAUTLINE_KEYS_HMI_MAY", "observe");
    let server = Listener::of(&mut listen);
    // Without a count it would go on until Ctrl-C.
    let found = run(&["ping", &server.address, "--key", &key, "--verbose"]);
    assert_eq!((found.code, found.stdout.as_str()), (1, ""), "{found:?}");
    assert!(found.stderr.contains("may not send data"), "{found:?}");
    let examined = run(&["doctor", &server.address, "--key", &key]);
    assert!(examined.stdout.contains("may send    nothing: "), "{examined:?}");
    // A client knows no name of its server's key.
    assert!(found.stderr.contains("peer connected") && !found.stderr.contains("identity"), "{found:?}");
}

#[test]
fn a_line_tells_who_sent_it_by_its_key_and_not_by_its_name() {
    let keys = Keys::new("identity");
    let key = keys.at("arm.key");
    let mut listen = command(&["listen", "127.0.0.1:0"]);
    listen.env("TAUTLINE_KEYS_SENSOR_FILE", &key).env("TAUTLINE_KEYS_SENSOR_MAY", "command");
    let mut server = Listener::of(&mut listen);
    let sent = run(&["send", &server.address, "1", "--source", "boss", "--key", &key]);
    assert_eq!(sent.code, 0, "{sent:?}");
    let message = server.message();
    assert_eq!((&message["metadata"]["source"], &message["identity"]), (&json!("boss"), &json!("sensor")));

    let mut plain = Listener::start(&[]);
    assert_eq!(run(&["send", &plain.address, "1"]).code, 0);
    assert!(plain.message().get("identity").is_none());
}

#[test]
fn who_has_not_the_key_is_told_what_would_be_right() {
    let keys = Keys::new("told");
    let (key, other) = (keys.at("arm.key"), keys.at("other.key"));
    let secured = Listener::start(&["--reply", "--key", &key]);
    let plain = Listener::start(&["--reply"]);
    for (listener, more, sentence) in [
        (&secured, &["--key", &other][..], "answers, but not to this key"),
        (&secured, &[], "takes secured clients only"),
        (&plain, &["--key", &key], "because it has no key"),
    ] {
        let refused = ping(&listener.address, more);
        assert_eq!(refused.code, 3, "{refused:?}");
        assert!(refused.stderr.contains(sentence), "{refused:?}");
    }
    for arguments in
        [&["ping", "127.0.0.1:9", "--wire", "classic"][..], &["listen", "127.0.0.1:0", "--wire", "classic"]]
    {
        let refused = run(&[arguments, &["--key", &key]].concat());
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(
            refused.stderr.contains("classic wire cannot be secured") && refused.stderr.contains("native"),
            "{refused:?}"
        );
    }
}

#[test]
fn a_proxy_passes_what_is_sealed_unchanged() {
    let keys = Keys::new("proxy");
    let key = keys.at("arm.key");
    let listener = Listener::start(&["--reply", "--key", &key]);
    let proxy = Listener::run(&["proxy", "127.0.0.1:0", &listener.address]);
    let found = ping(&proxy.address, &["--key", &key]);
    let summary = last_json(&found.stdout);
    assert_eq!(
        (found.code, &summary["secured"], &summary["lost"]),
        (0, &true.into(), &0.into()),
        "{found:?}"
    );
}

#[test]
fn bench_gives_its_child_the_key_too() {
    let keys = Keys::new("bench");
    let found = run(&["bench", "latency", "--messages", "100", "--json", "--key", &keys.at("arm.key")]);
    assert_eq!(found.code, 0, "{found:?}");
}

/// Runs a script of tests/python. `None`, with a line that says so, if there is no Python for it.
fn script(name: &str, arguments: &[&str]) -> Option<Finished> {
    support::python::script(&["cryptography"], name, arguments)
}

#[test]
fn noise_in_python_agrees_with_the_published_vector() {
    let Some(found) = script("test_noise.py", &[]) else { return };
    assert_eq!(found.code, 0, "{found:?}");
}

#[test]
fn the_golden_datagrams_of_the_protocol_are_what_python_computes() {
    let Some(found) = script("test_protocol.py", &[]) else { return };
    assert_eq!(found.code, 0, "{found:?}");
}

#[test]
fn a_client_in_python_that_was_written_from_the_protocol_talks_both_ways() {
    let keys = Keys::new("python");
    let key = keys.at("arm.key");
    let secured = &["--key", &key][..];
    for (more, does) in [
        (&[][..], &[][..]),
        (secured, &[]),
        (secured, &["--renew", "1"]),
        // In one session: with a new one, it would not open what the server sends.
        (secured, &["--move", "1", "--renew", "2"]),
    ] {
        let mut listener = Listener::start(&[&["--reply"], more].concat());
        let arguments = [&[&listener.address, "--count", "5"], more, does].concat();
        let Some(found) = script("client.py", &arguments) else {
            return;
        };
        assert_eq!(found.code, 0, "{found:?}");
        let answers: Vec<_> = (0..5).map(|number| serde_json::json!({ "number": number })).collect();
        assert_eq!(last_json(&found.stdout)["answers"], serde_json::json!(answers));
        let message = listener.message();
        assert_eq!((&message["data"], &message["metadata"]["source"]), (&answers[0], &"python".into()));
    }
}

#[test]
fn a_client_in_python_with_another_key_is_not_let_in() {
    let keys = Keys::new("python-other");
    let listener = Listener::start(&["--reply", "--key", &keys.at("arm.key")]);
    let Some(found) =
        script("client.py", &[&listener.address, "--tries", "5", "--key", &keys.at("other.key")])
    else {
        return;
    };
    assert_eq!(found.code, 1, "{found:?}");
    assert!(found.stderr.contains("does not answer"), "{found:?}");
}

/// Returns the next line of stderr that has this part.
#[cfg(unix)]
fn note_with(listener: &mut Listener, part: &str) -> String {
    let notes = std::iter::from_fn(|| Some(listener.note()).filter(|note| !note.is_empty()));
    notes.take(20).find(|note| note.contains(part)).unwrap_or_else(|| panic!("no line with {part:?}"))
}

#[cfg(unix)]
#[test]
fn listen_reads_its_keys_again_when_it_is_asked_to() {
    let keys = Keys::new("reload");
    let (server, key, other) = (keys.at("server.key"), keys.at("arm.key"), keys.at("other.key"));
    let text = |path: &str| std::fs::read_to_string(path).expect("a key");
    std::fs::copy(&key, &server).expect("copied, with its mode");
    let mut listener = Listener::start(&["--reply", "--key", &server]);
    assert_eq!(ping(&listener.address, &["--key", &other]).code, 3);

    std::fs::write(&server, text(&key) + &text(&other)).expect("written");
    listener.signal("-USR2");
    let note = note_with(&mut listener, "read the keys again");
    for key in [&key, &other] {
        let fingerprint = run(&["doctor", "--key", key, "--json"]).stdout;
        let fingerprint = last_json(&fingerprint)["fingerprints"][0].as_str().expect("one").to_owned();
        assert!(note.contains(&format!("key {fingerprint}")), "{note}");
    }
    assert_eq!(ping(&listener.address, &["--key", &other]).code, 0);
    assert_eq!(ping(&listener.address, &["--key", &key]).code, 0);

    // What cannot be read changes nothing.
    std::fs::write(&server, "").expect("written");
    listener.signal("-USR2");
    let note = note_with(&mut listener, "goes on");
    assert!(note.contains("holds no key"), "{note}");
    assert_eq!(ping(&listener.address, &["--key", &key]).code, 0);
}
