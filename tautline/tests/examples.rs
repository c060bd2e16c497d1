//! The examples run and do what they say.

#[path = "../examples/control_loop.rs"]
mod control_loop;
#[path = "../examples/handlers.rs"]
mod handlers;
#[path = "../examples/hello.rs"]
mod hello;
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
