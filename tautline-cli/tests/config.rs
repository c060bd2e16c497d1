//! `config check` and `config print`: what is accepted, where each value comes from, and that no key is printed.

mod support;

use serde_json::Value;
use support::{Folder, command, finish, run};

const PLANT: &str = "\
# A plant.
role = \"server\"
endpoint = \"127.0.0.1:9000\"
name = \"plant # 1\"

profile = \"control\"
allow = [\"10.0.0.0/24\",
         \"fd00::/8\"]
realtime = true
max_peers = 3

[command]
deadline = \"70ms\"

[command.3]
history = 4
";

/// Returns the printed object of a key.
fn printed(values: &Value, key: &str) -> Value {
    let all = values.as_array().expect("a list");
    let found: Vec<&Value> = all.iter().filter(|value| value["key"] == key).collect();
    assert_eq!(found.len(), 1, "{key} in {values}");
    found[0].clone()
}

#[cfg(unix)]
#[test]
fn settings_come_from_a_pipe_too() {
    let pipe = |subcommand: &str, text: &str| {
        support::run_with_input(&["config", subcommand, "/dev/stdin"], text.as_bytes())
    };
    let good = pipe("check", PLANT);
    assert_eq!(good.stdout, "/dev/stdin: valid for a server at 127.0.0.1:9000, native wire\n", "{good:?}");
    assert!(pipe("print", PLANT).stdout.contains("max_peers = 3 "));
    let wrong = pipe("check", "\nmax_peers = 0\n");
    assert_eq!(wrong.code, 2, "{wrong:?}");
    assert!(wrong.stderr.starts_with("error: /dev/stdin:2: `max_peers` is 0"), "{wrong:?}");
}

#[test]
fn each_value_is_printed_with_its_source() {
    let folder = Folder::new("sources");
    let plant = folder.file("plant.toml", PLANT);
    let mut print = command(&["config", "print", &plant, "--json"]);
    print
        .env("TAUTLINE_MAX_PEERS", "5")
        .env("TAUTLINE_STATUS_LIFESPAN", "9ms")
        .env("TAUTLINE_COMMAND_3_OWNER", "true");
    let found = finish(&mut print);
    assert_eq!(found.code, 0, "{found:?}");
    let values: Value = serde_json::from_str(&found.stdout).expect("JSON");
    for (key, value, source) in [
        ("role", "\"server\"", format!("{plant}:2")),
        ("name", "\"plant # 1\"", format!("{plant}:4")),
        ("allow", "[\"10.0.0.0/24\", \"fd00::/8\"]", format!("{plant}:7")),
        ("max_peers", "5", "TAUTLINE_MAX_PEERS".to_owned()),
        ("thread_priority", "80", "realtime".to_owned()),
        ("lock_memory", "true", "realtime".to_owned()),
        ("liveness_timeout", "\"500ms\"", "default".to_owned()),
        ("command.deadline", "\"70ms\"", format!("{plant}:13")),
        ("command.owner", "true", "profile".to_owned()),
        ("command.3.history", "4", format!("{plant}:16")),
        ("command.3.owner", "true", "TAUTLINE_COMMAND_3_OWNER".to_owned()),
        ("status.lifespan", "\"9ms\"", "TAUTLINE_STATUS_LIFESPAN".to_owned()),
        ("error.delivery", "\"reliable\"", "profile".to_owned()),
    ] {
        let found = printed(&values, key);
        assert_eq!((&found["value"], &found["source"]), (&value.into(), &source.as_str().into()), "{found}");
    }
    assert_eq!(printed(&values, "max_peers")["line"], Value::Null);
    assert_eq!(printed(&values, "command.deadline")["line"], 13);
    let keys = values.as_array().expect("a list").iter().filter_map(|value| value["key"].as_str());
    let keys: Vec<&str> = keys.collect();
    // For the classic wire, and for servers.
    assert!(!keys.contains(&"use_crc") && keys.contains(&"peer_expiry"), "{keys:?}");
    let client = folder.file("client.toml", "role = \"client\"\n");
    assert!(!run(&["config", "print", &client]).stdout.contains("max_peers"));
}

#[test]
fn what_is_printed_is_accepted_and_means_the_same() {
    let folder = Folder::new("again");
    for (name, text) in [
        ("plant", PLANT),
        ("client", "role = \"client\"\nendpoint = \"plant.local:9000\"\nbind = \"10.0.0.1\"\ncpus = \"1\"\n"),
        ("classic", "role = \"server\"\nendpoint = \":9000\"\nwire = \"classic\"\nname = \"123\"\n"),
        ("empty", ""),
    ] {
        let first = folder.file(&format!("{name}.toml"), text);
        let print = |path: &str| {
            let printed = run(&["config", "print", path]);
            assert_eq!(printed.code, 0, "{printed:?}");
            printed.stdout
        };
        let printed = print(&first);
        let second = folder.file(&format!("{name}-again.toml"), &printed);
        let values = |text: &str| -> Vec<String> {
            let lines = text.lines().map(|line| line.rsplit_once(" # ").map_or(line, |(value, _)| value));
            lines.map(|line| line.trim_end().to_owned()).collect()
        };
        assert_eq!(values(&printed), values(&print(&second)), "{name}");
        let checked = run(&["config", "check", &second]);
        assert_eq!(checked.code, 0, "{checked:?}");
    }
}

#[test]
fn a_check_says_what_the_settings_are_for() {
    let folder = Folder::new("valid");
    let plant = folder.file("plant.toml", PLANT);
    let checked = run(&["config", "check", &plant]);
    assert_eq!((checked.code, checked.stderr.as_str()), (0, ""), "{checked:?}");
    assert_eq!(checked.stdout, format!("{plant}: valid for a server at 127.0.0.1:9000, native wire\n"));
    let both = folder.file("both.toml", "max_message_size = 2000\n");
    assert_eq!(
        run(&["config", "check", &both]).stdout,
        format!("{both}: valid for an interface, native wire\n")
    );
    // The keys of either role alone are fine without a role.
    for key in ["max_peers = 3\n", "connect_timeout = \"3s\"\n"] {
        assert_eq!(run(&["config", "check", &folder.file("one.toml", key)]).code, 0, "{key}");
    }
    let mut of_environment = command(&["config", "check"]);
    let of_environment = finish(of_environment.env("TAUTLINE_ENDPOINT", "127.0.0.1:7"));
    assert_eq!(
        of_environment.stdout,
        "the environment: valid for an interface at 127.0.0.1:7, native wire\n"
    );
}

#[test]
fn an_error_names_the_line_or_the_variable() {
    let folder = Folder::new("errors");
    for (text, line, said) in [
        ("\n\nmax_peer = 3\n", 3, "did you mean `max_peers`?"),
        ("name = \"a\"\nliveness_timeout = 5\n", 2, "a duration with its unit"),
        ("name = \"a\"\n[command\n", 2, "not TOML"),
        ("[command]\nlifespan = \"2s\"\ndeadline = \"1s\"\n", 2, "at most `command.deadline`"),
        ("heartbeat_interval = \"100ms\"\n# too short\nliveness_timeout = \"150ms\"\n", 3, "more than twice"),
        ("role = \"client\"\nmax_peers = 2\n", 2, "only for servers"),
        ("key_file = \"no-such.key\"\n", 1, "there is no file"),
        ("role = \"server\"\n[qos.command]\nhistory = 1\n", 2, "[command]"),
    ] {
        let file = folder.file("wrong.toml", text);
        for verb in ["check", "print"] {
            let found = run(&["config", verb, &file]);
            assert_eq!(found.code, 2, "{found:?}");
            let place = format!("{file}:{line}: ");
            assert!(found.stderr.contains(&place) && found.stderr.contains(said), "{place} {}", found.stderr);
        }
    }
    let mut by_variable = command(&["config", "check"]);
    let by_variable = finish(by_variable.env("TAUTLINE_MAX_PEERS", "many"));
    assert!(by_variable.stderr.contains("`TAUTLINE_MAX_PEERS` is \"many\""), "{}", by_variable.stderr);
    let missing = run(&["config", "check", "no-such.toml"]);
    assert_eq!(missing.code, 2);
    assert!(missing.stderr.contains("cannot read no-such.toml: "), "{}", missing.stderr);
    assert!(!missing.stderr.contains("(os error"), "{}", missing.stderr);
}

#[test]
fn keys_of_secured_links_are_never_printed() {
    let folder = Folder::new("secret");
    let made = folder.0.join("arm.key");
    assert_eq!(run(&["keygen", made.to_str().expect("text")]).code, 0);
    let content = std::fs::read_to_string(&made).expect("the key");
    let secret = content.lines().last().expect("a line for the key").to_owned();
    let good = "role = \"server\"\nendpoint = \"127.0.0.1:0\"\nkey_file = \"arm.key\"\n[keys.hmi]\nfile = \"hmi.key\"\nmay = \"observe\"\n";
    let good = folder.file("good.toml", good);
    // Somebody took the setting for the key itself, in each place that a setting may be written.
    let wrong = folder.file(
        "wrong.toml",
        &format!("role = \"server\"\nendpoint = \"127.0.0.1:0\"\nkey_file = \"{secret}\"\n"),
    );
    let key = folder.file("key.toml", &format!("key = \"{secret}\"\n"));
    let holder = folder.file("holder.toml", &format!("[keys.hmi]\nfile = \"{secret}\"\nmay = \"observe\"\n"));
    let name = folder.file("name.toml", &format!("name = \"{secret}\"\n"));
    let channel = folder.file("number.toml", &format!("max_peers = \"{secret}\"\n"));
    for file in [&good, &wrong, &key, &holder, &name, &channel] {
        for arguments in
            [&["config", "check", file][..], &["config", "print", file], &["config", "print", file, "--json"]]
        {
            let found = run(arguments);
            assert!(
                !found.stdout.contains(&secret) && !found.stderr.contains(&secret),
                "{arguments:?}: {found:?}"
            );
        }
    }
    let bare = secret.trim_end_matches('=');
    let of_urls = bare.replace('+', "-").replace('/', "_");
    for value in [&secret, &content, bare, &of_urls, &format!("key={secret}")] {
        for name in
            ["TAUTLINE_KEY_FILE", "TAUTLINE_KEYS_HMI_FILE", "TAUTLINE_KEYS_HMI_MAY", "TAUTLINE_MAX_PEERS"]
        {
            let mut by_variable = command(&["config", "print"]);
            let found = finish(by_variable.env(name, value));
            let shown = format!("{}{}", found.stdout, found.stderr);
            assert!(!shown.contains(bare) && !shown.contains(&of_urls), "{name}: {found:?}");
        }
        for arguments in
            [&["doctor", "--key", value][..], &["keygen", value], &["ping", "127.0.0.1:9", "--key", value]]
        {
            let found = run(arguments);
            let shown = format!("{}{}", found.stdout, found.stderr);
            assert!(
                found.code != 0 && !shown.contains(bare) && !shown.contains(&of_urls),
                "{arguments:?}: {found:?}"
            );
        }
    }
    let shown = run(&["config", "print", &good]);
    assert!(shown.stdout.contains("key_file = \"arm.key\""), "{}", shown.stdout);
    let of_holder = shown.stdout.lines().find(|line| line.starts_with("file = \"hmi.key\""));
    assert!(of_holder.is_some_and(|line| line.ends_with("good.toml:5")), "{}", shown.stdout);
    let mut by_variable = command(&["config", "print", &good]);
    let shown = finish(by_variable.env("TAUTLINE_KEYS_HMI_FILE", "other.key"));
    assert!(shown.stdout.contains("TAUTLINE_KEYS_HMI_FILE"), "{}", shown.stdout);
}
