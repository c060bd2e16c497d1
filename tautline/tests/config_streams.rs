//! Settings for streams of messages: their sources, which of them overrides which, and what is refused.

use std::time::Duration;

use tautline::{Config, Delivery, History, MessageType, Profile, Qos, Wire};

fn server() -> Config {
    Config::server("127.0.0.1:9000")
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Returns the error text that refuses `config`.
fn refusal(config: &Config) -> String {
    config.validate().expect_err("should be refused").to_string()
}

fn with(variables: &[(&str, &str)]) -> Result<Config, tautline::ConfigError> {
    server().apply_variables(variables.iter().copied())
}

/// Returns the settings that hold for a channel of commands.
fn commands(config: &Config, channel: u16) -> Qos {
    config.settings().expect("valid").streams.of(MessageType::Command, channel)
}

#[test]
fn a_stream_has_no_settings_by_default_but_the_history_of_commands() {
    for &message_type in MessageType::ALL {
        let found = server().settings().expect("valid").streams.of(message_type, 3);
        assert_eq!(found, Qos::default_of(message_type, Wire::Native));
        assert_eq!(found == Qos::new(), message_type != MessageType::Command);
    }
}

#[test]
fn a_channel_overrides_its_type_which_overrides_the_profile() {
    let config = server()
        .profile(Profile::control())
        .qos(MessageType::Command, Qos::new().lifespan(ms(20)))
        .channel_qos(MessageType::Command, 3, Qos::new().keep_last(5))
        .channel_qos(MessageType::Command, 3, Qos::new().deadline(ms(40)));
    let common = Qos::new().keep_last(1).lifespan(ms(20)).deadline(ms(100)).owner(true);
    assert_eq!(commands(&config, 0), common);
    assert_eq!(commands(&config, 3), common.keep_last(5).deadline(ms(40)));
    assert_eq!(commands(&config.qos(MessageType::Command, Qos::new().keep_all()), 4), common.keep_all());
}

#[test]
fn the_control_profile_keeps_commands_fresh_and_delivers_errors_reliably() {
    let streams = server().profile(Profile::control()).settings().expect("valid").streams;
    let command = streams.of(MessageType::Command, 7);
    assert_eq!(command.history, Some(History::KeepLast(1)));
    assert!(command.lifespan <= command.deadline && command.lifespan.is_some(), "{command:?}");
    assert_eq!(streams.of(MessageType::Status, 0), Qos::new().keep_last(1));
    for message_type in [MessageType::Error, MessageType::Configuration] {
        assert_eq!(streams.of(message_type, 0), Qos::new().delivery(Delivery::Reliable));
    }
    assert_eq!(streams.of(MessageType::Data, 0), Qos::new());
    // The classic wire has best effort only.
    let classic = server().wire(Wire::Classic).profile(Profile::control()).settings().expect("valid").streams;
    assert_eq!(classic.of(MessageType::Error, 0), Qos::new());
    assert_eq!(classic.of(MessageType::Command, 0), command);
}

#[test]
fn variables_set_every_key_of_a_stream() {
    let config = with(&[
        ("TAUTLINE_COMMAND_LIFESPAN", "50ms"),
        ("TAUTLINE_COMMAND_3_HISTORY", "1"),
        ("TAUTLINE_COMMAND_3_DEADLINE", "60ms"),
        ("TAUTLINE_COMMAND_3_MISSES", "2/10"),
        ("TAUTLINE_HEARTBEAT_HISTORY", "all"),
        ("TAUTLINE_HEARTBEAT_INTERVAL", "50ms"),
        ("TAUTLINE_ERROR_DELIVERY", "ordered"),
        ("TAUTLINE_PROFILE", "control"),
    ]);
    let expected = server()
        .qos(MessageType::Command, Qos::new().lifespan(ms(50)))
        .channel_qos(MessageType::Command, 3, Qos::new().keep_last(1).deadline(ms(60)).misses(2, 10))
        .qos(MessageType::Heartbeat, Qos::new().keep_all())
        .heartbeat_interval(ms(50))
        .qos(MessageType::Error, Qos::new().delivery(Delivery::Ordered))
        .profile(Profile::Control);
    assert_eq!(config, Ok(expected));
}

#[test]
fn a_key_of_a_stream_can_be_set_by_its_name() {
    let mut config = server();
    config.set("status.history", "2").expect("a key");
    config.set("status.9.lifespan", "1s").expect("a key");
    let expected = server().qos(MessageType::Status, Qos::new().keep_last(2)).channel_qos(
        MessageType::Status,
        9,
        Qos::new().lifespan(ms(1_000)),
    );
    assert_eq!(config, expected);
}

#[test]
fn a_wrong_key_or_value_is_named_with_what_would_be_right() {
    let history = "expected a whole number from 1 to 1000000, or all";
    let class = "expected best_effort, reliable or ordered";
    for (variable, value, sentence) in [
        ("COMMAND_HISTORY", "0", format!("`TAUTLINE_COMMAND_HISTORY` is \"0\": {history}")),
        (
            "COMAND_3_HISTORY",
            "1",
            "there is no key `TAUTLINE_COMAND_3_HISTORY`: did you mean `TAUTLINE_COMMAND_3_HISTORY`?".to_owned(),
        ),
        ("COMMAND_3_HISTORY", "some", format!("`TAUTLINE_COMMAND_3_HISTORY` is \"some\": {history}")),
        (
            "COMMAND_LIFESPAN",
            "0s",
            "`TAUTLINE_COMMAND_LIFESPAN` is \"0s\": expected a duration with its unit (ns, us, ms, s or min) from 1us to \
             60min"
                .to_owned(),
        ),
        (
            "COMMAND_MISSES",
            "10/2",
            "`TAUTLINE_COMMAND_MISSES` is \"10/2\": expected missed/periods, such as 2/10: 2 to 64 periods, of \
             which at least 1 and not all may be missed"
                .to_owned(),
        ),
        ("COMMAND_DELIVERY", "sure", format!("`TAUTLINE_COMMAND_DELIVERY` is \"sure\": {class}")),
        (
            "COMMAND_65536_HISTORY",
            "1",
            "`TAUTLINE_COMMAND_65536_HISTORY` is for channel 65536: expected a channel from 0 to 65535".to_owned(),
        ),
        (
            "COMMAND_3_LIVESPAN",
            "1s",
            "there is no key `TAUTLINE_COMMAND_3_LIVESPAN`: did you mean `TAUTLINE_COMMAND_3_LIFESPAN`?".to_owned(),
        ),
        (
            "COMMAND_COLOUR",
            "red",
            "there is no key `TAUTLINE_COMMAND_COLOUR`: expected one of history, lifespan, deadline, misses, owner, \
             latch, \
             delivery, or a channel from 0 to 65535"
                .to_owned(),
        ),
        (
            "HEARTBEAT_INTERVALL",
            "1s",
            "there is no key `TAUTLINE_HEARTBEAT_INTERVALL`: did you mean `TAUTLINE_HEARTBEAT_INTERVAL`?".to_owned(),
        ),
    ] {
        let error = with(&[(&format!("TAUTLINE_{variable}"), value)]).expect_err(variable);
        assert_eq!(error.to_string(), sentence);
    }
}

#[test]
fn a_range_holds_for_setters_too() {
    let qos = |qos| server().channel_qos(MessageType::Command, 3, qos);
    assert_eq!(
        refusal(&qos(Qos::new().keep_last(0))),
        "`command.3.history` is 0: expected a whole number from 1 to 1000000, or all"
    );
    assert_eq!(
        refusal(&qos(Qos::new().lifespan(Duration::from_nanos(1)))),
        "`command.3.lifespan` is 1ns: expected a duration with its unit (ns, us, ms, s or min) from 1us to 60min"
    );
    assert_eq!(
        refusal(&qos(Qos::new().deadline(ms(1)).misses(0, 4))),
        "`command.3.misses` is 0/4: expected missed/periods, such as 2/10: 2 to 64 periods, of which at least 1 and \
         not all may be missed"
    );
}

#[test]
fn settings_that_contradict_each_other_are_refused_with_both_names() {
    let command = |qos| server().qos(MessageType::Command, qos);
    let keeps_one = Qos::new().keep_last(1);
    for (config, sentence) in [
        (
            command(Qos::new().lifespan(ms(50)).deadline(ms(20))),
            "`command.lifespan` is 50ms: expected at most `command.deadline`, that is 20ms",
        ),
        (
            command(Qos::new().deadline(ms(20))).channel_qos(
                MessageType::Command,
                3,
                Qos::new().lifespan(ms(21)),
            ),
            "`command.3.lifespan` is 21ms: expected at most `command.deadline`, that is 20ms",
        ),
        (
            server().profile(Profile::Control).channel_qos(
                MessageType::Command,
                3,
                Qos::new().deadline(ms(20)),
            ),
            "`command.lifespan` is 50ms: expected at most `command.3.deadline`, that is 20ms",
        ),
        (
            command(keeps_one.delivery(Delivery::Reliable)),
            "`command.history` is 1: expected all, because `command.delivery` is reliable",
        ),
        (
            command(keeps_one).channel_qos(MessageType::Command, 0, Qos::new().delivery(Delivery::Ordered)),
            "`command.history` is 1: expected all, because `command.0.delivery` is ordered",
        ),
        (
            command(Qos::new().misses(2, 10)),
            "`command.deadline` is not set: expected a duration, because `command.misses` counts missed deadlines",
        ),
        (
            command(Qos::new().delivery(Delivery::Reliable)).wire(Wire::Classic),
            "`command.delivery` is reliable: expected best_effort, because `wire` is classic, which has no other class",
        ),
        (
            server().wire(Wire::Classic).channel_qos(MessageType::Command, 3, keeps_one),
            "`command.3` is set but has an effect only on the native wire: remove it",
        ),
    ] {
        assert_eq!(refusal(&config), sentence);
        let made = tautline::create_udp_server(config).expect_err("refused when it is made");
        assert_eq!(made.to_string(), sentence);
    }
}

#[test]
fn settings_that_go_together_are_accepted() {
    for config in [
        server().qos(MessageType::Command, Qos::new().lifespan(ms(20)).deadline(ms(20)).misses(63, 64)),
        server().qos(MessageType::Command, Qos::new().keep_last(1)).channel_qos(
            MessageType::Command,
            3,
            Qos::new().keep_all().delivery(Delivery::Reliable),
        ),
        server().wire(Wire::Classic).channel_qos(
            MessageType::Command,
            0,
            Qos::new().keep_last(1).delivery(Delivery::BestEffort),
        ),
    ] {
        assert_eq!(config.validate(), Ok(()), "{config:?}");
    }
}

#[cfg(feature = "toml")]
mod toml {
    use super::*;

    #[test]
    fn each_stream_has_a_table() {
        let config = Config::from_toml(
            "role = \"server\"\n\
             endpoint = \"127.0.0.1:9000\"\n\
             profile = \"control\"\n\
             [command]\n\
             history = 1\n\
             lifespan = \"50ms\"\n\
             deadline = \"50ms\"\n\
             misses = \"2/10\"\n\
             [command.3]\n\
             history = \"all\"\n\
             delivery = \"reliable\"\n\
             [status.0]\n\
             history = 4\n",
        );
        let fresh = Qos::new().keep_last(1).lifespan(ms(50)).deadline(ms(50)).misses(2, 10);
        let expected = server()
            .profile(Profile::Control)
            .qos(MessageType::Command, fresh)
            .channel_qos(MessageType::Command, 3, Qos::new().keep_all().delivery(Delivery::Reliable))
            .channel_qos(MessageType::Status, 0, Qos::new().keep_last(4));
        assert_eq!(config, Ok(expected));
    }

    #[test]
    fn an_unknown_table_or_key_is_named() {
        for (text, sentence) in [
            ("command = 3", "`command` is 3: expected a table, [command]"),
            ("[command]\n3 = 1", "`command.3` is 1: expected a table, [command.3]"),
            (
                "[command]\nhistory = \"1\"",
                "`command.history` is \"1\": expected a whole number from 1 to 1000000, or all",
            ),
            (
                "[command.70000]\nhistory = 1",
                "`command.70000.history` is for channel 70000: expected a channel from 0 to 65535",
            ),
            (
                "[command.3]\nhistry = 1",
                "there is no key `command.3.histry`: did you mean `command.3.history`?",
            ),
            ("[comand]\nhistory = 1", "there is no key `comand`: did you mean `command`?"),
        ] {
            assert_eq!(Config::from_toml(text).expect_err("refused").to_string(), sentence, "{text}");
        }
    }
}
