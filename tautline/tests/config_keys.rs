//! Settings about keys: what each source accepts, which are refused with which text, and that no text shows a key.
#![cfg(feature = "secure")]

#[path = "common/key_files.rs"]
mod files;

use tautline::{Config, ConfigError, KeyHolder, MessageType, SecretKey, Wire};

use files::{FIRST, Folder, SECOND};

fn server() -> Config {
    Config::server("127.0.0.1:9000")
}

fn client() -> Config {
    Config::client("127.0.0.1:9000")
}

fn key(text: &str) -> SecretKey {
    text.parse().expect("a key")
}

/// Returns the error text that refuses `config`.
fn refusal(config: &Config) -> String {
    config.validate().expect_err("should be refused").to_string()
}

#[test]
fn a_key_comes_from_code_or_from_a_file_that_code_text_and_variables_name() {
    let folder = Folder::new("sources");
    let path = folder.file("arm.key", FIRST);
    let named = path.to_str().expect("text");
    let mut set = client();
    set.set("key_file", named).expect("a path");
    assert_eq!(set, client().key_file(path.as_path()));
    assert_eq!(client().apply_variables([("TAUTLINE_KEY_FILE", named)]), Ok(set.clone()));
    for config in [set, server().key_file(path.as_path()), client().key(key(FIRST)), server().key(key(FIRST))]
    {
        assert_eq!(config.validate(), Ok(()), "{config:?}");
    }
}

#[test]
fn holders_of_keys_come_from_code_text_and_variables() {
    let folder = Folder::new("holders");
    let (hmi, controller) = (folder.file("hmi.key", FIRST), folder.file("controller.key", SECOND));
    let [hmi, controller] = [&hmi, &controller].map(|path| path.to_str().expect("text"));
    let expected = server()
        .key_holder("hmi", KeyHolder::of_file(hmi).may_observe())
        .key_holder("controller", KeyHolder::of_file(controller).may_command())
        .key_holder("sensor-2", KeyHolder::of_file(hmi).may_send([MessageType::Status, MessageType::Data]));

    let mut set = server();
    for (name, value) in [
        ("keys.hmi.file", hmi),
        ("keys.hmi.may", "observe"),
        ("keys.controller.file", controller),
        ("keys.controller.may", "command"),
        ("keys.sensor-2.file", hmi),
        ("keys.sensor-2.may_send", "status, data"),
    ] {
        set.set(name, value).unwrap_or_else(|error| panic!("{error}"));
    }
    assert_eq!(set, expected);

    let variables = [
        ("TAUTLINE_KEYS_HMI_FILE", hmi),
        ("TAUTLINE_KEYS_HMI_MAY", "observe"),
        ("TAUTLINE_KEYS_CONTROLLER_FILE", controller),
        ("TAUTLINE_KEYS_CONTROLLER_MAY", "command"),
        ("TAUTLINE_KEYS_SENSOR-2_FILE", hmi),
        ("TAUTLINE_KEYS_SENSOR-2_MAY_SEND", "data,status"),
    ];
    assert_eq!(server().apply_variables(variables), Ok(expected));
}

#[test]
fn a_key_that_two_hold_is_refused() {
    let folder = Folder::new("twice");
    let path = folder.file("one.key", FIRST);
    let holder = || KeyHolder::of_file(path.as_path()).may_command();
    assert_eq!(
        refusal(&server().key_holder("a", holder()).key_holder("b", holder())),
        "\"a\" and \"b\" have the same key: give each its own, because the key decides who a peer is"
    );
    assert_eq!(
        refusal(&server().key(key(FIRST)).key_holder("a", holder())),
        "`key_file` and `keys.a` hold the same key: give each holder its own, because the key decides who a peer is"
    );
    assert_eq!(server().key(key(SECOND)).key_holder("a", holder()).validate(), Ok(()));
}

#[test]
fn settings_that_cannot_work_are_refused_with_what_would_be_right() {
    let folder = Folder::new("refused");
    let path = folder.file("arm.key", FIRST);
    let holder = || KeyHolder::of_file(path.as_path());
    let classic = |config: Config| config.wire(Wire::Classic);
    let native = "is set, but the classic wire cannot be secured: use the native wire (`wire = \"native\"`) at both ends";
    for (config, sentence) in [
        (classic(server()).key_file(path.as_path()), format!("`key_file` {native}")),
        (classic(client()).key(key(FIRST)), format!("`key` {native}")),
        (classic(server()).key_holder("hmi", holder().may_observe()), format!("`keys.hmi` {native}")),
        (
            client().key_holder("hmi", holder().may_observe()),
            "`keys.hmi` is set but has an effect only for servers (a client calls with its `key_file`): remove it".to_owned(),
        ),
        (
            server().key_holder("hmi", KeyHolder::default().may_observe()),
            "`keys.hmi.file` is not set: expected the path of a key file".to_owned(),
        ),
        (
            server().key_holder("hmi", holder()),
            "`keys.hmi.may` is not set: expected command or observe, or `may_send` with message types".to_owned(),
        ),
        (
            server().key_holder("the hmi", holder().may_observe()),
            "`keys` is about \"the hmi\": expected a name of 1 to 64 letters, digits, - and _".to_owned(),
        ),
        (
            server().key_file(path.as_path()).key(key(SECOND)),
            "`key_file` is set, and so is `key`: expected one of the two".to_owned(),
        ),
    ] {
        assert_eq!(refusal(&config), sentence);
    }
}

#[test]
fn a_wrong_name_or_value_is_named_with_what_would_be_right() {
    let types = "expected message types (command, data, status, error, heartbeat, acknowledgment, configuration), such as \
                 [\"status\", \"data\"], or `may = \"observe\"` for none";
    for (name, value, sentence) in [
        ("keys.hmi.fil", "x", "there is no key `keys.hmi.fil`: did you mean `keys.hmi.file`?".to_owned()),
        (
            "keys.hmi.colour",
            "x",
            "there is no key `keys.hmi.colour`: expected the name of a holder of keys, with one of file, may, may_send"
                .to_owned(),
        ),
        (
            "keys.hmi",
            "x",
            "there is no key `keys.hmi`: expected the name of a holder of keys, with one of file, may, may_send".to_owned(),
        ),
        (
            "keys.my hmi.file",
            "x",
            "`keys.my hmi.file` is about \"my hmi\": expected a name of 1 to 64 letters, digits, - and _".to_owned(),
        ),
        ("keys.hmi.may_send", "", format!("`keys.hmi.may_send` is \"\": {types}")),
        ("keys.hmi.may", "everything", "`keys.hmi.may` is \"everything\": expected command or observe".to_owned()),
        ("keys.hmi.may_send", "status,speed", format!("`keys.hmi.may_send` is \"status,speed\": {types}")),
        ("keys.hmi.file", "", "`keys.hmi.file` is \"\": expected the path of a key file".to_owned()),
        ("key_file", " ", "`key_file` is \" \": expected the path of a key file".to_owned()),
    ] {
        let error = server().set(name, value).expect_err(name);
        assert_eq!((error.to_string(), error.key()), (sentence, Some(name)));
    }
    let error =
        server().apply_variables([("TAUTLINE_KEYS_HMI_FIL", "x")]).expect_err("no such key").to_string();
    assert_eq!(error, "there is no key `TAUTLINE_KEYS_HMI_FIL`: did you mean `TAUTLINE_KEYS_HMI_FILE`?");
    let [may, may_send] = [("TAUTLINE_KEYS_HMI_MAY", "observe"), ("TAUTLINE_KEYS_HMI_MAY_SEND", "command")];
    for (variables, first) in [([may, may_send], may), ([may_send, may], may_send)] {
        let error = server().apply_variables(variables).expect_err("one of the two").to_string();
        let second = variables[1].0;
        assert_eq!(error, format!("`{second}` is set, and so is `{}`: expected one of the two", first.0));
    }
}

#[test]
fn the_fault_of_a_key_file_names_the_setting_and_the_file() {
    let folder = Folder::new("fault");
    let path = folder.file("arm.key", "not a key");
    let shown = path.display();
    let error = server().key_file(path.as_path()).validate().expect_err("no key");
    assert_eq!(error.key(), Some("key_file"));
    assert!(
        error.to_string().starts_with(&format!("`key_file`: line 1 of {shown} is not base64: ")),
        "{error}"
    );
    let holder = KeyHolder::of_file(path.as_path()).may_command();
    let error = server().key_holder("arm", holder).validate().expect_err("no key");
    assert_eq!(error.key(), Some("keys.arm.file"));
}

#[test]
fn no_text_shows_a_key_that_stands_in_the_wrong_place() {
    let error = server().set("key", FIRST).expect_err("no setting").to_string();
    assert_eq!(
        error,
        "`key` is no setting, because others may read settings: write the key to a file, and name it by `key_file`"
    );
    let error = server().set("keys.hmi.key", FIRST).expect_err("in a file only").to_string();
    assert!(error.contains("name it by `keys.hmi.file`") && !error.contains(&FIRST[..6]), "{error}");
    let error = server().apply_variables([("TAUTLINE_KEY", FIRST)]).expect_err("no setting").to_string();
    assert!(error.contains("`TAUTLINE_KEY_FILE`") && !error.contains(&FIRST[..6]), "{error}");

    for (name, value) in [
        ("keys.hmi.may", FIRST.to_owned()),
        ("keys.hmi.may_send", format!("status,{FIRST}")),
        ("max_peers", format!("# a comment\n{FIRST}\n")),
        ("wire", FIRST[..43].to_owned()),
    ] {
        let error = server().set(name, &value).expect_err("not of its type").to_string();
        assert!(error.contains("a key, which is not shown") && !error.contains(&FIRST[..6]), "{error}");
    }
    for name in [FIRST, &format!("{FIRST}.x"), &format!("keys.{FIRST}"), &format!("keys.{FIRST}.fil")] {
        let error = server().set(name, "x").expect_err("no such key").to_string();
        assert!(error.contains("(a key, which is not shown)") && !error.contains(&FIRST[..6]), "{error}");
    }
    let hex = "f8f9fafbfcfdfeff000102030405060708090a0b0c0d0e0f1011121314151617";
    for name in
        [hex.to_owned(), hex.to_uppercase(), format!("KEYS_X_{hex}"), format!("COMMAND_{hex}_LIFESPAN")]
    {
        let error = server()
            .apply_variables([(format!("TAUTLINE_{name}"), "x")])
            .expect_err("no such key")
            .to_string();
        let shown = error.to_lowercase();
        assert!(shown.contains("(a key, which is not shown)") && !shown.contains(&hex[..6]), "{error}");
    }
    let error = server().set(&format!("keys.{hex}.may"), "observe").expect_err("no name").to_string();
    assert_eq!(error, "`keys` is about a key: expected a name of 1 to 64 letters, digits, - and _");

    let config = server().key_file(FIRST);
    let value = Config::keys().iter().find(|key| key.name() == "key_file").and_then(|key| key.value(&config));
    let error = refusal(&config);
    assert_eq!(error, "`key_file` is a key: expected the path of a file that holds the key");
    let shown = format!("{config:?} {value:?} {error} {:?}", server().key(key(FIRST)));
    assert!(!shown.contains(&FIRST[..6]), "{shown}");
}

#[cfg(feature = "toml")]
#[test]
fn a_file_of_settings_has_a_table_for_each_holder_and_finds_key_files_beside_it() {
    let folder = Folder::new("toml");
    let (hmi, all) = (folder.file("hmi.key", FIRST), folder.file("all.key", SECOND));
    let text = "role = \"server\"\nendpoint = \"127.0.0.1:9000\"\nkey_file = \"all.key\"\n\
                [keys.hmi]\nfile = \"hmi.key\"\nmay_send = [\"status\", \"data\"]\n";
    let settings = folder.file("plant.toml", text);
    let holder = KeyHolder::of_file(hmi.as_path()).may_send([MessageType::Status, MessageType::Data]);
    let config = Config::from_toml_file(&settings).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config, server().key_file(all.as_path()).key_holder("hmi", holder));
    assert_eq!(config.validate(), Ok(()));

    for (text, sentence) in [
        (
            "[keys.hmi]\nfile = \"hmi.key\"\nmay = \"command\"\nmay_send = [\"status\"]",
            "`keys.hmi.may_send` is set, and so is `may`: expected one of the two",
        ),
        (
            "keys = \"hmi.key\"",
            "`keys` is \"hmi.key\": expected a table for each holder of keys, [keys.NAME]",
        ),
        ("[keys]", "`keys` is an empty table: expected a table for each holder of keys, [keys.NAME]"),
        ("keys.hmi = 3", "`keys.hmi` is 3: expected a table for each holder of keys, [keys.NAME]"),
        ("[keys.hmi]\nfil = \"hmi.key\"", "there is no key `keys.hmi.fil`: did you mean `keys.hmi.file`?"),
        (
            "[keys.hmi]\nfile = \"hmi.key\"\nmay_send = []",
            "`keys.hmi.may_send` is an empty list: expected message types (command, data, status, error, heartbeat, acknowledgment, \
             configuration), such as [\"status\", \"data\"], or `may = \"observe\"` for none",
        ),
        ("[keys.hmi]\nfile = 3", "`keys.hmi.file` is 3: expected the path of a key file"),
        (
            "key_file = [\"a.key\", \"b.key\"]",
            "`key_file` is [\"a.key\", \"b.key\"]: expected the path of a key file",
        ),
    ] {
        assert_eq!(Config::from_toml(text).expect_err(text).to_string(), sentence);
    }
    assert!(matches!(Config::from_toml(&format!("key = \"{FIRST}\"")), Err(ConfigError::KeyInText { .. })));
    let of_key =
        Config::from_toml(&format!("[keys.\"{FIRST}\"]\nfile = \"hmi.key\"")).expect_err("a key is no name");
    assert_eq!(
        of_key.to_string(),
        "`keys` is about a key: expected a name of 1 to 64 letters, digits, - and _"
    );
    // A table that says nothing is not left out.
    let empty =
        Config::from_toml("role = \"server\"\nendpoint = \"127.0.0.1:0\"\n[keys.hmi]").expect("it is read");
    assert_eq!(
        empty.validate().expect_err("it names no key").to_string(),
        "`keys.hmi.file` is not set: expected the path of a key file"
    );
}

#[cfg(feature = "toml")]
#[test]
fn the_settings_on_the_pages_are_read() {
    let mut read = 0;
    for page in ["security.md", "configuration.md"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
        let text = std::fs::read_to_string(path).expect("the page");
        for block in text.split("```toml\n").skip(1).filter_map(|block| block.split("```").next()) {
            Config::from_toml(block).unwrap_or_else(|error| panic!("{page}: {error}\n{block}"));
            read += usize::from(block.contains("key"));
        }
    }
    assert!(read >= 3, "only {read} blocks about keys");
}
