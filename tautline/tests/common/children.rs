//! Parts of a test that run in a process of their own: the test program itself, told by its environment what to do.

use std::process::{Child, Command, Stdio};

/// Tells a child what it is for; without it, a child's test does nothing.
const ORDER: &str = "TAUTLINE_TEST_CHILD";

/// Starts this program again, to run the ignored test `name` with this order. Its standard output can be read, and begins
/// with what the test harness says.
pub(crate) fn start(name: &str, order: &str) -> Running {
    let program = std::env::current_exe().expect("the system knows it");
    let mut command = Command::new(program);
    command.args([name, "--exact", "--ignored", "--nocapture"]).env(ORDER, order);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    Running(command.spawn().expect("it can be started"))
}

/// What this process was started for, if it is a child.
pub(crate) fn order() -> Option<String> {
    std::env::var(ORDER).ok()
}

/// Killed when dropped.
#[derive(Debug)]
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
