//! The examples run and do what they say.

#[path = "../examples/control_loop.rs"]
mod control_loop;
#[path = "../examples/handlers.rs"]
mod handlers;
#[path = "../examples/hello.rs"]
mod hello;
#[allow(dead_code)] // its main reads the program's arguments
#[path = "../examples/hot_path.rs"]
mod hot_path;
#[path = "../examples/reactor.rs"]
mod reactor;
#[path = "../examples/request_reply.rs"]
mod request_reply;

#[test]
fn hello_runs() {
    hello::main().unwrap();
}

#[test]
fn control_loop_runs() {
    control_loop::main().unwrap();
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

#[test]
fn hot_path_handles_every_message() {
    assert_eq!(hot_path::run("batch", 2).unwrap(), 2 * 720);
    assert_eq!(hot_path::run("stream", 2).unwrap(), 2 * 720);
    assert_eq!(hot_path::run("echo", 20).unwrap(), 20);
    assert!(hot_path::run("by hand", 1).is_err());
}
