//! Configuration: what each source accepts, which values are refused with which text, and the tables of the documentation.

use std::time::Duration;

use tautline::{Config, ConfigError, ContentType, InboxPolicy, Key, MessageType, Profile, Role, Wire};

fn server() -> Config {
    Config::server("127.0.0.1:9000")
}

fn client() -> Config {
    Config::client("127.0.0.1:9000")
}

fn classic(config: Config) -> Config {
    config.wire(Wire::Classic)
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Returns the error text that refuses `config`.
fn refusal(config: &Config) -> String {
    config.validate().expect_err("should be refused").to_string()
}

/// Returns `base`, changed by `variables`.
fn with(base: Config, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    base.apply_variables(variables.iter().copied())
}

#[test]
fn the_defaults_are_valid_for_both_roles_on_both_wires() {
    for config in [server(), client(), classic(server()), classic(client())] {
        assert_eq!(config.validate(), Ok(()), "{config:?}");
    }
    let settings = server().settings().expect("valid");
    assert_eq!((settings.role, settings.endpoint.port()), (Role::Server, 9000));
    assert_eq!(settings.name, "tautline");
    assert_eq!(settings.heartbeat_interval, ms(100));
    assert_eq!(settings.inbox_policy, InboxPolicy::DropOldest);
    assert_eq!(settings.payload_limits(), tautline::PayloadLimits::default());
}

#[test]
fn liveness_is_slower_on_the_wire_without_heartbeats() {
    assert_eq!(server().settings().map(|settings| settings.liveness_timeout), Ok(ms(500)));
    assert_eq!(classic(server()).settings().map(|settings| settings.liveness_timeout), Ok(ms(5_000)));
}

#[test]
fn role_and_endpoint_are_required() {
    assert_eq!(refusal(&Config::default()), "`role` is not set: expected server or client");
    let error = refusal(&Config::default().role(Role::Server));
    assert_eq!(error, "`endpoint` is not set: expected host:port, [ipv6]:port or host");
}

#[test]
fn a_wrong_endpoint_says_what_is_expected() {
    assert_eq!(
        refusal(&Config::server("plant:http")),
        "`endpoint` \"plant:http\" has a port that is not a number from 0 to 65535: \
         expected host:port, [ipv6]:port or host"
    );
}

#[test]
fn port_0_is_for_servers() {
    assert_eq!(Config::server("127.0.0.1:0").validate(), Ok(()));
    assert_eq!(
        refusal(&Config::client("127.0.0.1:0")),
        "`endpoint` is 127.0.0.1:0: expected the port that the server listens on (port 0 is for servers)"
    );
}

#[test]
fn a_setting_without_effect_is_an_error_that_says_where_it_has_an_effect() {
    let local = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    for (config, sentence) in [
        (server().use_crc(false), "`use_crc` is set but has an effect only on the classic wire: remove it"),
        (
            server().use_sequence(true),
            "`use_sequence` is set but has an effect only on the classic wire: remove it",
        ),
        (
            classic(client()).heartbeat_interval(ms(10)),
            "`heartbeat_interval` is set but has an effect only on the native wire: remove it",
        ),
        (client().max_peers(3), "`max_peers` is set but has an effect only for servers: remove it"),
        (
            client().peer_expiry(ms(9_000)),
            "`peer_expiry` is set but has an effect only for servers: remove it",
        ),
        (server().bind(local), "`bind` is set but has an effect only for clients: remove it"),
        (
            server().inbox_capacity(0).inbox_policy(InboxPolicy::Refuse),
            "`inbox_policy` is set but has an effect only with an `inbox_capacity` over 0: remove it",
        ),
    ] {
        assert_eq!(refusal(&config), sentence);
    }
}

#[test]
fn settings_with_an_effect_are_accepted() {
    let local = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    for config in [
        classic(server()).use_crc(false).use_sequence(false),
        client().connect_timeout(Duration::ZERO).bind(local).heartbeat_interval(ms(10)),
        classic(client()).connect_timeout(ms(10)).interface("eth1"),
        server().connect_timeout(Duration::ZERO).interface("enp0s31f6"),
        server().max_peers(65_536).peer_expiry(ms(501)).inbox_capacity(0),
    ] {
        assert_eq!(config.validate(), Ok(()), "{config:?}");
    }
}

#[test]
fn values_at_the_ends_of_their_range_are_valid_and_those_beyond_are_not() {
    for (key, first, last, beyond) in [
        ("name", "x", "x".repeat(64).as_str(), "x".repeat(65).as_str()),
        ("max_peers", "1", "65536", "65537"),
        ("max_message_size", "1", "1048576", "1048577"),
        ("max_depth", "1", "127", "128"),
        ("inbox_capacity", "0", "1000000", "1000001"),
        ("heartbeat_interval", "1ms", "60s", "60001ms"),
        ("connect_timeout", "0s", "60min", "61min"),
        ("handler_concurrency", "1", "1000", "1001"),
        ("thread_priority", "0", "99", "100"),
        ("cpus", "0", "0,2-1023", "1024"),
        ("busy_poll", "0s", "10ms", "11ms"),
    ] {
        for good in [first, last] {
            assert!(Config::default().set(key, good).is_ok(), "{key} = {good}");
        }
        let error = Config::default().set(key, beyond).expect_err(key);
        assert_eq!(error.key(), Some(key));
    }
}

#[test]
fn a_range_holds_for_setters_too() {
    assert_eq!(refusal(&server().max_peers(0)), "`max_peers` is 0: expected a whole number from 1 to 65536");
    assert_eq!(
        refusal(&server().cpus([0, 1_024])),
        "`cpus` is 0,1024: expected core numbers and ranges from 0 to 1023, such as 1 or 0,2-3, or any"
    );
    assert_eq!(refusal(&server().name("")), "`name` is \"\": expected text of 1 to 64 bytes");
    assert_eq!(
        refusal(&server().heartbeat_interval(Duration::from_micros(1))),
        "`heartbeat_interval` is 1us: expected a duration with its unit (ns, us, ms, s or min) from 1ms to 60s"
    );
}

#[test]
fn durations_must_fit_each_other() {
    assert_eq!(
        refusal(&client().heartbeat_interval(ms(250))),
        "`liveness_timeout` is 500ms: expected more than twice `heartbeat_interval`, that is over 500ms"
    );
    assert_eq!(client().heartbeat_interval(ms(250)).liveness_timeout(ms(501)).validate(), Ok(()));
    assert_eq!(
        refusal(&server().peer_expiry(ms(500))),
        "`peer_expiry` is 500ms: expected more than `liveness_timeout`, that is over 500ms"
    );
    // The classic wire has no heartbeats, so there is no interval to compare with.
    assert_eq!(classic(client()).liveness_timeout(ms(100)).validate(), Ok(()));
}

#[test]
fn each_codec_needs_its_wire_and_its_feature() {
    assert_eq!(
        refusal(&classic(server()).codec(ContentType::Cbor)),
        "`codec` is cbor: expected json, the only codec of the classic wire"
    );
    assert_eq!(
        refusal(&server().codec(ContentType::Raw)),
        "`codec` is raw: expected json, msgpack or cbor (to send raw bytes, send `Raw` or `Payload::raw`)"
    );
    for (codec, built) in
        [(ContentType::MessagePack, cfg!(feature = "msgpack")), (ContentType::Cbor, cfg!(feature = "cbor"))]
    {
        let expected = if built { Ok(()) } else { Err(ConfigError::CodecNotBuilt { codec }) };
        assert_eq!(server().codec(codec).validate(), expected);
    }
    assert_eq!(
        ConfigError::CodecNotBuilt { codec: ContentType::Cbor }.to_string(),
        "`codec` is cbor, which this build does not have: enable the Cargo feature \"cbor\" of the crate tautline"
    );
}

#[test]
fn variables_set_every_type() {
    let config = with(
        Config::default(),
        &[
            ("TAUTLINE_ROLE", "client"),
            ("TAUTLINE_ENDPOINT", "[::1]:9000"),
            ("TAUTLINE_BIND", "::1"),
            ("TAUTLINE_NAME", "42"),
            ("TAUTLINE_WIRE", "classic"),
            ("TAUTLINE_USE_CRC", "false"),
            ("TAUTLINE_LIVENESS_TIMEOUT", "2.5s"),
            ("TAUTLINE_INBOX_CAPACITY", "7"),
            ("TAUTLINE_INBOX_POLICY", "drop_newest"),
            ("PATH", "/bin"),
        ],
    );
    let expected = classic(Config::client("[::1]:9000"))
        .bind(std::net::SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 0)))
        .name("42")
        .use_crc(false)
        .liveness_timeout(ms(2_500))
        .inbox_capacity(7)
        .inbox_policy(InboxPolicy::DropNewest);
    assert_eq!(config, Ok(expected));
}

#[test]
fn a_setting_can_be_read_and_set_again() {
    let original = server()
        .name("a")
        .coalescing_delay(ms(1))
        .use_crc(false)
        .max_peers(3)
        .inbox_policy(InboxPolicy::DropNewest);
    let mut again = Config::default();
    for key in Config::keys() {
        if let Some(value) = key.value(&original) {
            again.set(key.name(), &value).expect("it was a value before");
        }
    }
    assert_eq!(again, original);
}

#[test]
fn a_variable_overrides_earlier_settings_and_later_code_overrides_the_variable() {
    let config = with(server().max_peers(3).name("first"), &[("TAUTLINE_MAX_PEERS", "4")]).expect("valid");
    assert_eq!((config.max_peers, config.name.as_deref()), (Some(4), Some("first")));
    assert_eq!(config.max_peers(5).settings().map(|settings| settings.max_peers), Ok(5));
}

#[test]
fn an_unknown_variable_is_named_with_the_most_similar_one() {
    for (variable, sentence) in [
        ("TAUTLINE_MAX_PEER", "there is no key `TAUTLINE_MAX_PEER`: did you mean `TAUTLINE_MAX_PEERS`?"),
        (
            "TAUTLINE_HEARTBEAT",
            "there is no key `TAUTLINE_HEARTBEAT`: did you mean `TAUTLINE_HEARTBEAT_INTERVAL`?",
        ),
    ] {
        let error = with(server(), &[(variable, "1")]).expect_err("no such key");
        assert_eq!(error.to_string(), sentence);
    }
    let error = with(server(), &[("TAUTLINE_COLOUR", "red")]).expect_err("no such key").to_string();
    assert!(
        error.starts_with("there is no key `TAUTLINE_COLOUR`: docs/configuration.md has all of them"),
        "{error}"
    );
    assert!(with(server(), &[("TAUTLINE_", "1")]).is_err());
}

#[test]
fn a_wrong_value_is_shown_with_the_name_of_its_variable() {
    for (variable, value, sentence) in [
        (
            "TAUTLINE_CONNECT_TIMEOUT",
            "5",
            "`TAUTLINE_CONNECT_TIMEOUT` is \"5\": expected a duration with its unit (ns, us, ms, s or min) \
             from 0s to 60min",
        ),
        ("TAUTLINE_USE_CRC", "yes", "`TAUTLINE_USE_CRC` is \"yes\": expected true or false"),
        (
            "TAUTLINE_MAX_PEERS",
            "-1",
            "`TAUTLINE_MAX_PEERS` is \"-1\": expected a whole number from 1 to 65536",
        ),
        ("TAUTLINE_WIRE", "Native", "`TAUTLINE_WIRE` is \"Native\": expected native or classic"),
        (
            "TAUTLINE_CPUS",
            "3-2",
            "`TAUTLINE_CPUS` is \"3-2\": expected core numbers and ranges from 0 to 1023, such as 1 or 0,2-3, or any",
        ),
        ("TAUTLINE_CODEC", "raw", "`TAUTLINE_CODEC` is \"raw\": expected json, msgpack or cbor"),
        (
            "TAUTLINE_BIND",
            "eth0",
            "`TAUTLINE_BIND` is \"eth0\": expected a local IP address, with or without a port, such as 10.0.0.5:0 or fe80::1%eth0",
        ),
        (
            "TAUTLINE_INTERFACE",
            "a/b",
            "`TAUTLINE_INTERFACE` is \"a/b\": expected the name of a network card, such as eth1 (`ip link` lists them; on Windows `Get-NetAdapter` does)",
        ),
    ] {
        let error = with(server(), &[(variable, value)]).expect_err(value);
        assert_eq!(error.to_string(), sentence);
    }
    let long = with(server(), &[("TAUTLINE_WIRE", &"é".repeat(1_000))]).expect_err("no wire").to_string();
    assert!(long.len() < 250, "the error repeats only a part of a long value: {long}");
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf8_is_refused_by_name() {
    use std::os::unix::ffi::OsStringExt as _;
    let value = std::ffi::OsString::from_vec(vec![b'a', 0xff]);
    let error = server().apply_variables([("TAUTLINE_NAME", value)]).expect_err("not UTF-8");
    assert_eq!(error.to_string(), "`TAUTLINE_NAME` is not valid UTF-8: expected text of 1 to 64 bytes");
}

/// A process cannot change its environment while other tests run, so this test runs itself again in a child.
#[test]
fn the_environment_is_read_when_asked_for() {
    const MARK: &str = "CONFIG_TEST_CHILD";
    if std::env::var_os(MARK).is_some() {
        let settings = Config::from_env().and_then(|config| config.settings()).expect("valid");
        assert_eq!((settings.endpoint.port(), settings.max_peers), (9001, 3));
        assert_eq!(
            server().settings().map(|settings| settings.max_peers),
            Ok(1_024),
            "other constructors do not read the environment"
        );
        return;
    }
    let status = std::process::Command::new(std::env::current_exe().expect("this test's program"))
        .args(["--exact", "the_environment_is_read_when_asked_for"])
        .env(MARK, "1")
        .env("TAUTLINE_ROLE", "server")
        .env("TAUTLINE_ENDPOINT", "127.0.0.1:9001")
        .env("TAUTLINE_MAX_PEERS", "3")
        .stdout(std::process::Stdio::null())
        .status();
    assert!(status.expect("started").success());
}

#[cfg(feature = "toml")]
mod toml {
    use super::*;

    fn refusal(text: &str) -> String {
        Config::from_toml(text).expect_err("should be refused").to_string()
    }

    #[test]
    fn every_type_is_read() {
        let config = Config::from_toml(
            "# a plant\n\
             role = \"server\"\n\
             endpoint = \"0.0.0.0:9000\"\n\
             wire = \"classic\"\n\
             use_sequence = false\n\
             liveness_timeout = \"250ms\"\n\
             receive_buffer = 4_194_304\n\
             nonfinite = \"null\"\n\
             cpus = 1\n",
        );
        let expected = classic(Config::server("0.0.0.0:9000"))
            .use_sequence(false)
            .liveness_timeout(ms(250))
            .receive_buffer(4_194_304)
            .nonfinite(tautline::NonFinite::Null)
            .cpus([1]);
        assert_eq!(config, Ok(expected));
    }

    const OTHER_TABLE: &str = "`server` is a table: expected a table with the name of a message type, such as [command] or \
                               [command.3], or [keys.NAME]; every other key must stand above the first table";

    #[test]
    fn text_without_quotes_gets_a_hint() {
        for (text, has_hint) in
            [("endpoint = 127.0.0.1:9000", true), ("endpoint = plant:9000", true), ("name = \"a\" b", false)]
        {
            let error = Config::from_toml(text).expect_err(text).to_string();
            assert!(error.starts_with("line 1 is not TOML: "), "{error}");
            assert_eq!(error.contains("write text in double quotes"), has_hint, "{error}");
        }
    }

    #[test]
    fn a_wrong_key_or_value_is_named_with_what_would_be_right() {
        for (text, sentence) in [
            ("max_per = 3", "there is no key `max_per`: did you mean `max_peers`?"),
            ("max_peers = \"3\"", "`max_peers` is \"3\": expected a whole number from 1 to 65536"),
            (
                "max_peers = 3.0",
                "`max_peers` is a number with a fraction: expected a whole number from 1 to 65536",
            ),
            ("max_peers = -3", "`max_peers` is -3: expected a whole number from 1 to 65536"),
            ("use_crc = \"true\"", "`use_crc` is \"true\": expected true or false"),
            ("name = 5", "`name` is 5: expected text of 1 to 64 bytes"),
            ("endpoint = [1]", "`endpoint` is an array: expected host:port, [ipv6]:port or host"),
            (
                "allow = [\"10.0.0.0/24\", \"10.0.0.5/24\"]",
                "`allow` is [\"10.0.0.0/24\", \"10.0.0.5/24\"], and \"10.0.0.5/24\" has bits beyond its prefix, such as \
                 10.0.0.5/24 for 10.0.0.0/24: expected any, or at most 64 networks without bits beyond their prefix, such as \
                 10.0.0.0/24, fd00::/8 or 10.0.0.5",
            ),
            (
                "allow = []",
                "`allow` is an empty list: expected any, or at most 64 networks without bits beyond their prefix, such as \
                 10.0.0.0/24, fd00::/8 or 10.0.0.5",
            ),
            ("endpoint = [\"a\"]", "`endpoint` is [\"a\"]: expected host:port, [ipv6]:port or host"),
            ("wire = 2000-01-01", "`wire` is a date or time: expected native or classic"),
            ("wire = true", "`wire` is true: expected native or classic"),
            ("codec.json = 1", "`codec` is a table: expected json, msgpack or cbor"),
            ("[server]\nname = \"a\"", OTHER_TABLE),
            ("max_per = 3\n[server]\nname = \"a\"", "there is no key `max_per`: did you mean `max_peers`?"),
            (
                "connect_timeout = 5",
                "`connect_timeout` is 5: expected a duration with its unit (ns, us, ms, s or min) from 0s to 60min",
            ),
        ] {
            assert_eq!(refusal(text), sentence, "{text}");
        }
    }

    #[test]
    fn networks_come_from_a_list_or_a_text() {
        for text in ["allow = [\"10.0.0.0/24\", \"fd00::/8\"]", "allow = \"10.0.0.0/24, fd00::/8\""] {
            let allow = Config::from_toml(text).expect("networks").allow.expect("set");
            assert_eq!(allow.to_string(), "10.0.0.0/24,fd00::/8");
        }
        let client = Config::client("plant:9000").allow(tautline::Allow::any());
        let error = client.validate().expect_err("clients choose their server").to_string();
        assert_eq!(error, "`allow` is set but has an effect only for servers: remove it");
    }

    #[test]
    fn text_that_is_not_toml_is_refused_with_its_line() {
        for text in
            ["name = \"a\"\nmax_peers 3", "name = \"a\"\nname = \"b\"", "name = \"a\"\nmax_peers = 1e"]
        {
            let error = refusal(text);
            assert!(error.starts_with("line 2 is not TOML: "), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_path_with_backslashes_stands_in_single_quotes() {
        let config = Config::from_toml(r"black_box_dir = 'D:\box'").expect("TOML takes it as it is");
        assert_eq!(config.black_box_dir.expect("set").path(), std::path::Path::new(r"D:\box"));
        for text in [r#"black_box_dir = "D:\box\keys""#, r#"key_file = "C:\users\arm.key""#] {
            let error = refusal(text);
            assert!(
                error.ends_with(r"write a path with backslashes in single quotes, such as 'C:\keys\arm.key'"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_file_is_read_and_named_in_its_errors() {
        let path = std::env::temp_dir().join(format!("tautline-config-{}.toml", std::process::id()));
        std::fs::write(&path, "role = \"client\"\nendpoint = \"plant:9000\"\n").expect("written");
        let config = Config::from_toml_file(&path);
        std::fs::write(&path, "max_peers = 0\n").expect("written");
        let error = Config::from_toml_file(&path);
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(config, Ok(Config::client("plant:9000")));
        let error = error.expect_err("out of range");
        let sentence = "`max_peers` is 0: expected a whole number from 1 to 65536";
        assert_eq!(error.to_string(), format!("{}: {sentence}", path.display()));
        assert_eq!(error.key(), Some("max_peers"));

        let missing = Config::from_toml_file(&path).expect_err("removed").to_string();
        assert!(missing.starts_with(&format!("cannot read {}: ", path.display())), "{missing}");
    }
}

/// Each documented default is a valid value of its key, and setting it changes nothing.
#[test]
fn documented_defaults_are_the_defaults() {
    for wire in [Wire::Native, Wire::Classic] {
        for base in [server().wire(wire), client().wire(wire)] {
            let mut config = base.clone();
            for key in Config::keys().iter().filter(|key| key.name() != "wire" && applies(key, &base)) {
                let Some(default) = key.default(wire) else { continue };
                config.set(key.name(), &default).unwrap_or_else(|error| panic!("{error}"));
            }
            assert_eq!(config.settings(), base.settings());
        }
    }
}

/// Returns whether a key may be set in `config`.
fn applies(key: &Key, config: &Config) -> bool {
    let mut config = config.clone();
    let wire = config.wire.unwrap_or(Wire::Native);
    let Some(default) = key.default(wire) else { return false };
    config.set(key.name(), &default).unwrap_or_else(|error| panic!("{error}"));
    !matches!(config.validate(), Err(ConfigError::NoEffect { .. }))
}

/// Returns the comments before and after the table `name` in the documentation.
fn marks(name: &str) -> (String, String) {
    let command = "REWRITE_DOCS=1 cargo test -p tautline --all-features --test config";
    (
        format!("<!-- {name}, generated from the table in the code: {command} -->\n"),
        format!("<!-- end of {name} -->"),
    )
}

/// Returns the documentation's table of keys, made from the table in the code.
fn documented_table() -> String {
    let mut table = String::from("| key | value | default | effect | purpose |\n|---|---|---|---|---|\n");
    for key in Config::keys() {
        let default = match (key.default(Wire::Native), key.default(Wire::Classic)) {
            (Some(native), Some(classic)) if native != classic => {
                format!("`{native}` native, `{classic}` classic")
            }
            (Some(default), _) => format!("`{default}`"),
            _ => "none".to_owned(),
        };
        let (name, value, scope, doc) = (key.name(), key.expected(), key.scope(), key.doc().trim());
        table.push_str(&format!("| `{name}` | {value} | {default} | {scope} | {doc} |\n"));
    }
    table
}

/// Returns the documentation's table of stream keys, made from the table in the code.
fn documented_stream_table() -> String {
    let mut table = String::from("| key | value | purpose |\n|---|---|---|\n");
    for key in Config::stream_keys() {
        let (name, value, doc) = (key.name(), key.expected(), key.doc().trim());
        table.push_str(&format!("| `{name}` | {value} | {doc} |\n"));
    }
    table
}

/// Returns the documentation's table of what each profile sets on the native wire.
fn documented_profile_table() -> String {
    let mut table = String::from("| profile | type | settings |\n|---|---|---|\n");
    let profile = Profile::control();
    for &message_type in MessageType::ALL {
        let qos = profile.qos(message_type, Wire::Native);
        let set =
            |key: &tautline::StreamKey| key.value(&qos).map(|value| format!("`{} = {value}`", key.name()));
        let settings: Vec<_> = Config::stream_keys().iter().filter_map(set).collect();
        if !settings.is_empty() {
            table.push_str(&format!("| `{profile}` | {message_type} | {} |\n", settings.join(", ")));
        }
    }
    table
}

#[test]
fn the_python_package_types_every_key() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tautline-py/python/tautline/_settings.py");
    let typed = std::fs::read_to_string(path).expect("the types of the settings in Python");
    for key in Config::keys() {
        let line = format!("\n    {}: ", key.name());
        assert!(
            typed.contains(&line),
            "tautline-py/python/tautline/_settings.py: give `{}` a type",
            key.name()
        );
    }
}

#[test]
fn the_tables_of_the_documentation_match_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let page = std::fs::read_to_string(path).expect("docs/configuration.md");
    let mut right = page.clone();
    for (name, table) in [
        ("the keys", documented_table()),
        ("the keys of streams", documented_stream_table()),
        ("the profiles", documented_profile_table()),
    ] {
        let (start, end) = marks(name);
        let (before, rest) = right.split_once(&start).expect("the table's start");
        let (_, after) = rest.split_once(&end).expect("the table's end");
        right = format!("{before}{start}{table}{end}{after}");
    }
    if std::env::var_os("REWRITE_DOCS").is_some() {
        std::fs::write(path, right).expect("docs/configuration.md is writable");
        return;
    }
    assert_eq!(page, right, "run REWRITE_DOCS=1 cargo test -p tautline --all-features --test config");
}

#[test]
fn a_server_may_leave_out_its_host_and_a_client_may_not() {
    let everywhere = Config::server(":9000").settings().expect("a server may leave the host out");
    assert!(everywhere.endpoint.is_everywhere());
    assert_eq!(everywhere.endpoint.to_string(), ":9000");
    assert!(matches!(Config::client(":9000").settings(), Err(ConfigError::Endpoint(_))));
    assert!(matches!(Config::server(":").settings(), Err(ConfigError::Endpoint(_))));
}

#[test]
fn an_endpoint_is_taken_as_text_as_an_address_and_as_a_pair() {
    use std::net::{IpAddr, Ipv6Addr, SocketAddr};
    let shown = |config: Config| config.settings().expect("valid").endpoint.to_string();
    assert_eq!(shown(Config::client(SocketAddr::from(([10, 0, 0, 7], 9000)))), "10.0.0.7:9000");
    assert_eq!(shown(Config::client((Ipv6Addr::LOCALHOST, 9000))), "[::1]:9000");
    assert_eq!(shown(Config::client((IpAddr::from([10, 0, 0, 7]), 9000))), "10.0.0.7:9000");
    assert_eq!(shown(Config::client(("::1", 9000))), "[::1]:9000");
    assert_eq!(shown(Config::client(("plant.local", 9000))), "plant.local:9000");
    assert_eq!(shown(Config::client((String::from("plant"), 9000))), "plant:9000");
}
