//! Runs the examples.

#[path = "../examples/control_loop.rs"]
mod control_loop;
#[path = "../examples/cycle.rs"]
mod cycle;
#[path = "../examples/failsafe.rs"]
mod failsafe;
#[cfg(feature = "toml")]
#[path = "../examples/from_configuration.rs"]
mod from_configuration;
#[path = "../examples/handlers.rs"]
mod handlers;
#[path = "../examples/hello.rs"]
mod hello;
#[allow(dead_code)] // its main reads the program's arguments
#[path = "../examples/hot_path.rs"]
mod hot_path;
#[path = "../examples/reactor.rs"]
mod reactor;
#[cfg(feature = "sim")]
#[allow(dead_code)] // its main measures for longer than a test takes
#[path = "../examples/reliable_rate.rs"]
mod reliable_rate;
#[path = "../examples/request_reply.rs"]
mod request_reply;
#[path = "../examples/watch_events.rs"]
mod watch_events;

#[test]
fn hello_runs() {
    hello::main().unwrap();
}

#[test]
fn control_loop_runs() {
    control_loop::main().unwrap();
}

#[test]
fn cycle_runs() {
    cycle::main().unwrap();
}

#[test]
fn failsafe_runs() {
    failsafe::main().unwrap();
}

#[test]
#[cfg(feature = "toml")]
fn from_configuration_runs() {
    from_configuration::main().unwrap();
}

#[test]
fn watch_events_runs() {
    watch_events::main().unwrap();
}

#[test]
fn handlers_runs() {
    handlers::main().unwrap();
}

#[test]
fn request_reply_runs() {
    request_reply::main().unwrap();
}

#[test]
fn reactor_runs() {
    reactor::main().unwrap();
}

#[cfg(feature = "sim")]
#[test]
fn reliable_rate_handles_each_message_once() {
    let rate = reliable_rate::measure("10%", std::time::Duration::from_millis(100)).unwrap();
    assert!(rate.sent > 0);
    assert_eq!(rate.sent, rate.handled);
}

#[test]
fn hot_path_handles_every_message() {
    let alone = hot_path::Extras::default();
    assert_eq!(hot_path::run("batch", 2, 64, alone).unwrap(), 2 * 720);
    assert_eq!(hot_path::run("stream", 2, 64, alone).unwrap(), 2 * 720);
    assert_eq!(hot_path::run("stream", 2, 1_500, alone).unwrap(), 2 * 42);
    assert_eq!(hot_path::run("reliable", 2, 64, alone).unwrap(), 2 * 64);
    assert_eq!(hot_path::run("echo", 20, 64, alone).unwrap(), 20);
    assert_eq!(hot_path::run("receive", 20, 64, alone).unwrap(), 20);
    let observed = hot_path::Extras { black_box: true, record: true, ..alone };
    assert_eq!(hot_path::run("echo", 20, 64, observed).unwrap(), 20);
    #[cfg(feature = "secure")]
    for extras in [hot_path::Extras { key: true, ..alone }, hot_path::Extras { key: true, ..observed }] {
        assert_eq!(hot_path::run("batch", 2, 64, extras).unwrap(), 2 * 720);
        assert_eq!(hot_path::run("echo", 200, 64, extras).unwrap(), 200);
    }
    assert!(hot_path::run("by hand", 1, 64, alone).is_err());
}
