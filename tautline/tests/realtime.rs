//! The real-time profile on Linux: granted settings hold for the right threads, and refused settings are reported and do not
//! harm the link.
//!
//! Tests of granted settings need privilege. Without it, they print that they are skipped. The test of refused settings runs
//! this program again without privilege.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stderr)] // why a test was skipped

mod common;

use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::{address, client, client_config, next, server_config, until};
use tautline::{
    Config, Cpus, DrivenBy, Event, Events, Handler, MessageType, Metadata, PartOutcome, RealtimePart,
    RealtimeReport, UdpInterface, Watchdog, Wire, create_udp_server,
};

/// From capabilities(7).
const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_NICE: u32 = 23;

/// Returns the value of a line of a file in /proc, without its name.
fn line_of(file: &str, name: &str) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {file}")).trim().to_owned()
}

fn has_capability(number: u32) -> bool {
    let effective = line_of("/proc/self/status", "CapEff:");
    u64::from_str_radix(&effective, 16).expect("hexadecimal") >> number & 1 == 1
}

/// Returns whether the process has this capability. Prints that the test is skipped if not.
fn may(number: u32) -> bool {
    let may = has_capability(number);
    if !may {
        eprintln!("skipped: needs the capability {number}");
    }
    may
}

/// Returns the folder in /proc of the thread with this name. A thread has its name once it runs.
fn thread_named(name: &str) -> String {
    let mut found = None;
    until("the thread has its name", || {
        let tasks = std::fs::read_dir("/proc/self/task").expect("there is a /proc").flatten();
        let mut folders = tasks.map(|task| task.path().display().to_string());
        found = folders.find(|folder| {
            std::fs::read_to_string(format!("{folder}/comm")).is_ok_and(|found| found.trim() == name)
        });
        found.is_some()
    });
    found.expect("found")
}

/// Returns the real-time priority and the policy of a thread, the 40th and 41st field of proc_pid_stat(5).
fn scheduling(folder: &str) -> (u32, u32) {
    let stat = std::fs::read_to_string(format!("{folder}/stat")).expect("the thread lives");
    // The second field, the name, may contain any character. It ends at the last parenthesis.
    let (_, rest) = stat.rsplit_once(')').expect("the name in parentheses");
    let fields: Vec<u32> =
        rest.split_whitespace().skip(37).take(2).map(|field| field.parse().unwrap()).collect();
    (fields[0], fields[1])
}

const SCHED_OTHER: u32 = 0;
const SCHED_FIFO: u32 = 1;

/// Returns the first core that this process may use.
fn a_core() -> usize {
    let allowed: Cpus =
        line_of("/proc/self/status", "Cpus_allowed_list:").parse().expect("as the kernel writes it");
    allowed.iter().next().expect("one core at least")
}

fn connected(config: Config) -> (UdpInterface, Events) {
    let interface = create_udp_server(config).expect("a valid configuration");
    let events = interface.events();
    interface.connect().expect("a refused setting does not stop the link");
    (interface, events)
}

/// Returns the refused parts in the events.
fn refused(events: &mut Events) -> Vec<RealtimePart> {
    let mut parts = Vec::new();
    while let Some(event) = events.next(Some(Duration::ZERO)) {
        if let Event::NotGranted { part, problem, remedy } = event {
            assert!(!problem.is_empty() && !remedy.is_empty(), "{part}");
            parts.push(part);
        }
    }
    parts
}

#[track_caller]
fn assert_granted(report: &RealtimeReport, part: RealtimePart) {
    let found = &report.part(part).outcome;
    assert!(matches!(found, PartOutcome::Granted { .. }), "{part}: {found:?}");
}

/// Returns the problem and the remedy of a refused part.
#[track_caller]
fn refusal(report: &RealtimeReport, part: RealtimePart) -> (String, String) {
    match &report.part(part).outcome {
        PartOutcome::Refused { problem, remedy } => (problem.clone(), remedy.clone()),
        other => panic!("{part}: {other:?}"),
    }
}

/// Checks that a client can exchange messages with the server.
fn assert_link_works(server: &UdpInterface) {
    let client = client(client_config(server));
    client.send(&1, &Metadata::command()).expect("connected");
    server.reply(&next(server), &2, &Metadata::status()).expect("the client is connected");
    assert_eq!(next(&client).decode::<u32>(), Ok(2));
}

#[test]
fn by_default_nothing_is_changed_and_nothing_is_reported() {
    let (server, mut events) = connected(server_config(Wire::Native).name("plain"));
    // The driver thread has its name once it answers.
    assert_link_works(&server);
    assert_eq!(scheduling(&thread_named("tautline-plain")), (0, SCHED_OTHER));
    for part in [RealtimePart::ThreadPriority, RealtimePart::Cpus, RealtimePart::LockMemory] {
        assert_eq!(server.realtime_report().part(part).outcome, PartOutcome::NotAsked);
    }
    assert_eq!(server.realtime_report().part(RealtimePart::ReceiveBuffer).asked.as_deref(), Some("4194304"));
    assert_eq!(refused(&mut events), []);
}

#[test]
fn priority_and_cores_are_set_for_the_driver_thread_only() {
    if !may(CAP_SYS_NICE) {
        return;
    }
    let core = a_core();
    let config = server_config(Wire::Native).name("fifo").thread_priority(7).cpus([core]);
    let (server, mut events) = connected(config);
    let driver = thread_named("tautline-fifo");
    assert_eq!(scheduling(&driver), (7, SCHED_FIFO));
    assert_eq!(line_of(&format!("{driver}/status"), "Cpus_allowed_list:"), core.to_string());
    assert_eq!(scheduling("/proc/thread-self"), (0, SCHED_OTHER));
    assert_granted(&server.realtime_report(), RealtimePart::ThreadPriority);
    assert_granted(&server.realtime_report(), RealtimePart::Cpus);
    assert_eq!(refused(&mut events), []);
    assert_link_works(&server);
}

#[test]
fn the_watchdog_thread_outranks_the_driver_and_may_use_all_cores() {
    if !may(CAP_SYS_NICE) {
        return;
    }
    let allowed = line_of("/proc/thread-self/status", "Cpus_allowed_list:");
    let config = server_config(Wire::Native).name("wd").thread_priority(7).cpus([a_core()]);
    let server = create_udp_server(config).expect("valid");
    server.watch(Watchdog::peer(Duration::from_secs(1)), |_| {}).expect("possible");
    server.connect().expect("a free port");
    // The kernel keeps the first 15 bytes of a name.
    let thread = thread_named("tautline-wd-wat");
    until("the watchdog thread outranks the driver", || scheduling(&thread) == (8, SCHED_FIFO));
    assert_eq!(line_of(&format!("{thread}/status"), "Cpus_allowed_list:"), allowed);
}

#[test]
fn handlers_run_without_the_priority_and_cores_of_the_driver() {
    let allowed = || line_of("/proc/thread-self/status", "Cpus_allowed_list:");
    let (server, _) = connected(server_config(Wire::Native).cpus([a_core()]));
    let (sender, found) = mpsc::channel();
    let worker = Handler::blocking(move |_, _| {
        let _ = sender.send((scheduling("/proc/thread-self"), allowed()));
    });
    server.register_message_handler(MessageType::Command, worker);
    client(client_config(&server)).send(&1, &Metadata::command()).expect("connected");
    let found = found.recv_timeout(common::TIME_LIMIT).expect("the handler runs");
    assert_eq!(
        found,
        ((0, SCHED_OTHER), allowed()),
        "the worker is scheduled like the test's thread, and not like the driver"
    );
}

#[test]
fn a_caller_driven_interface_changes_the_thread_that_calls_its_driver() {
    if !may(CAP_SYS_NICE) {
        return;
    }
    let config = server_config(Wire::Native).thread_priority(5);
    let (server, mut driver) = UdpInterface::caller_driven(config).expect("valid");
    server.connect().expect("a free port");
    assert_eq!(
        scheduling("/proc/thread-self"),
        (0, SCHED_OTHER),
        "connecting does not change the calling thread, which may be any thread"
    );
    assert_eq!(server.realtime_report().part(RealtimePart::ThreadPriority).outcome, PartOutcome::Pending);
    let report = thread::spawn(move || {
        driver.connect().expect("connected already");
        assert_eq!(scheduling("/proc/thread-self"), (5, SCHED_FIFO));
        // A thread that it starts does not inherit the priority.
        let started = thread::spawn(|| scheduling("/proc/thread-self"));
        assert_eq!(started.join().expect("no panic"), (0, SCHED_OTHER));
        server.realtime_report()
    });
    assert_granted(&report.join().expect("no panic"), RealtimePart::ThreadPriority);
}

#[test]
fn locked_memory_is_locked() {
    if !may(CAP_IPC_LOCK) {
        return;
    }
    let locked =
        || line_of("/proc/self/status", "VmLck:").trim_end_matches(" kB").parse::<u64>().expect("a number");
    assert_eq!(locked(), 0);
    let (server, _) = connected(server_config(Wire::Native).lock_memory(true));
    assert_granted(&server.realtime_report(), RealtimePart::LockMemory);
    assert!(locked() > 0);
}

/// Returns how many descriptors this process has open for this path.
fn open_at(path: &str) -> usize {
    let open = std::fs::read_dir("/proc/self/fd").expect("there is a /proc");
    open.filter(|fd| std::fs::read_link(fd.as_ref().unwrap().path()).is_ok_and(|to| to.as_os_str() == path))
        .count()
}

#[test]
fn cores_are_kept_awake_from_connecting_to_disconnecting() {
    const FILE: &str = "/dev/cpu_dma_latency";
    if std::fs::OpenOptions::new().write(true).open(FILE).is_err() {
        eprintln!("skipped: {FILE} cannot be written");
        return;
    }
    let config = || server_config(Wire::Native).low_latency_cpu(true);
    let (server, _) = connected(config());
    assert_granted(&server.realtime_report(), RealtimePart::LowLatencyCpu);
    assert_eq!(open_at(FILE), 1);
    server.disconnect();
    assert_eq!(open_at(FILE), 0);
    let (driven, _driver) = UdpInterface::caller_driven(config()).expect("valid");
    driven.connect().expect("a free port");
    assert_eq!(open_at(FILE), 1);
    drop(driven);
    drop(_driver);
    assert_eq!(open_at(FILE), 0);
}

#[test]
fn a_core_that_does_not_exist_is_refused_by_name_and_the_link_works() {
    let (server, mut events) = connected(server_config(Wire::Native).cpus([a_core(), 1_023]));
    let (problem, remedy) = refusal(&server.realtime_report(), RealtimePart::Cpus);
    assert!(problem.starts_with("there is no core 1023: this machine has "), "{problem}");
    assert!(remedy.contains("`cpus`"), "{remedy}");
    assert_eq!(refused(&mut events), [RealtimePart::Cpus]);
    assert_link_works(&server);
}

/// Runs the calling test again in a process without privileges, and checks that it passes there.
fn passes_without_privileges(test: &str, mark: &str) {
    let test_program = std::env::current_exe().expect("this test's program");
    let mut command = match has_capability(CAP_SYS_NICE) {
        false => Command::new(test_program),
        true => {
            let mut command = Command::new("setpriv");
            command.args(["--bounding-set=-all", "--inh-caps=-all"]).arg(test_program);
            command
        }
    };
    match command.args(["--exact", test, "--nocapture"]).env(mark, "1").output() {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(error) => eprintln!("skipped: setpriv, which would drop the privileges, does not run: {error}"),
    }
}

#[test]
fn a_refused_setting_is_reported_with_the_command_that_allows_it() {
    const MARK: &str = "REALTIME_TEST_CHILD";
    if std::env::var_os(MARK).is_none() {
        return passes_without_privileges(
            "a_refused_setting_is_reported_with_the_command_that_allows_it",
            MARK,
        );
    }
    assert!(!has_capability(CAP_SYS_NICE));
    let config = server_config(Wire::Native).name("plain").realtime(true).receive_buffer(1 << 30);
    let (server, mut events) = connected(config);
    let report = server.realtime_report();
    let published = refused(&mut events);
    for (part, key, command) in [
        (RealtimePart::LockMemory, "Max locked memory", "ulimit -l unlimited"),
        (RealtimePart::ThreadPriority, "Max realtime priority", "setcap cap_sys_nice,cap_ipc_lock"),
        (RealtimePart::ReceiveBuffer, "", "sysctl net.core.rmem_max=1073741824"),
    ] {
        if !key.is_empty() && is_allowed_by_limit(key) {
            continue;
        }
        let (problem, remedy) = refusal(&report, part);
        assert!(remedy.contains(command), "{part}: {problem}: {remedy}");
        assert!(published.contains(&part), "{part} is not among {published:?}");
    }
    assert_eq!(published.len(), report.refused().count());
    assert_link_works(&server);
    assert!(address(&server).port() > 0);
}

/// Returns whether a resource limit of this process grants the setting without privilege.
fn is_allowed_by_limit(key: &str) -> bool {
    let soft =
        line_of("/proc/self/limits", key).split_whitespace().next().expect("the soft limit").to_owned();
    soft == "unlimited"
        || (key == "Max realtime priority" && soft.parse::<u32>().is_ok_and(|limit| limit >= 80))
}

#[test]
fn a_thread_that_waits_reads_at_its_own_priority() {
    if !may(CAP_SYS_NICE) {
        return;
    }
    let (server, _) = connected(server_config(Wire::Native).name("leads").thread_priority(7));
    let client = client(client_config(&server));
    let reader = thread::spawn(move || {
        let receive = || server.receive(Some(Duration::from_millis(5)));
        while !receive().is_ok_and(|message| message.message_type() == MessageType::Command) {}
        scheduling("/proc/thread-self")
    });
    (0..50).for_each(|_| client.send(&0, &Metadata::data()).map(drop).expect("connected"));
    client.send(&1, &Metadata::command()).expect("connected");
    assert_eq!(reader.join().expect("no panic"), (0, SCHED_OTHER));
}

#[test]
fn the_drivers_thread_polls_as_an_ordinary_thread_while_others_wait_for_what_it_reads() {
    if !may(CAP_SYS_NICE) {
        return;
    }
    let config = server_config(Wire::Native).name("polite").thread_priority(7);
    let (server, _) = connected(config.driven_by(DrivenBy::Thread));
    let client = client(client_config(&server));
    let driver = thread_named("tautline-polite");
    let (is_over, ended) = mpsc::channel::<()>();
    let taking = thread::spawn({
        let server = server.clone();
        move || {
            while ended.try_recv() != Err(mpsc::TryRecvError::Disconnected) {
                let _ = server.receive(Some(Duration::from_millis(10)));
            }
        }
    });
    until("the driver's thread polls as an ordinary one", || {
        // At short intervals: otherwise polling does not pay, and it sleeps.
        (0..100).any(|_| {
            client.send(&1, &Metadata::data()).expect("connected");
            scheduling(&driver) == (0, SCHED_OTHER)
        })
    });
    drop(is_over);
    taking.join().expect("no panic");
    until("it has its priority back", || scheduling(&driver) == (7, SCHED_FIFO));
}
