//! No byte of a key stands in anything that the library shows: log lines at TRACE level, events, statistics, errors, `Debug`.
#![cfg(feature = "secure")]

mod common;
#[path = "common/key_files.rs"]
mod files;

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{TIME_LIMIT, client, client_config, next_number, server, server_config};
use files::{FIRST, Folder};
use tautline::{Config, KeyHolder, Metadata, SecretKey, UdpInterface, Wire, create_udp_client};

/// Everything that was logged by any thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<String>>);

impl tracing::field::Visit for Lines {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        let mut text = self.0.lock().expect("no panic");
        write!(text, " {}={value:?}", field.name()).expect("memory");
    }
}

impl tracing::Subscriber for Lines {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::TRACE)
    }

    fn new_span(&self, attributes: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        attributes.record(&mut self.clone());
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
        self.0.lock().expect("no panic").push('\n');
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// The forms in which a key could be shown, each as all of its parts of a few bytes.
fn forms(key: &SecretKey) -> Vec<String> {
    let text = key.reveal().to_owned();
    let bytes = decoded(&text);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
    let of_text = (0..text.len() - 8).map(|at| text[at..at + 8].to_owned());
    let of_hex = (0..hex.len() - 8).step_by(2).map(|at| hex[at..at + 8].to_owned());
    let of_numbers = numbers.windows(4).map(|four| four.join(", "));
    let raw = bytes.windows(4).filter_map(|four| String::from_utf8(four.to_vec()).ok());
    let upper: Vec<String> = of_hex.clone().map(|part| part.to_uppercase()).collect();
    of_text.chain(of_hex).chain(upper).chain(of_numbers).chain(raw).collect()
}

/// Decodes base64 in the simplest way.
fn decoded(text: &str) -> Vec<u8> {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.trim_end_matches('=').chars();
    let bits: Vec<bool> = digits
        .flat_map(|digit| {
            let value = ALPHABET.find(digit).expect("base64");
            (0..6).rev().map(move |bit| value >> bit & 1 == 1)
        })
        .collect();
    bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |value, &bit| value << 1 | u8::from(bit))).collect()
}

fn show(text: &mut String, what: &dyn std::fmt::Debug) {
    write!(text, "{what:?} {what:#?}").expect("memory");
}

fn show_all(text: &mut String, end: &UdpInterface) {
    show(text, end);
    show(text, &end.config());
    show(text, &end.statistics());
    show(text, &end.peers());
    show(text, &end.config().settings());
}

#[test]
fn nothing_that_is_shown_holds_a_part_of_a_key() {
    let lines = Lines::default();
    tracing::subscriber::set_global_default(lines.clone()).expect("the first");
    let folder = Folder::new("output");
    let [first, second, random, stranger] = std::array::from_fn(|_| SecretKey::generate().expect("random"));
    let (text, of_second) = (first.reveal().to_owned(), second.reveal().to_owned());
    let path = folder.file("plant.key", format!("{text}\n{of_second}"));
    let mut shown = String::new();

    let config = server_config(Wire::Native)
        .key_file(path.as_path())
        .key_holder("hmi", KeyHolder::of_keys([random.clone()]).may_observe());
    show(&mut shown, &config);
    show(&mut shown, &random);
    let plant = server(config);
    let mut events = plant.events();
    let controller = client(client_config(&plant).key(first.clone()));
    let hmi = client(client_config(&plant).key(random.clone()));
    controller.send(&7u64, &Metadata::command()).expect("sent");
    assert_eq!(next_number(&plant), 7);
    show(&mut shown, &hmi.send(&1, &Metadata::command()));

    // Those that are not let in.
    for config in [client_config(&plant).key(stranger.clone()), client_config(&plant)] {
        let end = create_udp_client(config.connect_timeout(TIME_LIMIT)).expect("valid");
        let error = end.connect().expect_err("it is not let in");
        write!(shown, "{error} {error:?}").expect("memory");
        show_all(&mut shown, &end);
    }
    for bad in [format!("!{text}"), text[..40].to_owned(), format!("{text}\n{text}"), format!("{text} x")] {
        let bad = folder.file("bad.key", bad);
        let error = Config::server("127.0.0.1:0").key_file(bad).validate().expect_err("no key");
        write!(shown, "{error} {error:?}").expect("memory");
    }
    folder.file("plant.key", of_second);
    plant.reload_keys().expect("one key");
    folder.file("plant.key", &text[..20]);
    write!(shown, "{:?}", plant.reload_keys()).expect("memory");
    for end in [&plant, &controller, &hmi] {
        show_all(&mut shown, end);
    }
    plant.disconnect();
    while let Some(event) = events.next(Some(Duration::ZERO)) {
        show(&mut shown, &event);
    }
    let logged = lines.0.lock().expect("no panic").clone();
    assert!(logged.contains("peer connected") && shown.contains("hmi"), "nothing was shown");
    for key in [first, second, random, stranger] {
        for part in forms(&key) {
            assert!(!logged.contains(&part), "{part:?} in the log");
            assert!(!shown.contains(&part), "{part:?} is shown");
        }
    }
}

#[test]
fn the_forms_of_a_key_are_found_where_it_is_shown() {
    let key: SecretKey = FIRST.parse().expect("a key");
    let bytes = decoded(FIRST);
    assert_eq!(bytes, (0..32).collect::<Vec<u8>>());
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    for shown in
        [FIRST.to_owned(), format!("{bytes:?}"), hex.to_uppercase(), hex, format!("key {}", &FIRST[3..20])]
    {
        assert!(forms(&key).iter().any(|part| shown.contains(part)), "{shown}");
    }
}
