//! Runs a part of a test in a process of its own. The child is the test program itself; an environment variable tells it
//! what to do.

use std::process::{Child, Command, Stdio};

/// The variable that holds a child's order. Without it, a child's test does nothing.
const ORDER: &str = "TAUTLINE_TEST_CHILD";

/// Starts this program again, to run the ignored test `name` with this order. Its standard output can be read. It begins
/// with lines of the test harness.
pub(crate) fn start(name: &str, order: &str) -> Running {
    run(Command::new(this_program()), name, order)
}

/// As [`start`], on this core alone, if the machine has it (util-linux).
#[allow(dead_code)] // few tests divide the cores
pub(crate) fn start_on_core(core: usize, name: &str, order: &str) -> Running {
    if !std::path::Path::new("/sys/devices/system/cpu").join(format!("cpu{core}")).exists() {
        return start(name, order);
    }
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &core.to_string()]).arg(this_program());
    run(command, name, order)
}

fn this_program() -> std::path::PathBuf {
    std::env::current_exe().expect("the system knows this program")
}

fn run(mut command: Command, name: &str, order: &str) -> Running {
    command.args([name, "--exact", "--ignored", "--nocapture"]).env(ORDER, order);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    Running(command.spawn().expect("the program can be started"))
}

/// Returns the order of this process, if it is a child.
pub(crate) fn order() -> Option<String> {
    std::env::var(ORDER).ok()
}

/// A child process. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
